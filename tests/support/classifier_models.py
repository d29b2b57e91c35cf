"""Classifiers on keras.applications, as people build them, in Keras 2 (tf_keras) and Keras 3.

Each function takes the Keras to build with and returns a model. `RANGES` says
which images it takes; the rest of what it must become is in the tests.
"""

from __future__ import annotations

import numpy as np

from keras_files import keras_layers
from weights_support import load_bundled

SIZE = 96
MAP = SIZE // 32


def images(number=2):
    """float32 [number, 96, 96, 3] in [0, 1]: waves, each image with its own."""
    image, row, column, channel = np.indices((number, SIZE, SIZE, 3))
    waves = np.sin((image + 1) * (0.05 * row + 0.03 * column * (channel + 1)) + channel)
    return ((waves + 1) / 2).astype(np.float32)


def backbone(keras, family="v2", **options):
    """A network of keras.applications with the weights that are inside the package."""
    make = keras.applications.MobileNetV2 if family == "v2" else keras.applications.MobileNet
    alpha, key = (
        (0.35, "mobilenet_v2_035_224") if family == "v2" else (0.25, "mobilenet_v1_025_224")
    )
    options = {"include_top": False, "weights": None, **options}
    network = make(input_shape=(SIZE, SIZE, 3), alpha=alpha, **options)
    real = load_bundled(key)
    for name, variables in keras_layers(real.network)[:-1]:
        network.get_layer(name).set_weights([real.tensors[slim] for slim in variables.values()])
    return network


def augmented_functional(keras):
    """The transfer learning tutorial of TensorFlow: augmentation, scaling, a nested network."""
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3))
    value = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)])(inputs)
    value = keras.applications.mobilenet_v2.preprocess_input(value)
    value = backbone(keras)(value, training=False)
    value = layers.GlobalAveragePooling2D()(value)
    outputs = layers.Dense(3, activation="softmax")(layers.Dropout(0.2)(value))
    return keras.Model(inputs, outputs)


def hidden_layer(keras):
    """A network that pools itself, and a dense layer with ReLU, in one flat sequence."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            backbone(keras, "v1", pooling="avg"),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(4, activation="softmax"),
        ]
    )


def other_scaling(keras):
    """Images in [0, 255], brought to [0, 1] for a network that was made for [-1, 1]."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 255),
            backbone(keras),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )


def binary(keras):
    """A pool of the whole map by its size, flattened, and one probability."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            backbone(keras),
            layers.AveragePooling2D((MAP, MAP)),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def unrolled(keras):
    """The layers of the network among those of the model; batch norm and layers without ReLU."""
    layers = keras.layers
    network = backbone(keras)
    value = layers.GlobalAveragePooling2D()(network.output)
    value = layers.BatchNormalization()(value)
    value = layers.Dense(8, name="linear")(value)
    value = layers.ReLU()(value)
    value = layers.Dense(5, use_bias=False)(value)
    return keras.Model(network.input, layers.Activation("softmax")(value))


def own_top(keras):
    """The top of keras.applications, with other classes."""
    return backbone(keras, "v1", include_top=True, classes=6)


def teachable_machine(keras):
    """What Teachable Machine's keras_model.h5 is made of."""
    layers = keras.layers
    network = keras.Sequential([backbone(keras), layers.GlobalAveragePooling2D()])
    head = keras.Sequential(
        [
            keras.Input((1280,)),
            layers.Dense(100, activation="relu"),
            layers.Dense(3, use_bias=False, activation="softmax"),
        ]
    )
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), network, head])


# Model to the values that black and white pixels have in the images it takes.
RANGES = {
    augmented_functional: (0, 255),
    hidden_layer: (-1, 1),
    other_scaling: (0, 255),
    binary: (0, 255),
    unrolled: (-1, 1),
    own_top: (-1, 1),
    teachable_machine: (-1, 1),
}


def filled(model, seed=1):
    """The model with a random head."""
    rng = np.random.default_rng(seed)
    for layer in [*model.layers, *(inner for each in model.layers for inner in _layers(each))]:
        if layer.name.startswith(("dense", "linear", "conv_preds")) or len(layer.weights) == 4:
            if layer.name.endswith(("_bn", "_BN", "bn_Conv1")):
                continue  # of the network
            shapes = [tuple(variable.shape) for variable in layer.weights]
            scales = [2 / shape[-2] ** 0.5 if len(shape) > 1 else 0.3 for shape in shapes]
            values = [k * rng.standard_normal(s) for k, s in zip(scales, shapes, strict=True)]
            if len(values) == 4:
                values[0], values[3] = np.abs(values[0]) + 0.5, np.abs(values[3]) + 0.5
            layer.set_weights([value.astype(np.float32) for value in values])
    return model


def _layers(layer):
    return getattr(layer, "layers", [])


def expected(model, build):
    """The probabilities of the source's own framework for `images`."""
    low, high = RANGES[build]
    outputs = model.predict(images() * (high - low) + low, verbose=0)
    if build is binary:
        return np.concatenate([1 - outputs, outputs], axis=1)
    return softmax(outputs) if build is other_scaling else outputs


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
