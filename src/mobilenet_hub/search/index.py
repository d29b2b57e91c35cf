"""An index of a dataset's embeddings on disk, and searching it.

    INDEX/vectors.usearch   half-precision HNSW graph (usearch), by cosine
    INDEX/ids.arrow         the id of each row
    INDEX/settings.json     how the embeddings were made, checksums of the others; written last

usearch was chosen over faiss by measurement (benchmarks/README.md): it searches the file where it
lies, so that a search from a cold start costs milliseconds and next to no memory however large the
index is; faiss would first read all of it.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import DatasetError, MissingExtraError
from mobilenet_hub.files import atomic_file, crc32c, read_json, remove_leftovers, write_atomically
from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.pipeline.records import Embedding, Failure
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.runtime.onnxruntime import import_onnxruntime
from mobilenet_hub.search.queries import Match, embed_queries
from mobilenet_hub.search.vectors import checked_note, how_made, unit_rows

FORMAT = "mobilenet-hub-index/2"
VECTORS, IDS, SETTINGS = "vectors.usearch", "ids.arrow", "settings.json"

_MAX_FEATURES = 1 << 20

# Recall@10 is 0.999 with these on 20,000 features of photos (benchmarks/README.md).
_EXPANSION_ADD, _EXPANSION_SEARCH = 128, 64


def default_path(dataset: Path) -> Path:
    """Where the index of a dataset is put unless told otherwise."""
    return dataset.with_name(f"{dataset.name}.index")


def build_index(
    dataset: str | Path, output: str | Path | None = None, *, threads: int | None = None
) -> Path:
    """Index the embeddings of a dataset.

    Args:
        dataset: a folder or file that `embed` wrote.
        output: the index's folder; replaced if it is an index already.
        threads: cores to use; all by default.

    Returns:
        The folder.

    Raises:
        DatasetError: not a dataset of embeddings, empty, or the output holds something else.
        MissingExtraError: usearch is not installed.
    """
    import pyarrow as pa

    dataset = Path(dataset)
    output = default_path(dataset) if output is None else Path(output)
    remove_leftovers(output, {VECTORS, IDS, SETTINGS}.__contains__)
    _refuse_other_folders(output)
    made = how_made(dataset)
    schema = pa.schema([("id", pa.string())])
    index, rows = None, 0
    output.mkdir(exist_ok=True)
    try:
        with atomic_file(output / IDS) as file, pa.ipc.new_file(file, schema) as writer:
            for ids, vectors in unit_rows(dataset):
                if index is None:
                    index = new_index(vectors.shape[1], "f16")
                keys = np.arange(rows, rows + len(vectors), dtype=np.uint64)
                index.add(keys, vectors, threads=threads or available_threads())
                writer.write_batch(pa.record_batch([pa.array(ids)], schema))
                rows += len(vectors)
            if index is None:
                raise DatasetError(f"expected a dataset with rows. Received: {str(dataset)!r}")
            (output / SETTINGS).unlink(missing_ok=True)  # without it the folder is no index
        with atomic_file(output / VECTORS) as file:
            index.save(file.name)
    except BaseException:
        with suppress(OSError):  # there is an older index in it
            output.rmdir()
        raise
    checksums = {name: crc32c(memoryview(_mapped(output / name))) for name in (VECTORS, IDS)}
    settings = {
        "format": FORMAT, "rows": rows, "features": index.ndim, "made": made, "crc32c": checksums,
    }  # fmt: skip
    write_atomically(output / SETTINGS, f"{json.dumps(settings, indent=2)}\n".encode())
    return output


def _mapped(path: Path) -> mmap.mmap:
    """A file's bytes, where they lie."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def new_index(features: int, dtype: str) -> Any:
    """An empty usearch index.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    with suppress(MissingExtraError):
        # After usearch 2.26, whose C++ library is global, importing ONNX Runtime 1.31 crashes.
        import_onnxruntime()
    try:
        from usearch.index import Index as UsearchIndex
    except ImportError as error:
        raise MissingExtraError("search", "searching") from error
    return UsearchIndex(
        ndim=features, metric="cos", dtype=dtype, expansion_add=_EXPANSION_ADD,
        expansion_search=_EXPANSION_SEARCH,
    )  # fmt: skip


def _refuse_other_folders(output: Path) -> None:
    """Never write into a folder that is something else, nor where usearch cannot."""
    try:
        os.fspath(output).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"an index needs a folder whose name is UTF-8; choose one with --output. "
            f"Received: {str(output)!r}"
        ) from error
    if output.exists():
        names = {path.name for path in output.iterdir()} if output.is_dir() else {"a file"}
        if names - {VECTORS, IDS, SETTINGS}:
            raise DatasetError(
                f"the index's folder holds something else; choose another. Received: "
                f"{str(output)!r}"
            )


class Index:
    """An index on disk, open for searching; vectors stay in the file.

    Args:
        path: of its folder.

    Attributes:
        made: the settings its embeddings were made with, if they are known.

    Raises:
        DatasetError: not an index, or a damaged one.
        MissingExtraError: usearch is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow as pa

        self.path = Path(path)
        try:
            with (self.path / SETTINGS).open("rb") as file:
                settings = read_json(file)
            if settings.get("format") != FORMAT:
                raise ValueError(f"not of the format {FORMAT}")
            note = settings["made"]
            self.made: dict[str, Any] | None = None if note is None else checked_note(note)
            # Kept as long as the index: usearch holds on to the address alone.
            self._files = {name: _mapped(self.path / name) for name in (VECTORS, IDS)}
            for name, data in self._files.items():  # usearch itself believes every byte
                if crc32c(memoryview(data)) != settings["crc32c"][name]:
                    raise ValueError(f"{name} is damaged")
            features = settings["features"]
            if not (type(features) is int and 0 < features <= _MAX_FEATURES):
                raise ValueError(f"embeddings of {str(features)[:40]} numbers")
            self._index = new_index(features, "f16")
            self._index.view(self._files[VECTORS])
            self._ids = pa.ipc.open_file(pa.py_buffer(self._files[IDS])).read_all()["id"]
            counts = (len(self._index), len(self._ids), self._index.ndim)
            if counts != (settings["rows"], settings["rows"], features):
                raise ValueError("its files do not belong together")
        except (
            OSError,
            ValueError,
            KeyError,
            AttributeError,
            TypeError,
            RuntimeError,
            pa.ArrowException,
        ) as e:
            raise DatasetError(
                "expected an index, as `mobilenet-hub index DATASET` makes it of what "
                f"`mobilenet-hub embed PHOTOS --output DATASET` wrote: {str(e).rstrip('.')}. "
                f"Received: {str(path)!r}"
            ) from e

    def __len__(self) -> int:
        """How many rows."""
        return len(self._index)

    def search(self, embedding: NDArray[np.float32], count: int = 10) -> list[Match]:
        """The rows most like an embedding.

        Args:
            embedding: float32 [features], of any length but zero.
            count: how many rows.

        Returns:
            Best first.

        Raises:
            DatasetError: the embedding has another number of features.
        """
        if embedding.shape != (self._index.ndim,):
            raise DatasetError(
                f"this index holds embeddings of {self._index.ndim} numbers. "
                f"Received: shape {embedding.shape}"
            )
        vector = l2_normalized(embedding[None])[0]
        found = self._index.search(vector, min(count, len(self)))
        return [
            Match(self._ids[int(key)].as_py(), 1.0 - float(distance))
            for key, distance in zip(found.keys, found.distances, strict=True)
        ]

    def search_each(
        self, embeddings: Iterable[NDArray[np.float32]], count: int = 10
    ) -> list[list[Match]]:
        """The rows most like each of some embeddings: see `search`."""
        return [self.search(embedding, count) for embedding in embeddings]

    def embed(
        self, items: Iterable[Item], module: str | None = None
    ) -> Iterator[Embedding | Failure]:
        """Embed queries as the rows of the index were: see `queries.embed_queries`."""
        return embed_queries(items, self.path, self.made, module)
