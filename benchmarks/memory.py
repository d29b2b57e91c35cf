"""How much memory a benchmark took (Linux)."""

from __future__ import annotations

from pathlib import Path


def peak_megabytes() -> float:
    """Of this process; `ru_maxrss` would count the parent's too, as it was at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
