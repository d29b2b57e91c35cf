"""A folder of its own for each test of sources, and a server of what is in it."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pictures import write_pictures
from source_support import make_tar


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(here):
    write_pictures(here / "photos", 2)
    make_tar(here / "s.tar", {"a.jpg": b"1"})

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(here)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_port}"
    (here / "list.txt").write_text(f"{url}/photos/0001.jpg\n{url}/photos/none.jpg\n")
    yield url
    http.shutdown()
    http.server_close()
