"""Writers of TensorFlow's file formats, as small as can be, so that tests need no TensorFlow.

They write what the readers must read and, being ours, also what no sound program would write. That
they speak the real formats is tested against TensorFlow itself in `test_real_tensorflow.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

from mobilenet_hub.networks import Network

# Protobuf ---------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def proto(*fields: tuple[int, int | float | bytes | str]) -> bytes:
    """A message from (number, value): int as varint, float as four bytes, bytes as they are."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        elif isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def fixed32(number: int, value: int) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<I", value)


def shape_proto(shape: Iterable[int]) -> bytes:
    return proto(*((2, proto((1, size))) for size in shape))


# Checkpoints ------------------------------------------------------------------------------------


def masked(data: bytes) -> int:
    crc = google_crc32c.value(bytes(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries: Iterable[tuple[bytes, bytes]], restart_interval: int = 16) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % restart_interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(
    entries: Mapping[bytes, bytes], *, block_entries: int = 40, snappy: bool = False
) -> bytes:
    items = sorted(entries.items())
    blocks = [block(items[i : i + block_entries]) for i in range(0, len(items), block_entries)]
    keys = [items[i : i + block_entries][-1][0] for i in range(0, len(items), block_entries)]
    return table_of_blocks(blocks, keys, snappy=snappy)


def table_of_blocks(
    blocks: Sequence[bytes], keys: Sequence[bytes] | None = None, *, snappy: bool = False
) -> bytes:
    out = bytearray()

    def append(content: bytes) -> bytes:
        if snappy:
            import pyarrow

            content = pyarrow.Codec("snappy").compress(content, asbytes=True)
        handle = varint(len(out)) + varint(len(content))
        content += bytes([int(snappy)])
        out.extend(content + struct.pack("<I", masked(content)))
        return handle

    keys = keys or [b"%06d" % i for i in range(len(blocks))]
    index = [(key, append(content)) for key, content in zip(keys, blocks, strict=True)]
    meta_handle = append(block([]))
    index_handle = append(block(index, 1))
    footer = (meta_handle + index_handle).ljust(40, b"\0")
    return bytes(out) + footer + struct.pack("<Q", 0xDB4775248B80FB57)


DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19, "uint16": 14}


def entry(dtype: int, shape: Iterable[int], shard: int, offset: int, size: int, crc: int) -> bytes:
    fields = [(1, dtype), (2, shape_proto(shape)), (3, shard), (4, offset), (5, size)]
    return proto(*(pair for pair in fields if pair[1] or pair[0] < 3)) + fixed32(6, crc)


def header(num_shards: int = 1, *, big_endian: bool = False, min_consumer: int = 0) -> bytes:
    version = proto((1, 1), (2, min_consumer))
    return proto((1, num_shards), (2, int(big_endian)), (3, version))


def write_bundle(
    prefix: Path,
    tensors: Mapping[str, np.ndarray | bytes],
    *,
    shards: int = 1,
    snappy: bool = False,
    changes: Mapping[str, bytes] | None = None,
) -> Path:
    """A checkpoint; strings as bytes, bfloat16 as its bits in uint16. `changes` go to the index."""
    data = [bytearray() for _ in range(shards)]
    index: dict[bytes, bytes] = {b"": header(shards)}
    for number, (name, tensor) in enumerate(sorted(tensors.items())):
        shard = number % shards
        if isinstance(tensor, bytes):
            length = struct.pack("<I", len(tensor))
            checksum = struct.pack("<I", masked(length))
            stored, crc = (
                varint(len(tensor)) + checksum + tensor,
                masked(length + checksum + tensor),
            )
            dtype, shape = 7, ()
        else:
            stored = np.ascontiguousarray(tensor).tobytes()
            crc, dtype, shape = masked(stored), DTYPES[tensor.dtype.name], tensor.shape
        index[name.encode()] = entry(dtype, shape, shard, len(data[shard]), len(stored), crc)
        data[shard] += stored
    for name, value in (changes or {}).items():
        index[name.encode()] = value
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.index").write_bytes(table(index, snappy=snappy))
    for shard, content in enumerate(data):
        Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    return prefix


def object_graph(names: Mapping[str, str]) -> bytes:
    """A TrackableObjectGraph: variable name to key in the checkpoint."""
    root = proto(*((1, proto((1, i + 1), (2, f"v{i}"))) for i in range(len(names))))
    nodes = [
        proto((2, proto((1, "VARIABLE_VALUE"), (2, name), (3, key)))) for name, key in names.items()
    ]
    return proto((1, root), *((1, node) for node in nodes))


# Frozen graphs ----------------------------------------------------------------------------------


def attribute(key: str, value: bytes) -> tuple[int, bytes]:
    return 5, proto((1, key), (2, value))


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> bytes:
    pairs = [attribute(key, value) for key, value in attributes.items()]
    return proto((1, name), (2, op), *((3, i) for i in inputs), *pairs)


def const(name: str, array: np.ndarray) -> bytes:
    array = np.asarray(array)
    tensor = proto(
        (1, DTYPES[array.dtype.name]), (2, shape_proto(array.shape)), (4, array.tobytes())
    )
    return node(name, "Const", dtype=proto((6, 1)), value=proto((8, tensor)))


def graph_def(nodes: Iterable[bytes]) -> bytes:
    return proto(*((1, each) for each in nodes))


def frozen_network(
    network: Network,
    tensors: Mapping[str, np.ndarray],
    *,
    batch_norm: str = "fused",
    image: Sequence[bytes] = (),
    image_name: str = "input",
    epsilon: float = 0.001,
    names: bool = True,
    padding: str = "SAME",
) -> list[bytes]:
    """The nodes of a network as TensorFlow freezes it.

    Args:
        batch_norm: `fused`, `unfused` (written out), `scaled` (written out, then constant folded),
            `bias` (folded into the kernels: `tensors` then hold zero means and unit variances).
        image: nodes before the first convolution, the last of them called `image_name`.
        names: False: no name tells anything.
    """
    nodes, counter = [*image] or [node("input", "Placeholder")], 0

    def name(text: str) -> str:
        nonlocal counter
        counter += 1
        return text if names else f"n{counter}"

    def add(text: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> str:
        unique = name(text)
        nodes.append(node(unique, op, inputs, **attributes))
        return unique

    def add_const(text: str, array: np.ndarray) -> str:
        unique = name(text)
        nodes.append(const(unique, np.asarray(array)))
        return add(f"{text}/read", "Identity", [unique])

    def convolution(layer, value):
        scope = f"{network.scope}/{layer.scope}"
        kernel = add_const(layer.weights_name, tensors[layer.weights_name])
        op = "DepthwiseConv2dNative" if layer.kind == "depthwise" else "Conv2D"
        strides = b"".join(map(varint, (1, layer.stride, layer.stride, 1)))
        return scope, add(
            f"{scope}/convolution", op, [value, kernel],
            strides=proto((1, proto((3, strides)))), padding=proto((2, padding)),
            data_format=proto((2, "NHWC")),
        )  # fmt: skip

    def statistics(layer):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return [tensors[layer.batch_norm_name(each)] for each in names]

    def normalise(layer, scope, value):
        gamma, beta, mean, variance = statistics(layer)
        if batch_norm == "bias":
            return add(f"{scope}/bias", "BiasAdd", [value, add_const(f"{scope}/b", beta)])
        if batch_norm == "scaled":
            scaled = add(f"{scope}/mul", "Mul", [value, add_const(f"{scope}/scale", gamma)])
            return add(f"{scope}/add", "AddV2", [scaled, add_const(f"{scope}/shift", beta)])
        inputs = [
            add_const(layer.batch_norm_name(each), array)
            for each, array in zip(
                ("gamma", "beta", "moving_mean", "moving_variance"),
                (gamma, beta, mean, variance), strict=True,
            )
        ]  # fmt: skip
        if batch_norm == "fused":
            return add(
                f"{scope}/BatchNorm/FusedBatchNorm", "FusedBatchNormV3", [value, *inputs],
                epsilon=proto((4, epsilon)), is_training=proto((5, 0)),
            )  # fmt: skip
        eps = add_const(f"{scope}/eps", np.float32(epsilon))
        rsqrt = add(f"{scope}/rsqrt", "Rsqrt", [add(f"{scope}/v", "Add", [inputs[3], eps])])
        scale = add(f"{scope}/m", "Mul", [rsqrt, inputs[0]])
        product = add(f"{scope}/m2", "Mul", [inputs[2], scale])
        shift = add(f"{scope}/sub", "Sub", [inputs[1], product])
        return add(f"{scope}/a1", "Add", [add(f"{scope}/m1", "Mul", [value, scale]), shift])

    value, outputs = image_name, {}
    for layer in network.convolutions:
        scope, value = convolution(layer, value)
        value = normalise(layer, scope, value)
        if layer.activation:
            value = add(f"{scope}/Relu6", "Relu6", [value])
        if layer.residual:
            value = add(f"{scope}/sum", "Add", [value, outputs[layer.residual]])
        outputs[layer.scope] = value
    if network.logits.weights_name in tensors:
        pool = add("pool", "Mean", [value, add_const("axes", np.array([1, 2], np.int32))])
        scope, value = convolution(network.logits, pool)
        bias = add_const("biases", tensors[f"{network.logits.scope}/biases"])
        value = add("logits", "BiasAdd", [value, bias])
        add("probabilities", "Softmax", [add("squeeze", "Squeeze", [value])])
    return nodes


def saved_function(nodes: Iterable[bytes], argument: str, returned: str) -> bytes:
    """A `saved_model.pb` whose signature calls a function that has these nodes."""
    signature = proto((1, "run"), (2, proto((1, argument))), (3, proto((1, "y"))))
    ret = proto((1, "y"), (2, f"{returned}:0"))
    function = proto((1, signature), *((3, each) for each in nodes), (4, ret))
    call = node("call", "StatefulPartitionedCall", ["x"], f=proto((10, proto((1, "run")))))
    graph = proto((1, node("x", "Placeholder")), (1, call), (2, proto((1, function))))
    outputs = proto((1, "y"), (2, proto((1, "call:0"))))
    serving = proto((1, "serving_default"), (2, proto((2, outputs))))
    meta = proto((1, proto((4, "serve"))), (2, graph), (5, serving))
    return proto((1, 1), (2, meta))


# TFLite -----------------------------------------------------------------------------------------


class Table(dict):
    """A flatbuffer table: field index to int (four bytes), bytes, list of int, table, or tables."""


def flatbuffer(root: Table, identifier: bytes = b"TFL3") -> bytes:
    """Every field takes four bytes, which also serves for those of one byte.

    A table that is listed several times in one vector is written once.
    """
    out = bytearray(8)
    out[4:8] = identifier
    written: dict[int, int] = {}

    def write(value) -> int:
        if id(value) in written:
            return written[id(value)]
        out.extend(b"\0" * (-len(out) % 4))
        if isinstance(value, bytes):
            position = len(out)
            out.extend(struct.pack("<I", len(value)) + value)
            return position
        if isinstance(value, Table):
            size = 4 + 2 * (max(value, default=-1) + 1)
            vtable, slots = len(out), [0] * (max(value, default=-1) + 1)
            for place, index in enumerate(value):
                slots[index] = 4 + 4 * place
            out.extend(struct.pack(f"<HH{len(slots)}H", size, 4 + 4 * len(value), *slots))
            out.extend(b"\0" * (-len(out) % 4))
            position = written[id(value)] = len(out)
            out.extend(struct.pack("<i", position - vtable) + b"\0" * 4 * len(value))
            for place, item in enumerate(value.values()):
                at = position + 4 + 4 * place
                out[at : at + 4] = struct.pack(
                    "<i", item if isinstance(item, int) else write(item) - at
                )
            return position
        position = len(out)
        out.extend(struct.pack("<I", len(value)))
        if all(isinstance(item, int) for item in value):
            out.extend(struct.pack(f"<{len(value)}i", *value))
            return position
        out.extend(b"\0" * 4 * len(value))
        for place, item in enumerate(value):
            at = position + 4 + 4 * place
            out[at : at + 4] = struct.pack("<I", write(item) - at)
        return position

    out[:4] = struct.pack("<I", write(root))
    return bytes(out)


def tflite_network(
    network: Network,
    tensors: Mapping[str, np.ndarray],
    *,
    dtype: str = "float32",
    dense: bool = False,
    activation: int = 0,
) -> bytes:
    """A network as TFLite holds it: batch norm folded into a bias, ReLU6 fused. gamma, mean and
    variance are ignored. `dtype` is that of the kernels: float16 goes through DEQUANTIZE.
    `dense` has the logits as a matrix product with that activation, as Keras' V2 has them."""
    buffers, all_tensors, operators = [Table({0: b""})], [], []
    codes = {
        0: 0,
        3: 1,
        4: 2,
        6: 3,
        40: 4,
        25: 5,
        9: 6,
    }  # ADD, CONV, DEPTHWISE, DEQUANTIZE, MEAN, SOFTMAX, FULLY_CONNECTED
    types = {"float32": 0, "float16": 1, "int8": 9}

    def tensor(array: np.ndarray | None = None) -> int:
        buffer = 0
        if array is not None:
            buffers.append(Table({0: array.tobytes()}))
            buffer = len(buffers) - 1
        kind = types[array.dtype.name] if array is not None else 0
        all_tensors.append(
            Table({0: list(array.shape) if array is not None else [], 1: kind, 2: buffer})
        )
        return len(all_tensors) - 1

    def operator(code: int, inputs: list[int], options: Table) -> int:
        output = tensor()
        operators.append(Table({0: codes[code], 1: inputs, 2: [output], 4: options}))
        return output

    def convolution(layer, value: int, bias: np.ndarray) -> int:
        depthwise = layer.kind == "depthwise"
        order = (3, 0, 1, 2)
        kernel = np.ascontiguousarray(tensors[layer.weights_name].transpose(order)).astype(dtype)
        index = tensor(kernel)
        if dtype == "float16":
            index = operator(6, [index], Table())
        code, activation = (4, 4) if depthwise else (3, 3)
        options = Table(
            {0: 0, 1: layer.stride, 2: layer.stride, activation: 3 if layer.activation else 0}
        )
        return operator(code, [value, index, tensor(bias)], options)

    value, outputs = tensor(), {}
    for layer in network.convolutions:
        value = convolution(layer, value, tensors[layer.batch_norm_name("beta")])
        if layer.residual:
            value = operator(0, [value, outputs[layer.residual]], Table())
        outputs[layer.scope] = value
    if network.logits.weights_name in tensors:
        value = operator(40, [value], Table())
        biases = tensors[f"{network.logits.scope}/biases"]
        if dense:
            matrix = np.ascontiguousarray(tensors[network.logits.weights_name][0, 0].T)
            inputs = [value, tensor(matrix), tensor(biases)]
            value = operator(9, inputs, Table({0: activation}))
        else:
            value = convolution(network.logits, value, biases)
        operator(25, [value], Table())
    subgraph = Table({0: all_tensors, 3: operators})
    return flatbuffer(
        Table({1: [Table({0: code, 3: code}) for code in codes], 2: [subgraph], 4: buffers})
    )
