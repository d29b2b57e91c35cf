"""Small hostile files do not make readers take much memory or time."""

from __future__ import annotations

import tracemalloc

import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.random import random_weights
from mobilenet_hub.weights.readers import dataflow
from mobilenet_hub.weights.readers.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensor_bundle import read_checkpoint
from mobilenet_hub.weights.readers.tflite import read_tflite

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
