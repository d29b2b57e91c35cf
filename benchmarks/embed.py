"""Images a second from files to feature vectors: this library beside the others, end to end.

    pip install -e '.[onnxruntime]' tensorflow torch
    python benchmarks/embed.py ../shared/photos            # 10,000 files, 3 rounds
    python benchmarks/embed.py ../shared/photos --memory   # peak memory of 10,000 and 50,000
    python benchmarks/embed.py ../shared/photos --only phone --files 200   # 12 megapixels each

The photos are linked under other names until there are 10,000 files. Every contestant runs in a
process of its own, warms up on 200 files, then embeds all; they take turns, round after round, so
that a machine that slows down slows all of them; medians are reported. Start-up is left out.

`bound` is harmonic: what this machine would do if it alternated between decoding alone and
inference alone, each at the rate it reaches by itself on all cores, with nothing lost between; in
int8, which is calibrated on the photos, with inference in int8.

`phone` is for photos as people have them: mosaics of 12 megapixels (see `mosaics.py`), of which
decoding is nearly all; so decoders stand beside each other too, TensorFlow's at each `ratio`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import mobilenet_hub as hub
from memory import peak_megabytes
from mobilenet_hub.conversion.calibrate import MIN_PHOTOS
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.parallel import batched, ordered_map
from mobilenet_hub.pipeline.sources.items import FileItem
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.settings import Precision
from mosaics import write_mosaics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
CASES = {
    "V2 0.35 at 96": ("google/imagenet/mobilenet_v2_035_96/feature_vector/5", 0.35, 96),
    "V2 1.0 at 224": ("google/imagenet/mobilenet_v2_100_224/feature_vector/5", 1.0, 224),
    "phone": ("google/imagenet/mobilenet_v2_100_224/feature_vector/5", 1.0, 224),
}
OURS = "mobilenet-hub, hub.embed"
DECODE, INFER = "decoding alone", "inference alone"
INT8 = ", int8"  # ends the names of what computes in it
WARM_UP, BATCH = 200, 64
PHONE_FILES = 200  # of 4 MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", choices=sorted(CASES), default=None)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        measure(arguments.contestant, arguments.only, arguments.photos)
        return
    print(f"{platform.processor() or platform.machine()}, {available_threads()} cores\n")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            report_memory(arguments.photos, Path(folder))
            return
        originals = sorted(arguments.photos.resolve().glob("*.jpg"))
        for case in [arguments.only] if arguments.only else CASES:
            paths, files = originals, arguments.files
            if case == "phone":
                paths = write_mosaics(arguments.photos, Path(folder, "mosaics"))
                files = min(files, PHONE_FILES)
            linked = link(paths, Path(folder, case), files)
            os.environ["MOBILENET_HUB_CACHE_DIR"] = str(Path(folder, "cache"))
            hub.calibrate(load(*CASES[case][:2]), originals, limit=MIN_PHOTOS)  # no matter which
            report(case, linked, files, arguments.rounds)


def link(originals: list[Path], folder: Path, count: int) -> Path:
    """So many files, all links to these."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06d}.jpg").symlink_to(originals[number % len(originals)])
    return folder


def report(case: str, photos: Path, files: int, rounds: int) -> None:
    contestants = PHONE_CONTESTANTS if case == "phone" else CONTESTANTS
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name in contestants:
            result = child(name, case, photos)
            rates[name].append(files / result["seconds"])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = medians[DECODE if case == "phone" else OURS]
    print(f"\n{case}, {files:,} files, median of {rounds} rounds\n")
    what = DECODE if case == "phone" else "mobilenet-hub"
    print(f"| | images/s | {what} is |\n|---|---:|---:|")
    for name, rate in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"| {name} | {rate:,.0f} | {ours / rate:.2f}× |", flush=True)
    print("\n| end to end | images/s | bound | of it | of float32 |\n|---|---:|---:|---:|---:|")
    for precision in ("", INT8):
        rate = medians[OURS + precision]
        bound = 1 / (1 / medians[DECODE] + 1 / medians[INFER + precision])
        figures = f"{rate / bound:.2f}× | {rate / medians[OURS]:.2f}×"
        print(f"| {OURS}{precision} | {rate:,.0f} | {bound:,.0f} | {figures} |", flush=True)


def report_memory(photos: Path, folder: Path) -> None:
    case = "V2 0.35 at 96"
    print("| files | peak memory | seconds | images/s |\n|---:|---:|---:|---:|")
    for count in (10_000, 50_000):
        linked = link(sorted(photos.resolve().glob("*.jpg")), folder / str(count), count)
        result = child("mobilenet-hub, to Parquet", case, linked)
        rate = count / result["seconds"]
        print(
            f"| {count:,} | {result['peak_megabytes']:.1f} MB | {result['seconds']:.1f} "
            f"| {rate:,.0f} |",
            flush=True,
        )


def child(name: str, case: str, photos: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, str(photos), "--contestant", name, "--only", case]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, case: str, photos: Path) -> None:
    """In a process of its own: warm up, run, print what it took."""
    handle, multiplier, size = CASES[case]
    run = {**CONTESTANTS, **PHONE_CONTESTANTS}[name](handle, multiplier, size, photos)
    run(8 if case == "phone" else WARM_UP)
    start = time.perf_counter()
    count = run(None)
    seconds = time.perf_counter() - start
    expected = sum(1 for _ in photos.iterdir())
    if count != expected:
        raise SystemExit(f"{name} returned {count} rows for {expected} files")
    print(json.dumps({"seconds": seconds, "peak_megabytes": peak_megabytes()}))


# Contestants: made with handle, depth multiplier, input size and folder; called with how many
# files to take (None: all); they return how many feature vectors they made.
Run = Callable[[int | None], int]
Contestant = Callable[[str, float, int, Path], Run]


def load(handle: str, multiplier: float, precision: Precision = "float32") -> hub.Module:
    """Real weights; the sizes of a network share their shapes, and cost the same at any values."""
    key = f"google/imagenet/mobilenet_v2_{round(multiplier * 100):03d}_224/feature_vector/5"
    return hub.Module(handle, weights=hub.Module(key).weights, precision=precision)


def hub_embed(precision: Precision) -> Contestant:
    def contestant(handle: str, multiplier: float, size: int, photos: Path) -> Run:
        module = load(handle, multiplier, precision)
        check_against_module(module, size, photos)

        def run(limit: int | None) -> int:
            files = None if limit is None else sorted(photos.iterdir())[:limit]
            records = hub.embed(photos if files is None else files, module)
            return sum(record.ok for record in records)

        return run

    return contestant


def check_against_module(module: hub.Module, size: int, photos: Path) -> None:
    """The same decoding, then the module called by hand, must give the same."""
    files = sorted(photos.iterdir())[:100]
    images = np.stack([hub.load_image(file, size, size) for file in files])
    rows = np.stack([record.embedding for record in hub.embed(files, module)])
    error = np.abs(rows - module(images)).max()
    if not error < 1e-4 or rows.dtype != np.float32:
        raise SystemExit(f"hub.embed returns something else than the module: off by {error}")


def hub_parquet(handle: str, multiplier: float, size: int, photos: Path) -> Run:
    module = load(handle, multiplier)

    def run(limit: int | None) -> int:
        files = None if limit is None else sorted(map(str, photos.iterdir()))[:limit]
        with tempfile.TemporaryDirectory() as folder:
            source = open_sources(str(photos) if files is None else files)
            return embed_to(source, Path(folder, "out"), module).rows

    return run


def items(photos: Path, limit: int | None) -> Iterator[Any]:
    return islice((FileItem(str(path)) for path in sorted(photos.iterdir())), limit)


def decode_alone(handle: str, multiplier: float, size: int, photos: Path) -> Run:
    preprocessing = hub.Preprocessing(size, size)

    def decode(batch: list[Any]) -> int:
        pixels = np.empty((len(batch), *preprocessing.shape), preprocessing.dtype)
        for item, slot in zip(batch, pixels, strict=True):
            data, _ = item.read(1 << 30)
            preprocessing(data, path=item.path, into=slot)
        return len(batch)

    def run(limit: int | None) -> int:
        batches = batched(items(photos, limit), 16)
        return sum(ordered_map(decode, batches, threads=available_threads()))

    return run


def infer_alone(precision: Precision) -> Contestant:
    def contestant(handle: str, multiplier: float, size: int, photos: Path) -> Run:
        session = load(handle, multiplier, precision).session("feature_vector")
        batch = 128
        images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
        outputs = session.outputs(batch)

        def run(limit: int | None) -> int:
            count = limit or sum(1 for _ in photos.iterdir())
            for start in range(0, count, batch):
                part = slice(min(batch, -(-(count - start) // 16) * 16))
                session.run(images[part], {name: out[part] for name, out in outputs.items()})
            return count

        return run

    return contestant


def keras_tensorflow(handle: str, multiplier: float, size: int, photos: Path) -> Run:
    """keras.applications on a folder, as the Keras guides do it."""
    import keras

    network = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), alpha=multiplier, include_top=False, weights=None,
        pooling="avg",
    )  # fmt: skip
    inputs = keras.Input((size, size, 3))
    model = keras.Model(inputs, network(inputs / 127.5 - 1.0))

    def run(limit: int | None) -> int:
        dataset = keras.utils.image_dataset_from_directory(
            photos, labels=None, image_size=(size, size), batch_size=BATCH, shuffle=False,
            verbose=False,
        )  # fmt: skip
        if limit is not None:
            dataset = dataset.take(-(-limit // BATCH))
        return len(model.predict(dataset, verbose=0))

    return run


def onnx_session(handle: str, multiplier: float, size: int) -> Any:
    import onnxruntime

    from mobilenet_hub.graph import build_graph

    model = build_graph(load(handle, multiplier).weights, "feature_vector", size=(size, size))
    return onnxruntime.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])


def read_with_pillow(path: Path, size: int, *, draft: bool = False) -> np.ndarray[Any, Any]:
    """As scripts do: shorter side to 256/224 of the size, central square, floats."""
    from PIL import Image

    with Image.open(path) as image:
        if draft:
            image.draft("RGB", (size * 256 // 224, size * 256 // 224))
        image = image.convert("RGB")
        scale = size * 256 / 224 / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        left, top = (image.width - size) // 2, (image.height - size) // 2
        image = image.crop((left, top, left + size, top + size))
        return np.asarray(image, np.float32) / 255


def pillow_loop(handle: str, multiplier: float, size: int, photos: Path) -> Run:
    session = onnx_session(handle, multiplier, size)

    def run(limit: int | None) -> int:
        count, batch = 0, []
        for path in islice(sorted(photos.iterdir()), limit):
            batch.append(read_with_pillow(path, size))
            if len(batch) == BATCH:
                count += len(session.run(None, {"images": np.stack(batch)})[0])
                batch = []
        return count + (len(session.run(None, {"images": np.stack(batch)})[0]) if batch else 0)

    return run


class _PillowFiles:
    """A torch dataset (map style)."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self._paths = paths
        self._size = size

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        import torch

        return torch.from_numpy(read_with_pillow(self._paths[index], self._size))


def torch_loader(handle: str, multiplier: float, size: int, photos: Path) -> Run:
    from torch.utils.data import DataLoader

    session = onnx_session(handle, multiplier, size)

    def run(limit: int | None) -> int:
        dataset: Any = _PillowFiles(sorted(photos.iterdir())[:limit], size)
        loader = DataLoader(dataset, batch_size=BATCH, num_workers=available_threads())
        return sum(len(session.run(None, {"images": batch.numpy()})[0]) for batch in loader)

    return run


def tensorflow_decode(ratio: int) -> Contestant:
    """tf.data on all cores: decode at 1/ratio of the size, crop, resize."""

    def contestant(handle: str, multiplier: float, size: int, photos: Path) -> Run:
        import tensorflow as tf

        def read(path: Any) -> Any:
            image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, ratio=ratio)
            image = tf.image.central_crop(image, 0.875)
            return tf.cast(tf.image.resize(image, (size, size)), tf.uint8)

        def run(limit: int | None) -> int:
            paths = list(map(str, sorted(photos.iterdir())[:limit]))
            dataset = tf.data.Dataset.from_tensor_slices(paths)
            dataset = dataset.map(read, num_parallel_calls=available_threads()).batch(16)
            return sum(len(batch) for batch in dataset.prefetch(1))

        return run

    return contestant


def pillow_decode(*, draft: bool) -> Contestant:
    """A loop over the files, at full size as scripts do, or at the scale that `draft` finds."""

    def contestant(handle: str, multiplier: float, size: int, photos: Path) -> Run:
        def run(limit: int | None) -> int:
            paths = sorted(photos.iterdir())[:limit]
            return sum(len(read_with_pillow(path, size, draft=draft)) == size for path in paths)

        return run

    return contestant


CONTESTANTS: dict[str, Contestant] = {
    OURS: hub_embed("float32"),
    OURS + INT8: hub_embed("int8"),
    "mobilenet-hub, to Parquet": hub_parquet,
    DECODE: decode_alone,
    INFER: infer_alone("float32"),
    INFER + INT8: infer_alone("int8"),
    "Keras on TensorFlow, image_dataset_from_directory": keras_tensorflow,
    "Pillow and ONNX Runtime, a loop": pillow_loop,
    "Pillow in a torch DataLoader, and ONNX Runtime": torch_loader,
}
PHONE_CONTESTANTS: dict[str, Contestant] = {
    OURS: hub_embed("float32"),
    OURS + INT8: hub_embed("int8"),
    DECODE: decode_alone,
    INFER: infer_alone("float32"),
    INFER + INT8: infer_alone("int8"),
    **{f"TensorFlow's parallel decode, ratio={r}": tensorflow_decode(r) for r in (8, 4, 2, 1)},
    "Pillow, a loop": pillow_decode(draft=False),
    "Pillow with draft, a loop": pillow_decode(draft=True),
    "Pillow and ONNX Runtime, a loop": pillow_loop,
}

if __name__ == "__main__":
    main()
