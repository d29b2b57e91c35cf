"""Small hostile files do not make readers take much memory or time."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import dataflow, read
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite
from mobilenet_hub.weights.safetensors_format import parse_safetensors

V1 = network("mobilenet_v1", 0.01, 5)  # kilobytes
WEIGHTS = b"MobilenetV1/Conv2d_0/weights"


def peak_of_refusing(reader, path):
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            reader(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_index_that_shares_long_prefixes_stays_small(tmp_path):
    # 100,000 keys of 200 kB in a file of 1 MB: 20 GB if they were all built.
    first = tff.varint(0) + tff.varint(200_000) + tff.varint(0) + b"a" * 200_000
    more = tff.varint(200_000) + tff.varint(3) + tff.varint(0) + b"%03d"
    entries = first + b"".join(more % (i % 1000) for i in range(100_000))
    index = tff.table_of_blocks([entries + b"\0\0\0\0" + b"\1\0\0\0"])
    (tmp_path / "ckpt.index").write_bytes(index)
    assert peak_of_refusing(read_checkpoint, tmp_path / "ckpt") < 20e6


def test_an_index_that_lists_a_block_many_times_is_refused(tmp_path):
    tensors = {b"": tff.header(), **{b"%05d" % i: b"x" * 100 for i in range(500)}}
    content = tff.block(sorted(tensors.items()))
    handle = tff.varint(0) + tff.varint(len(content))
    blocks = [content, tff.block([(b"%05d" % i, handle) for i in range(50_000)], 1)]
    index = bytearray(tff.table_of_blocks(blocks))
    # Make the second block the index: its handle goes to where the real one is in the footer.
    index_at = len(content) + 5
    footer = tff.varint(0) + tff.varint(0) + tff.varint(index_at) + tff.varint(len(blocks[1]))
    index[-48:-8] = footer.ljust(40, b"\0")
    (tmp_path / "ckpt.index").write_bytes(index)
    with pytest.raises(WeightsError, match="blocks one after the other"):
        read_checkpoint(tmp_path / "ckpt")


def test_snappy_cannot_unfold_without_end(tmp_path):
    for length in (1 << 40, 1 << 22):
        copies = b"\x00a" + b"\xfe\x01\x00" * 200_000  # each copies 64 bytes
        content = tff.varint(length) + copies
        block = content + b"\1"
        crc = tff.masked(block).to_bytes(4, "little")
        data = block + crc
        handle = tff.varint(0) + tff.varint(len(content))
        footer = (handle + handle).ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")
        (tmp_path / "ckpt.index").write_bytes(data + footer)
        assert peak_of_refusing(read_checkpoint, tmp_path / "ckpt") < 20e6


def test_a_message_of_a_million_fields_stays_small(tmp_path):
    (tmp_path / "graph.pb").write_bytes(b"\x0a\x00" * 1_000_000)
    assert peak_of_refusing(read_frozen_graph, tmp_path / "graph.pb") < 30e6
    (tmp_path / "graph.pb").write_bytes(tff.proto((1, b"\x18\x01" * 30_000)) * 100)
    assert peak_of_refusing(read_frozen_graph, tmp_path / "graph.pb") < 30e6


def test_a_huge_shape_in_a_small_graph_allocates_nothing(tmp_path):
    nodes = tff.frozen_network(V1, random_weights(V1).tensors)
    kernel = tff.proto((1, 1), (2, tff.shape_proto((3, 3, 3, 1 << 30))), (5, b"\0\0\0\0"))
    replaced = tff.node(WEIGHTS.decode(), "Const", value=tff.proto((8, kernel)))
    nodes = [replaced if b"\x05Const" in n and WEIGHTS in n else n for n in nodes]
    (tmp_path / "graph.pb").write_bytes(tff.graph_def(nodes))
    with pytest.raises(WeightsError, match="bytes of weights"):
        read_frozen_graph(tmp_path / "graph.pb")
    assert peak_of_refusing(read_frozen_graph, tmp_path / "graph.pb") < 30e6


def test_a_long_detour_of_identities_is_followed_once(tmp_path):
    detour = [tff.node("i0", "Identity", ["input"])]
    detour += [tff.node(f"i{n}", "Identity", [f"i{n - 1}"]) for n in range(1, 15_000)]
    users = [tff.node(f"u{n}", "Neg", ["i14999"]) for n in range(15_000)]
    tensors = random_weights(V1).tensors
    nodes = tff.frozen_network(
        V1, tensors, image=[tff.node("input", "Placeholder"), *detour, *users], image_name="i14999"
    )
    (tmp_path / "graph.pb").write_bytes(tff.graph_def(nodes))
    assert set(read_frozen_graph(tmp_path / "graph.pb").tensors) == set(tensors)


def test_no_more_constants_are_loaded_than_a_network_has(tmp_path, monkeypatch):
    net = network("mobilenet_v1", 0.25)
    nodes = tff.frozen_network(net, random_weights(net).tensors)
    (tmp_path / "graph.pb").write_bytes(tff.graph_def(nodes))
    monkeypatch.setattr(dataflow, "MAX_WEIGHTS_BYTES", 1 << 20)
    with pytest.raises(WeightsError, match="at most 1,048,576 bytes of weights"):
        read_frozen_graph(tmp_path / "graph.pb")


def test_overlapping_tables_of_a_flatbuffer_are_not_read_without_end(tmp_path):
    # One operator with 3,000 inputs, listed 60,000 times.
    operator = tff.Table({0: 0, 1: [0] * 3000, 2: [0]})
    subgraph = tff.Table({0: [tff.Table({0: []})], 3: [operator] * 60_000})
    model = tff.Table({1: [tff.Table({0: 25})], 2: [subgraph], 4: [tff.Table({0: b""})]})
    (tmp_path / "x.tflite").write_bytes(tff.flatbuffer(model))
    assert peak_of_refusing(read_tflite, tmp_path / "x.tflite") < 60e6


# Zip archives -----------------------------------------------------------------------------------


def zip_of(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return bytearray(buffer.getvalue())


@pytest.mark.parametrize("name", ["model.weights.h5", "a.npy"])
def test_a_zip_member_that_lies_about_its_size_is_not_unpacked_further(tmp_path, name):
    size = 100 << 20
    data = zip_of({"config.json": "{}", name: bytes(size)} if "h5" in name else {name: bytes(size)})
    assert len(data) < 200_000
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.rfind(signature) + offset
        assert data[at : at + 4] == size.to_bytes(4, "little")
        data[at : at + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "a").write_bytes(data)
    assert peak_of_refusing(read, tmp_path / "a") < 5e6


def test_the_directory_of_a_zip_is_bounded_before_it_is_read(tmp_path):
    data = bytes(zip_of({"a.npy": b""}))
    start, end = data.find(b"PK\1\2"), data.find(b"PK\5\6")
    directory = data[start:end] * 100_000
    tail = bytearray(data[end:])
    tail[12:16] = len(directory).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(data[:start] + directory + tail)
    assert peak_of_refusing(read, tmp_path / "a.npz") < 5e6
    # The size may stand in a second record too, which then counts.
    record = b"PK\6\6" + (44).to_bytes(8, "little") + bytes(28)
    record += len(directory).to_bytes(8, "little") + start.to_bytes(8, "little")
    locator = b"PK\6\7" + bytes(4) + (start + len(directory)).to_bytes(8, "little")
    locator += (1).to_bytes(4, "little")
    small = tail[:12] + bytes(4) + tail[16:]
    (tmp_path / "a.npz").write_bytes(data[:start] + directory + record + locator + small)
    assert peak_of_refusing(read, tmp_path / "a.npz") < 5e6


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("name", ["model.weights.h5", "a.npy"])
def test_compression_that_no_model_is_written_with_is_refused(tmp_path, name, method):
    data = zip_of({name: os.urandom(2000)}, method)
    for position in range(80, 1500):
        data[position] ^= 0x5A
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(WeightsError, match="stored or deflated"):
        read(tmp_path / "a")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'shape': (",
        "'''",
        "{[]: 1}",
        "(" * 100,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 10**10, }",
    ],
)
def test_a_header_of_numpy_that_is_no_header_is_a_typed_error(tmp_path, header):
    text = header.encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(8)
    (tmp_path / "a.npz").write_bytes(zip_of({"a.npy": array}))
    with pytest.raises(WeightsError, match=r"an \.npy array|a shape"):
        read(tmp_path / "a.npz")


# safetensors ------------------------------------------------------------------------------------


def test_metadata_that_is_nested_without_end_says_nothing(tmp_path):
    net = network("mobilenet_v1", 0.25)
    nested = "[" * 100_000 + "]" * 100_000
    tensors = dict(random_weights(net).tensors)
    (tmp_path / "a.safetensors").write_bytes(save(tensors, {"mobilenet_hub": nested}))
    assert read(tmp_path / "a.safetensors").metadata["source"] == "a.safetensors (safetensors)"


def test_what_a_file_says_of_itself_cannot_command_a_terminal(tmp_path):
    net = network("mobilenet_v1", 0.25)
    own = json.dumps({"source": "\x1b[2J\ud800\nhere"})
    tensors = dict(random_weights(net).tensors)
    (tmp_path / "a.safetensors").write_bytes(save(tensors, {"mobilenet_hub": own}))
    assert read(tmp_path / "a.safetensors").metadata["source"] == "\ufffd[2J\ufffd\ufffdhere"


def test_a_safetensors_file_is_not_copied(tmp_path):
    path = tmp_path / "a.safetensors"
    random_weights(network("mobilenet_v2", 1.0)).save(path)
    tracemalloc.start()
    weights = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * path.stat().st_size
    assert all(tensor.flags.aligned for tensor in weights.tensors.values())


def safetensors_of(header, data=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def place(start, stop, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(8),
        safetensors_of([]),
        safetensors_of(b"{not json"),
        safetensors_of({"a": 1}),
        safetensors_of({"a": place(0, 16, [4]), "__metadata__": []}),
        safetensors_of({"a": place(0, 16, [4]), "__metadata__": {"x": 1}}),
        safetensors_of({"a": place(0, 12, [3])}),  # bytes that are nobody's
        safetensors_of({"a": place(4, 16, [3])}),
        safetensors_of({"a": place(0, 16, [4]), "b": place(8, 16, [2])}),  # overlap
        safetensors_of({"a": place(0, 8, [2]), "b": place(12, 16, [1])}),  # a gap
        safetensors_of({"a": place(0, 32, [8])}),  # past the end
        safetensors_of({"a": place(0, 16, [3])}),
        safetensors_of({"a": place(0, 16, [1 << 39, 1 << 39])}),
        safetensors_of({"a": place(0, 16, [-2, -2])}),
        safetensors_of({"a": place(0, 16, [True, 4])}),
        safetensors_of({"a": place(0, 16, [4.0])}),
        safetensors_of({"a": place(0, 16, [4, *[1] * 40])}),
        safetensors_of({"a": place(-16, 0, [4])}),
        safetensors_of({"a": place(16, 0, [4])}),
        safetensors_of({"a": place(0.0, 16, [4])}),
        safetensors_of({"a": place(0, 16, [8], "F8_E4M3")}),
        safetensors_of({"a": place(0, 16, [4], ["F32"])}),
    ],
)
def test_a_safetensors_file_that_contradicts_itself_is_refused(data):
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        parse_safetensors(data, "here")


def test_safetensors_are_read_as_their_library_writes_them():
    tensors = {
        "a": np.arange(6, dtype=np.float64).reshape(2, 3),
        "b": np.arange(3, dtype=np.float16),
        "none": np.zeros((0, 3), np.float32),
        "count": np.array(7, np.int64),
        "flags": np.array([True, False]),
    }
    read_again, metadata = parse_safetensors(save(tensors, {"x": "y"}), "here")
    assert metadata == {"x": "y"}
    assert sorted(read_again) == sorted(tensors)
    for name, array in tensors.items():
        assert read_again[name].dtype == array.dtype
        np.testing.assert_array_equal(read_again[name], array)
