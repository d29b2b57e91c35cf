"""Files, folders and archives are known by what is in them."""

from __future__ import annotations

import os

import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import (
    WeightsError,
)
from mobilenet_hub.weights import readers
from mobilenet_hub.weights.identify import identify_module
from weights_support import INFO, KEY, equal, weights_of


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
        ("weights.pkl", b"\x80\x04\x95\x10"),
        ("old.pkl", b"(dp0\nS'a'\np1\n"),
        ("model.safetensors", b"\x80\x03}q\x00."),
    ],
)
def test_a_pickle_is_refused_with_advice_and_never_run(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match="never does") as caught:
        readers.read(tmp_path / name)
    assert "safetensors" in str(caught.value)


@pytest.mark.parametrize("name", ["x.pt", "x.pkl", "x.bin"])
def test_an_empty_file_is_not_called_a_pickle(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match="of no format"):
        readers.read(tmp_path / name)


def test_a_pipe_beside_the_weights_is_not_waited_for(tmp_path):
    path = tmp_path / "mobilenet_v1_0.25_128.ckpt"
    tff.write_bundle(path, weights_of(INFO).tensors)
    os.mkfifo(tmp_path / f"{path.name}.data-00000-of-00002")
    assert equal(readers.read(path), weights_of(INFO))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(5000)])
def test_other_files_are_refused_with_what_would_be_read(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(WeightsError, match=rf"expected safetensors.*Received: {len(data):,} bytes"):
        readers.read(tmp_path / "x")


def test_folders_are_looked_into(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(WeightsError, match="an empty folder"):
        readers.read(folder)
    weights_of(INFO).save(folder / "one.safetensors")
    assert readers.read(folder).network == INFO.network
    weights_of(INFO).save(folder / "two.safetensors")
    with pytest.raises(WeightsError, match=r"several.*one\.safetensors, two\.safetensors"):
        readers.read(folder)


def test_a_checkpoint_in_a_folder_an_archive_and_by_its_prefix_is_the_same(tmp_path):
    import tarfile

    folder = tmp_path / "mobilenet_v1_0.25_128"
    expected = weights_of(INFO)
    tff.write_bundle(folder / "model.ckpt", dict(expected.tensors))
    with tarfile.open(tmp_path / "mobilenet_v1_0.25_128.tgz", "w:gz") as tar:
        for path in folder.iterdir():
            tar.add(path, path.name)
    for path in (folder, folder / "model.ckpt", folder / "model.ckpt.index",
                 tmp_path / "mobilenet_v1_0.25_128.tgz"):  # fmt: skip
        weights = readers.read(path)
        assert equal(weights, expected)
        assert identify_module(weights).checkpoint_key == KEY
        assert len(weights.metadata["source_sha256"]) == 64


def test_a_zip_that_torch_wrote_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\n")
    with pytest.raises(WeightsError, match="is a pickle"):
        readers.read(tmp_path / "model.pt")
