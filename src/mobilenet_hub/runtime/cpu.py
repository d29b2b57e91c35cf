"""Which CPU this is, and which instructions for whole numbers it has: int8 depends on them."""

from __future__ import annotations

import platform
from pathlib import Path

# The best first. Those before `avx2` multiply bytes and add in 32 bits in one instruction.
_X86 = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "sse4_1")
_ARM = ("i8mm", "asimddp", "asimd")
_CPUINFO = Path("/proc/cpuinfo")


def cpu_flags(path: Path = _CPUINFO) -> frozenset[str]:
    """The names that Linux has for what the CPU can do; empty elsewhere."""
    facts = _facts(path)
    return frozenset((facts.get("flags") or facts.get("Features", "")).split())


def cpu_name(path: Path = _CPUINFO) -> str:
    """What Linux calls the CPU; else what Python knows."""
    return _facts(path).get("model name") or platform.processor() or platform.machine()


def instruction_set(flags: frozenset[str] | None = None) -> str:
    """The best instructions for int8 that the CPU has, as Linux calls them; else its kind."""
    flags = cpu_flags() if flags is None else flags
    return next((name for name in (*_X86, *_ARM) if name in flags), platform.machine())


def _facts(path: Path) -> dict[str, str]:
    """What Linux says of the first core, by its names for it; nothing elsewhere."""
    facts: dict[str, str] = {}
    try:
        with path.open(errors="replace") as file:
            for line in file:
                if not line.strip():
                    break  # the others follow: of a hundred cores, they take some milliseconds
                key, _, value = line.partition(":")
                facts[key.strip()] = value.strip()
    except OSError:
        return {}
    return facts
