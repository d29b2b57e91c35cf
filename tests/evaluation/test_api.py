"""`hub.evaluate` on real photos and on made ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import mobilenet_hub as hub
from classifier_support import random_classifier
from mobilenet_hub.errors import InputError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.settings import ClassifierSettings
from pages import Page
from pictures import SMALL_CLASSIFIER, write_pictures

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
HANDLE = "google/imagenet/mobilenet_v1_025_128/classification"


def classifier(path, **settings):
    made = ClassifierSettings(("ant", "bee"), **settings)
    random_classifier(made, prototypes=4).save(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "val" / "ant", 12)
    write_pictures(tmp_path / "val" / "bee", 8, start=12)
    return tmp_path


def test_figures_are_those_of_what_classify_says(folder):
    path = classifier("own.safetensors", temperature=2.0)
    result = hub.evaluate("val", path)
    said = {record.id: record.labels[0] for record in hub.classify("val", path)}
    right = [label.name == name.split("/")[1] for name, label in said.items()]
    assert result.metrics[0].top_1.value == pytest.approx(np.mean(right))
    assert result.metrics[0].photos == 20
    assert [each.photos for each in result.metrics[0].classes] == [12, 8]
    own = dict(zip((item.id for item in result.evaluations[0].predictions.items),
                   result.evaluations[0].predictions.probabilities, strict=True))  # fmt: skip
    assert all(own[name].max() == pytest.approx(label.score) for name, label in said.items())
    assert result.metrics[0].uncalibrated is not None


def test_photos_that_cannot_be_read_are_listed_and_count_nowhere(folder):
    (folder / "val" / "ant" / "0000.jpg").write_bytes(b"no image")
    result = hub.evaluate("val", classifier("own.safetensors"))
    ((name, reason),) = [(each.id, each.reason) for each in result.failures]
    assert name == "val/ant/0000.jpg"
    assert "not a JPEG" in reason
    assert result.metrics[0].photos == 19
    assert [each.photos for each in result.metrics[0].classes] == [11, 8]
    assert result.to_dict()["failures"][0]["id"] == "val/ant/0000.jpg"


def test_what_is_rejected_is_measured_beside_the_other_figures(folder):
    result = hub.evaluate("val", classifier("own.safetensors", reject_threshold=0.5))
    unknown = [r.unknown for r in hub.classify("val", "own.safetensors")]
    assert result.metrics[0].rejection.coverage == pytest.approx(1 - np.mean(unknown))
    assert hub.evaluate("val", "own.safetensors", reject=False).metrics[0].rejection is None


def test_nothing_to_evaluate_is_an_error(folder):
    path = classifier("own.safetensors")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="no photos found"):
        hub.evaluate("empty", path)
    (folder / "bad" / "ant").mkdir(parents=True)
    (folder / "bad" / "ant" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="no photo could be read"):
        hub.evaluate("bad", path)
    with pytest.raises(InputError, match="labels need a module that classifies"):
        hub.evaluate("val", "google/imagenet/mobilenet_v1_025_224/feature_vector")


def test_several_labels_a_photo_are_each_a_question_of_its_own(folder):
    result = hub.evaluate("val", classifier("own.safetensors", activation="sigmoid"))
    assert "the folder of a photo says one" in result.notes[0]
    assert result.evaluations[0].predictions.multi_label
    assert result.metrics[0].mean_average_precision is not None
    result.write_html("report.html")


def test_a_table_says_several_labels_of_a_photo(folder):
    path = classifier("own.safetensors", activation="sigmoid")
    names = [f"val/ant/{at:04}.jpg" for at in range(4)]
    rows = zip(names, ("ant", "ant|bee", "", "bee"), strict=True)
    Path("t.csv").write_text("\n".join(("path,labels", *map(",".join, rows))))
    result = hub.evaluate("t.csv", path)
    truth = result.evaluations[0].predictions.truth
    assert truth.tolist() == [[True, False], [True, True], [False, False], [False, True]]
    said = [
        [
            any(each.name == name and each.score >= 0.5 for each in record.labels)
            for name in ("ant", "bee")
        ]
        for record in hub.classify(names, path)
    ]
    assert result.metrics[0].top_1.value == (np.array(said) == truth).all(1).mean()
    assert result.notes == ()


def test_a_table_and_folders_count_together_and_a_list_without_labels_is_of_folders(folder):
    path = classifier("own.safetensors")
    Path("t.csv").write_text("path,label\nval/ant/0000.jpg,bee\nval/ant/gone.jpg,ant\n")
    Path("list.csv").write_text("path\nval/ant/0001.jpg\n")
    result = hub.evaluate(["t.csv", "val/bee", "list.csv"], path)
    assert [each.photos for each in result.metrics[0].classes] == [1, 9]
    assert [failure.id for failure in result.failures] == ["val/ant/gone.jpg"]
    with pytest.raises(InputError, match="a column of labels is of a table"):
        hub.evaluate("val", path, label_column="label")


def test_equal_photos_give_equal_pages_and_figures(folder):
    path = classifier("own.safetensors", reject_threshold=0.3, temperature=1.5)
    pages = []
    for threads in (1, 2):
        result = hub.evaluate("val", path, threads=threads)
        result.write_html("report.html")
        figures = json.dumps(result.to_dict(), sort_keys=True)
        pages.append((Path("report.html").read_bytes(), figures))
    assert pages[0] == pages[1]
    assert b"<h1>Evaluation of a classifier of ant, bee</h1>" in pages[0][0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_imagenet_photos_named_by_id_label_and_index_are_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (SHARED / "photos" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:30]
    for at, row in enumerate(rows):
        wordnet_id = row["file"].removesuffix(".jpg")
        name = (wordnet_id, row["label"], row["class_index_of_1001"])[at % 3]
        (tmp_path / "val" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "val" / name / row["file"]).symlink_to(SHARED / "photos" / row["file"])
    result = hub.evaluate("val", SMALL_CLASSIFIER)
    assert result.metrics[0].photos == 30
    assert result.metrics[0].top_1.value > 0.4  # V1 0.25: 50.6 % of ImageNet
    assert result.metrics[0].top_5.value >= result.metrics[0].top_1.value
    assert result.metrics[0].classes[1].label == "tench"
    assert result.metrics[0].classes[1].photos == 1
    result.write_html("report.html")
    assert "tench" in Page("report.html").text


def test_a_module_in_hand_says_how_it_computes(folder):
    weights = random_classifier(ClassifierSettings(("ant", "bee")))
    module = InferenceModule(HANDLE, weights=weights, threads=1)
    result = hub.evaluate(["val/ant"], module, crop="none")
    facts = result.to_dict()
    assert facts["settings"]["crop"] == "none"
    assert facts["settings"]["engine"] == "openvino"
    assert len(facts["module"]["weights_sha256"]) == 64
    assert result.metrics[0].classes[1].recall is None
