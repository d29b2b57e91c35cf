"""Images in [0,255] that say they are in [0,1]: refused wherever their values can be seen."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
import mobilenet_hub.keras as mobilenets  # noqa: E402
from keras_support import V1, images, numpy_of, random_for  # noqa: E402
from mobilenet_hub.errors import InputError  # noqa: E402

BACKEND = keras.backend.backend()
FEATURES = f"{V1}/feature_vector/5"
SMALL = (32, 32, 3)
PLAINLY_WRONG = images(2, 32) * 255


def made(what):
    weights = random_for(FEATURES)
    if what == "layer":
        return hub.KerasLayer(FEATURES, weights=weights)
    if what == "load":
        return hub.load(FEATURES, weights=weights)
    if what == "training module":
        return hub.Module(FEATURES, trainable=True, weights=weights)
    return mobilenets.model(FEATURES, weights=weights, input_shape=SMALL)


@pytest.mark.parametrize("what", ["layer", "load", "training module", "model"])
def test_eager_calls_refuse_floats_to_255_and_take_uint8_but_for_models(what):
    form = made(what)
    with pytest.raises(InputError, match=r"divide by 255.*or pass uint8.*Received: values up to 2"):
        form(PLAINLY_WRONG)
    form(images(2, 32) * 6 - 3)  # normalised otherwise, but no pixels
    pixels = PLAINLY_WRONG.astype(np.uint8)
    if what == "model":  # Keras casts them to the dtype of the model's input
        with pytest.raises(InputError, match=r"begins with keras\.Input"):
            form(pixels)
    else:
        expected = form((pixels / 255).astype(np.float32))
        np.testing.assert_allclose(numpy_of(form(pixels)), numpy_of(expected), atol=1e-4)


@pytest.mark.skipif(BACKEND == "jax", reason="a function that JAX compiled cannot refuse values")
@pytest.mark.parametrize("what", ["layer", "model"])
def test_training_on_floats_to_255_is_refused(what):
    inputs = keras.Input(SMALL)
    model = keras.Model(inputs, keras.layers.Dense(2)(made(what)(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    error, message = InputError, "divide by 255"
    if BACKEND == "tensorflow":
        import tensorflow as tf

        error = tf.errors.InvalidArgumentError
    with pytest.raises(error, match=message):
        model.fit(PLAINLY_WRONG, np.array([0, 1]), verbose=0)
    model.fit(images(2, 32), np.array([0, 1]), verbose=0)


def test_a_model_takes_uint8_images_by_an_input_that_says_so():
    network = made("model")
    pixels = PLAINLY_WRONG.astype(np.uint8)
    inputs = keras.Input(SMALL, dtype="uint8")
    layer = hub.KerasLayer(FEATURES, weights=random_for(FEATURES))
    expected = network((pixels / 255).astype(np.float32))
    outputs = keras.Model(inputs, layer(inputs))(pixels)
    np.testing.assert_allclose(numpy_of(outputs), numpy_of(expected), atol=1e-4)
