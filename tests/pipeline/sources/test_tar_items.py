"""The images of tar archives, whole, damaged and hostile."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.errors import ItemError
from mobilenet_hub.images import MAX_PIXELS
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.resolve import open_sources
from pictures import SIZE, SMALL, encoded
from source_support import LIMIT, contents, make_tar

LONG = "folder/" * 40 + "long.jpg"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_the_images_of_a_tar_archive_are_items(here, format, suffix):
    members = {"a.jpg": b"x" * 700, "a.cls": b"3", "sub/ü.png": b"y" * 512}
    if format != tarfile.USTAR_FORMAT:
        members[LONG] = b"z"
    make_tar(here / f"s{suffix}", members, format=format)
    wanted = {f"s{suffix}/{name}": data for name, data in members.items() if name != "a.cls"}
    assert contents(f"s{suffix}") == wanted
    assert len(contents(f"s{suffix}", all_files=True)) == len(members)
    assert next(open_sources(f"s{suffix}").items()).stamp() == (700, 1234 * 10**9)


def test_members_of_a_plain_archive_are_read_where_they_lie(here):
    make_tar(here / "s.tar", {f"{i}.jpg": bytes([i]) * 100 for i in range(5)})
    items = list(open_sources("s.tar").items())
    assert [item.read(LIMIT)[0][0] for item in reversed(items)] == [4, 3, 2, 1, 0]
    assert open_sources("s.tar").count() == 5


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("cut", [1100, 2000])
def test_a_truncated_archive_yields_what_is_whole_and_one_failure(here, suffix, cut):
    make_tar(here / "whole.tar", {"a.jpg": b"a" * 100, "b.jpg": b"b" * 5000})
    data = (here / "whole.tar").read_bytes()[:cut]
    (here / f"s{suffix}").write_bytes(gzip.compress(data) if suffix == ".tar.gz" else data)
    first, *others = list(open_sources(f"s{suffix}").items())
    assert first.read(LIMIT)[0] == b"a" * 100
    assert others
    for item in others:
        with pytest.raises(ItemError):
            item.read(LIMIT)
    assert "near byte" in others[-1].reason


def test_a_damaged_archive_says_where(here):
    make_tar(here / "s.tar", {"a.jpg": b"a", "b.jpg": b"b"})
    data = bytearray((here / "s.tar").read_bytes())
    data[1024 + 150] ^= 1  # the second header's checksum
    (here / "s.tar").write_bytes(data)
    first, second = open_sources("s.tar").items()
    assert first.read(LIMIT)[0] == b"a"
    assert "checksum" in second.reason


def hostile_header(size_field: bytes, kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[:5], header[124:136], header[156:157] = b"x.jpg", size_field, kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [b"0", b"x", b"L", b"g"])
@pytest.mark.parametrize(
    "field",
    [b"\x80" + struct.pack(">3xQ", 1 << 60), b"77777777777\0", b"\xff" * 12, b"not a numb\0 "],
)
def test_an_archive_that_promises_the_sky_allocates_nothing(here, kind, field):
    (here / "s.tar").write_bytes(hostile_header(field, kind) + b"data" * 300)
    (here / "s.tar.gz").write_bytes(gzip.compress((here / "s.tar").read_bytes()))
    for name in ("s.tar", "s.tar.gz"):
        items = list(open_sources(name).items())
        assert items
        for item in items:
            with pytest.raises(ItemError):
                item.read(LIMIT)


@given(data=st.binary(max_size=2000), at=st.integers(0, 1500))
def test_no_bytes_break_the_archive_reader(tmp_path_factory, data, at):
    path = tmp_path_factory.mktemp("tar") / "s.tar"
    make_tar(path, {"a.jpg": b"a" * 600, "b.jpg": b"b"})
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    for item in open_sources(str(path)).items():
        with contextlib.suppress(ItemError):
            item.read(LIMIT)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_an_archive_of_zeros_that_call_themselves_images_takes_no_memory(here, suffix):
    """Of what is no image only the first bytes are read; of a JPEG no more than it can have."""
    size = 200 << 20
    jpeg = encoded(0)
    with tarfile.open(here / f"s{suffix}", "w:gz" if suffix == ".tar.gz" else "w") as tar:
        for name, head in (("zeros.jpg", b""), ("small.jpg", jpeg), ("zeros.png", PNG_HEAD)):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, Zeros(head, size))
    seen = {}
    tracemalloc.start()
    try:
        for item in open_sources(f"s{suffix}").items():
            try:
                seen[item.id.rpartition("/")[2]] = len(item.read(max_bytes(MAX_PIXELS))[0])
            except ItemError as error:
                seen[item.id.rpartition("/")[2]] = error.reason
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
    assert seen["zeros.jpg"] == 1 << 20
    assert "more than the limit" in seen["small.jpg"]
    assert "more than the limit" in seen["zeros.png"]


PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x20\x08\x02\0\0\0"


class Zeros(io.RawIOBase):
    """A file that begins with some bytes and goes on with zeros."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head, self._left = head, size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._head.ljust(min(size, self._left), b"\0")
        self._head, self._left = b"", self._left - len(data)
        return data


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_members_of_any_time_have_rows_and_are_known_the_next_time(here, suffix):
    times = ["-1.5", "inf", "nan", "-1e300", "1e300", "253402300800", "-9e11", "9e9"]
    with tarfile.open(here / f"s{suffix}", "w:gz" if suffix == ".tar.gz" else "w") as tar:
        for index, time in enumerate(times):
            data = encoded(index)
            info = tarfile.TarInfo(f"{index}.jpg")
            info.size, info.pax_headers = len(data), {"mtime": time}
            tar.addfile(info, io.BytesIO(data))
    summary = embed_to(f"s{suffix}", "out", SMALL, size=SIZE)
    assert (summary.rows, summary.failures) == (len(times), 0)
    again = embed_to(f"s{suffix}", "out", SMALL, size=SIZE)
    assert (again.counts.done, again.counts.skipped) == (0, len(times))
