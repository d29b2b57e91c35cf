"""A network, or its end, is trained on photos with a head, and goes on where it was killed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.keras.fine_tuning.checkpoint import Checkpoint, Epoch, State, copies
from mobilenet_hub.keras.fine_tuning.choices import (
    choose_momentum,
    freeze_blocks,
    learning_rate,
)
from mobilenet_hub.keras.fine_tuning.halves import FrozenHalf, TrainedHalf, Views
from mobilenet_hub.keras.network import NetworkLayer
from mobilenet_hub.settings import FineTuneSettings
from mobilenet_hub.weights.canonical import Weights, fingerprint

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Photos with their classes.

    Attributes:
        images: [photos, height, width, 3], uint8 or float32 in [0,1]; perhaps mapped from a file.
        targets: int64 [photos], the number of each one's class.
    """

    images: NDArray[Any]
    targets: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a training gives.

    Attributes:
        weights: of the network, without a classification layer.
        kernel, biases: of the head, float32 [features, classes] and [classes].
        epochs: what was measured, before the training first.
        best: which of them `weights` and head are of.
        momentum: of the averages: of the weights, and of batch norm where a batch's own statistics
            normalise.
        why: that momentum, in words.
    """

    weights: Weights
    kernel: Floats
    biases: Floats
    epochs: tuple[Epoch, ...]
    best: int
    momentum: float
    why: str


def fine_tune(
    info: ModuleInfo,
    backbone: Weights,
    head: tuple[Floats, Floats],
    train: Examples,
    validation: Examples,
    settings: FineTuneSettings,
    *,
    checkpoint: Path,
    class_weights: Floats | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Train the last blocks, or all, beginning with a head that was trained before.

    Args:
        info: the module.
        backbone: its weights to begin with.
        head: kernel float32 [features, classes] and biases to begin with, trained on the features
            of these weights.
        train: photos; where `settings.crop` is not 0, larger than the validation photos: a random
            part of that size is taken of each.
        validation: photos that say which epoch is best: that by which most of them are right; none,
            and it is the last.
        settings: how.
        checkpoint: a file that is written after each epoch. A training with equal arguments goes on
            from it, and from the maps in the files beside it; all are for the caller to remove.
        class_weights: float32 [classes], of each class in the loss.
        log: told what was chosen and what happens, a sentence at a time.

    Returns:
        The weights and the head of the best epoch. Equal arguments give equal values on one
        machine, whether it was interrupted or not.

    Raises:
        WeightsError: values that are not finite: the training went wrong.
        OSError: the checkpoint cannot be written.
    """
    batch = min(settings.batch_size, len(train.targets))
    steps = len(train.targets) // batch * settings.epochs
    momentum, why = choose_momentum(settings, steps)
    log(_about_batch_norm(settings, momentum, why))
    keras.utils.set_random_seed(settings.seed)
    by_batch = settings.normalizes_by_batch
    network = NetworkLayer(info, backbone, momentum=momentum, weight_decay=0)
    cut = freeze_blocks(network, settings.layers)
    key = _key(backbone, head, train, validation, settings, class_weights)
    size = (validation.images.shape[1], validation.images.shape[2])
    views = Views(
        FrozenHalf(network, cut), size, settings, checkpoint.with_name(f"views-{key[:16]}")
    )
    model, dense = _model(TrainedHalf(network, cut, by_batch=by_batch), head, settings)
    model.build((None, *views.shape))
    dense.set_weights(list(head))
    model.compile(
        keras.optimizers.Adam(
            learning_rate(settings, steps), settings.momentum,
            use_ema=True, ema_momentum=momentum,
        ),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings.label_smoothing
        ),
    )  # fmt: skip
    model.optimizer.build(model.trainable_variables)
    results = [*network.weights, *dense.weights]
    files = Checkpoint(checkpoint, [*model.variables, *model.optimizer.variables], results)
    state = files.read(key)
    judges = Examples(views.as_they_are(validation.images), validation.targets)
    if not state.epochs:
        state.epochs.append(Epoch(np.nan, *_judged(model, judges)))
        files.write(state)
    else:
        log(f"goes on after epoch {len(state.epochs) - 1} of {settings.epochs}")
    classes = np.eye(len(head[1]), dtype=np.float32)
    while not _is_over(state.epochs, settings):
        number, losses = len(state.epochs), []
        maps = views.of_epoch(number, train.images)
        for rows in _batches(len(train.targets), batch, settings.seed, number):
            targets = train.targets[rows]
            weights = None if class_weights is None else class_weights[targets]
            given = np.asarray(maps[rows], np.float32)
            losses.append(float(model.train_on_batch(given, classes[targets], weights)))
            model.reset_metrics()
        with _averaged(model):
            state.epochs.append(Epoch(float(np.mean(losses)), *_judged(model, judges)))
            state.best = _best(state.epochs)
            if state.best == number:
                files.keep_best()
        files.write(state)
        log(_words(state, settings))
    files.restore_best()
    kernel, biases = map(keras.ops.convert_to_numpy, dense.weights)
    return Trained(
        network.current_weights(), kernel, biases, tuple(state.epochs), state.best, momentum, why
    )


def _model(
    half: TrainedHalf, head: tuple[Floats, Floats], settings: FineTuneSettings
) -> tuple[keras.Model, keras.layers.Dense]:
    """From maps to logits; and the head of it."""
    penalty = keras.regularizers.L1L2(settings.l1, settings.l2)
    dense = keras.layers.Dense(len(head[1]), kernel_regularizer=penalty)
    dropout = keras.layers.Dropout(settings.dropout, seed=settings.seed)
    return keras.Sequential([half, dropout, dense]), dense


def _about_batch_norm(settings: FineTuneSettings, momentum: float, why: str) -> str:
    if settings.normalizes_by_batch:
        return f"batch norm momentum {momentum:g}: {why}"
    return (
        "batch norm frozen: by the statistics of a few photos of few things the network would lose "
        f"what it knows; averages of the weights, momentum {momentum:g}: {why}"
    )


@contextmanager
def _averaged(model: keras.Model) -> Iterator[None]:
    """Within, the weights are averages over as many steps as batch norm's averages remember.

    Such weights are right more often than any step's (Polyak and Juditsky 1992); and where batch
    norm's averages move, these belong to weights of the same steps, not to the last ones.
    """
    variables = model.trainable_variables
    last = copies(variables)
    model.optimizer.finalize_variable_values(variables)
    # They share the averages' memory now, which JAX takes from one to give it to another.
    for variable, value in zip(variables, copies(variables), strict=True):
        variable.assign(value)
    yield
    for variable, value in zip(variables, last, strict=True):
        variable.assign(value)


def _batches(photos: int, batch: int, seed: int, epoch: int) -> Iterator[NDArray[np.intp]]:
    """Rows in an order of this epoch's own; what fills no batch is left to other epochs."""
    order = np.random.default_rng((seed, epoch)).permutation(photos)
    for start in range(0, photos - batch + 1, batch):
        yield np.sort(order[start : start + batch])  # sorted: they may lie in a file


def _judged(model: keras.Model, validation: Examples) -> tuple[float, float]:
    """Mean cross-entropy and accuracy; NaN without photos."""
    targets = validation.targets
    if not len(targets):
        return np.nan, np.nan
    parts = np.array_split(np.arange(len(targets)), -(-len(targets) // 32))
    logits = np.concatenate(
        [
            np.asarray(model.predict_on_batch(np.asarray(validation.images[rows], np.float32)))
            for rows in parts
        ]
    ).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]
    return float(losses.mean()), float((logits.argmax(axis=1) == targets).mean())


def _best(epochs: list[Epoch]) -> int:
    """Which is right most often on the validation photos, then with the least loss; else the last.

    Not by the loss alone: label smoothing makes probabilities too small, which a temperature mends.
    """
    if np.isnan(epochs[0].loss):
        return len(epochs) - 1
    return max(
        range(len(epochs)),
        key=lambda n: (epochs[n].accuracy, -np.nan_to_num(epochs[n].loss, nan=np.inf)),
    )


def _is_over(epochs: list[Epoch], settings: FineTuneSettings) -> bool:
    """Whether all epochs are done, or nothing got better for a while.

    What was before the training is left out: the rate is highest in the first epochs, which often
    leave the network worse than it was, and better again as the rate falls.
    """
    done = len(epochs) - 1
    if done == 0 or np.isnan(epochs[0].loss):
        return done >= settings.epochs
    return done >= settings.epochs or done - 1 - _best(epochs[1:]) >= settings.patience


def _words(state: State, settings: FineTuneSettings) -> str:
    number, epoch = len(state.epochs) - 1, state.epochs[-1]
    words = f"epoch {number} of {settings.epochs}: training loss {epoch.train_loss:.4f}"
    if not np.isnan(epoch.loss):
        words += f", validation loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.1%}"
    return f"{words} (best so far)" if state.best == number else words


def _key(
    backbone: Weights,
    head: tuple[Floats, Floats],
    train: Examples,
    validation: Examples,
    settings: FineTuneSettings,
    class_weights: Floats | None,
) -> str:
    """What decides how a training goes: of other photos, weights or settings it is another."""
    digest = hashlib.sha256(json.dumps(settings.to_dict(), sort_keys=True).encode())
    digest.update(f"{fingerprint(backbone)} {keras.__version__} {keras.backend.backend()}".encode())
    arrays = (*head, train.targets, validation.targets, class_weights)
    for array in (*arrays, train.images, validation.images):
        if array is not None:
            digest.update(f"{array.shape} {array.dtype}".encode())
            for part in np.array_split(array, max(1, len(array) // 256)):
                digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
