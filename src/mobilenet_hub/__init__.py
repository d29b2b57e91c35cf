"""Google's MobileNet V1 and V2 TF-Hub modules, without TensorFlow.

```python
import mobilenet_hub as hub
module = hub.Module("https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/3")
features = module(images)  # images: float32 [batch, 224, 224, 3] in [0, 1]
```

Names below are imported when first used, so that `import mobilenet_hub` costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # as in `typing`, whose import would be most of what this file costs
if TYPE_CHECKING:
    from typing import Any

    from mobilenet_hub.benchmarking.benchmark import benchmark
    from mobilenet_hub.catalog import ModuleInfo, find
    from mobilenet_hub.catalog import modules as list_modules
    from mobilenet_hub.conversion.calibrate import calibrate
    from mobilenet_hub.conversion.classifiers import import_classifier
    from mobilenet_hub.errors import MobileNetHubError
    from mobilenet_hub.evaluation.api import evaluate
    from mobilenet_hub.images import Preprocessing, load_image
    from mobilenet_hub.labels import imagenet_labels
    from mobilenet_hub.module import (
        KerasLayer,
        Module,
        get_expected_image_size,
        get_num_image_channels,
        image_embedding_column,
        load,
    )
    from mobilenet_hub.pipeline.api import classify, embed
    from mobilenet_hub.pipeline.job import embed_to
    from mobilenet_hub.retraining.api import retrain
    from mobilenet_hub.signatures.attached import ImageModuleInfo
    from mobilenet_hub.tensorflow_hub.spec import (
        ModuleSpec,
        eval_function_for_module,
        load_module_spec,
    )
    from mobilenet_hub.verification.verify import verify
    from mobilenet_hub.weights.storage.store import local_path as resolve

# Public name: (module, name there).
_EXPORTS = {
    "ImageModuleInfo": ("signatures.attached", "ImageModuleInfo"),
    "KerasLayer": ("module", "KerasLayer"),
    "MobileNetHubError": ("errors", "MobileNetHubError"),
    "Module": ("module", "Module"),
    "ModuleInfo": ("catalog", "ModuleInfo"),
    "ModuleSpec": ("tensorflow_hub.spec", "ModuleSpec"),
    "Preprocessing": ("images", "Preprocessing"),
    "benchmark": ("benchmarking.benchmark", "benchmark"),
    "calibrate": ("conversion.calibrate", "calibrate"),
    "classify": ("pipeline.api", "classify"),
    "embed": ("pipeline.api", "embed"),
    "embed_to": ("pipeline.job", "embed_to"),
    "eval_function_for_module": ("tensorflow_hub.spec", "eval_function_for_module"),
    "evaluate": ("evaluation.api", "evaluate"),
    "find": ("catalog", "find"),
    "get_expected_image_size": ("module", "get_expected_image_size"),
    "get_num_image_channels": ("module", "get_num_image_channels"),
    "image_embedding_column": ("module", "image_embedding_column"),
    "imagenet_labels": ("labels", "imagenet_labels"),
    "import_classifier": ("conversion.classifiers", "import_classifier"),
    "list_modules": ("catalog", "modules"),
    "load": ("module", "load"),
    "load_image": ("images", "load_image"),
    "load_module_spec": ("tensorflow_hub.spec", "load_module_spec"),
    "resolve": ("weights.storage.store", "local_path"),
    "retrain": ("retraining.api", "retrain"),
    "verify": ("verification.verify", "verify"),
}

# Modules that are used by their own name: `hub.ray.Embedder`.
_ROOMS = ("keras", "ray", "search", "tensorflow", "tensorflow_hub")

__all__ = [
    "ImageModuleInfo",
    "KerasLayer",
    "MobileNetHubError",
    "Module",
    "ModuleInfo",
    "ModuleSpec",
    "Preprocessing",
    "__version__",
    "benchmark",
    "calibrate",
    "classify",
    "embed",
    "embed_to",
    "eval_function_for_module",
    "evaluate",
    "find",
    "get_expected_image_size",
    "get_num_image_channels",
    "image_embedding_column",
    "imagenet_labels",
    "import_classifier",
    "list_modules",
    "load",
    "load_image",
    "load_module_spec",
    "resolve",
    "retrain",
    "verify",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _EXPORTS:
        refused = import_module(f"{__name__}.tensorflow_hub.authors")
        if name in refused.REASONS:
            return refused.refusing(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
