"""Classifiers that TensorFlow programs wrote give, when imported, what TensorFlow gives."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")

import classifier_models as models  # noqa: E402
import mobilenet_hub as hub  # noqa: E402
from mobilenet_hub import tensorflow as on_tensorflow  # noqa: E402
from mobilenet_hub.weights.readers import read  # noqa: E402
from tensorflow_support import V1, images  # noqa: E402

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
HANDLE = f"https://tfhub.dev/{V1}/feature_vector/5"


@pytest.mark.parametrize("build", models.RANGES, ids=lambda build: build.__name__)
def test_a_model_of_keras_2(tmp_path, build):
    model = models.filled(build(tf_keras))
    expected = models.expected(model, build)
    for name in ("a.keras", "a.h5"):
        model.save(tmp_path / name)
        module = hub.Module(tmp_path / name)
        found = models.softmax(module(models.images()))
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.fixture(scope="module")
def on_applications(tmp_path_factory):
    """A nested model of Keras 2 with a hidden layer, and the folder it is saved in."""
    model = models.filled(models.teachable_machine(tf_keras))
    folder = tmp_path_factory.mktemp("saved")
    tf.saved_model.save(model, str(folder))
    return model, folder


def test_a_saved_model_of_keras_applications(on_applications):
    model, folder = on_applications
    module = hub.Module(folder)
    found = models.softmax(module(models.images()))
    expected = models.expected(model, models.teachable_machine)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert module.weights.network.hidden.out_channels == 100
    assert module.weights.metadata["batch_norm"] == "unfolded"


def test_a_tflite_file_of_keras_applications(on_applications, tmp_path):
    model, folder = on_applications
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    (tmp_path / "a.tflite").write_bytes(converter.convert())
    module = hub.Module(tmp_path / "a.tflite")
    found = models.softmax(module(models.images()))
    expected = models.expected(model, models.teachable_machine)
    np.testing.assert_allclose(found, expected, atol=1e-4)


# Around a KerasLayer, as make_image_classifier builds it --------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What make_image_classifier makes, with this library's layer; and what it gives."""
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((224, 224, 3)),
            on_tensorflow.KerasLayer(HANDLE),
            tf_keras.layers.Dropout(0.2),
            tf_keras.layers.Dense(3, activation="softmax"),
        ]
    )
    folder = tmp_path_factory.mktemp("made")
    tf.saved_model.save(model, str(folder / "saved"))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "a.tflite").write_bytes(converter.convert())
    model.save(folder / "a.h5")
    (folder / "labels.txt").write_text("ants\nbees\nwasps\n")
    return folder, model.predict(images(2), verbose=0)


@pytest.mark.parametrize("name", ["saved", "a.tflite", "a.h5"])
def test_a_classifier_of_make_image_classifier(made, tmp_path, name):
    folder, expected = made
    labels = folder / "labels.txt"
    result = hub.import_classifier(folder / name, tmp_path / "out", labels=labels)
    module = hub.Module(result.folder)
    assert module.labels == ("ants", "bees", "wasps")
    assert module.preprocessing.crop == "none"
    found = models.softmax(module(images(2)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


# retrain.py -------------------------------------------------------------------------------------


@pytest.mark.parametrize("logits", [False, True])
def test_a_graph_that_retrain_py_froze(tmp_path, logits):
    """Its last layer on a module's features or, as its first version had it, on all logits."""
    random, classes = np.random.default_rng(0), 4
    task, width = ("classification", 1001) if logits else ("feature_vector", 256)
    with tf.Graph().as_default(), v1.Session() as session:
        pixels = v1.placeholder(tf.float32, [None, 224, 224, 3], name="Placeholder")
        bottleneck = hub.Module(f"https://tfhub.dev/{V1}/{task}/3")(pixels)
        with tf.name_scope("input"):
            given = v1.placeholder_with_default(
                bottleneck, [None, width], "BottleneckInputPlaceholder"
            )
        with tf.name_scope("final_retrain_ops"):
            with tf.name_scope("weights"):
                kernel = v1.Variable(
                    random.normal(0, 0.1, (width, classes)).astype(np.float32), name="final_weights"
                )
            with tf.name_scope("biases"):
                biases = v1.Variable(random.random(classes).astype(np.float32), name="final_biases")
            with tf.name_scope("Wx_plus_b"):
                value = tf.matmul(given, kernel) + biases
        final = tf.nn.softmax(value, name="final_result")
        session.run(v1.global_variables_initializer())
        expected = session.run(final, {pixels: images(2)})
        frozen = v1.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), ["final_result"]
        )
    (tmp_path / "output_graph.pb").write_bytes(frozen.SerializeToString())
    weights = read(tmp_path / "output_graph.pb")
    found = models.softmax(hub.Module(weights)(images(2)))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    preprocessing = weights.classifier.preprocessing
    assert (preprocessing.crop, preprocessing.resample) == ("none", "tf1")
