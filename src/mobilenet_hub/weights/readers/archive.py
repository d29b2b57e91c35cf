"""Archives as Google publishes them (`.tgz`, `.tar.gz`, `.tar`), unpacked without trusting them.

Nothing in an archive decides where a file goes or how much memory is taken: members are found by
name, copied under names of this file's choosing into a private temporary directory, and everything
else (links, devices, directories) is stepped over.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from mobilenet_hub.errors import TarError, WeightsError
from mobilenet_hub.tar import TarReader, decompressed
from mobilenet_hub.weights.readers.base import Reading, damaged, open_file
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite

# The published archive of V2 1.4 unpacks to 240 MB: a checkpoint with optimizer slots, a frozen
# graph, a TFLite file.
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBERS = 10_000
MAX_NAME_CHARACTERS = 1024
_PIECE = 1 << 20

_CHECKPOINT = re.compile(r"(?P<prefix>.+)\.(?P<part>index|data-\d{5}-of-\d{5})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Content:
    """What to take from an archive.

    Attributes:
        members: name in the archive to path below the temporary directory.
        open: the reader, given the path of what was unpacked.
        target: that path, below the temporary directory.
    """

    members: Mapping[str, str]
    target: str
    open: Callable[[Path, bool | None], Reading]


def read_archive(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a `.tgz`, `.tar.gz` or `.tar`.

    Taken are, in this order, the first kind that is there: a SavedModel or TF1 hub module, a
    checkpoint, a frozen graph, a TFLite file. Several of one kind are refused.

    Args:
        path: the archive.
        use_ema: as `read_checkpoint`.

    Raises:
        MissingWeightsError: if there is no such file.
        WeightsError: if the archive is damaged, larger than any that holds a MobileNet, or holds
            nothing that can be read.
    """
    path = Path(path)
    with open_file(path, "The archive") as file:
        names = [name for name, _, _ in _members(file, path)]
        # macOS adds a file `._name` of its own to each file in an archive.
        content = _choose([name for name in names if not _base(name).startswith("._")], path)
        with _private_directory() as directory:
            file.seek(0)
            _extract(file, path, content.members, directory)
            try:
                reading = content.open(directory / content.target, use_ema)
            except WeightsError as error:
                raise WeightsError(f"In {path}: {error}") from error
    return replace(reading, files=(path,), names=(*reading.names, *content.members))


def _choose(names: list[str], path: Path) -> _Content:
    """Pick what to read, by the names of the regular files alone."""
    for kind, contents in (
        ("SavedModels", _saved_models(names)),
        ("checkpoints", _checkpoints(names)),
        ("frozen graphs", _single_files(names, ".pb", read_frozen_graph)),
        ("TFLite files", _single_files(names, ".tflite", read_tflite)),
    ):
        if len(contents) > 1:
            raise WeightsError(
                f"{path} holds several {kind}: unpack it and name the one you want. "
                f"Received: {', '.join(min(content.members) for content in contents[:5])}"
            )
        if contents:
            return contents[0]
    raise WeightsError(
        f"{path} must hold a SavedModel, a TensorFlow checkpoint, a frozen graph or a TFLite file. "
        f"Received: {', '.join(map(repr, names[:10])) or 'no files'}"
    )


def _saved_models(names: list[str]) -> list[_Content]:
    contents = []
    for root in [
        name.removesuffix("saved_model.pb") for name in names if _base(name) == "saved_model.pb"
    ]:
        wanted = [f"{root}saved_model.pb", f"{root}tfhub_module.pb"]
        wanted += [name for name in names if _is_part(name, f"{root}variables/variables")]
        members = {name: name.removeprefix(root) for name in wanted if name in names}
        contents.append(_Content(members, ".", read_saved_model))
    return contents


def _checkpoints(names: list[str]) -> list[_Content]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        if match := _CHECKPOINT.fullmatch(name):
            found[match["prefix"]][name] = f"model.ckpt.{match['part']}"
    return [
        _Content(members, "model.ckpt", read_checkpoint)
        for prefix, members in found.items()
        if f"{prefix}.index" in members
    ]


def _single_files(
    names: list[str], suffix: str, reader: Callable[[Path, bool | None], Reading]
) -> list[_Content]:
    return [_Content({name: "model"}, "model", reader) for name in names if name.endswith(suffix)]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _is_part(name: str, prefix: str) -> bool:
    match = _CHECKPOINT.fullmatch(name)
    return match is not None and match["prefix"] == prefix


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    """A temporary directory that only this user can read, removed at the end."""
    try:
        directory = tempfile.TemporaryDirectory(prefix="mobilenet-hub-")
    except OSError as error:
        raise WeightsError(f"There is no temporary directory to unpack into: {error}") from error
    with directory as name:
        yield Path(name)


def _extract(file: BinaryIO, path: Path, wanted: Mapping[str, str], directory: Path) -> None:
    """Copy members to their places below `directory`."""
    try:
        for name, size, tar in _members(file, path):
            if name not in wanted:
                continue
            target = directory / wanted[name]
            target.parent.mkdir(exist_ok=True)
            with target.open("xb") as output:
                for start in range(0, size, _PIECE):
                    output.write(tar.read(min(_PIECE, size - start)))
    except FileExistsError as error:
        raise WeightsError(f"{path} holds the same file twice. Received: {name!r}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be unpacked: {error}") from error


def _members(file: BinaryIO, path: Path) -> Iterator[tuple[str, int, TarReader]]:
    """Name and size of each regular file, and the reader, which gives up to `size` bytes.

    Iterating to the end reads everything, so that gzip's own checksum has been verified.
    """
    tar = TarReader(_Bounded(file, path))
    try:
        for number, member in enumerate(tar):
            if number == MAX_MEMBERS:
                raise WeightsError(
                    f"{path}: expected at most {MAX_MEMBERS} members. Received: more"
                )
            if len(member.name) > MAX_NAME_CHARACTERS:
                expected = f"names of at most {MAX_NAME_CHARACTERS} characters"
                raise damaged(str(path), expected, len(member.name))
            if member.kind == "sparse":
                raise WeightsError(f"{path} holds sparse files: pack it again without --sparse")
            if member.size > MAX_UNPACKED_BYTES:
                raise _too_large(path, f"a member of {member.size:,} bytes")
            if member.kind == "file":
                parts = member.name.split("/")
                yield "/".join(p for p in parts if p not in ("", ".")), member.size, tar
    except TarError as error:
        raise damaged(str(path), error.expected, error.received) from error


def _too_large(path: Path, received: str) -> WeightsError:
    return WeightsError(
        f"{path}: expected at most {MAX_UNPACKED_BYTES:,} bytes unpacked, many times what any "
        f"MobileNet takes. Received: {received}"
    )


class _Bounded:
    """The bytes of a tar file, unzipped if need be, forwards only and not without end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._path = path
        head = file.read(6)
        file.seek(0)
        self._source = decompressed(file, head)
        self._left = MAX_UNPACKED_BYTES

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes."""
        try:
            data = self._source.read(size)
        except OSError as error:
            raise WeightsError(f"{self._path} cannot be read: {error}") from error
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._path, "more")
        return data
