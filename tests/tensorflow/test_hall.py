"""Which form `hub.Module` and `hub.load` take, and what happens where forms meet."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
from mobilenet_hub.errors import KerasLayerError  # noqa: E402
from mobilenet_hub.tensorflow import GraphModule, LoadedModule  # noqa: E402
from tensorflow_support import (  # noqa: E402
    V1,
    V2,
    images,
    initialized,
    largest_error,
    reference,
    tf1_session,
)

pytestmark = pytest.mark.tensorflow
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of Keras on TensorFlow"
)
v1 = tf.compat.v1
X = images()
HANDLE = f"{V1}/feature_vector/3"
FEATURES = reference(V1, "features")


def test_eager_execution_stays_on_the_fast_runtime():
    module = hub.Module(HANDLE)
    assert not isinstance(module, GraphModule)
    assert isinstance(module(tf.constant(X)), np.ndarray)
    assert largest_error(module(tf.constant(X)), FEATURES) < 1e-4


def test_in_a_graph_hub_module_is_of_the_graph():
    with tf1_session() as session:
        module = hub.Module(HANDLE, trainable=True, tags={"train"})
        assert isinstance(module, GraphModule)
        assert isinstance(module, hub.Module)
        assert hub.get_expected_image_size(module) == [224, 224]
        info = module.get_attached_message("image_module_info", hub.ImageModuleInfo)
        assert info.default_image_size.height == 224
        train = module(X)
        found = initialized(session).run(train)
        assert len(v1.get_collection(v1.GraphKeys.UPDATE_OPS)) == 54
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(module)
    assert largest_error(found, reference(V1, "train/features")) < 1e-3


def test_options_of_the_fast_runtime_choose_it_in_a_graph_too():
    with tf1_session():
        module = hub.Module(HANDLE, threads=1)
        assert largest_error(module(X), FEATURES) < 1e-4


def test_a_module_made_eagerly_takes_symbols_in_functions_and_datasets():
    module = hub.Module(HANDLE)
    calls = tf.function(lambda x: module(x))
    for count in (4, 2):
        found = calls(tf.constant(X[:count]))
        gc.collect()
        assert largest_error(found, FEATURES[:count]) < 1e-4
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(2).map(module)
    found = np.concatenate([batch.numpy() for batch in dataset])
    assert largest_error(found, FEATURES) < 1e-4
    logits = tf.function(lambda x: module({"images": x}, as_dict=True)["MobilenetV1/Conv2d_0"])
    expected = module(X, as_dict=True)["MobilenetV1/Conv2d_0"]
    np.testing.assert_allclose(logits(tf.constant(X)), expected, atol=1e-4)


def test_a_module_made_eagerly_takes_placeholders_of_a_graph():
    module = hub.Module(HANDLE)
    for _ in range(2):  # two graphs
        with tf1_session() as session:
            x = v1.placeholder(tf.float32, [None, 224, 224, 3])
            first, second = module(x), module(x)
            assert len(v1.global_variables()) == 135
            found = initialized(session).run([first, second], {x: X})
        assert largest_error(found, FEATURES) < 1e-4


def test_a_module_made_in_a_function_gives_its_numbers():
    @tf.function
    def features(x):
        return hub.Module(HANDLE)(x)

    assert largest_error(features(tf.constant(X)), FEATURES) < 1e-4


def test_weights_of_somebody_elses_are_the_ones_computed_with():
    random = hub.Module(HANDLE, weights="random")
    expected = random(X)
    assert largest_error(expected, FEATURES) > 0.1
    found = tf.function(lambda x: random(x))(tf.constant(X))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    with tf1_session() as session:
        features = hub.Module(HANDLE, weights=random.weights)(X)
        np.testing.assert_allclose(
            initialized(session).run(features), expected, rtol=1e-3, atol=1e-3
        )


@on_tensorflow
def test_load_is_a_tf_module_on_tensorflow():
    module = hub.load(f"{V1}/feature_vector/5")
    assert isinstance(module, LoadedModule)
    assert isinstance(module, tf.Module)
    assert largest_error(module(X), FEATURES) < 1e-4
    assert largest_error(hub.Module(module)(X), FEATURES) < 1e-4

    @tf.function
    def features(x):
        return hub.load(f"{V1}/feature_vector/5")(x)

    assert largest_error(features(tf.constant(X)), FEATURES) < 1e-4


@on_tensorflow
def test_load_works_in_a_lambda_layer_of_keras():
    layer = keras.layers.Lambda(
        lambda x: hub.load(f"{V1}/feature_vector/5")(x), output_shape=(256,)
    )
    model = keras.Sequential([keras.Input((224, 224, 3)), layer])
    assert largest_error(model(X), FEATURES) < 1e-4
    assert largest_error(model.predict(X, verbose=0), FEATURES) < 1e-4


@on_tensorflow
def test_a_loaded_module_is_trained_by_optimizers_of_keras():
    module = hub.load(f"{V1}/feature_vector/5")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(X, training=True) ** 2)
    gradients = tape.gradient(loss, module.trainable_variables)
    before = module.current_weights()
    optimizer = keras.optimizers.SGD(1e-6)
    optimizer.apply_gradients(zip(gradients, module.trainable_variables, strict=True))
    after = module.current_weights()
    for variable in module.trainable_variables:
        name = variable.name.partition(":")[0]
        assert np.abs(after.tensors[name] - before.tensors[name]).max() > 0


@on_tensorflow
def test_keras_3_in_a_graph_is_refused_not_computed_wrong():
    layer = hub.KerasLayer(f"{V1}/feature_vector/5")
    made_eagerly = hub.Module(HANDLE, trainable=True, tags={"train"})
    with tf1_session():
        x = v1.placeholder(tf.float32, [None, 224, 224, 3])
        for use in (
            lambda: hub.KerasLayer(f"{V1}/feature_vector/5"),
            lambda: layer(x),
            lambda: made_eagerly(x),
        ):
            with pytest.raises(KerasLayerError, match=r"hub\.Module, or tf_keras"):
                use()
        assert largest_error(hub.Module(HANDLE, threads=1)(X), FEATURES) < 1e-4
    with pytest.raises(Exception, match="outside of the function"):
        tf.function(lambda x: hub.KerasLayer(f"{V1}/feature_vector/5")(x))(tf.constant(X))


def test_a_module_of_another_network_does_not_pass_for_this_one():
    other = hub.Module(f"{V2}/feature_vector/3")
    found = tf.function(lambda x: other(x))(tf.constant(X))
    assert found.shape == (4, 1280)
    assert largest_error(found, reference(V2, "features")) < 1e-4
