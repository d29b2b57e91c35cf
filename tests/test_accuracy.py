"""End to end on photos: TF-Slim's own figures, and the default way that must not score lower."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.images import load_image

MODULES = {
    "mobilenet_v2_140_224": "classification",
    "mobilenet_v2_100_224": "feature_vector",
    "mobilenet_v2_035_224": "feature_vector",
    "mobilenet_v1_025_224": "classification",
}


@pytest.fixture(scope="module")
def photos(shared):
    rows = list(csv.DictReader((shared / "photos" / "labels.csv").open()))
    paths = [shared / "photos" / row["file"] for row in rows]
    return paths, np.array([int(row["class_index_of_1001"]) for row in rows])


@pytest.fixture(scope="module")
def as_tf_slim(photos):
    paths, _ = photos
    return np.stack([load_image(p, 224, 224, crop="slim", resample="tf1") for p in paths])


@pytest.fixture(scope="module")
def reference(shared):
    return np.load(shared / "oracle" / "photos_reference.npz")


@pytest.mark.parametrize("key", MODULES)
def test_all_photos_equal_the_original_pipeline(key, photos, as_tf_slim, reference):
    paths, _ = photos
    assert [p.name for p in paths] == list(reference["files"])
    module = hub.Module(f"google/imagenet/{key}/{MODULES[key]}/3")
    features = module(as_tf_slim, signature="image_feature_vector")
    np.testing.assert_allclose(features, reference[f"{key}/features"], atol=1e-3)
    if MODULES[key] == "classification":
        logits = module(as_tf_slim)
        if key == "mobilenet_v1_025_224":
            assert (logits[:, 0] == -1e4).all()
            logits, wanted = logits[:, 1:], reference[f"{key}/logits_of_1000"]
        else:
            wanted = reference[f"{key}/logits"]
        np.testing.assert_allclose(logits, wanted, atol=1e-3)
        np.testing.assert_array_equal(logits.argmax(1), wanted.argmax(1))


def test_v2_140_is_as_accurate_as_the_original(photos, as_tf_slim):
    assert accuracy("mobilenet_v2_140_224", as_tf_slim, photos[1]) == (92, 98)


def test_the_default_preprocessing_does_not_score_lower(photos):
    paths, labels = photos
    images = np.stack([load_image(path, 224, 224) for path in paths])
    top1, top5 = accuracy("mobilenet_v2_140_224", images, labels)
    assert top1 >= 92
    assert top5 >= 98


def accuracy(key, images, labels):
    logits = hub.Module(f"google/imagenet/{key}/classification/3")(images)
    ranked = np.argsort(-logits, axis=1)
    hits = ranked == labels[:, None]
    return int(hits[:, 0].sum()), int(hits[:, :5].sum())
