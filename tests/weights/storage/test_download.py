"""Downloads against a real server that does everything wrong: no corrupt file is ever used."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import requests

import http_server as web
import mobilenet_hub
import tensorflow_files as tff
from mobilenet_hub.catalog import find
from mobilenet_hub.errors import CacheError, DownloadError, MissingWeightsError, PinError
from mobilenet_hub.web import http_file, patience, request
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.storage import download as downloading
from mobilenet_hub.weights.storage import pins, store
from mobilenet_hub.weights.storage.cache import Cache
from mobilenet_hub.weights.storage.download import download
from weights_support import INFO, KEY, weights_of

NAME = "/mobilenet_v1_0.25_128.tgz"


def archive_of(seed: int) -> bytes:
    """A TF-Slim checkpoint as Google packs it, of random weights."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prefix = folder / "mobilenet_v1_0.25_128.ckpt"
        tff.write_bundle(prefix, random_weights(INFO.network, seed=seed).tensors)
        with tarfile.open(folder / "a.tgz", "w:gz", compresslevel=1) as tar:
            for path in sorted(folder.glob("*.ckpt.*")):
                tar.add(path, f"./{path.name}")
        return (folder / "a.tgz").read_bytes()


@pytest.fixture(scope="module")
def archive():
    return archive_of(1)


@pytest.fixture(scope="module")
def other_archive():
    return archive_of(2)


@pytest.fixture
def server(monkeypatch, empty_cache):
    """A mirror of Google's archives on this machine, and an empty cache."""
    for variable in ("TFHUB_CACHE_DIR", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with web.serving() as server:
        monkeypatch.setenv("MOBILENET_HUB_MIRROR", server.url)
        monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "0")
        # Impatient: these tests are about what happens, not about how long it takes.
        monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", "0.5")
        monkeypatch.setattr(patience, "_BACKOFF_SECONDS", 0.01)
        monkeypatch.setattr(patience, "_MAX_BACKOFF_SECONDS", 0.05)
        yield server


def fetch(**options):
    return store.fetch(INFO, **options)


def assert_right(entry, seed=1):
    """The cache holds what was packed, bit for bit, and nothing half-done."""
    weights = Cache().load(entry)
    expected = random_weights(INFO.network, seed=seed).tensors
    assert sorted(weights.tensors) == sorted(expected)
    assert all(weights.tensors[n].tobytes() == t.tobytes() for n, t in expected.items())
    assert list(Cache().downloads_directory.iterdir()) == []


def test_a_download_is_converted_once_and_says_where_it_comes_from(server, archive):
    url = server.on(NAME, web.file(archive))
    entry = fetch()
    assert_right(entry)
    assert entry.metadata["source"] == url
    assert entry.metadata["source_sha256"] == hashlib.sha256(archive).hexdigest()
    assert entry.metadata["handle"] == "google/imagenet/mobilenet_v1_025_128/classification/5"
    assert fetch() == entry
    assert store.load_weights(INFO).sha256 == entry.sha256
    assert store.local_path(INFO.handle) == str(Cache().path(entry))
    assert len(server.asked(NAME)) == 1


def test_a_dropped_connection_is_resumed_where_it_stopped(server, archive):
    third = len(archive) // 3
    server.on(NAME, web.drop(archive, third), web.drop(archive, third), web.file(archive))
    assert_right(fetch())
    ranges = [request.headers.get("Range") for request in server.asked(NAME)]
    assert ranges[0] is None
    assert all(value is not None for value in ranges[1:])


def test_a_server_without_etags_is_asked_from_the_start_again(server, archive):
    server.on(NAME, web.drop(archive, 50_000, None), web.file(archive, None))
    assert_right(fetch())
    assert [request.headers.get("Range") for request in server.asked(NAME)] == [None, None]


def test_a_file_that_changed_meanwhile_is_taken_from_the_start(server, archive, other_archive):
    server.on(NAME, web.drop(other_archive, 50_000, '"one"'), web.file(archive, '"two"'))
    assert_right(fetch())


def test_parts_of_two_files_under_one_etag_are_noticed_and_fetched_anew(
    server, archive, other_archive
):
    server.on(NAME, web.drop(other_archive, 500_000), web.file(archive))
    assert_right(fetch())
    assert len(server.asked(NAME)) == 3


@pytest.fixture
def always_asked(monkeypatch):
    """What is near is asked for with a range, too, instead of being read once more."""
    monkeypatch.setattr(http_file, "_SKIP_BYTES", 0)


def test_a_connection_that_always_drops_is_an_error_that_can_be_continued(
    server, archive, always_asked
):
    url = server.on(NAME, *[web.drop(archive, 10_000)] * 3, web.drop(archive, 0))
    with pytest.raises(MissingWeightsError, match=r"(?i)connection|bytes") as caught:
        fetch()
    assert url in str(caught.value)
    assert "mobilenet-hub import" in str(caught.value)
    server.on(NAME, web.file(archive))
    assert_right(fetch())
    assert server.requests[-1].headers["Range"] == "bytes=30000-"


@pytest.mark.parametrize("chunked", [True, False])
def test_a_server_that_sends_wrong_bytes_is_never_believed(server, archive, chunked):
    page = b"<html>Please log in to the network of this hotel.</html>" * 100
    url = server.on(NAME, web.file(page, None, chunked=chunked))
    with pytest.raises(MissingWeightsError, match="not what was asked for") as caught:
        fetch()
    assert url in str(caught.value)
    assert Cache().get(KEY) is None
    server.on(NAME, web.file(archive, chunked=chunked))
    assert_right(fetch())


def test_a_flipped_bit_is_noticed(server, archive):
    for place in (100, len(archive) // 2, len(archive) - 6):
        damaged = bytearray(archive)
        damaged[place] ^= 1
        server.on(NAME, web.file(bytes(damaged)))
        with pytest.raises(MissingWeightsError):
            fetch()
        assert Cache().get(KEY) is None


def test_the_archive_of_another_network_is_refused(server, archive):
    other = find("google/imagenet/mobilenet_v1_050_128/classification/3")
    server.on("/mobilenet_v1_0.5_128.tgz", web.file(archive))
    with pytest.raises(MissingWeightsError, match="depth multiplier"):
        store.fetch(other)
    assert Cache().get(other.checkpoint_key) is None


def test_redirects_are_followed(server, archive):
    server.on("/elsewhere", web.file(archive))
    server.on(NAME, web.redirect("/elsewhere"))
    assert_right(fetch())


@pytest.mark.parametrize("first", ["https://a/x.tgz", "HTTPS://a/x.tgz"])
def test_a_way_that_leaves_https_is_refused_before_anybody_there_is_asked(monkeypatch, first):
    asked = []

    class Session:
        def request(self, method, place, **_):
            asked.append(place)
            answer = requests.Response()
            answer.status_code, answer.raw = 302, io.BytesIO()
            answer.headers["Location"] = "http://b/x.tgz"
            return answer

    monkeypatch.setattr(request, "_session", Session)
    with pytest.raises(DownloadError, match=r"redirect from https to http"):
        download(first, Path("part"))
    assert asked == [first]


@pytest.mark.parametrize("target", ["ftp://b/x.tgz", "file:///etc/passwd", "http://[bad"])
def test_a_redirect_to_what_is_no_address_of_the_web_is_refused(server, target):
    url = server.on(NAME, web.redirect(target))
    with pytest.raises(DownloadError, match="redirect"):
        download(url, Path("part"))
    with pytest.raises(DownloadError, match="not a URL"):
        download(target, Path("part"))


@pytest.mark.parametrize("body", ["endless", "trickling"])
def test_the_body_of_a_redirect_is_never_read(server, archive, body):
    over, sent = threading.Event(), []

    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.close_connection = True
        piece = gzip.compress(bytes(1 << 24)) if body == "endless" else b"\x1f"
        while not over.wait(0 if body == "endless" else 0.05) and len(sent) < 2000:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent.append(len(piece))

    server.on("/elsewhere", web.file(archive))
    url = server.on(NAME, answer)
    try:
        done = download(url, Path("part"))
    finally:
        over.set()
    assert done.sha256 == hashlib.sha256(archive).hexdigest()
    assert len(sent) < 2000


def test_a_link_in_the_place_of_a_download_is_not_followed(server, archive):
    victim, part = Path("victim"), Path("part")
    victim.write_bytes(archive[:1000])
    part.symlink_to(victim.absolute())
    url = server.on(NAME, web.file(archive))
    note = part.with_name("part.json")
    note.write_text(f'{{"url": "{url}", "validator": "\\"one\\""}}')
    assert download(url, part).sha256 == hashlib.sha256(archive).hexdigest()
    assert victim.read_bytes() == archive[:1000]
    assert not part.is_symlink()
    part.unlink()
    note.unlink()
    note.symlink_to(victim.absolute())
    download(url, part)
    assert victim.read_bytes() == archive[:1000]


@pytest.mark.parametrize("header", ["Content-Length", "Content-Range", "Retry-After"])
def test_a_number_in_a_header_may_be_anything(server, header):
    url = server.on(NAME, web.with_header(503, header, "9" * 10_000), web.status(404))
    with pytest.raises(DownloadError, match="no such file"):
        download(url, Path("part"))
    server.on(NAME, web.with_header(200, header, "9" * 10_000))
    with contextlib.suppress(DownloadError):
        download(url, Path("part"))


def test_a_circle_of_redirects_is_an_error(server):
    url = server.on(NAME, web.redirect(NAME))
    with pytest.raises(DownloadError, match="redirects") as caught:
        download(url, Path("part"))
    assert url in str(caught.value)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, archive, code):
    server.on(NAME, web.status(code), web.status(code, {"Retry-After": "0"}), web.file(archive))
    assert_right(fetch())
    assert len(server.asked(NAME)) == 3


@pytest.mark.parametrize(("code", "requests"), [(403, 1), (404, 1), (429, 4), (500, 4)])
def test_an_error_names_the_url_the_status_and_what_to_do(server, code, requests):
    url = server.on(NAME, web.status(code))
    with pytest.raises(MissingWeightsError) as caught:
        fetch()
    message = str(caught.value)
    assert url in message
    assert str(code) in message
    assert f"mobilenet-hub fetch {INFO.handle}" in message
    assert INFO.checkpoint_url in message
    assert message.endswith(f"Received: {INFO.handle!r}")
    assert len(server.asked(NAME)) == requests


def test_a_server_that_stalls_is_given_up_on_and_resumed(server, archive):
    never = threading.Event()
    try:
        server.on(NAME, web.stall(archive, 100_000, never), web.file(archive))
        assert_right(fetch())
        assert server.requests[-1].headers["Range"] == "bytes=100000-"
    finally:
        never.set()


def test_a_server_that_trickles_is_given_up_on(server, archive):
    enough = threading.Event()
    try:
        server.on(NAME, web.trickle(archive, enough))
        with pytest.raises(MissingWeightsError, match=r"only \d+ bytes came in"):
            fetch()
    finally:
        enough.set()


def test_nobody_there_is_an_error_at_once(server):
    server_gone = "http://127.0.0.1:9"  # the discard port: nobody listens
    with pytest.raises(DownloadError, match="HTTPS_PROXY") as caught:
        download(f"{server_gone}/x", Path("part"))
    assert server_gone in str(caught.value)


def test_offline_nobody_is_asked(server, archive, monkeypatch):
    server.on(NAME, web.file(archive))
    monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeightsError, match="MOBILENET_HUB_OFFLINE"):
        store.load_weights(INFO)
    assert server.requests == []


def test_a_file_that_is_larger_than_any_network_is_refused(server, archive, monkeypatch):
    url = server.on(NAME, web.file(archive))
    monkeypatch.setattr(downloading, "MAX_BYTES", 1000)
    with pytest.raises(DownloadError, match="1,000 bytes"):
        download(url, Path("part"))
    server.on(NAME, web.file(archive, chunked=True))
    with pytest.raises(DownloadError, match="1,000 bytes"):
        download(url, Path("part"))
    assert Path("part").stat().st_size <= 1000


def test_the_proxy_of_the_environment_is_used(server, archive, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("MOBILENET_HUB_MIRROR", "http://archives.invalid")
    server.on(f"http://archives.invalid{NAME}", web.file(archive))
    assert_right(fetch())


def test_progress_is_told(server, archive):
    seen = []
    server.on(NAME, web.file(archive))
    fetch(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(archive), len(archive))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# Pins -------------------------------------------------------------------------------------------


def test_the_first_download_is_pinned_and_another_is_an_error(server, archive, other_archive):
    lock = Path(pins.FILE_NAME)
    server.on(NAME, web.file(archive))
    fetch(lock=lock)
    assert pins.read_pins(lock)[KEY].sha256 == hashlib.sha256(archive).hexdigest()
    text = lock.read_text()
    server.on(NAME, web.file(other_archive))
    with pytest.raises(PinError, match=r"mobilenet-hub\.lock") as caught:
        fetch(force=True)
    assert hashlib.sha256(archive).hexdigest() in str(caught.value)
    assert hashlib.sha256(other_archive).hexdigest() in str(caught.value)
    assert lock.read_text() == text
    kept = store.load_weights(INFO)
    assert kept.metadata["source_sha256"] == hashlib.sha256(archive).hexdigest()


def test_the_cache_remembers_the_first_download_without_a_project(server, archive, other_archive):
    server.on(NAME, web.file(archive))
    fetch()
    Cache().remove(KEY)
    server.on(NAME, web.file(other_archive))
    with pytest.raises(PinError):
        fetch()
    assert Cache().get(KEY) is None
    assert_right(fetch(repin=True), seed=2)
    Cache().remove(KEY)
    assert_right(fetch(), seed=2)


def test_a_project_pin_holds_for_what_is_in_the_cache_already(server, archive, other_archive):
    server.on(NAME, web.file(archive))
    fetch(lock=Path(pins.FILE_NAME))
    server.on(NAME, web.file(other_archive))
    lock = Path(pins.FILE_NAME).rename("away.lock")
    fetch(force=True, repin=True)
    store.load_weights(INFO)
    lock.rename(pins.FILE_NAME)
    with pytest.raises(PinError, match="are not those that"):
        store.load_weights(INFO)


def test_what_the_project_pins_comes_before_what_this_cache_saw_first(
    server, archive, other_archive, tmp_path
):
    server.on(NAME, web.file(archive))
    fetch(lock=tmp_path / "team.lock")
    Cache().remove(KEY)
    (Cache().pins_directory / f"{KEY}.lock").unlink()
    server.on(NAME, web.file(other_archive))
    fetch()  # somebody whose cache saw another release first
    (tmp_path / "team.lock").rename(pins.FILE_NAME)
    with pytest.raises(PinError, match="fetch --force"):
        store.load_weights(INFO)
    server.on(NAME, web.file(archive))
    assert_right(fetch(force=True))
    Path(pins.FILE_NAME).unlink()
    assert_right(fetch(force=True))


def test_imported_features_are_not_replaced_by_published_ones_unasked(server, archive):
    feature_vector = replace(INFO, task="feature_vector")
    mine = random_weights(INFO.network, seed=9, logits=False)
    store.keep(mine, feature_vector)
    server.on(NAME, web.file(archive))
    with pytest.raises(CacheError, match="fetch --force") as caught:
        store.load_weights(INFO)
    assert "seed 9" in str(caught.value)
    assert pins.tensor_digests(store.load_weights(feature_vector)) == pins.tensor_digests(mine)
    assert_right(fetch(force=True))
    store.keep(random_weights(INFO.network, seed=1, logits=False), feature_vector)
    assert_right(store.fetch(INFO))  # the same features: nothing is lost


def test_the_same_tensors_from_another_place_satisfy_a_pin(server, archive, monkeypatch):
    server.on(NAME, web.file(archive))
    entry = fetch(lock=Path(pins.FILE_NAME))
    data = Cache().path(entry).read_bytes()  # the same tensors, in another format
    Cache().remove(KEY)
    monkeypatch.setenv("MOBILENET_HUB_MIRROR", f"{server.url}/other")
    server.on(f"/other{NAME}", web.file(data))
    assert_right(fetch())


# Several processes ------------------------------------------------------------------------------

FETCH = f"""
import sys
from mobilenet_hub.catalog import find
from mobilenet_hub.weights.storage import store
print("ready", flush=True)
entry = store.fetch(find({INFO.handle!r}))
print(entry.sha256, flush=True)
"""


def start(code=FETCH):
    source = str(Path(mobilenet_hub.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source, "MOBILENET_HUB_TIMEOUT": "30"},
    )


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_two_processes_that_fetch_at_once_download_once(server, archive):
    go = threading.Event()
    server.on(NAME, web.stall(archive, 1000, go))
    first = start()
    wait_until(lambda: server.asked(NAME))
    second = start()
    assert second.stdout.readline() == "ready\n"
    time.sleep(0.3)  # let it come to the lock
    assert second.poll() is None
    go.set()
    sha256 = [process.communicate(timeout=60)[0].split()[-1] for process in (first, second)]
    assert sha256[0] == sha256[1] == Cache().get(KEY).sha256
    assert len(server.asked(NAME)) == 1


def test_a_killed_download_is_continued_at_the_next_call(server, archive, always_asked):
    never = threading.Event()
    server.on(NAME, web.stall(archive, 200_000, never))
    process = start()
    part = Cache().downloads_directory
    wait_until(lambda: any(p.stat().st_size for p in part.glob("m*.part")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    never.set()
    (size,) = (path.stat().st_size for path in part.glob("m*.part"))
    server.on(NAME, web.file(archive))
    assert_right(fetch())
    assert server.requests[-1].headers["Range"] == f"bytes={size}-"


def test_a_finished_download_is_not_made_twice(server, archive):
    url = server.on(NAME, web.file(archive))
    first = download(url, Path("part"))
    again = download(url, Path("part"))
    assert again.sha256 == first.sha256 == hashlib.sha256(archive).hexdigest()
    assert [r.headers.get("Range") for r in server.requests] == [None, None]  # only its head
    server.on(NAME, web.file(archive[:-5], '"shorter"'))
    assert download(url, Path("part")).size == len(archive) - 5


@pytest.mark.parametrize("step", range(1, 6))
def test_a_process_killed_while_it_converts_leaves_a_cache_that_works(server, archive, step):
    # The steps are the renames that make files appear: the note of the download, the weights, their
    # record, the pin.
    kill = f"""
import os, pathlib, signal
steps, replace = [], pathlib.Path.replace
def killed(self, target):
    steps.append(target)
    if len(steps) == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = killed
"""
    server.on(NAME, web.file(archive))
    process = start(kill + FETCH)
    process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if step < 5 else 0)
    entry = fetch()
    assert store.load_weights(INFO).network == INFO.network
    Cache().prune()
    assert_right(entry)
    names = sorted(path.name for path in Cache().weights_directory.iterdir())
    assert names == sorted([f"{KEY}.json", Cache().get(KEY).file])
    assert Cache().verify() == {KEY: None}


# File systems -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["the download", "the unpacked checkpoint", "the weights"])
def test_a_full_disk_is_an_error_that_says_what_to_do(server, archive, what):
    # A limit on the size of files stands for the disk: the same write fails in the same place.
    unpacked = sum(t.nbytes for t in random_weights(INFO.network).tensors.values())
    room = {
        "the download": len(archive) // 2,
        "the unpacked checkpoint": (len(archive) + unpacked) // 2,
        "the weights": unpacked + 100,
    }[what]
    server.on(NAME, web.file(archive))
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
    error = start(limit + FETCH).communicate(timeout=60)[1].splitlines()[-1]
    assert "CacheError: Cannot" in error
    assert "MOBILENET_HUB_CACHE_DIR" in error or "TMPDIR" in error
    assert Cache().get(KEY) is None
    assert_right(fetch())


@pytest.fixture
def world_readable(monkeypatch):
    """A cache folder that other users can reach (pytest's own folders are private)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        cache = Path(name) / "cache"
        monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(cache))
        yield cache


GROUP = 45678  # that some users are in


class _As:
    """Another user, for as long as it lasts; only root can be several."""

    def __init__(self, user, groups=(), umask=0o022):
        self.user = user
        self.groups = groups
        self.umask = umask

    def __enter__(self):
        self.before = os.getgroups(), os.umask(self.umask)
        os.setgroups(self.groups)
        os.setegid(self.user)
        os.seteuid(self.user)

    def __exit__(self, *exception):
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(self.before[0])
        os.umask(self.before[1])


as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be several users"
)


@as_root
def test_a_cache_one_may_not_write_is_read_and_says_so_when_it_must_be_written(
    server, archive, other_archive, world_readable
):
    server.on(NAME, web.file(archive))
    entry = fetch()
    another = find("google/imagenet/mobilenet_v1_050_128/feature_vector/3")
    with _As(12345):
        assert store.load_weights(INFO).sha256 == entry.sha256
        assert fetch() == entry
        with pytest.raises(CacheError, match="MOBILENET_HUB_CACHE_DIR") as caught:
            store.fetch(another)
    assert "Permission denied" in str(caught.value)


@as_root
def test_two_users_can_share_a_cache(server, archive, world_readable):
    world_readable.mkdir()
    world_readable.chmod(0o777)
    server.on(NAME, web.file(archive))
    with _As(12345):
        entry = fetch()
    with _As(23456):
        assert fetch() == entry
        assert fetch(force=True) == entry
        assert Cache().remove(KEY)
        assert fetch().sha256 == entry.sha256
    with _As(12345):
        assert store.load_weights(INFO).sha256 == entry.sha256
        assert Cache().prune() == {}


@as_root
def test_what_another_user_left_of_a_download_is_in_nobodys_way(server, archive, world_readable):
    world_readable.mkdir()
    world_readable.chmod(0o1777)
    server.on(NAME, web.drop(archive, 30_000))
    with _As(12345), pytest.raises(MissingWeightsError):
        fetch()
    left = sorted(Cache().downloads_directory.iterdir())
    server.on(NAME, web.file(archive))
    with _As(23456):
        entry = fetch()
    assert [path.name.split(".")[1] for path in left] == ["12345", "12345"]
    assert sorted(Cache().downloads_directory.iterdir()) == left
    assert Cache().prune() == dict.fromkeys(left)
    assert_right(entry)


@as_root
def test_a_group_shares_a_cache_whatever_umask_its_users_have(server, archive, world_readable):
    """What the cache had pinned was private to the first of them."""
    world_readable.mkdir()
    os.chown(world_readable, 0, GROUP)
    world_readable.chmod(0o2770)
    server.on(NAME, web.file(archive))
    with _As(12345, [GROUP], umask=0o077):
        entry = fetch()
    with _As(23456, [GROUP], umask=0o077):
        assert store.load_weights(INFO).sha256 == entry.sha256
        assert pins.verify(Cache()) == {KEY: None}
        assert fetch(force=True) == entry
        assert set(Cache().remove(KEY).values()) == {None}
    with _As(12345, [GROUP], umask=0o077):
        assert fetch() == entry
    with _As(34567), pytest.raises(CacheError, match="Permission denied"):
        store.load_weights(INFO)


@as_root
def test_below_the_sticky_bit_everybody_fetches_and_nobody_removes_what_is_anothers(
    server, archive, world_readable
):
    """The second user could pin nothing, and `prune` stopped at what the first had left."""
    world_readable.mkdir()
    world_readable.chmod(0o1777)
    server.on(NAME, web.file(archive))
    another = find("google/imagenet/mobilenet_v1_050_128/feature_vector/3")
    with _As(12345):
        entry = fetch()
        left = Cache().weights_directory / f".{another.checkpoint_key}.json.0123.part"
        left.write_bytes(b"half")
    with _As(23456):
        kept = store.keep(weights_of(another), another)
        assert pins.verify(Cache()) == {KEY: None, another.checkpoint_key: None}
        own = Cache().downloads_directory / f"{another.checkpoint_key}.23456.x.tgz.part"
        own.write_bytes(b"half")
        assert Cache().prune() == {left: "Operation not permitted", own: None}
        with pytest.raises(CacheError, match="Operation not permitted"):
            store.keep(weights_of(INFO), INFO, force=True)
        # A leaving of its own is gone; what the other user has there is not.
        assert set(Cache().remove(KEY).values()) == {None, "Operation not permitted"}
    with _As(12345):
        assert store.load_weights(INFO).sha256 == entry.sha256
        assert store.load_weights(another).sha256 == kept.sha256
        assert Cache().prune() == {left: None}


def test_a_cache_that_cannot_be_a_folder_is_an_error(server, archive, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "file" / "cache"))
    server.on(NAME, web.file(archive))
    with pytest.raises(CacheError, match="MOBILENET_HUB_CACHE_DIR"):
        fetch()
