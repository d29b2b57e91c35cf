"""`ModuleSpec` and its kin: what tensorflow_hub says of a module before one is made."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub import tensorflow_hub
from mobilenet_hub.errors import InputError, MobileNetHubError, TagsError
from places import DATA

V1 = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/feature_vector/3"
V2 = "https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/classification/3"
BN_HPARAMS = "image_feature_vector_with_bn_hparams"


def images():
    return np.random.RandomState(0).rand(4, 224, 224, 3).astype(np.float32)


def test_a_spec_describes_its_module():
    spec = hub.load_module_spec(V2)
    assert isinstance(spec, hub.ModuleSpec)
    assert spec.get_tags() == [set(), {"train"}]
    assert spec.get_signature_names() == hub.Module(V2).get_signature_names()
    images = spec.get_input_info_dict()["images"]
    assert images.get_shape().as_list() == [None, 224, 224, 3]
    assert images.get_shape().ndims == 4
    assert images.get_shape().is_compatible_with((8, 224, None, 3))
    assert not images.get_shape().is_compatible_with((8, 96, 96, 3))
    assert images.is_compatible_with(np.zeros((1, 224, 224, 3), np.float32))
    assert not images.is_compatible_with(np.zeros((1, 224, 224, 3), np.uint8))
    outputs = spec.get_output_info_dict("image_feature_vector", tags={"train"})
    assert outputs["default"].get_shape().as_list() == [None, 1792]
    for error in (ValueError, KeyError, TagsError):
        with pytest.raises(error, match="No such graph variant"):
            spec.get_input_info_dict(tags={"gpu"})
    with pytest.raises(ValueError, match="Missing mandatory `checkpoint_path` parameter"):
        spec.export("module")


def test_a_module_is_made_of_a_spec():
    features = np.load(DATA / "real_weights_inference.npz")["mobilenet_v1_025_224/features"]
    module = hub.Module(hub.load_module_spec(V1))
    np.testing.assert_allclose(module(images()), features, atol=1e-4)
    with hub.eval_function_for_module(hub.load_module_spec(V1)) as f:
        np.testing.assert_allclose(f(images()), features, atol=1e-4)
        outputs = f({"images": images()}, signature="image_feature_vector", as_dict=True)
        np.testing.assert_allclose(outputs["default"], features, atol=1e-4)


def test_the_size_of_images_is_told_by_input():
    assert hub.get_expected_image_size(hub.load_module_spec(V1), None, "images") == [224, 224]
    assert hub.get_num_image_channels(V1, BN_HPARAMS, "images") == 3
    with pytest.raises(InputError, match="Module is missing input 'x' in signature 'default'"):
        hub.get_expected_image_size(V1, input_name="x")
    with pytest.raises(InputError, match="Shape of module input is"):
        hub.get_expected_image_size(V1, BN_HPARAMS, "batch_norm_momentum")


def test_the_attached_message_is_the_size_of_images():
    module = hub.Module(V1)
    info = module.get_attached_message("image_module_info", hub.ImageModuleInfo, required=True)
    assert (info.default_image_size.height, info.default_image_size.width) == (224, 224)
    again = hub.ImageModuleInfo()
    again.ParseFromString(info.SerializeToString())
    assert again == info
    assert info.SerializeToString() == b"\n\x06\x08\xe0\x01\x10\xe0\x01"
    assert module.get_attached_message("other", hub.ImageModuleInfo) is None
    with pytest.raises(KeyError, match="No attached message for key 'other'"):
        module.get_attached_message("other", hub.ImageModuleInfo, required=True)


def test_errors_are_of_the_types_and_in_the_words_of_tensorflow_hub():
    module = hub.Module(V1)
    with pytest.raises(TypeError, match=r"Signature expects multiple inputs\. Use a dict\."):
        module(images(), signature=BN_HPARAMS)
    with pytest.raises(TypeError, match=r"missing \['images'\], extra given \['image'\]"):
        module({"image": images()})
    with pytest.raises(TypeError, match=r"missing \['images'\], extra given \[\]"):
        module()
    with pytest.raises(ValueError, match="Unknown module spec type: <class 'int'>"):
        hub.Module(7)
    with pytest.raises(TypeError, match="3 channels"):
        module(images()[..., :1])
    with pytest.raises(InputError, match=r"images = images / 255\.0"):
        module(255 * images())


def test_installing_gives_tensorflow_hub_its_new_meaning_once(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow_hub", raising=False)
    tensorflow_hub.install()
    try:
        import tensorflow_hub as imported

        assert imported.Module is hub.Module
        assert imported.__version__ == "0.16.1"
        tensorflow_hub.install()
    finally:
        del sys.modules["tensorflow_hub"]
    monkeypatch.setitem(sys.modules, "tensorflow_hub", sys)
    with pytest.raises(MobileNetHubError, match="imported already"):
        tensorflow_hub.install()
