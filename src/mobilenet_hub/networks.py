"""MobileNet V1 and V2, whole, as data.

The two tables below are the architectures; `mobilenet_v1` and `mobilenet_v2` expand one of them by
a depth multiplier into a `Network`, an immutable sequence of layers. Everything else in this
library (weight names and shapes, the inference graph, the Keras model, parameter and multiply-add
counts, endpoint names) is derived from a `Network` and from nothing else.

Sources: Howard et al., "MobileNets", arXiv 1704.04861, table 1, and TF-Slim
`nets/mobilenet_v1.py`; Sandler et al., "MobileNetV2", arXiv 1801.04381, table 2, and TF-Slim
`nets/mobilenet/mobilenet_v2.py` with `nets/mobilenet/conv_blocks.py`. Names, roundings and
endpoints are TF-Slim's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Literal

BATCH_NORM_EPSILON = 0.001
NUM_CLASSES = 1001  # ImageNet's 1000 after "background", which is index 0.
WEIGHT_DECAY = 4e-5  # L2 on every convolution but the depthwise ones (TF-Slim's arg scopes).

# MobileNet V1: (stride, channels). The first is a full 3×3 convolution; every other a depthwise
# 3×3 of that stride followed by a pointwise 1×1 to that many channels.
V1_LAYERS = (
    (2, 32),
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    *((1, 512),) * 5,
    (2, 1024),
    (1, 1024),
)

# MobileNet V2: a 3×3 convolution to 32 channels with stride 2, then these inverted residual blocks
# (expansion, channels, repeats, stride of the first), then a 1×1 convolution to 1280.
V2_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
V2_STEM, V2_LAST = 32, 1280

Family = Literal["mobilenet_v1", "mobilenet_v2"]

# TF-Slim's root variable scopes.
ROOTS: dict[Family, str] = {"mobilenet_v1": "MobilenetV1", "mobilenet_v2": "MobilenetV2"}

# TF-Slim's dropout on the pooled features, before the logits, in training.
DROPOUT_RATES: dict[Family, float] = {"mobilenet_v1": 1 - 0.999, "mobilenet_v2": 1 - 0.8}
Kind = Literal["conv", "depthwise", "hidden", "logits"]
Activation = Literal["relu6", "relu"]  # whose mathematics are in `graph` and in `keras.ops`

INPUT_RANGE = (-1.0, 1.0)  # what black and white become for the published networks


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution and what follows: batch norm (for logits, a bias), activation, residual.

    Attributes:
        scope: TF-Slim variable scope, for example `MobilenetV2/expanded_conv_3/depthwise`.
        kind: `conv` (full), `depthwise` (multiplier 1), `hidden` (1×1 with bias on the pooled
            features: no batch norm), or `logits` (the same, without activation).
        kernel, stride: of the square window; padding is SAME, computed from the actual input size.
        in_channels, out_channels: equal for `depthwise`.
        activation: what follows the batch norm; None: nothing (V2's projections are linear).
        residual: scope of the layer whose output is added to this one's, with nothing after.
        endpoints: TF-Slim endpoint names of the final value (after the addition), without the
            `MobilenetV1/` or `MobilenetV2/` prefix of the modules.
    """

    scope: str
    kind: Kind
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    activation: Activation | None
    residual: str | None
    endpoints: tuple[str, ...]

    @property
    def weights_name(self) -> str:
        """Name of the kernel variable."""
        return f"{self.scope}/{'depthwise_weights' if self.kind == 'depthwise' else 'weights'}"

    @property
    def weights_shape(self) -> tuple[int, int, int, int]:
        """Shape of the kernel variable: HWIO, or HWI1 for a depthwise convolution."""
        last = 1 if self.kind == "depthwise" else self.out_channels
        return (self.kernel, self.kernel, self.in_channels, last)

    @property
    def batch_norm(self) -> bool:
        """Whether batch normalisation follows (else a bias)."""
        return self.kind in ("conv", "depthwise")

    def batch_norm_name(self, statistic: str) -> str:
        """Variable name of `gamma`, `beta`, `moving_mean` or `moving_variance`."""
        return f"{self.scope}/BatchNorm/{statistic}"

    @property
    def variables(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the trainable variables, then of the moving statistics."""
        shapes: dict[str, tuple[int, ...]] = {self.weights_name: self.weights_shape}
        if not self.batch_norm:
            return shapes | {f"{self.scope}/biases": (self.out_channels,)}
        return shapes | {
            self.batch_norm_name(statistic): (self.out_channels,)
            for statistic in ("gamma", "beta", "moving_mean", "moving_variance")
        }


@dataclass(frozen=True)
class Network:
    """A MobileNet of one depth multiplier: the layers in order, the logits last.

    The global average pool of the last convolution is the feature vector. From there to the logits
    a classifier may have a hidden layer, which the published ones have not.

    Attributes:
        family, depth_multiplier: which MobileNet.
        layers: in order.
        input_range: the values that black and white pixels have for the first convolution.
    """

    family: Family
    depth_multiplier: float
    layers: tuple[Layer, ...]
    input_range: tuple[float, float] = INPUT_RANGE

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the fields: what is derived from them is derived again."""
        return (Network, (self.family, self.depth_multiplier, self.layers, self.input_range))

    @property
    def scope(self) -> str:
        """Root variable scope: `MobilenetV1` or `MobilenetV2`."""
        return ROOTS[self.family]

    @cached_property
    def convolutions(self) -> tuple[Layer, ...]:
        """All layers but the hidden one and the logits."""
        return tuple(layer for layer in self.layers if layer.batch_norm)

    @property
    def hidden(self) -> Layer | None:
        """The dense layer between features and logits, where there is one."""
        return next((layer for layer in self.layers if layer.kind == "hidden"), None)

    @property
    def logits(self) -> Layer:
        """The classification layer."""
        return self.layers[-1]

    @property
    def num_features(self) -> int:
        """Size of the feature vector."""
        return self.convolutions[-1].out_channels

    @property
    def head(self) -> tuple[Layer, ...]:
        """The layers on the pooled features: the hidden one, where there is one, and the logits."""
        return tuple(layer for layer in self.layers if not layer.batch_norm)

    @property
    def num_classes(self) -> int:
        """Number of logits, background included."""
        return self.logits.out_channels

    def variables(self, *, logits: bool) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all variables, moving statistics included, in network order."""
        layers = self.layers if logits else self.convolutions
        return {name: shape for layer in layers for name, shape in layer.variables.items()}

    def num_parameters(self, *, logits: bool) -> int:
        """Trainable parameters: kernels, biases, gamma and beta; not the moving statistics."""
        layers = self.layers if logits else self.convolutions
        return sum(
            layer.kernel**2 * layer.in_channels * layer.weights_shape[3]
            + (2 if layer.batch_norm else 1) * layer.out_channels
            for layer in layers
        )

    def multiply_adds(self, height: int, width: int, *, logits: bool = True) -> int:
        """Multiply-adds of the convolutions for one image, as the papers count them."""
        total = 0
        for layer, (rows, columns) in self._output_sizes(height, width):
            if not (layer.batch_norm or logits):
                continue
            kernel_rows, kernel_columns, in_channels, out_channels = layer.weights_shape
            total += rows * columns * kernel_rows * kernel_columns * in_channels * out_channels
        return total

    @cached_property
    def endpoints(self) -> Mapping[str, Layer]:
        """TF-Slim endpoint name (unprefixed) to the layer whose value it is, in network order."""
        named = {name: layer for layer in self.convolutions for name in layer.endpoints}
        return MappingProxyType(named)

    def endpoint_shapes(self, height: int, width: int) -> dict[str, tuple[int, int, int]]:
        """Height, width and channels of every endpoint for an input of that size."""
        return {
            name: (rows, columns, layer.out_channels)
            for layer, (rows, columns) in self._output_sizes(height, width)
            for name in layer.endpoints
        }

    def _output_sizes(self, height: int, width: int) -> Iterator[tuple[Layer, tuple[int, int]]]:
        for layer in self.convolutions:
            height, width = -(-height // layer.stride), -(-width // layer.stride)  # SAME: ceil
            yield layer, (height, width)
        yield from ((layer, (1, 1)) for layer in self.head)


@lru_cache
def network(
    family: Family,
    depth_multiplier: float,
    num_classes: int = NUM_CLASSES,
    *,
    hidden_units: int | None = None,
    input_range: tuple[float, float] = INPUT_RANGE,
) -> Network:
    """The network of a family at a depth multiplier (any positive value; Google used 0.25 to 1.4).

    Args:
        family: V1 or V2.
        depth_multiplier: of the numbers of channels.
        num_classes: number of logits.
        hidden_units: of a dense layer with ReLU between features and logits; None for none.
        input_range: the values of black and white pixels for the first convolution.

    Raises:
        ValueError: for an unknown family or a depth multiplier that is not positive.
    """
    if not depth_multiplier > 0:
        raise ValueError(f"depth_multiplier must be positive. Received: {depth_multiplier!r}")
    if family == "mobilenet_v1":
        layers = list(_v1_layers(depth_multiplier))
    elif family == "mobilenet_v2":
        layers = list(_v2_layers(depth_multiplier))
    else:
        raise ValueError(f"family must be mobilenet_v1 or mobilenet_v2. Received: {family!r}")
    scope = layers[0].scope.split("/")[0]
    if hidden_units is not None:
        layers.append(Layer(
            f"{scope}/Logits/Hidden", "hidden", 1, 1, layers[-1].out_channels, hidden_units,
            activation="relu", residual=None, endpoints=(),
        ))  # fmt: skip
    logits = Layer(
        f"{scope}/Logits/Conv2d_1c_1x1", "logits", 1, 1, layers[-1].out_channels, num_classes,
        activation=None, residual=None, endpoints=(),
    )  # fmt: skip
    return Network(family, depth_multiplier, (*layers, logits), input_range)


def _v1_layers(multiplier: float) -> Iterator[Layer]:
    channels = 3
    for index, (stride, base) in enumerate(V1_LAYERS):
        out = max(int(base * multiplier), 8)  # TF-Slim's `depth`, min_depth 8: no rounding
        if index == 0:
            yield _conv("MobilenetV1", "Conv2d_0", 3, stride, channels, out)
        else:
            yield _conv("MobilenetV1", f"Conv2d_{index}_depthwise", 3, stride, channels, channels)
            yield _conv("MobilenetV1", f"Conv2d_{index}_pointwise", 1, 1, channels, out)
        channels = out


def _conv(
    root: str, name: str, kernel: int, stride: int, in_channels: int, out_channels: int
) -> Layer:
    kind: Kind = "depthwise" if name.endswith("depthwise") else "conv"
    return Layer(
        f"{root}/{name}", kind, kernel, stride, in_channels, out_channels,
        activation="relu6", residual=None, endpoints=(name,),
    )  # fmt: skip


def _divisible(value: float, divisor: int = 8) -> int:
    """TF-Slim's `_make_divisible`: to the nearest multiple, never below 90 % of the value."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _v2_layers(multiplier: float) -> Iterator[Layer]:
    """Expand `V2_BLOCKS`; TF-Slim counts its endpoints from `layer_1`, its scopes from nothing."""
    channels = _divisible(V2_STEM * multiplier)
    yield Layer(
        "MobilenetV2/Conv", "conv", 3, 2, 3, channels,
        activation="relu6", residual=None, endpoints=("layer_1",),
    )  # fmt: skip
    previous, block = "MobilenetV2/Conv", 0
    for expansion, base, repeats, first_stride in V2_BLOCKS:
        for repeat in range(repeats):
            scope = f"MobilenetV2/expanded_conv{f'_{block}' if block else ''}"
            yield from _inverted_residual(
                scope,
                endpoint=f"layer_{block + 2}",
                channels=channels,
                expansion=expansion,
                out_channels=(out := _divisible(base * multiplier)),
                stride=first_stride if repeat == 0 else 1,
                previous=previous,
            )
            channels, previous, block = out, f"{scope}/project", block + 1
    last = _divisible(V2_LAST * multiplier) if multiplier > 1 else V2_LAST
    yield Layer(
        "MobilenetV2/Conv_1", "conv", 1, 1, channels, last,
        activation="relu6", residual=None, endpoints=(f"layer_{block + 2}",),
    )  # fmt: skip


def _inverted_residual(
    scope: str,
    *,
    endpoint: str,
    channels: int,
    expansion: int,
    out_channels: int,
    stride: int,
    previous: str,
) -> Iterator[Layer]:
    inner = channels
    if expansion > 1:  # the first block's depthwise works on its input as it is
        inner = _divisible(channels * expansion)
        yield Layer(
            f"{scope}/expand", "conv", 1, 1, channels, inner,
            activation="relu6", residual=None, endpoints=(f"{endpoint}/expansion_output",),
        )  # fmt: skip
    yield Layer(
        f"{scope}/depthwise", "depthwise", 3, stride, inner, inner,
        activation="relu6", residual=None, endpoints=(f"{endpoint}/depthwise_output",),
    )  # fmt: skip
    residual = previous if stride == 1 and channels == out_channels else None
    yield Layer(
        f"{scope}/project", "conv", 1, 1, inner, out_channels,
        activation=None, residual=residual, endpoints=(endpoint, f"{endpoint}/output"),
    )  # fmt: skip
