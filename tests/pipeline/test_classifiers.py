"""One's own classifiers in the pipeline: preprocessing, probabilities, and what is none of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pyarrow.parquet import read_table

import mobilenet_hub as hub
from classifier_support import INFO, random_classifier
from commands import mobilenet_hub_command as run
from mobilenet_hub.errors import InputError
from mobilenet_hub.pipeline.dataset.parquet import METADATA_KEY
from mobilenet_hub.pipeline.outputs import l2_normalized, probabilities, sigmoid, similarity
from mobilenet_hub.settings import PreprocessingSettings
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.classifier import ClassifierSettings

PREPROCESSING = PreprocessingSettings(128, 128, "none")
SETTINGS = ClassifierSettings(("ant", "bee", "cow"), PREPROCESSING, temperature=3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`known.png`, whose features are the prototype of `model.safetensors`; `other.png`."""
    folder = tmp_path_factory.mktemp("classifier")
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (128, 160, 3), np.uint8)
    Image.fromarray(noise).save(folder / "known.png")
    Image.fromarray(np.repeat(noise[:1] // 2, 128, axis=0)).save(folder / "other.png")
    weights = random_classifier(SETTINGS)
    (known, other) = hub.embed(
        [folder / "known.png", folder / "other.png"],
        hub.Module(INFO.handle, weights=weights), normalize="l2", crop="none",
    )  # fmt: skip
    threshold = float((1 + known.embedding @ other.embedding) / 2)
    assert threshold < 0.999
    settings = replace(SETTINGS, reject_threshold=threshold)
    (folder / "model").mkdir()
    Weights(
        weights.network,
        weights.tensors,
        {**weights.metadata, **settings.to_metadata()},
        prototypes=known.embedding[None],
    ).save(folder / "model" / "model.safetensors")
    (folder / "model" / "labels.txt").write_text("ant\nbee\ncow\n")
    (folder / "model" / "metrics.json").write_text("{}")
    return folder


@pytest.fixture
def photos(folder):
    return [folder / "known.png", folder / "other.png"]


def test_images_become_what_the_classifier_was_made_with(folder, photos):
    module = hub.Module(folder / "model")
    own = [record.embedding for record in hub.embed(photos, module)]
    squashed = [record.embedding for record in hub.embed(photos, module, crop="none")]
    centred = [record.embedding for record in hub.embed(photos, module, crop="center")]
    np.testing.assert_array_equal(own, squashed)
    assert not np.allclose(own[0], centred[0])


def test_probabilities_are_of_logits_divided_by_the_temperature(folder, photos):
    module = hub.Module(folder / "model")
    pixels = module.preprocessing(photos[0].read_bytes())
    logits = module(pixels[None])[0].astype(np.float64)
    record, _ = hub.classify(photos, module, top_k=3)
    expected = np.exp(logits / 3) / np.exp(logits / 3).sum()
    for label in record.labels:
        assert label.name == SETTINGS.labels[label.index]
        assert label.score == pytest.approx(expected[label.index], rel=1e-4)


def test_several_labels_have_probabilities_of_their_own(photos):
    weights = random_classifier(replace(SETTINGS, activation="sigmoid"))
    module = hub.Module(INFO.handle, weights=weights)
    logits = module(module.preprocessing(photos[0].read_bytes())[None])[0].astype(np.float64)
    record, _ = hub.classify(photos, module, top_k=3)
    for label in record.labels:
        expected = 1 / (1 + np.exp(-logits[label.index] / 3))
        assert label.score == pytest.approx(expected, rel=1e-4)
    assert sum(label.score for label in record.labels) != pytest.approx(1)


def test_what_is_unlike_all_it_knows_is_unknown(folder, photos):
    known, other = hub.classify(photos, folder / "model")
    assert (known.unknown, other.unknown) == (False, True)
    assert known.labels
    assert other.labels
    assert [r.unknown for r in hub.classify(photos, folder / "model", reject=False)] == [False] * 2
    assert [r.unknown for r in hub.embed(photos, folder / "model", labels=1)] == [False, True]
    assert [r.unknown for r in hub.embed(photos, folder / "model")] == [False, False]


def test_whether_an_image_is_unknown_does_not_depend_on_the_images_around_it():
    generator = np.random.default_rng(0)
    features = generator.random((37, 256), np.float32)
    prototypes = l2_normalized(generator.random((11, 256), np.float32))
    whole = similarity(features, prototypes)
    for start, stop in ((0, 1), (5, 6), (3, 20), (30, 37)):
        np.testing.assert_array_equal(
            similarity(features[start:stop], prototypes), whole[start:stop]
        )
    expected = (features @ prototypes.T).max(axis=1) / np.linalg.norm(features, axis=1)
    np.testing.assert_allclose(whole, expected, rtol=1e-5)
    assert similarity(np.zeros((1, 256), np.float32), prototypes) == [0]


@pytest.mark.parametrize(
    ("options", "module_options"),
    [({"crop": "center"}, {}), ({"resample": "tf1"}, {}), ({}, {"precision": "bf16"})],
)
def test_a_threshold_of_another_preprocessing_or_precision_is_refused(
    folder, photos, monkeypatch, options, module_options
):
    monkeypatch.setattr("mobilenet_hub.runtime.openvino.capabilities", lambda: ("BF16",))
    module = hub.Module(folder / "model", **module_options)
    with pytest.raises(InputError, match=r"128x128 none bilinear float32.*--no-reject"):
        hub.classify(photos, module, **options)
    assert len(list(hub.classify(photos, module, reject=False, **options))) == 2
    assert len(list(hub.embed(photos, module, **options))) == 2


def test_a_limit_of_pixels_changes_no_threshold(folder, photos):
    records = hub.classify(photos, folder / "model", max_pixels=10**6)
    assert [record.unknown for record in records] == [False, True]


def test_who_cannot_tell_says_so(photos):
    module = hub.Module(INFO.handle, weights=random_classifier(SETTINGS))
    assert [record.unknown for record in hub.classify(photos, module)] == [False, False]
    with pytest.raises(InputError, match="a classifier with a threshold"):
        hub.classify(photos, module, reject=True)
    with pytest.raises(InputError, match="where labels are wanted"):
        hub.embed(photos, module, reject=True)


def test_a_dataset_has_a_column_and_notes_the_settings(folder, photos, tmp_path):
    hub.embed_to(photos, tmp_path / "rows.parquet", folder / "model", labels=2)
    table = read_table(tmp_path / "rows.parquet")
    assert dict(zip(table["id"].to_pylist(), table["unknown"].to_pylist(), strict=True)) == {
        str(photos[0]): False, str(photos[1]): True
    }  # fmt: skip
    noted = json.loads(table.schema.metadata[METADATA_KEY])
    assert (noted["crop"], noted["reject"]) == ("none", True)
    hub.embed_to(photos, tmp_path / "rows.csv", folder / "model", labels=2)
    assert "unknown" in (tmp_path / "rows.csv").read_text().splitlines()[0]
    hub.embed_to(photos, tmp_path / "plain.parquet", folder / "model", labels=2, reject=False)
    assert "unknown" not in read_table(tmp_path / "plain.parquet").column_names


def test_the_command_says_unknown(folder, photos):
    words = ("classify", *map(str, photos), "--module", str(folder / "model"))
    shown = run(*words)
    assert shown.returncode == 0, shown.stderr
    lines = [line.split("\t") for line in shown.stdout.splitlines()]
    assert [line[:2] for line in lines[-1:]] == [[str(photos[1]), "unknown"]]
    assert {line[1] for line in lines[1:-1]} == set(SETTINGS.labels)
    known, other = map(json.loads, run(*words, "--json").stdout.splitlines())
    assert ("unknown" in known, other["unknown"]) == (False, True)
    assert "unknown" not in run(*words, "--no-reject").stdout
    refused = run(*words, "--crop", "center")
    assert refused.returncode == 1
    assert "--no-reject" in refused.stderr


def test_the_command_embed_takes_the_folder(folder, photos, tmp_path):
    output = tmp_path / "rows.parquet"
    done = run(
        "embed", *map(str, photos), "--module", str(folder / "model"), "--labels", "1",
        "--output", str(output),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_table(output)["unknown"].to_pylist() == [False, True]


def test_info_and_convert_take_the_folder(folder, tmp_path):
    shown = run("info", str(folder / "model"), "--json")
    assert shown.returncode == 0, shown.stderr
    facts = json.loads(shown.stdout)
    assert facts["classes"] == list(SETTINGS.labels)
    assert facts["num_classes"] == 3
    assert facts["published"] is None
    output = tmp_path / "again.safetensors"
    done = run("convert", str(folder / "model"), "--to", "safetensors", "--output", str(output))
    assert done.returncode == 0, done.stderr
    again, first = hub.Module(output).weights, hub.Module(folder / "model").weights
    assert again.classifier == first.classifier
    np.testing.assert_array_equal(again.prototypes, first.prototypes)


def test_the_sigmoid_never_overflows():
    with np.errstate(all="raise"):
        values = sigmoid(np.float32([-1e4, -1, 0, 1, 1e4]))
    np.testing.assert_allclose(values, [0, 0.26894143, 0.5, 0.7310586, 1], rtol=1e-6)
    assert values.dtype == np.float32
    logits = np.float32([[1, 2]])
    assert probabilities(logits, None).sum() == pytest.approx(1)
