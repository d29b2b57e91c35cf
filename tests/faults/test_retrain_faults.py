"""Whatever happens to a training, what was there stays, and the next one makes it whole."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import time

import pytest

import mobilenet_hub as hub
from classes import SMALL_MODULE, write_class, write_classes
from commands import command, environment


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_killed_at_any_time_it_leaves_the_old_folder_or_the_new_one(tmp_path):
    photos, output = write_classes(tmp_path / "photos", 12), tmp_path / "out"
    hub.retrain(photos, output, SMALL_MODULE)
    old = contents(output)
    write_class(photos / "blue", "blue", 12)
    shutil.copytree(output, tmp_path / "beside")  # the same earlier split, nothing killed
    arguments = command("retrain", photos, "--module", SMALL_MODULE, "--output")
    options = {"env": environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.monotonic()
    subprocess.run([*arguments, str(tmp_path / "beside")], check=True, **options)
    seconds, new = time.monotonic() - start, contents(tmp_path / "beside")
    shutil.rmtree(tmp_path / "cache")
    chance = random.Random(0)
    for _ in range(20):
        process = subprocess.Popen([*arguments, str(output)], **options)
        time.sleep(chance.uniform(0.2, 1.1) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert contents(output) in (old, new)
    subprocess.run([*arguments, str(output)], check=True, **options)
    assert contents(output) == new
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"photos", "out", "out.log", "beside", "beside.log", "cache"}


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path):
    photos, output = write_classes(tmp_path / "photos", 8), tmp_path / "out"
    hub.retrain(photos, output, SMALL_MODULE)
    old = contents(output)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))  # smaller than the weights
    try:
        with pytest.raises(OSError, match="make room"):
            hub.retrain(photos, output, SMALL_MODULE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(output) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out", "out.log", "photos"]


def test_photos_that_vanish_are_listed_or_shown_without_a_picture(tmp_path):
    photos = write_classes(tmp_path / "photos", 8)
    (photos / "red" / "gone.png").symlink_to(tmp_path / "nowhere.png")

    def vanish(text):
        if text.startswith("strength"):
            shutil.rmtree(photos)

    result = hub.retrain(photos, tmp_path / "out", SMALL_MODULE, say=vanish)
    assert "1 photos could not be read, and were skipped" in result.notes
    assert len(contents(tmp_path / "out")) == 6


def test_a_damaged_earlier_split_is_not_passed_over(tmp_path):
    photos, output = write_classes(tmp_path / "photos", 8), tmp_path / "out"
    hub.retrain(photos, output, SMALL_MODULE)
    data = (output / "split.parquet").read_bytes()
    (output / "split.parquet").write_bytes(data[: len(data) // 2])
    before = contents(output)
    with pytest.raises(hub.MobileNetHubError):
        hub.retrain(photos, output, SMALL_MODULE)
    assert contents(output) == before
