"""Where calibrations are looked for, and what is refused there."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from calibration_support import measured
from mobilenet_hub.errors import CacheError, MissingCalibrationError, WeightsError
from mobilenet_hub.settings import ClassifierSettings, PreprocessingSettings
from mobilenet_hub.weights.calibration import MAX_FILE_BYTES
from mobilenet_hub.weights.classifier import make_classifier
from mobilenet_hub.weights.storage.calibrations import (
    keep_calibration,
    kept_calibrations,
    load_calibration,
)
from mobilenet_hub.weights.storage.origins import BUNDLED
from weights_support import load_bundled

SMALL = "mobilenet_v2_035_224"


@pytest.fixture(scope="module")
def weights():
    return load_bundled(SMALL)


@pytest.fixture(scope="module")
def calibration(weights):
    return measured(weights)


@pytest.mark.parametrize("key", BUNDLED)
def test_networks_inside_the_package_bring_theirs(key):
    calibration = load_calibration(load_bundled(key), (224, 224))
    assert {c.photos.count for c in calibration.certificates} >= {100}
    assert all(c.cosine > 0.98 and c.instruction_set for c in calibration.certificates)


def test_what_nobody_calibrated_says_how_to(weights):
    with pytest.raises(MissingCalibrationError, match=r"mobilenet-hub calibrate.*at 96x96"):
        load_calibration(weights, (96, 96))


def test_the_users_own_comes_before_that_of_the_package(weights, calibration, empty_cache):
    path = keep_calibration(calibration)
    assert path.is_relative_to(empty_cache)
    assert load_calibration(weights, (96, 96)).sha256 == calibration.sha256
    keep_calibration(replace(load_calibration(weights, (224, 224)), method="mine"))
    assert load_calibration(weights, (224, 224)).method == "mine"


def test_classifiers_on_the_same_features_take_the_same_one(weights, calibration):
    keep_calibration(calibration)
    settings = ClassifierSettings(("ant", "bee"), PreprocessingSettings(96, 96))
    kernel = np.ones((weights.network.num_features, 2), np.float32)
    classifier = make_classifier(weights, kernel, np.zeros(2, np.float32), settings)
    assert load_calibration(classifier, (96, 96)).sha256 == calibration.sha256


def test_a_classifier_takes_the_one_it_was_fitted_with_and_no_other(weights, calibration):
    bundled = load_calibration(weights, (224, 224))
    kernel = np.ones((weights.network.num_features, 2), np.float32)

    def fitted(size, sha256):
        settings = ClassifierSettings(
            ("ant", "bee"),
            PreprocessingSettings(*size),
            precision="int8",
            calibration_sha256=sha256,
        )
        return make_classifier(weights, kernel, np.zeros(2, np.float32), settings)

    keep_calibration(replace(bundled, ranges={n: 2 * v for n, v in bundled.ranges.items()}))
    keep_calibration(calibration)
    at_224 = fitted((224, 224), bundled.sha256)
    assert load_calibration(at_224, (224, 224)).sha256 == bundled.sha256
    with pytest.raises(MissingCalibrationError, match=r"fitted in int8 with.*retrain"):
        load_calibration(fitted((96, 96), bundled.sha256), (96, 96))


def test_a_file_of_other_weights_or_too_large_is_refused(weights, calibration):
    path = keep_calibration(calibration)
    path.write_bytes(replace(calibration, weights_sha256="c" * 64).to_bytes())
    with pytest.raises(WeightsError, match="calibration of other weights"):
        load_calibration(weights, (96, 96))
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(WeightsError, match="at most"):
        load_calibration(weights, (96, 96))


def test_what_is_damaged_or_of_another_version_says_what_to_do(weights, calibration):
    path = keep_calibration(calibration)
    path.write_bytes(path.read_bytes().replace(b"mobilenet-hub-calibration/2", b"m" * 27))
    with pytest.raises(WeightsError, match=r"mmmm.*Delete it, or measure anew"):
        load_calibration(weights, (96, 96))
    keep_calibration(calibration)
    assert load_calibration(weights, (96, 96)).sha256 == calibration.sha256


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_folder_or_a_pipe_in_its_place_is_refused_and_not_waited_for(weights, calibration, make):
    path = keep_calibration(calibration)
    path.unlink()
    make(path)
    with pytest.raises(WeightsError, match="expected a file"):
        load_calibration(weights, (96, 96))


def test_one_that_cannot_be_read_is_an_error_of_the_cache(weights, calibration):
    path = keep_calibration(calibration)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(CacheError):
        load_calibration(weights, (96, 96))


def test_those_in_the_cache_are_listed_damaged_ones_too(calibration, empty_cache):
    assert kept_calibrations() == []
    path = keep_calibration(calibration)
    damaged = path.with_name("0.safetensors")
    damaged.write_bytes(b"damaged")
    [(first, nothing), (second, known)] = kept_calibrations()
    assert (first, nothing, second) == (damaged, None, path)
    assert known.sha256 == calibration.sha256
