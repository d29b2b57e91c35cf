"""`hub.load`: the interface of a reusable SavedModel."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
from keras_support import V1, V2, images, largest_relative_error, numpy_of, random_for  # noqa: E402
from mobilenet_hub.errors import (  # noqa: E402
    InputError,
    SignatureError,
    TagsError,
    UnknownHandleError,
)
from places import DATA  # noqa: E402

FEATURES = f"{V1}/feature_vector/5"
CLASSIFIER = f"{V1}/classification/3"
TRAINING = np.load(DATA / "real_weights_training.npz")


def name_of(variable):
    """Keras's variables have a path; TensorFlow's, a name with the number of an output."""
    return getattr(variable, "path", variable.name.partition(":")[0])


def test_calling_it_gives_the_modules_output():
    module = hub.load(f"{V1}/classification/5")
    x = images(2, 64)
    expected = hub.Module(f"{V1}/classification/5")(x)
    np.testing.assert_allclose(numpy_of(module(x)), expected, atol=1e-4)


def test_training_uses_batch_statistics_and_updates_the_averages():
    module = hub.load(FEATURES)
    y = numpy_of(module(images(), training=True, batch_norm_momentum=0.997))
    key = "mobilenet_v1_025_224/train"
    assert largest_relative_error(y, TRAINING[f"{key}/features"]) < 1e-3
    after = module.current_weights().tensors
    for name in after:
        if "/moving_" in name:
            expected = TRAINING[f"{key}/momentum_0.997/{name}"]
            assert largest_relative_error(after[name], expected) < 1e-4


def test_inference_changes_nothing():
    module = hub.load(FEATURES, weights="random")
    before = module.current_weights()
    module(images(1, 32))
    assert module.current_weights() is before


def test_momentum_may_be_a_tensor():
    module = hub.load(FEATURES, weights="random")
    before = module.current_weights()
    one = keras.ops.convert_to_tensor(1.0, "float32")
    module(images(1, 32), training=True, batch_norm_momentum=one)
    assert module.current_weights() is before


def test_variables_are_those_of_tf_slim():
    module = hub.load(f"{V2}/feature_vector/4", weights="random")
    assert [name_of(v) for v in module.variables] == list(module.current_weights().tensors)
    assert len(module.variables) == 260
    assert len(module.trainable_variables) == 156
    assert not [name_of(v) for v in module.trainable_variables if "moving" in name_of(v)]


def test_regularization_losses_are_functions_one_a_kernel():
    module = hub.load(f"{V1}/feature_vector/5")
    losses = [float(numpy_of(loss())) for loss in module.regularization_losses]
    assert len(losses) == 14  # 27 convolutions, 13 of them depthwise
    expected = TRAINING["mobilenet_v1_025_224/train/regularization_loss_without_logits"]
    assert sum(losses) == pytest.approx(float(expected), rel=1e-4)


def test_signatures_are_those_of_the_module():
    module = hub.load(CLASSIFIER)
    assert sorted(module.signatures) == hub.Module(CLASSIFIER).get_signature_names()
    x = images(2, 64)
    outputs = module.signatures["image_feature_vector"](images=x)
    assert outputs["default"].shape == (2, 256)
    np.testing.assert_allclose(
        numpy_of(module.signatures["default"](x)["default"]), numpy_of(module(x)), atol=1e-4
    )
    named = module.signatures["image_classification_with_bn_hparams"]
    assert named(images=x, batch_norm_momentum=0.9)["default"].shape == (2, 1001)
    with pytest.raises(TypeError, match="batch_norm_momentum"):
        named(x)
    with pytest.raises(KeyError):
        module.signatures["serving_default"]


def test_endpoints_can_be_returned():
    module = hub.load(FEATURES)
    x = images(1, 64)
    outputs = module(x, return_endpoints=True)
    expected = hub.Module(FEATURES)(x, as_dict=True)
    assert set(outputs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(numpy_of(outputs[name]), value, atol=1e-4)


def test_an_exported_file_loads_as_a_path(tmp_path):
    module = hub.load(FEATURES, weights="random")
    module(images(2, 32), training=True)
    module.export(tmp_path / "trained.safetensors")
    again = hub.load(tmp_path / "trained.safetensors")
    assert again.info.handle == FEATURES
    x = images(1, 32)
    np.testing.assert_array_equal(numpy_of(again(x)), numpy_of(module(x)))


def test_weights_move_between_the_forms_of_a_module():
    module = hub.load(FEATURES, weights=random_for(FEATURES, seed=5))
    module(images(2, 32), training=True)
    trained = module.current_weights()
    for other in (
        hub.load(FEATURES, weights=trained),
        hub.KerasLayer(FEATURES, weights=trained),
        hub.Module(FEATURES, trainable=True, weights=trained),
    ):
        moved = other.current_weights().tensors
        for name, value in trained.tensors.items():
            np.testing.assert_array_equal(moved[name], value)


def test_tags_are_those_of_a_saved_model():
    for tags in (None, [], {"serve"}, {"train"}, "serve"):
        hub.load(FEATURES, tags, weights="random")
    with pytest.raises(TagsError, match="No such graph variant"):
        hub.load(FEATURES, {"gpu"})


def test_what_is_not_there_is_refused():
    with pytest.raises(UnknownHandleError):
        hub.load("google/imagenet/mobilenet_v3")
    module = hub.load(FEATURES, weights="random")
    with pytest.raises(InputError, match=r"Received: 1\.5"):
        module(images(1, 32), training=True, batch_norm_momentum=1.5)
    with pytest.raises(SignatureError):
        hub.KerasLayer(module, signature="image_classification", output_key="default")
