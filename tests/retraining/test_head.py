"""The head is the one of least loss, whichever way it is looked for."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.retraining.choosing import (
    STRENGTHS,
    accuracy,
    choose_strength,
    cross_entropy,
    fit_temperature,
    probabilities,
)
from mobilenet_hub.retraining.cores import all_cores
from mobilenet_hub.retraining.head import Regression, minimise, principal_axes


def photos(count, features=20, classes=3, *, spread=2.0, seed=0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, features)) * spread
    targets = random.integers(0, classes, count)
    return (centres[targets] + 3 * random.normal(size=(count, features))).astype(
        np.float32
    ), targets


def regression(features, targets, folds=None, weights=None, classes=3):
    folds = np.zeros(len(features), np.int64) if folds is None else folds
    axes = principal_axes(features, np.flatnonzero(folds >= 0))
    return Regression(features, axes, targets, classes, folds, weights)


def gradient(features, targets, head, strength, weights=None):
    """Of the loss by the kernel and biases, in float64: zero where it is least."""
    weights = np.ones(len(features)) if weights is None else weights
    logits = features.astype(np.float64) @ head.kernel + head.biases
    if targets.ndim == 2:
        errors = 1 / (1 + np.exp(-logits)) - targets
    else:
        errors = np.exp(logits - logits.max(axis=1, keepdims=True))
        errors /= errors.sum(axis=1, keepdims=True)
        errors[np.arange(len(targets)), targets] -= 1
    errors *= (weights / weights.sum())[:, None]
    return features.T @ errors + strength * head.kernel, errors.sum(axis=0)


@pytest.mark.parametrize("strength", [1.0, 0.01, 1e-4])
@pytest.mark.parametrize("count", [12, 300])  # fewer photos than features, and more
def test_the_gradient_is_zero_where_the_loss_is_least(count, strength):
    features, targets = photos(count)
    fitted = regression(features, targets)
    head = fitted.head(fitted.fit(strength))
    by_kernel, by_biases = gradient(features, targets, head, strength)
    scale = np.abs(features).max()
    assert np.abs(by_kernel).max() < 2e-3 * scale and np.abs(by_biases).max() < 2e-3


def test_of_several_labels_each_is_told_on_its_own():
    features, targets = photos(200)
    labels = np.stack([targets == 0, targets != 1, targets == 2], axis=1)
    fitted = regression(features, labels)
    head = fitted.head(fitted.fit(0.01))
    by_kernel, by_biases = gradient(features, labels, head, 0.01)
    assert np.abs(by_kernel).max() < 0.02 and np.abs(by_biases).max() < 2e-3
    assert accuracy(head.logits(features), labels) > 0.9


def test_weights_count_as_copies_do():
    features, targets = photos(100)
    counts = np.random.default_rng(1).integers(1, 4, 100)
    weighted = regression(features, targets, weights=counts.astype(np.float32))
    copied = regression(np.repeat(features, counts, axis=0), np.repeat(targets, counts))
    first, second = (each.head(each.fit(0.05)) for each in (weighted, copied))
    assert np.allclose(first.logits(features), second.logits(features), atol=0.02)


def test_folds_left_out_teach_nothing():
    features, targets = photos(300)
    folds = np.arange(300) % 3
    other = features.copy()
    other[folds == 1] = 100 * np.random.default_rng(2).normal(size=(100, 20))
    axes = principal_axes(features, np.flatnonzero(folds != 1))
    heads = []
    for these in (features, other):
        fitted = Regression(these, axes, targets, 3, folds)
        heads.append(fitted.head(fitted.fit(0.01, (1,))))
    assert np.array_equal(heads[0].kernel, heads[1].kernel)
    assert np.array_equal(heads[0].biases, heads[1].biases)


def test_photos_of_no_fold_are_left_out_of_everything():
    features, targets = photos(300)
    folds = np.where(np.arange(300) < 200, 0, -1)
    some = regression(features, targets, folds)
    alone = regression(features[:200], targets[:200])
    assert np.array_equal(some.head(some.fit(0.1)).kernel, alone.head(alone.fit(0.1)).kernel)
    assert some.logits(some.fit(0.1), 0)[0].tolist() == list(range(200))


def test_where_one_begins_changes_little():
    features, targets = photos(400)
    fitted = regression(features, targets)
    cold = fitted.head(fitted.fit(1e-3))
    warm = fitted.head(fitted.fit(1e-3, start=fitted.fit(1.0)))
    chances = [probabilities(head.logits(features), multi_label=False) for head in (cold, warm)]
    assert np.allclose(*chances, atol=0.02)


def test_photos_that_are_all_alike_are_told_by_how_many_they_are():
    features = np.ones((30, 20), np.float32)
    fitted = regression(features, np.arange(30) % 3 // 2, classes=2)
    chances = probabilities(fitted.head(fitted.fit(0.1)).logits(features[:1]), multi_label=False)
    assert np.allclose(chances, [[2 / 3, 1 / 3]], atol=1e-3)


def test_a_function_without_a_least_value_at_hand_ends():
    point = minimise(lambda x: (float(np.vdot(x, x)), 2 * x), np.full((2, 2), 9, np.float32))
    assert np.abs(point).max() < 1e-2


def test_the_strength_that_the_judging_fold_likes_best_is_chosen():
    features, targets = photos(400, spread=0.5)
    folds = np.arange(400) % 4
    fitted = regression(features, targets, folds)
    choice = choose_strength(fitted, targets, (3,), 3)
    best = min(choice.trials, key=lambda trial: trial.loss)
    assert choice.best is best and best.strength in STRENGTHS
    rows, logits = fitted.logits(choice.best.coefficients, 3)
    assert (rows % 4 == 3).all()
    assert cross_entropy(logits, targets[rows]) == pytest.approx(best.loss)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_makes_probabilities_true(true):
    random = np.random.default_rng(3)
    logits = random.normal(size=(20_000, 4)).astype(np.float32) * 2
    chances = probabilities(logits / np.float32(true), multi_label=False)
    targets = (random.random((20_000, 1)) > np.cumsum(chances, axis=1)).sum(axis=1).clip(0, 3)
    assert fit_temperature(logits, targets) == pytest.approx(true, rel=0.05)


def test_the_number_of_threads_changes_nothing():
    features, targets = photos(1500)
    axes, folds = principal_axes(features, np.arange(1500)), np.arange(1500) % 2
    with all_cores(1) as one, all_cores(3) as three:
        pieces = [Regression(features, axes, targets, 3, folds, None, p) for p in (one, three)]
        found = [fitted.fit(1e-3) for fitted in pieces]
    assert np.array_equal(found[0].kernel, found[1].kernel)
    assert np.array_equal(found[0].biases, found[1].biases)


def test_along_the_path_each_strength_begins_where_the_last_two_point_to():
    features, targets = photos(600, spread=0.3)
    folds, calls = np.arange(600) % 3, []
    fitted = regression(features, targets, folds)
    alone = fitted.fit

    def counted(strength, without, start, gain):
        calls.append(start)
        return alone(strength, without, start, gain)

    fitted.fit = counted
    trials = choose_strength(fitted, targets, (2,), 2, patience=9).trials
    assert calls[0] is None and calls[1] is trials[0].coefficients
    for start, before, last in zip(calls[2:], trials, trials[1:], strict=False):
        expected = 2 * last.coefficients.kernel - before.coefficients.kernel
        assert np.allclose(start.kernel, expected, atol=1e-5)


def test_a_step_that_went_much_too_far_is_shortened_by_more_than_a_half():
    tries = []

    def loss(x):
        tries.append(x)
        return float(1000 * np.vdot(x, x)), 2000 * x

    assert np.abs(minimise(loss, np.ones((2, 2), np.float32))).max() < 1e-2
    assert len(tries) < 8
