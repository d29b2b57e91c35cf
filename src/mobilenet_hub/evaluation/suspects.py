"""Photos whose label is probably wrong, from what was said of them by who had not seen them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilenet_hub.evaluation.records import Predictions


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label to look at.

    Attributes:
        row: of the photo among the predictions.
        given: the class in question, which the photo is said to have, or, multi-label, may lack.
        likely: the class that is more likely; multi-label the same as `given`: what is said of it
            is wrong.
        given_probability: of what is said now.
        likely_probability: of what is more likely.
    """

    row: int
    given: int
    likely: int
    given_probability: float
    likely_probability: float


def find_suspects(out_of_fold: Predictions) -> list[Suspect]:
    """Labels that are probably wrong, the surest first.

    Those of confident learning (Northcutt, Jiang and Chuang, "Confident Learning", 2021): another
    class is at least as probable as it is on average for the photos that have it. They are ranked
    by how much more probable it is than the given one.

    Args:
        out_of_fold: of each photo what was said of it by a classifier that was not trained on it;
            otherwise the classifier has learned the wrong labels too, and nothing is found.
    """
    find = _missing_or_wrong if out_of_fold.multi_label else _of_another_class
    return sorted(find(out_of_fold), key=_doubt)


def _doubt(suspect: Suspect) -> tuple[float, int, int]:
    return (suspect.given_probability - suspect.likely_probability, suspect.row, suspect.given)


def _of_another_class(of: Predictions) -> list[Suspect]:
    probabilities = of.probabilities.astype(np.float64)
    truth = of.truth.astype(np.int64)
    own = probabilities[np.arange(len(truth)), truth]
    counts = np.bincount(truth, minlength=probabilities.shape[1])
    typical = np.bincount(truth, own, probabilities.shape[1]) / np.maximum(counts, 1)
    typical[counts == 0] = np.inf  # nobody knows how probable such a class is on its own photos
    likely = np.where(probabilities >= typical, probabilities, -1.0).argmax(axis=1)
    best = probabilities[np.arange(len(truth)), likely]
    rows = np.flatnonzero((likely != truth) & (best >= typical[likely]) & (best > own))
    return [Suspect(int(r), int(truth[r]), int(likely[r]), own[r].item(), best[r].item())
            for r in rows]  # fmt: skip


def _missing_or_wrong(of: Predictions) -> list[Suspect]:
    """Each pair of photo and class is a question of its own: has it, or has it not."""
    said = np.where(of.truth, of.probabilities, 1 - of.probabilities).astype(np.float64)
    found: list[Suspect] = []
    for column in range(said.shape[1]):
        has = of.truth[:, column]
        if has.all() or not has.any():
            continue
        typical = np.where(has, said[~has, column].mean(), said[has, column].mean())
        against = 1 - said[:, column]
        for row in np.flatnonzero((against >= typical) & (against > 0.5)):
            at = (int(row), column)
            found.append(Suspect(at[0], column, column, said[at].item(), against[row].item()))
    return found
