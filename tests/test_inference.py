"""A module in inference computes in the precision that it should, and says by what."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

import mobilenet_hub as hub
from calibration_support import clouds, measured
from mobilenet_hub import inference
from mobilenet_hub.errors import DatasetError, EngineError, MissingCalibrationError
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.runtime import GraphSpec, openvino
from mobilenet_hub.runtime.compiled_cache import compiled_graphs
from mobilenet_hub.runtime.contracts import LazyModel
from mobilenet_hub.settings import ClassifierSettings, PreprocessingSettings
from mobilenet_hub.weights.classifier import make_classifier
from mobilenet_hub.weights.storage.calibrations import keep_calibration
from pictures import write_pictures
from weights_support import load_bundled

HANDLE = "google/imagenet/mobilenet_v2_035_96/feature_vector/5"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def weights():
    return load_bundled("mobilenet_v2_035_224")


@pytest.fixture(scope="module")
def calibration(weights):
    return measured(weights)


def test_a_classifier_runs_in_the_precision_it_was_fitted_for_unless_told_otherwise(
    weights, calibration, tmp_path
):
    preprocessing = PreprocessingSettings(96, 96)
    settings = ClassifierSettings(("ant", "bee"), preprocessing, precision="int8")
    kernel = np.random.default_rng(0).standard_normal((weights.network.num_features, 2))
    classifier = make_classifier(weights, kernel.astype(np.float32), np.zeros(2), settings)
    path = tmp_path / "classifier.safetensors"
    classifier.save(path)
    with pytest.raises(MissingCalibrationError):
        hub.Module(path)
    keep_calibration(calibration)
    module, exact = hub.Module(path), hub.Module(path, precision="float32")
    assert (module.compute.precision, exact.compute.precision) == ("int8", "float32")
    images = clouds(3, seed=5)
    assert 0 < np.abs(module(images) - exact(images)).max() < 0.1 * np.abs(exact(images)).max()


def test_in_int8_a_module_is_known_by_its_calibration_too(weights, calibration):
    keep_calibration(calibration)
    exact = hub.Module(HANDLE, weights=weights).identity((96, 96))
    rounded = hub.Module(HANDLE, weights=weights, precision="int8").identity((96, 96))
    assert rounded == exact | {"calibration_sha256": calibration.sha256}


def test_rows_of_another_calibration_are_not_mixed_nor_searched(weights, calibration, tmp_path):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    path, photos, rows = tmp_path / "own.safetensors", tmp_path / "photos", tmp_path / "rows"
    weights.with_metadata(handle=HANDLE).save(path)
    write_pictures(photos, 3)
    keep_calibration(calibration)
    embed_to(photos, rows, hub.Module(path, precision="int8"))
    index = Index(build_index(rows))
    query = open_sources(photos / "0001.jpg").items
    (record,) = index.embed(query(), str(path))
    assert index.search(record.embedding, 1)[0].similarity == pytest.approx(1, abs=1e-3)
    keep_calibration(replace(calibration, ranges={k: 2 * v for k, v in calibration.ranges.items()}))
    with pytest.raises(DatasetError, match="another calibration"):
        index.embed(query(), str(path))
    with pytest.raises(DatasetError, match="calibration_sha256"):
        embed_to(photos, rows, hub.Module(path, precision="int8"))


def test_in_training_weights_nobody_calibrated_are_refused_in_int8(weights):
    changed = {name: value * np.float32(1.01) for name, value in weights.tensors.items()}
    other = type(weights)(weights.network, changed, {"source": "trained"})
    with pytest.raises(MissingCalibrationError, match="trained at 96x96"):
        hub.Module(HANDLE, weights=other, precision="int8")


def test_bf16_on_a_cpu_without_is_refused_and_not_computed_in_float32(monkeypatch):
    monkeypatch.setattr("mobilenet_hub.runtime.openvino.capabilities", lambda: ("BF16",))
    module = pickle.dumps(hub.Module(HANDLE, weights="random", precision="bf16"))
    monkeypatch.setattr("mobilenet_hub.runtime.openvino.capabilities", lambda: ("FP32",))
    with pytest.raises(EngineError, match="no bfloat16"):
        hub.Module(HANDLE, weights="random", precision="bf16")
    with pytest.raises(EngineError, match="no bfloat16"):  # sent to another machine
        pickle.loads(module)


SMALL = "google/imagenet/mobilenet_v2_035_224/feature_vector/3"


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("images", [1, 3])
def test_what_another_process_compiled_gives_the_same_to_the_bit(
    monkeypatch, precision, dtype, images
):
    monkeypatch.setattr(openvino, "_keepers", {})
    pixels = np.random.default_rng(0).integers(0, 256, (images, 224, 224, 3), np.uint8)
    given = pixels if dtype == "uint8" else pixels.astype(np.float32) / 255
    compiled = hub.Module(SMALL, precision=precision)(given)
    for keeper in openvino._keepers.values():
        keeper.join()
    assert len(compiled_graphs()) == 1
    monkeypatch.setattr(inference, "build_graph", None)
    imported = hub.Module(SMALL, precision=precision)(given)
    np.testing.assert_array_equal(imported, compiled)


def test_other_code_compiles_anew(monkeypatch, weights):
    spec = GraphSpec("uint8", 96, 96)
    ours = inference.graph_of(weights, "float32", "feature_vector", spec)
    monkeypatch.setattr(inference, "_code_digest", lambda: "another version's")
    theirs = inference.graph_of(weights, "float32", "feature_vector", spec)
    assert isinstance(ours, LazyModel) and isinstance(theirs, LazyModel)
    assert ours.made != theirs.made


def test_weights_that_change_are_not_kept_compiled(weights):
    trained = weights.with_metadata(source="training")
    spec = GraphSpec("uint8", 96, 96)
    model = inference.graph_of(trained, "float32", "feature_vector", spec)
    assert not isinstance(model, LazyModel)


def test_a_network_for_images_of_any_size_is_calibrated_for_those_that_are_computed():
    bundled = load_bundled("mobilenet_v1_025_224")
    changed = {name: value * np.float32(1.01) for name, value in bundled.tensors.items()}
    weights = type(bundled)(bundled.network, changed, {"source": "trained"})
    keep_calibration(measured(weights, 160))
    module = hub.Module(
        "google/imagenet/mobilenet_v1_025_224/classification", weights=weights, precision="int8"
    )
    assert np.isfinite(module(clouds(2, 160))).all()
    with pytest.raises(MissingCalibrationError, match="at 224x224"):
        module(clouds(2, 224))


def test_a_provider_that_is_no_list_is_refused_as_such():
    with pytest.raises(EngineError, match=r"a list of names\. Received: 'CPUExecutionProvider'"):
        hub.Module(HANDLE, weights="random", engine="onnxruntime", providers="CPUExecutionProvider")
