"""Keras files are read bit for bit, by their names, and never further."""

from __future__ import annotations

import io
import json
import zipfile
from collections import defaultdict

import numpy as np
import pytest

from keras_files import (
    keras_layers,
    numbers,
    write_h5,
    write_keras3,
)
from mobilenet_hub.catalog import modules
from mobilenet_hub.errors import AmbiguousModuleError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.background import (
    with_background,
)
from mobilenet_hub.weights.identify import identify_module
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.readers.keras.files import read_keras
from weights_support import load_bundled

h5py = pytest.importorskip("h5py")

V1, V2 = network("mobilenet_v1", 0.25), network("mobilenet_v2", 0.35)
NETWORKS = pytest.mark.parametrize("net", [V1, V2], ids=["V1", "V2"])


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    assert all(tensors[name].tobytes() == array.tobytes() for name, array in expected.items())


# Keras files ------------------------------------------------------------------------------------


@NETWORKS
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"whole": True},
        {"compression": "gzip"},
        {"suffix": ""},
        {"whole": True, "wrap": "mobilenet_inside"},
    ],
    ids=["weights", "model", "gzip", "Keras 3 names", "nested"],
)
def test_a_legacy_h5_file_is_read_bit_for_bit(tmp_path, net, options):
    tensors, as_keras = numbers(net)
    weights = read(write_h5(tmp_path / "a.h5", net, as_keras, **options))
    assert_equal(weights.tensors, tensors)
    assert weights.network == net
    assert "never predicted" in weights.metadata["notes"]


@NETWORKS
def test_the_formats_of_keras_3_are_read_bit_for_bit(tmp_path, net):
    tensors, as_keras = numbers(net)
    write_keras3(tmp_path / "a.weights.h5", net, as_keras)
    assert_equal(read(tmp_path / "a.weights.h5").tensors, tensors)
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.write(tmp_path / "a.weights.h5", "model.weights.h5")
        archive.writestr(
            "config.json", json.dumps({"config": {"batch_shape": [None, 128, 128, 3]}})
        )
    weights = read(tmp_path / "a.keras")
    assert_equal(weights.tensors, tensors)
    assert identify_module(weights).image_size == 128


def test_1001_classes_are_taken_as_they_are(tmp_path):
    tensors, as_keras = numbers(V2, logits=1001)
    reading = read_keras(write_h5(tmp_path / "a.h5", V2, as_keras))
    assert_equal(reading.tensors, tensors)
    assert reading.notes == ()


def test_a_head_of_other_classes_is_kept_as_it_is(tmp_path):
    as_keras = numbers(V2)[1]
    scope = V2.logits.scope
    as_keras[f"{scope}/weights"] = np.ones((1280, 7), np.float32)
    as_keras[f"{scope}/biases"] = np.ones(7, np.float32)
    weights = read(write_h5(tmp_path / "a.h5", V2, as_keras))
    assert weights.tensors[f"{scope}/weights"].shape == (1, 1, 1280, 7)
    assert weights.labels == tuple("0123456")


def test_a_head_that_does_not_take_the_features_is_left_out_only_if_features_are_wanted(tmp_path):
    tensors, as_keras = numbers(V2)
    scope = V2.logits.scope
    as_keras[f"{scope}/weights"] = np.zeros((128, 7), np.float32)
    as_keras[f"{scope}/biases"] = np.zeros(7, np.float32)
    path = write_h5(tmp_path / "a.h5", V2, as_keras)
    with pytest.raises(WeightsError, match=r"cannot be kept.*Received: .*128, 7"):
        read(path)
    weights = read(path, handle="google/imagenet/mobilenet_v2_035_224/feature_vector/5")
    assert not weights.has_logits
    assert "left out" in weights.metadata["notes"]
    assert_equal(weights.tensors, {k: v for k, v in tensors.items() if "/Logits/" not in k})


@pytest.mark.parametrize("scope", ["keras_layer/", "model_weights/keras_layer/", ""])
def test_a_saved_hub_keras_layer_has_tf_slim_names(tmp_path, scope):
    tensors = dict(random_weights(V2, logits=False).tensors)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in tensors.items():
            file[f"{scope}{name}:0"] = array
        file[f"{scope.partition('/')[0] or 'x'}/dense/kernel:0"] = np.ones((1280, 2), np.float32)
    assert_equal(read_keras(tmp_path / "a.h5").tensors, tensors)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenet_2_5_224_tf.h5", 224),
        ("mobilenet_2_5_160_tf_no_top.h5", 160),
        ("mobilenet_v1_0.25_128.h5", 128),
        ("mobilenet_v1_025_192.h5", 192),
    ],
)
def test_the_name_of_a_file_tells_the_size(tmp_path, name, size):
    _, as_keras = numbers(V1)
    weights = read(write_h5(tmp_path / name, V1, as_keras))
    assert identify_module(weights).image_size == size


def test_a_file_that_does_not_tell_its_size_is_asked_about(tmp_path):
    _, as_keras = numbers(V1)
    path = write_h5(tmp_path / "mobilenet_5_0_224_tf.h5", V1, as_keras)  # 0.5, and it is not
    with pytest.raises(AmbiguousModuleError) as caught:
        identify_module(read(path))
    assert [h.split("/")[2] for h in caught.value.candidates] == [
        f"mobilenet_v1_025_{size}" for size in (224, 192, 160, 128)
    ]
    handle = "google/imagenet/mobilenet_v1_025_160/classification/3"
    assert read(path, handle=handle).metadata["handle"] == handle
    with pytest.raises(WeightsError, match="depth multiplier"):
        read(path, handle="google/imagenet/mobilenet_v1_050_160/classification/3")


# What is refused --------------------------------------------------------------------------------


def test_links_and_storage_outside_the_file_are_not_followed(tmp_path):
    _, as_keras = numbers(V1)
    write_h5(tmp_path / "other.h5", V1, as_keras)
    (tmp_path / "secret").write_bytes(b"\0" * 1000)
    for kind in ("external link", "soft link", "external storage", "virtual"):
        path = write_h5(tmp_path / "a.h5", V1, as_keras)
        with h5py.File(path, "a") as file:
            shape = file["conv1/conv1/kernel:0"].shape
            del file["conv1/conv1/kernel:0"]
            if kind == "external link":
                file["conv1/conv1/kernel:0"] = h5py.ExternalLink(
                    "other.h5", "/conv1/conv1/kernel:0"
                )
            elif kind == "soft link":
                file["conv1/conv1/kernel:0"] = h5py.SoftLink("/conv_pw_1/conv_pw_1/kernel:0")
            elif kind == "external storage":
                file.create_dataset(
                    "conv1/conv1/kernel:0", shape, "f4",
                    external=[(str(tmp_path / "secret"), 0, 864)],
                )  # fmt: skip
            else:
                layout = h5py.VirtualLayout(shape, "f4")
                source = h5py.VirtualSource(
                    str(tmp_path / "other.h5"), "conv1/conv1/kernel:0", shape
                )
                layout[...] = source
                file.create_virtual_dataset("conv1/conv1/kernel:0", layout)
        with pytest.raises(WeightsError, match=r"points to data elsewhere|oldest form|data layout"):
            read_keras(path)


@pytest.mark.parametrize("options", [{}, {"chunks": (1000, 1000)}, {"compression": "gzip"}])
def test_a_tensor_that_claims_more_than_there_is_costs_no_memory(tmp_path, options):
    import tracemalloc

    _, as_keras = numbers(V1)
    path = write_h5(tmp_path / "a.h5", V1, as_keras)
    with h5py.File(path, "a") as file:
        del file["conv_pw_1/conv_pw_1/kernel:0"]
        file.create_dataset("conv_pw_1/conv_pw_1/kernel:0", (30_000, 30_000), "f4", **options)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=r"3,600,000,000 bytes|at most"):
        read_keras(path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_cycle_of_groups_ends(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("a")
        group["again"] = group
    with pytest.raises(WeightsError, match="deep"):
        read_keras(tmp_path / "a.h5")


def test_other_networks_and_two_networks_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv1_conv/conv1_conv/kernel:0"] = np.zeros((7, 7, 3, 64), np.float32)
    with pytest.raises(WeightsError, match=r"no MobileNet.*Received: 'conv1_conv"):
        read_keras(tmp_path / "a.h5")
    _, as_keras = numbers(V1)
    path = write_h5(tmp_path / "b.h5", V1, as_keras)
    with h5py.File(path, "a") as file:
        file["another/conv1/kernel:0"] = as_keras["MobilenetV1/Conv2d_0/weights"]
    with pytest.raises(WeightsError, match="several networks"):
        read_keras(path)


def test_integers_are_refused(tmp_path):
    _, as_keras = numbers(V1)
    as_keras["MobilenetV1/Conv2d_0/weights"] = np.zeros((3, 3, 3, 8), np.int8)
    with pytest.raises(WeightsError, match="must be float"):
        read_keras(write_h5(tmp_path / "a.h5", V1, as_keras))


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("model.weights.h5", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
        archive.writestr("config.json", "{}")
    (tmp_path / "a.keras").write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match=r"model\.weights\.h5 of at most"):
        read_keras(tmp_path / "a.keras")


# The real Keras ---------------------------------------------------------------------------------


def filled(keras, model, net):
    """Give a Keras model random numbers; what they are in TF-Slim's names, by their order."""
    rng = np.random.default_rng(7)
    expected = {}
    layers = [layer for layer in model.layers if layer.weights]
    slim = [variables for _, variables in keras_layers(net)]
    for layer, variables in zip(layers, slim, strict=True):
        values = [rng.uniform(0.1, 1, w.shape).astype(np.float32) - 0.05 for w in layer.weights]
        layer.set_weights(values)
        expected |= dict(zip(variables.values(), values, strict=True))
    scope = net.logits.scope
    kernel = expected[f"{scope}/weights"].reshape(1, 1, net.num_features, 1000)
    full, biases = with_background(kernel, expected[f"{scope}/biases"], "here")
    return {**expected, f"{scope}/weights": full, f"{scope}/biases": biases}


def every_network():
    """All 38 networks, of which CI takes each multiplier once and each size at least once."""
    sizes = defaultdict(list)
    for record in {record.checkpoint_key: record for record in modules().values()}.values():
        sizes[record.family, record.depth_multiplier].append(record)
    for number, records in enumerate(sizes.values()):
        for index, record in enumerate(records):
            marks = [] if index == number % len(records) else [pytest.mark.long]
            yield pytest.param(record, id=record.checkpoint_key, marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("record", list(every_network()))
def test_what_the_real_keras_saves_of_every_network_is_read_bit_for_bit(tmp_path, record):
    keras = pytest.importorskip("keras")
    size, multiplier, net = record.image_size, record.depth_multiplier, record.network
    apps = keras.applications
    make = apps.MobileNet if record.family == "mobilenet_v1" else apps.MobileNetV2
    model = make(input_shape=(size, size, 3), alpha=multiplier, weights=None)
    expected = filled(keras, model, net)
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    model.save(tmp_path / "a.h5")
    for name in ("a.keras", "a.weights.h5", "a.h5"):
        weights = read(tmp_path / name)
        assert_equal(weights.tensors, expected)
        assert identify_module(weights).checkpoint_key == record.checkpoint_key


@pytest.mark.parametrize(
    "handle",
    [
        "google/imagenet/mobilenet_v2_035_224/feature_vector/5",
        "google/imagenet/mobilenet_v1_025_224/classification/5",
    ],
)
def test_this_librarys_own_keras_files_are_read_bit_for_bit(tmp_path, handle):
    keras = pytest.importorskip("keras")
    mobilenets = pytest.importorskip("mobilenet_hub.keras")
    key = handle.split("/")[2]
    around = keras.Sequential([mobilenets.model(handle), keras.layers.Dense(3)])
    layer = keras.Sequential([mobilenets.KerasLayer(handle, trainable=True), keras.layers.Dense(3)])
    layer.build([None, 224, 224, 3])
    for name, model in (("model", mobilenets.model(handle)), ("around", around), ("layer", layer)):
        model.save(tmp_path / f"{name}.keras")
        model.save_weights(tmp_path / f"{name}.weights.h5")
    around.save(tmp_path / "around.h5")
    expected = load_bundled(key)
    for path in sorted(tmp_path.iterdir()):
        if path.name in ("around.weights.h5", "layer.weights.h5") and not expected.has_logits:
            with pytest.raises(WeightsError, match="cannot be kept"):
                read(path)
        weights = read(path, handle=handle) if ".weights." in path.name else read(path)
        assert_equal(_convolutions(weights.tensors), _convolutions(expected.tensors))
        assert identify_module(weights).checkpoint_key == key
        if path.suffix == ".keras" or path.name == "around.h5":
            classes = expected.labels if path.stem == "model" else ("0", "1", "2")
            assert weights.labels == classes


def _convolutions(tensors):
    return {name: array for name, array in tensors.items() if "/Logits/" not in name}
