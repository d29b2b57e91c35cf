"""`retrain`: a classifier from a folder of photos."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.cli import options
from mobilenet_hub.cli.output import print_json, print_line, print_note
from mobilenet_hub.cli.values import computed_by
from mobilenet_hub.settings import MAX_PIXELS

if TYPE_CHECKING:
    from mobilenet_hub.retraining.api import Retrained

_DATA, _HEAD = "Data", "Head"

_Photos = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A folder with one folder of photos a class, or with train, val and test folders of "
        "these; or a table (.csv, .tsv, .parquet) of paths and labels.",
        show_default=False,
    ),
]
_Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FOLDER", show_default=False,
        help="The folder to write. One that this command wrote before is replaced, and its photos "
        "keep their sides.",
    ),
]  # fmt: skip
_Module = Annotated[
    str,
    typer.Option(
        "--module", "-m", metavar="HANDLE_OR_PATH", help="The network whose features are used."
    ),
]
_PathColumn = Annotated[
    str | None, typer.Option(help="Column of paths in a table.", rich_help_panel=_DATA)
]
_LabelColumn = Annotated[
    str | None, typer.Option(help="Column of labels in a table.", rich_help_panel=_DATA)
]
_GroupColumn = Annotated[
    str | None,
    typer.Option(
        help="Column that names what belongs together and is never split: an animal, a visit.",
        rich_help_panel=_DATA,
    ),
]
_LabelSeparator = Annotated[
    str,
    typer.Option(help="Between the labels of a photo that has several.", rich_help_panel=_DATA),
]
_ValidationShare = Annotated[
    float,
    typer.Option(
        min=0, max=0.8, help="Of the photos: what choices are made on.", rich_help_panel=_DATA
    ),
]
_TestShare = Annotated[
    float,
    typer.Option(
        min=0, max=0.8, rich_help_panel=_DATA,
        help="Of the photos: what nothing sees. Of fewer than 100 there is no such side, and "
        "cross-validation says how good the classifier is.",
    ),
]  # fmt: skip
_Unknown = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Photos of none of the classes, to see how many of them are called unknown.",
        rich_help_panel=_DATA,
    ),
]
_Balance = Annotated[
    bool,
    typer.Option(
        "--balance", help="Let each class count alike, however many photos it has.",
        rich_help_panel=_HEAD,
    ),
]  # fmt: skip
_Strength = Annotated[
    float | None,
    typer.Option(
        min=1e-12, help="Of L2.", show_default="chosen on the validation side",
        rich_help_panel=_HEAD,
    ),
]  # fmt: skip
_Seed = Annotated[int, typer.Option(help="Of all that is random.", rich_help_panel=_HEAD)]
_LeastAccuracy = Annotated[
    float | None,
    typer.Option(
        "--assert-accuracy-at-least", min=0, max=1, metavar="SHARE",
        help="Write nothing and fail where the headline accuracy is lower.",
        show_default=False,
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("retrain")(retrain_command)


def retrain_command(
    photos: _Photos,
    output: _Output,
    module: _Module = EMBED_MODULE,
    crop: options.Crop = "center",
    resample: options.Resample = "bilinear",
    size: options.InputSize = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    precision: options.Precision = "auto",
    engine: options.Engine = "openvino",
    path_column: _PathColumn = None,
    label_column: _LabelColumn = None,
    group_column: _GroupColumn = None,
    label_separator: _LabelSeparator = "|",
    root: options.Root = None,
    validation_share: _ValidationShare = 0.1,
    test_share: _TestShare = 0.1,
    unknown: _Unknown = None,
    balance: _Balance = False,
    strength: _Strength = None,
    seed: _Seed = 0,
    assert_accuracy_at_least: _LeastAccuracy = None,
    threads: options.Threads = None,
    progress: options.Progress = "auto",
    as_json: options.JsonSummary = False,
) -> None:
    """Make a classifier of photos with labels, and say how good it is.

    FOLDER then is a module like any other: `classify --module FOLDER`. It holds model.safetensors,
    labels.txt, metrics.json, split.parquet, suspects.csv and report.html; FOLDER.log beside it has
    times and paths.
    """
    from mobilenet_hub.pipeline.progress import make_progress
    from mobilenet_hub.retraining.api import Shares, retrain
    from mobilenet_hub.retraining.data.reading import DataOptions
    from mobilenet_hub.retraining.learning import LearningSettings

    start = time.monotonic()
    shown = make_progress(progress, lambda: None)
    try:
        result = retrain(
            photos, output, computed_by(module, engine, precision),
            learning=LearningSettings(balance, strength, seed),
            shares=Shares(validation_share, test_share),
            unknown=unknown, assert_accuracy_at_least=assert_accuracy_at_least,
            options=DataOptions(path_column, label_column, group_column, label_separator, root),
            threads=threads, progress=shown,
            size=size, crop=crop, resample=resample, max_pixels=max_pixels,
        )  # fmt: skip
    finally:
        shown.close()
    _report(result, time.monotonic() - start, as_json=as_json)


def _report(result: Retrained, seconds: float, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "output": str(result.output),
                "evaluations": [each.to_dict() for each in result.metrics],
                "notes": result.notes,
                "computed": result.computed,
                "suspects": result.suspects,
                "seconds": round(seconds, 3),
            }
        )
        return
    for each in result.metrics:
        print_line(f"{each.top_1} of {each.photos:,} photos right: {each.name}")
    for note in result.notes:
        print_note(note)
    headline = result.metrics[0]
    if headline.rejection is not None:
        kept, rejected = headline.rejection.coverage, headline.rejection.rejected
        words = f"{kept:.1%} of the photos are known by their looks"
        if rejected is not None:
            words += f", {rejected:.1%} of the unknown ones rejected"
        print_note(words.replace("%", " %"))
    if result.suspects:
        print_note(f"{result.suspects:,} labels are probably wrong: {result.output}/suspects.csv")
    print_note(f"{result.output} in {seconds:.1f} s; look at {result.output}/report.html")
