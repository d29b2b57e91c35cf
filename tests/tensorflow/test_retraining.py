"""A whole program for TensorFlow 1: bottlenecks, a new last layer, a graph that is frozen."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mobilenet_hub as hub  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
v1 = tf.compat.v1
HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/3"


def jpeg_decoder(height, width):
    """Placeholder of a JPEG file's bytes, and its pixels in [0,1], as retrain.py has them."""
    data = v1.placeholder(tf.string, name="DecodeJPGInput")
    pixels = tf.image.convert_image_dtype(tf.io.decode_jpeg(data, channels=3), tf.float32)
    return data, v1.image.resize_bilinear(tf.expand_dims(pixels, 0), [height, width])


def add_final_layer(bottlenecks, classes):
    labels = v1.placeholder(tf.int64, [None], name="GroundTruthInput")
    with tf.name_scope("final_retrain_ops"):
        weights = v1.get_variable("final_weights", [bottlenecks.shape[1], classes])
        biases = v1.get_variable("final_biases", [classes], initializer=v1.zeros_initializer())
        logits = tf.matmul(bottlenecks, weights) + biases
    final = tf.nn.softmax(logits, name="final_result")
    loss = v1.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
    step = v1.train.AdamOptimizer(1e-3).minimize(loss)
    return labels, step, final


@pytest.fixture(scope="module")
def photos(shared):
    folder = shared / "transfer" / "hymenoptera"
    if not folder.is_dir():
        pytest.skip("the photos of bees and ants are not beside this checkout")
    return {
        split: [
            (path.read_bytes(), label)
            for label, name in enumerate(("ants", "bees"))
            for path in sorted((folder / split / name).iterdir())
        ]
        for split in ("train", "val")
    }


def test_bees_and_ants_are_told_apart_by_a_graph_that_was_frozen(photos, tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(0)
        spec = hub.load_module_spec(HANDLE)
        height, width = hub.get_expected_image_size(spec)
        images = v1.placeholder(tf.float32, [None, height, width, 3], name="input")
        features = hub.Module(spec)(images)
        bottleneck = v1.placeholder_with_default(features, [None, 1280], "BottleneckInput")
        data, decoded = jpeg_decoder(height, width)
        labels, step, _ = add_final_layer(bottleneck, 2)
        session.run(v1.global_variables_initializer())

        def bottleneck_of(jpeg):
            pixels = session.run(decoded, {data: jpeg})
            return session.run(features, {images: pixels})[0]

        cached = np.stack([bottleneck_of(jpeg) for jpeg, _ in photos["train"]])
        truth = np.array([label for _, label in photos["train"]])
        random = np.random.default_rng(0)
        for _ in range(600):
            batch = random.choice(len(truth), 32)
            session.run(step, {bottleneck: cached[batch], labels: truth[batch]})
        frozen = v1.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), ["final_result"]
        )
        (tmp_path / "output_graph.pb").write_bytes(frozen.SerializeToString())

    with tf.Graph().as_default(), v1.Session() as session:
        read = v1.GraphDef.FromString((tmp_path / "output_graph.pb").read_bytes())
        tf.import_graph_def(read, name="import")
        data, decoded = jpeg_decoder(224, 224)
        right = [
            session.run("import/final_result:0", {"import/input:0": pixels}).argmax() == label
            for jpeg, label in photos["val"]
            if (pixels := session.run(decoded, {data: jpeg})) is not None
        ]
    assert np.mean(right) >= 0.93
