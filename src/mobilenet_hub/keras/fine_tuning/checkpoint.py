"""How far a training is, in a file from which it goes on after it was killed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.files import atomic_file


@dataclass(frozen=True, slots=True)
class Epoch:
    """What was measured after an epoch; after none, before the training.

    Attributes:
        train_loss: mean loss of its steps; NaN before the training.
        loss: mean cross-entropy of the validation photos; NaN without any.
        accuracy: share of the validation photos that are right; NaN without any.
    """

    train_loss: float
    loss: float
    accuracy: float


@dataclass(slots=True)
class State:
    """How far a training is, beside the values of its variables."""

    key: str
    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0


class Checkpoint:
    """A file with the values of all variables, the best ones of the results, and the state.

    Args:
        path: of the file.
        variables: of model, optimizer and random numbers.
        results: of these, those that the training is for.
    """

    def __init__(self, path: Path, variables: list[Any], results: list[Any]) -> None:
        self._path = path
        self._variables = variables
        self._results = results
        self._best = copies(results)

    def read(self, key: str) -> State:
        """Put back what was written; a file of another training, or none, begins anew.

        Raises:
            WeightsError: a damaged file.
        """
        try:
            with np.load(self._path, allow_pickle=False) as file:
                state = json.loads(str(file["state"]))
                if state["key"] != key:
                    return State(key)
                for number, variable in enumerate(self._variables):
                    variable.assign(file[f"variable_{number}"])
                self._best = [file[f"best_{number}"] for number in range(len(self._results))]
        except FileNotFoundError:
            return State(key)
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            raise WeightsError(
                f"a checkpoint of this training that can be read was expected: remove it. "
                f"Received: {str(self._path)!r}, {error}"
            ) from error
        return State(key, [Epoch(**epoch) for epoch in state["epochs"]], state["best"])

    def keep_best(self) -> None:
        """Take the results as they are now for the best; what is written next holds them."""
        self._best = copies(self._results)

    def write(self, state: State) -> None:
        """Keep what is now, and what was best."""
        values = {f"variable_{n}": v for n, v in enumerate(copies(self._variables))}
        values |= {f"best_{n}": v for n, v in enumerate(self._best)}
        values["state"] = np.array(json.dumps(asdict(state)))
        with atomic_file(self._path) as file:
            np.savez(file, allow_pickle=False, **values)

    def restore_best(self) -> None:
        """Give the results the values of the best epoch."""
        for variable, value in zip(self._results, self._best, strict=True):
            variable.assign(value)


def copies(variables: list[Any]) -> list[NDArray[Any]]:
    """The values of variables, in memory of their own."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
