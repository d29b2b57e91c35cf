"""What the real TensorFlow writes is read bit for bit (and reads what our own test files say)."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.graph import fold_batch_norm
from mobilenet_hub.networks import BATCH_NORM_EPSILON, network
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite

pytestmark = pytest.mark.tensorflow

VARIABLE_SETS = [
    *(("mobilenet_v2", multiplier) for multiplier in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    *(("mobilenet_v1", multiplier) for multiplier in (0.25, 0.5, 0.75, 1.0)),
]
SMALL = [network("mobilenet_v1", 0.25, 11), network("mobilenet_v2", 0.35, 11)]
EMA = "ExponentialMovingAverage"


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def random_tensors(net, seed=0):
    """Values of either sign that keep activations in range; variances are positive."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in net.layers:
        for name, shape in layer.variables.items():
            array = rng.standard_normal(shape, np.float32)
            if name == layer.weights_name:
                array *= (layer.kernel**2 * (1 if layer.kind == "depthwise" else shape[2])) ** -0.5
            tensors[name] = np.abs(array) + 0.5 if name.endswith("variance") else array
    return tensors


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    for name, array in expected.items():
        assert tensors[name].shape == array.shape, name
        assert tensors[name].tobytes() == array.tobytes(), name


def save(tf, prefix, tensors, shards=1):
    """A checkpoint of any tensors under any names, as `tf.train.Saver` writes it."""
    names = list(tensors)
    parts = []
    for shard in range(shards):
        chosen = names[shard::shards]
        parts.append(f"{prefix}_part_{shard}")
        tf.raw_ops.SaveV2(
            prefix=parts[-1],
            tensor_names=chosen,
            shape_and_slices=[""] * len(chosen),
            tensors=[tf.convert_to_tensor(tensors[name]) for name in chosen],
        )
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(prefix))
    return prefix


# Checkpoints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "multiplier"), VARIABLE_SETS)
def test_a_training_checkpoint_of_every_size(tf, tmp_path, family, multiplier):
    tensors = random_tensors(network(family, multiplier))
    averages = {
        f"{name}/{EMA}": array + 1 for name, array in tensors.items() if "moving_" not in name
    }
    slots = {f"{name}/RMSProp": np.ones_like(array) for name, array in tensors.items()}
    counters = {"global_step": np.array(1, np.int64), "name": np.array(b"x")}
    everything = tensors | averages | slots | counters
    prefix = save(tf, tmp_path / "model.ckpt-1", everything, shards=1 + int(multiplier * 20) % 3)
    averaged = tensors | {name.removesuffix(f"/{EMA}"): a for name, a in averages.items()}
    reading = read_checkpoint(prefix)
    assert_equal(reading.tensors, averaged if family == "mobilenet_v2" else tensors)
    assert_equal(read_checkpoint(prefix, use_ema=False).tensors, tensors)
    assert_equal(read_checkpoint(prefix, use_ema=True).tensors, averaged)
    assert from_tensors(reading.tensors).network == network(family, multiplier)


def test_what_a_real_training_loop_saves(tf, tmp_path):
    """TF1's Saver, sharded over two devices, with RMSProp and averages of everything."""
    net, v1 = SMALL[1], tf.compat.v1
    config = v1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        variables = {}
        for index, (name, array) in enumerate(random_tensors(net).items()):
            with tf.device(f"/cpu:{index % 2}"):
                trainable = "moving_" not in name
                variables[name] = v1.get_variable(
                    name, initializer=array, trainable=trainable, use_resource=index % 3 == 0
                )
        step = v1.train.get_or_create_global_step()
        loss = tf.add_n([tf.reduce_sum(tf.square(v)) for v in v1.trainable_variables()])
        average = v1.train.ExponentialMovingAverage(0.9, step)
        train = v1.train.RMSPropOptimizer(0.1, momentum=0.9).minimize(loss, step)
        with tf.control_dependencies([train]):
            update = average.apply(list(variables.values()))
        session.run(v1.variables_initializer(list(variables.values())))
        session.run(v1.global_variables_initializer())
        session.run(update)
        session.run(update)
        prefix = v1.train.Saver(sharded=True).save(session, str(tmp_path / "model.ckpt"), step)
        plain, averaged = session.run(
            [variables, {name: average.average(v) for name, v in variables.items()}]
        )
    assert len(list(tmp_path.glob("*.data-*"))) > 1
    assert any((plain[name] != averaged[name]).any() for name in plain)
    assert_equal(read_checkpoint(prefix, use_ema=False).tensors, plain)
    statistics = {name: array for name, array in plain.items() if "moving_" in name}
    assert_equal(read_checkpoint(prefix).tensors, averaged | statistics)


def test_half_precision(tf, tmp_path):
    tensors = random_tensors(SMALL[0])
    for dtype in (tf.float16, tf.bfloat16):
        narrow = {name: tf.cast(array, dtype) for name, array in tensors.items()}
        wide = {name: tf.cast(array, tf.float32).numpy() for name, array in narrow.items()}
        prefix = save(tf, tmp_path / dtype.name, narrow)
        assert_equal(read_checkpoint(prefix).tensors, wide)
    prefix = save(tf, tmp_path / "double", {n: a.astype(np.float64) for n, a in tensors.items()})
    assert_equal(read_checkpoint(prefix).tensors, tensors)  # rounded to float32


def test_a_partitioned_variable_is_put_together(tf, tmp_path):
    tensors = random_tensors(SMALL[0])
    name = "MobilenetV1/Conv2d_0/weights"
    height, width, channels, outputs = tensors[name].shape
    shapes = f"{height} {width} {channels} {outputs} 0,{height}:0,{width}:0,{channels}:"
    names = [*tensors, name]
    slices = [f"{shapes}0,4" if n == name else "" for n in tensors] + [f"{shapes}4,{outputs - 4}"]
    values = [a[..., :4] if n == name else a for n, a in tensors.items()] + [tensors[name][..., 4:]]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "ckpt"), tensor_names=names, shape_and_slices=slices, tensors=values
    )
    assert_equal(read_checkpoint(tmp_path / "ckpt").tensors, tensors)


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_tensorflow_reads_the_checkpoints_that_the_other_tests_write(tf, tmp_path, snappy, shards):
    tensors = random_tensors(SMALL[1])
    everything = tensors | {"text": b"abc" * 100, "half": np.ones(3, np.float16)}
    tff.write_bundle(tmp_path / "ckpt", everything, shards=shards, snappy=snappy)
    reader = tf.train.load_checkpoint(str(tmp_path / "ckpt"))
    assert_equal({name: reader.get_tensor(name) for name in tensors}, tensors)
    assert reader.get_tensor("text") == b"abc" * 100


# SavedModels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "multiplier"), VARIABLE_SETS)
def test_a_tf2_saved_model_of_every_size(tf, tmp_path, family, multiplier):
    tensors = random_tensors(network(family, multiplier))
    module = tf.Module()
    module.variables_list = [tf.Variable(array, name=name) for name, array in tensors.items()]
    module.other = tf.Variable(1.0, name="dense/kernel")
    tf.saved_model.save(module, str(tmp_path / "saved"))
    reading = read_saved_model(tmp_path / "saved")
    assert reading.format == "TF2 SavedModel"
    assert_equal(reading.tensors, tensors)


def test_a_tf2_training_checkpoint(tf, tmp_path):
    tensors = random_tensors(SMALL[1])
    variables = [tf.Variable(array, name=name) for name, array in tensors.items()]
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(variables)
    checkpoint = tf.train.Checkpoint(model=variables, optimizer=optimizer, step=tf.Variable(1))
    prefix = checkpoint.save(str(tmp_path / "ckpt"))
    assert_equal(read_checkpoint(prefix).tensors, tensors)


def test_a_tf1_saved_model_with_the_network_in_a_scope(tf, tmp_path):
    tensors, v1 = random_tensors(SMALL[0]), tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, array in tensors.items():
            v1.get_variable(f"module/{name}", initializer=array)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(tmp_path / "saved"))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    reading = read_saved_model(tmp_path / "saved")
    assert reading.format == "TF1 SavedModel"
    assert_equal(reading.tensors, tensors)


# Frozen graphs and TFLite ------------------------------------------------------------------------


def forward(tf, net, tensors, images, *, fused=True):
    """The network in TensorFlow's operations: logits."""
    outputs, value = {}, images * 2.0 - 1.0
    for layer in net.convolutions:
        kernel = tensors[layer.weights_name]
        strides = [1, layer.stride, layer.stride, 1]
        convolve = tf.nn.depthwise_conv2d if layer.kind == "depthwise" else tf.nn.conv2d
        value = convolve(value, kernel, strides, "SAME")
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (tensors[layer.batch_norm_name(each)] for each in names)
        if fused:
            value = tf.compat.v1.nn.fused_batch_norm(
                value, gamma, beta, mean, variance, BATCH_NORM_EPSILON, is_training=False
            )[0]
        else:
            value = tf.nn.batch_normalization(
                value, mean, variance, beta, gamma, BATCH_NORM_EPSILON
            )
        if layer.activation:
            value = tf.nn.relu6(value)
        if layer.residual:
            value = value + outputs[layer.residual]
        outputs[layer.scope] = value
    pooled = tf.reduce_mean(value, [1, 2], keepdims=True)
    logits = tf.nn.conv2d(pooled, tensors[net.logits.weights_name], 1, "SAME")
    return tf.squeeze(tf.nn.bias_add(logits, tensors[f"{net.logits.scope}/biases"]), [1, 2])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("net", SMALL, ids=["v1", "v2"])
def test_a_tf1_graph_frozen_by_tensorflow(tf, tmp_path, net, fused):
    tensors, v1 = random_tensors(net), tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 64, 64, 3])
        variables = {
            n: v1.get_variable(n, initializer=a, use_resource=False) for n, a in tensors.items()
        }
        logits = tf.nn.softmax(forward(tf, net, variables, images, fused=fused))
        session.run(v1.global_variables_initializer())
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [logits.op.name]
        )
    (tmp_path / "frozen.pb").write_bytes(frozen.SerializeToString())
    reading = read_frozen_graph(tmp_path / "frozen.pb")
    assert_equal(reading.tensors, tensors)
    assert reading.notes == ("The file takes images in [0, 1].",)
    assert not reading.folded


def concrete(tf, net, tensors, fused=True):
    variables = {name: tf.Variable(array) for name, array in tensors.items()}

    @tf.function(input_signature=[tf.TensorSpec([1, 64, 64, 3], tf.float32)])
    def run(images):
        return forward(tf, net, variables, images, fused=fused)

    module = tf.Module()
    module.variables_list, module.run = list(variables.values()), run
    return module, run.get_concrete_function()


@pytest.mark.parametrize("net", SMALL, ids=["v1", "v2"])
def test_a_tf2_function_frozen_by_tensorflow(tf, tmp_path, net):
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    tensors = random_tensors(net)
    _module, function = concrete(tf, net, tensors)
    frozen = convert_variables_to_constants_v2(function).graph.as_graph_def()
    (tmp_path / "frozen.pb").write_bytes(frozen.SerializeToString())
    assert_equal(read_frozen_graph(tmp_path / "frozen.pb").tensors, tensors)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("net", SMALL, ids=["v1", "v2"])
def test_a_tflite_file_converted_by_tensorflow(tf, tmp_path, net, half):
    tensors = random_tensors(net)
    module, function = concrete(tf, net, tensors)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    (tmp_path / "x.tflite").write_bytes(converter.convert())
    reading = read_tflite(tmp_path / "x.tflite")
    assert reading.folded == tuple(layer.scope for layer in net.convolutions)
    tolerance = 1e-3 if half else 1e-6
    for layer in net.convolutions:
        kernel, bias = fold_batch_norm(layer, tensors)
        read_kernel, read_bias = fold_batch_norm(layer, reading.tensors)
        scale = np.abs(kernel).max()
        np.testing.assert_allclose(read_kernel, kernel, rtol=tolerance, atol=tolerance * scale)
        np.testing.assert_allclose(read_bias, bias, rtol=tolerance, atol=4 * tolerance)
