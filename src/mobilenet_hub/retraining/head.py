"""Softmax and sigmoid regression with L2, for a path of strengths and for folds, in seconds.

The loss is scikit-learn's `LogisticRegression`, divided by the number of photos: the mean
cross-entropy plus `strength / 2` times the squared kernel (biases are free), so a strength is
`1 / (C · photos)`. What makes it fast: features are turned once into their principal axes, where
the curvature of the loss is nearly diagonal and L-BFGS (Nocedal and Wright, Numerical Optimization,
algorithm 7.4) needs ten to twenty steps; it is float32; each strength starts where the last ones
point to; folds are slices of one array, never copies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.retraining.records import Head

Floats = NDArray[np.float32]

_MEMORY = 10  # pairs of steps that L-BFGS remembers
_STEPS = 300  # at most
_SMALL = 0.01  # a loss below which gains count as of this: other photos lose more
_GRADIENT = 1e-5  # below which, in the turned space, it has converged
CONVERGED = 1e-6  # gain of a step, relative to the loss, likewise
_ARMIJO = 1e-4
_SHORTEN = (1 / 32, 1 / 2)  # a step that went too far, by a factor between these
_ROUNDING = 1e-7  # of a loss in float32, relative
_NOTHING = 1e-6  # share of the greatest variance that is rounding
_PIECES = 8  # that photos are divided into, for as many cores
_ROWS = 512, 16_384  # least and most of a piece: fewer are slow, of more the logits take memory


class Coefficients(NamedTuple):
    """Of the axes of a `Regression`: float32 [axes, classes] and [classes]."""

    kernel: Floats
    biases: Floats

    def moved(self, start: Coefficients, end: Coefficients) -> Coefficients:
        """These, moved by as much as lies between two others."""
        return Coefficients(
            self.kernel + (end.kernel - start.kernel), self.biases + (end.biases - start.biases)
        )

    def among(self, axes: Axes) -> Coefficients:
        """The same, of more axes: those with less variance come first."""
        missing = len(axes.variances) - len(self.kernel)
        return Coefficients(np.pad(self.kernel, ((missing, 0), (0, 0))), self.biases)


class Axes(NamedTuple):
    """Orthonormal directions that photos vary along, and how much.

    Attributes:
        mean: float32 [features], of the photos.
        axes: float32 [features, axes].
        variances: float32 [axes], ascending.
    """

    mean: Floats
    axes: Floats
    variances: Floats

    def main(self, share: float) -> Axes:
        """Those that hold a share of all variance: fewer, for what need not be exact."""
        held = np.cumsum(self.variances[::-1], dtype=np.float64)
        count = int(np.searchsorted(held, share * held[-1])) + 1 if len(held) else 0
        first = max(len(held) - count, 0)
        return Axes(self.mean, self.axes[:, first:], self.variances[first:])


class Regression:
    """Photos whose classes are to be told from their features, in folds.

    Args:
        features: float32 [photos, features].
        axes: that photos vary along (`principal_axes`).
        targets: int64 [photos], or bool [photos, classes] where a photo may have several labels.
        classes: how many there are.
        folds: int [photos], from 0; photos of −1 are left out of everything.
        weights: float32 [photos], how much each photo counts; alike by default.
        pool: computes pieces of the photos; the calling thread by default.
    """

    def __init__(
        self,
        features: Floats,
        axes: Axes,
        targets: NDArray[Any],
        classes: int,
        folds: NDArray[np.int64],
        weights: Floats | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        self.classes = classes
        order = np.argsort(folds, kind="stable")
        order = order[np.searchsorted(folds[order], 0) :]
        self._ends = np.searchsorted(folds[order], np.arange(folds.max(initial=0) + 2))
        self._order, self._targets = order, targets[order]
        self._weights = (np.ones(len(folds), np.float32) if weights is None else weights)[order]
        self._axes = axes
        self._map: Callable[..., Iterator[Any]] = pool.map if pool else map
        self._piece = min(max(len(order) // _PIECES, _ROWS[0]), _ROWS[1])
        self._rows: Floats = np.empty((len(order), len(axes.variances)), np.float32)
        for part in _pieces(0, len(order), _ROWS[1]):  # no copy of all of them in between
            np.matmul(features[order[part]] - axes.mean, axes.axes, out=self._rows[part])

    def fit(
        self,
        strength: float,
        without: Collection[int] = (),
        start: Coefficients | None = None,
        gain: float = CONVERGED,
    ) -> Coefficients:
        """The coefficients of least loss.

        Args:
            strength: of the L2 penalty, above 0.
            without: folds that are left out.
            start: coefficients to begin from.
            gain: of the loss, relative, below which a step is the last.
        """
        start = start or Coefficients(
            np.zeros((self._rows.shape[1], self.classes), np.float32),
            np.zeros(self.classes, np.float32),
        )
        parts = self._parts(without)
        total = sum(float(self._weights[part].sum()) for part in parts)
        curvature = max(self._curvature(start, parts), 1e-4)
        scales = np.sqrt(curvature * self._axes.variances + strength)[:, None].astype(np.float32)
        bias_scale = np.float32(np.sqrt(curvature))

        def loss(point: Floats) -> tuple[float, Floats]:
            """In the space where the curvature is about 1 in every direction."""
            kernel, biases = point[:-1] / scales, point[-1] / bias_scale
            value = 0.5 * strength * float(np.vdot(kernel, kernel))
            gradient = np.zeros_like(point)
            np.multiply(kernel, np.float32(strength), out=gradient[:-1])
            piece = partial(self._piece_loss, Coefficients(kernel, biases), total)
            for piece_value, of_kernel, of_biases in self._map(piece, parts):
                value += piece_value
                gradient[:-1] += of_kernel
                gradient[-1] += of_biases
            gradient[:-1] /= scales
            gradient[-1] /= bias_scale
            return value, gradient

        begin = np.concatenate([start.kernel * scales, start.biases[None] * bias_scale])
        point = minimise(loss, begin, gain)
        return Coefficients(point[:-1] / scales, point[-1] / bias_scale)

    @property
    def folds(self) -> int:
        """How many there are."""
        return len(self._ends) - 1

    def logits(self, of: Coefficients, fold: int) -> tuple[NDArray[np.intp], Floats]:
        """The photos of a fold, by their rows, and their logits float32 [photos, classes]."""
        rows = slice(self._ends[fold], self._ends[fold + 1])
        return self._order[rows], self._rows[rows] @ of.kernel + of.biases

    def head(self, of: Coefficients) -> Head:
        """The head of features as they came."""
        kernel = self._axes.axes @ of.kernel
        return Head(kernel, of.biases - self._axes.mean @ kernel)

    def _parts(self, without: Collection[int]) -> list[slice]:
        """Some folds, in pieces."""
        kept = np.ones(len(self._order), bool)
        for fold in without:
            kept[self._ends[fold] : self._ends[fold + 1]] = False
        borders = np.flatnonzero(np.diff(kept, prepend=False, append=False)).reshape(-1, 2)
        return [
            part for start, end in borders.tolist() for part in _pieces(start, end, self._piece)
        ]

    def _piece_loss(
        self, at: Coefficients, total: float, part: slice
    ) -> tuple[float, Floats, Floats]:
        """What some photos add to the loss, and to its gradients by kernel and biases."""
        logits = self._rows[part] @ at.kernel
        logits += at.biases
        value = self._cross_entropy(logits, part) / total
        logits *= (self._weights[part] / np.float32(total))[:, None]
        return value, self._rows[part].T @ logits, logits.sum(axis=0)

    def _cross_entropy(self, logits: Floats, part: slice) -> float:
        """The sum over photos; logits become its gradient by them, in place."""
        targets, weights = self._targets[part], self._weights[part]
        if targets.ndim == 2:
            losses = np.logaddexp(0, logits) - targets * logits
            with np.errstate(over="ignore"):
                logits[:] = 1 / (1 + np.exp(-logits)) - targets
            return float(np.vdot(losses.sum(axis=1), weights))
        rows = np.arange(len(logits))
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[rows, targets]
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1, keepdims=True)
        logits /= sums
        logits[rows, targets] -= 1
        return float(np.vdot(np.log(sums[:, 0], dtype=np.float64) - own, weights))

    def _curvature(self, at: Coefficients, parts: list[slice]) -> float:
        """The mean of p (1 − p) over photos and classes: how curved the loss is there."""

        def summed(part: slice) -> float:
            gradient = self._rows[part] @ at.kernel + at.biases
            self._cross_entropy(gradient, part)
            p = np.abs(gradient)  # p of a class that is not the photo's, 1 − p of one that is
            return float(np.sum(p * (1 - p), dtype=np.float64))

        photos: int = sum(part.stop - part.start for part in parts)
        return float(sum(self._map(summed, parts))) / (photos * self.classes)


def minimise(
    loss: Callable[[Floats], tuple[float, Floats]], point: Floats, least_gain: float = CONVERGED
) -> Floats:
    """Where a convex function is least: L-BFGS with backtracking.

    Args:
        loss: its value and its gradient at a point.
        point: where to begin.
        least_gain: of a step, relative to the value; a smaller one is the last.
    """
    value, gradient = loss(point)
    memory: list[tuple[Floats, Floats, float]] = []  # step, change of gradient, 1 / their product
    for _ in range(_STEPS):
        if float(np.abs(gradient).max()) < _GRADIENT:
            break
        direction = _direction(gradient, memory)
        slope = float(np.vdot(gradient, direction))
        length = 1.0
        while True:
            there = point - np.float32(length) * direction
            new_value, new_gradient = loss(there)
            if new_value <= value - _ARMIJO * length * slope + _ROUNDING * abs(value):
                break
            excess = new_value - value + length * slope  # above the tangent: a parabola's least
            length *= min(max(length * slope / (2 * excess), _SHORTEN[0]), _SHORTEN[1])
            if length < 1e-6:
                return point  # as good as float32 can tell
        step, change = there - point, new_gradient - gradient
        product = float(np.vdot(step, change))
        if product > 0:
            memory = [*memory[-_MEMORY + 1 :], (step, change, 1 / product)]
        gain = value - new_value
        point, value, gradient = there, new_value, new_gradient
        if gain < least_gain * max(abs(value), _SMALL):
            break
    return point


def _direction(gradient: Floats, memory: list[tuple[Floats, Floats, float]]) -> Floats:
    """The gradient times what is known of the inverse curvature (two loops)."""
    direction = gradient.copy()
    parts = []
    for step, change, inverse in reversed(memory):
        part = np.float32(inverse * float(np.vdot(step, direction)))
        direction -= part * change
        parts.append(part)
    if memory:
        _, change, inverse = memory[-1]
        direction /= np.float32(inverse * float(np.vdot(change, change)))
    for (step, change, inverse), part in zip(memory, reversed(parts), strict=True):
        direction += (part - np.float32(inverse * float(np.vdot(change, direction)))) * step
    return direction


def _pieces(start: int, end: int, rows: int) -> list[slice]:
    return [slice(at, min(at + rows, end)) for at in range(start, end, rows)]


def principal_axes(features: Floats, rows: NDArray[np.intp]) -> Axes:
    """The axes that some photos vary along.

    With fewer photos than features they span the photos: the best kernel lies in that span, since
    any part of it outside is penalised and changes no logit. More axes than needed change nothing
    either, so those of all photos serve for any part of them.

    Args:
        features: float32 [photos, features].
        rows: of the photos that count.
    """
    count, wide = max(len(rows), 1), features.shape[1]
    total = np.zeros(wide)
    for part in _pieces(0, len(rows), _ROWS[1]):
        total += features[rows[part]].sum(axis=0, dtype=np.float64)
    mean = np.asarray(total / count, np.float32)
    if len(rows) >= wide:
        gram = np.zeros((wide, wide), np.float32)
        for part in _pieces(0, len(rows), _ROWS[1]):
            centred = features[rows[part]] - mean
            gram += centred.T @ centred
        values, axes = np.linalg.eigh(gram)
    else:
        centred = features[rows] - mean
        values, combinations = np.linalg.eigh(centred @ centred.T)
        real = values > _NOTHING * max(float(values[-1]), 1e-30)
        values, axes = values[real], (centred.T @ combinations[:, real]) / np.sqrt(values[real])
    variances = np.maximum(values, 0) / count
    return Axes(mean, np.asarray(axes, np.float32), np.asarray(variances, np.float32))
