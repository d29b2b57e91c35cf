"""What a program means by `tensorflow_hub`: every public name of it, by way of this library.

`install()` makes `import tensorflow_hub` mean this module from then on, in this process;
`python -m mobilenet_hub.tensorflow_hub SCRIPT ...` runs a program so, unchanged. Nothing is
replaced unless one of the two is asked for.
"""

from __future__ import annotations

import sys
from typing import Any

import mobilenet_hub
from mobilenet_hub.errors import MobileNetHubError

__version__ = "0.16.1"  # the version whose interface this is

_NAME = "tensorflow_hub"

# Files of tensorflow_hub that programs import by name; here each is this module, with every name.
_FILES = (
    "estimator",
    "feature_column",
    "feature_column_v2",
    "image_util",
    "keras_layer",
    "module",
    "module_spec",
    "module_v2",
    "native_module",
    "saved_model_module",
    "version",
)


def install() -> None:
    """Make `import tensorflow_hub` mean this library, in this process, from now on.

    ```python
    import mobilenet_hub.tensorflow_hub
    mobilenet_hub.tensorflow_hub.install()
    import tensorflow_hub as hub  # this library
    ```

    Raises:
        MobileNetHubError: another `tensorflow_hub` has been imported already.
    """
    this = sys.modules[__name__]
    if sys.modules.setdefault(_NAME, this) is not this:
        raise MobileNetHubError(
            "tensorflow_hub has been imported already: install before anything imports it. "
            f"Received: {sys.modules[_NAME]!r}"
        )
    for file in _FILES:
        sys.modules[f"{_NAME}.{file}"] = this


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return sys.modules[__name__]
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(mobilenet_hub, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(mobilenet_hub)})
