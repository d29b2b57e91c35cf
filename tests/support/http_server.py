"""A real HTTP server on the loopback that answers as badly as it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    path: str
    headers: dict[str, str]


@dataclass
class Server:
    """Answers each path with its answers in turn, the last one for ever."""

    answers: dict[str, list[Callable]] = field(default_factory=lambda: defaultdict(list))
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def on(self, path: str, *answers: Callable) -> str:
        self.answers[path] = list(answers)
        return self.url + path

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


@contextlib.contextmanager
def serving():
    server = Server()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            with lock:
                server.requests.append(Request(self.path, dict(self.headers)))
                answers = server.answers.get(self.path)
                answer = status(404) if not answers else answers[0]
                if answers and len(answers) > 1:
                    answers.pop(0)
            with contextlib.suppress(ConnectionError):
                answer(self)

        def log_message(self, *args):
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """A client that went away is what many of these tests are about."""

    httpd = Quiet(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.block_on_close = False
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def file(data: bytes, etag: str | None = '"one"', *, chunked: bool = False) -> Callable:
    """A sound answer; with an ETag, parts can be asked for."""

    def answer(handler):
        body = _start(handler, data, etag, chunked=chunked)
        if chunked:
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.wfile.write(body)

    return answer


def drop(data: bytes, after: int, etag: str | None = '"one"') -> Callable:
    """Promise everything, send `after` bytes, hang up."""

    def answer(handler):
        body = _start(handler, data, etag)
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    return answer


def stall(data: bytes, after: int, until: threading.Event, etag: str | None = '"one"') -> Callable:
    """Promise everything, send `after` bytes, and nothing more until told."""

    def answer(handler):
        body = _start(handler, data, etag)
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        until.wait(30)
        handler.wfile.write(body[after:])

    return answer


def trickle(data: bytes, until: threading.Event) -> Callable:
    """Send a byte now and then."""

    def answer(handler):
        body = _start(handler, data, None)
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if until.wait(0.05):
                return

    return answer


def status(code: int, headers: dict[str, str] | None = None) -> Callable:
    def answer(handler):
        handler.send_response(code)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def redirect(to: str) -> Callable:
    return status(302, {"Location": to})


def _start(handler, data: bytes, etag: str | None, *, chunked: bool = False) -> bytes:
    """Send the head of the answer; the part of the data that was asked for."""
    asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
    start = 0
    if asked and etag is not None and condition == etag:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(data)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return b""
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    else:
        handler.send_response(200)
    if etag is not None:
        handler.send_header("ETag", etag)
        handler.send_header("Accept-Ranges", "bytes")
    if chunked:
        handler.send_header("Transfer-Encoding", "chunked")
    else:
        handler.send_header("Content-Length", str(len(data) - start))
    handler.end_headers()
    return data[start:]


def endless(
    block: bytes, headers: dict[str, str] | None = None, *, code: int = 200, head: bytes = b""
) -> Callable:
    """A body that goes on until the client hangs up."""

    def answer(handler):
        handler.send_response(code)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(head)
        while handler.command != "HEAD":
            handler.wfile.write(block)
        handler.close_connection = True

    return answer


def silence(until: threading.Event) -> Callable:
    """No answer at all until told."""

    def answer(handler):
        until.wait(60)
        handler.close_connection = True

    return answer


def with_header(code: int, name: str, value: str) -> Callable:
    """A status with one header that is nonsense, and a body of two bytes."""

    def answer(handler):
        handler.send_response(code)
        handler.send_header(name, value)
        if name != "Content-Length":
            handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"no")
        handler.close_connection = True

    return answer
