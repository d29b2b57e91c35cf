"""Classes are called what they are: ImageNet's names are for ImageNet's networks alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import mobilenet_hub as hub
import tensorflow_files as tff
from commands import mobilenet_hub_command as run
from mobilenet_hub.catalog import find
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.labels import imagenet_labels, imagenet_wordnet_ids
from mobilenet_hub.networks import network
from mobilenet_hub.weights import Weights
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.storage import store

HANDLE = "google/imagenet/mobilenet_v1_025_128/classification/5"
INFO = find(HANDLE)
NAMES = ["ant", "bee", "cow", "dog", "eel"]


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)).save(
        tmp_path / "photo.png"
    )


def classifier(classes, **metadata):
    """Random weights of a network with so many classes."""
    return Weights(network("mobilenet_v1", 0.25, classes), _tensors(classes), metadata)


def _tensors(classes):
    return dict(random_weights(network("mobilenet_v1", 0.25, classes)).tensors)


def write_npz(path, tensors):
    np.savez(path, **tensors)


def write_checkpoint(path, tensors):
    tff.write_bundle(path, tensors)


def write_graph(path, tensors):
    classes = len(tensors["MobilenetV1/Logits/Conv2d_1c_1x1/biases"])
    net = network("mobilenet_v1", 0.25, classes)
    path.write_bytes(tff.graph_def(tff.frozen_network(net, tensors)))


def write_safetensors(path, tensors):
    from safetensors.numpy import save_file

    save_file(tensors, path)


WRITERS = {
    "mobilenet_v1_0.25_128.npz": write_npz,
    "mobilenet_v1_0.25_128.ckpt": write_checkpoint,
    "mobilenet_v1_0.25_128.pb": write_graph,
    "mobilenet_v1_0.25_128.safetensors": write_safetensors,
}
EVERY_FORMAT = pytest.mark.parametrize("name", WRITERS)


@EVERY_FORMAT
def test_a_file_of_1000_classes_gets_its_background_class(tmp_path, name):
    tensors = _tensors(1000)
    WRITERS[name](tmp_path / name, tensors)
    weights = read(tmp_path / name)
    biases = weights.tensors["MobilenetV1/Logits/Conv2d_1c_1x1/biases"]
    assert biases.shape == (1001,)
    assert biases[0] == -10000
    np.testing.assert_array_equal(biases[1:], tensors["MobilenetV1/Logits/Conv2d_1c_1x1/biases"])
    assert weights.labels == hub.imagenet_labels()
    assert "background" in weights.metadata["notes"]


@EVERY_FORMAT
def test_classes_of_another_number_are_numbers_everywhere(tmp_path, name):
    WRITERS[name](tmp_path / name, _tensors(5))
    module = hub.Module(tmp_path / name)
    assert module.labels == ("0", "1", "2", "3", "4")
    assert module(np.zeros((1, 128, 128, 3), np.float32)).shape == (1, 5)
    (record,) = hub.classify("photo.png", module)
    assert sorted(label.name for label in record.labels) == ["0", "1", "2", "3", "4"]
    (record,) = hub.embed("photo.png", module, labels=2)
    assert {label.name for label in record.labels} < {"0", "1", "2", "3", "4"}


@EVERY_FORMAT
def test_classes_of_another_number_are_never_kept_as_a_published_module(tmp_path, name):
    WRITERS[name](tmp_path / name, _tensors(5))
    done = run("import", name, "--as", HANDLE)
    assert done.returncode == 1
    assert "5 classes that are not the 1001" in done.stderr
    assert not store.is_here(INFO)
    with pytest.raises(WeightsError, match="use it by its path"):
        store.keep(read(tmp_path / name), INFO)
    assert hub.Module(HANDLE, weights=tmp_path / name).labels == ("0", "1", "2", "3", "4")


def test_labels_that_came_along_are_the_names(tmp_path):
    path = tmp_path / "mobilenet_v1_0.25_128.safetensors"
    classifier(5, labels=json.dumps(NAMES)).save(path)
    module = hub.Module(path)
    assert module.labels == tuple(NAMES)
    assert hub.Module(module.info, weights=module.weights).labels == tuple(NAMES)
    (record,) = hub.classify("photo.png", module, top_k=3)
    assert len(record.labels) == 3
    assert all(label.name == NAMES[label.index] for label in record.labels)


def test_1000_classes_with_names_of_their_own_get_no_background(tmp_path):
    path = tmp_path / "mobilenet_v1_0.25_128.safetensors"
    names = [f"thing {i}" for i in range(1000)]
    classifier(1000, labels=json.dumps(names)).save(path)
    assert read(path).labels == tuple(names)


def test_1001_classes_with_names_of_their_own_are_not_imagenets(tmp_path):
    path = tmp_path / "mobilenet_v1_0.25_128.safetensors"
    names = [f"thing {i}" for i in range(1001)]
    classifier(1001, labels=json.dumps(names)).save(path)
    assert not read(path).is_imagenet
    with pytest.raises(WeightsError, match="not the 1001 of"):
        store.keep(read(path), INFO)


@pytest.mark.parametrize("labels", ["[1, 2, 3, 4, 5]", '["a"]', "{", '"abcde"', "[" * 100_000])
def test_labels_that_do_not_fit_are_an_error(labels):
    with pytest.raises(WeightsError, match="what its metadata says of its classes does not fit"):
        classifier(5, labels=labels)


def test_the_commands_print_the_names_that_came_along(tmp_path):
    classifier(5, labels=json.dumps(NAMES)).save("mobilenet_v1_0.25_128.safetensors")
    file = "mobilenet_v1_0.25_128.safetensors"
    shown = run("classify", "photo.png", "--module", file)
    assert shown.returncode == 0, shown.stderr
    assert all(name in shown.stdout for name in NAMES)
    labels = json.loads(run("classify", "photo.png", "--module", file, "--json").stdout)["labels"]
    assert sorted(label["name"] for label in labels) == NAMES
    for output in ("out.parquet", "out.csv"):
        done = run("embed", "photo.png", "--module", file, "--labels", "5", "--output", output)
        assert done.returncode == 0, done.stderr
    from pyarrow.parquet import read_table

    assert sorted(read_table("out.parquet")["labels"][0].as_py()) == NAMES
    assert all(name in (tmp_path / "out.csv").read_text() for name in NAMES)


def test_info_of_a_file_says_its_own_classes_and_no_published_accuracy():
    classifier(5).save("mobilenet_v1_0.25_128.safetensors")
    shown = run("info", "mobilenet_v1_0.25_128.safetensors")
    assert shown.returncode == 0, shown.stderr
    assert "5 logits: 0, 1, 2, 3, 4" in shown.stdout
    assert "accuracy" not in shown.stdout
    facts = json.loads(run("info", "mobilenet_v1_0.25_128.safetensors", "--json").stdout)
    assert (facts["num_classes"], facts["published"]) == (5, None)
    assert json.loads(run("info", HANDLE, "--json").stdout)["num_classes"] == 1001


def test_features_have_no_labels():
    module = hub.Module("google/imagenet/mobilenet_v1_025_128/feature_vector/5", weights="random")
    assert module.labels == ()


def test_wordnet_ids_are_those_of_the_names():
    ids = imagenet_wordnet_ids()
    assert len(ids) == len(imagenet_labels())
    assert list(ids) == sorted(set(ids))  # "" of background first; ImageNet's classes are by id
    at = {imagenet_labels()[index]: ids[index] for index in (1, 2, 286, 1000)}
    assert at == {
        "tench": "n01440764",
        "goldfish": "n01443537",
        "Egyptian cat": "n02124075",
        "toilet tissue": "n15075141",
    }
