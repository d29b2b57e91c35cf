"""Several devices: `MirroredStrategy` on TensorFlow, data parallel on JAX; on two CPU devices.

Devices are set up before a framework starts, so each of these runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from places import ROOT, TESTS

keras = pytest.importorskip("keras")

from keras_support import QUICK_XLA  # noqa: E402

BACKEND = keras.backend.backend()
TWO_CPUS = """
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
"""
SETUP = """
    import numpy as np
    import keras
    import mobilenet_hub as hub
    from keras_support import V1, images

    x, y = images(8, 64), np.arange(8) % 2

    def build(rate):
        keras.utils.set_random_seed(1)
        layer = hub.KerasLayer(V1 + "/feature_vector/5", trainable=True, input_shape=(64, 64, 3))
        model = keras.Sequential([layer, keras.layers.Dense(2)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(rate), loss)
        return model

    def fit(model, part=slice(None)):
        count = len(x[part])
        model.fit(x[part], y[part], batch_size=count, verbose=0, shuffle=False)
        return model.layers[0].current_weights().tensors
"""


def run(script, before="", **environment):
    code = "".join(map(textwrap.dedent, (before, SETUP, script)))
    tests = TESTS / "support"
    paths = [str(tests), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {"KERAS_BACKEND": BACKEND, "PYTHONPATH": os.pathsep.join(paths)}
        | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
def test_mirrored_replicas_average_their_statistics_and_train_the_same_variables(tmp_path):
    run(
        f"""
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert strategy.num_replicas_in_sync == 2
        with strategy.scope():
            model = build(rate=0.0)
        got = fit(model)
        first, second = (fit(build(rate=0.0), part) for part in (slice(0, 4), slice(4, 8)))
        for name, value in got.items():
            np.testing.assert_allclose(value, (first[name] + second[name]) / 2, rtol=1e-5)
        name = "MobilenetV1/Conv2d_0/BatchNorm/moving_mean"
        assert not np.allclose(first[name], second[name], rtol=1e-4)

        model.save({str(tmp_path / "x.keras")!r})
        again = keras.models.load_model({str(tmp_path / "x.keras")!r})
        for name, value in again.layers[0].current_weights().tensors.items():
            np.testing.assert_array_equal(value, got[name])

        with strategy.scope():
            model = build(rate=1e-3)
        before = model.layers[0].current_weights().tensors
        after = fit(model)
        assert not [n for n in after if np.array_equal(before[n], after[n])]
        kernel = model.layers[0].trainable_variables[0].value
        copies = [copy.numpy() for copy in kernel.values]
        assert len(copies) == 2
        np.testing.assert_array_equal(*copies)
        """,
        before=TWO_CPUS,
    )


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution runs on JAX")
def test_data_parallel_equals_one_device():
    run(
        """
        one = fit(build(rate=1e-3))
        devices = keras.distribution.list_devices()
        assert len(devices) == 2
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
        two = fit(build(rate=1e-3))
        for name, value in one.items():  # the statistics are those of the whole batch
            np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
        """,
        XLA_FLAGS=f"--xla_force_host_platform_device_count=2 {QUICK_XLA}",
    )
