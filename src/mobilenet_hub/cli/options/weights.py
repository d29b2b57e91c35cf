"""Arguments and options of the commands about modules and their weights, as `options` has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mobilenet_hub.cli.options import ANY_WEIGHTS

Pattern = Annotated[
    str | None, typer.Argument(help="Show handles that match this glob, e.g. '*v2_100*'.")
]
AllVersions = Annotated[
    bool, typer.Option("--all-versions", help="Every version, not only the newest.")
]
Here = Annotated[
    bool, typer.Option("--here", help="Only modules whose weights are on this machine.")
]
HandleOrPath = Annotated[
    str,
    typer.Argument(
        help="A module's handle, with or without its version; or the path of a file, folder or "
        f"archive with weights ({ANY_WEIGHTS}).",
        show_default=False,
    ),
]
Handles = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="HANDLE",
        help="The modules whose weights are wanted, with or without their version.",
        show_default=False,
    ),
]
AllModules = Annotated[
    bool, typer.Option("--all", help="Every module of the catalogue (38 checkpoints).")
]
Force = Annotated[bool, typer.Option("--force", help="Fetch again what is in the cache.")]
Repin = Annotated[
    bool,
    typer.Option("--repin", help="Accept other weights than those that are pinned; pin these."),
]
Lock = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Pin what is fetched in this file, made if need be.",
        show_default="mobilenet-hub.lock in or above this folder, if there is one",
    ),
]
WeightsFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help=f"A file, folder or archive with weights: {ANY_WEIGHTS}.",
        show_default=False,
    ),
]
WeightsOrHandle = Annotated[
    str,
    typer.Argument(
        metavar="FILE_OR_HANDLE",
        help=f"A file, folder or archive with weights ({ANY_WEIGHTS}); or a module's handle.",
        show_default=False,
    ),
]
As = Annotated[
    str | None,
    typer.Option("--as", metavar="HANDLE", help="The module, where the file does not say which."),
]
Averages = Annotated[
    bool | None,
    typer.Option(
        "--ema/--no-ema",
        help="Take the exponential moving averages that a checkpoint has of its variables.",
        show_default="for V2, not for V1",
    ),
]
BatchNormPhotos = Annotated[
    str | None,
    typer.Option(
        "--batch-norm-photos",
        metavar="DIR",
        help="Measure the statistics of folded batch norm on the photos in this folder, so that "
        "the network can be trained further.",
    ),
]
Calibrated = Annotated[
    str,
    typer.Argument(
        metavar="HANDLE_OR_PATH",
        help=f"The network: a module's handle, or the path of weights of your own ({ANY_WEIGHTS}).",
        show_default=False,
    ),
]
PhotoLimit = Annotated[
    int, typer.Option(min=22, help="Take so many photos, the first that can be read.")
]
FloatLayers = Annotated[
    int, typer.Option(min=0, help="Keep so many layers, the first, in float32: slower, closer.")
]
PhotosName = Annotated[
    str | None,
    typer.Option(help="What to call the photos in the record.", show_default="their paths"),
]
AnySize = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Accept another image size than the file names; of import, the loss of logits.",
    ),
]
To = Annotated[
    Literal["safetensors", "keras"],
    typer.Option("--to", help="The format to write.", show_default=False),
]
WeightsOutput = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o",
        help="The file to write.",
        show_default="the source's name with the format's suffix, in this folder",
    ),
]  # fmt: skip
Folder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o",
        metavar="OUT",
        help="Of a classifier of your own: the folder to write, with model.safetensors and "
        "labels.txt.",
        show_default=False,
    ),
]  # fmt: skip
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The names of its classes, one a line.",
        show_default="those in the file, or in labels.txt beside it",
    ),
]
AllEntries = Annotated[
    bool, typer.Option("--all", help="Remove everything in the cache, sound or not.")
]
FeaturesLimit = Annotated[
    float,
    typer.Option(
        min=0, metavar="GB", help="How much the features of photos may take, which `retrain` keeps."
    ),
]
