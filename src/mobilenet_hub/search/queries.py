"""Queries: pictures made into embeddings just as the rows were that they are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.api import embeddings
from mobilenet_hub.pipeline.parallel import process_all
from mobilenet_hub.pipeline.processor import Processor, settings_for
from mobilenet_hub.pipeline.records import Embedding, Failure
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.settings import Settings
from mobilenet_hub.weights.canonical import fingerprint


@dataclass(frozen=True, slots=True)
class Match:
    """A row that is like a query.

    Attributes:
        id: of the row.
        similarity: cosine, at most 1; 1 for the same direction.
    """

    id: str
    similarity: float


def embed_queries(
    items: Iterable[Item], rows: Path, made: dict[str, Any] | None, module: str | None
) -> Iterator[Embedding | Failure]:
    """Embed pictures as rows were: same module, weights and preprocessing.

    Args:
        items: of a source.
        rows: where these rows are, in words.
        made: how they were made, if it is known.
        module: the handle, or the path of the weights, that made them; by default the handle that
            is noted.

    Raises:
        DatasetError: how they were made is not known, or the module's weights are others.
    """
    name = module or (made or {}).get("handle")
    if name is None:
        raise DatasetError(
            "nothing says which module made these embeddings; name it with --module. "
            f"Received: {str(rows)!r}"
        )
    if made is None:  # then the module's own preprocessing is taken for granted
        loaded = InferenceModule(name)
        settings = settings_for(loaded, {})
    else:
        noted = Settings.from_dict(made)
        settings, how = Settings(noted.preprocessing, noted.compute), noted.compute
        loaded = InferenceModule(
            name, engine=how.engine, precision=how.precision, providers=how.providers
        )
        if (sha256 := fingerprint(loaded.weights)) != made["weights_sha256"]:
            raise DatasetError(
                f"these embeddings were made with other weights of {made['handle']} "
                f"(sha256 {made['weights_sha256']}); name them with --module PATH. "
                f"Received: {name}, sha256 {sha256}"
            )
        calibration = loaded.calibration(noted.preprocessing.size)
        if calibration and calibration.sha256 != made.get("calibration_sha256"):
            raise DatasetError(
                "these embeddings were made in int8 by another calibration of "
                f"{made['handle']} (sha256 {made.get('calibration_sha256')}) than that on this "
                "machine. Put that one back into the cache, or embed the photos anew. "
                f"Received: sha256 {calibration.sha256}"
            )
    return embeddings(process_all(Processor(loaded, settings, threads=1), items, threads=1))
