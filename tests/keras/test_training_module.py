"""`hub.Module` with `trainable=True` or the tag `train`: tensorflow_hub's TF1 interface."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
from keras_support import V1, V2, images, largest_relative_error, numpy_of, random_for  # noqa: E402
from mobilenet_hub.errors import InputError, OutputError, SignatureError, TagsError  # noqa: E402
from places import DATA, EXAMPLES  # noqa: E402

BACKEND = keras.backend.backend()
FEATURES = f"{V1}/feature_vector/3"
CLASSIFIER = f"{V1}/classification/3"
BN_HPARAMS = "image_feature_vector_with_bn_hparams"
TRAINING = np.load(DATA / "real_weights_training.npz")
# Of four values after a step from random weights; recorded on TensorFlow in float32.
STEP = [1.2758, 3.4249, 0.46339, 0.079513]


def in_training(handle=FEATURES, trainable=True, **options):
    options.setdefault("weights", "random")
    return hub.Module(handle, trainable=trainable, tags={"train"}, **options)


def backend_images(count=4, size=32):
    return keras.ops.convert_to_tensor(images(count, size))


@pytest.mark.parametrize("momentum", [0.99, 0.997])
def test_a_call_as_in_the_module_pages_equals_the_original_network(momentum):
    module = in_training(weights=None)
    features = module(
        inputs={"images": images(), "batch_norm_momentum": momentum}, signature=BN_HPARAMS
    )
    key = "mobilenet_v1_025_224/train"
    assert keras.ops.is_tensor(features)
    assert largest_relative_error(numpy_of(features), TRAINING[f"{key}/features"]) < 1e-3
    after = module.current_weights().tensors
    for name in after:
        if "/moving_" in name:
            expected = TRAINING[f"{key}/momentum_{momentum}/{name}"]
            assert largest_relative_error(after[name], expected) < 1e-4


def test_it_is_a_module():
    module = in_training(CLASSIFIER)
    assert isinstance(module, hub.Module)
    assert hub.get_expected_image_size(module) == [224, 224]
    assert hub.get_num_image_channels(module) == 3
    assert module.get_signature_names() == hub.Module(CLASSIFIER).get_signature_names()
    assert module.get_output_info_dict()["default"].get_shape() == (None, 1001)
    assert repr(module) == f"<hub.Module {CLASSIFIER} trainable=True tags=['train']>"


@pytest.mark.parametrize("trainable", [False, True])
def test_averages_move_only_when_trainable(trainable):
    module = in_training(trainable=trainable)
    before = module.current_weights()
    module(images(2, 32))
    moved = module.current_weights() is not before
    assert moved == trainable


def test_the_train_tag_alone_uses_batch_statistics():
    weights = random_for(FEATURES)
    x = images(4, 32)
    train, inference = (
        hub.Module(FEATURES, trainable=trainable, tags=tags, weights=weights)
        for trainable, tags in ((False, {"train"}), (True, set()))
    )
    trainable_train = in_training(weights=weights)
    np.testing.assert_allclose(numpy_of(train(x)), numpy_of(trainable_train(x)), atol=1e-5)
    expected = hub.Module(FEATURES, weights=weights)(x)
    np.testing.assert_allclose(numpy_of(inference(x)), expected, atol=1e-4)
    assert np.abs(numpy_of(train(x)) - expected).max() > 1e-2


def test_variables_and_losses_are_there_when_trainable():
    module = in_training()
    assert len(module.trainable_variables) == 81
    assert len(module.non_trainable_variables) == 54
    assert list(module.variable_map) == list(module.current_weights().tensors)
    assert [v.path for v in module.variables] == sorted(module.variable_map)
    assert len(module.regularization_losses) == 14
    frozen = in_training(trainable=False)
    assert frozen.trainable_variables == []
    assert len(frozen.non_trainable_variables) == 135
    assert frozen.regularization_losses == []


def test_a_classifier_drops_features_and_a_feature_vector_does_not():
    handle = f"{V2[:-3]}96/classification/3"
    module = in_training(handle, weights=random_for(handle, num_classes=3), trainable=False)
    x = images(2, 96)
    keras.utils.set_random_seed(0)
    logits = [numpy_of(module(x)) for _ in range(2)]
    assert not np.allclose(*logits, rtol=1e-3)
    features = [numpy_of(module(x, signature="image_feature_vector")) for _ in range(2)]
    np.testing.assert_array_equal(*features)


def test_dropout_keeps_what_slim_keeps():
    for handle, keep in ((f"{V1}/classification/3", 0.999), (f"{V2}/classification/3", 0.8)):
        module = in_training(handle, weights=random_for(handle, num_classes=3))
        rates = [d.rate for d in module.network_layer._flatten_layers() if hasattr(d, "rate")]
        assert rates == [pytest.approx(1 - keep)]


def test_all_outputs_can_be_asked_for():
    module = in_training(CLASSIFIER)
    outputs = module(images(1, 32), signature="image_feature_vector", as_dict=True)
    assert set(outputs) == set(module.get_output_info_dict("image_feature_vector"))
    some = module(images(1, 32), as_dict=True, outputs=["MobilenetV1/Conv2d_0"])
    assert list(some) == ["MobilenetV1/Conv2d_0"]
    assert some["MobilenetV1/Conv2d_0"].shape == (1, 16, 16, 8)


def quadratic(features):
    return keras.ops.sum(keras.ops.square(features - 1.0))


def loss_of(module, x):
    return quadratic(module(x)) + sum(loss() for loss in module.regularization_losses)


def gradient_step(module, x, rate):
    """One step of plain gradient descent in the backend's own words; the loss before it."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_of(module, x)
        gradients = tape.gradient(loss, module.trainable_variables)
        for variable, gradient in zip(module.trainable_variables, gradients, strict=True):
            variable.assign_sub(rate * gradient)
    elif BACKEND == "torch":
        import torch

        optimizer = torch.optim.SGD([v.value for v in module.trainable_variables], lr=rate)
        optimizer.zero_grad()
        loss = loss_of(module, x)
        loss.backward()
        optimizer.step()
    else:
        import jax

        def stateless(trainable, other, x):
            features, after, losses = module.stateless_call(trainable, other, x, return_losses=True)
            return quadratic(features) + sum(losses), after

        trainable = [v.value for v in module.trainable_variables]
        other = [v.value for v in module.non_trainable_variables]
        step = jax.jit(jax.value_and_grad(stateless, has_aux=True))
        (loss, after), gradients = step(trainable, other, x)
        for variable, gradient in zip(module.trainable_variables, gradients, strict=True):
            variable.assign(variable.value - rate * gradient)
        for variable, value in zip(module.non_trainable_variables, after, strict=True):
            variable.assign(value)
    return float(numpy_of(loss))


def test_a_gradient_step_of_the_backend_learns():
    module, x = in_training(weights=None), backend_images(size=64)
    before = module.current_weights()
    losses = [gradient_step(module, x, rate=1e-6) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
    after = module.current_weights()
    unchanged = {n for n, v in after.tensors.items() if np.array_equal(v, before.tensors[n])}
    assert unchanged == set()


def test_a_step_is_the_same_on_every_backend():
    module = in_training()
    before = module.current_weights().tensors
    gradient_step(module, backend_images(), rate=1e-3)
    after = module.current_weights().tensors
    name = "MobilenetV1/Conv2d_12_pointwise/BatchNorm/beta"
    change = (after[name] - before[name]) / 1e-3
    np.testing.assert_allclose(change[:4], STEP, rtol=1e-2)


def test_gradients_flow_to_the_images_though_nothing_is_trainable():
    module, x = in_training(trainable=False), images(2, 32)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = quadratic(module(x))
        gradient = tape.gradient(loss, x)
    elif BACKEND == "torch":
        import torch

        x = torch.tensor(x, requires_grad=True)
        quadratic(module(x)).backward()
        gradient = x.grad
    else:
        import jax

        other = [v.value for v in module.non_trainable_variables]
        gradient = jax.jit(jax.grad(lambda x: quadratic(module.stateless_call([], other, x)[0])))(x)
    assert np.abs(numpy_of(gradient)).max() > 0


def test_inference_picks_up_what_training_changed(tmp_path):
    module, x = in_training(), backend_images()
    fast = hub.Module(module, tags=set())
    before = fast(numpy_of(x))
    gradient_step(module, x, rate=1e-3)
    after = fast(numpy_of(x))
    assert np.abs(after - before).max() > 1e-2
    module.export(tmp_path / "trained.safetensors")
    exported = hub.Module(str(tmp_path / "trained.safetensors"))
    np.testing.assert_array_equal(exported(numpy_of(x)), after)
    again = hub.Module(FEATURES, tags=set(), weights=tmp_path / "trained.safetensors")
    np.testing.assert_array_equal(again(numpy_of(x)), after)


def test_training_can_begin_where_another_ended():
    first = in_training()
    first(images(2, 32))
    second = hub.Module(first, trainable=True, tags={"train"})
    begun = second.current_weights().tensors
    for name, value in first.current_weights().tensors.items():
        np.testing.assert_array_equal(begun[name], value)


def test_what_does_not_fit_is_refused():
    with pytest.raises(TagsError, match="No such graph variant"):
        hub.Module(FEATURES, trainable=True, tags={"train", "gpu"})
    module = in_training()
    with pytest.raises(SignatureError, match="Unknown signature image_classification"):
        module(images(1, 32), signature="image_classification")
    with pytest.raises(InputError, match="takes dict"):
        module(images(1, 32), signature=BN_HPARAMS)
    with pytest.raises(InputError, match="momentum"):
        module({"images": images(1, 32), "batch_norm_momentum": 2.0}, signature=BN_HPARAMS)
    with pytest.raises(OutputError, match="There is no output named"):
        module(images(1, 32), as_dict=True, outputs=["Conv2d_0"])
    with pytest.raises(TypeError, match="by keyword"):
        module(images(1, 32), "default")
    with pytest.raises(InputError, match="Received: shape"):
        module(images(1, 32)[0])


@pytest.mark.parametrize("again", [lambda module: pickle.loads(pickle.dumps(module)), copy.copy])
def test_a_copy_begins_with_the_weights_of_now_and_is_trained_apart(again):
    module = in_training(dtype="mixed_bfloat16")
    module(images(2, 32))
    now = module.current_weights()
    twin = again(module)
    assert isinstance(twin, hub.Module)
    assert repr(twin) == repr(module)
    assert twin.network_layer.dtype_policy.name == "mixed_bfloat16"
    for name, value in twin.current_weights().tensors.items():
        np.testing.assert_array_equal(value, now.tensors[name])
    twin(images(2, 32))
    assert twin.current_weights() is not now
    assert module.current_weights() is now


def test_what_it_computes_now_embeds_photos():
    module, photos = in_training(), [EXAMPLES / "coffee.png"]
    module(images(2, 32))
    (record,) = hub.embed(photos, module)
    (expected,) = hub.embed(photos, hub.Module(FEATURES, weights=module.weights))
    np.testing.assert_array_equal(record.embedding, expected.embedding)


def test_a_subclass_may_extend_it():
    class Doubled(hub.Module):
        def __init__(self, handle):
            super().__init__(handle, trainable=True, tags={"train"}, weights="random")

        def __call__(self, *args, **kwargs):
            return 2 * super().__call__(*args, **kwargs)

    module = Doubled(FEATURES)
    assert isinstance(module, Doubled)
    x = images(2, 32)
    expected = hub.Module(FEATURES, tags={"train"}, weights=module.weights)(x)
    np.testing.assert_allclose(numpy_of(module(x)), 2 * numpy_of(expected), rtol=1e-4, atol=1e-5)
    assert len(module.trainable_variables) == 81


def test_versions_before_3_have_no_momentum_to_choose():
    handle = f"{V1}/feature_vector/1"
    module = in_training(handle)
    assert BN_HPARAMS not in module.get_signature_names()
    name = "MobilenetV1/Conv2d_0/BatchNorm/moving_variance"
    before = module.current_weights().tensors[name]
    module(images(2, 224))
    after = module.current_weights().tensors[name]
    # momentum 0.9997, and the variance of a batch is no more than a few times the first average
    assert 0 < np.abs(after - before).max() < 0.0003 * 20
