"""Programs as they were written for TensorFlow 2, for either Keras that `tf.keras` may be.

Arguments: a file of images, and the file to write all that they compute to.
"""

import sys

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

URL = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/feature_vector/5"
LOGITS = "https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/classification/4"
KAGGLE = (
    "https://www.kaggle.com/models/google/mobilenet-v1/frameworks/TensorFlow2/variations/"
    "025-224-feature-vector/versions/2"
)
photos = np.load(sys.argv[1])["images"]
found = {}


def a_frozen_layer_of_a_model():
    model = tf.keras.Sequential([hub.KerasLayer(URL, output_shape=[256], trainable=False)])
    model.build([None, 224, 224, 3])
    found["sequential"] = model.predict(photos, verbose=0)


def a_classifier_of_a_model():
    inputs = tf.keras.Input((224, 224, 3))
    model = tf.keras.Model(inputs, hub.KerasLayer(LOGITS)(inputs))
    found["logits"] = model.predict(photos, verbose=0)


def a_handle_of_kaggle():
    layer = hub.KerasLayer(KAGGLE)
    found["kaggle"] = np.asarray(layer(photos))


def fine_tuning_and_a_file():
    layer = hub.KerasLayer(URL, trainable=True, arguments={"batch_norm_momentum": 0.997})
    model = tf.keras.Sequential([layer, tf.keras.layers.Dense(2)])
    model.build([None, 224, 224, 3])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss)
    found["first_loss"] = model.fit(photos, np.array([0, 1, 0, 1]), verbose=0).history["loss"]
    found["trained"] = model.predict(photos, verbose=0)
    model.save("model.h5")
    custom = {"KerasLayer": hub.KerasLayer}
    again = tf.keras.models.load_model("model.h5", custom_objects=custom)
    found["loaded"] = again.predict(photos, verbose=0)


def a_loaded_module():
    module = hub.load(URL)
    found["load"] = module(photos)
    found["signature"] = module.signatures["default"](images=tf.constant(photos))["default"]
    found["train"] = module(photos, training=True)


def a_module_of_ones_own():
    class Embed(tf.Module):
        def __init__(self):
            super().__init__()
            self.backbone = hub.load(URL)

        @tf.function(input_signature=[tf.TensorSpec([None, 224, 224, 3])])
        def embed(self, images):
            return self.backbone(images)

    tf.saved_model.save(Embed(), "embed")
    loaded = tf.saved_model.load("embed")
    found["saved"] = loaded.embed(tf.constant(photos))


def a_checkpoint():
    module = hub.load(URL)
    path = tf.train.Checkpoint(module=module).save("checkpoint")
    for variable in module.variables:
        variable.assign(tf.zeros_like(variable))
    tf.train.Checkpoint(module=module).restore(path)
    found["checkpoint"] = module(photos)


def datasets():
    module = hub.load(URL)
    batches = tf.data.Dataset.from_tensor_slices(photos).batch(2)
    found["dataset"] = np.concatenate([y.numpy() for y in batches.map(module)])
    eager = hub.Module(URL)
    found["eager_dataset"] = np.concatenate([y.numpy() for y in batches.map(eager)])


def a_function():
    module = hub.load(URL)
    found["function"] = tf.function(lambda images: module(images))(photos)


def a_lambda_of_keras():
    layer = tf.keras.layers.Lambda(lambda x: hub.load(URL)(x), output_shape=(256,))
    found["lambda"] = tf.keras.Sequential([layer]).predict(photos, verbose=0)


def a_graph_beside_eager_execution():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        features = hub.Module(URL)(tf.constant(photos))
        session.run(tf.compat.v1.global_variables_initializer())
        found["graph"] = session.run(features)


for program in (
    a_frozen_layer_of_a_model,
    a_classifier_of_a_model,
    a_handle_of_kaggle,
    fine_tuning_and_a_file,
    a_loaded_module,
    a_module_of_ones_own,
    a_checkpoint,
    datasets,
    a_function,
    a_lambda_of_keras,
    a_graph_beside_eager_execution,
):
    program()
found["keras"] = hub.KerasLayer.__module__
np.savez(sys.argv[2], **{name: np.asarray(value) for name, value in found.items()})
