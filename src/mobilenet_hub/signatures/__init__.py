"""What a module promises, however it is computed: signatures, tensor infos, the words of errors."""

from mobilenet_hub.signatures.keras_layer import (
    LayerCall,
    check_handle,
    check_output_shape,
    network_config,
    resolve_config,
)
from mobilenet_hub.signatures.loaded import BaseLoaded, ExportsWeights
from mobilenet_hub.signatures.module import (
    BaseModule,
    Signatures,
    checked_momentum,
    checked_tags,
    split_inputs,
)
from mobilenet_hub.signatures.tensor_info import Shape, TensorInfo

__all__ = [
    "BaseLoaded",
    "BaseModule",
    "ExportsWeights",
    "LayerCall",
    "Shape",
    "Signatures",
    "TensorInfo",
    "check_handle",
    "check_output_shape",
    "checked_momentum",
    "checked_tags",
    "network_config",
    "resolve_config",
    "split_inputs",
]
