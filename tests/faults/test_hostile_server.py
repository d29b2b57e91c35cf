"""Photos behind a server that does all a server can do wrong: none is lost, or waited for."""

from __future__ import annotations

import functools
import gzip
import json
import re
import signal
import subprocess
import threading
import time

import pyarrow.parquet as pq
import pytest

import http_server as web
from commands import command, environment, measured
from pictures import SMALL, encoded

FAST = ["--module", SMALL, "--size", "32"]
PHOTO = encoded(0)
BLOCK = bytes(1 << 16)
LATE = r"timed out|bytes came|not finished in time"


@pytest.fixture
def server():
    with web.serving() as running:
        yield running


def slowly(data: bytes):
    """All of it, in a few pieces with pauses."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), 400):
            handler.wfile.write(data[start : start + 400])
            handler.wfile.flush()
            time.sleep(0.05)

    return answer


def lies(data: bytes):
    """A HEAD that promises a thousand bytes, and a GET that never ends."""

    def answer(handler):
        if handler.command == "HEAD":
            web.status(200, {"Content-Length": "1000"})(handler)
        else:
            web.endless(BLOCK, head=data)(handler)

    return answer


def resets(data: bytes):
    """Half of it, then a reset instead of an end."""
    return web.drop(data, len(data) // 2, None)


KINDS = {
    # name: (makes the answers of a path, what the reason of the failure says; None for a row)
    "good": (lambda data, _: [web.file(data)], None),
    "chunked": (lambda data, _: [web.file(data, chunked=True)], None),
    "slow": (lambda data, _: [slowly(data)], None),
    "busy-once": (lambda data, _: [web.status(429, {"Retry-After": "0"}), web.file(data)], None),
    "dropped-once": (lambda data, _: [resets(data), web.file(data)], None),
    "moved": (lambda data, _: [web.endless(BLOCK, {"Location": "/photo.jpg"}, code=302)], None),
    "zipped": (lambda data, _: [sent_as_gzip(gzip.compress(data))], None),
    "403": (lambda *_: [web.status(403)], "HTTP status 403 Forbidden"),
    "404": (lambda *_: [web.status(404)], "HTTP status 404 Not Found"),
    "429": (lambda *_: [web.status(429)], "HTTP status 429 Too Many Requests"),
    "500": (lambda *_: [web.status(500)], "HTTP status 500 Internal Server Error"),
    "503": (lambda *_: [web.endless(BLOCK, code=503)], "HTTP status 503 Service Unavailable"),
    "loop": (lambda *_: [web.endless(BLOCK, {"Location": "/loop"}, code=301)], "redirects"),
    "elsewhere": (lambda *_: [web.redirect("ftp://127.0.0.1/x.jpg")], "a redirect from http to"),
    "lies": (lambda data, _: [lies(data)], "more than the limit"),
    "zeros": (lambda *_: [web.endless(BLOCK)], "not a JPEG"),
    "bomb": (lambda *_: [sent_as_gzip(bomb())], "not a JPEG"),
    "resets": (lambda data, _: [resets(data)], "bytes"),
    "stalls": (lambda data, never: [web.stall(data, 300, never, None)], LATE),
    "silent": (lambda _, never: [web.silence(never)], LATE),
    "trickles": (lambda data, never: [web.trickle(data, never)], LATE),
    "nonsense": (lambda *_: [web.with_header(200, "Content-Length", "much")], "not a JPEG"),
}  # fmt: skip


@functools.cache
def bomb():
    return gzip.compress(bytes(200 << 20))


def sent_as_gzip(data: bytes):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


@pytest.mark.slow
def test_a_thousand_urls_of_a_hostile_server_end_as_rows_or_failures(server, tmp_path):
    """Union of rows and failures exact, each failure with its reason, in less than 500 MB."""
    never = threading.Event()
    server.on("/photo.jpg", web.file(PHOTO))
    server.on("/loop", *KINDS["loop"][0](PHOTO, never))
    names = [list(KINDS)[index % len(KINDS)] for index in range(1000)]
    urls = {}
    for index, name in enumerate(names):
        photo = encoded(index % 50)
        url = server.on(f"/{index:04d}-{name}.jpg", *KINDS[name][0](photo, never))
        urls[url] = name
    (tmp_path / "urls.txt").write_text("\n".join(urls))
    arguments = ["embed", tmp_path / "urls.txt", "-o", tmp_path / "out", "--timeout", "3", *FAST]
    process = subprocess.Popen(
        measured(tmp_path / "peak", command(*arguments, "--json")),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        stdout = process.stdout.read()
        status = process.wait()
    finally:
        never.set()
    assert status == 0
    summary = json.loads(stdout)
    rows = pq.read_table(tmp_path / "out").column("id").to_pylist()
    lines = (tmp_path / "out" / "_errors.jsonl").read_text().splitlines()
    failures = {failure["id"]: failure for failure in map(json.loads, lines)}
    assert len(rows) == len(set(rows)) == summary["rows"]
    assert len(failures) == len(lines) == summary["failures"]
    assert sorted([*rows, *failures]) == sorted(urls)
    wrong = {}
    for url, name in urls.items():
        expected, received = KINDS[name][1], failures.get(url, {}).get("reason")
        if (expected is None) != (received is None) or not re.search(
            expected or "", received or ""
        ):
            wrong[url] = received
    assert wrong == {}, {names[list(urls).index(url)] for url in wrong}
    assert int((tmp_path / "peak").read_text()) < 500_000_000


def test_ctrl_c_ends_a_run_that_waits_for_servers(server, tmp_path):
    """With a timeout of ten minutes, only an answer at once lets this test end."""
    never = threading.Event()
    urls = [
        server.on(f"/{index}.jpg", web.silence(never) if index % 2 else web.stall(PHOTO, 9, never))
        for index in range(40)
    ]
    (tmp_path / "urls.txt").write_text("\n".join(urls))
    process = subprocess.Popen(
        command("embed", tmp_path / "urls.txt", "-o", tmp_path / "out", "--timeout", "600", *FAST),
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while len(server.requests) < 20:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    finally:
        never.set()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted; the same command goes on from here" in stderr
