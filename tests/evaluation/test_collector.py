"""From results of the pipeline to predictions."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

import mobilenet_hub as hub
from classifier_support import random_classifier
from mobilenet_hub.evaluation.collector import before_temperature
from mobilenet_hub.pipeline.outputs import probabilities
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem
from mobilenet_hub.settings import ClassifierSettings
from pages import Page
from pictures import encoded


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_before_temperature_are_found_again(activation):
    logits = np.random.default_rng(0).normal(0, 4, (50, 5)).astype(np.float32)
    labels = tuple("abcde")
    scaled = ClassifierSettings(labels, activation=activation, temperature=2.5)
    plain = ClassifierSettings(labels, activation=activation)
    before = before_temperature(probabilities(logits, scaled), scaled)
    assert np.allclose(before, probabilities(logits, plain), atol=1e-5)
    assert before_temperature(before, plain) is None
    assert before_temperature(before, None) is None


def test_photos_in_compressed_archives_are_shown_and_not_all_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random_classifier().save("own.safetensors")
    with tarfile.open("val.tar.gz", "w:gz") as tar:
        for at in range(90):
            Path("x.jpg").write_bytes(encoded(at % 7))
            tar.add("x.jpg", f"{('ant', 'bee')[at % 2]}/{at}.jpg")
    result = hub.evaluate("val.tar.gz", "own.safetensors")
    kinds = [type(item) for item in result.evaluations[0].predictions.items]
    assert kinds.count(BytesItem) <= 64
    assert kinds.count(BytesItem) + kinds.count(BrokenItem) == 90
    result.write_html("report.html")
    assert len(Page("report.html").images) > 0
