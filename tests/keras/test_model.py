"""A network as a functional Keras model: the original's arithmetic, names and weights."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
import mobilenet_hub.keras as mobilenets  # noqa: E402
from keras_support import V1, V2, images, largest_relative_error, numpy_of, random_for  # noqa: E402
from mobilenet_hub.errors import InputError, TensorMismatchError, WeightsError  # noqa: E402
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint  # noqa: E402
from mobilenet_hub.weights.storage.origins import BUNDLED, WITHOUT_LOGITS  # noqa: E402
from places import DATA  # noqa: E402
from weights_support import load_bundled  # noqa: E402

INFERENCE = np.load(DATA / "real_weights_inference.npz")
TRAINING = np.load(DATA / "real_weights_training.npz")


def as_layout(batch, layout):
    return batch if layout == "channels_last" else batch.transpose(0, 3, 1, 2)


def regularization_loss(model):
    return float(numpy_of(sum(model.losses)))


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("key", BUNDLED)
def test_features_and_endpoints_equal_the_original_networks(key, layout):
    model = mobilenets.model(f"google/imagenet/{key}/feature_vector", data_format=layout)
    endpoints = mobilenets.endpoints(model)
    every = keras.Model(model.input, {"features": model.output, **endpoints})
    outputs = every.predict_on_batch(as_layout(images(), layout))
    np.testing.assert_allclose(outputs.pop("features"), INFERENCE[f"{key}/features"], atol=1e-4)
    shapes = [name for name in INFERENCE.files if name.startswith(f"{key}/endpoints/")]
    assert {name.split("/", 2)[2].rpartition("/")[0] for name in shapes} == set(outputs)
    for name, value in outputs.items():
        if layout == "channels_first":
            value = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
        assert value.shape[1:] == tuple(INFERENCE[f"{key}/endpoints/{name}/shape"])
        means = INFERENCE[f"{key}/endpoints/{name}/channel_means"]
        np.testing.assert_allclose(value.mean((0, 1, 2)), means, atol=1e-4)


def test_logits_equal_the_original_network():
    model = mobilenets.model("google/imagenet/mobilenet_v2_140_224/classification")
    expected = INFERENCE["mobilenet_v2_140_224/logits"]
    np.testing.assert_allclose(model.predict_on_batch(images()), expected, atol=1e-4)


@pytest.mark.parametrize("key", BUNDLED)
def test_inference_equals_the_fast_runtime(key):
    task = "feature_vector" if key in WITHOUT_LOGITS else "classification"
    handle = f"google/imagenet/{key}/{task}"
    batch = images(3, seed=1)
    expected = hub.Module(handle)(batch)
    assert np.abs(mobilenets.model(handle).predict_on_batch(batch) - expected).max() < 1e-4


@pytest.mark.parametrize(("height", "width"), [(97, 131), (150, 150), (33, 32)])
def test_v1_takes_any_size(height, width):
    handle, batch = f"{V1}/classification/5", images(2, height, width)
    model = mobilenets.model(handle)
    assert model.input_shape == (None, None, None, 3)
    expected = hub.Module(handle)(batch)
    assert np.abs(model.predict_on_batch(batch) - expected).max() < 1e-4


def test_v2_takes_the_handles_size_unless_another_is_given():
    assert mobilenets.model(f"{V2}/feature_vector").input_shape == (None, 224, 224, 3)
    model = mobilenets.model(f"{V2}/feature_vector", input_shape=(97, None, 3))
    assert model.input_shape == (None, 97, None, 3)
    assert model.predict_on_batch(images(1, 97, 64)).shape == (1, 1280)


def check_training(model, key, momentum, expected):
    features = numpy_of(model(images(), training=True))
    assert largest_relative_error(features, expected[f"{key}/train/features"]) < 1e-3
    after = mobilenets.to_weights(model).tensors
    prefix = f"{key}/train/momentum_{momentum}/"
    updated = {n.removeprefix(prefix): expected[n] for n in expected if n.startswith(prefix)}
    assert set(updated) == {name for name in after if "/moving_" in name}
    for name, value in updated.items():
        assert largest_relative_error(after[name], value) < 1e-4, name


@pytest.mark.parametrize("momentum", [0.99, 0.997])
@pytest.mark.parametrize("key", ["mobilenet_v1_025_224", "mobilenet_v2_035_224"])
def test_one_training_call_equals_the_original_networks(key, momentum):
    handle = f"google/imagenet/{key}/feature_vector"
    model = mobilenets.model(handle, batch_norm_momentum=momentum)
    expected = float(TRAINING[f"{key}/train/regularization_loss_without_logits"])
    assert regularization_loss(model) == pytest.approx(expected, rel=1e-4)
    check_training(model, key, momentum, TRAINING)


@pytest.mark.parametrize("momentum", [0.99, 0.997])
@pytest.mark.parametrize("key", ["mobilenet_v2_100_224", "mobilenet_v2_140_224"])
def test_one_training_call_of_the_large_networks_equals_the_originals(key, momentum, shared):
    expected = np.load(shared / "oracle" / "real_weights_reference.npz")
    handle = f"google/imagenet/{key}/feature_vector"
    model = mobilenets.model(handle, batch_norm_momentum=momentum)
    if key != "mobilenet_v2_140_224":  # the reference of 1.4 is of weights with batch norm folded
        loss = float(expected[f"{key}/train/regularization_loss_without_logits"])
        assert regularization_loss(model) == pytest.approx(loss, rel=1e-4)
    check_training(model, key, momentum, expected)


@pytest.mark.parametrize("momentum", [0.99, 0.997])
def test_one_training_call_of_weights_that_are_not_bundled_equals_the_original(momentum, shared):
    key = "mobilenet_v1_100_224"
    tensors = dict(np.load(shared / "weights" / "mobilenet_v1_1.0_224.npz"))
    model = mobilenets.model(
        f"google/imagenet/{key}/feature_vector",
        weights=hub.weights.from_tensors(tensors),
        batch_norm_momentum=momentum,
    )
    expected = np.load(shared / "oracle" / "real_weights_reference.npz")
    loss = float(expected[f"{key}/train/regularization_loss_without_logits"])
    assert regularization_loss(model) == pytest.approx(loss, rel=1e-4)
    check_training(model, key, momentum, expected)


@pytest.mark.parametrize("folder", ["mobilenet_v1_050_128", "mobilenet_v2_035_96"])
@pytest.mark.parametrize("momentum", [0.99, 0.997])
def test_one_training_call_equals_tf_slim_from_its_checkpoint(folder, momentum, shared):
    oracle = shared / "oracle" / folder
    tensors = read_checkpoint(oracle / "model.ckpt", use_ema=False).tensors
    weights = hub.weights.from_tensors(tensors)
    handle = f"google/imagenet/{folder}/classification"
    model = mobilenets.model(handle, weights=weights, batch_norm_momentum=momentum)
    expected = np.load(oracle / "batch_norm_update.npz")
    loss = float(expected["regularization_loss"])
    assert regularization_loss(model) == pytest.approx(loss, rel=1e-4)

    pooled = model.get_layer("global_pool").output
    features = numpy_of(keras.Model(model.input, pooled)(expected["images"], training=True))
    assert largest_relative_error(features, expected["train_features"]) < 1e-3
    after = mobilenets.to_weights(model).tensors
    for name in after:
        if "/moving_" in name:
            wanted = expected[f"after_one_step_momentum_{momentum}/{name}"]
            assert largest_relative_error(after[name], wanted) < 1e-4, name


def test_momentum_is_that_of_the_modules_version_by_default():
    for version, momentum in ((1, 0.9997), (3, 0.99), (5, 0.99)):
        model = mobilenets.model(f"{V1}/feature_vector/{version}", weights=random_for(V1_FEATURES))
        assert model.get_layer("Conv2d_0").batch_norm.momentum == momentum


V1_FEATURES = f"{V1}/feature_vector/5"


@pytest.mark.parametrize("handle", [f"{V1}/classification", f"{V2}/feature_vector"])
def test_variables_have_the_names_and_order_of_the_canonical_weights(handle):
    model = mobilenets.model(handle)
    published = load_bundled(hub.find(handle).checkpoint_key)
    assert [v.path for v in model.weights] == list(published.tensors)
    assert [tuple(v.shape) for v in model.weights] == [v.shape for v in published.tensors.values()]
    trainable = {v.path for v in model.trainable_variables}
    assert trainable == {name for name in published.tensors if "/moving_" not in name}


def test_weights_move_both_ways_without_loss():
    first, second = (random_for(f"{V2}/classification", seed=seed) for seed in (1, 2))
    model = mobilenets.model(f"{V2}/classification", weights=first)
    mobilenets.assign_weights(model, second)
    back = mobilenets.to_weights(model)
    assert back.network == second.network
    for name, value in second.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], value)


def test_a_head_of_other_classes_comes_with_its_weights():
    weights = random_for(f"{V1}/classification", num_classes=5)
    model = mobilenets.model(f"{V1}/classification", weights=weights)
    assert model.output_shape == (None, 5)
    assert mobilenets.to_weights(model).network.num_classes == 5


def test_a_model_around_a_network_gives_and_takes_its_weights_too():
    backbone = mobilenets.model(V1_FEATURES, input_shape=(64, 64, 3))
    model = keras.Sequential([backbone, keras.layers.Dense(2)])
    mobilenets.assign_weights(model, random_for(V1_FEATURES, seed=3))
    kernel = mobilenets.to_weights(model).tensors["MobilenetV1/Conv2d_0/weights"]
    np.testing.assert_array_equal(numpy_of(backbone.get_layer("Conv2d_0").kernel), kernel)


def test_weights_of_another_network_are_refused():
    with pytest.raises(WeightsError, match=r"depth multiplier 0\.35"):
        mobilenets.model(V1_FEATURES, weights=random_for(f"{V2}/feature_vector"))
    model = mobilenets.model(V1_FEATURES)
    with pytest.raises(TensorMismatchError, match="missing: MobilenetV1/Conv2d_0/weights"):
        mobilenets.assign_weights(model, random_for(f"{V2}/feature_vector"))


def test_a_model_without_a_network_has_no_weights_to_give():
    with pytest.raises(TensorMismatchError, match="missing"):
        mobilenets.to_weights(keras.Sequential([keras.layers.Dense(2)]))


def test_two_networks_in_a_model_are_not_mixed_up():
    inputs = keras.Input((64, 64, 3))
    both = [mobilenets.model(V1_FEATURES, input_shape=(64, 64, 3), name=n)(inputs) for n in "ab"]
    with pytest.raises(TensorMismatchError, match="two networks"):
        mobilenets.to_weights(keras.Model(inputs, both))


def test_training_that_went_wrong_is_not_exported():
    model = mobilenets.model(V1_FEATURES)
    model.get_layer("Conv2d_0").kernel.assign(np.full((3, 3, 3, 8), np.nan))
    with pytest.raises(WeightsError, match=r"NaN or infinity in: .*Conv2d_0/weights"):
        mobilenets.to_weights(model)


def test_frozen_layers_keep_their_statistics_and_lose_their_regularization():
    model = mobilenets.model(V1_FEATURES, input_shape=(64, 64, 3))
    full = len(model.losses)
    model.get_layer("Conv2d_0").trainable = False
    assert len(model.losses) == full - 1
    before = mobilenets.to_weights(model).tensors
    model(images(2, 64), training=True)
    after = mobilenets.to_weights(model).tensors
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert "MobilenetV1/Conv2d_0/BatchNorm/moving_mean" not in changed
    assert "MobilenetV1/Conv2d_1_depthwise/BatchNorm/moving_mean" in changed


def test_depthwise_kernels_are_not_regularized():
    model = mobilenets.model(f"{V1}/classification")
    regularized = {v.path for v in model.trainable_variables if v.regularizer is not None}
    kernels = {v.path for v in model.trainable_variables if v.path.endswith("/weights")}
    assert regularized == kernels
    assert "MobilenetV1/Logits/Conv2d_1c_1x1/weights" in regularized
    plain = mobilenets.model(f"{V1}/classification", weight_decay=0.0)
    assert plain.losses == []


def test_a_saved_model_comes_back_with_its_weights(tmp_path):
    model = mobilenets.model(V1_FEATURES, weights=random_for(V1_FEATURES, seed=4))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    batch = images(2, 64)
    np.testing.assert_array_equal(again.predict_on_batch(batch), model.predict_on_batch(batch))
    assert [v.path for v in again.weights] == [v.path for v in model.weights]
    assert regularization_loss(again) == pytest.approx(regularization_loss(model))
    assert list(mobilenets.endpoints(again)) == list(mobilenets.endpoints(model))


def test_a_saved_model_runs_on_the_fast_runtime_as_it_is(tmp_path):
    model = mobilenets.model(V1_FEATURES, weights=random_for(V1_FEATURES, seed=4))
    model.save(tmp_path / "model.keras")
    fast = hub.Module(V1_FEATURES, weights=tmp_path / "model.keras")
    batch = images(2, 64)
    np.testing.assert_allclose(fast(batch), model.predict_on_batch(batch), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "layout", "wanted"),
    [
        ((224, 224), "channels_last", r"\(height, width, 3\).*Received: \(224, 224\)"),
        ((224, 224, 4), "channels_last", r"\(height, width, 3\).*Received: \(224, 224, 4\)"),
        ((0, 224, 3), "channels_last", r"\(height, width, 3\).*Received: \(0, 224, 3\)"),
        ((224, 224, 3), "channels_first", r"\(3, height, width\).*Received: \(224, 224, 3\)"),
    ],
)
def test_an_impossible_input_shape_is_refused(shape, layout, wanted):
    with pytest.raises(InputError, match=wanted):
        mobilenets.model(V1_FEATURES, input_shape=shape, data_format=layout)


def test_an_unknown_data_format_or_momentum_is_refused():
    with pytest.raises(InputError, match="Received: 'NHWC'"):
        mobilenets.model(V1_FEATURES, data_format="NHWC")
    with pytest.raises(InputError, match=r"in \[0,1\]. Received: 1.5"):
        mobilenets.model(V1_FEATURES, batch_norm_momentum=1.5)


@pytest.mark.parametrize("how", ["save", "clone"])
@pytest.mark.parametrize("what", ["the first layers", "every batch norm"])
def test_what_was_frozen_in_part_stays_so(tmp_path, what, how):
    model = mobilenets.model(V1_FEATURES, input_shape=(32, 32, 3))
    if what == "every batch norm":
        mobilenets.freeze_batch_norm(model)
    else:
        for layer in model.layers[:-5]:
            layer.trainable = False
    if how == "save":
        model.save(tmp_path / "x.keras")
        again = keras.models.load_model(tmp_path / "x.keras")
    else:
        again = keras.models.clone_model(model)
    expected = 27 if what == "every batch norm" else 4 * 3
    assert len(model.trainable_variables) == len(again.trainable_variables) == expected
    again.trainable = False  # on TensorFlow, setting what is set does nothing
    again.trainable = True
    assert len(again.trainable_variables) == 81


def test_quantize_says_that_it_leaves_the_convolutions_as_they_are():
    model = mobilenets.model(V1_FEATURES, input_shape=(32, 32, 3))
    with pytest.warns(UserWarning, match=r"not quantized by Keras.*Received: quantize\('int8'\)"):
        model.quantize("int8")


def test_a_model_is_saved_as_h5_and_comes_back(tmp_path):
    model = mobilenets.model(V1_FEATURES, input_shape=(32, 32, 3))
    model.save(tmp_path / "x.h5")
    again = keras.models.load_model(tmp_path / "x.h5", compile=False)
    x = images(1, 32)
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))
