"""Mutated weights files end in a typed error or in arrays: never in anything else.

Safetensors, HDF5, .keras, .npz, TensorFlow.js, and the records and lock files of the cache; the
TensorFlow formats are in `test_fuzz_readers.py`.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from keras_files import as_tensorflow_js, numbers, write_h5, write_keras3, write_tensorflow_js
from memory import bounded_memory
from mobilenet_hub.errors import MobileNetHubError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights import Weights
from mobilenet_hub.weights.canonical import to_bytes
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.storage import pins
from mobilenet_hub.weights.storage.cache import Cache

pytest.importorskip("h5py")

NET = network("mobilenet_v1", 0.01, 1001)  # 8 channels a layer: files of some 100 kB
TENSORS, AS_KERAS = numbers(NET)

# 2,750 mutations in all. Derandomised: what CI finds, everyone finds.
FUZZ = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PEAK = 40e6  # bytes while reading files of 200 kB


def h5_bytes(kind):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        if kind == "keras3":
            write_keras3(path, NET, AS_KERAS)
        else:
            write_h5(path, NET, AS_KERAS, compression="gzip" if kind == "gzip" else None)
        return path.read_bytes()


def keras_bytes():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"name": "mobilenet_1_0_224"}}))
        archive.writestr("model.weights.h5", h5_bytes("keras3"))
    return buffer.getvalue()


def npz_bytes():
    buffer = io.BytesIO()
    np.savez(buffer, **TENSORS, __metadata__=np.array(json.dumps({"source": "here"})))
    return buffer.getvalue()


def hugging_face_bytes():
    tensors = {"mobilenet_v1.conv_stem.convolution.weight": np.zeros((8, 3, 3, 3), np.float32)}
    for index in range(26):
        shape = (8, 1, 3, 3) if index % 2 == 0 else (8, 8, 1, 1)
        place = f"mobilenet_v1.layer.{index}"
        tensors[f"{place}.convolution.weight"] = np.zeros(shape, np.float32)
        tensors[f"{place}.normalization.running_var"] = np.ones(8, np.float32)
    return save(tensors)


def canonical_bytes():
    return to_bytes(Weights(NET, TENSORS, {"handle": "x", "source": "y"}))


# Where the structure is: mutations of the numbers behind it find nothing.
FILES = {
    "safetensors": (canonical_bytes(), 20_000),
    "hugging face": (hugging_face_bytes(), 8_000),
    "h5": (h5_bytes("plain"), 60_000),
    "h5 gzip": (h5_bytes("gzip"), 60_000),
    "h5 keras 3": (h5_bytes("keras3"), 60_000),
    "keras": (keras_bytes(), 60_000),
    "npz": (npz_bytes(), 200_000),
}


@st.composite
def mutations(draw):
    """A function that damages bytes in one to six places."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "byte", "cut", "insert", "delete", "number"]),
                st.integers(0, 1 << 20),
                st.integers(0, 255),
                st.sampled_from([0, 1, 0x7F, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 62]),
            ),
            min_size=1,
            max_size=6,
        )
    )

    def apply(data: bytes, structure: int) -> bytes:
        out = bytearray(data)
        for kind, place, value, number in steps:
            at = place % min(len(out) + 1, structure)
            if kind == "flip" and at < len(out):
                out[at] ^= 1 << value % 8
            elif kind == "byte" and at < len(out):
                out[at] = value
            elif kind == "cut" and value < 64:
                del out[at:]
            elif kind == "insert":
                out[at:at] = bytes([value]) * (1 + value % 5)
            elif kind == "delete":
                del out[at : at + 1 + value % 16]
            elif kind == "number":
                out[at : at + 8] = number.to_bytes(8, "little")
        return bytes(out)

    return apply


def assert_safe(path):
    """Reading ends in weights or in a typed error, in bounded memory, and writes nothing."""
    before = sorted(file.name for file in path.parent.iterdir())
    with bounded_memory(PEAK):
        try:
            weights = read(path)
        except WeightsError as error:
            assert str(error)
        else:
            assert all(np.isfinite(tensor).all() for tensor in weights.tensors.values())
    assert sorted(file.name for file in path.parent.iterdir()) == before


@pytest.mark.parametrize("kind", list(FILES))
@FUZZ
@given(mutate=mutations())
def test_a_mutated_file_is_weights_or_a_typed_error(kind, mutate):
    data, structure = FILES[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mobilenet.x"
        path.write_bytes(mutate(data, structure))
        assert_safe(path)


NPY_HEADER = (
    b"\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".ljust(127)
    + b"\n"
)


@FUZZ
@given(mutate=mutations(), method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_a_mutated_array_behind_the_checksum_of_a_zip(mutate, method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("MobilenetV1/x.npy", mutate(NPY_HEADER + bytes(24), 128))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        path.write_bytes(buffer.getvalue())
        assert_safe(path)


INSIDE = h5_bytes("keras3")


@FUZZ
@given(mutate=mutations(), of_the_zip=mutations(), both=st.booleans())
def test_a_mutated_keras_file_behind_the_checksum_of_a_zip(mutate, of_the_zip, both):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", mutate(b'{"config": {"name": "mobilenet_1_0_224"}}', 99))
        archive.writestr("model.weights.h5", mutate(INSIDE, 60_000))
    data = buffer.getvalue()
    if both:  # the directory, at the end
        data = data[:-250] + of_the_zip(data[-250:], 250)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.keras"
        path.write_bytes(data)
        assert_safe(path)


@FUZZ
@given(mutate=mutations())
def test_a_mutated_tensorflow_js_manifest_is_weights_or_a_typed_error(tmp_path, mutate):
    manifest = tmp_path / "model.json"
    if not manifest.exists():
        write_tensorflow_js(tmp_path, as_tensorflow_js(NET, AS_KERAS), shard=20_000)
        (tmp_path / "original").write_bytes(manifest.read_bytes())
    manifest.write_bytes(mutate((tmp_path / "original").read_bytes(), 1 << 20))
    assert_safe(manifest)


@FUZZ
@given(mutate=mutations())
def test_mutated_records_and_lock_files_are_typed_errors(tmp_path, mutate):
    key, cache = "mobilenet_v1_100_224", Cache(tmp_path / "cache")
    record, lock = cache.weights_directory / f"{key}.json", tmp_path / "mobilenet-hub.lock"
    if not record.exists():
        weights = Weights(NET, TENSORS)
        cache.put(key, weights)
        pins.add_pin(lock, key, pins.pin_of(weights, "here", "0" * 64))
        for path in (record, lock):
            path.with_name(f"{path.name}.original").write_bytes(path.read_bytes())
    for path, use in (
        (record, lambda: cache.load(cache.get(key))),
        (lock, lambda: pins.read_pins(lock)),
    ):
        path.write_bytes(mutate(path.with_name(f"{path.name}.original").read_bytes(), 1 << 20))
        try:
            use()
        except MobileNetHubError as error:
            assert str(error)


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deeply_nested_json_is_a_typed_error(tmp_path, depth):
    nested = b"[" * depth + b"]" * depth
    header = b'{"a":' + nested + b"}"
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "model.json").write_bytes(b'{"weightsManifest":' + nested + b"}")
    for name in ("a.safetensors", "model.json"):
        with pytest.raises(WeightsError):
            read(tmp_path / name)
