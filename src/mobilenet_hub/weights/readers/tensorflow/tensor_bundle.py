"""TensorFlow checkpoints (`*.ckpt.index`, `*.ckpt.data-00000-of-00001`) without TensorFlow.

Since 2016 a checkpoint is a "tensor bundle": an index, which is a LevelDB table from tensor names
to `BundleEntryProto`, and one or several shards of raw little-endian tensors
(tensorflow/core/util/tensor_bundle/tensor_bundle.h, tensorflow/core/protobuf/tensor_bundle.proto).
Everything is under a checksum, of the index in the table and of each tensor in its entry; all that
is read is checked. Each tensor is read straight from the file into its array, so that the peak is
the size of what was asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import (
    MAX_WEIGHTS_BYTES,
    Array,
    damaged,
    file_size,
    finished,
    open_file,
    read_exactly,
    read_file,
    short,
)
from mobilenet_hub.weights.readers.tensorflow.leveldb import (
    MAX_TABLE_BYTES,
    masked_crc32c,
    read_table,
)
from mobilenet_hub.weights.readers.tensorflow.partitions import Part, parts_of
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message, read_varint
from mobilenet_hub.weights.safetensors_format import widened

# tensorflow/core/framework/types.proto
DT_FLOAT, DT_DOUBLE, DT_INT32, DT_STRING, DT_BFLOAT16, DT_HALF = 1, 2, 3, 7, 14, 19
ITEM_SIZES = {DT_FLOAT: 4, DT_DOUBLE: 8, DT_BFLOAT16: 2, DT_HALF: 2}
DTYPE_NAMES = {
    3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64",
    10: "bool", 11: "qint8", 12: "quint8", 13: "qint32",
}  # fmt: skip

MAX_RANK = 8
MAX_SHARD_BYTES = 4 << 30  # with all slots of a larger model around it; it is hashed as a whole
MAX_STRING_BYTES = 4 << 20  # the object graph of a MobileNet's SavedModel takes 40 kB
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SHARD = re.compile(r"(?P<prefix>.*)\.data-\d{5}-of-\d{5}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor is, and what it must look like.

    Attributes:
        dtype: a number of `types.proto`.
        shape: of the tensor.
        shard, offset, size: which shard, and which of its bytes.
        checksum: masked CRC32C of those bytes.
        parts: of a tensor that a partitioner divided; each has its own place.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    parts: tuple[Part, ...] = ()


class TensorBundle:
    """An opened checkpoint: its index is read and checked, its tensors are read when asked for.

    Args:
        path: the prefix (`model.ckpt`), or one of the checkpoint's files, or a directory that
            holds one checkpoint.

    Raises:
        MissingWeightsError: if there is no such index.
        WeightsError: if the index is not a sound one.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.prefix = find_prefix(Path(path))
        index = Path(f"{self.prefix}.index")
        self.where = str(index)
        table = read_table(
            read_file(index, "The index of the checkpoint", MAX_TABLE_BYTES), self.where
        )
        header = Message(table.pop(b"", b""), self.where)  # BundleHeaderProto, at the empty key
        self.num_shards = header.integer(1)
        if not 1 <= self.num_shards <= 99_999:
            raise damaged(self.where, "1 to 99,999 shards", self.num_shards)
        if header.integer(2) != 0:
            raise WeightsError(
                f"{self.where} was written on a big-endian machine, which this reader does not "
                f"support: save it again on a little-endian one. Received: {header.integer(2)}"
            )
        if (minimum := header.message(3).integer(2)) > 1:  # VersionDef.min_consumer
            raise WeightsError(
                f"{self.where} needs a newer reader: expected version 1 of the bundle format. "
                f"Received: {minimum}"
            )
        # The parts of divided tensors have keys that begin with 0.
        self.entries: Mapping[str, StoredTensor] = {
            self._text(key): self._entry(key, value)
            for key, value in table.items()
            if not key.startswith(b"\0")
        }
        self._parts = {
            key: self._entry(key, value) for key, value in table.items() if key.startswith(b"\0")
        }

    @property
    def files(self) -> tuple[Path, ...]:
        """The index, and the shards that are there."""
        shards = map(self._shard_path, range(self.num_shards))
        return (Path(self.where), *(shard for shard in shards if shard.is_file()))

    def read(self, keys: Mapping[str, str]) -> dict[str, Array]:
        """Read tensors, each shard opened once and read front to back.

        Args:
            keys: the names that the tensors shall have, to their keys in the bundle.

        Returns:
            name to float32 array; float16 and bfloat16 are widened, which is exact, and float64
            is rounded; what a partitioner divided is put together.

        Raises:
            WeightsError: for a key that is not there, a dtype that is not float, a size that
                contradicts the shape, tensors that overlap, a wrong checksum.
        """
        wanted = []
        for name, key in keys.items():
            if key not in self.entries:
                raise WeightsError(
                    f"{self.where} has no such tensor; `.entries` lists all. Received: {short(key)}"
                )
            entry = self.entries[key]
            wanted += self._stored(name, entry)
        if (total := sum(entry.size for _, entry in wanted)) > MAX_WEIGHTS_BYTES:
            raise WeightsError(
                f"{self.where}: expected at most {MAX_WEIGHTS_BYTES:,} bytes of weights, many "
                f"times those of the largest MobileNet. Received: {total:,}"
            )
        wanted.sort(key=lambda pair: (pair[1].shard, pair[1].offset))
        stored: dict[str, npt.NDArray[np.generic]] = {}
        for shard in sorted({entry.shard for _, entry in wanted}):
            self._read_shard(shard, [pair for pair in wanted if pair[1].shard == shard], stored)
        for name, key in keys.items():
            if parts := self.entries[key].parts:
                # What no part covers, because others overlap, stays NaN and is refused as such.
                whole = np.full(self.entries[key].shape, np.nan, np.float32)
                for index, part in enumerate(parts):
                    whole[part.place] = stored.pop(f"{name} ({index})")
                stored[name] = whole
        return finished({name: stored[name] for name in keys})

    def _stored(self, name: str, entry: StoredTensor) -> list[tuple[str, StoredTensor]]:
        """What has to be read for a tensor: itself, or its parts, each by a name of its own."""
        if not entry.parts:
            self._check(name, entry)
            return [(name, entry)]
        found = []
        for index, part in enumerate(entry.parts):
            stored = self._parts.get(part.key)
            if stored is None or stored.shape != part.shape or stored.parts:
                raise damaged(self.where, f"a part {part.shape} of {name}", stored)
            self._check(name, stored)
            found.append((f"{name} ({index})", stored))
        return found

    def variables(self) -> list[tuple[str, str]]:
        """Name and key of each variable: equal in TF1's checkpoints, by object in TF2's.

        A TF2 checkpoint holds a `TrackableObjectGraph`
        (tensorflow/core/protobuf/trackable_object_graph.proto), whose nodes name the tensors they
        saved. Names may repeat: only the objects of TF2 are unique.
        """
        if OBJECT_GRAPH not in self.entries:
            return [(name, name) for name in self.entries]
        graph = Message(self.read_string(OBJECT_GRAPH), f"{self.where} ({OBJECT_GRAPH})")
        return [
            (attribute.text(2), attribute.text(3))  # full_name, checkpoint_key
            for node in graph.messages(1)
            for attribute in node.messages(2)
        ]

    def _read_shard(
        self,
        shard: int,
        wanted: list[tuple[str, StoredTensor]],
        into: dict[str, npt.NDArray[np.generic]],
    ) -> None:
        path = self._shard_path(shard)
        with open_file(path, f"Shard {shard} of the checkpoint") as file:
            length, end = file_size(file, str(path), MAX_SHARD_BYTES), 0
            for name, entry in wanted:
                if entry.offset < end or entry.offset + entry.size > length:
                    raise damaged(
                        self.where,
                        f"tensors one after the other within the {length:,} bytes of the shard",
                        f"{name} at {entry.offset:,}, {entry.size:,} bytes, after {end:,}",
                    )
                end = entry.offset + entry.size
                data = read_exactly(file, entry.offset, entry.size, f"{path} ({name})")
                if masked_crc32c(data) != entry.checksum:
                    raise damaged(
                        f"{path} ({name})", f"checksum {entry.checksum:#010x}", "another checksum"
                    )
                into[name] = as_float(data, entry.dtype).reshape(entry.shape)

    def read_string(self, name: str) -> bytes:
        """The bytes of a string tensor that has one element.

        Raises:
            WeightsError: if there is none, or its checksum is wrong.
        """
        entry = self.entries.get(name)
        if entry is None or entry.dtype != DT_STRING or math.prod(entry.shape) != 1:
            raise damaged(self.where, f"a single string {name!r}", entry)
        if entry.size > MAX_STRING_BYTES:
            raise damaged(self.where, f"{name} of at most {MAX_STRING_BYTES:,} bytes", entry.size)
        path = self._shard_path(entry.shard)
        with open_file(path, f"Shard {entry.shard} of the checkpoint") as file:
            length = file_size(file, str(path), MAX_SHARD_BYTES)
            if entry.offset + entry.size > length:
                raise damaged(self.where, f"{name} within {length:,} bytes", entry)
            data = read_exactly(file, entry.offset, entry.size, str(path))
        # The length as a varint, a checksum of the length, the bytes. The checksum of it all is
        # taken with the length as four bytes (WriteStringTensor in tensor_bundle.cc).
        size, position = read_varint(data, 0, str(path))
        if size != len(data) - position - 4:
            raise damaged(str(path), f"a string of {len(data) - position - 4} bytes", size)
        if masked_crc32c(size.to_bytes(4, "little") + data[position:]) != entry.checksum:
            raise damaged(
                f"{path} ({name})", f"checksum {entry.checksum:#010x}", "another checksum"
            )
        return data[position + 4 :]

    def _check(self, name: str, entry: StoredTensor) -> None:
        """Refuse what cannot be read, before anything is allocated."""
        if entry.dtype not in ITEM_SIZES:
            raise WeightsError(
                f"{self.where}: {name} must be float32, float64, float16 or bfloat16. "
                f"Received: {DTYPE_NAMES.get(entry.dtype, f'dtype {entry.dtype}')}"
            )
        if entry.size != (size := math.prod(entry.shape) * ITEM_SIZES[entry.dtype]):
            raise damaged(self.where, f"{size:,} bytes for {name} {entry.shape}", f"{entry.size:,}")

    def _entry(self, key: bytes, value: bytes) -> StoredTensor:
        """Decode a `BundleEntryProto`."""
        message = Message(value, self.where)
        shape = read_shape(message.message(2), self.where)
        entry = StoredTensor(
            dtype=message.integer(1),
            shape=shape,
            shard=message.integer(3),
            offset=message.integer(4),
            size=message.integer(5),
            checksum=message.fixed32(6),
            parts=parts_of(message, key, shape, self.where),
        )
        if entry.shard >= self.num_shards or max(entry.offset, entry.size) >= 1 << 62:
            raise damaged(self.where, f"a place within {self.num_shards} shards", entry)
        return entry

    def _text(self, key: bytes) -> str:
        try:
            return key.decode()
        except UnicodeDecodeError as error:
            raise damaged(self.where, "tensor names in UTF-8", key[:80]) from error

    def _shard_path(self, shard: int) -> Path:
        return Path(f"{self.prefix}.data-{shard:05d}-of-{self.num_shards:05d}")


def find_prefix(path: Path) -> Path:
    """The prefix of a checkpoint from any of the ways to name it."""
    if path.name == "checkpoint":
        return _latest(path)
    try:
        if path.is_dir() and not Path(f"{path}.index").exists():
            indices = sorted(path.glob("*.index"))[:10]
            if len(indices) > 1 and (path / "checkpoint").is_file():
                return _latest(path / "checkpoint")
            if len(indices) != 1:
                raise WeightsError(
                    f"{path} must hold exactly one checkpoint: name its .index file. "
                    f"Received: {[index.name for index in indices]}"
                )
            return indices[0].with_suffix("")
    except (OSError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} cannot be looked into: {error}") from error
    if path.suffix == ".index":
        return path.with_suffix("")
    if match := _SHARD.fullmatch(path.name):
        return path.with_name(match["prefix"])
    return path


def _latest(path: Path) -> Path:
    """The prefix that a `checkpoint` file names, a `CheckpointState` as text: the last one saved.

    It lies beside the file, wherever the folder was when it was written.
    """
    text = read_file(path, "The file that names the latest checkpoint", 1 << 20)
    match = re.match(rb'model_checkpoint_path: "([^"\\\r\n]+)"', text)
    name = match[1].decode("utf-8", "replace").rpartition("/")[2] if match else ""
    if name in ("", ".", ".."):
        raise damaged(str(path), 'model_checkpoint_path: "..."', text[:80])
    return path.with_name(name)


def read_shape(message: Message, where: str) -> tuple[int, ...]:
    """Decode a `TensorShapeProto`.

    Raises:
        WeightsError: for an unknown rank or size.
    """
    shape = tuple(dim.signed(1) for dim in message.messages(2))
    if (
        message.integer(3)
        or len(shape) > MAX_RANK
        or any(not 0 <= size < 1 << 31 for size in shape)
    ):
        raise damaged(where, f"a known shape of at most {MAX_RANK} dimensions", shape[:20])
    return shape


def as_float(data: bytes | memoryview, dtype: int) -> npt.NDArray[np.generic]:
    """Bytes as the floats they are, without a copy; bfloat16 as float32."""
    if dtype == DT_BFLOAT16:
        return widened(np.frombuffer(data, "<u2"))
    return np.frombuffer(data, {DT_FLOAT: "<f4", DT_DOUBLE: "<f8", DT_HALF: "<f2"}[dtype])
