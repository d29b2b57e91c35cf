"""What a figure was measured on."""

from __future__ import annotations

from importlib.metadata import version

import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import EngineError
from mobilenet_hub.runtime.cpu import cpu_flags
from mobilenet_hub.verification.machine import this_machine

SMALL = "google/imagenet/mobilenet_v1_025_224/feature_vector"


def test_it_says_instructions_and_versions():
    machine = this_machine()
    assert machine.cpu and machine.system
    assert set(machine.instructions) <= cpu_flags()
    assert machine.versions["openvino"] == version("openvino")


def test_bf16_can_be_had_where_it_says_so_and_nowhere_else():
    if this_machine().bf16:
        assert hub.Module(SMALL, precision="bf16").compute.precision == "bf16"
    else:
        with pytest.raises(EngineError, match="no bfloat16"):
            hub.Module(SMALL, precision="bf16")
