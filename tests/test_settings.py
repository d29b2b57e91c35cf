"""Settings: one record, and what it becomes in JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mobilenet_hub.errors import InputError
from mobilenet_hub.settings import Compute, PreprocessingSettings, Settings

OTHERS = Settings(
    PreprocessingSettings(96, 128, "pad", "tf1", 1000),
    Compute("onnxruntime", "bf16", 3, ("CUDAExecutionProvider", "CPUExecutionProvider")),
    features=False, labels=3, normalize="l2", content_hash=True, dimensions=True,
    perceptual_hash=True, dtype="float16",
)  # fmt: skip


def test_settings_survive_json_but_for_the_threads_which_change_no_result():
    back = Settings.from_dict(json.loads(json.dumps(OTHERS.to_dict())))
    unthreaded = dataclasses.replace(OTHERS.compute, threads=None)
    assert back == dataclasses.replace(OTHERS, compute=unthreaded)


def test_every_field_that_may_change_a_result_is_written_down():
    fields = {
        field.name
        for record in (PreprocessingSettings, Compute, Settings)
        for field in dataclasses.fields(record)
    }
    assert set(OTHERS.to_dict()) == fields - {"threads", "preprocessing", "compute"}


def test_what_an_older_file_does_not_say_is_the_default():
    assert Settings.from_dict({"height": 2, "width": 3, "handle": "ignored"}) == Settings(
        PreprocessingSettings(2, 3)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("normalize", "l1"), ("dtype", "int8"), ("crop", "odd"), ("height", 0), ("max_pixels", True)],
)
def test_settings_that_mean_nothing_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must be.*Received: {value!r}"):
        Settings.from_dict({"height": 2, "width": 3, name: value})
