"""Folders, globs and files on a network."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from http_server import serving, status
from mobilenet_hub.errors import ItemError, SourceError
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.readers import READERS
from mobilenet_hub.pipeline.sources.resolve import open_sources, open_words
from mobilenet_hub.pipeline.sources.source import LIST_SUFFIXES
from mobilenet_hub.web import patience
from pictures import SIZE, SMALL, encoded
from source_support import LIMIT, contents, ids, make_tar


def test_http_urls_name_images_lists_and_archives(server):
    assert contents(f"{server}/photos/0000.jpg") == {f"{server}/photos/0000.jpg": encoded(0)}
    assert contents(f"{server}/s.tar") == {f"{server}/s.tar/a.jpg": b"1"}
    first, second = open_sources(f"{server}/list.txt").items()
    assert first.read(LIMIT)[0] == encoded(1)
    with pytest.raises(ItemError, match="HTTP status 404 Not Found"):
        second.read(LIMIT)
    with pytest.raises(ItemError, match="more than the limit"):
        first.read(10)


def write_each_kind(folder):
    """A file for each suffix that a reader takes, of images or of a path to one."""
    (folder / "a.jpg").write_bytes(b"1")
    for suffix in LIST_SUFFIXES:
        (folder / f"x{suffix}").write_text("a.jpg\n")
    (folder / "x.csv").write_text("label,path\ncat,a.jpg\n")
    (folder / "x.tsv").write_text("label\tpath\ncat\ta.jpg\n")
    table = pa.table({"id": ["one", "two"], "image": [b"1", b"2"]})
    pq.write_table(table, folder / "x.parquet")
    for suffix in (".arrow", ".feather", ".ipc"):
        with pa.ipc.new_file(folder / f"x{suffix}", table.schema) as writer:
            writer.write_table(table)
    make_tar(folder / "x.tar", {"a.jpg": b"1", "b.png": b"2"})
    plain = (folder / "x.tar").read_bytes()
    for suffix, codec in {".tar.bz2": bz2, ".tar.xz": lzma, ".tar.gz": gzip, ".tgz": gzip}.items():
        (folder / f"x{suffix}").write_bytes(codec.compress(plain))
    (folder / "x.tar.zst").write_bytes(pa.compress(plain, "zstd", asbytes=True))


@pytest.mark.parametrize("protocol", ["http", "memory"])
@pytest.mark.parametrize("suffix", [suffix for suffixes, _ in READERS for suffix in suffixes])
def test_whatever_is_read_here_is_read_behind_a_url_too(here, server, suffix, protocol):
    fsspec = pytest.importorskip("fsspec")
    write_each_kind(here)
    url = server
    if protocol == "memory":
        url = "memory://kinds"
        for path in here.glob("*.*"):
            fsspec.filesystem("memory").pipe(f"/kinds/{path.name}", path.read_bytes())
    expected = contents(f"x{suffix}")
    assert list(expected.values()) in ([b"1"], [b"1", b"2"])
    found = contents(f"{url}/x{suffix}")
    assert list(found.values()) == list(expected.values())
    assert [name.removeprefix(f"{url}/") for name in found] == list(expected)


@pytest.mark.parametrize("name", ["l.txt", "l.csv", "s.tar", "s.tar.gz", "t.parquet"])
def test_a_list_that_the_server_does_not_give_is_known_to_hide_others(monkeypatch, name):
    """Said at once where a header must be read, else by an item of stage `list`: never nothing."""
    monkeypatch.setattr(patience, "_BACKOFF_SECONDS", 0.001)
    with serving() as server:
        url = server.on(f"/{name}", status(503))
        try:
            (item,) = open_words([url]).items()
        except SourceError as error:
            assert name in ("l.csv", "t.parquet")
            reason, stage = str(error), "list"
        else:
            with pytest.raises(ItemError) as caught:
                item.read(LIMIT)
            reason, stage = caught.value.reason, caught.value.stage
        assert (stage, "HTTP status 503 Service Unavailable" in reason) == ("list", True)


def test_folders_and_globs_of_any_fsspec_filesystem_are_sources():
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name in ("b/2.jpg", "b/1.jpg", "a.jpg", "readme.md"):
        memory.pipe(f"/bucket/{name}", name.encode())
    try:
        found = {f"memory:///bucket/{n}": n.encode() for n in ("a.jpg", "b/1.jpg", "b/2.jpg")}
        assert contents("memory://bucket") == found
        assert list(contents("memory://bucket")) == sorted(found)
        assert ids("memory://bucket/b/*.jpg") == sorted(found)[1:]
        with pytest.raises(SourceError, match="no such file or folder"):
            open_words(["memory://nowhere"])
        with pytest.raises(SourceError, match="nothing matches"):
            open_words(["memory://bucket/*.png"])
    finally:
        memory.rm("/bucket", recursive=True)


@pytest.mark.slow
def test_a_bucket_of_s3_is_a_folder(monkeypatch):
    """Against a real server of the protocol (moto) and its real client (s3fs)."""
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3")
        client.create_bucket(Bucket="photos")
        for index in range(5):
            client.put_object(Bucket="photos", Key=f"a/{index}.jpg", Body=encoded(index))
        client.put_object(Bucket="photos", Key="a/readme.txt", Body=b"")
        wanted = {f"s3://photos/a/{index}.jpg": encoded(index) for index in range(5)}
        assert contents("s3://photos") == wanted
        assert list(contents("s3://photos/a/*[13].jpg")) == list(wanted)[1::2]
        odd = ["a//b.jpg", "a///c.jpg", "/top.jpg", "b/c//d/e.jpg", "b/#1?.jpg", "b/f.jpg"]
        client.create_bucket(Bucket="odd")
        for key in [*odd, "b/"]:
            client.put_object(Bucket="odd", Key=key, Body=key.encode())
        assert contents("s3://odd") == {f"s3://odd/{key}": key.encode() for key in odd}
        assert len(contents("s3://odd/b")) == 3
        item = next(open_sources("s3://photos").items())
        assert item.stamp().size == len(encoded(0))
        assert item.stamp().mtime_ns > 1e18
        (gone,) = open_sources(["s3://photos/none.jpg"]).items()
        with pytest.raises(ItemError, match="No such file"):
            gone.read(LIMIT)
    finally:
        server.stop()


def test_photos_behind_a_server_are_done_once_and_again_when_they_change(here, server):
    urls = [f"{server}/photos/{index:04d}.jpg" for index in range(2)]
    assert embed_to(urls, "out", SMALL, size=SIZE).rows == 2
    again = embed_to(urls, "out", SMALL, size=SIZE)
    assert (again.counts.done, again.counts.skipped) == (0, 2)
    (here / "photos" / "0001.jpg").write_bytes(encoded(7))
    again = embed_to(urls, "out", SMALL, size=SIZE)
    assert (again.counts.done, again.counts.skipped, again.rows) == (1, 1, 2)
