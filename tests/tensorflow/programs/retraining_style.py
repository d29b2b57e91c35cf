"""Programs as retrain.py and its kin were written for TensorFlow 1: files, frozen graphs.

Arguments: a file of images, and the file to write all that they compute to.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

import tensorflow_hub as hub  # noqa: E402

FEATURES = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/feature_vector/3"
photos = np.load(sys.argv[1])["images"]
pixels = np.round(255 * photos).astype(np.uint8)
found = {}


def encoded_images_of_a_batch():
    """image_feature_vector.ipynb: files as strings, decoded within the graph by tf.map_fn."""
    tf.reset_default_graph()
    image_module = hub.Module(FEATURES)
    encoded_images = tf.placeholder(tf.string, shape=[None])
    image_size = hub.get_expected_image_size(image_module)

    def decode_and_resize_image(encoded):
        decoded = tf.image.decode_png(encoded, channels=3)
        decoded = tf.image.convert_image_dtype(decoded, tf.float32)
        return tf.image.resize_images(decoded, image_size)

    batch_images = tf.map_fn(decode_and_resize_image, encoded_images, dtype=tf.float32)
    features = image_module(batch_images)
    files = [tf.image.encode_png(image) for image in pixels]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        found["encoded"] = sess.run(features, {encoded_images: sess.run(files)})


def retraining_with_bottlenecks_and_a_frozen_graph():
    """retrain.py: a graph from a spec, bottlenecks, a placeholder with default, a frozen graph."""
    module_spec = hub.load_module_spec(FEATURES)
    height, width = hub.get_expected_image_size(module_spec)
    with tf.Graph().as_default() as graph:
        resized_input = tf.placeholder(tf.float32, [None, height, width, 3], name="input")
        m = hub.Module(module_spec)
        bottleneck_tensor = m(resized_input)
        wants_quantization = any(
            node.op in ("FakeQuantWithMinMaxVars",) for node in graph.as_graph_def().node
        )
    batch_size, bottleneck_size = bottleneck_tensor.get_shape().as_list()
    assert batch_size is None and not wants_quantization
    with graph.as_default(), tf.Session(graph=graph) as sess:
        bottleneck_input = tf.placeholder_with_default(
            bottleneck_tensor, shape=[None, bottleneck_size], name="BottleneckInputPlaceholder"
        )
        weights = tf.Variable(tf.truncated_normal([bottleneck_size, 2], stddev=0.001))
        logits = tf.matmul(bottleneck_input, weights)
        final = tf.nn.softmax(logits, name="final_result")
        labels = tf.placeholder(tf.int64, [None])
        loss = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
        step = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        sess.run(tf.global_variables_initializer())
        bottlenecks = sess.run(bottleneck_tensor, {resized_input: photos})
        found["bottlenecks"] = bottlenecks
        sess.run(step, {bottleneck_input: bottlenecks, labels: [0, 1, 0, 1]})
        expected = sess.run(final, {resized_input: photos})
        output = tf.graph_util.convert_variables_to_constants(
            sess, graph.as_graph_def(), ["final_result", bottleneck_tensor.op.name]
        )
        with tf.gfile.GFile("output_graph.pb", "wb") as f:
            f.write(output.SerializeToString())
    with tf.Graph().as_default(), tf.Session() as sess:
        graph_def = tf.GraphDef()
        with tf.gfile.FastGFile("output_graph.pb", "rb") as f:
            graph_def.ParseFromString(f.read())
        names = ["final_result:0", bottleneck_tensor.name]
        tensors = tf.import_graph_def(graph_def, name="", return_elements=names)
        result, found["frozen"] = sess.run(tensors, {"input:0": photos})
    np.testing.assert_allclose(result, expected, atol=1e-5)


def a_model_function_and_its_checkpoints():
    """What an Estimator did with a model_fn: a graph a mode, joined by checkpoints."""

    def model_fn(features, labels, training):
        tags = {"train"} if training else None
        module = hub.Module(FEATURES, trainable=training, tags=tags)
        embedding = module(features["image"])
        logits = dense(embedding)
        if not training:
            return {"embedding": embedding, "probabilities": tf.nn.softmax(logits)}
        loss = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
        loss += tf.losses.get_regularization_loss()
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            return tf.train.MomentumOptimizer(1e-5, 0.9).minimize(
                loss, global_step=tf.train.get_or_create_global_step()
            )

    def dense(x):
        kernel = tf.get_variable("dense/kernel", [x.shape[1], 2])
        return tf.matmul(x, kernel)

    with tf.Graph().as_default():
        features = {"image": tf.constant(photos)}
        train_op = model_fn(features, tf.constant([0, 1, 0, 1]), True)
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir="model_dir", hooks=[tf.train.StopAtStepHook(last_step=1)]
        ) as sess:
            while not sess.should_stop():
                sess.run(train_op)
    with tf.Graph().as_default():
        predictions = model_fn({"image": tf.constant(photos)}, None, False)
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            found["before_training"] = sess.run(predictions["embedding"])
            saver.restore(sess, tf.train.latest_checkpoint("model_dir"))
            after = sess.run(predictions["embedding"])
    found["moved"] = np.abs(after - found["before_training"]).max()


def a_checkpoint_into_a_module():
    """tf.train.init_from_checkpoint with module.variable_map, as its documentation says."""
    with tf.Graph().as_default(), tf.Session() as sess:
        module = hub.Module(FEATURES, name="encoder")
        sess.run(tf.global_variables_initializer())
        variables = {f"kept/{name}": variable for name, variable in module.variable_map.items()}
        path = tf.train.Saver(variables).save(sess, "kept.ckpt")
    with tf.Graph().as_default(), tf.Session() as sess:
        module = hub.Module(FEATURES, trainable=True)
        tf.train.init_from_checkpoint(
            path, {f"kept/{name}": variable for name, variable in module.variable_map.items()}
        )
        features = module(photos)
        sess.run(tf.global_variables_initializer())
        found["init_from_checkpoint"] = sess.run(features)


def an_exported_module_is_a_module():
    """Module.export, and hub.Module of the folder it wrote."""
    with tf.Graph().as_default(), tf.Session() as sess:
        module = hub.Module(FEATURES)
        sess.run(tf.global_variables_initializer())
        module.export("exported", sess)
    with tf.Graph().as_default(), tf.Session() as sess:
        module = hub.Module("exported")
        assert hub.get_expected_image_size(module) == [224, 224]
        features = module(photos)
        sess.run(tf.global_variables_initializer())
        found["exported"] = sess.run(features)


def a_spec_exported_with_a_checkpoint():
    """ModuleSpec.export(path, checkpoint_path=...), of names in another scope."""
    spec = hub.load_module_spec(FEATURES)
    with tf.Graph().as_default(), tf.Session() as sess:
        hub.Module(spec, name="scope")
        sess.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(sess, "scoped.ckpt")
    spec.export("spec", checkpoint_path=path, name_transform_fn=lambda name: f"scope/{name}")
    with hub.eval_function_for_module("spec") as f:
        found["spec_export"] = f(photos)


def a_saved_model_for_serving():
    """simple_save for TensorFlow Serving, loaded by its tag and signature in a session."""
    with tf.Graph().as_default(), tf.Session() as sess:
        images = tf.placeholder(tf.float32, [None, 224, 224, 3])
        features = hub.Module(FEATURES)(images)
        sess.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(sess, "serving", {"images": images}, {"features": features})
    with tf.Graph().as_default(), tf.Session() as sess:
        graph = tf.saved_model.loader.load(sess, [tf.saved_model.tag_constants.SERVING], "serving")
        signature = graph.signature_def["serving_default"]
        fetch = signature.outputs["features"].name
        found["serving"] = sess.run(fetch, {signature.inputs["images"].name: photos})


def a_feature_column():
    """hub.image_embedding_column in tf.feature_column.input_layer."""
    with tf.Graph().as_default():
        column = hub.image_embedding_column("photo", FEATURES)
        height, width = hub.get_expected_image_size(column.module_spec)
        spec = tf.feature_column.make_parse_example_spec([column])
        assert spec["photo"].shape == [height, width, 3] or spec["photo"].shape == (224, 224, 3)
        layer = tf.feature_column.input_layer({"photo": photos}, [column])
        with tf.train.MonitoredSession() as sess:
            found["input_layer"] = sess.run(layer)


PROGRAMS = (
    encoded_images_of_a_batch,
    retraining_with_bottlenecks_and_a_frozen_graph,
    a_model_function_and_its_checkpoints,
    a_checkpoint_into_a_module,
    an_exported_module_is_a_module,
    a_spec_exported_with_a_checkpoint,
    a_saved_model_for_serving,
    a_feature_column,
)
for program in PROGRAMS:
    program()
np.savez(sys.argv[2], **{name: np.asarray(value) for name, value in found.items()})
