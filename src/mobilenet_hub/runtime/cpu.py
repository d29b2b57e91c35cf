"""Which instructions for whole numbers this CPU has: int8 depends on them."""

from __future__ import annotations

import platform
from pathlib import Path

# The best first. Those before `avx2` multiply bytes and add in 32 bits in one instruction.
_X86 = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "sse4_1")
_ARM = ("i8mm", "asimddp", "asimd")


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The names that Linux has for what the CPU can do; empty elsewhere."""
    try:
        text = path.read_text()
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    words = next((words for key, _, words in lines if key.strip() in ("flags", "Features")), "")
    return frozenset(words.split())


def instruction_set(flags: frozenset[str] | None = None) -> str:
    """The best instructions for int8 that the CPU has, as Linux calls them; else its kind."""
    flags = cpu_flags() if flags is None else flags
    return next((name for name in (*_X86, *_ARM) if name in flags), platform.machine())
