"""Figures of this machine: each engine and precision measured in a process of its own."""

from __future__ import annotations

import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import (
    EngineError,
    InputError,
    SourceError,
    UnknownHandleError,
    WeightsError,
)

SMALL = "google/imagenet/mobilenet_v1_025_224/feature_vector"


def test_both_engines_are_measured_from_files_to_features(examples):
    outcome = hub.benchmark(SMALL, photos=examples, precisions=["float32"], seconds=0.05, threads=1)
    assert [row.engine for row in outcome.figures] == ["openvino", "onnxruntime"]
    assert (outcome.handle, outcome.threads, outcome.left_out) == (SMALL, 1, {})
    for row in outcome.figures:
        assert row.photos == 3
        assert row.cold_start_seconds > row.latency_ms / 1000 > 0
        assert min(row.images_per_second, row.decoded_per_second, row.embedded_per_second) > 0
        assert 50 < row.peak_memory_mb < 1000


def test_without_photos_nothing_is_said_of_files():
    options = {"engines": ["openvino"], "precisions": ["float32"], "seconds": 0.01}
    (row,) = hub.benchmark(SMALL, **options).figures
    assert (row.decoded_per_second, row.embedded_per_second, row.photos) == (None, None, 0)


def test_an_engine_that_cannot_be_had_is_left_out_with_the_reason():
    with pytest.raises(EngineError, match=r"nothing can be measured: quantum float32: .*'quantum'"):
        hub.benchmark(SMALL, engines=["quantum"], precisions=["float32"], seconds=0.01)


@pytest.mark.parametrize(
    ("module", "options", "error"),
    [
        ("google/imagenet/mobilenet_v9", {}, UnknownHandleError),
        (__file__, {}, WeightsError),
        (SMALL, {"seconds": 0}, InputError),
        (SMALL, {"engines": []}, EngineError),
        (SMALL, {"photos": "nowhere"}, SourceError),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_process_begins(module, options, error):
    with pytest.raises(error):
        hub.benchmark(module, **options)


def test_what_holds_no_photo_that_can_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"Received: none$"):
        hub.benchmark(SMALL, photos=tmp_path)
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(InputError, match="Received: none of 2 that can be read"):
        hub.benchmark(SMALL, photos=tmp_path)
    with pytest.raises(InputError, match="several times"):
        hub.benchmark(SMALL, photos="-")


def test_a_cold_start_ends_with_features_though_the_first_file_is_no_photo(tmp_path, examples):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    (tmp_path / "b.jpg").write_bytes((examples / "cat.jpg").read_bytes())
    how = {"engines": ["openvino"], "precisions": ["float32"], "seconds": 0.01, "threads": 1}
    (row,) = hub.benchmark(SMALL, photos=tmp_path, **how).figures
    assert row.photos == 2 and row.decoded_per_second > 0 and row.embedded_per_second > 0


def test_what_a_machine_does_not_have_is_left_out_with_its_own_reason():
    done = hub.benchmark(SMALL, precisions=["float32", "bf16"], seconds=0.01)
    assert "onnxruntime" in done.left_out["onnxruntime bf16"]
