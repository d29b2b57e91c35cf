"""Bees and ants: a small photo collection, with frozen features and by fine-tuning all of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.long]
HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"
BATCH = 16  # a step of fine-tuning keeps 60 MB an image


@dataclass(frozen=True)
class Photos:
    images: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="module")
def photos(shared):
    """The training and the validation photos, float32 [n, 224, 224, 3] in [0,1]."""

    def load(split):
        folder = shared / "transfer" / "hymenoptera" / split
        if not folder.is_dir():
            pytest.skip("the photos of bees and ants are not beside this checkout")
        paths = [p for name in ("ants", "bees") for p in sorted((folder / name).iterdir())]
        pixels = np.stack([hub.load_image(path, 224, 224) for path in paths])
        labels = np.array([path.parent.name == "bees" for path in paths], np.int32)
        return Photos(np.divide(pixels, 255, dtype=np.float32), labels)

    return load("train"), load("val")


@dataclass
class Run:
    """One training under a seed: accuracies on the validation photos, and what came out."""

    frozen: float
    fine_tuned: float
    tensors: dict[str, np.ndarray]


def run(train, val):
    keras.utils.set_random_seed(1)
    layer = hub.KerasLayer(HANDLE, arguments={"batch_norm_momentum": 0.997})
    dense = keras.layers.Dense(2)
    model = keras.Sequential([layer, dense])
    model.build([None, 224, 224, 3])

    # Frozen: the features never change, so the head is trained on features computed once.
    backbone = keras.Sequential([layer])
    features = backbone.predict(train.images, batch_size=BATCH, verbose=0)
    head = keras.Sequential([keras.Input((1280,)), dense])
    compile_with(head, keras.optimizers.Adam(1e-3))
    head.fit(features, train.labels, epochs=10, verbose=0)
    frozen = accuracy(model, val)

    layer.trainable = True
    compile_with(model, keras.optimizers.SGD(1e-4, momentum=0.9))
    model.fit(train.images, train.labels, batch_size=BATCH, epochs=1, verbose=0)
    return Run(frozen, accuracy(model, val), layer.current_weights().tensors)


def compile_with(model, optimizer):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def accuracy(model, photos):
    logits = model.predict(photos.images, batch_size=BATCH, verbose=0)
    return np.mean(logits.argmax(1) == photos.labels)


def test_bees_and_ants_are_learned_and_the_same_way_twice(photos):
    first = run(*photos)
    assert first.frozen >= 0.93
    assert first.fine_tuned >= first.frozen
    keras.utils.clear_session()
    second = run(*photos)
    assert (second.frozen, second.fine_tuned) == (first.frozen, first.fine_tuned)
    for name, value in second.tensors.items():
        np.testing.assert_array_equal(value, first.tensors[name], err_msg=name)
