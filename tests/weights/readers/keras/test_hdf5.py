"""HDF5 as h5py writes it is read as h5py reads it, without the HDF5 library."""

from __future__ import annotations

import io

import numpy as np
import pytest

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.keras.hdf5 import Group, open_hdf5
from mobilenet_hub.weights.readers.keras.hdf5_data import Dataset

h5py = pytest.importorskip("h5py")


def written(write, **options):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        write(file)
    return buffer


def opened(buffer):
    return open_hdf5(buffer, len(buffer.getvalue()), "here")


def at(group, path):
    for part in path.split("/"):
        group = dict(group.children())[part]
    return group


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 4, 5), {}),
        ((), {}),
        ((0, 3), {}),
        ((1000,), {"chunks": (64,)}),
        ((7, 33, 5), {"chunks": (3, 16, 5)}),
        ((7, 33, 5), {"chunks": (3, 16, 5), "compression": "gzip"}),
        ((100, 100), {"compression": "gzip", "compression_opts": 9, "shuffle": True}),
        ((300, 300), {"chunks": (2, 2)}),  # a B-tree of several levels
    ],
)
def test_tensors_are_read_as_h5py_reads_them(dtype, shape, options):
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    buffer = written(lambda file: file.create_dataset("x", data=values, **options))
    dataset = at(opened(buffer), "x")
    assert isinstance(dataset, Dataset)
    assert (dataset.shape, dataset.dtype, dataset.nbytes) == (shape, values.dtype, values.nbytes)
    np.testing.assert_array_equal(dataset.read(), values)


def test_small_tensors_kept_in_the_header_are_read():
    def write(file):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((5,))
        dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, plist)
        h5py.Dataset(dataset)[...] = np.arange(5)

    np.testing.assert_array_equal(at(opened(written(write)), "x").read(), np.arange(5))


@pytest.mark.parametrize("count", [1, 8, 9, 100, 3000])
def test_groups_of_any_size_are_listed(count):
    names = {f"name {i}" for i in range(count)}

    def write(file):
        for name in names:
            file.create_group(f"a/{name}/b")

    group = at(opened(written(write)), "a")
    assert {name for name, _ in group.children()} == names
    assert isinstance(at(group, f"{next(iter(names))}/b"), Group)


@pytest.mark.parametrize("text", ["", "x", "grün", "y" * 300_000])
def test_texts_are_read_from_attributes(text):
    def write(file):
        file.attrs["text"] = text
        if len(text) < 1000:
            file.attrs["fixed"] = np.bytes_(text.encode() or b" ")
        file.attrs["number"] = 3
        file.attrs["several"] = ["a", "b"]
        for index in range(50):  # more than fit the header's first block
            file.attrs[f"more {index}"] = "z"

    root = opened(written(write))
    assert root.text("text") == text
    assert root.text("more 49") == "z"
    assert root.text("absent") is None
    assert root.text("number") is None
    assert root.text("several") is None
    if len(text) < 1000:
        assert root.text("fixed") == (text or " ")


def test_a_file_that_was_changed_in_place_is_read():
    def write(file):
        for index in range(20):
            file[f"x{index}"] = np.full(10, index, "f4")
        for index in range(0, 20, 2):
            del file[f"x{index}"]
        file["x1"][...] = 7
        file["x20"] = np.full(10, 20, "f4")

    root = opened(written(write))
    assert sorted(name for name, _ in root.children()) == sorted(
        [f"x{index}" for index in range(1, 20, 2)] + ["x20"]
    )
    assert (at(root, "x1").read() == 7).all()


@pytest.mark.parametrize(
    ("what", "write", "options"),
    [
        ("superblock", lambda file: None, {"libver": "latest"}),
        ("begins at its first byte|an HDF5 file", lambda file: None, {"userblock_size": 512}),
        ("headers of version 1", lambda file: file.create_group("g", track_order=True), {}),
        ("ASCII. Received: a group of a later form", lambda file: file.create_group("g/é"), {}),
        ("filter 32000", lambda f: f.create_dataset("x", (100, 9), "f4", compression="lzf"), {}),
        ("filter 3", lambda f: f.create_dataset("x", (100, 9), "f4", fletcher32=True), {}),
        ("must be float", lambda file: file.create_dataset("x", data=np.arange(3)), {}),
        ("must be float", lambda file: file.create_dataset("x", data=np.ones(3, ">f4")), {}),
        ("must be float", lambda file: file.create_dataset("x", data=np.ones(3, "c8")), {}),
        ("chunks of data", lambda f: f.create_dataset("x", (100, 9), "f4", chunks=(10, 9)), {}),
        ("points to data elsewhere", lambda file: file.update({"x": h5py.SoftLink("/y")}), {}),
        ("later form", lambda file: file.update({"x": h5py.ExternalLink("f", "/y")}), {}),
    ],
)
def test_other_forms_are_refused_with_what_to_do(what, write, options):
    with pytest.raises(WeightsError, match=what):
        for _, member in opened(written(write, **options)).children():
            if isinstance(member, Dataset):
                assert member.dtype.kind == "f"
                member.read()
