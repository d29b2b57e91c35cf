"""The pipeline on a Ray cluster (extra `[ray]`).

`Embedder` is a transform for Ray Data:

```python
import ray, mobilenet_hub as hub

dataset = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
dataset = dataset.map_batches(hub.ray.Embedder, batch_size=64, num_cpus=1)
dataset.filter(lambda row: not row["stage"]).write_parquet("s3://bucket/embeddings")
```

`mobilenet-hub embed --executor ray` is `make_executor`: batches of items go to one worker a core of
the cluster and come back in order, so that all else (parts, resume, errors) is what it is on one
machine, and so is every row.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Unpack

import numpy as np

from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.errors import MissingExtraError, SourceError, WeightsError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.dataset.manifest import Done
from mobilenet_hub.pipeline.job import Executor
from mobilenet_hub.pipeline.parallel import ResultStream, batched
from mobilenet_hub.pipeline.processor import Processor, settings_for
from mobilenet_hub.pipeline.results import Results
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem, FileItem, Item, SliceItem
from mobilenet_hub.settings import Normalize, PreprocessingChoices, Settings

_BATCH_ITEMS = 32
_AHEAD = 2  # batches at each worker: one at work, one waiting
_RETRIES = 3  # of a batch whose worker died


class Embedder:
    """Adds embeddings to batches of images; a callable class for `ray.data.Dataset.map_batches`.

    Batches (of format `numpy`) have the columns that `ray.data.read_binary_files` makes: `bytes`,
    and `path` with `include_paths=True`; or a `path` alone, of files that every worker can read. An
    `id` column is kept; where there is none, the path is the id.

    Args:
        module: handle or path.
        labels, reject, normalize: see `hub.embed`.
        **preprocessing: `crop`, `resample`, `size`, `max_pixels`: see there.

    Raises:
        UnknownHandleError, MissingWeightsError, InputError: as `hub.embed`.
    """

    def __init__(
        self,
        module: str = EMBED_MODULE,
        *,
        labels: int = 0,
        reject: bool | None = None,
        normalize: Normalize | None = None,
        **preprocessing: Unpack[PreprocessingChoices],
    ) -> None:
        loaded = InferenceModule(module)
        settings = settings_for(
            loaded, preprocessing, labels=labels, reject=reject, normalize=normalize
        )
        # Ray starts one of these for each `num_cpus`; each keeps to its own.
        self._processor = Processor(loaded, settings, threads=1)

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Embed a batch.

        Returns:
            In the order of the batch: `id`; `embedding`, float32 [rows, num_features], NaN where
            an image failed; `label_indices` and `scores` if asked for, with them `unknown` of a
            classifier that can tell; `stage` and `reason` of the failure, empty where there was
            none.

        Raises:
            SourceError: neither `bytes` nor `path` among the columns.
        """
        items = _items(batch)
        results = self._processor(items)
        outcomes = results.outcomes
        good = np.array([not outcome.failed for outcome in outcomes], bool)
        result: dict[str, np.ndarray[Any, Any]] = {
            "id": np.array([item.id for item in items], object),
            "embedding": _spread(results.features, good, np.nan),
        }
        if len(results.label_indices):
            result["label_indices"] = _spread(results.label_indices, good, -1)
            result["scores"] = _spread(results.label_scores, good, np.nan)
        if len(results.unknown):
            result["unknown"] = _spread(results.unknown, good, False)
        result["stage"] = np.array([outcome.stage or "" for outcome in outcomes], object)
        result["reason"] = np.array([outcome.reason for outcome in outcomes], object)
        return result


def _items(batch: dict[str, np.ndarray[Any, Any]]) -> list[Item]:
    """The rows of a batch as items."""
    paths, data, ids = batch.get("path"), batch.get("bytes"), batch.get("id")
    named = paths if ids is None else ids
    if named is None or (data is None and paths is None):
        raise SourceError(
            "a batch needs the columns `bytes` and `path` (or `id`), as ray.data.read_binary_files("
            f"..., include_paths=True) makes them. Received: {', '.join(batch)}"
        )
    names = [str(name) for name in named]
    if data is not None:
        return [
            _null(name) if value is None else BytesItem(name, name, bytes(value))
            for name, value in zip(names, data, strict=True)
        ]
    assert paths is not None
    return [
        _null(name) if path is None else FileItem(str(path), name)
        for name, path in zip(names, paths, strict=True)
    ]


def _null(name: str) -> Item:
    """A row without an image: it fails, and no other does."""
    return BrokenItem(name, name, "read", "null instead of an image")


def _spread(
    values: np.ndarray[Any, Any], where: np.ndarray[Any, Any], otherwise: float
) -> np.ndarray[Any, Any]:
    """Rows put where a mask says, and something else in the other rows."""
    spread = np.full((len(where), *values.shape[1:]), otherwise, values.dtype)
    spread[where] = values
    return spread


def make_executor(
    spec: str, module: InferenceModule, *, address: str | None = None, workers: int | None = None
) -> Executor:
    """Who computes results for `hub.embed_to`: the workers of a Ray cluster.

    Args:
        spec: the module's handle or path; every worker must be able to load it.
        module: the same, loaded here.
        address: of the cluster; by default the one this process is part of or that
            `RAY_ADDRESS` names, else a new one on this machine.
        workers: how many; by default one for each CPU of the cluster.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "running on a Ray cluster") from error
    if os.path.exists(spec):  # noqa: PTH110
        spec = os.path.abspath(spec)  # noqa: PTH100 - workers have another current folder

    def execute(settings: Settings, done: Done, items: Iterable[Item]) -> ResultStream:
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        worker = ray.remote(_Worker).options(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)
        shared = ray.put(done)
        actors = [worker.remote(spec, settings, shared) for _ in range(count)]
        try:
            wanted = module.identity(settings.preprocessing.size)
            for identity in ray.get([actor.identity.remote() for actor in actors]):
                if identity != wanted:
                    raise WeightsError(
                        f"a worker has other weights of {spec} than this machine, or another "
                        f"calibration ({wanted}). Received: {identity}"
                    )
            yield from _ordered(actors, batched(map(_for_workers, items), _BATCH_ITEMS))
        finally:
            for actor in actors:
                ray.kill(actor)

    return execute


class _Worker:
    """One core of the cluster."""

    def __init__(self, spec: str, settings: Settings, done: Done) -> None:
        compute = settings.compute
        module = InferenceModule(
            spec, engine=compute.engine, precision=compute.precision, providers=compute.providers
        )
        self._processor = Processor(module, settings, done=done, threads=1)

    def identity(self) -> dict[str, str]:
        """Of the module here."""
        return self._processor.module.identity(self._processor.settings.preprocessing.size)

    def process(self, items: list[Item]) -> Results:
        """Compute a batch."""
        return self._processor(items)


def _ordered(actors: list[Any], batches: Iterator[list[Item]]) -> Iterator[Results]:
    """Results in the order of the batches, of which so many are under way at each worker."""
    import ray

    free = deque(actor for _ in range(_AHEAD) for actor in actors)
    running: dict[Any, Any] = {}
    waiting: deque[Any] = deque()
    while True:
        # A worker that is done may run ahead of the oldest batch, but not without bound.
        room = min(len(free), 2 * _AHEAD * len(actors) - len(waiting))
        for batch in islice(batches, max(0, room)):
            actor = free.popleft()
            reference = actor.process.remote(batch)
            running[reference] = actor
            waiting.append(reference)
        if not waiting:
            return
        if running:
            finished, _ = ray.wait(list(running), num_returns=1)
            free.extend(running.pop(reference) for reference in finished)
        while waiting and waiting[0] not in running:
            yield ray.get(waiting.popleft())


def _for_workers(item: Item) -> Item:
    """An item that can be read from any current folder."""
    if isinstance(item, FileItem):
        return FileItem(os.path.abspath(item.path), item.id)  # noqa: PTH100 - keeps odd bytes
    if isinstance(item, SliceItem):
        return dataclasses.replace(item, archive=os.path.abspath(item.archive))  # noqa: PTH100
    return item
