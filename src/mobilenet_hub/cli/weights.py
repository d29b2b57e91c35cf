"""`fetch`, `import`, `convert`, `calibrate`, `cache`: weights, from where they are to their use."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from mobilenet_hub.cli import options
from mobilenet_hub.cli.options import weights as weights_options
from mobilenet_hub.cli.output import (
    EXIT_ERROR,
    note_passed_over,
    print_error,
    print_json,
    print_line,
    print_note,
    print_table,
    printable,
)
from mobilenet_hub.cli.values import opened
from mobilenet_hub.weights.storage import store

if TYPE_CHECKING:
    from pathlib import Path

    from mobilenet_hub.catalog import ModuleInfo
    from mobilenet_hub.weights.calibration import Calibration
    from mobilenet_hub.weights.storage.cache import Record
    from mobilenet_hub.weights.storage.download import OnBytes


def fetch_command(
    handles: weights_options.Handles = None,
    everything: weights_options.AllModules = False,
    force: weights_options.Force = False,
    repin: weights_options.Repin = False,
    lock: weights_options.Lock = None,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Download the weights of modules into the cache, convert and verify them."""
    from mobilenet_hub.errors import WeightsError

    if bool(handles) == everything:
        raise typer.BadParameter("name the modules, or say --all; one of the two")
    entries, failed = [], 0
    for module in _checkpoints(handles):
        try:
            with download_bar(module.checkpoint_name) as progress:
                entries.append(
                    store.fetch(module, force=force, repin=repin, lock=lock, progress=progress)
                )
        except WeightsError as error:
            if handles and len(handles) == 1:
                raise
            print_error(str(error))
            failed += 1
    _print_entries("in the cache", entries, as_json=as_json)
    if failed:
        print_note(f"{failed} could not be fetched")
        raise typer.Exit(EXIT_ERROR)


@contextlib.contextmanager
def download_bar(name: str) -> Iterator[OnBytes | None]:
    """A progress bar on standard error if that is a terminal; else nothing."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as bars:
        task = bars.add_task(name, total=None)

        def show(received: int, total: int | None) -> None:
            bars.update(task, completed=received, total=total)

        yield show


def _checkpoints(handles: Iterable[str] | None) -> list[ModuleInfo]:
    """One module of each checkpoint, in the order they were named; all of them for None."""
    from mobilenet_hub.catalog import find, modules

    everything = (record for record in modules().values() if record.collection == "imagenet")
    records = [find(handle) for handle in handles] if handles else everything
    return list({record.checkpoint_key: record for record in records}.values())


def import_command(
    file: weights_options.WeightsFile,
    handle: weights_options.As = None,
    ema: weights_options.Averages = None,
    batch_norm_photos: weights_options.BatchNormPhotos = None,
    repin: weights_options.Repin = False,
    force: weights_options.AnySize = False,
    output: weights_options.Folder = None,
    labels: weights_options.Labels = None,
    as_json: options.Json = False,
) -> None:
    """Read weights in any format, and keep them in the cache as those of a module.

    With --output: a classifier of your own, head and labels included, into a folder that is taken
    wherever a handle is.
    """
    from mobilenet_hub.conversion.importing import import_file

    if output is not None:
        if batch_norm_photos is not None or repin or force:
            raise typer.BadParameter("--output goes with --labels, --as, --ema and --json only")
        _import_classifier(file, output, labels, handle, ema, as_json=as_json)
        return
    if labels is not None:
        raise typer.BadParameter("--labels needs --output")
    result = import_file(
        file, handle=handle, use_ema=ema, photos=batch_norm_photos, repin=repin, force=force
    )
    if result.batch_norm is not None:
        for path, reason in result.batch_norm.failures:
            print_note(f"skipped {path}: {reason}")
    if result.folded:
        print_note(
            f"{result.folded} layers have batch norm folded into them: exact for inference; "
            f"--batch-norm-photos DIR makes them fit for training"
        )
    _print_entries(f"now those of {result.module.handle}", [result.entry], as_json=as_json)


def _import_classifier(
    file: str,
    output: Path,
    labels: Path | None,
    handle: str | None,
    ema: bool | None,
    *,
    as_json: bool,
) -> None:
    from mobilenet_hub.conversion.classifiers import import_classifier

    result = import_classifier(file, output, labels=labels, handle=handle, use_ema=ema)
    if as_json:
        facts = {**result.weights.metadata, "labels": result.weights.labels}
        own = {"path": str(result.folder), "module": result.module.handle}
        print_json(own | facts, indent=True)
        return
    print_note(f"{len(result.weights.labels)} classes: {_shortened(result.weights.labels)}")
    if notes := result.weights.metadata.get("notes"):
        print_note(printable(notes))
    print_line(result.folder)


def _shortened(labels: Sequence[str]) -> str:
    return ", ".join(map(printable, labels[:10])) + ", ..." * (len(labels) > 10)


def convert_command(
    file: weights_options.WeightsOrHandle,
    to: weights_options.To,
    output: weights_options.WeightsOutput = None,
    handle: weights_options.As = None,
    ema: weights_options.Averages = None,
    force: weights_options.AnySize = False,
) -> None:
    """Write weights in another format."""
    from mobilenet_hub.conversion.importing import convert_file

    path, _ = convert_file(file, to, output=output, handle=handle, use_ema=ema, any_size=force)
    print_line(path)


def calibrate_command(
    module: weights_options.Calibrated,
    photos: options.Paths,
    size: options.InputSize = None,
    limit: weights_options.PhotoLimit = 1000,
    float_layers: weights_options.FloatLayers = 0,
    name: weights_options.PhotosName = None,
    all_files: options.AllFiles = False,
    follow_links: options.FollowLinks = False,
    root: options.Root = None,
    path_column: options.PathColumn = None,
    image_column: options.ImageColumn = None,
    id_column: options.IdColumn = None,
    timeout: options.Timeout = None,
    progress: options.Progress = "auto",
    as_json: options.Json = False,
) -> None:
    """Measure on photos what int8 needs to know of weights, and how close to float32 it comes.

    The result is kept in the cache, for `--precision int8`. Each half of the photos is compared
    with a calibration on the other half.
    """
    from mobilenet_hub.conversion.calibrate import calibrate
    from mobilenet_hub.pipeline.progress import make_progress

    source = opened(photos, all_files, follow_links, root, path_column, image_column, id_column)
    named = name or ", ".join(photos)[:200]

    def count() -> int | None:
        counted = source.count()
        return counted and min(counted, limit)

    with contextlib.closing(make_progress(progress, count)) as shown:
        done = calibrate(
            module, source, name=named, size=size, limit=limit, float_layers=float_layers,
            progress=shown,
        )  # fmt: skip
    for path, reason in done.failures:
        print_note(f"skipped {printable(path)}: {reason}")
    note_passed_over(source.passed_over)
    calibration = done.calibration
    if as_json:
        facts = {"path": str(done.path), "sha256": calibration.sha256, "size": calibration.size,
                 "photos": asdict(calibration.photos), "method": calibration.method,
                 "float_layers": calibration.float_layers}  # fmt: skip
        certificates = [asdict(certificate) for certificate in calibration.certificates]
        print_json({**facts, "certificates": certificates}, indent=True)
        return
    rows = [["calibrated on", str(calibration.photos)]]
    rows += [["int8", certificate.in_words()] for certificate in calibration.certificates]
    print_table("", [("fact", "cyan"), ("value", "")], [*rows, ["kept in", str(done.path)]])


def cache_list_command(as_json: options.Json = False) -> None:
    """What is in the cache: weights with their origin and sha256, and what was made of them."""
    from mobilenet_hub.retraining.data.feature_cache import spaces
    from mobilenet_hub.runtime.compiled_cache import compiled_graphs
    from mobilenet_hub.weights.storage.cache import Cache
    from mobilenet_hub.weights.storage.calibrations import kept_calibrations

    cache, calibrations = Cache(), kept_calibrations()
    found, compiled = spaces(cache), compiled_graphs()
    if as_json:
        features = [
            {"features": s.key, "photos": s.photos, "size": s.size, **s.made} for s in found
        ]
        graphs = [{"compiled": c.key, "size": c.size, **c.made} for c in compiled]
        records = [
            {"calibration": str(path), "photos": known and asdict(known.photos)}
            for path, known in calibrations
        ]
        print_json([*map(_facts, cache.entries()), *records, *features, *graphs], indent=True)
        return
    _print_entries(str(cache.directory), cache.entries(), as_json=False)
    if calibrations:
        print_table(
            "calibrations for int8",
            [("calibration", "cyan"), ("network", ""), ("of", "")],
            [
                [str(path), *(("", "damaged") if known is None else _of(known))]
                for path, known in calibrations
            ],
        )
    if found:
        print_table(
            "features of photos, for `retrain`",
            [("features", "cyan"), ("#MB", ""), ("#photos", ""), ("module", "")],
            [
                [space.key, f"{space.size / 1e6:.1f}", f"{space.photos:,}", space.made["handle"]]
                for space in found
            ],
        )
    if compiled:
        print_table(
            "compiled graphs, for quicker starts",
            [("compiled", "cyan"), ("#MB", ""), ("OpenVINO", "")],
            [
                [graph.key, f"{graph.size / 1e6:.1f}", printable(graph.made["openvino"])]
                for graph in compiled
            ],
        )


def _of(calibration: Calibration) -> tuple[str, str]:
    network, (height, width) = calibration.network, calibration.size
    described = f"{network.family} {network.depth_multiplier:g} at {height}x{width}"
    return described, str(calibration.photos)


def cache_verify_command(as_json: options.Json = False) -> None:
    """Read everything in the cache and compare it with its sha256; exit code 1 if it differs."""
    from mobilenet_hub.weights.storage.cache import Cache
    from mobilenet_hub.weights.storage.pins import verify

    problems = verify(Cache())
    if as_json:
        print_json(problems, indent=True)
    else:
        print_table(
            f"{len(problems)} checkpoints",
            [("checkpoint", "cyan"), ("", "")],
            [[key, problem or "sound"] for key, problem in problems.items()],
        )
    if any(problems.values()):
        raise typer.Exit(EXIT_ERROR)


def cache_prune_command(
    everything: weights_options.AllEntries = False,
    features_limit: weights_options.FeaturesLimit = 4.0,
) -> None:
    """Remove unfinished downloads, damaged entries, and what killed processes left behind.

    Features of photos go, the least used first, until they are within the limit.
    """
    from mobilenet_hub.retraining.data.feature_cache import prune
    from mobilenet_hub.runtime import compiled_cache
    from mobilenet_hub.weights.storage.cache import Cache

    cache = Cache()
    for path in prune(0 if everything else int(features_limit * 1e9), cache):
        print_line(path)
    for path in compiled_cache.prune(0 if everything else compiled_cache.LIMIT_BYTES):
        print_line(path)
    removed: dict[Path, str | None] = {}
    for key in cache.verify() if everything else ():
        removed |= cache.remove(key)
    for path, why in (removed | cache.prune()).items():
        if why is None:
            print_line(path)
        else:
            print_note(f"left where it is: {path}: {why}")


def cache_path_command() -> None:
    """Where the cache is (MOBILENET_HUB_CACHE_DIR)."""
    from mobilenet_hub.files import cache_directory

    print_line(cache_directory())


def _print_entries(title: str, entries: list[Record], *, as_json: bool) -> None:
    if as_json:
        print_json([_facts(entry) for entry in entries], indent=True)
        return
    digits = 12 if sys.stdout.isatty() else 64  # all of them would leave no room in a terminal
    print_table(
        f"{len(entries)} checkpoint{'s' * (len(entries) != 1)} {title}",
        [
            ("checkpoint", "cyan"), ("#MB", ""), ("logits", ""), ("batch norm", ""),
            ("sha256", "green"), ("source", ""),
        ],
        [
            [
                entry.key,
                f"{entry.size / 1e6:.1f}",
                "yes" if entry.has_logits else "no",
                entry.metadata.get("batch_norm", "unfolded"),
                entry.sha256[:digits],
                entry.metadata.get("source", ""),
            ]
            for entry in entries
        ],
    )  # fmt: skip


def _facts(entry: Record) -> dict[str, Any]:
    from mobilenet_hub.weights.storage.cache import Cache

    return {
        "checkpoint": entry.key,
        "path": str(Cache().path(entry)),
        "sha256": entry.sha256,
        "size": entry.size,
        "has_logits": entry.has_logits,
        **entry.metadata,
    }


COMMANDS = {
    "fetch": fetch_command,
    "import": import_command,
    "convert": convert_command,
    "calibrate": calibrate_command,
}
CACHE_COMMANDS: dict[str, Callable[..., None]] = {
    "list": cache_list_command,
    "verify": cache_verify_command,
    "prune": cache_prune_command,
    "path": cache_path_command,
}
