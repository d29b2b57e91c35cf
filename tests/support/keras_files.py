"""Writers of Keras' and TensorFlow.js' file formats, so that most tests need neither.

That they speak the real formats is tested against Keras itself in `keras/test_files.py`.
"""

from __future__ import annotations

import json

import numpy as np

from mobilenet_hub.weights.background import BACKGROUND_BIAS
from mobilenet_hub.weights.random_weights import random_weights


def keras_layers(net):
    """What keras.applications has: (layer name, {variable: TF-Slim name}), in its order.

    Written from keras/applications/mobilenet.py and mobilenet_v2.py, not from the reader.
    """
    result = []
    for index, layer in enumerate(net.convolutions):
        if net.family == "mobilenet_v1":
            number, pointwise = divmod(index + 1, 2)
            conv = "conv1" if index == 0 else f"conv_{'pw' if pointwise else 'dw'}_{number}"
            norm = f"{conv}_bn"
        elif index == 0:
            conv, norm = "Conv1", "bn_Conv1"
        elif layer is net.convolutions[-1]:
            conv, norm = "Conv_1", "Conv_1_bn"
        else:
            scope, part = layer.scope.split("/")[1:]
            block = scope.removeprefix("expanded_conv").lstrip("_")
            conv = f"block_{block}_{part}" if block else f"expanded_conv_{part}"
            norm = f"{conv}_BN"
        kernel = "depthwise_kernel" if layer.kind == "depthwise" else "kernel"
        result.append((conv, {kernel: layer.weights_name}))
        statistics = ("gamma", "beta", "moving_mean", "moving_variance")
        result.append((norm, {name: layer.batch_norm_name(name) for name in statistics}))
    scope = net.logits.scope
    head = "conv_preds" if net.family == "mobilenet_v1" else "predictions"
    return [*result, (head, {"kernel": f"{scope}/weights", "bias": f"{scope}/biases"})]


def numbers(net, logits=1000, seed=3):
    """Canonical tensors with 1001 classes, and the same as Keras has them."""
    tensors = dict(random_weights(net, seed=seed).tensors)
    rng = np.random.default_rng(seed)
    for name, value in tensors.items():
        if "BatchNorm" in name:
            tensors[name] = rng.uniform(0.5, 1.5, value.shape).astype(np.float32)
    kernel, biases = f"{net.logits.scope}/weights", f"{net.logits.scope}/biases"
    if logits == 1000:
        tensors[kernel] = tensors[kernel].copy()
        tensors[kernel][..., 0] = 0
        tensors[biases] = rng.standard_normal(1001, np.float32)
        tensors[biases][0] = BACKGROUND_BIAS
    as_keras = dict(tensors)
    if logits == 1000:
        as_keras[kernel] = tensors[kernel][..., 1:]
        as_keras[biases] = tensors[biases][1:]
    if net.family == "mobilenet_v2":
        as_keras[kernel] = as_keras[kernel][0, 0]
    return tensors, as_keras


def write_h5(path, net, tensors, *, whole=False, compression=None, suffix=":0", wrap=""):
    """Legacy HDF5: saved weights, or (`whole`) a saved model, `wrap`ped in another model or not."""
    import h5py

    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        for layer, variables in keras_layers(net):
            for variable, name in variables.items():
                place = f"{wrap}/{layer}/{variable}" if wrap else f"{layer}/{layer}/{variable}"
                root.create_dataset(f"{place}{suffix}", data=tensors[name], compression=compression)
        if whole:
            head = root.create_group("my_own_head")
            head["dense/kernel:0"] = np.ones((4, 4), np.float32)
            file["optimizer_weights/Adam/conv1/kernel/m:0"] = np.ones((4, 4), np.float32)
    return path


def write_keras3(file, net, tensors):
    """The HDF5 file of Keras 3's own formats: layers by class, names as attributes."""
    import h5py

    counts: dict[str, int] = {}
    with h5py.File(file, "w") as h5:
        for layer, variables in keras_layers(net):
            kind = "batch_normalization" if len(variables) == 4 else "conv2d"
            number = counts[kind] = counts.get(kind, -1) + 1
            group = h5.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = layer
            for index, name in enumerate(variables.values()):
                group[str(index)] = tensors[name]
        h5.create_group("vars").attrs["name"] = "mobilenet"


def write_tensorflow_js(folder, tensors, shard=500_000, **entry):
    data = b"".join(array.astype("<f4").tobytes() for array in tensors.values())
    paths = [f"group1-shard{i}.bin" for i in range(-(-len(data) // shard))]
    for index, path in enumerate(paths):
        (folder / path).write_bytes(data[index * shard : (index + 1) * shard])
    weights = [
        {"name": name, "shape": list(array.shape), "dtype": "float32", **entry}
        for name, array in tensors.items()
    ]
    manifest = {"weightsManifest": [{"paths": paths, "weights": weights}], "modelTopology": {}}
    (folder / "model.json").write_text(json.dumps(manifest))
    return manifest


def as_tensorflow_js(net, as_keras):
    return {
        f"{layer}/{variable}": as_keras[name]
        for layer, variables in keras_layers(net)
        for variable, name in variables.items()
    }
