"""Files that Keras 2 wrote with tensorflow_hub's `KerasLayer`, in Keras 3; and the wrong layer."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")
keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
import mobilenet_hub.keras  # noqa: E402
from mobilenet_hub import tensorflow as on_tensorflow  # noqa: E402
from mobilenet_hub.errors import KerasLayerError  # noqa: E402
from tensorflow_support import V1, images, reference  # noqa: E402

pytestmark = pytest.mark.tensorflow
HANDLE = f"https://tfhub.dev/{V1}/feature_vector/5"
CUSTOM = {"KerasLayer": hub.KerasLayer}
X = images(2)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A trained model as tensorflow_hub's layer writes it: its config, and an order of its own."""
    path = tmp_path_factory.mktemp("keras2") / "model.h5"
    tf_keras.utils.set_random_seed(0)
    layer = on_tensorflow.KerasLayer(HANDLE, trainable=True, input_shape=(224, 224, 3))
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(2, name="head")])
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((2, 2)), verbose=0)
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        [of_hub] = [c for c in config["config"]["layers"] if "KerasLayer" in c["class_name"]]
        of_hub["class_name"] = "KerasLayer"
        of_hub.pop("registered_name", None)
        of_hub.pop("module", None)
        assert set(of_hub["config"]) == {
            "name", "trainable", "dtype", "batch_input_shape", "handle",
        }  # fmt: skip
        file.attrs["model_config"] = json.dumps(config)
        group = file["model_weights"][layer.name]
        names = group.attrs["weight_names"]
        order = np.random.default_rng(0).permutation(81)
        group.attrs["weight_names"] = np.concatenate([names[:81][order], names[81:][::-1]])
    return path, model.predict(X, verbose=0)


def test_keras_3_loads_it_weights_and_all(written):
    path, expected = written
    model = keras.models.load_model(path, custom_objects=CUSTOM, compile=False)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-4)
    assert model.layers[0].get_config()["handle"] == HANDLE
    assert model.layers[0].trainable


def test_tf_keras_loads_it_weights_and_all(written):
    path, expected = written
    custom = {"KerasLayer": on_tensorflow.KerasLayer}
    model = tf_keras.models.load_model(path, custom_objects=custom, compile=False)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-4)


def test_an_h5_file_of_keras_3_comes_back(written, tmp_path):
    path, expected = written
    model = keras.models.load_model(path, custom_objects=CUSTOM, compile=False)
    model.save(tmp_path / "again.h5")
    again = keras.models.load_model(tmp_path / "again.h5", custom_objects=CUSTOM, compile=False)
    np.testing.assert_allclose(again.predict(X, verbose=0), expected, atol=1e-4)


def test_a_handle_is_kept_as_given():
    layer = hub.KerasLayer(HANDLE)
    assert layer.get_config()["handle"] == HANDLE
    assert hub.KerasLayer.from_config(layer.get_config()).get_config()["handle"] == HANDLE


def test_arguments_stand_in_the_order_of_tensorflow_hub():
    with pytest.raises(TypeError, match="by keyword"):
        hub.KerasLayer(HANDLE, False, None, "default")
    frozen = hub.KerasLayer(HANDLE, False, {"return_endpoints": True})
    assert "default" in frozen(X)


def test_a_layer_of_keras_3_in_tf_keras_is_refused_with_the_cure():
    for add in (
        lambda: tf_keras.Sequential([hub.KerasLayer(HANDLE)]),
        lambda: hub.KerasLayer(HANDLE)(tf_keras.Input((224, 224, 3))),
    ):
        with pytest.raises(KerasLayerError, match=r"use mobilenet_hub\.tensorflow\.KerasLayer"):
            add()


def test_a_layer_of_what_load_gave_shares_its_variables_in_keras_3():
    module = hub.load(HANDLE)
    if not isinstance(module, tf.Module):
        pytest.skip("Keras runs on another backend")
    layer = hub.KerasLayer(module, trainable=True)
    model = keras.Sequential([layer, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((2, 2)), verbose=0)
    features = np.asarray(module(X))
    np.testing.assert_allclose(features, np.asarray(layer(X)), atol=1e-4)
    assert np.abs(features - reference(V1, "features")[:2]).max() > 1e-3
