"""Figures of this machine: each engine and precision measured in a process of its own."""

from __future__ import annotations

import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import EngineError, InputError, SourceError, UnknownHandleError

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
        (SMALL, {"seconds": 0}, InputError),
        (SMALL, {"photos": "nowhere"}, SourceError),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_process_begins(module, options, error):
    with pytest.raises(error):
        hub.benchmark(module, **options)


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(InputError, match="no photos"):
        hub.benchmark(SMALL, photos=tmp_path)
