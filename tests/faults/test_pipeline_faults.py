"""What can go wrong with a pile of images goes wrong here.

After each fault the rows and the listed failures together are exactly the input: each item once,
each row its own.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import random
import signal
import struct
import subprocess
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobilenet_hub as hub
from commands import command, environment, forking, mobilenet_hub_command
from mobilenet_hub import files
from mobilenet_hub.images import Preprocessing, preprocess
from mobilenet_hub.pipeline import embed
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.resolve import open_sources
from pictures import SIZE, SMALL, encoded, picture, write_pictures
from stored_rows import assert_same_rows, rows

FAST = ["--module", SMALL, "--size", "32"]


@pytest.fixture(scope="module")
def module():
    return hub.Module(SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failures(output):
    lines = Path(output, "_errors.jsonl").read_text("utf-8").splitlines()
    listed = {line["id"]: line for line in map(json.loads, lines)}
    assert len(listed) == len(lines)
    return listed


# Bad files


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def huge_png():
    """A true PNG of 30,000 × 30,000 pixels in about 100 kB."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    squeeze = zlib.compressobj(9)
    line = bytes(1 + 30_000 // 8)
    data = b"".join(squeeze.compress(line * 1000) for _ in range(30)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def good_files():
    frames = [picture(1), picture(2)]
    return {
        "plain.jpg": encoded(10),
        "truly a png.jpg": saved(picture(11), "PNG"),
        "truly a webp.png": saved(picture(12), "WEBP", lossless=True),
        "animated.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "cmyk.jpg": saved(picture(13).convert("CMYK"), "JPEG"),
        "grey.jpg": saved(picture(14).convert("L"), "JPEG"),
        "sixteen bits.png": saved(
            Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48) * 30), "PNG"
        ),
        "alpha.png": saved(picture(15).convert("RGBA"), "PNG"),
        "palette.png": saved(picture(16).convert("P"), "PNG"),
        "line\nbreak.jpg": encoded(17),
        "ünïcödé 图.jpg": encoded(18),
        os.fsdecode(b"not utf-8 \xff\xfe.jpg"): encoded(19),
        "quote\"s and 'such, and\ttabs.jpg": encoded(20),
        "-o.jpg": encoded(21),
        "progressive.jpg": saved(picture(22), "JPEG", progressive=True),
    }


def bad_files():
    return {
        "truncated.jpg": (encoded(30)[:-200], "truncated"),
        "truncated.png": (saved(picture(31, (480, 400)), "PNG")[:300], "truncated"),
        "header only.jpg": (encoded(32)[:100], ""),
        "empty.jpg": (b"", "an empty file"),
        "saved by a browser.jpg": (b"<!DOCTYPE html><html>404</html>", "not a JPEG"),
        "text.png": (b"hello", "not a JPEG"),
        "bomb.png": (huge_png(), "more than the limit"),
        "noise.jpg": (random.Random(0).randbytes(5000), "not a JPEG"),
        "jpeg of noise.jpg": (b"\xff\xd8\xff" + random.Random(1).randbytes(5000), ""),
    }


def test_every_kind_of_bad_file_is_listed_and_disturbs_no_other(folder, module):
    photos = folder / "photos"
    photos.mkdir()
    good, bad = good_files(), bad_files()
    for name, data in (good | {name: data for name, (data, _) in bad.items()}).items():
        (photos / name).write_bytes(data)
    (photos / "dangling.jpg").symlink_to("nowhere.jpg")
    (photos / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(photos / "pipe.jpg")
    (photos / "folder.jpg").mkdir()
    (photos / "folder.jpg" / "inside.jpg").write_bytes(encoded(40))
    good["folder.jpg/inside.jpg"] = encoded(40)
    unreadable = {
        "dangling.jpg": "No such file", "circle.jpg": "symbolic links",
        "pipe.jpg": "not a regular file",
    }  # fmt: skip

    summary = embed_to("photos", "out", module, size=SIZE, dimensions=True, part_items=5)
    found = dict(rows("out"))
    assert len(found) == len(good) == summary.rows
    preprocessing = Preprocessing(*SIZE)
    for name, data in good.items():
        identity = f"photos/{name}".replace("\n", "\\x0a").replace("\t", "\\x09")
        identity = identity.replace("\udcff", "\\xff").replace("\udcfe", "\\xfe")
        np.testing.assert_allclose(
            found[identity], module(preprocessing(data)[None])[0], atol=1e-4, err_msg=name
        )
    listed = failures("out")
    assert len(listed) == len(bad) + len(unreadable) == summary.failures
    for name, (_, reason) in bad.items():
        assert listed[f"photos/{name}"]["stage"] == "decode"
        assert reason in listed[f"photos/{name}"]["reason"]
    for name, reason in unreadable.items():
        assert listed[f"photos/{name}"]["stage"] == "read"
        assert reason in listed[f"photos/{name}"]["reason"]


def read_without_rights(results):
    """What the child below does: reads as a user who may not read everything, as root may."""
    from mobilenet_hub.errors import ItemError

    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for item in open_sources("photos").items():
        try:
            results.send((item.id, item.read(1 << 20)[0]))
        except ItemError as error:
            results.send((item.id, f"{error.stage}: {error.reason}"))
        except OSError as error:
            results.send((item.id, f"read: {error.strerror}"))
    results.close()


def test_what_may_not_be_read_is_listed(folder):
    write_pictures(folder / "photos", 3)
    (folder / "photos" / "0001.jpg").chmod(0)
    write_pictures(folder / "photos" / "closed", 2)
    (folder / "photos" / "closed").chmod(0)
    for above in folder.parents:
        if above not in (Path("/"), Path("/tmp")) and above.owner() == folder.owner():
            above.chmod(above.stat().st_mode | 0o011)
    folder.chmod(0o755)
    receiver, sender = forking().Pipe(duplex=False)
    process = forking().Process(target=read_without_rights, args=(sender,))
    process.start()
    sender.close()
    found = []
    with contextlib.suppress(EOFError):
        while True:
            found.append(receiver.recv())
    process.join()
    (folder / "photos" / "closed").chmod(0o755)
    assert process.exitcode == 0
    assert found == [
        ("photos/0000.jpg", encoded(0)),
        ("photos/0001.jpg", "read: Permission denied"),
        ("photos/0002.jpg", encoded(2)),
        ("photos/closed", "list: Permission denied"),
    ]


def test_files_that_vanish_or_appear_during_the_run_cost_nobody_a_row(folder, module):
    paths = write_pictures(folder / "photos", 1200)
    records = embed("photos", module, size=SIZE, threads=2)
    seen = [next(records)]
    paths[-1].unlink()
    paths[-2].rename(folder / "photos" / "0000a.jpg")
    seen += records
    assert [record.id for record in seen] == [f"photos/{path.name}" for path in paths]
    assert [record.id for record in seen if not record.ok] == [
        f"photos/{path.name}" for path in paths[-2:]
    ]
    assert seen[-1].stage == "read"


def test_a_worker_that_dies_ends_the_run_and_the_next_one_finishes_it(folder, module, monkeypatch):
    write_pictures(folder / "photos", 60)
    calls = []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 35:
            raise SystemExit("killed")
        preprocess(*arguments)

    source, settings = "photos", {"size": SIZE}
    with monkeypatch.context() as patch:
        patch.setattr("mobilenet_hub.pipeline.processor.preprocess", dying)
        with pytest.raises(SystemExit):
            embed_to(source, "out", module, **settings, part_items=8)
    embed_to(source, "out", module, **settings, part_items=8)
    embed_to(source, "whole", module, **settings, part_items=8)
    assert_same_rows(rows("out"), rows("whole"))


# Full disks


@pytest.mark.parametrize("call", range(1, 9))
@pytest.mark.parametrize("output", ["out", "out.parquet", "out.npy", "out.csv"])
def test_a_disk_that_is_full_at_any_write_loses_nothing(folder, module, monkeypatch, output, call):
    write_pictures(folder / "photos", 10)
    source, settings = "photos", {"size": SIZE}
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    embed_to(source, f"whole{Path(output).suffix}", module, **settings, part_items=4)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            embed_to(source, output, module, **settings, part_items=4)
        assert len(calls) == call
    summary = embed_to(source, output, module, **settings, part_items=4)
    assert (summary.rows, summary.failures) == (10, 0)
    assert_same_rows(rows(output), rows(f"whole{Path(output).suffix}"))
    assert not [path for path in folder.rglob("*") if path.suffix == ".part"]


def test_a_quota_met_in_the_middle_of_a_part_ends_with_1_and_can_be_taken_up(folder):
    write_pictures(folder / "photos", 200)
    mobilenet_hub_command("embed", "photos", "-o", "whole", *FAST, check=True)
    # No file may be larger than 4,096 bytes.
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh"]
    done = subprocess.run(
        [*limited, *command("embed", "photos", "-o", "out", *FAST)],
        env=environment() | {"PYTHONDONTWRITEBYTECODE": "1"},  # Python would cut its own files off
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: File too large")
    assert "Traceback" not in done.stderr
    assert not [path for path in (folder / "out").iterdir() if path.name != "_manifest"]
    mobilenet_hub_command("embed", "photos", "-o", "out", *FAST, check=True)
    assert_same_rows(rows("out"), rows("whole"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_truly_full_disk_can_be_emptied_and_taken_up(folder):
    write_pictures(folder / "photos", 200)
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (disk / "ballast").write_bytes(bytes(200_000))
        arguments = ("embed", "photos", "-o", disk / "out", "--part-items", "10", *FAST)
        done = mobilenet_hub_command(*arguments)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        (disk / "ballast").unlink()
        mobilenet_hub_command(*arguments, check=True)
        assert [name for name, _ in rows(disk / "out")] == [
            f"photos/{index:04d}.jpg" for index in range(200)
        ]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_commits_the_open_part_and_the_next_run_goes_on(folder, module, number):
    write_pictures(folder / "photos", 900)
    names = b"".join(b"photos/%04d.jpg\n" % index for index in range(900))
    process = subprocess.Popen(
        command("embed", "-", "-o", "out", "--progress", "json", "--threads", "1", *FAST),
        env=environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    # The names of the first 600 only: then it works, and waits for more for ever.
    process.stdin.write(names[: len(names) * 2 // 3])
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not list(folder.glob("out/.part-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    try:
        code = process.wait(timeout=60)  # while its input is still open
    finally:
        process.kill()
    stderr = process.communicate()[1].decode()
    assert code == 130, stderr
    assert "interrupted; the same command goes on from here" in stderr
    first = rows("out")
    assert 0 < len(first) <= 600
    done = mobilenet_hub_command("embed", "photos", "-o", "out", "--json", *FAST, check=True)
    summary = json.loads(done.stdout)
    assert (summary["skipped"], summary["rows"]) == (len(first), 900)
    embed_to("photos", "whole", module, size=SIZE)
    assert_same_rows(rows("out"), rows("whole"))
