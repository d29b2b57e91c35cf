"""Folded networks get statistics back: inference stays, training mode makes sense."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import mobilenet_hub as hub
from mobilenet_hub.conversion.batch_norm import measure_batch_norm
from mobilenet_hub.errors import SourceError, WeightsError
from mobilenet_hub.graph import fold_batch_norm
from mobilenet_hub.images import load_image
from mobilenet_hub.weights import Weights
from mobilenet_hub.weights.readers.base import FOLDED_VARIANCE
from mobilenet_hub.weights.unfold import folded_layers, unfold
from weights_support import load_bundled

KEY = "mobilenet_v2_035_224"
HANDLE = f"google/imagenet/{KEY}/feature_vector/5"
FIRST, LINEAR = "MobilenetV2/Conv", "MobilenetV2/expanded_conv/project"


def folded(weights, scopes=None, scale=1.0):
    """The same network with batch norm folded into its kernels, or into kernels and a scale."""
    tensors = dict(weights.tensors)
    for layer in weights.network.convolutions:
        if scopes is not None and layer.scope not in scopes:
            continue
        kernel, bias = fold_batch_norm(layer, weights.tensors)
        tensors[layer.weights_name] = kernel / np.float32(scale)
        tensors[layer.batch_norm_name("gamma")] = np.full_like(bias, scale)
        tensors[layer.batch_norm_name("beta")] = bias
        tensors[layer.batch_norm_name("moving_mean")] = np.zeros_like(bias)
        tensors[layer.batch_norm_name("moving_variance")] = np.full_like(bias, FOLDED_VARIANCE)
    return Weights(weights.network, tensors, {"source": "folded", "batch_norm": "folded"})


@pytest.fixture(scope="module")
def bundled():
    return load_bundled(KEY)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten pictures of coloured clouds, and two files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(10):
        small = rng.integers(0, 256, (7 + index, 9, 3), np.uint8)
        picture = Image.fromarray(small).resize((300, 260), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a photo")
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture(scope="module")
def pixels(photos):
    paths = sorted(photos.glob("*.png"))
    return np.stack([load_image(p, 224, 224, crop="slim", resample="tf1") for p in paths])


@pytest.fixture(scope="module")
def measured(bundled, photos):
    return measure_batch_norm(folded(bundled), photos, image_size=224)


def first_convolution(images, kernel):
    """TensorFlow's SAME convolution with stride 2 on an even size: padding below and right."""
    padded = np.pad(2 * images - 1, ((0, 0), (0, 1), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel, dtype=np.float64, optimize=True)


def test_folded_layers_are_found(bundled):
    assert folded_layers(bundled) == []
    assert len(folded_layers(folded(bundled))) == len(bundled.network.convolutions)
    assert [layer.scope for layer in folded_layers(folded(bundled, {LINEAR}))] == [LINEAR]


def test_inference_stays_what_it_was(bundled, measured, pixels):
    before = hub.Module(HANDLE, weights=bundled)(pixels)
    after = hub.Module(HANDLE, weights=measured.weights)(pixels)
    np.testing.assert_allclose(after, before, atol=2e-5)
    assert folded_layers(measured.weights) == []


def test_the_statistics_are_those_of_the_convolution_before_its_batch_norm(measured, pixels):
    tensors = measured.weights.tensors
    values = first_convolution(pixels, tensors[f"{FIRST}/weights"])
    mean, variance = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
    np.testing.assert_allclose(tensors[f"{FIRST}/BatchNorm/moving_mean"], mean, atol=1e-5)
    measured = tensors[f"{FIRST}/BatchNorm/moving_variance"]
    np.testing.assert_allclose(measured, variance, rtol=1e-4, atol=1e-9)


def test_batch_norm_normalises_as_gamma_and_beta_say(measured, pixels):
    # A linear layer's output over the photos has mean beta and standard deviation gamma.
    outputs = hub.Module(HANDLE, weights=measured.weights)(
        pixels, as_dict=True, outputs=["MobilenetV2/layer_2"]
    )["MobilenetV2/layer_2"]
    tensors = measured.weights.tensors
    np.testing.assert_allclose(
        outputs.mean(axis=(0, 1, 2)), tensors[f"{LINEAR}/BatchNorm/beta"], atol=1e-4
    )
    np.testing.assert_allclose(
        outputs.std(axis=(0, 1, 2)), tensors[f"{LINEAR}/BatchNorm/gamma"], rtol=1e-2
    )


def test_photos_that_cannot_be_read_are_named_and_the_file_says_what_was_done(measured):
    assert measured.photos == 10
    assert [path.rpartition("/")[2] for path, _ in measured.failures] == ["broken.jpg"]
    metadata = measured.weights.metadata
    assert metadata["batch_norm"] == "unfolded"
    assert "10 photos" in metadata["batch_norm_statistics"]


def test_only_folded_layers_are_touched(bundled, photos):
    before = folded(bundled, {FIRST})
    after = measure_batch_norm(before, photos, image_size=224).weights
    changed = {n for n in after.tensors if (after.tensors[n] != before.tensors[n]).any()}
    assert changed == {
        f"{FIRST}/BatchNorm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }


def test_a_scale_beside_the_kernel_is_kept(bundled, photos, pixels, measured):
    scaled = measure_batch_norm(folded(bundled, scale=0.5), photos, image_size=224).weights
    features = [hub.Module(HANDLE, weights=w)(pixels) for w in (bundled, scaled)]
    np.testing.assert_allclose(features[1], features[0], atol=2e-5)
    name = f"{FIRST}/BatchNorm/moving_mean"
    np.testing.assert_allclose(
        scaled.tensors[name], 2 * measured.weights.tensors[name], rtol=1e-4, atol=1e-5
    )


def test_what_cannot_be_calibrated_says_why(bundled, photos, tmp_path):
    with pytest.raises(WeightsError, match="nothing to measure"):
        measure_batch_norm(bundled, photos, image_size=224)
    (tmp_path / "one").mkdir()
    Image.new("RGB", (50, 50)).save(tmp_path / "one" / "a.png")
    with pytest.raises(WeightsError, match=r"at least 10 photos.*Received: 1 that can be read"):
        measure_batch_norm(folded(bundled), tmp_path / "one", image_size=224)
    with pytest.raises(SourceError):
        measure_batch_norm(folded(bundled), tmp_path / "nowhere", image_size=224)


def test_statistics_must_fit_their_layer(bundled):
    mean = np.zeros(16, np.float32)
    with pytest.raises(WeightsError, match="batch norm folded away"):
        unfold(bundled.tensors, {FIRST: (mean, mean + 1)})
    with pytest.raises(WeightsError, match="expected 16 means"):
        unfold(folded(bundled).tensors, {FIRST: (mean[:3], mean[:3])})
