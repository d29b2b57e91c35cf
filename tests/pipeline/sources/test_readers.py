"""A reader for each kind of file, by its name or, in a stream, its first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from commands import environment
from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.sources.resolve import open_sources
from pictures import encoded, write_pictures
from source_support import LIMIT, contents, make_tar


class Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BufferedReader(io.BytesIO(data))


def test_standard_input_is_paths_an_archive_or_an_image(here, monkeypatch):
    write_pictures(here, 2)
    monkeypatch.setattr(sys, "stdin", Stdin(b"0000.jpg\n0001.jpg\n"))
    assert contents("-") == {"0000.jpg": encoded(0), "0001.jpg": encoded(1)}
    make_tar(here / "s.tar", {"a.jpg": b"1"})
    monkeypatch.setattr(sys, "stdin", Stdin((here / "s.tar").read_bytes()))
    assert contents("-") == {"stdin/a.jpg": b"1"}
    monkeypatch.setattr(sys, "stdin", Stdin(encoded(3)))
    assert contents("-") == {"stdin": encoded(3)}


class Slowly(io.RawIOBase):
    """What a pipe gives: a few bytes at a time, however many are asked for."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._file.read(min(self._step, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("step", [1, 7, 300, 1 << 16])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "jpg", "txt"])
def test_standard_input_may_come_in_small_pieces(here, monkeypatch, kind, step):
    make_tar(here / "s.tar", {"a.jpg": b"1" * 700, "b.jpg": b"2"})
    plain = (here / "s.tar").read_bytes()
    data = {
        "tar": plain, "tar.gz": gzip.compress(plain), "tar.bz2": bz2.compress(plain),
        "tar.xz": lzma.compress(plain), "tar.zst": pa.compress(plain, "zstd", asbytes=True),
        "jpg": encoded(0, "PNG"), "txt": b"s.jpg\n" * 2,
    }[kind]  # fmt: skip
    stdin = Stdin(b"")
    stdin.buffer = io.BufferedReader(Slowly(data, step))
    monkeypatch.setattr(sys, "stdin", stdin)
    (here / "s.jpg").write_bytes(b"x")
    found = [(item.id, item.read(LIMIT)[0]) for item in open_sources("-").items()]
    assert found == {
        "jpg": [("stdin", data)], "txt": [("s.jpg", b"x")] * 2,
    }.get(kind, [("stdin/a.jpg", b"1" * 700), ("stdin/b.jpg", b"2")])  # fmt: skip


def test_a_path_is_dealt_with_as_soon_as_its_line_is_there(here, monkeypatch):
    """As from `inotifywait | mobilenet-hub classify -`."""
    receiver, sender = os.pipe()
    stdin = Stdin(b"")
    stdin.buffer = os.fdopen(receiver, "rb")
    monkeypatch.setattr(sys, "stdin", stdin)
    os.write(sender, b"photos/one.jpg\n")
    items = open_sources("-").items()
    assert next(items).id == "photos/one.jpg"
    os.close(sender)
    assert list(items) == []


def test_a_closed_standard_input_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        open_sources("-")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_what_a_shell_substitutes_is_read_as_standard_input_is(here):
    write_pictures(here / "photos", 3)
    code = (
        "import sys; from mobilenet_hub.pipeline.sources.resolve import open_words\n"
        "for item in open_words(sys.argv[1:]).items(): print(item.id, len(item.read(1 << 20)[0]))"
    )
    script = f'{sys.executable} -c "$1" <(find photos -name "*.jpg" | sort) <(tar c photos)'
    done = subprocess.run(
        ["bash", "-c", script, "bash", code], capture_output=True, text=True, env=environment()
    )
    assert done.stderr == ""
    sizes = [len(encoded(index)) for index in range(3)]
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"photos/{index:04d}.jpg {size}" for index, size in enumerate(sizes)]
    assert sorted(int(line.split()[-1]) for line in lines[3:]) == sorted(sizes)
