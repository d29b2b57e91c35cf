"""A file behind http: whole or an error, whatever the server does, in bounded memory and time."""

from __future__ import annotations

import gzip
import io
import threading
import time
import tracemalloc

import pytest

import http_server as web
from mobilenet_hub.errors import NetworkError
from mobilenet_hub.web import patience
from mobilenet_hub.web.http_file import HttpFile
from mobilenet_hub.web.patience import Patience

DATA = bytes(range(256)) * 4000  # a megabyte


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(patience, "_BACKOFF_SECONDS", 0.001)
    monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", "5")
    with web.serving() as running:
        yield running


def read(url: str, limit: int = 1 << 21, timeouts: int | None = None) -> bytes:
    with HttpFile(url, Patience(timeouts)) as file:
        return io.BufferedReader(file).read(limit)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_is_read_whole(server, chunked):
    assert read(server.on("/x", web.file(DATA, chunked=chunked))) == DATA


def test_a_file_that_gives_parts_is_read_in_any_order(server):
    url = server.on("/x", ranges(DATA))
    with HttpFile(url) as raw:
        file = io.BufferedReader(raw)
        assert file.seekable()
        assert (file.seek(-7, 2), file.read()) == (len(DATA) - 7, DATA[-7:])
        assert (file.seek(100), file.read(10)) == (100, DATA[100:110])
        assert (file.seek(500_000), file.read(10)) == (500_000, DATA[500_000:500_010])


def ranges(data: bytes, drop_after: int | None = None):
    """A server that gives any part, and hangs up after so many bytes of each."""

    def answer(handler):
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Accept-Ranges", "bytes")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:][:drop_after])
        handler.close_connection = drop_after is not None

    return answer


def test_a_connection_that_drops_is_taken_up_where_it_ended(server):
    assert read(server.on("/x", ranges(DATA, drop_after=400_000))) == DATA
    assert [r.headers.get("Range") for r in server.asked("/x")] == [
        None, "bytes=400000-", "bytes=800000-",
    ]  # fmt: skip


def test_a_connection_that_drops_where_no_parts_are_given_is_an_error(server):
    with pytest.raises(NetworkError, match=r"connection ended|IncompleteRead"):
        read(server.on("/x", web.drop(DATA, 1000)))


def test_a_part_of_another_file_is_never_joined_to_the_first(server):
    url = server.on("/x", ranges(DATA, drop_after=1000), web.file(b"other", None))
    with pytest.raises(NetworkError, match="changed while it was read"):
        read(url)


def test_an_endless_body_is_read_as_far_as_the_reader_wants(server):
    """A HEAD may promise 1,000 bytes; nothing is believed but what comes."""
    url = server.on("/x", web.endless(bytes(1 << 16)))
    assert len(read(url, 300_000)) == 300_000


def test_a_body_of_gzip_is_unpacked_a_piece_at_a_time(server):
    """A hundred kilobytes that unpack to a hundred megabytes."""
    small = gzip.compress(DATA)
    head = {"Content-Encoding": "gzip", "Content-Length": str(len(small))}
    assert read(server.on("/small", body(small, head))) == DATA
    bomb = gzip.compress(bytes(100 << 20))
    url = server.on("/x", body(bomb, {**head, "Content-Length": str(len(bomb))}))
    tracemalloc.start()
    try:
        assert read(url, 1 << 20) == bytes(1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    cut = server.on("/cut", body(small[:-100], {"Content-Encoding": "gzip", "Connection": "close"}))
    with pytest.raises(NetworkError, match="middle of a gzip body"):
        read(cut)


def body(data: bytes, headers: dict[str, str]):
    def answer(handler):
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def test_a_body_in_an_encoding_that_nobody_asked_for_is_refused(server):
    url = server.on("/x", body(b"data", {"Content-Encoding": "br", "Content-Length": "4"}))
    with pytest.raises(NetworkError, match=r"another encoding.*'br'"):
        read(url)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again_when_it_says(server, code):
    url = server.on("/x", web.status(code), web.status(code, {"Retry-After": "0"}), web.file(DATA))
    assert read(url) == DATA


@pytest.mark.parametrize(
    ("code", "requests", "words"),
    [
        (403, 1, "403 Forbidden, it refuses"), (404, 1, "404 Not Found"), (410, 1, "410 Gone"),
        (429, 4, "429 Too Many"), (500, 4, "500 Internal"), (503, 4, "503 Service Unavailable"),
    ],
)  # fmt: skip
def test_an_error_says_the_status_the_server_sent(server, code, requests, words):
    url = server.on("/x", web.status(code))
    with pytest.raises(NetworkError, match=f"HTTP status {words}") as caught:
        read(url)
    assert caught.value.status == code
    assert len(server.asked("/x")) == requests


def test_words_of_a_server_never_reach_a_message(server):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 403 \x1b[31mred\r\nContent-Length: 0\r\n\r\n")
        handler.close_connection = True

    with pytest.raises(NetworkError) as caught:
        read(server.on("/x", answer))
    assert str(caught.value).isprintable()


def test_a_server_that_stalls_or_trickles_is_given_up_on(server, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", "0.3")
    never = threading.Event()
    try:
        stalls = server.on("/stall", web.stall(DATA, 1000, never))
        trickles = server.on("/trickle", web.trickle(DATA, never))
        silent = server.on("/silent", web.silence(never))
        for url in (stalls, trickles, silent):
            with pytest.raises(NetworkError, match=r"timed out|bytes came|not finished in time"):
                read(url, timeouts=4)
    finally:
        never.set()


def test_a_file_that_does_not_come_in_time_is_given_up_on_though_it_comes_steadily(
    server, monkeypatch
):
    monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", "0.2")

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(2048))
            time.sleep(0.01)

    with pytest.raises(NetworkError, match="not finished in time"):
        read(server.on("/x", answer), 1 << 30, timeouts=2)
