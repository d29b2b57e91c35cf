"""From folders of photos to a classifier that is a module like any other, and honest."""

from __future__ import annotations

import csv
import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mobilenet_hub as hub
from classes import SMALL_MODULE, drawing, write_class, write_classes
from mobilenet_hub.errors import AccuracyError, InputError, SourceError
from mobilenet_hub.evaluation.tables import DataOptions
from mobilenet_hub.retraining.learning import LearningSettings
from mobilenet_hub.retraining.steps import Shares
from mobilenet_hub.settings import FineTuneSettings
from mobilenet_hub.weights.canonical import load
from mobilenet_hub.weights.storage.calibrations import load_calibration
from pictures import write_pictures

FILES = [
    "labels.txt", "metrics.json", "model.safetensors", "report.html", "split.parquet",
    "suspects.csv",
]  # fmt: skip


@pytest.fixture(scope="module")
def cache_of_all(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def warm_cache(cache_of_all, monkeypatch):
    """One for all tests: each photo is embedded once, and the network compiled once."""
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(cache_of_all))


@pytest.fixture
def cold_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))


def retrain(photos, output, **options):
    return hub.retrain(photos, output, SMALL_MODULE, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sides(output):
    table = pq.read_table(output / "split.parquet").to_pydict()
    return dict(zip(table["id"], table["side"], strict=True))


def metrics(output):
    return json.loads((output / "metrics.json").read_text())


def sided(root, *, leak=False):
    for side, count, start in (("train", 20, 0), ("val", 10, 100), ("test", 8, 200)):
        write_classes(root / side, count, start=start)
    return root


def test_a_folder_of_photos_becomes_a_module(cold_cache, tmp_path):
    photos = write_classes(tmp_path / "photos", 24, "red", "green", "blue")
    result = retrain(photos, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert (tmp_path / "out" / "labels.txt").read_text() == "blue\ngreen\nred\n"
    assert result.computed == 72 and result.metrics[0].name == "nested cross-validation"
    assert result.metrics[0].top_1.value > 0.9
    module = hub.Module(tmp_path / "out")
    assert module.labels == ("blue", "green", "red")
    found = {r.id: r for r in hub.classify(photos / "red", tmp_path / "out", top_k=1)}
    right = [record.labels[0].name == "red" for record in found.values()]
    assert np.mean(right) > 0.85
    paths = ("/" + str(tmp_path).strip("/")).encode()
    assert not any(paths in data for data in contents(tmp_path / "out").values())
    assert str(photos) in (tmp_path / "out.log").read_text()


def test_two_runs_write_the_same_bytes_cold_or_warm_here_or_there(cold_cache, tmp_path):
    photos = write_classes(tmp_path / "photos", 16)
    retrain(photos, tmp_path / "cold")
    assert retrain(photos, tmp_path / "warm").computed == 0
    shutil.copytree(photos, tmp_path / "elsewhere")
    retrain(tmp_path / "elsewhere", tmp_path / "third")
    first, second, third = (contents(tmp_path / name) for name in ("cold", "warm", "third"))
    for name in FILES:
        assert first[name] == second[name] == third[name], name
    retrain(photos, tmp_path / "other", learning=LearningSettings(seed=1))
    assert contents(tmp_path / "other")["metrics.json"] != first["metrics.json"]


def test_a_new_class_costs_its_own_photos_and_moves_no_other(cold_cache, tmp_path):
    photos = write_classes(tmp_path / "photos", 20)
    retrain(photos, tmp_path / "out")
    before = sides(tmp_path / "out")
    write_class(photos / "blue", "blue", 12)
    result = retrain(photos, tmp_path / "out")
    after = sides(tmp_path / "out")
    assert result.computed == 12
    assert {name: after[name] for name in before} == before
    (photos / "red" / "3.png").rename(photos / "green" / "moved.png")
    retrain(photos, tmp_path / "out")
    assert sides(tmp_path / "out")["green/moved.png"] == before["red/3.png"]


def test_what_is_measured_with_never_reaches_the_classifier(tmp_path):
    photos = sided(tmp_path / "photos")
    retrain(photos, tmp_path / "out")
    before = load(tmp_path / "out" / "model.safetensors")
    shutil.rmtree(photos / "test")
    write_class(photos / "test" / "red", "green", 9, start=300)  # wrong labels, other photos
    write_class(photos / "test" / "green", "blue", 9, start=300)
    retrain(photos, tmp_path / "other")
    after = load(tmp_path / "other" / "model.safetensors")
    assert after.sha256 == before.sha256 and before.classifier.reject_threshold is not None
    chosen = [metrics(tmp_path / name)["chosen"] for name in ("out", "other")]
    assert chosen[0] == chosen[1]
    accuracies = [
        next(e for e in metrics(tmp_path / name)["evaluations"] if e["name"] == "test")["top_1"]
        for name in ("out", "other")
    ]
    assert accuracies[0]["value"] > 0.7 > accuracies[1]["value"]


def test_a_test_photo_that_is_like_two_others_does_not_tie_these_together(tmp_path):
    """Tied photos share a fold, and are no measure of how like each other photos are."""
    photos = write_classes(tmp_path / "photos" / "train", 20).parent
    write_classes(photos / "test", 8, start=200)
    retrain(photos, tmp_path / "out")
    between = Image.blend(drawing("red", 18), drawing("red", 11), 0.5)
    between.save(photos / "test" / "red" / "between.png")
    retrain(photos, tmp_path / "other")
    assert {leak["other_id"] for leak in metrics(tmp_path / "other")["leaks"]} <= {
        "train/red/11.png", "train/red/18.png",
    }  # fmt: skip
    models = [load(tmp_path / name / "model.safetensors") for name in ("out", "other")]
    assert models[0].sha256 == models[1].sha256


def test_planted_leaks_between_given_sides_are_found_and_measured_without(tmp_path):
    photos = sided(tmp_path / "photos")
    shutil.copy(photos / "train/red/3.png", photos / "test/red/copy.png")
    with Image.open(photos / "train/green/5.png") as picture:
        picture.resize((picture.width * 2, picture.height * 2)).convert("RGB").save(
            photos / "val/green/larger.jpg", quality=80
        )
    retrain(photos, tmp_path / "out")
    found = metrics(tmp_path / "out")
    leaks = {(leak["id"], leak["other_id"], leak["reason"]) for leak in found["leaks"]}
    assert leaks == {
        ("test/red/copy.png", "train/red/3.png", "copy"),
        ("val/green/larger.jpg", "train/green/5.png", "near copy"),
    }
    photos_of = {each["name"]: each["photos"] for each in found["evaluations"]}
    assert (photos_of["test"], photos_of["test without leaks"]) == (17, 16)
    assert photos_of["validation (chosen on)"] == photos_of["validation without leaks"] + 1
    assert sides(tmp_path / "out")["test/red/copy.png"] == "test"
    assert "test/red/copy.png" in (tmp_path / "out" / "report.html").read_text()


def test_a_side_of_enough_test_photos_is_the_headline(tmp_path):
    photos = write_classes(tmp_path / "photos", 260)
    result = retrain(photos, tmp_path / "out", shares=Shares(0.2, 0.25))
    assert result.metrics[0].name == "test" and result.metrics[0].photos >= 100
    assert not any("cross-validation" in note for note in result.notes)


def test_strange_photos_are_rejected_by_a_threshold_that_never_saw_them(tmp_path):
    photos = write_classes(tmp_path / "photos", 40)
    strange = tmp_path / "strange"
    write_pictures(strange, 20)
    result = retrain(photos, tmp_path / "out", unknown=strange)
    rejection = result.metrics[0].rejection
    assert rejection.coverage > 0.85 and rejection.rejected > 0.9
    retrain(photos, tmp_path / "without")
    models = [load(tmp_path / name / "model.safetensors") for name in ("out", "without")]
    assert models[0].sha256 == models[1].sha256


def test_wrong_labels_are_suspected(tmp_path):
    photos = write_classes(tmp_path / "photos", 30)
    write_class(photos / "green", "red", 4, start=100)
    retrain(photos, tmp_path / "out")
    with (tmp_path / "out" / "suspects.csv").open() as file:
        suspects = list(csv.DictReader(file))
    wrong = {f"green/{number}.png" for number in range(100, 104)}
    assert suspects[0]["id"] in wrong and suspects[0]["likely"] == "red"
    assert len(wrong & {suspect["id"] for suspect in suspects}) >= 3


def test_a_table_of_several_labels_makes_a_multi_label_classifier(tmp_path):
    photos = write_classes(tmp_path / "photos", 20, "red", "green", "blue")
    lines = ["path,labels"]
    for path in sorted(photos.rglob("*.png")):
        labels = {"red": "warm|colour", "green": "colour", "blue": ""}[path.parent.name]
        lines.append(f"{path},{labels}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    result = retrain(tmp_path / "t.csv", tmp_path / "out")
    assert result.weights.classifier.activation == "sigmoid"
    assert result.metrics[0].top_1.value > 0.8
    assert hub.Module(tmp_path / "out").labels == ("colour", "warm")


def test_copies_with_different_labels_are_a_warning(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    shutil.copy(photos / "red" / "3.png", photos / "green" / "same.png")
    shutil.copy(photos / "red" / "3.png", photos / "red" / "copy.png")
    result = retrain(photos, tmp_path / "out")
    expected = (
        "copies of a photo have different labels: 'green/same.png' and 'red/3.png', and 1 more"
    )
    assert expected in result.notes


def test_a_validation_side_that_is_unlike_the_others_is_a_warning(tmp_path):
    photos = write_classes(tmp_path / "photos" / "train", 30).parent
    write_classes(photos / "val", 10, start=100)
    retrain(photos, tmp_path / "alike")
    assert not any("unlike" in note for note in metrics(tmp_path / "alike")["notes"])
    shutil.rmtree(photos / "val")
    write_class(photos / "val" / "red", "green", 10, start=100)
    write_class(photos / "val" / "green", "red", 10, start=100)
    retrain(photos, tmp_path / "unlike")
    (note,) = [note for note in metrics(tmp_path / "unlike")["notes"] if "unlike" in note]
    assert "expect that rather than the headline" in note


def test_balance_and_a_given_strength_are_heeded(tmp_path):
    photos = write_classes(tmp_path / "photos", 12, "red")
    write_class(photos / "green", "green", 60)
    plain = retrain(photos, tmp_path / "plain", learning=LearningSettings(strength=1.0))
    balanced = retrain(
        photos, tmp_path / "balanced", learning=LearningSettings(balance=True, strength=1.0)
    )
    bias = [r.weights.tensors["MobilenetV1/Logits/Conv2d_1c_1x1/biases"] for r in (plain, balanced)]
    assert bias[0][0] - bias[0][1] > bias[1][0] - bias[1][1]
    assert metrics(tmp_path / "plain")["chosen"]["strength"] == 1.0


def test_names_that_are_html_stay_text_in_the_report(tmp_path):
    photos = write_classes(tmp_path / "photos", 12, "red")
    evil = "<img src=x onerror=alert(1)>"
    write_class(photos / evil, "green", 12)
    (photos / evil / "0.png").rename(photos / evil / "<script>alert(2)<.png")
    (photos / "red" / "5.png").rename(photos / evil / "<b>wrong.png")
    retrain(photos, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<img src=x" not in page and "<script>alert" not in page and "<b>wrong" not in page
    assert "&lt;img src=x" in page
    assert (tmp_path / "out" / "labels.txt").read_text() == f"{evil}\nred\n"


def test_photos_that_cannot_be_read_are_listed_and_skipped(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    (photos / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    result = retrain(photos, tmp_path / "out")
    assert "1 photos could not be read, and were skipped" in result.notes
    (failure,) = metrics(tmp_path / "out")["failures"]
    assert failure["id"] == "red/broken.jpg" and failure["stage"] == "decode"


@pytest.mark.parametrize("distinct", [1, 2])
def test_copies_of_one_or_two_photos_are_too_few_to_measure_with(tmp_path, distinct):
    for name in ("a", "b"):
        write_pictures(tmp_path / "photos" / name, distinct)
        for copy in range(9):
            shutil.copy(
                tmp_path / f"photos/{name}/0000.jpg", tmp_path / f"photos/{name}/{copy}.jpg"
            )
    with pytest.raises(InputError, match=r"three photos that are not copies.*Received: [12]"):
        retrain(tmp_path / "photos", tmp_path / "out")


def test_classes_that_are_a_group_each_cannot_be_told_apart(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    lines = [f"{path},{path.parent.name},{path.parent.name}" for path in photos.rglob("*.png")]
    (tmp_path / "t.csv").write_text("path,label,visit\n" + "\n".join(lines))
    with pytest.raises(InputError, match="nor of one group"):
        retrain(tmp_path / "t.csv", tmp_path / "out", options=DataOptions(group_column="visit"))


def test_only_its_own_folder_is_replaced(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "labels.txt").write_text("mine")
    with pytest.raises(InputError, match="not written by this command"):
        retrain(photos, foreign)
    assert contents(foreign) == {"labels.txt": b"mine"}
    retrain(photos, tmp_path / "out")
    retrain(photos, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        retrain(photos, tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    with pytest.raises(InputError, match="among the photos"):
        retrain(photos, photos / "out")
    (tmp_path / "new.log").write_text("mine")
    with pytest.raises(InputError, match="log"):
        retrain(photos, tmp_path / "new")


def test_what_a_desktop_leaves_by_looking_at_the_folder_is_no_hindrance(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    retrain(photos, tmp_path / "out")
    (tmp_path / "out" / ".DS_Store").write_bytes(b"icons")
    retrain(photos, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == FILES


def test_the_log_of_a_run_that_was_killed_before_its_first_line_is_replaced(tmp_path):
    photos = write_classes(tmp_path / "photos", 8)
    (tmp_path / "out.log").touch()
    hub.retrain(photos, tmp_path / "out", SMALL_MODULE)
    assert str(photos) in (tmp_path / "out.log").read_text()


@pytest.mark.parametrize("strange", ["link", "dangling", "pipe", "folder"])
@pytest.mark.parametrize("name", ["out.log", "out/split.parquet"])
def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path, name, strange):
    photos = write_classes(tmp_path / "photos", 1)
    place, other = tmp_path / name, tmp_path / "other"
    place.parent.mkdir(exist_ok=True)
    if strange == "link":
        other.write_text("mobilenet-hub retrain")
    if strange == "pipe":
        os.mkfifo(place)
    elif strange == "folder":
        place.mkdir()
    else:
        place.symlink_to(other)
    with pytest.raises(InputError, match=r"where something else is|not written by this command"):
        retrain(photos, tmp_path / "out")
    assert other.exists() == (strange == "link")
    assert not other.exists() or other.read_text() == "mobilenet-hub retrain"


def test_a_run_that_fails_leaves_what_was_there(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    retrain(photos, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(AccuracyError, match="nothing was written"):
        retrain(photos, tmp_path / "out", assert_accuracy_at_least=1.01)
    shutil.rmtree(photos / "red")
    with pytest.raises(InputError, match="two classes"):
        retrain(photos, tmp_path / "out")
    shutil.rmtree(photos / "green")
    (photos / "green").mkdir()
    with pytest.raises(SourceError, match="no photos"):
        retrain(photos, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.tensorflow
def test_all_layers_are_trained_where_that_is_asked_for(tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    photos = write_classes(tmp_path / "photos", 24)
    rules = FineTuneSettings(epochs=2, layers=None, batch_size=8, learning_rate=0.001)
    unsure = LearningSettings(strength=100.0)  # so that the best epoch is a later one
    result = retrain(photos, tmp_path / "out", fine_tuning=rules, learning=unsure, size=(64, 64))
    assert result.metrics[0].name == "validation (chosen on)"
    assert any("flatters" in note for note in result.notes)
    found = metrics(tmp_path / "out")
    assert found["settings"]["fine_tuning"]["epochs"] == 2 and "epoch" in found["chosen"]
    assert [path.name for path in tmp_path.glob(".*")] == []
    module = hub.Module(tmp_path / "out")
    assert module.labels == ("green", "red")
    layer = "MobilenetV1/Conv2d_0/weights"
    assert not np.array_equal(
        module.variable_map[layer], hub.Module(SMALL_MODULE).variable_map[layer]
    )
    record = next(hub.classify(photos / "red" / "3.png", tmp_path / "out", reject=False))
    assert {label.name for label in record.labels} == {"green", "red"}


def test_a_classifier_in_int8_knows_its_calibration(tmp_path):
    photos = write_classes(tmp_path / "photos", 24)
    hub.retrain(photos, tmp_path / "out", hub.Module(SMALL_MODULE, precision="int8"))
    made = load(tmp_path / "out" / "model.safetensors")
    assert made.classifier.precision == "int8"
    assert made.classifier.calibration_sha256 == load_calibration(made, (224, 224)).sha256
