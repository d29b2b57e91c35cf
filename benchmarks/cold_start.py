"""Cold starts of the command in two checkouts, in turns: whole processes, one photo.

    python benchmarks/cold_start.py OTHER_CHECKOUT --photo examples/cat.jpg --rounds 20

Prints wall and CPU seconds, medians and the least of all rounds, and this checkout's share of the
other's. Each checkout's first run, which writes its .pyc files, is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--photo", type=Path, default=HERE / "examples" / "cat.jpg")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    sides = {"this checkout": HERE, "the other": arguments.other.absolute()}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(arguments.rounds + 1):
        for name, checkout in sides.items():
            figures = start(checkout, arguments.photo.absolute())
            if number:
                measured[name].append(figures)
    medians = {}
    for name, runs in measured.items():
        wall, cpu = zip(*runs, strict=True)
        medians[name] = statistics.median(wall), statistics.median(cpu)
        print(
            f"{name}: {medians[name][0]:.3f} s (least {min(wall):.3f}), "
            f"CPU {medians[name][1]:.3f} s (least {min(cpu):.3f})"
        )
    ours, theirs = medians["this checkout"], medians["the other"]
    print(f"this / the other: {ours[0] / theirs[0]:.2f}, CPU {ours[1] / theirs[1]:.2f}")


def start(checkout: Path, photo: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    # With bytecode, as an installed package has it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mobilenet_hub", "classify", photo],
        env={**environment, "PYTHONPATH": str(checkout / "src")}, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
