"""How much memory reading a file takes."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

_calls = itertools.count()


@contextmanager
def bounded_memory(limit: float) -> Iterator[None]:
    """Fails where more bytes are allocated: in every third call, for it takes thrice as long."""
    if next(_calls) % 3:
        yield
        return
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < limit
