"""Classifiers that people already have become folders of this library's own."""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
import zipfile

import numpy as np
import pytest
from PIL import Image

import mobilenet_hub as hub
from keras_files import as_tensorflow_js, numbers, write_tensorflow_js
from mobilenet_hub.conversion.classifiers import LABELS, MODEL, read_labels
from mobilenet_hub.errors import ConversionError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.readers import read, zip_files


@pytest.fixture
def teachable(shared):
    """The folder of the real export."""
    folder = shared / "classifiers" / "teachable_machine"
    if not folder.is_dir():
        pytest.skip("the export of Teachable Machine is not beside this checkout")
    return folder


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def test_a_teachable_machine_export_gives_the_predictions_of_tensorflow_js(teachable, tmp_path):
    result = hub.import_classifier(teachable / "model.json", tmp_path / "out")
    assert sorted(path.name for path in result.folder.iterdir()) == [LABELS, MODEL]
    assert (result.folder / LABELS).read_text() == "Class 1\nClass 2\n"
    reference = json.loads((teachable / "reference.json").read_text())
    image, row, column, channel = np.indices((3, 224, 224, 3))
    waves = np.sin((image + 1) * (0.031 * row + 0.017 * column * (channel + 1)) + channel)
    for source in (teachable / "model.json", teachable, result.folder):
        module = hub.Module(source)
        assert module.labels == tuple(reference["classes"])
        assert module.preprocessing.crop == "cover"
        probabilities = softmax(module(((waves + 1) / 2).astype(np.float32)))
        np.testing.assert_allclose(probabilities, reference["probabilities"], atol=1e-4)


def test_what_classify_prints_is_what_the_module_computes_of_the_pixels(teachable, tmp_path):
    hub.import_classifier(teachable / "model.json", tmp_path / "out")
    module = hub.Module(tmp_path / "out")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / f"{number}.png")
    wanted = softmax(module(pixels))
    records = list(hub.classify([tmp_path / "0.png", tmp_path / "1.png"], tmp_path / "out"))
    for record, row in zip(records, wanted, strict=True):
        found = {label.name: label.score for label in record.labels}
        assert set(found) == {"Class 1", "Class 2"}
        np.testing.assert_allclose([found[name] for name in module.labels], row, atol=1e-6)


def test_a_picture_is_cut_to_its_central_square_as_teachable_machine_does(teachable, tmp_path):
    hub.import_classifier(teachable / "model.json", tmp_path / "out")
    pixels = np.random.default_rng(0).integers(0, 256, (224, 300, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    cut = hub.Module(tmp_path / "out").preprocessing((tmp_path / "wide.png").read_bytes())
    np.testing.assert_array_equal(cut, pixels[:, 38:262])


# Labels -----------------------------------------------------------------------------------------


@pytest.fixture
def exported(tmp_path):
    """A model of TensorFlow.js with five classes that it does not name."""
    net = network("mobilenet_v2", 0.35, 5)
    folder = tmp_path / "mobilenet_v2_0.35_96"
    folder.mkdir()
    write_tensorflow_js(folder, as_tensorflow_js(net, numbers(net, logits=5)[1]))
    return folder


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0 a b\n1 c\n2 d\n3 e\n4 f\n", ("a b", "c", "d", "e", "f")),
        ("\ufeffa\r\nb\r\nc\r\nd\r\n5 e", ("a", "b", "c", "d", "5 e")),
        ("1 a\n2 b\n3 c\n4 d\n5 e\n", ("1 a", "2 b", "3 c", "4 d", "5 e")),
    ],
)
def test_labels_are_taken_from_a_file_or_from_beside_the_model(exported, tmp_path, text, labels):
    named = tmp_path / "names.txt"
    named.write_bytes(text.encode())
    assert read_labels(named) == labels
    result = hub.import_classifier(exported, tmp_path / "a", labels=named)
    assert result.weights.labels == labels
    named.rename(exported / LABELS)
    assert hub.import_classifier(exported, tmp_path / "b").weights.labels == labels
    assert hub.import_classifier(exported, tmp_path / "c", labels=list("vwxyz")).weights.labels == (
        "v", "w", "x", "y", "z",
    )  # fmt: skip


def test_labels_that_are_none_or_not_as_many_are_refused(exported, tmp_path):
    with pytest.raises(WeightsError, match=r"expected 5 labels.*Received: 2"):
        hub.import_classifier(exported, tmp_path / "a", labels=["a", "b"])
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConversionError, match="text in UTF-8"):
        hub.import_classifier(exported, tmp_path / "a", labels=tmp_path / "x.txt")
    assert not (tmp_path / "a").exists()


def test_without_any_labels_classes_are_numbers(exported, tmp_path):
    result = hub.import_classifier(exported, tmp_path / "a")
    assert result.weights.labels == tuple("01234")
    assert result.module.handle == "google/imagenet/mobilenet_v2_035_96/classification/5"


# The archives that websites give ------------------------------------------------------------------


def zipped(path, members):
    """A zip archive of (name in it, path of a file, bytes, or a ZipInfo with bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data if isinstance(data, bytes) else data.read_bytes())
    return path


def test_the_archive_of_teachable_machine_is_as_good_as_what_is_in_it(teachable, tmp_path):
    names = ("metadata.json", "model.json", "weights.bin")
    archive = zipped(tmp_path / "tm-my-image-model.zip", [(n, teachable / n) for n in names])
    found, wanted = (
        hub.import_classifier(path, tmp_path / name).weights
        for path, name in ((archive, "a"), (teachable, "b"))
    )
    assert found.labels == ("Class 1", "Class 2")
    assert found.tensors.keys() == wanted.tensors.keys()
    assert all(np.array_equal(found.tensors[n], wanted.tensors[n]) for n in wanted.tensors)
    assert found.metadata["source"].startswith("tm-my-image-model.zip ")


@pytest.mark.parametrize("folder", ["", "converted/"])
def test_labels_are_taken_from_the_archive(exported, tmp_path, folder):
    model = [(f"{folder}{file.name}", file) for file in sorted(exported.iterdir())]
    labels = [("labels.txt", b"0 a\n1 b\n2 c\n3 d\n4 e\n"), ("__MACOSX/._model.json", b"x")]
    archive = zipped(tmp_path / "mobilenet_v2_0.35_96.zip", [*labels, *model])
    assert hub.import_classifier(archive, tmp_path / "out").weights.labels == tuple("abcde")
    with pytest.raises(WeightsError, match="import FILE --output FOLDER"):
        hub.Module(archive)


def test_nothing_in_an_archive_leaves_its_folder(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    link = zipfile.ZipInfo("labels.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = zipped(
        tmp_path / "mobilenet_v2_0.35_96.zip",
        [
            ("../evil.json", b"{}"), ("/evil.json", b"{}"), ("a/../../evil.bin", b"x"),
            ("variables/../../evil.txt", b"x"), (link, b"/etc/passwd"),
            *[(file.name, file) for file in exported.iterdir()],
        ],
    )  # fmt: skip
    with pytest.raises(WeightsError, match=r"expected 5 labels.*Received: 1"):  # the link's text
        hub.import_classifier(archive, tmp_path / "out")
    assert not list(tmp_path.rglob("evil*")) and not any((tmp_path / "tmp").iterdir())


def test_an_archive_of_two_models_or_of_none_or_of_too_much_is_refused(exported, tmp_path):
    files = [(file.name, file) for file in exported.iterdir()]
    for members, message in (
        ([*files, *((f"b/{name}", file) for name, file in files)], "several models"),
        ([("photo.jpg", b"x")], "in the zip archive"),
    ):
        with pytest.raises(WeightsError, match=message):
            hub.import_classifier(zipped(tmp_path / "x.zip", members), tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zip_files, "MAX_UNPACKED_BYTES", 1000)
        with pytest.raises(WeightsError, match="at most"):
            hub.import_classifier(zipped(tmp_path / "y.zip", files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The output -------------------------------------------------------------------------------------


def test_an_import_is_written_over_and_nothing_else_is(exported, tmp_path):
    output = tmp_path / "out"
    hub.import_classifier(exported, output)
    first = {path.name: path.read_bytes() for path in output.iterdir()}
    hub.import_classifier(exported, output, labels=list("vwxyz"))
    assert (output / LABELS).read_text() == "v\nw\nx\ny\nz\n"
    hub.import_classifier(exported, output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == first
    for name in ("notes.txt", LABELS):
        folder = tmp_path / name.replace(".", "")
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(ConversionError, match="not written by an import alone"):
            hub.import_classifier(exported, folder)
        assert (folder / name).read_text() == "mine"
    with pytest.raises(ConversionError, match="not written by an import alone"):
        hub.import_classifier(exported, tmp_path / "notestxt" / "notes.txt")


def test_what_has_no_classes_of_its_own_is_refused(tmp_path):
    net = network("mobilenet_v1", 0.25)
    write_tensorflow_js(tmp_path, as_tensorflow_js(net, numbers(net)[1]))
    handle = "google/imagenet/mobilenet_v1_025_128/classification/5"
    with pytest.raises(WeightsError, match=r"no classes of its own.*ImageNet classes"):
        hub.import_classifier(tmp_path / "model.json", tmp_path / "out", handle=handle)
    assert not (tmp_path / "out").exists()


def test_a_handle_of_either_task_says_the_size(exported, tmp_path):
    folder = tmp_path / "unknown"
    shutil.copytree(exported, folder)
    handle = "google/imagenet/mobilenet_v2_035_160/feature_vector/5"
    result = hub.import_classifier(folder, tmp_path / "out", handle=handle)
    assert result.module.image_size == 160
    assert hub.Module(result.folder).info == result.module
    assert not read(folder, handle=handle).has_logits  # the features were asked for
