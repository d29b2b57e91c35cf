"""Cold starts of the command in two checkouts, in turns: whole processes, one photo.

    python benchmarks/cold_start.py OTHER_CHECKOUT --photo examples/cat.jpg --rounds 20

Of each checkout the first run, with nothing in the cache, and a later one, which finds what that
left there. Prints wall and CPU seconds, medians and the least of all rounds, and this checkout's
share of the other's. The first round, which writes .pyc files, is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
Figures = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--photo", type=Path, default=HERE / "examples" / "cat.jpg")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    command = ["classify", str(arguments.photo.absolute())]
    if arguments.precision != "float32":  # checkouts of before there were others know no option
        command += ["--precision", arguments.precision]
    sides = {"this checkout": HERE, "the other": arguments.other.absolute()}
    measured: dict[tuple[str, str], list[Figures]] = {
        (run, name): [] for run in ("first", "later") for name in sides
    }
    for number in range(arguments.rounds + 1):
        for name, checkout in sides.items():
            with tempfile.TemporaryDirectory() as cache:
                for run in ("first", "later"):
                    figures = start(checkout, command, cache)
                    if number:
                        measured[run, name].append(figures)
    for run in ("first", "later"):
        medians = [told(f"{run} run, {name}", measured[run, name]) for name in sides]
        (wall, cpu), (other_wall, other_cpu) = medians
        print(f"{run} run, this / the other: {wall / other_wall:.2f}, CPU {cpu / other_cpu:.2f}")


def told(what: str, runs: list[Figures]) -> Figures:
    """Print the figures of some runs; their medians."""
    wall, cpu = zip(*runs, strict=True)
    medians = statistics.median(wall), statistics.median(cpu)
    print(
        f"{what}: {medians[0]:.3f} s (least {min(wall):.3f}), "
        f"CPU {medians[1]:.3f} s (least {min(cpu):.3f})"
    )
    return medians


def start(checkout: Path, command: list[str], cache: str) -> Figures:
    """Wall and CPU seconds of one process."""
    # With bytecode, as an installed package has it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(checkout / "src"), "MOBILENET_HUB_CACHE_DIR": cache}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mobilenet_hub", *command],
        env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
