"""A reader for each kind of file, by its name or, in a stream, its first bytes."""

from __future__ import annotations

import io
import sys

from pictures import encoded, write_pictures
from source_support import contents, make_tar


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
