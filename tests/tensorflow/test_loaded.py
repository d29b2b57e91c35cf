"""`hub.load` on TensorFlow: a `tf.Module` to call, track, nest and save."""

from __future__ import annotations

import gc

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mobilenet_hub as hub  # noqa: E402
from mobilenet_hub.errors import InputError, InputTypeError  # noqa: E402
from mobilenet_hub.tensorflow.loaded import load  # noqa: E402
from tensorflow_support import (  # noqa: E402
    TRAINING,
    V1,
    images,
    initialized,
    largest_error,
    reference,
    tf1_session,
)

pytestmark = pytest.mark.tensorflow
HANDLE = f"{V1}/feature_vector/5"
X = images()
FEATURES = reference(V1, "features")


def test_it_computes_what_the_original_network_does():
    module = load(HANDLE)
    assert largest_error(module(X), FEATURES) < 1e-4
    outputs = module.signatures["default"](images=tf.constant(X))
    assert largest_error(outputs["default"], FEATURES) < 1e-4
    endpoints = module(X, return_endpoints=True)
    assert set(endpoints) == set(hub.Module(HANDLE).get_output_info_dict())
    pixels = (255 * X).astype(np.uint8)
    assert largest_error(module(pixels), hub.Module(HANDLE)(pixels)) < 1e-4


def test_training_moves_the_averages_as_the_original_network_does():
    module = load(HANDLE)
    before = module.current_weights()
    features = module(X, training=True, batch_norm_momentum=0.997)
    assert largest_error(features, reference(V1, "train/features")) < 1e-3
    after = module.current_weights()
    assert after is not before
    assert module.current_weights() is after
    for name, value in after.tensors.items():
        if "/moving_" in name:
            expected = TRAINING[f"mobilenet_v1_025_224/train/momentum_0.997/{name}"]
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)
        else:
            np.testing.assert_array_equal(value, before.tensors[name])
    loss = sum(loss() for loss in module.regularization_losses)
    expected = TRAINING["mobilenet_v1_025_224/train/regularization_loss_without_logits"]
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_its_variables_are_tensorflows_and_named_as_tf_slims():
    module = load(HANDLE)
    assert module.variables[0].name == "MobilenetV1/Conv2d_0/weights:0"
    assert all(isinstance(variable, tf.Variable) for variable in module.variables)
    assert (len(module.variables), len(module.trainable_variables)) == (135, 81)
    assert list(module.tensorflow_variables) == list(module.current_weights().tensors)


def test_images_that_do_not_fit_are_refused():
    module = load("google/tf2-preview/mobilenet_v2/feature_vector/4", weights="random")
    with pytest.raises(InputError, match="resize"):
        module(images(1, 96))
    with pytest.raises(InputError, match=r"images = images / 255.0"):
        module(255 * X)
    with pytest.raises(InputTypeError, match="dtype int64"):
        module(np.zeros((1, 224, 224, 3), np.int64))
    with pytest.raises(InputTypeError, match="dtype string"):
        module("cat.jpg")
    with pytest.raises(InputTypeError, match="convert"):
        module(object())


class Model(tf.Module):
    """A module of somebody's own, with ours in it."""

    def __init__(self):
        super().__init__()
        self.features = load(HANDLE)
        self.scale = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 224, 224, 3], tf.float32)])
    def __call__(self, x):
        return self.scale * self.features(x)


def test_it_is_a_part_of_other_modules_and_checkpoints(tmp_path):
    model = Model()
    assert (len(model.variables), len(model.trainable_variables)) == (136, 82)
    assert largest_error(model(tf.constant(X)), 2 * FEATURES) < 1e-4
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    for variable in model.variables:
        variable.assign(variable + 1.0)
    assert largest_error(model(tf.constant(X)), 2 * FEATURES) > 0.1
    tf.train.Checkpoint(model=model).restore(path).assert_consumed()
    assert largest_error(model(tf.constant(X)), 2 * FEATURES) < 1e-4


def test_it_is_saved_alone_and_within_another_module(tmp_path):
    tf.saved_model.save(Model(), str(tmp_path / "model"))
    model = tf.saved_model.load(str(tmp_path / "model"))
    assert largest_error(model(X), 2 * FEATURES) < 1e-4
    alone = model.features
    assert largest_error(alone(X), FEATURES) < 1e-4
    assert (len(alone.variables), len(alone.trainable_variables)) == (135, 81)
    assert len(alone.regularization_losses) == 14
    train = alone(X, training=True, batch_norm_momentum=0.99)
    assert largest_error(train, reference(V1, "train/features")) < 1e-3
    assert largest_error(alone(X), FEATURES) > 1e-3
    read = hub.Module(HANDLE, weights=tmp_path / "model")
    assert largest_error(read(X), FEATURES) < 1e-4


def test_gradients_train_it():
    module = load(HANDLE)
    losses = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((module(X, training=True) - 1.0) ** 2)
        gradients = tape.gradient(loss, module.trainable_variables)
        for variable, gradient in zip(module.trainable_variables, gradients, strict=True):
            variable.assign_sub(1e-6 * gradient)
        losses.append(float(loss))
    assert losses[2] < losses[1] < losses[0]


def test_functions_and_datasets_make_it_outside_of_themselves():
    @tf.function
    def features(x):
        return load(HANDLE)(x)

    for count in (4, 2, 4):
        found = features(tf.constant(X[:count]))
        gc.collect()
        assert largest_error(found, FEATURES[:count]) < 1e-4
    dataset = tf.data.Dataset.from_tensors(X).map(lambda x: load(HANDLE)(x)).repeat(2)
    for found in dataset:
        gc.collect()
        assert largest_error(found, FEATURES) < 1e-4


def test_in_a_session_a_call_in_training_updates_when_it_runs():
    with tf1_session() as session:
        module = load(HANDLE)
        x = tf.compat.v1.placeholder(tf.float32, [None, 224, 224, 3])
        inference, training = module(x), module(x, training=True)
        initialized(session)
        assert largest_error(session.run(inference, {x: X}), FEATURES) < 1e-4
        found = session.run(training, {x: X})
        assert largest_error(found, reference(V1, "train/features")) < 1e-3
        moved = session.run(
            module.tensorflow_variables["MobilenetV1/Conv2d_0/BatchNorm/moving_mean"]
        )
    key = "mobilenet_v1_025_224/train/momentum_0.99/MobilenetV1/Conv2d_0/BatchNorm/moving_mean"
    np.testing.assert_allclose(moved, TRAINING[key], rtol=1e-3, atol=1e-6)
