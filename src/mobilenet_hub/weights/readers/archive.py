"""Archives as Google publishes them (`.tgz`, `.tar.gz`, `.tar`), unpacked without trusting them.

Nothing in an archive decides where a file goes or how much memory is taken: members are found by
name, copied under names of this file's choosing into a private temporary directory, and everything
else (links, devices, directories) is stepped over. Only a few fields of tar's header matter, so it
is read here, where each can be bounded, rather than with `tarfile`, which allocates what a header
asks for and recurses into what follows it.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import Reading, damaged, open_file
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite

# The published archive of V2 1.4 unpacks to 240 MB: a checkpoint with optimizer slots, a frozen
# graph, a TFLite file.
MAX_UNPACKED_BYTES = 1 << 30
MAX_MEMBERS = 10_000
MAX_HEADER_BYTES = 64 << 10  # of a long name or a pax header
MAX_NAME_BYTES = 1024
BLOCK = 512
CHUNK = 1 << 20

REGULAR = b"0\07"
WITHOUT_DATA = b"123456"  # links, devices, directories, pipes: a size there means nothing

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


def read_archive(path: str | PathLike[str], *, use_ema: bool | None = None) -> Reading:
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
    return replace(reading, source=str(path))


def _choose(names: list[str], path: Path) -> _Content:
    """Pick what to read, by the names of the regular files alone."""
    for kind, contents in (
        ("SavedModels", _saved_models(names)),
        ("checkpoints", _checkpoints(names)),
        ("frozen graphs", _single_files(names, ".pb", lambda p, _: read_frozen_graph(p))),
        ("TFLite files", _single_files(names, ".tflite", lambda p, _: read_tflite(p))),
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
        contents.append(_Content(members, ".", lambda p, ema: read_saved_model(p, use_ema=ema)))
    return contents


def _checkpoints(names: list[str]) -> list[_Content]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        if match := _CHECKPOINT.fullmatch(name):
            found[match["prefix"]][name] = f"model.ckpt.{match['part']}"
    return [
        _Content(members, "model.ckpt", lambda p, ema: read_checkpoint(p, use_ema=ema))
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
        for name, size, stream in _members(file, path):
            if name not in wanted:
                continue
            target = directory / wanted[name]
            target.parent.mkdir(exist_ok=True)
            with target.open("xb") as output:
                for chunk in stream.chunks(size):
                    output.write(chunk)
    except FileExistsError as error:
        raise WeightsError(f"{path} holds the same file twice. Received: {name!r}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be unpacked: {error}") from error


def _members(file: BinaryIO, path: Path) -> Iterator[tuple[str, int, _Stream]]:
    """Name and size of each regular file, and the stream, from which `size` bytes may be read.

    Iterating to the end reads everything, so that gzip's own checksum has been verified.
    """
    stream = _Stream(file, path)
    long_name: bytes | None = None
    long_size: int | None = None
    for _ in range(MAX_MEMBERS):
        header = stream.read(BLOCK)
        if not any(header):  # the end; what follows is padding
            stream.drain()
            return
        _check_header(header, path)
        size, kind = _number(header[124:136], path), header[156:157]
        if kind in (b"L", b"x"):  # the name of the next member (GNU), its name and size (POSIX)
            data = stream.read_small(size)
            if kind == b"L":
                long_name = data.rstrip(b"\0")
            else:
                long_name, long_size = _pax(data, path)
            continue
        if kind == b"S":
            raise WeightsError(f"{path} holds sparse files: pack it again without --sparse")
        name = _name(header) if long_name is None else long_name
        if len(name) > MAX_NAME_BYTES:
            raise damaged(str(path), f"names of at most {MAX_NAME_BYTES} bytes", len(name))
        size = size if long_size is None else long_size
        if kind in WITHOUT_DATA:
            size = 0
        stream.expect(size)
        if kind in REGULAR:
            parts = name.decode("utf-8", "backslashreplace").split("/")
            yield "/".join(part for part in parts if part not in ("", ".")), size, stream
        stream.finish_member()
        if kind not in (b"g", b"K"):
            long_name = long_size = None
    raise WeightsError(f"{path}: expected at most {MAX_MEMBERS} members. Received: more")


def _check_header(header: bytes, path: Path) -> None:
    stored = _number(header[148:156], path)
    if stored != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise damaged(str(path), "a tar header with a right checksum", header[:40])


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].split(b"\0")[0], b""
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix else name


def _number(field: bytes, path: Path) -> int:
    """An octal number in text, or (GNU, for 8 GB and more) one in bytes after 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", text):
        raise damaged(str(path), "an octal number in a tar header", field)
    return int(text or b"0", 8)


def _pax(data: bytes, path: Path) -> tuple[bytes | None, int | None]:
    """`path` and `size` of a pax header: records of `length key=value`, each ended by a newline."""
    name, size, position = None, None, 0
    while position < len(data):
        record = re.compile(rb"(\d{1,6}) ([^=]+)=").match(data, position)
        end = position + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise damaged(str(path), "a well-formed pax header", data[position : position + 40])
        value = data[record.end() : end - 1]
        if record[2] == b"path":
            name = value
        elif record[2] == b"size":
            if not re.fullmatch(rb"\d{1,19}", value):
                raise damaged(str(path), "a size in a pax header", value[:40])
            size = int(value)
        elif record[2].startswith(b"GNU.sparse"):
            raise WeightsError(f"{path} holds sparse files: pack it again without --sparse")
        position = end
    return name, size


class _Stream:
    """The bytes of a tar file, unzipped if need be, forwards only and not without end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        magic = file.read(2)
        file.seek(0)
        zipped = magic == b"\x1f\x8b"
        self._source = cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb")) if zipped else file
        self._left = MAX_UNPACKED_BYTES
        self._member = 0  # bytes of the current member not read yet, padding included

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, which the caller has bounded."""
        data = b""
        while len(data) < size:
            piece = self._read_some(size - len(data))
            if not piece:
                raise damaged(str(self.path), "a whole .tgz or .tar", "the end in the middle")
            data += piece
        return data

    def read_small(self, size: int) -> bytes:
        """The data of a member that describes another."""
        if size > MAX_HEADER_BYTES:
            raise damaged(str(self.path), f"headers of at most {MAX_HEADER_BYTES} bytes", size)
        return self.read(size + -size % BLOCK)[:size]

    def expect(self, size: int) -> None:
        """Announce a member of `size` bytes."""
        if size > self._left:
            raise WeightsError(
                f"{self.path}: expected at most {MAX_UNPACKED_BYTES:,} bytes unpacked, many times "
                f"what any MobileNet takes. Received: a member of {size:,} bytes"
            )
        self._member = size + -size % BLOCK

    def chunks(self, size: int) -> Iterator[bytes]:
        """The `size` bytes of the current member, piece by piece."""
        while size:
            piece = self.read(min(size, CHUNK))
            size -= len(piece)
            self._member -= len(piece)
            yield piece

    def finish_member(self) -> None:
        """Skip what is left of the current member."""
        while self._member:
            self._member -= len(self.read(min(self._member, CHUNK)))

    def drain(self) -> None:
        """Read to the end."""
        while self._read_some(CHUNK):
            pass

    def _read_some(self, size: int) -> bytes:
        try:
            data = self._source.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(str(self.path), "a whole .tgz or .tar", error) from error
        self._left -= len(data)
        if self._left < 0:
            raise WeightsError(
                f"{self.path}: expected at most {MAX_UNPACKED_BYTES:,} bytes unpacked, many times "
                f"what any MobileNet takes. Received: more"
            )
        return data
