"""What a dataset notes of itself: settings, items, who writes."""

from __future__ import annotations

import json
import threading

import pytest

import mobilenet_hub as hub
from dataset_support import read, write
from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.dataset import manifest
from mobilenet_hub.pipeline.sources.items import BytesItem
from pictures import SMALL, encoded


def test_other_settings_are_refused_and_named(folder, module):
    write(folder / "out", module)
    with pytest.raises(DatasetError, match=r"crop 'center'.*--restart.*Received: crop 'none'"):
        write(folder / "out", module, crop="none")
    other = hub.Module(SMALL, weights="random")
    with pytest.raises(DatasetError, match="weights_sha256"):
        write(folder / "out", other)
    with pytest.raises(DatasetError, match=r"shards 1.*Received: shards 2"):
        write(folder / "out", module, shard=(0, 2))


@pytest.mark.parametrize(
    ("other", "named"),
    [({"precision": "bf16"}, "precision"), ({"engine": "onnxruntime"}, "engine")],
)
def test_what_another_engine_or_precision_computes_is_not_mixed_in(
    folder, module, monkeypatch, other, named
):
    monkeypatch.setattr("mobilenet_hub.runtime.openvino.capabilities", lambda: ("BF16",))
    write(folder / "out", module)
    with pytest.raises(DatasetError, match=f"other settings: {named}.*Received: {named}"):
        write(folder / "out", hub.Module(SMALL, **other))


def test_a_dataset_from_before_engine_and_precision_were_noted_is_taken_up(folder, module):
    write(folder / "out", module)
    path = folder / "out" / "_manifest" / "settings.json"
    noted = json.loads(path.read_text())
    for name in ("engine", "precision", "providers", "features"):
        del noted[name]
    path.write_text(json.dumps(noted))
    assert write(folder / "out", module).counts.skipped == 10


def test_two_runs_do_not_write_to_one_dataset(folder, module):
    entered, leave = threading.Event(), threading.Event()

    def slow():
        yield "first", encoded(0)
        entered.set()
        leave.wait(60)

    thread = threading.Thread(target=write, args=(folder / "out", module, slow()))
    thread.start()
    entered.wait(60)
    try:
        with pytest.raises(DatasetError, match="another run"):
            write(folder / "out", module)
    finally:
        leave.set()
        thread.join()
    assert list(read(folder / "out")) == ["first"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, " " * (2 << 20)])
def test_damaged_settings_are_refused(folder, module, text):
    write(folder / "out", module)
    (folder / "out" / manifest.FOLDER / manifest.SETTINGS).write_text(text)
    with pytest.raises(DatasetError, match="cannot be read"):
        write(folder / "out", module)
    assert write(folder / "out", module, restart=True).rows == 10


@pytest.mark.parametrize("seconds", [-(10**12), 10**12, -1, 10**10])
def test_any_date_of_a_file_is_noted_and_known_again(folder, module, seconds):
    items = [BytesItem("a", "a", encoded(1), seconds * 10**9), BytesItem("b", "b", encoded(2))]
    assert write(folder / "out", module, items).rows == 2
    assert write(folder / "out", module, items).counts.skipped == 2
