"""Programs as they were written for TensorFlow 1; run as `python -m mobilenet_hub.tensorflow_hub`.

Arguments: a file of images, and the file to write all that they compute to.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

import tensorflow_hub as hub  # noqa: E402

FEATURES = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/feature_vector/1"
TUNED = "https://tfhub.dev/google/imagenet/mobilenet_v2_035_224/feature_vector/3"
LOGITS = "https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/classification/2"
photos = np.load(sys.argv[1])["images"]
found = {}


def features_of_a_placeholder():
    with tf.Graph().as_default():
        module = hub.Module(FEATURES)
        height, width = hub.get_expected_image_size(module)
        images = tf.placeholder(tf.float32, shape=[None, height, width, 3])
        features = module(images)
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.tables_initializer()])
            found["placeholder"] = session.run(features, feed_dict={images: photos})


def features_by_signature_and_dict():
    module = hub.Module(FEATURES)
    outputs = module({"images": photos}, signature="image_feature_vector", as_dict=True)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found["signature"] = session.run(outputs["default"])
    tf.reset_default_graph()


def probabilities_of_classes():
    logits = hub.Module(LOGITS)(tf.constant(photos))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found["logits"] = session.run(logits)
    tf.reset_default_graph()


def a_step_of_fine_tuning():
    module = hub.Module(TUNED, trainable=True, tags={"train"})
    features = module(
        inputs={"images": tf.constant(photos), "batch_norm_momentum": 0.997},
        signature="image_feature_vector_with_bn_hparams",
    )
    regularization = tf.losses.get_regularization_loss()
    loss = tf.reduce_mean(tf.square(features)) + regularization
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        step = tf.train.GradientDescentOptimizer(0.0).minimize(loss)
    averages = module.variable_map["MobilenetV2/Conv_1/BatchNorm/moving_variance"]
    with tf.train.MonitoredSession() as session:
        found["regularization"] = session.run(regularization)
        found["train"], _ = session.run([features, step])
        found["moving_variance"] = session.run(averages)
    tf.reset_default_graph()


def branches_of_a_condition():
    module = hub.Module(FEATURES)
    images = tf.placeholder(tf.float32, [None, 224, 224, 3])
    flip = tf.placeholder_with_default(False, [])
    features = tf.cond(flip, lambda: module(tf.reverse(images, [2])), lambda: module(images))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found["condition"] = session.run(features, {images: photos})
        flipped = session.run(features, {images: photos[:, :, ::-1], flip: True})
        found["flipped"] = flipped
    tf.reset_default_graph()


def a_dataset_of_batches():
    module = hub.Module(FEATURES)
    dataset = tf.data.Dataset.from_tensor_slices(photos).batch(2)
    batch = tf.data.make_one_shot_iterator(dataset).get_next()
    features = module(batch)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found["iterator"] = np.concatenate([session.run(features) for _ in range(2)])
    tf.reset_default_graph()


def a_function_without_a_graph():
    with hub.eval_function_for_module(FEATURES) as f:
        found["eval"] = f(photos)
    with hub.eval_function_for_module(TUNED, tags={"train"}) as f:
        found["eval_train"] = f(photos)


def a_module_within_a_template():
    embed = tf.make_template("embed", lambda images: hub.Module(FEATURES)(images))
    first = embed(tf.constant(photos[:2]))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found["scope"] = session.run(first)
    tf.reset_default_graph()


for program in (
    features_of_a_placeholder,
    features_by_signature_and_dict,
    probabilities_of_classes,
    a_step_of_fine_tuning,
    branches_of_a_condition,
    a_dataset_of_batches,
    a_function_without_a_graph,
    a_module_within_a_template,
):
    program()
assert "tensorflow_hub" in sys.modules
np.savez(sys.argv[2], **found)
