"""Training all layers: what is chosen, what is learned, and that a killed one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from commands import environment  # noqa: E402
from mobilenet_hub.catalog import find  # noqa: E402
from mobilenet_hub.errors import WeightsError  # noqa: E402
from mobilenet_hub.keras.fine_tuning import halves  # noqa: E402
from mobilenet_hub.keras.fine_tuning.choices import (  # noqa: E402
    augmentation_layers,
    choose_momentum,
    freeze_blocks,
    learning_rate,
)
from mobilenet_hub.keras.fine_tuning.halves import (  # noqa: E402
    FrozenHalf,
    TrainedHalf,
    Views,
)
from mobilenet_hub.keras.fine_tuning.training import Examples, fine_tune  # noqa: E402
from mobilenet_hub.keras.network import NetworkLayer  # noqa: E402
from mobilenet_hub.settings import FineTuneSettings  # noqa: E402
from mobilenet_hub.weights.random_weights import random_weights  # noqa: E402

INFO = find("google/imagenet/mobilenet_v1_025_128/feature_vector/5")
SIZE, LARGER = 24, 26
SETTINGS = FineTuneSettings(
    3, None, batch_size=8, patience=3, learning_rate=0.005, batch_norm="batch", scale=0.1
)

LAST_BLOCK = replace(SETTINGS, layers=1)  # where it does not matter: compiled in half the time


def examples(count, size, seed):
    """Pictures that are rather red, or rather green."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, count)
    images = generator.integers(0, 156, (count, size, size, 3), np.uint8)
    images[np.arange(count), ..., targets] += 100
    return Examples(images, targets)


TRAIN, VALIDATION = examples(36, LARGER, 1), examples(20, SIZE, 2)
BACKBONE = random_weights(INFO.network, logits=False)
HEAD = (np.zeros((256, 2), np.float32), np.zeros(2, np.float32))


def train(checkpoint, settings=SETTINGS, log=lambda text: None, **options):
    return fine_tune(
        INFO, BACKBONE, HEAD, TRAIN, VALIDATION, settings, checkpoint=checkpoint, log=log, **options
    )


def best(epochs):
    """The most accurate, of these the one with the least loss."""
    return max(range(len(epochs)), key=lambda n: (epochs[n].accuracy, -epochs[n].loss))


def same(one, other):
    return (
        np.array_equal(one.kernel, other.kernel)
        and np.array_equal(one.biases, other.biases)
        and all(np.array_equal(one.weights.tensors[n], v) for n, v in other.weights.tensors.items())
        and repr(one.epochs) == repr(other.epochs)
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training from start to end, and what it said."""
    said = []
    checkpoint = tmp_path_factory.mktemp("whole") / "checkpoint.npz"
    return train(checkpoint, log=said.append), said


def test_all_layers_are_trained_and_the_best_epoch_is_what_comes_out(whole):
    trained, said = whole
    losses = [epoch.loss for epoch in trained.epochs]
    assert len(losses) == 4
    assert losses[0] == pytest.approx(np.log(2))
    assert trained.best == best(trained.epochs) > 0
    first, last = "MobilenetV1/Conv2d_0/weights", "MobilenetV1/Conv2d_13_pointwise/weights"
    for name in (first, last):
        assert not np.array_equal(trained.weights.tensors[name], BACKBONE.tensors[name])
    assert not trained.weights.has_logits
    assert said[0].startswith("batch norm momentum 0.9: in 12 steps")
    assert sum("best so far" in line for line in said) >= 1


def test_frozen_batch_norm_keeps_its_averages_and_what_the_network_knows(tmp_path):
    said = []
    settings = replace(SETTINGS, batch_norm="frozen", layers=3, learning_rate=0.002)
    trained = train(tmp_path / "checkpoint.npz", settings, log=said.append)
    assert said[0].startswith("batch norm frozen: ")
    assert trained.best > 0
    for name, before in BACKBONE.tensors.items():
        of_trained_blocks = any(f"Conv2d_{number}_" in name for number in (11, 12, 13))
        changes = of_trained_blocks and "moving_" not in name
        assert np.array_equal(trained.weights.tensors[name], before) != changes, name


def test_asking_for_a_momentum_lets_batch_norm_normalize_by_the_batch():
    assert not FineTuneSettings().normalizes_by_batch
    assert FineTuneSettings(batch_norm="batch").normalizes_by_batch
    assert FineTuneSettings(batch_norm_momentum=0.9).normalizes_by_batch


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_training_that_was_killed_goes_on_to_the_same_result(whole, tmp_path):
    code = (
        "import sys, test_fine_tuning as t, pathlib; "
        "t.train(pathlib.Path(sys.argv[1]), log=lambda text: print(text, flush=True))"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", code, str(tmp_path / "checkpoint.npz")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**environment(), "PYTHONPATH": paths}
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 2"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait() == -signal.SIGKILL
    said = []
    assert same(train(tmp_path / "checkpoint.npz", log=said.append), whole[0])
    assert "goes on after epoch 2 of 3" in said


def test_a_training_that_was_done_is_not_done_again_and_another_begins_anew(whole, tmp_path):
    checkpoint = tmp_path / "checkpoint.npz"
    settings = replace(LAST_BLOCK, epochs=1)
    first = train(checkpoint, settings)
    said = []
    assert same(train(checkpoint, settings, log=said.append), first)
    assert said[-1] == "goes on after epoch 1 of 1"
    other = train(checkpoint, replace(settings, layers=0), log=said.append)
    assert not said[-1].startswith("goes on")
    assert all(np.array_equal(BACKBONE.tensors[n], v) for n, v in other.weights.tensors.items())
    checkpoint.write_bytes(b"PK\x03\x04" + b"no checkpoint")
    with pytest.raises(WeightsError, match="remove it"):
        train(checkpoint, settings)


def test_it_stops_where_nothing_gets_better_and_takes_what_was_best(tmp_path):
    worse = Examples(VALIDATION.images, 1 - VALIDATION.targets)  # the better it learns, the worse
    settings = replace(LAST_BLOCK, epochs=9, patience=1)
    trained = fine_tune(
        INFO, BACKBONE, HEAD, TRAIN, worse, settings, checkpoint=tmp_path / "checkpoint.npz"
    )
    assert len(trained.epochs) < 10
    assert trained.best == best(trained.epochs)


def test_without_validation_photos_the_last_epoch_is_taken(tmp_path):
    none = Examples(VALIDATION.images[:0], VALIDATION.targets[:0])
    settings = replace(LAST_BLOCK, epochs=2, patience=1)
    trained = fine_tune(
        INFO, BACKBONE, HEAD, TRAIN, none, settings, checkpoint=tmp_path / "checkpoint.npz"
    )
    assert (trained.best, len(trained.epochs)) == (2, 3)


@pytest.mark.parametrize(
    ("steps", "momentum"), [(20, 0.9), (200, 0.95), (500, 0.98), (1000, 0.99), (100_000, 0.99)]
)
def test_the_averages_of_batch_norm_have_arrived_when_the_training_ends(steps, momentum):
    chosen, why = choose_momentum(SETTINGS, steps)
    assert chosen == momentum
    assert f"{steps:,} steps" in why
    assert steps < 100 or momentum**steps < 1e-4  # what is left of the beginning
    asked = replace(SETTINGS, batch_norm_momentum=0.997)
    assert choose_momentum(asked, steps) == (0.997, "as asked for")


@pytest.mark.parametrize(
    ("handle", "layers", "expected"),
    [
        ("mobilenet_v2_035_224", 2, {"expanded_conv_16", "Conv_1"}),
        ("mobilenet_v1_025_128", 1, {"Conv2d_13_depthwise", "Conv2d_13_pointwise"}),
        ("mobilenet_v1_025_128", 0, set()),
    ],
)
def test_the_last_blocks_are_trained_whole_and_nothing_before_them(handle, layers, expected):
    info = find(f"google/imagenet/{handle}/feature_vector/5")
    network = NetworkLayer(info, None)
    freeze_blocks(network, layers)
    trainable = {part.layer.scope for part in network.convolutions if part.trainable}
    assert {scope.split("/")[1] for scope in trainable} == expected
    freeze_blocks(network, None)
    everything = NetworkLayer(info, None)
    freeze_blocks(everything, 1000)
    assert all(part.trainable for part in everything.convolutions)


@pytest.mark.parametrize("layers", [None, 3, 0])
def test_a_network_cut_in_two_gives_its_features(layers, tmp_path):
    network = NetworkLayer(INFO, BACKBONE)
    cut = freeze_blocks(network, layers)
    views = Views(FrozenHalf(network, cut), (SIZE, SIZE), SETTINGS, tmp_path / "views")
    maps = views.as_they_are(VALIDATION.images)
    assert maps.shape[1:] == views.shape
    half = TrainedHalf(network, cut, by_batch=False)
    found = keras.ops.convert_to_numpy(half(np.asarray(maps, np.float32)))
    images = (VALIDATION.images / 255).astype(np.float32)
    expected = keras.ops.convert_to_numpy(network(images, training=False))
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def test_pictures_are_changed_in_as_many_ways_as_was_said_and_each_is_computed_once(
    tmp_path, monkeypatch
):
    settings = replace(SETTINGS, views=2)

    def views():
        half = FrozenHalf(NetworkLayer(INFO, BACKBONE), 5)
        return Views(half, (SIZE, SIZE), settings, tmp_path / "views")

    first = views()
    seen = [np.array(first.of_epoch(epoch, TRAIN.images)) for epoch in (1, 2, 3)]
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(times) == 2
    assert np.array_equal(views().of_epoch(2, TRAIN.images), seen[1])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
    monkeypatch.setattr(halves, "_MAX_BYTES", 1)  # there is no room for two
    assert not np.array_equal(views().of_epoch(3, TRAIN.images), seen[2])
    assert len(list(tmp_path.iterdir())) == 2


def augmented(images, **changes):
    nothing = {"flip": False, "crop": 0.0, "scale": 0.0, "brightness": 0.0, "rotation": 0.0}
    settings = replace(SETTINGS, **nothing | changes)
    for layer in augmentation_layers(settings, (SIZE, SIZE), 0):
        images = layer(images, training=True)
    return np.asarray(keras.ops.convert_to_numpy(images))


def test_rotation_is_in_degrees():
    """make_image_classifier passed degrees where a share of a full turn was expected."""
    images = np.zeros((64, 65, 65, 3), np.float32)
    images[:, 30:35, 55:60] = 1  # right of the middle
    turned = augmented(images, rotation=10.0)[..., 0]
    rows, columns = np.mgrid[-32:33, -32:33]
    total = turned.sum(axis=(1, 2))
    down, right = ((turned * place).sum(axis=(1, 2)) / total for place in (rows, columns))
    angles = np.degrees(np.arctan2(down, right))
    assert np.abs(angles).max() < 10.5
    assert np.ptp(angles) > 10


def test_each_change_is_as_great_as_was_said():
    generator = np.random.default_rng(0)
    images = generator.uniform(0.3, 0.6, (32, SIZE, SIZE, 3)).astype(np.float32)
    assert augmented(images).tobytes() == images.tobytes()
    changes = augmented(images, brightness=0.2) - images
    assert 0.15 < np.abs(changes).max() <= 0.2001
    mirrored = augmented(images, flip=True)
    both = [np.array_equal(a, b[:, ::-1]) for a, b in zip(mirrored, images, strict=True)]
    assert {*both} == {True, False}
    larger = generator.random((8, LARGER, LARGER, 3), np.float32)
    part = augmented(larger, crop=0.1)
    places = [
        any(np.allclose(larger[0, y : y + SIZE, x : x + SIZE], part[0]) for x in range(3))
        for y in range(3)
    ]
    assert part.shape == (8, SIZE, SIZE, 3)
    assert any(places)
    assert augmented(images, scale=0.2).shape == images.shape


def test_the_rate_rises_and_falls_as_half_a_cosine_to_nothing():
    schedule = learning_rate(replace(SETTINGS, learning_rate=0.5), 100)
    rates = [float(schedule(step)) for step in (0, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0.005, 0.5, 0.25, 0], atol=1e-6)
