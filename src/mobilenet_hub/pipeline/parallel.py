"""Many items through a processor at once, and out again in the order they came in.

Everything is bounded: so many batches of so many items are under way, and the next is taken from
the source only when the oldest has been taken by the consumer. A slow consumer therefore slows the
source, and memory does not depend on how many items there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from mobilenet_hub.pipeline.processor import Processor
from mobilenet_hub.pipeline.results import Results
from mobilenet_hub.pipeline.sources.items import BytesItem, Item
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.web.patience import Waits

ResultStream = Generator[Results, None, None]
_In = TypeVar("_In")
_Out = TypeVar("_Out")

BATCH_BYTES = 8 << 20  # of images that are carried in memory; a larger one is a batch of its own
CARRIED_BYTES = 64 << 20  # in all batches under way, or a single item
_AHEAD = 4  # batches under way for each thread: enough that none waits for the oldest to be taken

# Reading from a network is waiting: many threads wait, few items each, so that memory is bounded.
REMOTE_THREADS = 32
_REMOTE_BATCH_ITEMS = 2


def process_all(
    processor: Processor, items: Iterable[Item], *, threads: int | None = None
) -> ResultStream:
    """Process items on several threads.

    Args:
        processor: what to do with them.
        items: in the order in which their results are wanted.
        threads: how many items are read and decoded at once; by default one a core, and
            `REMOTE_THREADS` for items on a network.

    Yields:
        Results of consecutive items. When the generator is closed, threads finish the batches they
        are at, and no further ones begin.
    """
    stream = iter(items)
    first = next(stream, None)
    if first is None:
        return
    remote = bool(getattr(first, "remote", False))
    if threads is None:
        threads = REMOTE_THREADS if remote else available_threads()
    size = _REMOTE_BATCH_ITEMS if remote else processor.batch_items
    batches = batched(chain((first,), stream), size)
    yield from ordered_map(processor, batches, threads=threads, weigh=carried_bytes)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` items, fewer where they carry many bytes."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size or carried_bytes(batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def carried_bytes(batch: Iterable[Item]) -> int:
    """How many bytes of images items carry in memory."""
    return sum(len(item.data) for item in batch if isinstance(item, BytesItem))


def ordered_map(
    function: Callable[[_In], _Out],
    values: Iterable[_In],
    *,
    threads: int,
    weigh: Callable[[_In], int] = lambda value: 0,
) -> Generator[_Out, None, None]:
    """`map` on several threads, in order, with a bounded number of values under way.

    Args:
        function: is called in the threads.
        values: what it is called with.
        threads: how many.
        weigh: tells how many bytes a value carries; `CARRIED_BYTES` are under way at most, or a
            single value.

    Whatever a thread waits for on a network ends when the generator is closed.
    """
    waits = Waits()
    pool = ThreadPoolExecutor(
        threads, thread_name_prefix="mobilenet-hub", initializer=waits.adopt_thread
    )
    try:
        waiting: deque[tuple[int, Future[_Out]]] = deque()
        for value in values:
            waiting.append((weigh(value), pool.submit(function, value)))
            del value  # carries bytes, which the next one need not wait beside
            while waiting and (
                len(waiting) >= _AHEAD * threads
                or waiting[0][1].done()
                or sum(weight for weight, _ in waiting) > CARRIED_BYTES
            ):
                yield waiting.popleft()[1].result()
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        waits.end()
        pool.shutdown(wait=True, cancel_futures=True)
