"""Calibrating: from photos to a record with a certificate, which int8 then runs by."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import closing

import pytest
from PIL import Image

import mobilenet_hub as hub
from calibration_support import clouds, least_cosine
from mobilenet_hub.conversion.calibrate import MIN_PHOTOS, calibrate
from mobilenet_hub.conversion.certify import certify
from mobilenet_hub.errors import InputError, MissingCalibrationError, SourceError, WeightsError
from mobilenet_hub.pipeline.progress import make_progress
from mobilenet_hub.weights.calibration import Photos
from weights_support import empty_cache, load_bundled  # noqa: F401 - a fixture

HANDLE = "google/imagenet/mobilenet_v2_035_96/feature_vector/5"
CLASSIFIER = "google/imagenet/mobilenet_v1_025_128/classification/5"


@pytest.fixture(scope="module")
def weights():
    return load_bundled("mobilenet_v2_035_224")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / "clouds"
    folder.mkdir()
    for index, pixels in enumerate(clouds(26, 120)):
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a photo")
    (folder / "copy.png").write_bytes((folder / "00.png").read_bytes())
    Image.new("RGB", (120, 120), "black").save(folder / "black.png")
    return folder


def test_what_was_calibrated_runs_in_int8_and_its_record_names_what_it_was_measured_on(
    weights, photos
):
    with pytest.raises(MissingCalibrationError, match="calibrate"):
        hub.Module(HANDLE, weights=weights, precision="int8")
    stream = io.StringIO()
    with closing(make_progress("json", None, stream)) as progress:
        done = calibrate(hub.Module(HANDLE, weights=weights), photos, progress=progress)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    ended = [line["step"] for line in lines if line.get("done") == line["total"] == 52]
    assert ended == ["layers", *(f"layers, half {half} of the photos" for half in (1, 2))]
    reasons = {path.rpartition("/")[2]: reason for path, reason in done.failures}
    assert reasons.keys() == {"black.png", "broken.jpg", "copy.png"}
    assert reasons["black.png"] == "a picture of one colour"
    assert reasons["copy.png"].endswith("clouds/00.png")
    assert "broken.jpg" not in reasons["broken.jpg"]
    images = clouds(5, seed=9)
    exact = hub.Module(HANDLE, weights=weights)(images)
    rounded = hub.Module(HANDLE, weights=weights, precision="int8")(images)
    assert 0.97 < least_cosine(exact, rounded) < 1

    digest = hashlib.sha256()
    for path in sorted(photos.glob("[0-9]*.png")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    assert done.calibration.photos == Photos("clouds", 26, digest.hexdigest())
    (certificate,) = done.calibration.certificates
    assert certificate.photos == done.calibration.photos
    assert certificate.engine.startswith("openvino 2")
    assert certificate.instruction_set
    assert 0.97 < certificate.least_cosine <= certificate.cosine < 1
    assert certificate.recall is certificate.agreement is certificate.top1_loss is None


def test_a_classifiers_certificate_has_agreement_and_loss():
    weights = load_bundled("mobilenet_v1_025_224")
    images = clouds(40, 128)
    exact = hub.Module(CLASSIFIER, weights=weights)(images).argmax(1)
    certificate = certify(weights, images, Photos("clouds", 40, ""), classes=exact)
    assert 0.5 < certificate.recall < 1
    assert 0 < certificate.agreement <= 1
    assert certificate.top1_loss == pytest.approx(1 - certificate.agreement)
    low, high = certificate.top1_interval
    assert low < certificate.top1_loss < high


def test_limits_and_sizes_are_checked(weights, photos, tmp_path):
    module = hub.Module(CLASSIFIER, weights=load_bundled("mobilenet_v1_025_224"))
    assert calibrate(module, photos, limit=MIN_PHOTOS).calibration.photos.count == MIN_PHOTOS
    for limit in (3, 22.5):
        with pytest.raises(InputError, match="at least 22"):
            calibrate(module, photos, limit=limit)
    module = hub.Module(HANDLE, weights=weights)
    with pytest.raises(InputError, match="fixed to 96"):
        calibrate(module, photos, size=(128, 128))
    with pytest.raises(WeightsError, match=r"at least 22 photos.*Received: 1 that"):
        calibrate(module, photos / "00.png")
    with pytest.raises(SourceError):
        calibrate(module, tmp_path / "nowhere")
