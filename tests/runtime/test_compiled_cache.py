"""Compiled graphs on disk are read as they were written, from this user's own folder, or not."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest

from mobilenet_hub.runtime import compiled_cache
from mobilenet_hub.runtime.compiled_cache import (
    compiled_graphs,
    prune,
    read_compiled,
    write_compiled,
)

MADE = '{"openvino": "1"}'
GRAPH = bytes(range(256)) * 20

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="nothing is kept here")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def keep(made=MADE, graph=GRAPH):
    """Keep a graph; its file, if there is one."""
    write_compiled(made, memoryview(graph))
    return next(iter(sorted(folder().glob("*.blob"), key=os.path.getctime, reverse=True)), None)


def folder():
    return compiled_cache.cache_directory() / f"compiled-{os.geteuid()}"


def read(made=MADE):
    memory = read_compiled(made, lambda size: SimpleNamespace(data=np.empty(size, np.uint8)))
    return None if memory is None else memory.data.tobytes()


def test_what_was_kept_is_read_and_belongs_to_this_user_alone():
    assert read() is None
    path = keep()
    assert read() == GRAPH
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder().stat().st_mode) == 0o700
    assert [(graph.key, graph.size) for graph in compiled_graphs()] == [
        (path.stem, path.stat().st_size)
    ]


def test_what_anything_else_decided_is_not_read():
    keep()
    assert read('{"openvino": "2"}') is None


@pytest.mark.parametrize("length", [0, 10, 35, 36, 50, 60, 1000, -1])
def test_what_was_cut_off_is_not_read_and_is_replaced(length):
    path = keep()
    path.write_bytes(path.read_bytes()[:length])
    assert read() is None
    keep()
    assert read() == GRAPH


@pytest.mark.parametrize("place", [0, 16, 24, 33, 40, 60, 2000, -1])
def test_what_was_changed_by_a_bit_is_not_read(place):
    path = keep()
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    assert read() is None


def test_what_was_added_to_is_not_read():
    path = keep()
    path.write_bytes(path.read_bytes() + b"\0")
    assert read() is None


def test_another_graph_under_its_name_is_not_read():
    path = keep()
    other = keep('{"openvino": "2"}')
    path.write_bytes(other.read_bytes())
    assert read() is None
    assert read('{"openvino": "2"}') == GRAPH


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to_is_not_used(mode):
    path = keep()
    folder().chmod(mode)
    assert read() is None
    assert compiled_graphs() == []
    assert prune(0) == []
    path.unlink()
    assert keep() is None


def test_a_file_that_others_may_write_to_is_not_read():
    keep().chmod(0o620)
    assert read() is None


def test_a_folder_of_another_user_is_not_used(monkeypatch):
    path, somebody = keep(), os.geteuid() + 1
    folder().rename(folder().with_name(f"compiled-{somebody}"))
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    assert read() is None
    write_compiled('{"openvino": "2"}', memoryview(GRAPH))
    assert [file.name for file in folder().iterdir()] == [path.name]


def test_links_are_not_followed(tmp_path):
    path = keep()
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    assert read() is None
    path.unlink()
    (tmp_path / path.name).rename(path)
    assert read() == GRAPH
    folder().rename(tmp_path / "elsewhere")
    folder().symlink_to(tmp_path / "elsewhere")
    assert read() is None
    write_compiled('{"openvino": "2"}', memoryview(GRAPH))
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_a_pipe_in_its_place_is_not_waited_for():
    path = keep()
    path.unlink()
    os.mkfifo(path)
    assert read() is None
    keep()
    assert read() == GRAPH


def test_where_nothing_can_be_written_nothing_is_kept(cache):
    cache.write_bytes(b"a file where the folder should be")
    assert keep() is None
    assert read() is None
    assert compiled_graphs() == prune(0) == []


def test_a_full_disk_leaves_nothing_half_written():
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        keep()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder().iterdir()) == []


def test_those_used_longest_ago_leave(monkeypatch):
    names = [f'{{"openvino": "{number}"}}' for number in range(4)]
    for age, name in enumerate(names[:3]):
        path = keep(name)
        os.utime(path, (1000 + age, 1000 + age))
    assert read(names[0]) == GRAPH  # the oldest, and now the last used
    monkeypatch.setattr(compiled_cache, "LIMIT_BYTES", int(3.5 * len(GRAPH)))
    keep(names[3])
    assert [read(name) is not None for name in names] == [True, False, True, True]
    assert len(prune(0)) == 3
    assert compiled_graphs() == []


def test_what_is_too_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(compiled_cache, "_MOST_BYTES", len(GRAPH) - 1)
    assert keep() is None


def test_what_a_killed_process_left_is_removed():
    path = keep()
    half = path.with_name(f"{path.stem}.{'0' * 16}.part")
    half.write_bytes(b"half")
    assert prune() == [half]
    assert list(folder().iterdir()) == [path]


def test_nothing_is_read_or_written_where_it_is_switched_off(monkeypatch):
    keep()
    monkeypatch.setenv("MOBILENET_HUB_KEEP_COMPILED", "0")
    assert read() is None
    write_compiled('{"openvino": "2"}', memoryview(GRAPH))
    assert len(compiled_graphs()) == 1  # what was kept before can be seen, and removed
    assert len(prune(0)) == 1
