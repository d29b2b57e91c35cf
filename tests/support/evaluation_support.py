"""Predictions made up for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from classifier_support import random_classifier
from mobilenet_hub.evaluation.records import Evaluation, Predictions
from mobilenet_hub.evaluation.report import render_report
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.sources.items import BytesItem, FileItem
from mobilenet_hub.settings import ClassifierSettings
from pages import Page
from pictures import encoded

HANDLE = "google/imagenet/mobilenet_v1_025_128/classification"


def predictions(truth, probabilities, **more) -> Predictions:
    """Of photos `0000.jpg`, `0001.jpg`, ..."""
    items = [FileItem(f"{index:04d}.jpg") for index in range(len(truth))]
    return Predictions(items, np.array(truth), np.array(probabilities, np.float32), **more)


def called(truth, answers, classes, *, sure=0.9, **more) -> Predictions:
    """Every photo called a class with the same probability, the rest shared by the others."""
    probabilities = np.full((len(truth), classes), (1 - sure) / (classes - 1), np.float32)
    probabilities[np.arange(len(truth)), answers] = sure
    return predictions(truth, probabilities, **more)


def evaluation(of: Predictions, **more) -> Evaluation:
    """Of these predictions."""
    return Evaluation("test", "No photo of these was seen before.", of, **more)


def random_predictions(photos, classes, *, seed=0, sharpness=3.0, temperature=1.6) -> Predictions:
    """Mostly right, and too sure before temperature."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, photos)
    logits = random.normal(0, 1, (photos, classes))
    logits[np.arange(photos), truth] += sharpness
    logits *= sharpness  # of such noise the true log odds
    sharp, soft = (
        (powers := np.exp(value)) / powers.sum(axis=1, keepdims=True)
        for value in (temperature * logits, logits)
    )
    return predictions(truth, soft, uncalibrated=sharp.astype(np.float32))


def module_of(labels, **more) -> InferenceModule:
    """A classifier of random weights."""
    weights = random_classifier(ClassifierSettings(tuple(labels)), **more)
    return InferenceModule(HANDLE, weights=weights)


def page_of(tmp_path, report, module) -> Page:
    """What a browser would see of a report."""
    (tmp_path / "report.html").write_bytes(render_report(report, module))
    return Page(tmp_path / "report.html")


def with_photos(of) -> Predictions:
    """The same, of photos that are there."""
    items = [BytesItem(f"in/{at}.jpg", "", encoded(at)) for at in range(len(of.items))]
    return replace(of, items=items)
