"""The options that `retrain` alone has, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mobilenet_hub.settings import BatchNorm as BatchNormChoice

_DATA, _HEAD, _NETWORK = "Data", "Head", "The network too, with --fine-tune"

Photos = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A folder with one folder of photos a class, or with train, val and test folders of "
        "these; or a table (.csv, .tsv, .parquet) of paths and labels.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FOLDER", show_default=False,
        help="The folder to write. One that this command wrote before is replaced, and its photos "
        "keep their sides.",
    ),
]  # fmt: skip
Module = Annotated[
    str,
    typer.Option(
        "--module", "-m", metavar="HANDLE_OR_PATH", help="The network whose features are used."
    ),
]
PathColumn = Annotated[
    str | None, typer.Option(help="Column of paths in a table.", rich_help_panel=_DATA)
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of labels in a table.", rich_help_panel=_DATA)
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        help="Column that names what belongs together and is never split: an animal, a visit.",
        rich_help_panel=_DATA,
    ),
]
LabelSeparator = Annotated[
    str,
    typer.Option(help="Between the labels of a photo that has several.", rich_help_panel=_DATA),
]
ValidationShare = Annotated[
    float,
    typer.Option(
        min=0, max=0.8, help="Of the photos: what choices are made on.", rich_help_panel=_DATA
    ),
]
TestShare = Annotated[
    float,
    typer.Option(
        min=0, max=0.8, rich_help_panel=_DATA,
        help="Of the photos: what nothing sees. Of fewer than 100 there is no such side, and "
        "cross-validation says how good the classifier is.",
    ),
]  # fmt: skip
Unknown = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Photos of none of the classes, to see how many of them are called unknown.",
        rich_help_panel=_DATA,
    ),
]
Balance = Annotated[
    bool,
    typer.Option(
        "--balance", help="Let each class count alike, however many photos it has.",
        rich_help_panel=_HEAD,
    ),
]  # fmt: skip
Strength = Annotated[
    float | None,
    typer.Option(
        min=1e-12, help="Of the L2 penalty.", show_default="chosen on the validation side",
        rich_help_panel=_HEAD,
    ),
]  # fmt: skip
Seed = Annotated[int, typer.Option(help="Of all that is random.", rich_help_panel=_HEAD)]
LeastAccuracy = Annotated[
    float | None,
    typer.Option(
        "--assert-accuracy-at-least", min=0, max=1, metavar="SHARE",
        help="Write nothing and fail where the headline accuracy is lower.",
        show_default=False,
    ),
]  # fmt: skip


def _rule(help: str, default: str, minimum: float | None = None) -> Any:
    """An option that means something with --fine-tune alone; None where it is not given."""
    return typer.Option(min=minimum, help=help, show_default=default, rich_help_panel=_NETWORK)


FineTune = Annotated[
    bool,
    typer.Option(
        "--fine-tune", rich_help_panel=_NETWORK,
        help="Train the last blocks too, after the head (extra [keras], and a backend). What was "
        "killed goes on from its last epoch.",
    ),
]  # fmt: skip
Epochs = Annotated[int | None, _rule("Passes over the photos, at most.", "10", 1)]
Layers = Annotated[int | None, _rule("How many of the last blocks; 100 for all.", "5", 0)]
BatchSize = Annotated[int | None, _rule("Photos of one step.", "32", 1)]
LearningRate = Annotated[float | None, _rule("At its highest; it falls.", "0.0002", 0)]
Momentum = Annotated[float | None, _rule("Of Adam's average of the gradient.", "0.9", 0)]
Dropout = Annotated[float | None, _rule("Share of features dropped.", "0.2", 0)]
Smoothing = Annotated[float | None, _rule("Share spread over all classes.", "0.1", 0)]
L1 = Annotated[float | None, _rule("Penalty of the head's kernel.", "0", 0)]
L2 = Annotated[float | None, _rule("Penalty of the head's kernel, of squares.", "0", 0)]
BatchNorm = Annotated[
    BatchNormChoice | None,
    _rule("By the averages that the network has, or by each batch.", "frozen"),
]
BatchNormMomentum = Annotated[
    float | None,
    _rule("Of the averages; means --batch-norm batch.", "chosen by the number of steps", 0),
]
Views = Annotated[int | None, _rule("Random changes of each picture.", "6", 1)]
Patience = Annotated[int | None, _rule("Epochs without a better one.", "8", 1)]
Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip", help="Mirror at random.", show_default="flip",
        rich_help_panel=_NETWORK,
    ),
]  # fmt: skip
RandomCrop = Annotated[float | None, _rule("Share that is cut at random.", "0.1", 0)]
RandomScale = Annotated[float | None, _rule("Greatest change of scale.", "0.3", 0)]
RandomBrightness = Annotated[float | None, _rule("Greatest change of brightness.", "0.2", 0)]
RandomRotation = Annotated[float | None, _rule("Greatest angle, in degrees.", "10", 0)]
RandomShear = Annotated[float | None, _rule("Greatest angle, in degrees.", "0", 0)]
