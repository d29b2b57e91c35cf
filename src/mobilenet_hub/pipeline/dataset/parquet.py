"""The parts of a dataset: Parquet files of so many items each, and what their columns are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.files import atomic_file
from mobilenet_hub.pipeline.results import Outcome, Results
from mobilenet_hub.pipeline.sources.items import Stamp
from mobilenet_hub.settings import Settings

_T = TypeVar("_T")

METADATA_KEY = b"mobilenet_hub"
_GROUP_ROWS = 1024  # rows in memory before they are compressed and written
_PART_NAME = re.compile(r"part-(?:(?P<shard>\d{5,})-of-(?P<shards>\d{5,})-)?(?P<number>\d{5,})")


@dataclass(frozen=True, order=True, slots=True)
class PartName:
    """The name of a part, without `.parquet`; sorts by its numbers, however many digits they have.

    Attributes:
        shards: how many runs share the dataset; 1 where one writes it all.
        shard: which of them writes this part.
        number: of the part among those of its run.
    """

    shards: int
    shard: int
    number: int

    @classmethod
    def parse(cls, name: str) -> PartName | None:
        """From `part-00002` or `part-00003-of-00016-00002`; None where it is none of ours."""
        match = _PART_NAME.fullmatch(name)
        if match is None:
            return None
        return cls(int(match["shards"] or 1), int(match["shard"] or 0), int(match["number"]))

    def file(self, folder: Path) -> Path:
        """The file of that name."""
        return folder / f"{self}.parquet"

    def __str__(self) -> str:
        """The name; digits beyond five where there must be."""
        shard = "" if self.shards == 1 else f"{self.shard:05d}-of-{self.shards:05d}-"
        return f"part-{shard}{self.number:05d}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a dataset.

    Attributes:
        features: length of an embedding.
        settings: which columns there are, and the dtype of the embeddings.
        metadata: how the embeddings were made; goes into the schema as JSON.
        labels: what the classes are called, by their index.
    """

    features: int
    settings: Settings
    metadata: Mapping[str, Any]
    labels: Sequence[str] = ()

    def schema(self) -> Any:
        """The Arrow schema: `id`, `embedding`, and the columns asked for."""
        import pyarrow as pa

        always = ("id", "embedding")
        fields = [pa.field(name, kind, name not in always) for name, kind, _ in self._columns()]
        metadata = json.dumps(dict(self.metadata), sort_keys=True)
        return pa.schema(fields, {METADATA_KEY: metadata.encode()})

    def batch(self, results: Results) -> Any:
        """The rows of some results as an Arrow record batch."""
        import pyarrow as pa

        arrays = [_array(values(results), kind) for _, kind, values in self._columns()]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema())

    def _columns(self) -> Iterator[tuple[str, Any, Callable[[Results], Any]]]:
        """Name and type of each column, and its values in some results."""
        import pyarrow as pa

        def of_rows(value: Callable[[Outcome], Any]) -> Callable[[Results], Any]:
            return lambda results: [value(row) for row in results.rows]

        wanted = self.settings
        number = pa.float32() if wanted.dtype == "float32" else pa.float16()
        yield "id", pa.string(), of_rows(lambda row: row.id)
        yield "embedding", pa.list_(number, self.features), lambda results: results.features
        if count := wanted.labels:
            names = np.asarray(self.labels, object)
            yield "labels", pa.list_(pa.string(), count), lambda r: names[r.label_indices]
            yield "label_indices", pa.list_(pa.int32(), count), lambda r: r.label_indices
            yield "scores", pa.list_(pa.float32(), count), lambda r: r.label_scores
        if wanted.reject:
            yield "unknown", pa.bool_(), lambda results: results.unknown
        if wanted.dimensions:
            yield "width", pa.int32(), of_rows(lambda row: row.width)
            yield "height", pa.int32(), of_rows(lambda row: row.height)
        if wanted.content_hash:
            yield "sha256", pa.string(), of_rows(lambda row: row.sha256)
        if wanted.perceptual_hash:
            yield "perceptual_hash", pa.string(), of_rows(lambda row: row.perceptual_hash.hex())


def _array(values: Any, kind: Any) -> Any:
    """Values as an Arrow array; a matrix of the right dtype without a copy."""
    import pyarrow as pa

    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    dtype = kind.value_type.to_pandas_dtype()
    flat = np.ascontiguousarray(values).reshape(-1).astype(dtype, copy=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), kind.list_size)


@contextmanager
def parquet_file(
    path: str | PathLike[str], schema: Any, *, ready: Callable[[Stamp], None] | None = None
) -> Iterator[Callable[[Any], None]]:
    """A Parquet file in the making: written in groups of rows, there only once it is whole.

    Args:
        path: where it will be.
        schema: of the batches to come.
        ready: called with the stamp of the whole file, just before it takes its place.

    Yields:
        A function that appends a record batch.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    with atomic_file(path) as file:
        writer = ParquetWriter(
            file,
            schema,
            compression="zstd",
            # Each id occurs once and few floats do: a dictionary would cost time and gain nothing.
            use_dictionary=["labels.list.element"] if "labels" in schema.names else False,
            write_statistics=["id"],
        )
        waiting = schema.empty_table()

        def append(batch: Any) -> None:
            """Batches become groups of rows: a file's bytes depend on nothing but its rows."""
            nonlocal waiting
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch], schema)])
            while waiting.num_rows >= _GROUP_ROWS:
                writer.write_table(waiting.slice(0, _GROUP_ROWS).combine_chunks())
                waiting = waiting.slice(_GROUP_ROWS)

        try:
            yield append
            if waiting.num_rows:
                writer.write_table(waiting.combine_chunks())
        except BaseException:
            with suppress(Exception):  # the file is given up; its writer must not come back to it
                writer.close()
            raise
        writer.close()
        if ready is not None:
            ready(stamp_of(file))


def stamp_of(file: BinaryIO) -> Stamp:
    """The stamp of a file that was just written."""
    file.flush()
    return Stamp.of(os.fstat(file.fileno()))


@dataclass(slots=True)
class OpenPart:
    """The part that is being written; its file is begun with its first row.

    Attributes:
        name: of the part.
        path: where its file will be.
        layout: of its rows.
        outcomes: of the items in it so far.
        file: is in its place when it is closed.
    """

    name: PartName
    path: Path
    layout: Layout
    outcomes: list[Outcome] = field(default_factory=list)
    file: ExitStack = field(default_factory=ExitStack)
    _append: Callable[[Any], None] | None = None

    def add(self, results: Results) -> None:
        """Append results."""
        self.outcomes += results.outcomes
        if len(results.features) == 0:
            return
        if self._append is None:
            file = parquet_file(self.path, self.layout.schema())
            self._append = self.file.enter_context(file)
        self._append(self.layout.batch(results))

    def drop(self) -> None:
        """Give up the file."""
        self.file.__exit__(GeneratorExit, GeneratorExit(), None)


def part_names(folder: Path) -> list[PartName]:
    """Names of the parts in a folder, in order; none where there is no folder."""
    if not folder.is_dir():
        return []
    files = (path.stem for path in folder.iterdir() if path.suffix == ".parquet")
    return sorted(name for stem in files if (name := PartName.parse(stem)) is not None)


def row_count(path: str | PathLike[str], schema: Any) -> int:
    """How many rows a Parquet file has, from its footer.

    Raises:
        DatasetError: it is damaged, or its columns are not those of the schema.
    """
    from pyarrow import parquet

    with _damage_named(path), Path(path).open("rb") as file:
        footer = parquet.read_metadata(file)
        if list(map(_kind, footer.schema.to_arrow_schema())) != list(map(_kind, schema)):
            raise DatasetError(f"the file has other columns than it should. Received: {path!r}")
        return int(footer.num_rows)


def _kind(field: Any) -> tuple[Any, ...]:
    """Name and type; what Parquet calls the elements of a list depends on who wrote it."""
    import pyarrow as pa

    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        return field.name, kind.value_type, kind.list_size
    return field.name, kind


def read_schema(path: str | PathLike[str]) -> Any:
    """The Arrow schema of a Parquet file.

    Raises:
        DatasetError: it is damaged, or something else.
    """
    from pyarrow import parquet

    with _damage_named(path), Path(path).open("rb") as file:
        return parquet.read_schema(file)


def read_parts(
    paths: Sequence[str | PathLike[str]], columns: list[str] | None = None
) -> Iterator[Any]:
    """Record batches of Parquet files, one file after the other, a group of rows at a time.

    Raises:
        DatasetError: one is damaged.
    """
    from pyarrow.parquet import ParquetFile as Reader

    for path in paths:
        # Opened here, because pyarrow itself opens no path that is not UTF-8.
        with _damage_named(path), Path(path).open("rb") as opened, Reader(opened) as file:
            yield from file.iter_batches(_GROUP_ROWS, columns=columns, use_threads=False)


def readable(read: Callable[[], _T]) -> _T | None:
    """What a function reads; None where the file is not there or damaged."""
    try:
        return read()
    except (FileNotFoundError, DatasetError):
        return None


@contextmanager
def _damage_named(path: str | PathLike[str]) -> Iterator[None]:
    """Damage as an error of ours: pyarrow has two, one of which is an OSError without a number."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DatasetError(
            f"damaged: {error}. Where it is a part of a dataset, remove it, and the command that "
            f"wrote it makes its rows again. Received: {str(path)!r}"
        ) from error
