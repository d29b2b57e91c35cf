"""The tar reader: what `tarfile` and GNU tar write is read; whatever is wrong is one error."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.errors import TarError
from mobilenet_hub.tar import TarReader, decompressed, is_tar


class Pipe:
    """A stream that can only be read on, a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 300))


def tar_of(*members, tar_format=tarfile.PAX_FORMAT):
    """An archive of (name, data, fields of its TarInfo)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for name, data, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data) if data else None)
    return file.getvalue()


def read(data: bytes, stream=io.BytesIO):
    reader = TarReader(stream(data))
    return [(m.name, m.kind, reader.read(m.size), m.modified) for m in reader]


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, 2])
def test_names_kinds_data_and_times_are_those_that_were_packed(tar_format, stream):
    long = "folder/" * 30 + "x" * 60
    names = ["a", "ü/b", "d" * 90] + ([] if tar_format == tarfile.USTAR_FORMAT else [long])
    data = tar_of(*((n, n.encode() * 9, {"mtime": 7}) for n in names), tar_format=tar_format)
    assert read(data, stream) == [(n, "file", n.encode() * 9, 7.0) for n in names]


def test_links_and_folders_have_no_data_whatever_size_they_state():
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
    data = tar_of(*(("x", b"", {"type": k, "size": 9999}) for k in kinds), ("y", b"data", {}))
    assert [(kind, data) for _, kind, data, _ in read(data)] == [
        ("link", b""), ("link", b""), ("other", b""), ("other", b""), ("file", b"data"),
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("how", ["--format=gnu", "--format=pax"])
def test_sparse_files_of_gnu_tar_are_told_and_what_follows_them_is_read(tmp_path, how):
    with (tmp_path / "sparse").open("wb") as file:
        for index in range(40):  # more pieces than fit into one header
            file.seek(index * 200_000)
            file.write(b"data")
    (tmp_path / "whole").write_bytes(b"whole")
    command = ["tar", "-C", tmp_path, "-cSf", tmp_path / "x.tar", how, "sparse", "whole"]
    subprocess.run(command, check=True)
    found = read((tmp_path / "x.tar").read_bytes())
    assert [(name, kind) for name, kind, *_ in found] == [("sparse", "sparse"), ("whole", "file")]
    assert found[1][2] == b"whole"


@pytest.mark.parametrize("mtime", ["-1.5", "inf", "nan", "1e300", "253402300800", "yesterday"])
def test_any_time_may_stand_in_an_archive(mtime):
    ((_, _, _, found),) = read(tar_of(("x", b"", {"pax_headers": {"mtime": mtime}})))
    assert str(found) == str(0.0 if mtime == "yesterday" else float(mtime))


def test_times_before_1970_and_beyond_the_octal_digits_are_read():
    for mtime in (-1, -(10**12), 10**18):
        (member,) = read(tar_of(("x", b"", {"mtime": mtime}), tar_format=tarfile.GNU_FORMAT))
        assert member[3] == mtime


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_an_archive_that_ends_early_gives_what_is_whole_and_an_error(stream):
    data = tar_of(("a", b"a" * 600, {}), ("b", b"b" * 600, {}))
    for cut in (0, 300, 512, 1000, 1535, 1536, 2000, 2048, 2600, 3000, 3072):
        found = []
        with pytest.raises(TarError, match="whole archive"):
            found.extend(m.name for m in TarReader(stream(data[:cut])))
        assert len(found) <= 2
    assert len(read(data[: 3072 + 512], stream)) == 2


def test_only_what_begins_with_a_sound_header_is_a_tar_archive():
    data = tar_of(("a", b"", {}))
    assert is_tar(data)
    assert not is_tar(data[:511])
    assert not is_tar(data[:100] + b"x" + data[101:])
    assert not is_tar(bytes(512))


@given(data=st.binary(max_size=1500), at=st.integers(0, 3000))
def test_no_bytes_end_in_anything_but_members_or_an_error(data, at):
    whole = tar_of(("é" * 60, b"a" * 600, {"mtime": 1.5}), ("b", b"b", {}))
    broken = whole[:at] + data + whole[at + len(data) :]
    for stream in (io.BytesIO, Pipe):
        try:
            for member in (reader := TarReader(stream(broken))):
                if member.size <= 1 << 20:
                    assert len(reader.read(member.size)) == member.size
        except TarError:
            pass


def unpacked(data: bytes) -> bytes:
    stream = decompressed(io.BytesIO(data), data[:6])
    return b"".join(iter(lambda: stream.read(1000), b""))


@pytest.mark.parametrize("codec", [gzip, bz2, lzma], ids=lambda codec: codec.__name__)
def test_compressed_files_of_one_and_of_several_streams_are_unpacked(codec):
    data = bytes(range(256)) * 500
    assert unpacked(codec.compress(data)) == data
    assert unpacked(codec.compress(data) + codec.compress(b"more")) == data + b"more"
    for cut in (20, len(codec.compress(data)) - 3):
        with pytest.raises(TarError, match="whole compressed archive"):
            unpacked(codec.compress(data)[:cut])
    damaged = bytearray(codec.compress(data))
    damaged[len(damaged) // 2] ^= 0xFF
    with pytest.raises(TarError, match="whole compressed archive"):
        unpacked(bytes(damaged))


def test_padding_between_streams_of_xz_is_stepped_over():
    assert (
        unpacked(lzma.compress(b"one") + bytes(8) + lzma.compress(b"two") + bytes(4)) == b"onetwo"
    )
    assert unpacked(lzma.compress(b"x" * 10_000_000, preset=9)) == b"x" * 10_000_000


def test_an_xz_file_that_asks_for_gigabytes_is_refused():
    data = bytearray(lzma.compress(b"data", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]))
    end = 12 + 4 * (data[12] + 1)  # of the block header
    data[data.index(b"\x21\x01", 12) + 2] = 40  # a dictionary of 4 GiB
    data[end - 4 : end] = zlib.crc32(data[12 : end - 4]).to_bytes(4, "little")
    with pytest.raises(TarError, match=r"[Mm]emory usage limit"):
        unpacked(bytes(data))
