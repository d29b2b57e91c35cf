"""TensorFlow's formats are read without TensorFlow, exactly, and refused with a reason."""

from __future__ import annotations

import os
import sys
import tracemalloc

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import MissingWeightsError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.readers.archive import read_archive
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite

VARIABLE_SETS = [
    *(("mobilenet_v2", multiplier) for multiplier in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    *(("mobilenet_v1", multiplier) for multiplier in (0.25, 0.5, 0.75, 1.0)),
]
V1, V2 = network("mobilenet_v1", 0.01, 5), network("mobilenet_v2", 0.01, 5)  # kilobytes
EMA = "/ExponentialMovingAverage"


def random_tensors(net, seed=0, *, logits=True):
    """Values of either sign, but for variances."""
    rng = np.random.default_rng(seed)
    shapes = net.variables(logits=logits)
    tensors = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return {
        name: np.abs(array) if name.endswith("variance") else array
        for name, array in tensors.items()
    }


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == np.float32, name
        assert tensors[name].shape == array.shape, name
        assert tensors[name].tobytes() == np.asarray(array, np.float32).tobytes(), name


# The reference networks --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v2_035_96", "mobilenet_v1_050_128"])
def test_every_form_of_a_reference_network_holds_the_same_tensors(shared, name):
    folder = shared / "oracle" / name
    checkpoint = read_checkpoint(folder / "model.ckpt")
    weights = from_tensors(checkpoint.tensors)  # complete, or it raises
    assert name.startswith(weights.network.family)
    forms = [read_saved_model(folder / "hub_module")]
    assert forms[0].format == "TF1 hub module"
    if (folder / "saved_model_2").exists():
        forms.append(read_saved_model(folder / "saved_model_2"))
        assert forms[1].format == "TF2 SavedModel"
    for form in forms:
        assert_equal(form.tensors, checkpoint.tensors)


@pytest.mark.parametrize("name", ["mobilenet_v2_035_96", "mobilenet_v1_050_128"])
def test_a_reference_network_computes_what_the_original_computed(shared, name):
    from mobilenet_hub.graph import build_graph
    from mobilenet_hub.runtime import Runner, make_engine

    folder = shared / "oracle" / name
    weights = from_tensors(read_saved_model(folder / "hub_module").tensors)

    def build(spec):
        return build_graph(
            weights, "classification", endpoints=spec.endpoints, input_dtype=spec.input_dtype,
            size=(spec.height, spec.width),
        ).to_bytes()  # fmt: skip

    run = Runner(build, make_engine("onnxruntime"))
    arrays = np.load(folder / "io.npz")
    # Random weights: ill-conditioned in float32.
    tolerance = 5e-4 * np.abs(arrays["logits"]).max()
    logits = run(arrays["images"])["default"]
    np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=tolerance)
    if (folder / "variable_size.npz").exists():
        sizes = np.load(folder / "variable_size.npz")
        for size in ("150x150", "97x131", "224x224"):
            logits = run(sizes[f"{size}/images"])["default"]
            np.testing.assert_allclose(logits, sizes[f"{size}/logits"], rtol=0, atol=1e-4)


# Checkpoints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "multiplier"), VARIABLE_SETS)
def test_a_checkpoint_of_every_size_is_read_bit_for_bit(tmp_path, family, multiplier):
    tensors = random_tensors(network(family, multiplier))
    shards = 1 + int(multiplier * 100) % 3
    tff.write_bundle(tmp_path / "model.ckpt", tensors, shards=shards, snappy=multiplier == 1.0)
    reading = read_checkpoint(tmp_path / "model.ckpt")
    assert_equal(reading.tensors, tensors)
    assert not reading.folded
    assert from_tensors(reading.tensors).network.depth_multiplier == multiplier


def test_a_checkpoint_may_be_named_in_every_way(tmp_path):
    tensors = random_tensors(V1)
    tff.write_bundle(tmp_path / "model.ckpt-123", tensors, shards=2)
    for path in (
        tmp_path,
        tmp_path / "model.ckpt-123",
        tmp_path / "model.ckpt-123.index",
        tmp_path / "model.ckpt-123.data-00001-of-00002",
        str(tmp_path / "model.ckpt-123"),
    ):
        assert_equal(read_checkpoint(path).tensors, tensors)


def test_a_folder_with_two_checkpoints_is_refused_by_their_names(tmp_path):
    for step in (1, 2):
        tff.write_bundle(tmp_path / f"model.ckpt-{step}", random_tensors(V1))
    with pytest.raises(WeightsError, match=r"exactly one.*model\.ckpt-1\.index.*ckpt-2"):
        read_checkpoint(tmp_path)


def with_slots(tensors, averages):
    """A training checkpoint: slots of two optimizers, averages of trained variables, counters."""
    everything = dict(tensors)
    for name, array in tensors.items():
        everything[f"{name}/RMSProp"] = everything[f"{name}/RMSProp_1"] = array + 1
        everything[f"{name}/Adam"] = array + 2
        everything[f"{name}{EMA}"] = averages[name]
    everything["global_step"] = np.array(7, np.int64)
    everything["MobilenetV2/Conv/BatchNorm/moving_mean/local_step"] = np.array(7, np.int64)
    everything["beta1_power"] = np.array(0.9, np.float32)
    everything["Adam/m/MobilenetV2/Conv/weights"] = tensors["MobilenetV2/Conv/weights"]
    return everything


def test_moving_averages_stand_for_the_trained_variables_of_v2_and_slots_are_ignored(tmp_path):
    tensors, averages = random_tensors(V2, 1), random_tensors(V2, 2)
    tff.write_bundle(tmp_path / "ckpt", with_slots(tensors, averages))
    expected = {name: (tensors if "/moving_" in name else averages)[name] for name in tensors}
    reading = read_checkpoint(tmp_path / "ckpt")
    assert reading.moving_averages
    assert_equal(reading.tensors, expected)
    assert_equal(read_checkpoint(tmp_path / "ckpt", use_ema=True).tensors, expected)
    plain = read_checkpoint(tmp_path / "ckpt", use_ema=False)
    assert not plain.moving_averages
    assert_equal(plain.tensors, tensors)


def test_moving_averages_are_left_alone_in_v1_unless_asked_for(tmp_path):
    tensors = random_tensors(V1, 1)
    averages = {
        f"{name}{EMA}": array + 1 for name, array in tensors.items() if "moving_" not in name
    }
    tff.write_bundle(tmp_path / "ckpt", tensors | averages)
    assert_equal(read_checkpoint(tmp_path / "ckpt").tensors, tensors)
    averaged = read_checkpoint(tmp_path / "ckpt", use_ema=True).tensors
    assert_equal(averaged, tensors | {k.removesuffix(EMA): v for k, v in averages.items()})


def test_asking_for_moving_averages_that_are_not_there_is_an_error(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V2))
    with pytest.raises(WeightsError, match="no exponential moving averages"):
        read_checkpoint(tmp_path / "ckpt", use_ema=True)


def test_scopes_above_the_network_are_dropped(tmp_path):
    tensors = random_tensors(V2)
    scoped = {f"module/{name}:0": array for name, array in tensors.items()}
    head = {"dense/kernel": np.zeros((3, 2), np.float32), "global_step": np.array(1, np.int64)}
    tff.write_bundle(tmp_path / "ckpt", scoped | head)
    assert_equal(read_checkpoint(tmp_path / "ckpt").tensors, tensors)


def test_half_precision_is_widened_exactly(tmp_path):
    tensors = random_tensors(V1)
    half = {name: array.astype(np.float16) for name, array in tensors.items()}
    tff.write_bundle(tmp_path / "half", half)
    assert_equal(read_checkpoint(tmp_path / "half").tensors, half)
    upper = {
        name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in tensors.items()
    }
    tff.write_bundle(tmp_path / "bfloat16", upper)
    wide = {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in upper.items()}
    assert_equal(read_checkpoint(tmp_path / "bfloat16").tensors, wide)


def test_loaded_tensors_cannot_be_changed(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1))
    for array in read_checkpoint(tmp_path / "ckpt").tensors.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_reading_takes_less_than_twice_the_memory_of_the_file(tmp_path):
    tensors = random_tensors(network("mobilenet_v2", 1.4))
    tff.write_bundle(tmp_path / "ckpt", tensors)
    size = (tmp_path / "ckpt.data-00000-of-00001").stat().st_size
    assert size > 24e6
    del tensors
    tracemalloc.start()  # numpy reports its arrays to it
    reading = read_checkpoint(tmp_path / "ckpt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(reading.tensors) == 262
    assert size < peak < 1.3 * size


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_one_wrong_bit_anywhere_is_noticed(tmp_path):
    tensors = random_tensors(V1)
    index, data = tmp_path / "ckpt.index", tmp_path / "ckpt.data-00000-of-00001"
    for path in (index, data):
        tff.write_bundle(tmp_path / "ckpt", tensors)
        original = path.read_bytes()
        blocks = len(original) - 48  # the padding of the footer carries nothing
        for position in [*range(0, blocks, 97), blocks - 1]:
            path.write_bytes(original)
            flip(path, position)
            try:
                reading = read_checkpoint(tmp_path / "ckpt")
            except WeightsError:
                continue
            # Only a block that nobody reads may differ: that of the absent filters.
            assert path == index
            assert_equal(reading.tensors, tensors)
        path.write_bytes(original)
    assert_equal(read_checkpoint(tmp_path / "ckpt").tensors, tensors)


WEIGHTS = "MobilenetV1/Conv2d_0/weights"
SHAPE = V1.layers[0].weights_shape
SIZE = 4 * int(np.prod(SHAPE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({WEIGHTS: tff.entry(9, SHAPE, 0, 0, 2 * SIZE, 0)}, "must be float32, float64"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 0, SIZE + 4, 0)}, "bytes for"),
        ({WEIGHTS: tff.entry(1, (1 << 30, 1 << 30), 0, 0, SIZE, 0)}, "bytes for"),
        ({WEIGHTS: tff.entry(1, (-1,), 0, 0, SIZE, 0)}, "known shape"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 0, SIZE, 0)}, "one after the other|checksum"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 1 << 40, SIZE, 0)}, "one after the other"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, (1 << 64) - 4, SIZE, 0)}, "place within"),
        ({WEIGHTS: tff.entry(1, SHAPE, 7, 0, SIZE, 0)}, "place within 1 shards"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 0, SIZE, 0) + tff.proto((7, b""))}, "part of 4"),
        ({"": tff.header(1, big_endian=True)}, "big-endian"),
        ({"": tff.header(1, min_consumer=2)}, "newer reader"),
        ({"": tff.header(0)}, "shards"),
        ({"": b"\xff\xff"}, "varint"),
        ({"MobilenetV2/Conv/weights": tff.entry(1, (1,), 0, 0, 4, 0)}, "several networks"),
        ({f"module/{WEIGHTS}": tff.entry(1, SHAPE, 0, 0, SIZE, 0)}, "several networks"),
        ({f"{WEIGHTS}:0": tff.entry(1, SHAPE, 0, 0, SIZE, 0)}, "twice"),
        (
            {"MobilenetV1/Conv2d_0/act_quant/min": tff.entry(1, (), 0, 0, 4, 0)},
            "trained for quantisation",
        ),
    ],
)  # fmt: skip
def test_an_unsound_index_is_refused_with_the_reason(tmp_path, changes, message):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1), changes=changes)
    with pytest.raises(WeightsError, match=f"(?s){message}.*Received: "):
        read_checkpoint(tmp_path / "ckpt")


def test_a_checkpoint_without_a_mobilenet_says_what_it_holds(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", {"resnet_v1_50/conv1/weights": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match=r"holds no MobileNet.*resnet_v1_50/conv1/weights"):
        read_checkpoint(tmp_path / "ckpt")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"absent\.ckpt\.index"):
        read_checkpoint(tmp_path / "absent.ckpt")
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1), shards=2)
    (tmp_path / "ckpt.data-00001-of-00002").unlink()
    with pytest.raises(MissingWeightsError, match="data-00001-of-00002"):
        read_checkpoint(tmp_path / "ckpt")


def test_a_shard_cut_short_is_refused(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1))
    shard = tmp_path / "ckpt.data-00000-of-00001"
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(WeightsError, match=r"within the .* bytes of the shard"):
        read_checkpoint(tmp_path / "ckpt")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
@pytest.mark.parametrize("reader", [read_frozen_graph, read_tflite, read_archive])
def test_a_pipe_or_directory_is_refused_and_never_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(WeightsError, match="regular file"):
            reader(path)
    with pytest.raises(WeightsError):
        reader("a\0b")


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    for reader in (read_checkpoint, read_frozen_graph, read_tflite, read_archive, read_saved_model):
        with pytest.raises(WeightsError):
            reader(path)
    assert not (tmp_path / "owned").exists()
