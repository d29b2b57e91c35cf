"""Which order the weights of a layer have in an HDF5 file that Keras is loading."""

from __future__ import annotations

import pytest

h5py = pytest.importorskip("h5py")

from mobilenet_hub.errors import TensorMismatchError  # noqa: E402
from mobilenet_hub.weights.readers.keras.loading import order_in_file  # noqa: E402

NAMES = ("MobilenetV2/Conv/weights", "MobilenetV2/Conv/BatchNorm/beta", "MobilenetV2/Logits/biases")
SHUFFLED = [NAMES[2], NAMES[0], NAMES[1]]


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as opened:
        opened.create_group("model_weights")
        yield opened


def written(file, layer, names, *, attribute="weight_names"):
    group = file["model_weights"].require_group(layer)
    group.attrs[attribute] = [name.encode() for name in names]


def load_model_from_hdf5(f, layer="hub", names=NAMES):
    """What Keras calls its function, and the file in it."""
    return order_in_file(layer, names)


def test_outside_of_keras_loading_there_is_no_order(file):
    written(file, "hub", SHUFFLED)
    assert order_in_file("hub", NAMES) == ()


def test_the_order_is_that_of_the_names_in_the_file(file):
    written(file, "hub", [f"keras_layer/{name}:0" for name in SHUFFLED])
    written(file, "dense", ["dense/kernel:0"])
    assert load_model_from_hdf5(file) == tuple(SHUFFLED)


def test_a_long_list_of_names_that_keras_has_cut_is_put_together(file):
    written(file, "hub", SHUFFLED[:2], attribute="weight_names0")
    written(file, "hub", SHUFFLED[2:], attribute="weight_names1")
    assert load_model_from_hdf5(file) == tuple(SHUFFLED)


def test_a_layer_within_a_nested_model_is_found_by_the_names_of_its_weights(file):
    written(file, "nested_model", ["dense/kernel:0", *SHUFFLED])
    assert load_model_from_hdf5(file) == tuple(SHUFFLED)


def test_a_file_of_weights_alone_says_nothing(file):
    del file["model_weights"]
    assert load_model_from_hdf5(file) == ()


def test_weights_that_are_not_there_are_named(file):
    written(file, "hub", SHUFFLED[:2])
    with pytest.raises(TensorMismatchError, match=r"'hub'.* 1 missing: MobilenetV2/Conv/BatchNorm"):
        load_model_from_hdf5(file)


def test_a_layer_that_is_there_twice_is_refused(file):
    written(file, "one", SHUFFLED)
    written(file, "two", SHUFFLED)
    with pytest.raises(TensorMismatchError, match="holds the layer 'hub' twice"):
        load_model_from_hdf5(file)
