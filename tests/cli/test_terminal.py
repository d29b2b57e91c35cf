"""On a terminal: text from servers, models and file names is shown, never obeyed."""

from __future__ import annotations

import re

import numpy as np
import pytest

import http_server as web
import tensorflow_files as tff
from commands import on_a_terminal
from mobilenet_hub.catalog import find
from pictures import SMALL, SMALL_CLASSIFIER, write_pictures

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b5m\u202e"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # what the command itself may send
CURSOR = re.compile(r"\x1b\[(\?25[lh]|[0-9]*[AK])")  # and its progress bars


def obeyed(printed: str) -> list[str]:
    """The control characters that reached the terminal, but those of the command itself."""
    rest = CURSOR.sub("", COLOURS.sub("", printed)).replace("\r\n", "\n").replace("\r", "")
    return [c for c in rest if c in "\x1b\x07\x9b\u202e"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_the_reason_that_a_server_gives(folder):
    def evil(handler):
        handler.wfile.write(f"HTTP/1.1 404 {EVIL}\r\nX: {EVIL}\r\n\r\n".encode())

    info = find("google/imagenet/mobilenet_v1_025_128/classification/5")
    with web.serving() as server:
        server.on(f"/{info.checkpoint_name}.tgz", evil)
        printed = on_a_terminal(
            "fetch", info.handle, MOBILENET_HUB_MIRROR=server.url, MOBILENET_HUB_OFFLINE="0"
        )
        server.on("/a.jpg", evil)
        printed += on_a_terminal(
            "classify", f"{server.url}/a.jpg", "-m", SMALL_CLASSIFIER, "--size", "32"
        )
    assert "404" in printed
    assert obeyed(printed) == []


def test_the_names_of_operations_and_tensors(folder):
    nodes = [tff.node("input", "Placeholder"), tff.node(f"x{EVIL}", f"Op{EVIL}", ["input"])]
    (folder / "graph.pb").write_bytes(tff.graph_def(nodes))
    np.savez(folder / "weights.npz", **{f"conv{EVIL}": np.ones((3, 3, 3, 8), np.float32)})
    for name in ("graph.pb", "weights.npz"):
        printed = on_a_terminal("import", name)
        assert "error" in printed
        assert obeyed(printed) == []


def test_the_names_of_files_folders_and_outputs(folder):
    folder_name = f"photos{EVIL}[red]a[/]"
    write_pictures(folder / folder_name, 2)
    (folder / folder_name / f"bad{EVIL}.jpg").write_bytes(b"no image")
    small = ["-m", SMALL, "--size", "32"]
    printed = on_a_terminal("embed", folder_name, "-o", f"out{EVIL}", *small)
    printed += on_a_terminal("classify", folder_name, "-m", SMALL_CLASSIFIER, "--size", "32")
    printed += on_a_terminal("duplicates", f"out{EVIL}")
    printed += on_a_terminal("embed", f"gone{EVIL}", "-o", "x", *small)
    printed += on_a_terminal("embed", f"--{EVIL}")
    printed += on_a_terminal("info", f"--{EVIL}", "--json")
    printed += on_a_terminal("cache", "list", MOBILENET_HUB_CACHE_DIR=str(folder / folder_name))
    assert "[red]a[/]" in printed.replace("\n", "").replace(" ", "").replace("\r", "")
    assert obeyed(printed) == []
