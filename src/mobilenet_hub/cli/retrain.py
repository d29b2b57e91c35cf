"""`retrain`: a classifier from a folder of photos."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.cli import options
from mobilenet_hub.cli.output import print_json, print_line, print_note
from mobilenet_hub.cli.values import computed_by
from mobilenet_hub.settings import MAX_PIXELS, FineTuneSettings

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

_ALL_LAYERS = "All layers, with --fine-tune"


def _rule(help: str, default: str, minimum: float | None = None) -> Any:
    """An option that means something with --fine-tune alone; None where it is not given."""
    return typer.Option(min=minimum, help=help, show_default=default, rich_help_panel=_ALL_LAYERS)


_FineTune = Annotated[
    bool,
    typer.Option(
        "--fine-tune", rich_help_panel=_ALL_LAYERS,
        help="Train all layers after the head (extra [keras], and a backend). What was killed goes "
        "on from its last epoch.",
    ),
]  # fmt: skip
_Epochs = Annotated[int | None, _rule("At most.", "18", 1)]
_Layers = Annotated[int | None, _rule("How many of the last blocks.", "all", 0)]
_BatchSize = Annotated[int | None, _rule("Photos a step.", "32", 1)]
_LearningRate = Annotated[float | None, _rule("At its highest; it falls.", "0.003", 0)]
_Momentum = Annotated[float | None, _rule("Of the gradient descent.", "0.9", 0)]
_Dropout = Annotated[float | None, _rule("Share of features dropped.", "0.2", 0)]
_Smoothing = Annotated[float | None, _rule("Share spread over all classes.", "0.1", 0)]
_L1 = Annotated[float | None, _rule("Penalty of the head's kernel.", "0", 0)]
_L2 = Annotated[float | None, _rule("Penalty of the head's kernel, of squares.", "0.0001", 0)]
_BatchNorm = Annotated[
    float | None, _rule("Momentum of the averages.", "chosen by the number of steps", 0)
]
_Patience = Annotated[int | None, _rule("Epochs without a better one.", "5", 1)]
_Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip", help="Mirror at random.", show_default="flip",
        rich_help_panel=_ALL_LAYERS,
    ),
]  # fmt: skip
_RandomCrop = Annotated[float | None, _rule("Share that is cut at random.", "0.1", 0)]
_RandomScale = Annotated[float | None, _rule("Greatest change of scale.", "0.1", 0)]
_RandomBrightness = Annotated[float | None, _rule("Greatest change.", "0.1", 0)]
_RandomRotation = Annotated[float | None, _rule("Greatest angle, in degrees.", "10", 0)]
_RandomShear = Annotated[float | None, _rule("Greatest angle, in degrees.", "0", 0)]


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
    fine_tune: _FineTune = False,
    epochs: _Epochs = None,
    layers: _Layers = None,
    batch_size: _BatchSize = None,
    learning_rate: _LearningRate = None,
    momentum: _Momentum = None,
    dropout: _Dropout = None,
    label_smoothing: _Smoothing = None,
    l1: _L1 = None,
    l2: _L2 = None,
    batch_norm_momentum: _BatchNorm = None,
    patience: _Patience = None,
    flip: _Flip = None,
    random_crop: _RandomCrop = None,
    random_scale: _RandomScale = None,
    random_brightness: _RandomBrightness = None,
    random_rotation: _RandomRotation = None,
    random_shear: _RandomShear = None,
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
    from mobilenet_hub.retraining.api import retrain
    from mobilenet_hub.retraining.data.reading import DataOptions, read_data
    from mobilenet_hub.retraining.learning import LearningSettings
    from mobilenet_hub.retraining.steps import Shares

    rules = _given(
        epochs=epochs, layers=layers, batch_size=batch_size, learning_rate=learning_rate,
        momentum=momentum, dropout=dropout, label_smoothing=label_smoothing, l1=l1, l2=l2,
        batch_norm_momentum=batch_norm_momentum, patience=patience, flip=flip, crop=random_crop,
        scale=random_scale, brightness=random_brightness, rotation=random_rotation,
        shear=random_shear,
    )  # fmt: skip
    if rules and not fine_tune:
        raise typer.BadParameter(f"these are options of --fine-tune. Received: {', '.join(rules)}")
    start = time.monotonic()
    described = DataOptions(path_column, label_column, group_column, label_separator, root)
    shown = make_progress(progress, lambda: len(read_data(photos, described).items))
    try:
        result = retrain(
            photos, output, computed_by(module, engine, precision),
            learning=LearningSettings(balance, strength, seed),
            shares=Shares(validation_share, test_share),
            fine_tuning=FineTuneSettings(seed=seed, **rules) if fine_tune else None,
            unknown=unknown, assert_accuracy_at_least=assert_accuracy_at_least,
            options=described, threads=threads, progress=shown,
            size=size, crop=crop, resample=resample, max_pixels=max_pixels,
        )  # fmt: skip
    finally:
        shown.close()
    _report(result, time.monotonic() - start, as_json=as_json)


def _given(**values: Any) -> dict[str, Any]:
    """What was given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


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
