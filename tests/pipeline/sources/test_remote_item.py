"""A file on a network: fetched whole, or an error that says why."""

from __future__ import annotations

import pytest

from http_server import serving, status
from mobilenet_hub.errors import ItemError, SourceError
from mobilenet_hub.pipeline.sources import remote_item
from mobilenet_hub.pipeline.sources.resolve import open_words
from mobilenet_hub.web import patience
from source_support import LIMIT


def test_an_unknown_protocol_is_refused():
    pytest.importorskip("fsspec")
    with pytest.raises(SourceError, match="Received: 'nonsense://bucket'"):
        open_words(["nonsense://bucket"])


def test_a_flaky_network_is_tried_again(monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setattr(patience, "_BACKOFF_SECONDS", 0.001)
    memory, _ = remote_item.filesystem("memory://flaky.jpg")
    memory.pipe("/flaky.jpg", b"pixels")
    calls = []

    def cat_file(path, **options):
        calls.append(path)
        if len(calls) < 3:
            raise TimeoutError("no answer")
        return b"pixels"

    monkeypatch.setattr(memory, "cat_file", cat_file, raising=False)
    item = remote_item.url_item("memory://flaky.jpg")
    assert item.read(LIMIT)[0] == b"pixels"
    calls[:] = []
    monkeypatch.setattr(patience, "_ATTEMPTS", 2)
    with pytest.raises(ItemError, match="TimeoutError: no answer"):
        item.read(LIMIT)
    memory.rm("/flaky.jpg")


def more_than_was_said(sent):
    """HEAD says 1,000 bytes; GET, whatever part is asked for, sends until the client hangs up."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Length", "1000" if handler.command == "HEAD" else str(1 << 40))
        handler.end_headers()
        while handler.command != "HEAD":
            handler.wfile.write(b"\1" * (1 << 16))
            sent.append(1 << 16)

    return answer


@pytest.mark.parametrize("name", ["photo.jpg", "photos.parquet", "photos.tar"])
def test_of_a_store_that_ignores_ranges_no_more_is_taken_than_was_asked_for(monkeypatch, name):
    """It sent a terabyte into memory, until the time was up."""
    client = pytest.importorskip("s3fs").S3FileSystem
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    monkeypatch.setattr(patience, "_BACKOFF_SECONDS", 0.001)
    sent = []
    with serving() as server:
        server.on(f"/bucket/{name}", more_than_was_said(sent))
        for path in ("/bucket", "/bucket/"):
            server.on(path, status(404))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        client.clear_instance_cache()
        with pytest.raises((ItemError, SourceError), match=r"changed|readable|checksum|parts"):
            for item in open_words([f"s3://bucket/{name}"]).items():
                item.read(LIMIT)
    client.clear_instance_cache()
    assert 0 < sum(sent) < 64 << 20
