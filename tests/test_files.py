"""Files appear whole or not at all, and errors name them."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub import files
from mobilenet_hub.files import (
    atomic_file,
    atomic_folder,
    crc32c,
    parse_json,
    read_json,
    remove_leftovers,
    write_atomically,
)


def test_a_file_appears_whole_and_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.txt"
    write_atomically(path, b"first")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["gone/x.txt", "."])
def test_errors_name_the_place_and_nothing_stays_beside_it(tmp_path, place):
    (tmp_path / "folder").mkdir()
    path = tmp_path / place if place != "." else tmp_path / "folder"
    with pytest.raises(OSError) as caught:
        write_atomically(path, b"x")
    assert (caught.value.filename, caught.value.filename2) == (str(path), None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_errors_of_other_files_keep_their_name(tmp_path):
    with pytest.raises(OSError) as caught, atomic_file(tmp_path / "x"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")


def test_what_replaces_a_file_is_as_private_as_it_was(tmp_path):
    path = tmp_path / "x.txt"
    write_atomically(path, b"first")
    path.chmod(0o600)
    write_atomically(path, b"second")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"second", 0o600)


def test_of_a_file_of_json_no_more_is_read_than_allowed(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}')
    with path.open("rb") as file:
        assert read_json(file) == {"a": 1}
    with path.open("rb") as file, pytest.raises(ValueError, match="more than 7 bytes"):
        read_json(file, 7)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, b"\xff", "1" * 5000])
def test_what_is_no_json_or_too_deep_is_one_kind_of_error(text):
    """Text nested deeper than Python goes ended in a traceback."""
    with pytest.raises(ValueError):
        parse_json(text)


def test_a_folder_appears_whole_in_place_of_the_one_before(tmp_path):
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "out") as parts:
            (parts / "file").write_text(text)
            (parts / text).write_text("")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["file", text]
        assert (tmp_path / "out" / "file").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_not_finished_leaves_what_was_there(tmp_path):
    with atomic_folder(tmp_path / "out") as parts:
        (parts / "file").write_text("whole")
    with pytest.raises(ValueError, match="half"), atomic_folder(tmp_path / "out") as parts:
        (parts / "file").write_text("half")
        raise ValueError("half")
    assert (tmp_path / "out" / "file").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folders_take_each_others_place_where_the_system_cannot_exchange_them(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "out") as parts:
            (parts / "file").write_text(text)
    assert (tmp_path / "out" / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folders_that_a_killed_run_began_are_removed(tmp_path):
    begun = tmp_path / ".out.0123456789abcdef.part"
    (begun / "deeper").mkdir(parents=True)
    remove_leftovers(tmp_path, lambda name: name == "out")
    assert not begun.exists()


def test_a_checksum_is_of_all_bytes_however_they_are_divided(monkeypatch):
    whole = b"123456789"
    expected = 0xE3069283  # RFC 3720's, of these digits
    assert crc32c(memoryview(whole)) == expected
    assert crc32c(memoryview(b""), memoryview(whole[:4]), memoryview(whole[4:])) == expected
    monkeypatch.setattr(files, "_CHECKED_BYTES", 2)
    assert crc32c(memoryview(whole)) == expected
    assert crc32c(np.frombuffer(whole[:8], np.uint32).data, memoryview(whole[8:])) == expected
