"""The three ways through the package, counted: functions and files entered.

    python scripts/walk.py                    # this checkout
    python scripts/walk.py ../before .        # others beside it, one column each
    python scripts/walk.py --list             # and the functions themselves, in the order entered

Counted are the package's functions, each once, as `sys.setprofile` sees them entered, in every
thread. Not counted: what importing a file runs, comprehensions, lambdas, and the methods that
`dataclass` writes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parents[1]
HANDLE = "google/imagenet/mobilenet_v2_100_224/feature_vector/5"


def handle_to_first_call() -> None:
    """A handle becomes a callable, and is called on one batch."""
    import numpy as np

    import mobilenet_hub as hub

    images = np.zeros((2, 224, 224, 3), np.float32)
    trace("handle → first call", lambda: hub.Module(HANDLE)(images))


def photo_to_row() -> None:
    """The example photos are listed, read, decoded, computed and written to a dataset."""
    import mobilenet_hub as hub

    module = hub.Module(HANDLE)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "features")
        # The first of all runs on a machine also compares it with the golden outputs.
        embed_to(ROOT / "examples", Path(folder, "before"), hub.Module(HANDLE))
        trace("photo → row", lambda: embed_to(ROOT / "examples", output, module))
        if not list(output.glob("*.parquet")):
            raise SystemExit(f"nothing was written to {output}")


def embed_to(photos: Path, output: Path, module: Any) -> None:
    """The job that `embed` runs; where it is not public yet, by its parts."""
    import mobilenet_hub as hub

    if hasattr(hub, "embed_to"):
        hub.embed_to(photos, output, module)
        return
    from mobilenet_hub.pipeline import compute, job, sources

    job.embed_to(output, sources.open_sources(photos), module, compute.Settings())


def layer_to_export() -> None:
    """A `KerasLayer` is made, called in training, and exported."""
    import numpy as np

    import mobilenet_hub as hub

    images = np.zeros((2, 224, 224, 3), np.float32)

    def way() -> None:
        layer = hub.KerasLayer(HANDLE, trainable=True)
        layer(images, training=True)
        layer.export(Path(folder, "weights.safetensors"))

    with tempfile.TemporaryDirectory() as folder:
        trace("KerasLayer → export", way)


WAYS = (handle_to_first_call, photo_to_row, layer_to_export)


def trace(name: str, way: Callable[[], Any]) -> None:
    """Print, as a line of JSON, the functions that a way enters."""
    import mobilenet_hub

    package = str(Path(mobilenet_hub.__file__).parent) + os.sep
    entered: dict[CodeType, None] = {}
    importing = threading.local()  # how many files of the package each thread is importing

    def profile(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(package):
            return
        depth = getattr(importing, "depth", 0)
        if code.co_name == "<module>":
            importing.depth = depth + (1 if event == "call" else -1)
        elif not (depth or code.co_name.startswith("<")) and code.co_flags & inspect.CO_OPTIMIZED:
            entered.setdefault(code)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        way()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    functions = [(code.co_filename.removeprefix(package), code.co_qualname) for code in entered]
    print(json.dumps({"way": name, "functions": functions}))


def walk(checkout: Path, way: Callable[[], None]) -> dict[str, Any]:
    """Trace a way in a process of its own, with the package of that checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "MOBILENET_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--way", way.__name__]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT])
    parser.add_argument("--list", action="store_true", help="print the functions too")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        next(way for way in WAYS if way.__name__ == arguments.way)()
        return
    heads = [path.resolve().name for path in arguments.checkouts]
    print(f"| functions / files entered | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    for way in WAYS:
        walked = [walk(path.resolve(), way) for path in arguments.checkouts]
        cells = [f"{len(w['functions'])} / {len({f for f, _ in w['functions']})}" for w in walked]
        print(f"| {walked[0]['way']} | {' | '.join(cells)} |")
        if arguments.list:
            for head, found in zip(heads, walked, strict=True):
                print(f"\n{head}:", *(": ".join(entry) for entry in found["functions"]), sep="\n  ")


if __name__ == "__main__":
    main()
