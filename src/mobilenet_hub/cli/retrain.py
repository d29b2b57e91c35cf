"""`retrain`: a classifier from a folder of photos."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import typer

from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.cli import options
from mobilenet_hub.cli.options import retrain as retrain_options
from mobilenet_hub.cli.output import print_json, print_line, print_note
from mobilenet_hub.cli.values import computed_by
from mobilenet_hub.settings import MAX_PIXELS, FineTuneSettings

if TYPE_CHECKING:
    from mobilenet_hub.retraining.api import Retrained


def retrain_command(
    photos: retrain_options.Photos,
    output: retrain_options.Output,
    module: retrain_options.Module = EMBED_MODULE,
    crop: options.Crop = "center",
    resample: options.Resample = "bilinear",
    size: options.InputSize = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    precision: options.Precision = "auto",
    engine: options.Engine = "openvino",
    path_column: retrain_options.PathColumn = None,
    label_column: retrain_options.LabelColumn = None,
    group_column: retrain_options.GroupColumn = None,
    label_separator: retrain_options.LabelSeparator = "|",
    root: options.Root = None,
    validation_share: retrain_options.ValidationShare = 0.1,
    test_share: retrain_options.TestShare = 0.1,
    unknown: retrain_options.Unknown = None,
    balance: retrain_options.Balance = False,
    strength: retrain_options.Strength = None,
    seed: retrain_options.Seed = 0,
    fine_tune: retrain_options.FineTune = False,
    epochs: retrain_options.Epochs = None,
    layers: retrain_options.Layers = None,
    batch_size: retrain_options.BatchSize = None,
    learning_rate: retrain_options.LearningRate = None,
    momentum: retrain_options.Momentum = None,
    dropout: retrain_options.Dropout = None,
    label_smoothing: retrain_options.Smoothing = None,
    l1: retrain_options.L1 = None,
    l2: retrain_options.L2 = None,
    batch_norm: retrain_options.BatchNorm = None,
    batch_norm_momentum: retrain_options.BatchNormMomentum = None,
    views: retrain_options.Views = None,
    patience: retrain_options.Patience = None,
    flip: retrain_options.Flip = None,
    random_crop: retrain_options.RandomCrop = None,
    random_scale: retrain_options.RandomScale = None,
    random_brightness: retrain_options.RandomBrightness = None,
    random_rotation: retrain_options.RandomRotation = None,
    random_shear: retrain_options.RandomShear = None,
    assert_accuracy_at_least: retrain_options.LeastAccuracy = None,
    threads: options.Threads = None,
    progress: options.Progress = "auto",
    as_json: options.JsonSummary = False,
) -> None:
    """Make a classifier of photos with labels, and say how good it is.

    FOLDER then is a module like any other: `classify --module FOLDER`. It holds model.safetensors,
    labels.txt, metrics.json, split.parquet, suspects.csv and report.html; FOLDER.log beside it has
    times and paths.
    """
    from mobilenet_hub.evaluation.tables import DataOptions
    from mobilenet_hub.pipeline.progress import make_progress
    from mobilenet_hub.retraining.api import retrain
    from mobilenet_hub.retraining.data.reading import read_data
    from mobilenet_hub.retraining.learning import LearningSettings
    from mobilenet_hub.retraining.steps import Shares

    rules = _given(
        epochs=epochs, layers=layers, batch_size=batch_size, learning_rate=learning_rate,
        momentum=momentum, dropout=dropout, label_smoothing=label_smoothing, l1=l1, l2=l2,
        batch_norm=batch_norm,
        batch_norm_momentum=batch_norm_momentum, views=views, patience=patience,
        flip=flip, crop=random_crop,
        scale=random_scale, brightness=random_brightness, rotation=random_rotation,
        shear=random_shear,
    )  # fmt: skip
    if rules and not fine_tune:
        raise typer.BadParameter(f"these are options of --fine-tune. Received: {', '.join(rules)}")
    start = time.monotonic()
    described = DataOptions(path_column, label_column, group_column, label_separator, root)
    with closing(make_progress(progress, lambda: len(read_data(photos, described).items))) as shown:
        result = retrain(
            photos, output, computed_by(module, engine, precision),
            learning=LearningSettings(balance, strength, seed),
            shares=Shares(validation_share, test_share),
            fine_tuning=FineTuneSettings(seed=seed, **rules) if fine_tune else None,
            unknown=unknown, assert_accuracy_at_least=assert_accuracy_at_least,
            options=described, threads=threads, progress=shown,
            size=size, crop=crop, resample=resample, max_pixels=max_pixels,
        )  # fmt: skip
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


COMMANDS = {"retrain": retrain_command}
