"""Hugging Face's conversions are read exactly; other people's MobileNets are told apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import mobilenet_hub as hub
from mobilenet_hub.errors import AmbiguousModuleError, TensorMismatchError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.identify import identify_module
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read

V1, V2 = network("mobilenet_v1", 0.25), network("mobilenet_v2", 0.35)
NETWORKS = pytest.mark.parametrize("net", [V1, V2], ids=["V1", "V2"])
STATISTICS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
              "running_var": "moving_variance"}  # fmt: skip


def hugging_face(net, tensors, prefix=True):
    """The state dict of transformers' class.

    Written from modeling_mobilenet_v1.py and modeling_mobilenet_v2.py, not from the reader.
    """
    root = f"{net.family}." if prefix else ""
    if net.family == "mobilenet_v1":
        places = ["conv_stem", *(f"layer.{i}" for i in range(26))]
    else:
        places = [f"conv_stem.{name}" for name in ("first_conv", "conv_3x3", "reduce_1x1")]
        for block in range(16):
            names = ("expand_1x1", "conv_3x3", "reduce_1x1")
            places += [f"layer.{block}.{name}" for name in names]
        places.append("conv_1x1")
    result = {}
    for place, layer in zip(places, net.convolutions, strict=True):
        kernel = tensors[layer.weights_name]
        axes = (2, 3, 0, 1) if layer.kind == "depthwise" else (3, 2, 0, 1)
        result[f"{root}{place}.convolution.weight"] = kernel.transpose(axes)
        for name, statistic in STATISTICS.items():
            result[f"{root}{place}.normalization.{name}"] = tensors[
                layer.batch_norm_name(statistic)
            ]
        result[f"{root}{place}.normalization.num_batches_tracked"] = np.array(0, np.int64)
    if prefix:
        result["classifier.weight"] = tensors[net.logits.weights_name][0, 0].T
        result["classifier.bias"] = tensors[f"{net.logits.scope}/biases"]
    return {name: np.ascontiguousarray(value) for name, value in result.items()}


def random_tensors(net):
    rng = np.random.default_rng(5)
    shapes = net.variables(logits=True)
    return {name: rng.uniform(0.1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def write(folder, state, config=None):
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    for name, array in expected.items():
        assert tensors[name].shape == array.shape, name
        assert tensors[name].tobytes() == array.tobytes(), name


@NETWORKS
def test_transformers_names_are_converted_bit_for_bit(tmp_path, net):
    tensors = random_tensors(net)
    config = {"image_size": 160, "tf_padding": True, "layer_norm_eps": 0.001}
    path = write(tmp_path / "google", hugging_face(net, tensors), config)
    for place in (path, path.parent):
        weights = read(place)
        assert weights.network == net
        assert_equal(weights.tensors, tensors)
        assert identify_module(weights).image_size == 160


@NETWORKS
def test_the_bare_backbone_is_features_only(tmp_path, net):
    tensors = random_tensors(net)
    weights = read(write(tmp_path / "x", hugging_face(net, tensors, prefix=False)))
    assert_equal(weights.tensors, {k: v for k, v in tensors.items() if "/Logits/" not in k})


def test_half_precision_is_widened(tmp_path):
    state = hugging_face(V2, random_tensors(V2))
    halves = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in state.items()}
    weights = read(write(tmp_path / "x", halves))
    expected = random_tensors(V2)["MobilenetV2/Conv/weights"].astype(np.float16)
    np.testing.assert_array_equal(weights.tensors["MobilenetV2/Conv/weights"], expected)


def test_the_folder_of_a_download_tells_the_size(tmp_path):
    state = hugging_face(V2, random_tensors(V2))
    weights = read(write(tmp_path / "mobilenet_v2_0.35_96", state))
    assert identify_module(weights).image_size == 96
    with pytest.raises(AmbiguousModuleError):
        identify_module(read(write(tmp_path / "x", state)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tf_padding", False),
        ("layer_norm_eps", 1e-5),
        ("output_stride", 8),
        ("hidden_act", "relu"),
        ("finegrained_output", False),
    ],
)
def test_another_configuration_is_another_network(tmp_path, key, value):
    path = write(tmp_path / "x", hugging_face(V2, random_tensors(V2)), {key: value})
    with pytest.raises(WeightsError, match=f"not Google's network.*Received: .*{key}"):
        read(path)


@pytest.mark.parametrize(
    ("whose", "names"),
    [
        ("torchvision", ["features.0.0.weight", "features.1.conv.0.0.weight"]),
        ("timm", ["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.bn1.weight"]),
        ("timm", ["conv_stem.weight", "blocks.1.0.conv_pwl.weight", "conv_head.weight"]),
    ],
)
def test_torchvision_and_timm_are_refused_with_the_reason(tmp_path, whose, names):
    path = write(tmp_path / "x", {name: np.zeros((8, 3, 3, 3), np.float32) for name in names})
    with pytest.raises(WeightsError, match=rf"{whose}.*trained anew with symmetric padding"):
        read(path)


def test_segmentation_networks_are_refused(tmp_path):
    state = hugging_face(V2, random_tensors(V2))
    state["segmentation_head.conv_pool.convolution.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(WeightsError, match="DeepLab"):
        read(write(tmp_path / "x", state))


def test_missing_extra_and_misshapen_tensors_are_listed(tmp_path):
    state = hugging_face(V2, random_tensors(V2))
    del state["mobilenet_v2.conv_1x1.normalization.running_var"]
    state["mobilenet_v2.layer.3.reduce_1x1.normalization.bias"] = np.zeros(3, np.float32)
    with pytest.raises(TensorMismatchError) as caught:
        read(write(tmp_path / "x", state))
    assert caught.value.missing == ("MobilenetV2/Conv_1/BatchNorm/moving_variance",)
    assert "expanded_conv_4/project/BatchNorm/beta" in caught.value.misshapen[0]
    state["mobilenet_v2.another.weight"] = np.zeros(3, np.float32)
    with pytest.raises(WeightsError, match=r"Received also: mobilenet_v2\.another\.weight"):
        read(write(tmp_path / "x", state))


def test_other_safetensors_files_are_refused(tmp_path):
    path = write(tmp_path / "x", {"bert.embeddings.weight": np.zeros((3, 3), np.float32)})
    with pytest.raises(WeightsError, match="holds no MobileNet"):
        read(path)


@pytest.mark.parametrize("family", ["V1", "V2"])
def test_what_the_real_transformers_saves_computes_the_same(tmp_path, family):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"MobileNet{family}Config")(
        depth_multiplier=0.5, image_size=128, num_labels=1001
    )
    model = getattr(transformers, f"MobileNet{family}ForImageClassification")(config).eval()
    net = network(f"mobilenet_{family.lower()}", 0.5)
    state = hugging_face(net, random_weights(net, seed=4).tensors)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    model.save_pretrained(tmp_path / "saved")
    images = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)
    pixels = torch.from_numpy(2 * images - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model(pixels).logits.numpy()
    logits = hub.Module(tmp_path / "saved")(images)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
