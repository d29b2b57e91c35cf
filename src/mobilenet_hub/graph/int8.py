"""The int8 nodes of a network: the float32 ones between `QuantizeLinear` and `DequantizeLinear`.

Engines recognise a convolution whose inputs were dequantized and whose output is quantized, and
compute it in whole numbers.
"""

from __future__ import annotations

import numpy as np

from mobilenet_hub.graph.float32 import INPUT, Builder, InputDType
from mobilenet_hub.graph.quantize import (
    QuantizedLayer,
    Scale,
    input_scale,
    quantize,
)
from mobilenet_hub.networks import Layer
from mobilenet_hub.weights.calibration import Calibration
from mobilenet_hub.weights.canonical import Weights


class QuantizedBuilder(Builder):
    """Builds the network with convolutions in int8; the last one's values are float32 again."""

    def __init__(self, weights: Weights, calibration: Calibration) -> None:
        super().__init__(weights)
        self._layers = quantize(weights, calibration)
        self._calibration = calibration

    def add_input_scaling(self, input_dtype: InputDType) -> None:
        """`images` to `scaled`: in the network's input range, NCHW; floats are rounded to pixels.

        Dequantized before it is transposed: then OpenVINO runs the first layer in int8 too, and
        transposes nothing. Where the first layers stay float32, so do the pixels.
        """
        if self._calibration.float_layers:
            super().add_input_scaling(input_dtype)
            return
        pixels = INPUT
        if input_dtype == "float32":
            pixels = self._quantize(pixels, "pixels", Scale(1 / 255, 0))
        value = self._dequantize(pixels, "pixel_values", input_scale(self._calibration))
        self.node("Transpose", [value], "scaled", perm=[0, 3, 1, 2])

    def add_convolution(self, layer: Layer, value: str) -> str:
        """One layer: convolution with folded batch norm, activation, residual."""
        scope, numbers = layer.scope, self._layers.get(layer.scope)
        if numbers is None:
            return self._add_float_convolution(layer, value)
        value = self.node_of(layer, [value, *self._parameters(scope, numbers)])
        if numbers.output is None:
            value = self.activated(layer, value)
        else:  # bytes end where the activation does
            value = self._stored(value, scope, numbers.output)
        if layer.residual is not None:
            assert numbers.sum is not None
            value = self.node("Add", [value, self.values[layer.residual]], f"{scope}/add")
            value = self._stored(value, f"{scope}/add", numbers.sum)
        self.values[scope] = value
        return value

    def _add_float_convolution(self, layer: Layer, value: str) -> str:
        """One of the first layers, in float32; what the last of them gives is stored in bytes."""
        value = super().add_convolution(layer, value)
        if layer == self._calibration.last_float_layer:
            value = self._stored(value, layer.scope, input_scale(self._calibration))
            self.values[layer.scope] = value
        return value

    def _parameters(self, scope: str, numbers: QuantizedLayer) -> list[str]:
        """The kernel and the bias of a layer, dequantized."""
        names = []
        for what, whole, steps in (
            ("kernel", numbers.kernel, numbers.kernel_steps),
            ("bias", numbers.bias, numbers.bias_steps),
        ):
            name = f"{scope}/{what}"
            inputs = [
                self.constant(f"{name}/whole", whole),
                self.constant(f"{name}/steps", steps),
                self.constant(f"{name}/zeros", np.zeros(steps.size, whole.dtype)),
            ]
            names.append(self.node("DequantizeLinear", inputs, name, axis=0))
        return names

    def _stored(self, value: str, name: str, scale: Scale) -> str:
        """A value as bytes, and read again."""
        return self._dequantize(
            self._quantize(value, f"{name}/bytes", scale), f"{name}/read", scale
        )

    def _quantize(self, value: str, output: str, scale: Scale) -> str:
        return self.node("QuantizeLinear", [value, *self._scale(output, scale)], output)

    def _dequantize(self, value: str, output: str, scale: Scale) -> str:
        return self.node("DequantizeLinear", [value, *self._scale(output, scale)], output)

    def _scale(self, name: str, scale: Scale) -> list[str]:
        return [
            self.constant(f"{name}/step", np.float32(scale.step)),
            self.constant(f"{name}/zero", np.uint8(scale.zero)),
        ]
