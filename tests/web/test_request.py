"""Requests: redirects are followed one by one, and never to where the answer could be anybody's."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

import http_server as web
from mobilenet_hub.errors import NetworkError
from mobilenet_hub.web.request import open_response, redirected, size_and_time


@pytest.fixture
def server():
    with web.serving() as running:
        yield running


def test_redirects_are_followed(server):
    server.on("/end", web.file(b"data"))
    server.on("/b", web.redirect("end"))
    with open_response("GET", server.on("/a", web.redirect("/b"))) as response:
        assert response.raw.read() == b"data"


def test_a_circle_of_redirects_is_an_error(server):
    with pytest.raises(NetworkError, match="more than 10 redirects"):
        open_response("GET", server.on("/a", web.redirect("/a")))
    assert len(server.asked("/a")) == 11


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[bad", "s3://b"])
def test_a_redirect_leads_to_no_other_protocol(server, to):
    with pytest.raises(NetworkError, match="a redirect"):
        open_response("GET", server.on("/a", web.redirect(to)))


@pytest.mark.parametrize("to", ["http://example.org/x", "HTTP://example.org/x"])
def test_a_redirect_from_https_to_http_is_refused_before_anybody_is_asked(to):
    for url in ("https://example.org/a", "HTTPS://example.org/a"):
        with pytest.raises(NetworkError, match="from https to http"):
            redirected(url, to)
        assert redirected(url, "/b").lower() == "https://example.org/b"
    assert redirected("http://example.org/a", to).lower() == "http://example.org/x"


def test_the_body_of_a_redirect_is_not_read(server):
    """Fifty megabytes of it, and an endless one: `requests` would unpack them into memory."""
    bomb = gzip.compress(bytes(50 << 20))
    server.on("/end", web.file(b"data"))
    headers = {"Location": "/end", "Content-Encoding": "gzip"}
    tracemalloc.start()
    try:
        for path, answer in {
            "/finite": web.endless(b"", headers | {"Content-Length": "50000"}, code=302, head=bomb),
            "/endless": web.endless(bomb, headers, code=302),
        }.items():
            with open_response("GET", server.on(path, answer)) as response:
                assert response.raw.read() == b"data"
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "url", ["http://[bad/x", "http:///x", "http://exa mple/x", "http://\udc80/x"]
)
def test_what_is_no_url_is_an_error(url):
    with pytest.raises(NetworkError):
        open_response("GET", url)


def test_nobody_there_is_an_error_that_may_pass(server):
    with pytest.raises(NetworkError, match="refused") as caught:
        open_response("GET", "http://127.0.0.1:1/x")
    assert caught.value.transient


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Length": "12", "Last-Modified": "Thu, 01 Jan 1970 00:01:00 GMT"}, (12, 60.0)),
        ({"Content-Length": "-1", "Last-Modified": "soon"}, (None, 0.0)),
        ({"Content-Length": "9" * 30, "Last-Modified": "1 Jan 99999 00:00:00"}, (None, 0.0)),
        ({"Content-Length": "١٢"}, (None, 0.0)),
        ({}, (None, 0.0)),
    ],
)
def test_headers_may_say_anything(headers, expected):
    assert size_and_time(headers) == expected
