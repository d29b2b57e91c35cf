"""`KerasLayer` for `tf_keras`: training, files, and the layer of the other Keras."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")
keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
from mobilenet_hub.errors import KerasLayerError, SignatureError, TensorMismatchError  # noqa: E402
from mobilenet_hub.tensorflow.layer import KerasLayer  # noqa: E402
from mobilenet_hub.tensorflow.loaded import load  # noqa: E402
from tensorflow_support import V1, images, largest_error, reference  # noqa: E402

pytestmark = pytest.mark.tensorflow
HANDLE = f"{V1}/feature_vector/5"
X = images()
FEATURES = reference(V1, "features")
CUSTOM = {"KerasLayer": KerasLayer}


@pytest.fixture(scope="module")
def trained():
    """A model after two steps, with what it predicts."""
    tf_keras.utils.set_random_seed(0)
    layer = KerasLayer(f"https://tfhub.dev/{HANDLE}", trainable=True, input_shape=(224, 224, 3))
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(3, name="head")])
    model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, np.array([0, 1, 2, 0]), epochs=2, verbose=0)
    return model, model.predict(X, verbose=0)


def test_a_frozen_layer_gives_the_original_features():
    layer = KerasLayer(HANDLE)
    assert largest_error(layer(X), FEATURES) < 1e-4
    assert largest_error(layer(X, training=True), FEATURES) < 1e-4
    assert (len(layer.trainable_weights), len(layer.weights), sum(layer.losses)) == (0, 135, 0)


def test_a_trainable_layer_trains_with_batch_statistics_and_losses():
    layer = KerasLayer(HANDLE, trainable=True)
    assert largest_error(layer(X, training=True), reference(V1, "train/features")) < 1e-3
    loss = reference(V1, "train/regularization_loss_without_logits")
    assert float(sum(layer.losses)) == pytest.approx(loss, rel=1e-5)
    assert largest_error(layer(X, training=False), FEATURES) > 1e-3
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (81, 54)


def test_training_changes_every_weight(trained):
    model, _ = trained
    before = load(HANDLE).current_weights().tensors
    after = model.layers[0].current_weights().tensors
    assert {name for name in after if np.array_equal(after[name], before[name])} == set()


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "saved_model"])
def test_every_file_of_keras_2_comes_back_whole(trained, tmp_path, name):
    model, expected = trained
    model.save(tmp_path / name)
    again = tf_keras.models.load_model(tmp_path / name, custom_objects=CUSTOM)
    np.testing.assert_allclose(again.predict(X, verbose=0), expected, atol=1e-5)
    assert isinstance(again.layers[0], KerasLayer)
    assert again.layers[0].get_config()["handle"] == f"https://tfhub.dev/{HANDLE}"


def shuffled(path, layer, seed=0):
    """Give the weights of a layer in an `.h5` file another order, as tensorflow_hub's have."""
    with h5py.File(path, "r+") as file:
        group = file["model_weights"][layer]
        names = group.attrs["weight_names"]
        trainable = np.array(["/moving_" not in name for name in map(str, names)])
        order = np.random.default_rng(seed).permutation(len(names))
        order = order[np.argsort(~trainable[order], kind="stable")]  # the trainable ones first
        group.attrs["weight_names"] = names[order]


def test_weights_of_h5_files_are_told_by_their_names_not_by_their_order(trained, tmp_path):
    model, expected = trained
    model.save(tmp_path / "model.h5")
    shuffled(tmp_path / "model.h5", model.layers[0].name)
    again = tf_keras.models.load_model(tmp_path / "model.h5", custom_objects=CUSTOM)
    np.testing.assert_allclose(again.predict(X, verbose=0), expected, atol=1e-5)


def test_weights_that_an_h5_file_lacks_are_said(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        group = file["model_weights"][model.layers[0].name]
        group.attrs["weight_names"] = group.attrs["weight_names"][:-1]
    with pytest.raises(TensorMismatchError, match="1 missing: MobilenetV1/Conv2d_13"):
        tf_keras.models.load_model(tmp_path / "model.h5", custom_objects=CUSTOM)


def test_signatures_follow_the_rules_of_tensorflow_hub():
    layer = KerasLayer(f"{V1}/feature_vector/3")  # the TF1 format: `default` of `default`
    assert largest_error(layer(X), FEATURES) < 1e-4
    endpoints = KerasLayer(
        f"{V1}/feature_vector/3", signature="image_feature_vector", signature_outputs_as_dict=True
    )(X)
    assert largest_error(endpoints["default"], FEATURES) < 1e-4
    first = KerasLayer(f"{V1}/feature_vector/3", output_key="MobilenetV1/Conv2d_0")
    assert first(X).shape == (4, 112, 112, 8)
    with pytest.raises(KerasLayerError, match="either output_key or signature_outputs_as_dict"):
        KerasLayer(HANDLE, signature="default")
    with pytest.raises(KerasLayerError, match="only valid if specifying a signature"):
        KerasLayer(HANDLE, signature_outputs_as_dict=True)
    with pytest.raises(SignatureError, match="Unknown signature nothing"):
        KerasLayer(HANDLE, signature="nothing", output_key="default")
    with pytest.raises(KerasLayerError, match="does not contain the output key nothing"):
        KerasLayer(f"{V1}/feature_vector/3", output_key="nothing")(X)
    with pytest.raises(KerasLayerError, match="output type is not a dict"):
        KerasLayer(HANDLE, output_key="default")(X)


def test_any_callable_is_a_handle(tmp_path):
    loaded = load(HANDLE)
    layer = KerasLayer(loaded, trainable=True)
    assert layer.resolved_object is loaded
    assert layer.trainable_weights[0] is loaded.variables[0]
    tf.saved_model.save(loaded, str(tmp_path / "saved"))
    restored = KerasLayer(tf.saved_model.load(str(tmp_path / "saved")), trainable=True)
    assert largest_error(restored(X, training=True), reference(V1, "train/features")) < 1e-3
    assert len(restored.trainable_weights) == 81
    double = KerasLayer(lambda x: 2 * x)
    np.testing.assert_array_equal(double(np.ones(3, np.float32)), [2, 2, 2])
    with pytest.raises(NotImplementedError, match="string `handle`"):
        double.get_config()


def test_shapes_are_known_before_anything_is_computed():
    assert KerasLayer(HANDLE).compute_output_shape((None, 224, 224, 3)) == (None, 256)
    layer = KerasLayer(HANDLE, output_shape=[256])
    assert layer.compute_output_shape((None, 224, 224, 3)) == (None, 256)
    assert layer(tf_keras.Input((224, 224, 3))).shape == (None, 256)


def test_a_model_of_the_other_keras_is_refused_with_the_cure():
    for add in (
        lambda: keras.Sequential([KerasLayer(HANDLE)]),
        lambda: KerasLayer(HANDLE)(keras.Input((224, 224, 3))),
    ):
        with pytest.raises(KerasLayerError, match=r"use mobilenet_hub\.keras\.KerasLayer"):
            add()


def test_the_weights_go_to_the_fast_runtime(trained, tmp_path):
    model, expected = trained
    layer, head = model.layers
    layer.export(tmp_path / "trained.safetensors")
    features = hub.Module(HANDLE, weights=tmp_path / "trained.safetensors")(X)
    np.testing.assert_allclose(head(features), expected, atol=1e-4)
