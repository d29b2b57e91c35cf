"""`verify` and `benchmark`: does this machine compute what it should, and how fast?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from mobilenet_hub.cli import options
from mobilenet_hub.cli.output import EXIT_ERROR, print_error, print_groups, print_json, print_note
from mobilenet_hub.errors import MobileNetHubError

if TYPE_CHECKING:
    from mobilenet_hub.benchmarking.benchmark import Benchmark
    from mobilenet_hub.pipeline.progress import Progress, ProgressKind
    from mobilenet_hub.verification.verify import Verification

_Outcome = TypeVar("_Outcome")

# Those whose weights are in the package, each with all that it has golden outputs of.
_BUNDLED = (
    "google/imagenet/mobilenet_v2_140_224/classification",
    "google/imagenet/mobilenet_v2_100_224/feature_vector",
    "google/imagenet/mobilenet_v2_035_224/feature_vector",
    "google/imagenet/mobilenet_v1_025_224/classification",
)


def verify_command(
    modules: options.Checked = None,
    progress: options.Progress = "auto",
    as_json: options.Json = False,
) -> None:
    """Compare what this machine computes with what the original networks gave.

    In every engine that is installed and every precision: the largest difference, and whether an
    image gives the same wherever in a batch it stands. The exit code is 1 where a tolerance is
    broken, or where nobody knows what is right: weights without golden outputs.
    """
    from mobilenet_hub.verification.verify import verify

    outcomes, failed = _of_each(modules, lambda module, _: verify(module), progress)
    if as_json:
        print_json([_as_json(*pair) for pair in outcomes.items()], indent=True)
    else:
        _print(outcomes)
    _end([*failed, *(reason for pair in outcomes.items() for reason in _failures(*pair))])


def benchmark_command(
    modules: options.Checked = None,
    photos: options.Photos = None,
    seconds: options.Seconds = 2.0,
    threads: options.Threads = None,
    progress: options.Progress = "auto",
    as_json: options.Json = False,
) -> None:
    """Measure how fast this machine is, in every engine and precision that is installed.

    Cold start, the latency of one image, images a second, decoding alone, the way from files to
    feature vectors, and the most memory, each in a process of its own.
    """
    from mobilenet_hub.benchmarking.benchmark import benchmark

    def measure(module: str, shown: Progress) -> Benchmark:
        return benchmark(module, photos=photos, seconds=seconds, threads=threads, progress=shown)

    outcomes, failed = _of_each(modules, measure, progress)
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes.values()], indent=True)
    else:
        _print_figures(list(outcomes.values()))
        if photos is None:
            print_note("decoding and the way from files are measured with --photos FOLDER")
    _end(failed)


def _of_each(
    modules: Sequence[str] | None,
    what: Callable[[str, Progress], _Outcome],
    progress: ProgressKind,
) -> tuple[dict[str, _Outcome], list[str]]:
    """What comes of each module, by its name or path as it was given; why of some nothing does.

    Raises:
        MobileNetHubError: nothing does of any.
    """
    from mobilenet_hub.pipeline.progress import make_progress

    outcomes: dict[str, _Outcome] = {}
    errors: list[MobileNetHubError] = []
    modules = modules or _BUNDLED
    with closing(make_progress(progress)) as shown:
        for done, module in enumerate(modules):
            shown.step("modules", done, len(modules))
            try:
                outcomes[module] = what(module, shown)
            except MobileNetHubError as error:
                errors.append(error)
        shown.step("modules", len(modules), len(modules))
    if not outcomes:
        raise errors[0]
    return outcomes, list(map(str, errors))


def _end(failed: Sequence[str]) -> None:
    for reason in failed:
        print_error(reason)
    if failed:
        raise typer.Exit(EXIT_ERROR)


def _print_figures(outcomes: Sequence[Benchmark]) -> None:
    columns = [
        ("engine", ""), ("precision", ""), ("#cold start s", ""), ("#one image ms", ""),
        ("#images/s", "green"), ("#decoded/s", ""), ("#from files/s", "green"), ("#peak MB", ""),
    ]  # fmt: skip
    rows = {
        outcome.handle: [
            [
                row.engine,
                row.precision,
                f"{row.cold_start_seconds:.2f}",
                f"{row.latency_ms:.2f}",
                _rate(row.images_per_second),
                _rate(row.decoded_per_second),
                _rate(row.embedded_per_second),
                _rate(row.peak_memory_mb),
            ]
            for row in outcome.figures
        ]
        for outcome in outcomes
    }
    print_groups("module", columns, rows)
    _print_machine(outcomes)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _as_json(module: str, outcome: Verification) -> dict[str, Any]:
    return {"module": module, **asdict(outcome), "passed": outcome.passed, "digest": outcome.digest}


def _print(outcomes: Mapping[str, Verification]) -> None:
    columns = [
        ("engine", ""), ("precision", ""), ("#largest difference", ""), ("#lowest cosine", ""),
        ("any place in a batch", ""), ("outcome", "bold"),
    ]  # fmt: skip
    rows = {
        module: [
            [
                check.engine,
                check.precision,
                f"{check.largest_difference:.1e}",
                f"{check.lowest_cosine:.6f}",
                "the same" if check.same_in_every_place else "differs",
                "passed" if check.passed else "failed",
            ]
            for check in outcome.checks
        ]
        for module, outcome in outcomes.items()
        if outcome.checks
    }
    print_groups("module", columns, rows)
    for module, outcome in outcomes.items():
        print_note(
            f"{module}: weights sha256 {outcome.weights_sha256}, "
            f"digest of all this {outcome.digest}"
        )
    _print_machine(list(outcomes.values()))


def _print_machine(outcomes: Sequence[Verification] | Sequence[Benchmark]) -> None:
    """Where it was, and what could not be had there."""
    machine = outcomes[0].machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    print_note(f"{machine.cpu} ({', '.join(machine.instructions)}); {machine.system}; {versions}")
    for what, reason in dict.fromkeys(pair for each in outcomes for pair in each.left_out.items()):
        print_note(f"left out: {what}: {reason}")


def _failures(module: str, outcome: Verification) -> list[str]:
    """What is wrong, one sentence each."""
    if outcome.golden is None:
        return [
            f"{module}: there are no golden outputs for these weights of {outcome.handle} "
            f"(sha256 {outcome.weights_sha256[:16]}...)"
        ]
    return [
        f"{module}, {check.engine} {check.precision}: {reason}"
        for check in outcome.checks
        for reason in check.broken
    ]


COMMANDS = {"verify": verify_command, "benchmark": benchmark_command}
