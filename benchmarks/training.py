"""Images a second of a fine-tuning step: this library beside keras.applications and plain torch.

    pip install -e '.[keras]' tensorflow-cpu            # or jax, or torch
    KERAS_BACKEND=tensorflow python benchmarks/training.py
    KERAS_BACKEND=torch python benchmarks/training.py --policy mixed_bfloat16 --batch 64

One step is a batch of MobileNet V2 1.0 at 224×224 with a new classifier of ten classes, everything
trainable: forward in training mode, backward, stochastic gradient descent with momentum, moving
averages. This library's step computes the regularization losses too, which the others do not have.
All take turns, step after step, so that a machine that slows down slows all of them; medians are
reported, and ratios of medians. Where torch is installed and is the backend, a MobileNet V2 in
plain torch, with torch's own training loop, joins them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

import mobilenet_hub as hub
from mobilenet_hub.networks import BATCH_NORM_EPSILON, Layer

HANDLE = "google/imagenet/mobilenet_v2_100_224/feature_vector/5"
CLASSES, RATE, MOMENTUM = 10, 1e-3, 0.9
Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--policy", default="float32", help="Keras dtype policy")
    arguments = parser.parse_args()
    keras.config.set_dtype_policy(arguments.policy)
    shape = (arguments.size, arguments.size, 3)
    generator = np.random.default_rng(0)
    images = generator.random((arguments.batch, *shape), np.float32)
    labels = generator.integers(0, CLASSES, arguments.batch)

    ours = hub.KerasLayer(HANDLE, trainable=True, input_shape=shape)
    theirs = keras.applications.MobileNetV2(
        input_shape=shape, include_top=False, pooling="avg", weights=None
    )
    contestants = {
        "mobilenet-hub": keras_step(ours, images, labels),
        "keras.applications": keras_step(theirs, images, labels),
    }
    if keras.backend.backend() == "torch":
        contestants["plain torch"] = torch_step(images, labels, arguments.policy)
    rates = take_turns(contestants, arguments.steps, arguments.batch)
    print(f"{device()}, Keras {keras.version()} on {keras.backend.backend()}, {arguments.policy}")
    print(f"V2 1.0, {arguments.batch} images of {arguments.size}×{arguments.size} a step\n")
    print("| | images/s | mobilenet-hub is |\n|---|---:|---:|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.1f} | {rates['mobilenet-hub'] / rate:.2f}× |")


def keras_step(backbone: Any, images: Any, labels: Any) -> Step:
    model = keras.Sequential([backbone, keras.layers.Dense(CLASSES, dtype="float32")])
    model.build([None, *images.shape[1:]])
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    if parameters != 2_223_872 + 1281 * CLASSES:
        raise SystemExit(f"{backbone.name} is another network: {parameters:,} parameters")
    model.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return lambda: model.train_on_batch(images, labels)


def torch_step(images: Any, labels: Any, policy: str) -> Step:
    """MobileNet V2 as torch users write it: NCHW, symmetric padding, torch's batch norm."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, layer: Layer) -> None:
            super().__init__()
            groups = layer.in_channels if layer.kind == "depthwise" else 1
            self.conv = nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel, layer.stride,
                layer.kernel // 2, groups=groups, bias=False,
            )  # fmt: skip
            self.norm = nn.BatchNorm2d(layer.out_channels, BATCH_NORM_EPSILON, 0.01)
            self.relu6, self.residual = layer.activation == "relu6", layer.residual
            self.scope = layer.scope

        def forward(self, x: Any, values: dict[str, Any]) -> Any:
            x = self.norm(self.conv(x))
            if self.relu6:
                x = nn.functional.relu6(x)
            if self.residual is not None:
                x = x + values[self.residual]
            values[self.scope] = x
            return x

    class MobileNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            net = hub.find(HANDLE).network
            self.blocks = nn.ModuleList(map(Block, net.convolutions))
            self.head = nn.Linear(net.num_features, CLASSES)

        def forward(self, x: Any) -> Any:
            values: dict[str, Any] = {}
            for block in self.blocks:
                x = block(x, values)
            return self.head(x.mean((2, 3)))

    on = "cuda" if torch.cuda.is_available() else "cpu"
    low = {"mixed_float16": torch.float16, "mixed_bfloat16": torch.bfloat16}.get(policy)
    model = MobileNet().to(on).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    scaler = torch.amp.GradScaler(on, enabled=low is torch.float16)
    loss_function = nn.CrossEntropyLoss()
    nchw = np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def step() -> float:
        x, y = torch.from_numpy(nchw).to(on), torch.from_numpy(labels).to(on)
        optimizer.zero_grad()
        with torch.autocast(on, low, enabled=low is not None):
            loss = loss_function(model(2 * x - 1).float(), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return float(loss.detach())

    return step


def take_turns(contestants: dict[str, Step], steps: int, batch: int) -> dict[str, float]:
    for step in contestants.values():  # compile, allocate
        step()
        step()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(steps):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: batch / statistics.median(times) for name, times in seconds.items()}


def device() -> str:
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name())
    if backend == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return str(jax.devices()[0].device_kind)
    if backend == "tensorflow":
        import tensorflow as tf

        if gpus := tf.config.list_physical_devices("GPU"):
            return str(tf.config.experimental.get_device_details(gpus[0])["device_name"])
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
