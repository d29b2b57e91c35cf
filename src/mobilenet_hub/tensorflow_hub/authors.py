"""Names of `tensorflow_hub` for authors of modules, for text and for Estimators: not here, and why.

Importing them works, as a program that never calls them may do; calling says what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from mobilenet_hub.errors import UnsupportedError

_NO_AUTHORS = (
    "modules are not made here: train one (tags={'train'}), or write a trained one with "
    "Module.export(path, session)"
)
_NO_TEXT = "these modules compute images only, no text"
_NO_ESTIMATORS = "TensorFlow has no Estimators any more: train with Keras or in a session"

REASONS = {
    "LatestModuleExporter": _NO_ESTIMATORS,
    "add_signature": _NO_AUTHORS,
    "attach_image_module_info": _NO_AUTHORS,
    "attach_message": _NO_AUTHORS,
    "create_module_spec": _NO_AUTHORS,
    "create_module_spec_from_saved_model": _NO_AUTHORS,
    "register_module_for_export": _NO_ESTIMATORS,
    "sparse_text_embedding_column": _NO_TEXT,
    "text_embedding_column": _NO_TEXT,
    "text_embedding_column_v2": _NO_TEXT,
}


def refusing(name: str) -> Callable[..., NoReturn]:
    """A function of that name that says why it does nothing.

    Raises:
        KeyError: it is none of these names.
    """
    reason = REASONS[name]

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedError(f"{name} is not supported: {reason}. Received: a call of {name}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Not supported: {reason}."
    return refuse
