"""Datasets of made-up embeddings."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from commands import mobilenet_hub_command
from pictures import SMALL

FAST = ["--module", SMALL, "--size", "32"]
run = partial(mobilenet_hub_command)


def write_vectors(path, vectors, ids=None):
    vectors = np.asarray(vectors, np.float32)
    ids = [f"{at}" for at in range(len(vectors))] if ids is None else ids
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    pq.write_table(pa.table({"id": ids, "embedding": lists}), path)
    return path


def clouds(count, features=64, seed=0):
    """Vectors around 50 centres, as photos of 50 things would be."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((50, features))
    noise = generator.standard_normal((count, features)) * 0.4
    return (centres[generator.integers(0, 50, count)] + noise).astype(np.float32)
