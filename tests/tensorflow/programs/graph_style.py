"""More programs for TensorFlow 1: towers, loops, gradients, handles, what is refused.

Arguments: a file of images, and the file to write all that they compute to.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()

import tensorflow_hub as hub  # noqa: E402
from tensorflow_hub.module import Module  # noqa: E402

NAME = "google/imagenet/mobilenet_v1_025_224/feature_vector"
photos = np.load(sys.argv[1])["images"]
pixels = np.round(255 * photos).astype(np.uint8)
found = {}


def run(tensor, feed=None):
    with tf.Session() as sess:
        sess.run([tf.global_variables_initializer(), tf.tables_initializer()])
        return sess.run(tensor, feed)


def two_towers_of_one_module():
    """A siamese network: two inputs, one module, the distance of their features."""
    with tf.Graph().as_default():
        left = tf.placeholder(tf.float32, [None, 224, 224, 3], name="left")
        right = tf.placeholder(tf.float32, [None, 224, 224, 3], name="right")
        with tf.variable_scope("tower"):
            module = Module(f"https://tfhub.dev/{NAME}/3", trainable=True, name="MobileNet")
        a, b = module(left), module(right)
        distance = tf.norm(a - b, axis=1)
        assert len(tf.trainable_variables("tower/MobileNet")) == 81
        feed = {left: photos, right: photos[::-1]}
        found["left"], found["distance"] = run([a, distance], feed)


def an_image_at_a_time():
    """tf.map_fn over single images, and the same by tf.while_loop."""
    with tf.Graph().as_default():
        module = hub.Module(f"https://tfhub.dev/{NAME}/1")
        each = tf.map_fn(lambda image: module(image[tf.newaxis])[0], tf.constant(photos))
        looped = tf.while_loop(
            lambda i, total: i < 4,
            lambda i, total: (i + 1, total + module(tf.constant(photos))),
            [tf.constant(0), tf.zeros([4, 256])],
        )[1]
        found["map_fn"], total = run([each, looped])
        found["while_loop"] = total / 4


def saliency_of_pixels():
    """tf.gradients of a feature with respect to the images."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, None, None, 3])
        features = hub.Module(f"https://tfhub.dev/{NAME}/3", trainable=True)(images)
        assert features.get_shape().as_list() == [None, 256]
        (slope,) = tf.gradients(tf.reduce_sum(features), images)
        direction = np.random.RandomState(1).randn(*photos.shape).astype(np.float32)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            found["saliency"], gradient = sess.run([features, slope], {images: photos})
            ahead, behind = (
                sess.run(features, {images: photos + sign * 1e-3 * direction}).sum()
                for sign in (1, -1)
            )
    numeric = (ahead - behind) / 2e-3
    found["slope_error"] = abs((gradient * direction).sum() - numeric) / abs(numeric)


def frames_of_bytes():
    """Bytes of a camera, uint8, given to a placeholder of bytes."""
    with tf.Graph().as_default():
        frames = tf.placeholder(tf.uint8, [None, 224, 224, 3])
        features = hub.Module(f"https://tfhub.dev/{NAME}/3")(frames)
        found["frames"] = run(features, {frames: pixels})


def handles_that_people_have():
    """Mirrors, query strings, and the archive itself."""
    for key, handle in {
        "query": f"https://tfhub.dev/{NAME}/3?tf-hub-format=compressed",
        "mirror": f"https://hub.tensorflow.google.cn/{NAME}/3",
        "archive": f"https://storage.googleapis.com/tfhub-modules/{NAME}/3.tar.gz",
    }.items():
        with tf.Graph().as_default():
            found[f"handle_{key}"] = run(hub.Module(handle)(tf.constant(photos)))


def what_a_module_says_of_itself():
    """Signatures, tensor infos, attached messages and variables, in a graph and from a spec."""
    spec = hub.load_module_spec(f"https://tfhub.dev/{NAME}/3")
    with tf.Graph().as_default():
        module = hub.Module(spec, tags=set(), name="m")
        signatures = list(module.get_signature_names())
        assert signatures == list(spec.get_signature_names())
        images = module.get_input_info_dict("image_feature_vector")["images"]
        assert images.dtype == tf.float32
        assert images.get_shape().as_list() == [None, None, None, 3]
        assert images.type_spec.is_compatible_with(tf.constant(photos))
        output = module.get_output_info_dict()["default"]
        assert output.get_shape()[1:].as_list() == [256]
        info = module.get_attached_message("image_module_info", hub.ImageModuleInfo)
        size = info.default_image_size
        assert [size.height, size.width] == hub.get_expected_image_size(module)
        assert hub.get_num_image_channels(module) == 3
        assert module.variables[0].name == "m/MobilenetV1/Conv2d_0/BatchNorm/beta:0"
        outputs = module({"images": photos}, signature="image_feature_vector", as_dict=True)
        found["described"] = run(outputs["default"])


def a_wrapped_function():
    """tf.compat.v1.wrap_function around a module that it makes."""
    with tf.Graph().as_default():
        wrapped = tf.wrap_function(
            lambda x: hub.Module(f"https://tfhub.dev/{NAME}/3", trainable=True)(x),
            [tf.TensorSpec([None, 224, 224, 3], tf.float32)],
        )
        found["wrapped"] = run(wrapped(tf.constant(photos)))


def an_iterator_with_a_map():
    """make_one_shot_iterator over Dataset.map that calls a module made outside."""
    with tf.Graph().as_default():
        module = hub.Module(f"https://tfhub.dev/{NAME}/3")
        dataset = tf.data.Dataset.from_tensor_slices(photos).batch(4).map(module)
        iterator = tf.data.make_initializable_iterator(dataset)
        batch = iterator.get_next()
        with tf.Session() as sess:
            sess.run([tf.global_variables_initializer(), iterator.initializer])
            found["iterator_map"] = sess.run(batch)


def pixels_to_255_are_refused():
    """img_to_array without a division: refused, with the cure; divided, taken."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 224, 224, 3])
        features = hub.Module(f"https://tfhub.dev/{NAME}/3")(images)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            try:
                sess.run(features, {images: pixels.astype(np.float32)})
            except tf.errors.InvalidArgumentError as error:
                assert "images = images / 255.0" in str(error), error
            else:
                raise AssertionError("taken without a word")
            found["divided"] = sess.run(features, {images: pixels / 255.0})


PROGRAMS = (
    two_towers_of_one_module,
    an_image_at_a_time,
    saliency_of_pixels,
    frames_of_bytes,
    handles_that_people_have,
    what_a_module_says_of_itself,
    a_wrapped_function,
    an_iterator_with_a_map,
    pixels_to_255_are_refused,
)
for program in PROGRAMS:
    program()
np.savez(sys.argv[2], **{name: np.asarray(value) for name, value in found.items()})
