"""What a file is, is known by its content; what cannot be read says why, and what to do."""

from __future__ import annotations

import io
import shutil
import tarfile

import numpy as np
import pytest

import mobilenet_hub as hub
import tensorflow_files as tff
from mobilenet_hub.catalog import find
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.readers.formats import FORMATS
from mobilenet_hub.weights.storage import store

INFO = find("google/imagenet/mobilenet_v1_025_128/classification/5")
WEIGHTS = random_weights(INFO.network)
NAME = "mobilenet_v1_0.25_128"


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def assert_equal(weights, expected=WEIGHTS.tensors):
    assert sorted(weights.tensors) == sorted(expected)
    assert all(weights.tensors[n].tobytes() == t.tobytes() for n, t in expected.items())


def test_every_format_has_its_reader():
    from importlib import import_module

    for known in FORMATS:
        module, _, function = known.reader.rpartition(".")
        reader = getattr(import_module(f"mobilenet_hub.weights.readers.{module}"), function)
        assert function.startswith("read_") and reader.__doc__


# What is refused by name -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["state", "module", "TorchScript"])
@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "model.pt", "model"])
def test_what_torch_writes_today_is_refused_with_advice(tmp_path, kind, name):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 2)
    if kind == "TorchScript":
        torch.jit.save(torch.jit.trace(module, torch.zeros(1, 2)), tmp_path / name)
    else:
        torch.save(module.state_dict() if kind == "state" else module, tmp_path / name)
    with pytest.raises(WeightsError, match="never does") as caught:
        read(tmp_path / name)
    assert "safetensors" in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.onnx", "model"])
def test_an_onnx_model_is_refused_by_name(tmp_path, name):
    from mobilenet_hub.graph import build_graph

    (tmp_path / name).write_bytes(build_graph(WEIGHTS, "classification").to_bytes())
    with pytest.raises(WeightsError, match="is an ONNX model") as caught:
        read(tmp_path / name)
    assert "checkpoint" in str(caught.value)


def test_the_graph_beside_a_checkpoint_says_what_to_name_instead(tmp_path):
    (tmp_path / "model.ckpt.meta").write_bytes(tff.graph_def([tff.node("x", "Placeholder")]))
    with pytest.raises(WeightsError, match=r"without \.meta"):
        read(tmp_path / "model.ckpt.meta")


def test_a_checkpoint_of_the_first_format_says_how_to_save_it_again(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(tff.table({b"": b"\x0a\x00"}))
    with pytest.raises(WeightsError, match="write_version=2"):
        read(tmp_path / "model.ckpt")


def test_names_in_a_file_command_no_terminal(tmp_path):
    nodes = [tff.node("\x1b[31m\x07red", "Nonsense\x1b]0;title\x07")] * 2
    (tmp_path / "x.pb").write_bytes(tff.graph_def(nodes))
    with pytest.raises(WeightsError) as caught:
        read(tmp_path / "x.pb")
    (tmp_path / "y.pb").write_bytes(tff.graph_def(nodes[:1]))
    with pytest.raises(WeightsError) as also_caught:
        read(tmp_path / "y.pb")
    for error in (caught, also_caught):
        assert str(error.value).isprintable()


# Checkpoints -------------------------------------------------------------------------------------


def test_the_file_named_checkpoint_says_which_is_the_latest(tmp_path):
    folder = tmp_path / NAME
    old = {name: tensor + 1 for name, tensor in WEIGHTS.tensors.items()}
    tff.write_bundle(folder / "model.ckpt-100", old)
    tff.write_bundle(folder / "model.ckpt-200", dict(WEIGHTS.tensors))
    with pytest.raises(WeightsError, match="several files"):
        read(folder)
    for path in ("model.ckpt-200", "/somewhere/else/model.ckpt-200"):
        (folder / "checkpoint").write_text(
            f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "model.ckpt-100"\n'
        )
        assert_equal(read(folder))
        assert_equal(read(folder / "checkpoint"))


@pytest.mark.parametrize("path", ["..", "", "a/..", "missing"])
def test_a_file_named_checkpoint_leads_nowhere_else(tmp_path, path):
    folder = tmp_path / NAME
    tff.write_bundle(folder / "model.ckpt-100", dict(WEIGHTS.tensors))
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
    with pytest.raises(WeightsError):
        read(folder)


def test_float64_variables_are_rounded(tmp_path):
    doubles = {name: t.astype(np.float64) for name, t in WEIGHTS.tensors.items()}
    tff.write_bundle(tmp_path / f"{NAME}.ckpt", doubles)
    assert_equal(read(tmp_path / f"{NAME}.ckpt"))


@pytest.mark.tensorflow
def test_partitioned_variables_are_put_together(tmp_path):
    tf = pytest.importorskip("tensorflow").compat.v1
    expected = {
        "MobilenetV1/x/weights": np.random.default_rng(0).random((300, 5), np.float32),
        "MobilenetV1/x/biases": np.arange(70_000, dtype=np.float32),
    }
    with tf.Graph().as_default(), tf.Session() as session:
        for name, parts in (("MobilenetV1/x/weights", 3), ("MobilenetV1/x/biases", 7)):
            tf.get_variable(
                name,
                initializer=tf.constant(expected[name]),
                partitioner=tf.fixed_size_partitioner(parts),
                use_resource=False,
            )
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import TensorBundle

    bundle = TensorBundle(tmp_path / "model.ckpt")
    assert all(bundle.entries[name].parts for name in expected)
    tensors = bundle.read({name: name for name in expected})
    assert_equal(type("W", (), {"tensors": tensors}), expected)


@pytest.mark.parametrize("mode", ["bz2", "xz"])
def test_archives_packed_otherwise_are_read(tmp_path, mode):
    tff.write_bundle(tmp_path / "m" / f"{NAME}.ckpt", dict(WEIGHTS.tensors))
    with tarfile.open(tmp_path / f"x.tar.{mode}", f"w:{mode}") as tar:
        tar.add(tmp_path / "m", "m")
    weights = read(tmp_path / f"x.tar.{mode}")
    assert_equal(weights)


def test_bfloat16_safetensors_are_widened(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    halves = {n: torch.tensor(t.copy()).bfloat16() for n, t in WEIGHTS.tensors.items()}
    save_file(halves, tmp_path / f"{NAME}.safetensors")
    expected = {name: tensor.float().numpy() for name, tensor in halves.items()}
    assert_equal(read(tmp_path / f"{NAME}.safetensors"), expected)


# The image size ----------------------------------------------------------------------------------


def with_size(path, size):
    """A SavedModel of these weights whose signature takes images of that size."""
    tff.write_bundle(path / "variables" / "variables", dict(WEIGHTS.tensors))
    shape = tff.shape_proto([2**64 - 1, size, size, 3])
    inputs = tff.proto((1, "images"), (2, tff.proto((3, shape))))
    signature = tff.proto((1, "default"), (2, tff.proto((1, inputs))))
    (path / "saved_model.pb").write_bytes(tff.proto((1, 1), (2, tff.proto((5, signature)))))


def test_the_signature_of_a_module_tells_its_size(tmp_path):
    for size in (128, 160, 224):
        with_size(tmp_path / f"m{size}", size)
        assert hub.Module(tmp_path / f"m{size}").info.image_size == size


def test_a_graph_tells_its_size(tmp_path):
    shape = tff.proto((7, tff.shape_proto([1, 160, 160, 3])))
    image = tff.node("images", "Placeholder", shape=shape)
    nodes = tff.frozen_network(
        INFO.network, dict(WEIGHTS.tensors), image=[image], image_name="images"
    )
    (tmp_path / "neutral.pb").write_bytes(tff.graph_def(nodes))
    assert read(tmp_path / "neutral.pb").metadata["handle"].split("_")[3] == "160/classification/5"


def test_a_folder_of_tensorflow_hubs_cache_is_known_by_its_hash(tmp_path):
    import hashlib

    handle = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_160/feature_vector/4"
    folder = tmp_path / hashlib.sha1(handle.encode()).hexdigest()
    with_size(folder, 2**64 - 1)
    assert hub.Module(folder).info.checkpoint_key == "mobilenet_v1_025_160"


@pytest.mark.parametrize("told_by", ["signature", "archive", "metadata"])
def test_a_handle_of_another_size_than_the_file_tells_is_refused(tmp_path, told_by):
    from mobilenet_hub.conversion.importing import import_file

    path = tmp_path / "x"
    if told_by == "signature":
        with_size(path, 128)
    elif told_by == "metadata":
        WEIGHTS.with_metadata(handle=INFO.handle).save(path)
    else:
        path = tmp_path / f"{NAME}.tgz"
        tff.write_bundle(tmp_path / "m" / "model.ckpt", dict(WEIGHTS.tensors))
        with tarfile.open(path, "w:gz") as tar:
            tar.add(tmp_path / "m", "m")
    other = "google/imagenet/mobilenet_v1_025_160/classification/5"
    with pytest.raises(WeightsError, match=r"128×128 .* takes 160×160") as caught:
        import_file(path, handle=other)
    assert "--force" in str(caught.value)
    assert not store.is_here(find(other))
    assert_equal(hub.Module(other, weights=path).weights)  # said outright, and kept nowhere
    assert import_file(path, handle=other, force=True).module == find(other)
    shutil.rmtree(tmp_path / "cache")
    assert import_file(path, handle=INFO.handle).module == INFO


def test_the_archive_that_names_the_size_inside_tells_it(tmp_path):
    tff.write_bundle(tmp_path / "m" / f"{NAME}.ckpt", dict(WEIGHTS.tensors))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "m", "m")
    (tmp_path / "neutral.tgz").write_bytes(buffer.getvalue())
    assert hub.Module(tmp_path / "neutral.tgz").info.checkpoint_key == INFO.checkpoint_key
