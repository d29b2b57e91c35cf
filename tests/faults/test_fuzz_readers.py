"""Mutated TensorFlow files end in a typed error or in arrays: never in anything else.

Checksums and gzip hide what is behind them from plain mutation, so that the parts are also mutated
before they are sealed.
"""

from __future__ import annotations

import copy
import gzip
import io
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tensorflow_files as tff
from memory import bounded_memory
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers.archive import read_archive
from mobilenet_hub.weights.readers.base import Reading
from mobilenet_hub.weights.readers.dataflow import Constant
from mobilenet_hub.weights.readers.keras.graph import with_surroundings
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.functions import read_signature
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.leveldb import snappy_decompress
from mobilenet_hub.weights.readers.tensorflow.match_network import read_network
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import TensorBundle
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite


def teachable_machine_config():
    """The configuration of a model like Teachable Machine's, its layers few; and its variables."""

    def layer(kind, name, inputs=None, **options):
        calls = {"inbound_nodes": [[[inputs, 0, 0, {}]]] if inputs else []}
        return {"class_name": kind, "name": name, "config": {"name": name, **options}, **calls}

    network = [
        layer("InputLayer", "input"),
        layer("ZeroPadding2D", "Conv1_pad", "input"),
        layer("Conv2D", "Conv1", "Conv1_pad", use_bias=False, activation="linear"),
        layer("Conv2D", "Conv_1", "Conv1", use_bias=False),
        layer("BatchNormalization", "Conv_1_bn", "Conv_1", epsilon=0.001),
        layer("ReLU", "out_relu", "Conv_1_bn", max_value=6),
    ]
    backbone = {"name": "mobilenet", "layers": network, "input_layers": [["input", 0, 0]],
                "output_layers": [["out_relu", 0, 0]]}  # fmt: skip
    head = [
        layer("Dense", "dense_1", activation="relu", use_bias=True),
        layer("Dense", "dense_2", activation="softmax", use_bias=False),
    ]
    parts = [
        [{"class_name": "Model", "config": backbone}, layer("GlobalAveragePooling2D", "pool")],
        head,
    ]
    halves = [{"class_name": "Sequential", "config": part} for part in parts]
    config = {"class_name": "Sequential", "config": halves}
    shapes = {"dense_1/kernel": (4, 3), "dense_1/bias": (3,), "dense_2/kernel": (3, 2)}
    arrays = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    return config, {
        name: Constant(array.shape, lambda array=array: array) for name, array in arrays.items()
    }


NET = network("mobilenet_v1", 0.01, 3)  # 8 channels a layer: files of kilobytes
TENSORS = random_weights(NET).tensors

# 3,000 mutations in all. Derandomised: what CI finds, everyone finds.
FUZZ = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PEAK = 40e6  # bytes while reading files of 200 kB

# Numbers that sizes and offsets break at.
EDGES = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63]


@st.composite
def mutations(draw):
    """A function that damages bytes in one to four places."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["flip", "byte", "cut", "insert", "delete", "copy", "number", "varint"]
                ),
                st.integers(0, (1 << 32) - 1),
                st.integers(0, 255),
                st.sampled_from(EDGES),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def apply(data: bytes) -> bytes:
        out = bytearray(data)
        for kind, place, value, edge in steps:
            at = place % (len(out) + 1)
            if kind == "flip" and at < len(out):
                out[at] ^= 1 << value % 8
            elif kind == "byte" and at < len(out):
                out[at] = value
            elif kind == "cut":
                del out[at:]
            elif kind == "insert":
                out[at:at] = bytes([value]) * (1 + value % 5)
            elif kind == "delete":
                del out[at : at + 1 + value % 16]
            elif kind == "copy":
                out[at:at] = out[at : at + value]
            elif kind == "number":
                out[at : at + 4] = (edge & 0xFFFFFFFF).to_bytes(4, "little")
            elif kind == "varint":
                out[at : at + 1] = tff.varint(edge)
        return bytes(out)

    return apply


def survives(reader, path):
    """Either a typed error or float arrays, and no memory to speak of."""
    with bounded_memory(PEAK):
        try:
            reading = reader(path)
        except WeightsError as error:
            assert str(error)
        else:
            for array in reading.tensors.values():
                assert array.dtype == np.float32


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def bundle(folder):
    """The files of a checkpoint: its shard, its index, and that index compressed."""
    tff.write_bundle(folder / "snappy", TENSORS, snappy=True)
    tff.write_bundle(folder / "plain", TENSORS)
    names = ("plain.data-00000-of-00001", "plain.index", "snappy.index")
    return [(folder / name).read_bytes() for name in names]


@FUZZ
@given(mutate=mutations(), which=st.booleans(), snappy=st.booleans())
def test_a_mutated_checkpoint(folder, bundle, mutate, which, snappy):
    shard, index = bundle[0], bundle[1 + snappy]
    (folder / "a.index").write_bytes(mutate(index) if which else index)
    (folder / "a.data-00000-of-00001").write_bytes(shard if which else mutate(shard))
    survives(read_checkpoint, folder / "a")


@FUZZ
@given(mutate=mutations(), target=st.sampled_from(["block", "entry", "header", "index", "key"]))
def test_a_checkpoint_mutated_behind_its_checksums(folder, bundle, mutate, target):
    entries: dict[bytes, bytes] = {b"": tff.header()}
    offset = 0
    for name, array in sorted(TENSORS.items()):
        crc = tff.masked(array.tobytes())
        entries[name.encode()] = tff.entry(1, array.shape, 0, offset, array.nbytes, crc)
        offset += array.nbytes
    victim = sorted(entries)[17]
    if target == "entry":
        entries[victim] = mutate(entries[victim])
    elif target == "header":
        entries[b""] = mutate(entries[b""])
    elif target == "key":
        entries[mutate(victim)] = entries.pop(victim)
    table = tff.table(entries)
    if target == "block":
        table = tff.table_of_blocks([mutate(tff.block(sorted(entries.items())))])
    elif target == "index":
        content = tff.block(sorted(entries.items()))
        index = mutate(tff.block([(b"z", tff.varint(0) + tff.varint(len(content)))], 1))
        sealed = tff.table_of_blocks([content, index])
        handles = tff.varint(0) * 2 + tff.varint(len(content) + 5) + tff.varint(len(index))
        table = sealed[:-48] + handles.ljust(40, b"\0") + sealed[-8:]
    (folder / "b.index").write_bytes(table)
    (folder / "b.data-00000-of-00001").write_bytes(bundle[0])
    survives(read_checkpoint, folder / "b")


@FUZZ
@given(mutate=mutations())
def test_a_saved_model_with_a_mutated_object_graph(folder, mutate):
    keys = {name: f"variables/{i}" for i, name in enumerate(TENSORS)}
    tensors = {keys[name]: array for name, array in TENSORS.items()}
    graph = mutate(tff.object_graph(keys))
    root = folder / "saved"
    bundle = tensors | {"_CHECKPOINTABLE_OBJECT_GRAPH": graph}
    tff.write_bundle(root / "variables" / "variables", bundle)
    (root / "saved_model.pb").write_bytes(b"")
    survives(read_saved_model, root)


GRAPHS = [
    tff.graph_def(tff.frozen_network(NET, TENSORS, batch_norm=style))
    for style in ("fused", "unfused")
]
# Most bytes of a graph are numbers: the structure is reached node by node.
NODES = tff.frozen_network(NET, TENSORS, batch_norm="unfused")


@FUZZ
@given(mutate=mutations(), which=st.integers(0, 1))
def test_a_mutated_frozen_graph(folder, mutate, which):
    (folder / "x.pb").write_bytes(mutate(GRAPHS[which]))
    survives(read_frozen_graph, folder / "x.pb")


@FUZZ
@given(mutate=mutations(), at=st.integers(0, len(NODES) - 1), other=st.integers(0, len(NODES) - 1))
def test_a_frozen_graph_with_a_mutated_node(folder, mutate, at, other):
    nodes = list(NODES)
    nodes[at] = mutate(nodes[at])
    nodes[other] = nodes[at] if other % 5 == 0 else nodes[other]
    (folder / "y.pb").write_bytes(tff.graph_def(nodes))
    survives(read_frozen_graph, folder / "y.pb")


TFLITE = tff.tflite_network(NET, TENSORS)


@FUZZ
@given(mutate=mutations())
def test_a_mutated_tflite_file(folder, mutate):
    (folder / "x.tflite").write_bytes(mutate(TFLITE))
    survives(read_tflite, folder / "x.tflite")


@FUZZ
@given(mutate=mutations(), zipped=st.booleans(), header=st.integers(0, 20), inside=st.booleans())
def test_a_mutated_archive(folder, bundle, mutate, zipped, header, inside):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (
            ("é/x.ckpt.index", bundle[1]),
            ("é/x.ckpt.data-00000-of-00001", bundle[0]),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = content.getvalue()
    if inside:  # one header block, with its checksum made right again
        at = [i for i in range(0, len(data), 512) if data[i + 257 : i + 262] == b"ustar"]
        at = at[header % len(at)]
        block = bytearray(mutate(data[at : at + 512])[:512].ljust(512, b"\0"))
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        data = data[:at] + bytes(block) + data[at + 512 :]
    else:
        data = mutate(data)
    data = gzip.compress(data, 1) if zipped else data
    (folder / "x.tgz").write_bytes(mutate(data) if zipped and not inside and header == 0 else data)
    survives(read_archive, folder / "x.tgz")


@pytest.mark.slow
@FUZZ
@given(mutate=mutations(), at=st.integers(0, len(NODES) - 1))
def test_a_saved_model_with_a_mutated_function(folder, bundle, mutate, at):
    nodes = [*NODES[:at], mutate(NODES[at]), *NODES[at + 1 :]]
    path = folder / "function.pb"
    path.write_bytes(tff.saved_function(nodes, "input", "probabilities"))
    variables = TensorBundle(folder / "plain")

    def read(path):
        return read_network(read_signature(path, variables), "SavedModel", None)

    survives(read, path)


def test_the_function_that_is_mutated_is_read_when_it_is_sound(tmp_path):
    tff.write_bundle(tmp_path / "variables", dict(TENSORS))
    data = tff.saved_function(NODES, "input", "probabilities")
    (tmp_path / "saved_model.pb").write_bytes(data)
    graph = read_signature(tmp_path / "saved_model.pb", TensorBundle(tmp_path / "variables"))
    reading = read_network(graph, "SavedModel", None)
    assert reading.activation == "softmax"
    assert sorted(reading.tensors) == sorted(TENSORS)


CONFIG, VARIABLES = teachable_machine_config()
BACKBONE = Reading({"MobilenetV2/Conv_1/weights": np.zeros((1, 1, 2, 4), np.float32)}, "x")
JSON = [None, 0, -1, 1.5, float("nan"), "", "x", "relu", "Dense", "KerasLayer", [], {}, [[]], True,
        ["a", 0, 0], [["Conv1", 0, 0]], {"config": []}]  # fmt: skip


@FUZZ
@given(
    changes=st.lists(
        st.tuples(st.lists(st.integers(0, 40), max_size=12), st.sampled_from(JSON)), min_size=1,
        max_size=4,
    )
)  # fmt: skip
def test_a_keras_model_with_a_mutated_configuration(changes):
    config = copy.deepcopy(CONFIG)
    for path, value in changes:
        node = config
        for number in path:
            keys = range(len(node)) if isinstance(node, list) else list(node)
            if not keys:
                break
            key = keys[number % len(keys)]
            if not isinstance(node[key], list | dict):
                node[key] = value
                break
            node = node[key]
        else:
            if isinstance(node, list) and node:
                node[0] = value
    try:
        reading = with_surroundings(BACKBONE, config, VARIABLES, "x")
    except WeightsError as error:
        assert str(error)
        return
    assert reading is None or isinstance(reading, Reading)


def test_the_configuration_that_is_mutated_is_read_when_it_is_sound():
    reading = with_surroundings(BACKBONE, CONFIG, VARIABLES, "x")
    assert reading.unread is None and reading.crop == "cover"
    assert {name for name in reading.tensors if "Logits" in name} == {
        f"MobilenetV2/Logits/{layer}/{variable}"
        for layer in ("Hidden", "Conv2d_1c_1x1")
        for variable in ("weights", "biases")
    }


@FUZZ
@given(data=st.binary(max_size=200))
def test_arbitrary_snappy_data(data):
    try:
        snappy_decompress(data, "x")
    except WeightsError as error:
        assert str(error)
