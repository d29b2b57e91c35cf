"""What a `KerasLayer` calls, and what of it it returns: `tensorflow_hub`'s rules."""

from __future__ import annotations

import pytest

from mobilenet_hub.catalog import find
from mobilenet_hub.errors import KerasLayerError, TagsError, UnknownHandleError
from mobilenet_hub.networks import network
from mobilenet_hub.signatures import LayerCall, check_handle, network_config, resolve_config
from mobilenet_hub.weights.random_weights import random_weights

HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/classification/5"


class Saved:
    """A restored SavedModel, as far as a layer asks."""

    def __init__(self):
        self.signatures = {"serving_default": lambda x, scale=1: {"twice": 2 * x * scale}}

    def __call__(self, x, training=False):
        return ("trained", x) if training else x


def test_an_object_is_called_with_training_where_it_takes_it():
    call = LayerCall.of(Saved(), None, None, None, None)
    assert call.takes_training
    assert (call(3), call(3, training=True)) == (3, ("trained", 3))
    assert not LayerCall.of(abs, None, None, None, None).takes_training


def test_a_signature_gives_a_dict_or_one_of_its_entries():
    saved = Saved()
    assert LayerCall.of(saved, "serving_default", True, None, None)(2) == {"twice": 4}
    call = LayerCall.of(saved, "serving_default", None, "twice", {"scale": 10})
    assert call(2) == call({"x": 2}) == 40
    assert call.get_config()["arguments"] == {"scale": 10}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("serving_default", None, None, None), "either output_key or signature_outputs_as_dict"),
        (("serving_default", True, "twice", None), "either output_key or signature_outputs_as_d"),
        ((None, True, None, None), "only valid if specifying a signature"),
        (("other", None, "twice", None), r"Unknown signature other in .*\['serving_default'\]"),
        ((None, None, None, 0.9), "arguments must be a dict"),
    ],
)
def test_what_contradicts_itself_is_refused(given, message):
    with pytest.raises(KerasLayerError, match=message):
        LayerCall.of(Saved(), *given)


def test_what_an_output_has_not_is_refused_when_it_is_known():
    with pytest.raises(KerasLayerError, match=r"does not contain the output key once"):
        LayerCall.of(Saved(), "serving_default", None, "once", None)(2)
    with pytest.raises(KerasLayerError, match="forbidden if output type is not a dict"):
        LayerCall.of(Saved(), None, None, "twice", None)(2)
    with pytest.raises(KerasLayerError, match="Loaded object has no signatures"):
        LayerCall.of(abs, "default", None, "default", None)


def test_tags_and_load_options_are_for_handles():
    with pytest.raises(KerasLayerError, match="mutually exclusive with setting tags"):
        check_handle(abs, {"serve"}, None)
    with pytest.raises(KerasLayerError, match="mutually exclusive with setting load_options"):
        check_handle(abs, None, object())
    with pytest.raises(TagsError):
        check_handle(HANDLE, {"gpu"}, None)
    check_handle(HANDLE, {"serve"}, None)


def test_a_config_of_a_published_module_is_its_handle():
    info = find(HANDLE)
    assert network_config(HANDLE, info, info.network) == {}
    options = {"handle": HANDLE, "name": "layer"}
    found, net, weights = resolve_config(options)
    assert (found, net, options) == (info, info.network, {"name": "layer"})
    assert weights is None or weights.network == net


def test_a_config_of_a_path_has_the_weights_there_or_none(tmp_path):
    info = find(HANDLE)
    path = tmp_path / "mine.safetensors"
    own = network("mobilenet_v1", 0.25, 3)
    random_weights(own).with_metadata(handle=info.handle, labels='["a", "b", "c"]').save(path)
    config = {"handle": str(path)} | network_config(str(path), info, own)
    found, net, weights = resolve_config(dict(config))
    assert (found, net) == (info, own)
    assert weights is not None and weights.network == own
    path.unlink()
    assert resolve_config(dict(config)) == (info, own, None)
    with pytest.raises(UnknownHandleError):
        resolve_config({"handle": str(path)})
