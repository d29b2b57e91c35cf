"""What a figure was measured on: CPU, instructions, versions."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from mobilenet_hub import __version__
from mobilenet_hub.runtime.cpu import cpu_flags, cpu_name
from mobilenet_hub.runtime.openvino import capabilities

# Instructions that decide how fast a network is computed, and in which order its sums are made.
_INSTRUCTIONS = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "bf16",
    "i8mm", "sve",
)  # fmt: skip
_PACKAGES = ("numpy", "openvino", "onnxruntime", "simplejpeg", "pillow")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, and what computes on it.

    Attributes:
        cpu: its name.
        instructions: those of the CPU that matter here, as Linux calls them.
        bf16: whether OpenVINO computes in bfloat16 here.
        system: for example `Linux x86_64`.
        versions: of Python, this package and those that compute.
    """

    cpu: str
    instructions: tuple[str, ...]
    bf16: bool
    system: str
    versions: dict[str, str]


@cache
def this_machine() -> Machine:
    """The machine that this runs on."""
    flags = cpu_flags()
    versions = {"python": platform.python_version(), "mobilenet-hub": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return Machine(
        cpu=cpu_name(),
        instructions=tuple(name for name in _INSTRUCTIONS if name in flags),
        bf16="BF16" in capabilities(),
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
    )
