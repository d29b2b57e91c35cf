"""Vector libraries on image features: usearch, as `mobilenet-hub index` uses it, beside faiss.

    pip install -e '.[search]' faiss-cpu
    python benchmarks/search.py ../shared/photos

The vectors are features (V2 1.0 at 224, 1,280 numbers) of random crops of the photos. Each library
builds an index in one process and saves it; another process, which is timed too, opens it and
searches. Recall is the share of the ten most similar vectors, found exactly, that the index finds.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mobilenet_hub as hub
from memory import peak_megabytes
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.search.index import new_index

QUERIES, NEIGHBOURS = 500, 10
Search = Callable[[np.ndarray, int], np.ndarray]  # queries, k: keys [queries, k]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        action, name, folder = arguments.step
        STEPS[action](name, Path(folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "vectors.npy"), features(arguments.photos, arguments.vectors))
        print(
            f"{platform.processor() or platform.machine()}, {available_threads()} cores, ", end=""
        )
        print(f"{arguments.vectors:,} vectors of 1,280 numbers, {QUERIES} queries\n")
        print(
            "| index | built in | file | opened and searched once | peak of that | a search ",
            end="",
        )
        print("| recall@10 |\n|---|---:|---:|---:|---:|---:|---:|")
        for name in LIBRARIES:
            built = child(arguments.photos, "build", name, folder)
            found = child(arguments.photos, "search", name, folder)
            print(
                f"| {name} | {built['seconds']:.1f} s | {built['megabytes']:.0f} MB "
                f"| {found['first'] * 1e3:.1f} ms | {found['peak_megabytes']:.0f} MB "
                f"| {found['each'] * 1e3:.2f} ms | {found['recall']:.3f} |",
                flush=True,
            )


def features(photos: Path, count: int) -> np.ndarray:
    """Unit vectors, float32 [count + QUERIES, 1280]; the last ones are the queries."""
    from PIL import Image

    generator = np.random.default_rng(0)
    pictures = [Image.open(path).convert("RGB") for path in sorted(photos.glob("*.jpg"))]
    module = hub.Module("google/imagenet/mobilenet_v2_100_224/feature_vector/5")

    def crops(count: int) -> Iterator[np.ndarray]:
        for number in range(count):
            picture = pictures[number % len(pictures)]
            share = generator.uniform(0.3, 0.95)
            width, height = (max(1, int(side * share)) for side in picture.size)
            left = generator.integers(0, picture.width - width + 1)
            top = generator.integers(0, picture.height - height + 1)
            box = (left, top, left + width, top + height)
            yield np.asarray(picture.resize((224, 224), box=box))

    batches, pixels = [], crops(count + QUERIES)
    while batch := [image for _, image in zip(range(256), pixels, strict=False)]:
        batches.append(module(np.stack(batch)))
    vectors = np.concatenate(batches)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def child(photos: Path, *step: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(photos), "--step", *step]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def build(name: str, folder: Path) -> None:
    vectors = np.load(folder / "vectors.npy")[:-QUERIES]
    start = time.perf_counter()
    LIBRARIES[name][0](vectors, str(folder / "index"))
    seconds = time.perf_counter() - start
    size = (folder / "index").stat().st_size
    print(json.dumps({"seconds": seconds, "megabytes": size / 1e6}))


def search(name: str, folder: Path) -> None:
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries = np.array(vectors[-QUERIES:])
    start = time.perf_counter()
    find = LIBRARIES[name][1](str(folder / "index"))
    find(queries[:1], NEIGHBOURS)
    first = time.perf_counter() - start
    peak = peak_megabytes()
    start = time.perf_counter()
    found = np.concatenate([find(query[None], NEIGHBOURS) for query in queries])
    each = (time.perf_counter() - start) / QUERIES
    exact = np.argsort(-(queries @ vectors[:-QUERIES].T), axis=1)[:, :NEIGHBOURS]
    hits = sum(np.intersect1d(a, b).size for a, b in zip(found, exact, strict=True))
    recall = hits / exact.size
    print(json.dumps({"first": first, "peak_megabytes": peak, "each": each, "recall": recall}))


def build_usearch(vectors: np.ndarray, path: str) -> None:
    index = new_index(vectors.shape[1], "f16")
    index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=available_threads())
    index.save(path)


def open_usearch(path: str) -> Search:
    index = new_index(1280, "f16")
    index.view(path)
    return lambda queries, k: np.atleast_2d(index.search(queries, k).keys)


def build_faiss_hnsw(vectors: np.ndarray, path: str) -> None:
    import faiss

    index = faiss.IndexHNSWSQ(
        vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, 16, faiss.METRIC_INNER_PRODUCT
    )
    index.hnsw.efConstruction, index.hnsw.efSearch = 128, 64
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, path)


def build_faiss_flat(vectors: np.ndarray, path: str) -> None:
    import faiss

    index = faiss.IndexScalarQuantizer(
        vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, path)


def open_faiss(path: str) -> Search:
    import faiss

    index = faiss.read_index(path)
    return lambda queries, k: index.search(queries, k)[1]


LIBRARIES: dict[str, tuple[Callable[[np.ndarray, str], None], Callable[[str], Search]]] = {
    "usearch, HNSW, half precision": (build_usearch, open_usearch),
    "faiss, HNSW, half precision": (build_faiss_hnsw, open_faiss),
    "faiss, exact, half precision": (build_faiss_flat, open_faiss),
}
STEPS = {"build": build, "search": search}

if __name__ == "__main__":
    main()
