"""How layers of this library name themselves and their variables, in memory and in Keras files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from mobilenet_hub import networks
from mobilenet_hub.errors import TensorMismatchError

ROOTS = tuple(f"{root}/" for root in networks.ROOTS.values())  # of canonical variables' paths
_REQUIRES = (
    "This layer is mobilenet-hub's: `import mobilenet_hub.keras` before loading it "
    "(pip install 'mobilenet-hub[keras]')."
)


class HubLayer(keras.layers.Layer):
    """A layer whose config says what it takes to load it.

    Keras cannot load a file whose classes nobody imported, and says so by printing their configs.
    """

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {"requires": _REQUIRES} | super().get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HubLayer:
        """The layer of a config."""
        return cls(**{key: value for key, value in config.items() if key != "requires"})


class NamedVariables(HubLayer):
    """A layer whose own variables stand in Keras's files under their names, not numbers."""

    def _own(self) -> list[keras.Variable]:
        raise NotImplementedError

    def save_own_variables(self, store: Any) -> None:
        """Write the variables under TF-Slim's names, so that a reader knows what they are."""
        for variable in self._own():
            store[_key(variable)] = variable

    def load_own_variables(self, store: Any) -> None:
        """Read them.

        Raises:
            TensorMismatchError: the file is of another network.
        """
        found = {_key(variable): variable for variable in self._own()}
        if missing := [key for key in found if key not in store]:
            raise TensorMismatchError(f"the file, for the layer {self.name!r},", missing=missing)
        for key, variable in found.items():
            variable.assign(store[key])


def _key(variable: keras.Variable) -> str:
    return str(variable.path if variable.path.startswith(ROOTS) else variable.name)
