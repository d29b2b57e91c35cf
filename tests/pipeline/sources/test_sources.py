"""Sources: what a user names becomes items with stable ids, in an order that names decide."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import struct
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.errors import ItemError, SourceError
from mobilenet_hub.pipeline.sources import open as sources
from mobilenet_hub.pipeline.sources.items import BrokenItem, FileItem, path_id
from mobilenet_hub.pipeline.sources.open import SourceOptions, open_sources, open_words
from pictures import encoded, write_pictures

LIMIT = 1 << 20


def ids(source, **options):
    return [item.id for item in open_sources(source, SourceOptions(**options)).items()]


def contents(source, **options):
    opened = open_sources(source, SourceOptions(**options))
    return {item.id: item.read(LIMIT)[0] for item in opened.items()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Ids


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_an_id_is_utf8_on_one_line_and_undoes_to_its_path(name):
    identity = path_id(os.fsdecode(name))
    identity.encode()
    assert identity.isprintable() or not any(ord(c) < 32 or ord(c) == 127 for c in identity)
    parts = [
        bytes([int(text[1:3], 16)]) + text[3:].encode() if index and escaped(text) else
        (b"\\" if index else b"") + text.encode()
        for index, text in enumerate(identity.split("\\"))
    ]  # fmt: skip
    assert b"".join(parts) == name


def escaped(text):
    return len(text) >= 3 and text[0] == "x" and all(c in "0123456789abcdef" for c in text[1:3])


def test_an_ordinary_path_is_its_own_id():
    assert path_id("photos/Ärger (1).jpg") == "photos/Ärger (1).jpg"


# Folders


def test_a_folder_yields_its_images_at_any_depth_by_name(here):
    for name in ("b/2.JPG", "b/1.png", "a.jpg", "b.jpeg", "notes.txt", "b/c/x.webp"):
        path = here / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    names = ["a.jpg", "b.jpeg", "b/1.png", "b/2.JPG", "b/c/x.webp"]
    found = [f"photos/{name}" for name in names]
    assert ids("photos") == found
    assert ids("./photos//") == found
    assert ids("photos", all_files=True) == [*found, "photos/notes.txt"]
    assert open_sources("photos").count() == 5


def test_the_current_folder_adds_nothing_to_names(here):
    write_pictures(here, 2)
    assert ids(".") == ["0000.jpg", "0001.jpg"]


def test_linked_folders_are_entered_only_when_asked_and_never_for_ever(here):
    write_pictures(here / "photos", 1)
    (here / "elsewhere").mkdir()
    write_pictures(here / "elsewhere", 1, start=7)
    (here / "photos" / "link").symlink_to(here / "elsewhere")
    (here / "photos" / "loop").symlink_to(here / "photos")
    assert ids("photos") == ["photos/0000.jpg"]
    found = ids("photos", follow_links=True)
    assert found[:2] == ["photos/0000.jpg", "photos/link/0007.jpg"]
    items = list(open_sources("photos", SourceOptions(follow_links=True)).items())
    assert isinstance(items[-1], BrokenItem)
    assert "leads back" in items[-1].reason


def test_a_folder_that_cannot_be_listed_is_a_failure_and_not_an_end(here, monkeypatch):
    write_pictures(here / "photos" / "a", 1)
    write_pictures(here / "photos" / "b", 1)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(sources.os, "scandir", refusing)
    items = list(open_sources("photos").items())
    assert [item.id for item in items] == ["photos/a", "photos/b/0000.jpg"]
    with pytest.raises(ItemError) as caught:
        items[0].read(LIMIT)
    assert (caught.value.stage, caught.value.reason) == ("list", "Permission denied")


# Files, globs, lists


def test_a_glob_yields_what_it_matches_in_order_and_folders_as_folders(here):
    write_pictures(here / "photos" / "sub", 1)
    write_pictures(here / "photos", 3)
    assert ids("photos/*") == [f"photos/000{i}.jpg" for i in range(3)] + ["photos/sub/0000.jpg"]
    assert ids("photos/*[12].jpg") == ["photos/0001.jpg", "photos/0002.jpg"]
    assert open_sources("photos/*").count() == 4


def test_a_word_that_names_nothing_is_refused_at_once():
    for word in ("nowhere.jpg", "nowhere/*.jpg"):
        with pytest.raises(SourceError, match="Received"):
            open_words([word])


def test_a_listed_file_that_is_not_there_fails_for_itself(here):
    (here / "list.txt").write_text("nowhere.jpg\n")
    (item,) = open_sources("list.txt").items()
    with pytest.raises(FileNotFoundError):
        item.read(LIMIT)
    (item,) = open_sources(["nowhere.jpg"]).items()
    with pytest.raises(FileNotFoundError):
        item.read(LIMIT)


def test_a_name_with_glob_characters_that_exists_is_a_file(here):
    (here / "a[1].jpg").write_bytes(b"x")
    assert ids("a[1].jpg") == ["a[1].jpg"]


@pytest.mark.parametrize(
    "text", [b"a.jpg\nb c.jpg\n", b"a.jpg\r\n\r\nb c.jpg", b"a.jpg\0b c.jpg\0"]
)
def test_a_text_file_lists_paths(here, text):
    (here / "list.txt").write_bytes(text)
    assert ids("list.txt") == ["a.jpg", "b c.jpg"]
    assert open_sources("list.txt").count() == 2


def test_a_list_separated_by_nul_may_name_paths_with_line_breaks_and_any_bytes(here):
    name = os.fsdecode(b"line\nbreak \xff.jpg")
    (here / name).write_bytes(b"pixels")
    (here / "list.txt").write_bytes(os.fsencode(name) + b"\0")
    assert contents("list.txt") == {r"line\x0abreak \xff.jpg": b"pixels"}


def test_a_binary_file_named_like_a_list_is_a_failure_not_a_flood(here):
    (here / "list.txt").write_bytes(b"x" * 10_000_000)
    (item,) = open_sources("list.txt").items()
    assert isinstance(item, BrokenItem)
    assert "not a list of paths" in item.reason


def test_tables_list_paths_and_ids(here):
    with (here / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "label", "file_name"], ["x", "cat", "a.jpg"], ["y", "", ""]]
        )
    pq.write_table(pa.table({"Path": ["a.jpg", None]}), here / "list.parquet")
    items = list(open_sources("list.csv").items())
    assert [(item.id, item.path) for item in items] == [("x", "a.jpg"), ("list.csv#3", "list.csv")]
    items = list(open_sources("list.parquet").items())
    assert [item.id for item in items] == ["a.jpg", "list.parquet#1"]
    assert ids("list.csv", path_column="label", id_column="file_name")[0] == "a.jpg"
    assert open_sources("list.csv").count() == 2


@pytest.mark.parametrize("header", ["one,two", "", "photo"])
def test_a_table_without_a_column_of_paths_says_which_it_has(here, header):
    (here / "list.csv").write_text(f"{header}\na,b\n")
    with pytest.raises(SourceError, match="Received"):
        open_words(["list.csv"])


def test_paths_in_lists_may_be_relative_to_another_folder(here):
    write_pictures(here / "photos", 1)
    (here / "list.txt").write_text("0000.jpg\n")
    root = str(here / "photos")
    assert contents("list.txt", root=root) == {f"{root}/0000.jpg": encoded(0)}


# Archives


def make_tar(path, members, **options):
    with tarfile.open(path, "w" if str(path).endswith(".tar") else "w:gz", **options) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1234
            tar.addfile(info, io.BytesIO(data))


LONG = "folder/" * 40 + "long.jpg"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_the_images_of_a_tar_archive_are_items(here, format, suffix):
    members = {"a.jpg": b"x" * 700, "a.cls": b"3", "sub/ü.png": b"y" * 512}
    if format != tarfile.USTAR_FORMAT:
        members[LONG] = b"z"
    make_tar(here / f"s{suffix}", members, format=format)
    wanted = {f"s{suffix}/{name}": data for name, data in members.items() if name != "a.cls"}
    assert contents(f"s{suffix}") == wanted
    assert len(contents(f"s{suffix}", all_files=True)) == len(members)
    assert next(open_sources(f"s{suffix}").items()).stamp() == (700, 1234 * 10**9)


def test_members_of_a_plain_archive_are_read_where_they_lie(here):
    make_tar(here / "s.tar", {f"{i}.jpg": bytes([i]) * 100 for i in range(5)})
    items = list(open_sources("s.tar").items())
    assert [item.read(LIMIT)[0][0] for item in reversed(items)] == [4, 3, 2, 1, 0]
    assert open_sources("s.tar").count() == 5


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("cut", [1100, 2000])
def test_a_truncated_archive_yields_what_is_whole_and_one_failure(here, suffix, cut):
    make_tar(here / "whole.tar", {"a.jpg": b"a" * 100, "b.jpg": b"b" * 5000})
    data = (here / "whole.tar").read_bytes()[:cut]
    (here / f"s{suffix}").write_bytes(gzip.compress(data) if suffix == ".tar.gz" else data)
    first, *others = list(open_sources(f"s{suffix}").items())
    assert first.read(LIMIT)[0] == b"a" * 100
    assert others
    for item in others:
        with pytest.raises(ItemError):
            item.read(LIMIT)
    assert "near byte" in others[-1].reason


def test_a_damaged_archive_says_where(here):
    make_tar(here / "s.tar", {"a.jpg": b"a", "b.jpg": b"b"})
    data = bytearray((here / "s.tar").read_bytes())
    data[1024 + 150] ^= 1  # the second header's checksum
    (here / "s.tar").write_bytes(data)
    first, second = open_sources("s.tar").items()
    assert first.read(LIMIT)[0] == b"a"
    assert "checksum" in second.reason


def hostile_header(size_field: bytes, kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[:5], header[124:136], header[156:157] = b"x.jpg", size_field, kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [b"0", b"x", b"L", b"g"])
@pytest.mark.parametrize(
    "field",
    [b"\x80" + struct.pack(">3xQ", 1 << 60), b"77777777777\0", b"\xff" * 12, b"not a numb\0 "],
)
def test_an_archive_that_promises_the_sky_allocates_nothing(here, kind, field):
    (here / "s.tar").write_bytes(hostile_header(field, kind) + b"data" * 300)
    (here / "s.tar.gz").write_bytes(gzip.compress((here / "s.tar").read_bytes()))
    for name in ("s.tar", "s.tar.gz"):
        items = list(open_sources(name).items())
        assert items
        for item in items:
            with pytest.raises(ItemError):
                item.read(LIMIT)


@given(data=st.binary(max_size=2000), at=st.integers(0, 1500))
def test_no_bytes_break_the_archive_reader(tmp_path_factory, data, at):
    path = tmp_path_factory.mktemp("tar") / "s.tar"
    make_tar(path, {"a.jpg": b"a" * 600, "b.jpg": b"b"})
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    for item in open_sources(str(path)).items():
        with contextlib.suppress(ItemError):
            item.read(LIMIT)


# Tables of images


def test_a_parquet_column_of_images_is_a_source(here):
    table = pa.table({"id": ["x", "y", None], "image": [b"1", None, b"3"]})
    pq.write_table(table, here / "t.parquet")
    items = list(open_sources("t.parquet").items())
    assert [item.id for item in items] == ["x", "y", "t.parquet#2"]
    assert [items[0].read(LIMIT)[0], items[2].read(LIMIT)[0]] == [b"1", b"3"]
    with pytest.raises(ItemError, match="empty cell"):
        items[1].read(LIMIT)
    assert open_sources("t.parquet").count() == 3


def test_hugging_face_images_are_read_from_their_struct(here):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": b"1", "path": "one.jpg"}, {"bytes": None, "path": "two.jpg"}]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), here / "t.parquet")
    (here / "two.jpg").write_bytes(b"2")
    assert contents("t.parquet") == {"t.parquet#one.jpg": b"1", "t.parquet#two.jpg": b"2"}


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_files_and_streams_of_images_are_sources(here, stream):
    table = pa.table({"jpg": [b"1", b"2"], "thumb": [b"", b""], "__key__": ["a", "b"]})
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(here / "t.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert contents("t.arrow") == {"a": b"1", "b": b"2"}
    assert set(contents("t.arrow", image_column="thumb").values()) == {b""}


def test_a_table_with_several_columns_of_bytes_asks_which(here):
    pq.write_table(pa.table({"one": [b"1"], "two": [b"2"]}), here / "t.parquet")
    with pytest.raises(SourceError, match=r"--image-column.*Received: one, two"):
        open_words(["t.parquet"])
    with pytest.raises(SourceError, match="no column 'three'"):
        open_words(["t.parquet"], SourceOptions(image_column="three"))


def test_a_file_that_is_no_table_is_refused(here):
    (here / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match="not a readable table"):
        open_words(["t.parquet"])


def test_a_table_that_breaks_off_keeps_what_came_before(here):
    schema = pa.schema([("image", pa.binary())])
    with pa.ipc.new_stream(str(here / "t.arrow"), schema) as writer:
        for value in (b"1", b"2"):
            writer.write_batch(pa.record_batch([pa.array([value * 300])], schema=schema))
    data = (here / "t.arrow").read_bytes()
    (here / "t.arrow").write_bytes(data[: len(data) - 200])
    first, *others = open_sources("t.arrow").items()
    assert first.read(LIMIT)[0] == b"1" * 300
    assert [type(item) for item in others] == [BrokenItem]
    assert "after row 1" in others[0].reason


# Standard input, Python values


class Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BufferedReader(io.BytesIO(data))


def test_standard_input_is_paths_an_archive_or_an_image(here, monkeypatch):
    write_pictures(here, 2)
    monkeypatch.setattr(sys, "stdin", Stdin(b"0000.jpg\n0001.jpg\n"))
    assert contents("-") == {"0000.jpg": encoded(0), "0001.jpg": encoded(1)}
    make_tar(here / "s.tar", {"a.jpg": b"1"})
    monkeypatch.setattr(sys, "stdin", Stdin((here / "s.tar").read_bytes()))
    assert contents("-") == {"stdin/a.jpg": b"1"}
    monkeypatch.setattr(sys, "stdin", Stdin(encoded(3)))
    assert contents("-") == {"stdin": encoded(3)}


def test_python_values_are_sources(here):
    write_pictures(here / "photos", 1)
    values = [here / "photos", "photos/0000.jpg", ("mine", b"pixels"), FileItem("photos/0000.jpg")]
    found = [(item.id, len(item.read(LIMIT)[0])) for item in open_sources(values).items()]
    size = len(encoded(0))
    assert found == [
        (str(here / "photos" / "0000.jpg"), size), ("photos/0000.jpg", size), ("mine", 6),
        ("photos/0000.jpg", size),
    ]  # fmt: skip
    assert open_sources(values).count() == 4
    with pytest.raises(SourceError, match="Received: int"):
        list(open_sources([3]).items())
    with pytest.raises(SourceError, match="Received: bytes"):
        open_sources(b"pixels")


# Files that are not what they seem


def test_a_pipe_among_the_images_does_not_block(here):
    os.mkfifo(here / "pipe.jpg")
    (item,) = open_sources("pipe.jpg").items()
    with pytest.raises(ItemError, match="not a regular file"):
        item.read(LIMIT)


def test_a_file_larger_than_any_image_is_not_read(here):
    with (here / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    (item,) = open_sources("huge.jpg").items()
    with pytest.raises(ItemError, match="more than the limit"):
        item.read(LIMIT)


# Networks


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


def test_http_urls_name_images_lists_and_archives(server):
    pytest.importorskip("aiohttp")
    assert contents(f"{server}/photos/0000.jpg") == {f"{server}/photos/0000.jpg": encoded(0)}
    assert contents(f"{server}/s.tar") == {f"{server}/s.tar/a.jpg": b"1"}
    first, second = open_sources(f"{server}/list.txt").items()
    assert first.read(LIMIT)[0] == encoded(1)
    with pytest.raises(ItemError, match="No such file"):
        second.read(LIMIT)
    with pytest.raises(ItemError, match="more than the limit"):
        first.read(10)


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


def test_an_unknown_protocol_is_refused():
    pytest.importorskip("fsspec")
    with pytest.raises(SourceError, match="Received: 'nonsense'"):
        open_words(["nonsense://bucket"])


def test_a_flaky_network_is_tried_again(monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    from mobilenet_hub.pipeline.sources import remote

    monkeypatch.setattr(remote, "_PAUSE_SECONDS", 0.001)
    memory = fsspec.filesystem("memory")
    memory.pipe("/flaky.jpg", b"pixels")
    calls = []

    def cat_file(path, **options):
        calls.append(path)
        if len(calls) < 3:
            raise TimeoutError("no answer")
        return b"pixels"

    monkeypatch.setattr(memory, "cat_file", cat_file, raising=False)
    item = remote.url_item("memory://flaky.jpg")
    assert item.read(LIMIT)[0] == b"pixels"
    calls[:] = []
    monkeypatch.setattr(remote, "_ATTEMPTS", 2)
    with pytest.raises(ItemError, match="TimeoutError: no answer"):
        item.read(LIMIT)
    memory.rm("/flaky.jpg")


def test_path_types_give_the_same_items(here):
    write_pictures(here / "photos", 1)
    assert ids(Path("photos")) == ids("photos")


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
        item = next(open_sources("s3://photos").items())
        assert item.stamp().size == len(encoded(0))
        assert item.stamp().mtime_ns > 1e18
        (gone,) = open_sources(["s3://photos/none.jpg"]).items()
        with pytest.raises(ItemError, match="No such file"):
            gone.read(LIMIT)
    finally:
        server.stop()
