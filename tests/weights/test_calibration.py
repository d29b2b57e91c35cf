"""The record of a calibration: whole, checked, and of one network."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import save

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.calibration import Calibration, Certificate, Photos
from mobilenet_hub.weights.safetensors_format import parse_safetensors

PHOTOS = Photos("holidays", 200, "a" * 64)
CERTIFICATE = Certificate(
    PHOTOS, "openvino 2026.4", "avx2", 0.99, 0.97, 0.9, 0.98, 0.01, (0.0, 0.02)
)


@pytest.fixture(scope="module")
def calibration():
    net = network("mobilenet_v2", 0.35)
    sums = [f"{layer.scope}/add" for layer in net.convolutions if layer.residual]
    names = [*(layer.scope for layer in net.convolutions[:-1]), *sums]
    corrections = {
        layer.scope: np.linspace(-1, 1, layer.out_channels, dtype=np.float32)
        for layer in net.convolutions
    }
    roundings = {
        layer.scope: np.full(-(-math.prod(layer.weights_shape) // 8), 5, np.uint8)
        for layer in net.convolutions
    }
    ranges = {name: 1.0 + index for index, name in enumerate(names)}
    return Calibration(
        net, "b" * 64, (96, 128), ranges, corrections, roundings, PHOTOS, "by hand", (CERTIFICATE,)
    )


def test_a_calibration_comes_back_as_it_was_written(calibration):
    data = calibration.to_bytes()
    again = Calibration.from_bytes(data, "file")
    assert again.to_bytes() == data
    assert (again.sha256, again.size, again.ranges) == (
        calibration.sha256, calibration.size, calibration.ranges,
    )  # fmt: skip
    assert again.certificates == (CERTIFICATE,)
    assert again.photos == PHOTOS


def test_its_hash_is_of_the_numbers_and_not_of_what_is_said_of_them(calibration):
    assert replace(calibration, certificates=(), method="?").sha256 == calibration.sha256
    ranges = {name: 2 * greatest for name, greatest in calibration.ranges.items()}
    assert replace(calibration, ranges=ranges).sha256 != calibration.sha256
    roundings = {scope: bits ^ 1 for scope, bits in calibration.roundings.items()}
    assert replace(calibration, roundings=roundings).sha256 != calibration.sha256


@pytest.mark.parametrize("greatest", [0.0, -1.0, 1e-300, float("nan"), float("inf"), 1e9])
def test_a_range_must_be_one(calibration, greatest):
    with pytest.raises(WeightsError, match="Received: a range of"):
        replace(calibration, ranges=dict.fromkeys(calibration.ranges, greatest))


def test_ranges_and_corrections_are_those_of_the_networks_layers(calibration):
    first, *others = calibration.ranges
    with pytest.raises(WeightsError, match="other layers"):
        replace(calibration, ranges=dict.fromkeys(others, 1.0))
    with pytest.raises(WeightsError, match="other layers"):
        replace(calibration, corrections={})
    for wrong in (np.zeros(3, np.float32), np.zeros(16), np.full(16, np.nan, np.float32)):
        with pytest.raises(WeightsError, match="corrections of MobilenetV2/Conv"):
            replace(calibration, corrections={**calibration.corrections, first: wrong})


def test_roundings_are_a_bit_for_each_number_of_a_kernel(calibration):
    with pytest.raises(WeightsError, match="other layers"):
        replace(calibration, roundings={})
    first = next(iter(calibration.roundings))
    for wrong in (np.zeros(54, np.float32), np.zeros(53, np.uint8), np.zeros((54, 1), np.uint8)):
        with pytest.raises(WeightsError, match="roundings of MobilenetV2/Conv"):
            replace(calibration, roundings={**calibration.roundings, first: wrong})


def test_first_layers_in_float32_have_no_corrections_and_the_record_says_so(calibration):
    first = [layer.scope for layer in calibration.network.convolutions[:3]]
    short = replace(
        calibration,
        float_layers=3,
        ranges={n: v for n, v in calibration.ranges.items() if n not in first[:2]},
        corrections={n: v for n, v in calibration.corrections.items() if n not in first},
        roundings={n: v for n, v in calibration.roundings.items() if n not in first},
    )
    again = Calibration.from_bytes(short.to_bytes(), "file")
    assert (again.float_layers, again.layers) == (3, short.network.convolutions[3:])
    assert again.sha256 != calibration.sha256
    with pytest.raises(WeightsError, match="other layers"):
        replace(calibration, float_layers=3)


@pytest.mark.parametrize("count", [-1, 8, 52, 2.0, "3"])
def test_a_residual_is_not_added_from_float32_and_some_layers_are_in_int8(calibration, count):
    """The sum of MobilenetV2/expanded_conv_2, the ninth layer, adds what the sixth gave."""
    with pytest.raises(WeightsError, match=rf"float_layers must be 0 to 51.*Received: {count!r}"):
        replace(calibration, float_layers=count)


def test_a_record_of_before_there_were_float_layers_has_none(calibration):
    tensors, metadata = parse_safetensors(calibration.to_bytes(), "file")
    record = json.loads(metadata["mobilenet_hub"])
    del record["float_layers"]
    data = save(dict(tensors), {"mobilenet_hub": json.dumps(record)})
    assert Calibration.from_bytes(data, "file").float_layers == 0


def changed(calibration, **changes):
    tensors, metadata = parse_safetensors(calibration.to_bytes(), "file")
    record = json.loads(metadata["mobilenet_hub"]) | changes
    return save(dict(tensors), {"mobilenet_hub": json.dumps(record)})


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "another/1"},
        {"family": "resnet"},
        {"depth_multiplier": 1e400},
        {"size": [96]},
        {"ranges": [1, 2]},
        {"ranges": {}},
        {"photos": {}},
        {"certificates": [{}]},
        {"certificates": 3},
        {"input_range": None},
        {"input_range": [float("nan"), 1]},
        {"size": [224.9, 224]},
        {"size": [224, 10**9]},
        {"photos": {"name": "", "count": -5, "sha256": ""}},
        {"photos": {"name": "", "count": 10**400, "sha256": ""}},
        {"float_layers": 3},
        {"float_layers": 1e400},
    ],
)
def test_a_record_that_says_something_else_is_refused(calibration, changes):
    with pytest.raises(WeightsError, match=r"file: expected a calibration.*Received"):
        Calibration.from_bytes(changed(calibration, **changes), "file")


@pytest.mark.parametrize(
    "values",
    [
        {"cosine": None},
        {"cosine": float("nan")},
        {"least_cosine": -7},
        {"recall": 1e300},
        {"agreement": -0.1},
        {"top1_loss": 2},
        {"top1_interval": [float("inf"), float("nan")]},
        {"top1_interval": [0.5, 0.1]},
    ],
)
def test_a_certificate_of_numbers_that_cannot_be_is_refused(calibration, values):
    data = changed(calibration, certificates=[asdict(CERTIFICATE) | values])
    with pytest.raises(WeightsError, match=r"file: expected a calibration.*Received"):
        Calibration.from_bytes(data, "file")


def test_the_least_cosine_in_words_is_not_above_the_mean():
    words = replace(CERTIFICATE, cosine=0.9998, least_cosine=0.9996, recall=None).in_words()
    assert words.startswith("cosine to float32 0.9998, at least 0.999, same top-1")


def test_bytes_of_something_else_are_refused():
    for data in (b"", b"\x00" * 64, save({"a": np.zeros(2, np.float32)})):
        with pytest.raises(WeightsError, match="Received"):
            Calibration.from_bytes(data, "file")


def test_words_of_a_record_command_no_terminal(calibration):
    data = changed(calibration, method="\x1b[31mred")
    assert "\x1b" not in Calibration.from_bytes(data, "file").method
