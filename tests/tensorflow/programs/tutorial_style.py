"""Programs as the tutorials of TensorFlow 2 have them, for either Keras that `tf.keras` may be.

Arguments: a file of images, and the file to write all that they compute to.
"""

import json
import sys

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

URL = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/feature_vector/5"
KAGGLE = "https://www.kaggle.com/models/google/mobilenet-v1"
IMAGE_SHAPE = (224, 224)
photos = np.load(sys.argv[1])["images"]
pixels = np.round(255 * photos).astype(np.uint8)
found = {}


def image_retraining():
    """tf2_image_retraining.ipynb: InputLayer, KerasLayer, Dropout, Dense; label smoothing."""
    do_fine_tuning = True
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((*IMAGE_SHAPE, 3)),
            hub.KerasLayer(URL, trainable=do_fine_tuning),
            tf.keras.layers.Dropout(rate=0.2),
            tf.keras.layers.Dense(2, kernel_regularizer=tf.keras.regularizers.l2(0.0001)),
        ]
    )
    model.build((None, *IMAGE_SHAPE, 3))
    model.summary(print_fn=lambda *line, **more: None)
    model.compile(
        optimizer=tf.keras.optimizers.SGD(learning_rate=1e-4, momentum=0.9),
        loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    found["retraining_before"] = tf.keras.Sequential(model.layers[:1])(photos)
    dataset = tf.data.Dataset.from_tensor_slices(
        (photos, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]])
    )
    history = model.fit(dataset.batch(2), epochs=1, verbose=0).history
    assert np.isfinite(history["loss"][0])
    tf.saved_model.save(model, "retrained")
    served = tf.saved_model.load("retrained")
    expected = model(photos, training=False)
    name = next(iter(served.signatures["serving_default"].structured_input_signature[1]))
    (result,) = served.signatures["serving_default"](**{name: tf.constant(photos)}).values()
    np.testing.assert_allclose(result, expected, atol=1e-4)


def transfer_learning():
    """transfer_learning_with_hub.ipynb: a frozen extractor with input_shape, over a dataset."""
    feature_extractor_layer = hub.KerasLayer(
        URL, input_shape=(224, 224, 3), trainable=False, dtype=tf.float32, name="extractor"
    )
    normalization_layer = tf.keras.layers.Rescaling(1.0 / 255)
    train_ds = tf.data.Dataset.from_tensor_slices(pixels.astype(np.float32)).batch(2)
    train_ds = train_ds.map(lambda x: normalization_layer(x)).cache().prefetch(tf.data.AUTOTUNE)
    model = tf.keras.Sequential([feature_extractor_layer, tf.keras.layers.Dense(2)])
    assert len(model.trainable_variables) == 2
    found["transfer"] = tf.keras.Sequential([feature_extractor_layer]).predict(train_ds, verbose=0)


def a_model_of_ones_own():
    """Subclasses of tf.keras.Model, around a KerasLayer and around what hub.load gives."""

    class Extractor(tf.keras.Model):
        def __init__(self, url):
            super().__init__()
            self.backbone = hub.KerasLayer(url, trainable=False)
            self.head = tf.keras.layers.Dense(2)

        def call(self, inputs):
            features = self.backbone(inputs)
            return features, self.head(features)

    base_model = hub.load(URL)

    class HubModel(tf.keras.Model):
        def call(self, inputs):
            return base_model(inputs)

    found["subclass"], _ = Extractor(URL).predict(photos, verbose=0)
    found["subclass_load"] = HubModel().predict(photos, verbose=0)


def a_training_loop_of_ones_own():
    """GradientTape in a tf.function, over a KerasLayer and its losses."""
    layer = hub.KerasLayer(URL, trainable=True, arguments={"batch_norm_momentum": 0.997})
    optimizer = tf.keras.optimizers.SGD(1e-5)

    @tf.function
    def train_step(images):
        with tf.GradientTape() as tape:
            features = layer(images, training=True)
            loss = tf.reduce_mean(features**2) + tf.add_n(layer.losses)
        gradients = tape.gradient(loss, layer.trainable_variables)
        optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=False))
        return features

    found["step"] = train_step(tf.constant(photos))
    assert len(layer.trainable_weights) == 81


def two_inputs():
    """A functional model of two images, and the cosine of their features."""
    layer = hub.KerasLayer(URL, trainable=False, name="shared")
    left, right = (tf.keras.Input((*IMAGE_SHAPE, 3)) for _ in range(2))
    a, b = layer(left), layer(right)
    outputs = [a, tf.keras.layers.Dot(axes=1, normalize=True)([a, b])]
    model = tf.keras.Model([left, right], outputs)
    found["two_inputs"], found["cosine"] = model.predict([photos, photos[::-1]], verbose=0)


def image_similarity():
    """Vectors of hub.load, one file at a time, and the nearest by cosine."""
    module = hub.load(URL)
    vectors = []
    for image in pixels:
        file = tf.io.encode_png(image)
        img = tf.image.resize_with_pad(tf.io.decode_png(file, channels=3), 224, 224)
        img = tf.image.convert_image_dtype(tf.cast(img, tf.uint8), tf.float32)[tf.newaxis, ...]
        vectors.append(np.squeeze(module(img)))
    found["similarity"] = np.stack(vectors)
    unit = found["similarity"] / np.linalg.norm(found["similarity"], axis=1, keepdims=True)
    assert (unit @ unit.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


def signatures_of_a_loaded_module():
    """hub.load(...).signatures: their names, their structure, tensors by name."""
    module = hub.load(URL)
    assert "serving_default" in list(module.signatures.keys())
    infer = module.signatures["serving_default"]
    found["serving_default"] = infer(inputs=tf.constant(photos))["feature_vector"]
    old = hub.load(URL.replace("/5", "/3")).signatures["default"]
    found["default"] = old(tf.constant(photos))["default"]


def tensorflow_lite():
    """TFLiteConverter: of a Keras model with a KerasLayer, and of a signature."""
    module = hub.load(URL)
    function = module.signatures["serving_default"]
    by_function = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    model = tf.keras.Sequential(
        [tf.keras.layers.InputLayer((*IMAGE_SHAPE, 3)), hub.KerasLayer(URL, trainable=False)]
    )
    by_model = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, converter in {"tflite": by_model, "tflite_signature": by_function}.items():
        interpreter = tf.lite.Interpreter(model_content=converter.convert())
        images = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(images, photos.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(images, photos)
        interpreter.invoke()
        found[name] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def a_layer_of_a_callable():
    """KerasLayer of an object: of what hub.load gives, and of a restored SavedModel."""
    loaded = hub.load(URL)
    layer = hub.KerasLayer(loaded)
    assert layer.resolved_object is loaded
    found["callable"] = layer(photos)
    tf.saved_model.save(loaded, "reusable")
    restored = hub.KerasLayer(tf.saved_model.load("reusable"), trainable=True)
    assert len(restored.trainable_weights) == 81 and len(restored.weights) == 135
    found["restored"] = tf.keras.Sequential([restored]).predict(photos, verbose=0)
    assert layer.compute_output_shape((10, 224, 224, 3)).as_list() == [10, 256]


def configurations():
    """model.to_json and from_json, from_config of get_config, with custom_objects."""
    layer = hub.KerasLayer(URL, output_shape=[256], name="features")
    assert layer.get_config()["handle"] == URL
    again = hub.KerasLayer.from_config(json.loads(json.dumps(layer.get_config())))
    found["from_config"] = again(photos)
    model = tf.keras.Sequential([tf.keras.layers.InputLayer((*IMAGE_SHAPE, 3)), layer])
    custom = {"KerasLayer": hub.KerasLayer}
    rebuilt = tf.keras.models.model_from_json(model.to_json(), custom_objects=custom)
    found["from_json"] = rebuilt.predict(photos, verbose=0)


def a_local_path():
    """A KerasLayer of a folder: handle and weights are the folder's, in a file and in a clone."""
    module = hub.load(URL)
    tf.saved_model.save(module, "mobilenet_v1_025_224")
    layer = hub.KerasLayer("mobilenet_v1_025_224")
    assert layer.get_config()["handle"] == "mobilenet_v1_025_224"
    model = tf.keras.Sequential([tf.keras.layers.InputLayer((*IMAGE_SHAPE, 3)), layer])
    found["path_clone"] = tf.keras.models.clone_model(model).predict(photos, verbose=0)
    model.save("path.h5")
    custom = {"KerasLayer": hub.KerasLayer}
    again = tf.keras.models.load_model("path.h5", custom_objects=custom, compile=False)
    found["path_h5"] = again.predict(photos, verbose=0)


def handles_of_kaggle():
    """The three ways in which Kaggle Models writes them."""
    variation = "025-224-feature-vector"
    for key, handle in {
        "short": f"{KAGGLE}/TensorFlow2/{variation}/2",
        "long": f"{KAGGLE}/frameworks/TensorFlow2/variations/{variation}/versions/2",
        "query": f"{KAGGLE}/tensorFlow2/{variation}/2?tfhub-redirect=true",
    }.items():
        found[f"kaggle_{key}"] = hub.load(handle)(photos)


def pixels_to_255_are_refused():
    """decode_jpeg and cast without a division: refused in each door, with the cure."""
    images = tf.cast(pixels, tf.float32)
    layer = hub.KerasLayer(URL)
    model = tf.keras.Sequential([tf.keras.layers.InputLayer((*IMAGE_SHAPE, 3)), layer])
    module = hub.load(URL)
    eager = hub.Module(URL.replace("/5", "/3"))
    for use in (
        lambda: layer(images),
        lambda: model.predict(images, verbose=0),
        lambda: module(images),
        lambda: module.signatures["default"](images=images),
        lambda: tf.function(lambda x: module(x))(images),
        lambda: eager(images),
        lambda: tf.function(lambda x: eager(x))(images),
        lambda: list(tf.data.Dataset.from_tensors(images).map(eager)),
    ):
        try:
            use()
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            assert "images = images / 255.0" in str(error), error
        else:
            raise AssertionError("taken without a word")
    found["divided"] = layer(images / 255.0)


PROGRAMS = (
    image_retraining,
    transfer_learning,
    a_model_of_ones_own,
    a_training_loop_of_ones_own,
    two_inputs,
    image_similarity,
    signatures_of_a_loaded_module,
    tensorflow_lite,
    a_layer_of_a_callable,
    configurations,
    a_local_path,
    handles_of_kaggle,
    pixels_to_255_are_refused,
)
if len(sys.argv) > 3:
    PROGRAMS = [program for program in PROGRAMS if program.__name__ in sys.argv[3:]]
for program in PROGRAMS:
    program()
found["keras"] = hub.KerasLayer.__module__
np.savez(sys.argv[2], **{name: np.asarray(value) for name, value in found.items()})
