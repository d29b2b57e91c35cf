"""From photos with sides to a trained network and head."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras")

import mobilenet_hub as hub
from mobilenet_hub.errors import InputError
from mobilenet_hub.pipeline.sources.items import BytesItem, FileItem
from mobilenet_hub.retraining.fine_tune import fine_tune
from mobilenet_hub.retraining.records import Data, Head
from mobilenet_hub.settings import FineTuneSettings, PreprocessingSettings

MODULE = "google/imagenet/mobilenet_v1_025_224/feature_vector/5"
PREPROCESSING = PreprocessingSettings(32, 32, "none")
SETTINGS = FineTuneSettings(epochs=2, batch_size=8)
HEAD = Head(np.zeros((256, 2), np.float32), np.zeros(2, np.float32))


def photo(number):
    """Rather red or rather green."""
    pixels = np.random.default_rng(number).integers(0, 156, (40, 40, 3), np.uint8)
    pixels[..., number % 2] += 100
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return BytesItem(f"{number}.png", f"{number}.png", file.getvalue())


def photos(count):
    items = tuple(map(photo, range(count)))
    sides = tuple("val" if number % 4 == 3 else "train" for number in range(count))
    return Data(("red", "green"), items, np.arange(count) % 2, sides)


def test_photos_with_sides_become_a_network_and_a_head(tmp_path):
    data = photos(40)
    vanished = Data(
        data.labels, (FileItem(str(tmp_path / "gone.png"), "gone.png"), *data.items[1:]),
        data.targets, data.sides,
    )  # fmt: skip
    said = []
    module = hub.Module(MODULE)
    tuned = fine_tune(
        vanished, module, HEAD, PREPROCESSING, SETTINGS, work=tmp_path / "work", log=said.append
    )
    assert tuned.backbone.network.convolutions == module.weights.network.convolutions
    assert not tuned.backbone.has_logits
    assert tuned.head.kernel.shape == (256, 2)
    assert any("gone.png" in line for line in said)
    loss, accuracy = tuned.curves
    assert loss.x == (1, 2)
    assert set(loss.lines) == {"training", "validation"}
    assert accuracy.x == (0, 1, 2)
    assert tuned.chosen["batch_norm"] == "frozen"
    assert tuned.chosen["averages_momentum"] == 0.9
    assert tuned.chosen["epoch"] == accuracy.chosen
    assert (tmp_path / "work" / "checkpoint.npz").exists()
    pixels = np.load(tmp_path / "work" / "train.npy", mmap_mode="r", allow_pickle=False)
    assert pixels.shape == (30, 35, 35, 3)  # larger: each epoch takes a part of it


def test_several_labels_a_photo_are_refused(tmp_path):
    data = Data(("red", "green"), (photo(0),), np.ones((1, 2), bool), ("train",))
    with pytest.raises(InputError, match="leave --fine-tune out"):
        fine_tune(data, hub.Module(MODULE), HEAD, PREPROCESSING, SETTINGS, work=tmp_path / "work")
