"""Classifiers in Keras: with their head, or the features before it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
import mobilenet_hub.keras as mobilenets  # noqa: E402
from classifier_support import INFO, random_classifier  # noqa: E402
from mobilenet_hub.errors import TensorMismatchError, UnsupportedError  # noqa: E402
from mobilenet_hub.settings import PreprocessingSettings  # noqa: E402
from mobilenet_hub.weights.classifier import ClassifierSettings  # noqa: E402
from mobilenet_hub.weights.readers import read  # noqa: E402

SETTINGS = ClassifierSettings(
    ("ant", "bee", "cow"), PreprocessingSettings(128, 128, "none"), "sigmoid", 2.0, 0.5,
    input_range=(0.0, 1.0),
)  # fmt: skip
IMAGES = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    random_classifier(SETTINGS, prototypes=3, hidden=6).save(folder / "model.safetensors")
    return folder


def numpy(value):
    return keras.ops.convert_to_numpy(value)


def test_a_layer_of_a_folder_has_its_head(folder):
    layer = hub.KerasLayer(str(folder))
    np.testing.assert_allclose(
        numpy(layer(IMAGES)), hub.Module(folder)(IMAGES), rtol=1e-3, atol=1e-4
    )


def test_its_features_are_had_by_their_signature(folder):
    layer = hub.KerasLayer(str(folder), signature="image_feature_vector", output_key="default")
    expected = hub.Module(folder)(IMAGES, signature="image_feature_vector")
    np.testing.assert_allclose(numpy(layer(IMAGES)), expected, rtol=1e-3, atol=1e-4)


def test_a_layer_nobody_trained_exports_the_classifier_as_it_was(folder, tmp_path):
    layer = hub.KerasLayer(str(folder), trainable=True)
    layer.export(tmp_path / "again.safetensors")
    again = hub.Module(tmp_path / "again.safetensors").weights
    assert again.classifier == SETTINGS
    np.testing.assert_array_equal(again.prototypes, hub.Module(folder).weights.prototypes)


def test_training_leaves_labels_and_drops_what_was_fitted_to_the_weights_before(folder):
    layer = hub.KerasLayer(str(folder), trainable=True)
    kernel = layer.network_layer.head[-1].kernel
    kernel.assign(kernel * 2)
    weights = layer.current_weights()
    assert weights.classifier == ClassifierSettings(
        SETTINGS.labels, SETTINGS.preprocessing, "sigmoid", input_range=(0.0, 1.0)
    )
    assert weights.prototypes is None
    assert hub.Module(INFO.handle, weights=weights).labels == SETTINGS.labels


def test_a_saved_model_has_the_head_again_and_its_labels(folder, tmp_path):
    model = keras.Sequential([keras.Input((128, 128, 3)), hub.KerasLayer(str(folder))])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    weights = again.layers[-1].current_weights()
    assert weights.labels == SETTINGS.labels
    assert weights.network == hub.Module(folder).weights.network


def test_a_saved_model_of_its_layers_carries_the_names_of_its_classes(folder, tmp_path):
    mobilenets.model(folder).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for weights in (mobilenets.to_weights(loaded), read(tmp_path / "model.keras")):
        assert weights.labels == SETTINGS.labels
        assert weights.network == hub.Module(folder).weights.network
        assert weights.classifier.preprocessing == SETTINGS.preprocessing


FEATURES = "google/imagenet/mobilenet_v1_025_128/feature_vector/5"
NAMES = ("ant", "bee", "cow")


def layer_of(handle=FEATURES, **options):
    return hub.KerasLayer(handle, weights="random", trainable=True, **options)


def randomised(model):
    """The model, built, with a head of values that are not small."""
    model(IMAGES)
    for variable in model.layers[-1].trainable_variables:
        variable.assign(np.random.default_rng(1).standard_normal(variable.shape))
    return model


def chain(*layers):
    return randomised(keras.Sequential([keras.Input((128, 128, 3)), *layers]))


def nested():
    network = mobilenets.model(FEATURES, weights="random", input_shape=(128, 128, 3))
    return chain(keras.Sequential([network]), keras.layers.Dropout(0.5), keras.layers.Dense(3))


def functional():
    network = mobilenets.model(FEATURES, weights="random", input_shape=(128, 128, 3))
    return randomised(keras.Model(network.input, keras.layers.Dense(3)(network.output)))


LOGITS = {
    "a dense layer": lambda: chain(layer_of(), keras.layers.Dense(3)),
    "augmentation and dropout": lambda: chain(
        keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), layer_of(),
        keras.layers.Dropout(0.5), keras.layers.Dense(3),
    ),
    "a hidden layer": lambda: chain(
        layer_of(), keras.layers.Dense(9, "relu", use_bias=False), keras.layers.Dense(3)
    ),
    "a network's layers, nested": nested,
    "a network's layers in a functional model": functional,
}  # fmt: skip


@pytest.mark.parametrize("made", LOGITS.values(), ids=LOGITS.keys())
def test_what_was_trained_runs_on_the_fast_runtime_with_its_head(made, tmp_path):
    model = made()
    weights = mobilenets.classifier(model, NAMES)
    module = hub.Module(weights)
    assert module.labels == NAMES
    expected = numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(module(IMAGES), expected, rtol=1e-3, atol=1e-3)
    weights.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(hub.Module(tmp_path)(IMAGES), module(IMAGES))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("apart", [False, True])
def test_probabilities_are_the_models_own(activation, apart, tmp_path):
    last = (
        (keras.layers.Dense(3), keras.layers.Activation(activation))
        if apart
        else (keras.layers.Dense(3, activation),)
    )
    model = keras.Sequential([keras.Input((128, 128, 3)), layer_of(), *last])
    weights = mobilenets.classifier(model, NAMES)
    assert weights.classifier.activation == activation
    Image.fromarray((IMAGES[0] * 255).astype(np.uint8)).save(tmp_path / "photo.png")
    preprocessing = hub.Preprocessing(128, 128, "none")
    (record,) = hub.classify(tmp_path / "photo.png", hub.Module(weights), crop=preprocessing.crop)
    pixels = preprocessing((tmp_path / "photo.png").read_bytes())[None] / np.float32(255)
    expected = numpy(model(pixels))[0]
    for label in record.labels:
        assert label.score == pytest.approx(expected[label.index], abs=1e-4)


def test_one_sigmoid_is_two_labels_and_pixels_may_be_rescaled():
    model = chain(keras.layers.Rescaling(1 / 255), layer_of(), keras.layers.Dense(1, "sigmoid"))
    preprocessing = PreprocessingSettings(128, 128, "none")
    weights = mobilenets.classifier(model, ("cat", "dog"), preprocessing=preprocessing)
    logits = hub.Module(weights)(IMAGES)
    dog = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(dog, numpy(model(IMAGES * 255))[:, 0], atol=1e-4)
    assert hub.Module(weights).preprocessing == hub.Preprocessing(128, 128, "none")


def test_a_layer_that_classifies_needs_no_other():
    model = keras.Sequential([keras.Input((128, 128, 3)), layer_of(INFO.handle)])
    weights = mobilenets.classifier(model, [f"class {i}" for i in range(1001)])
    np.testing.assert_allclose(hub.Module(weights)(IMAGES), numpy(model(IMAGES)), atol=1e-3)
    assert weights.labels[1000] == "class 1000"


def added():
    """A model whose layers are those of a chain, put together in another way."""
    images = keras.Input((128, 128, 3))
    features = layer_of()(images)
    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(0, 1, seed=0))
    return keras.Model(images, keras.layers.Softmax()(dense(features) + dense(features) ** 2))


REFUSED = {
    "no network": lambda: chain(keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)),
    "batch norm in the head": lambda: chain(
        layer_of(), keras.layers.BatchNormalization(), keras.layers.Dense(3)
    ),
    "another activation": lambda: chain(layer_of(), keras.layers.Dense(3, "tanh")),
    "a hidden layer without relu": lambda: chain(
        layer_of(), keras.layers.Dense(9), keras.layers.Dense(3)
    ),
    "no images yet": lambda: keras.Sequential([layer_of(), keras.layers.Dense(3)]),
    "no head": lambda: keras.Sequential([keras.Input((128, 128, 3)), layer_of()]),
    "other pixels": lambda: chain(
        keras.layers.Rescaling(2, -1), layer_of(), keras.layers.Dense(3)
    ),
    "another way through its layers": added,
}  # fmt: skip


@pytest.mark.parametrize("made", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_such_model_is_refused_in_a_sentence(made):
    with pytest.raises(UnsupportedError, match=r"expected a model of augmentation.*Received: "):
        mobilenets.classifier(made(), NAMES)


def test_labels_must_be_as_many_as_the_classes():
    with pytest.raises(TensorMismatchError, match="expected 1×1×256×2"):
        mobilenets.classifier(chain(layer_of(), keras.layers.Dense(3)), ("ant", "bee"))
