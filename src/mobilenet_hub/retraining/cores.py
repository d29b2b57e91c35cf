"""Linear algebra on all cores, with results that do not depend on how many there are.

A product of matrices that BLAS divides among its own threads is rounded another way with another
number of them, and its threads wait for each other by turning round: beside other programs training
took four times the processor time. So each call has one thread, and pieces of work have the cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from mobilenet_hub.runtime import available_threads


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within, each call of BLAS has one thread, in the whole process."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


@contextmanager
def all_cores(threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads for pieces of work, one a core by default; BLAS has one in each."""
    with single_threaded_blas(), ThreadPoolExecutor(threads or available_threads()) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
