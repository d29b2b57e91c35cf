"""Every argument and option of the commands: its name, the values it takes, its help.

The commands' signatures name these and give the defaults. What a value means is explained where it
is used: in `settings` and `pipeline.sources.source.SourceOptions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mobilenet_hub import settings
from mobilenet_hub.cli.values import (
    Shard,
    Size,
    parse_shard,
    parse_size,
    set_timeout,
)
from mobilenet_hub.web.patience import TIMEOUT_VARIABLE

_SOURCES, _RESULTS, _RUN = "Sources", "Results", "Run"  # panels of the help of `embed`
_AS_MADE = "as a classifier of one's own says; else "
ANY_WEIGHTS = "checkpoint, SavedModel, .keras, .h5, .safetensors, .tflite and more"


# Which images.

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Images, folders, globs, lists of paths (.txt, .csv, .parquet), archives (.tar), "
        "tables with images (.parquet, .arrow), URLs of these, or - for standard input.",
        show_default=False,
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="The images to look for: files, folders and all else that `embed` takes.",
        show_default=False,
    ),
]
ClassFolders = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Folders with a folder of photos for each class, or such class folders; globs, lists "
        "and archives of photos in them; tables of paths and labels (.csv, .tsv, .parquet).",
        show_default=False,
    ),
]
AllFiles = Annotated[
    bool,
    typer.Option(
        "--all-files",
        help="Take every file of folders and archives, not only those named like images.",
        rich_help_panel=_SOURCES,
    ),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Enter linked folders.", rich_help_panel=_SOURCES)
]
Root = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="What relative paths in lists are relative to; by default the current folder, or, "
        "if they are not found there, the list's own.",
        rich_help_panel=_SOURCES,
    ),
]
PathColumn = Annotated[
    str | None, typer.Option(help="Column of paths in lists.", rich_help_panel=_SOURCES)
]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column of images in tables.", rich_help_panel=_SOURCES)
]
IdColumn = Annotated[
    str | None, typer.Option(help="Column of ids in both.", rich_help_panel=_SOURCES)
]

Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=86_400,
        metavar="SECONDS",
        callback=set_timeout,
        envvar=TIMEOUT_VARIABLE,
        help="How long to wait for a byte of a network.",
        show_default="30",
        rich_help_panel=_SOURCES,
    ),
]

# How they become pixels.

Crop = Annotated[
    settings.Crop | None,
    typer.Option(
        help="center: the central square, 87.5 % of the short side; cover: the central square, all "
        "of the short side; slim: the central 87.5 % of each side, squashed; none: everything, "
        "squashed; pad: everything, with borders.",
        show_default=f"{_AS_MADE}center",
    ),
]
Resample = Annotated[
    settings.Resample | None,
    typer.Option(
        help="bilinear, or tf1: pixel for pixel what TF-Slim's evaluation did.",
        show_default=f"{_AS_MADE}bilinear",
    ),
]
InputSize = Annotated[
    Size | None,
    typer.Option(
        "--size",
        parser=parse_size,
        metavar="HEIGHT[xWIDTH]",
        help="Input size, for modules that take any (MobileNet V1 from version 3 on).",
        show_default="the module's own",
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(min=1, help="List pictures of more pixels as failed instead of decoding them."),
]

# What computes, and what of it is kept.

Module = Annotated[
    str,
    typer.Option(
        "--module", "-m", metavar="HANDLE_OR_PATH",
        help="The network: a module's handle (`mobilenet-hub list` shows them all), or the path "
        f"of weights of your own ({ANY_WEIGHTS}).",
    ),
]  # fmt: skip
Classifier = Annotated[
    str,
    typer.Option(
        "--module", "-m", metavar="HANDLE_OR_PATH",
        help="The network, one of task classification: a module's handle (`mobilenet-hub list "
        f"'*classification*'`), or the path of weights of your own ({ANY_WEIGHTS}).",
    ),
]  # fmt: skip
IndexedModule = Annotated[
    str | None,
    typer.Option(
        "--module", "-m", metavar="HANDLE_OR_PATH",
        help="The network that made the embeddings, if it was weights of your own.",
        show_default="as the index notes",
    ),
]  # fmt: skip
Precision = Annotated[
    Literal["auto", "float32", "bf16", "int8"],
    typer.Option(
        help="Of the arithmetic: auto is float32, or what a classifier was fitted with; bf16 and "
        "int8 are faster on CPUs made for them, and int8 needs a calibration (`calibrate`).",
    ),
]
Engine = Annotated[
    settings.EngineName,
    typer.Option(help="What computes: OpenVINO, or ONNX Runtime (extra [onnxruntime])."),
]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, max=1001, help="Labels per image.")]
Labels = Annotated[
    int,
    typer.Option(
        min=0, max=1001, rich_help_panel=_RESULTS,
        help="Add so many labels and scores; needs a module of task classification.",
    ),
]  # fmt: skip
Reject = Annotated[
    bool | None,
    typer.Option(
        "--reject/--no-reject", show_default="where the classifier can tell",
        help="Say of images that they are none of the classes.",
    ),
]  # fmt: skip
Normalize = Annotated[
    Literal["none", "l2"],
    typer.Option(help="l2: scale each vector to length 1.", rich_help_panel=_RESULTS),
]
DType = Annotated[
    settings.DType,
    typer.Option(help="Of the vectors on disk.", rich_help_panel=_RESULTS),
]
Dimensions = Annotated[
    bool,
    typer.Option(
        "--dimensions", help="Add each picture's width and height.", rich_help_panel=_RESULTS
    ),
]
ContentHash = Annotated[
    bool,
    typer.Option(
        "--content-hash", rich_help_panel=_RESULTS,
        help="Add the sha256 of each file, and tell by it, not by size and time, whether it "
        "changed since the last run.",
    ),
]  # fmt: skip

PerceptualHash = Annotated[
    bool,
    typer.Option(
        "--perceptual-hash", rich_help_panel=_RESULTS,
        help="Add a hash that copies of a picture share, by which `duplicates` finds them.",
    ),
]  # fmt: skip

# Where results go, and how a run goes.

Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="PATH", show_default=False,
        help="A folder for a dataset of Parquet parts; or one file, by its suffix: .parquet, "
        ".npy (and .ids.txt), .csv.",
    ),
]  # fmt: skip
PartItems = Annotated[
    int, typer.Option(min=1, help="Images in one part.", rich_help_panel=_RESULTS)
]
Errors = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where to list the images that failed, as .jsonl or .parquet.",
        show_default="OUT/_errors.jsonl, or NAME.errors.jsonl beside a file",
        rich_help_panel=_RESULTS,
    ),
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Begin anew instead of going on.", rich_help_panel=_RUN),
]
ShardOfJob = Annotated[
    Shard | None,
    typer.Option(
        "--shard",
        parser=parse_shard,
        metavar="I/N",
        help="Do the I-th of N shares, I from 0 to N-1; all may write to one folder.",
        show_default="0/1",
        rich_help_panel=_RUN,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images read and decoded at once; with Ray, workers.",
        show_default="one a core",
        rich_help_panel=_RUN,
    ),
]
Progress = Annotated[
    Literal["auto", "bar", "json", "none"],
    typer.Option(
        help="auto: a bar on a terminal; json: a line a second on standard error.",
        rich_help_panel=_RUN,
    ),
]
Executor = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="Who does the work: this process (local), or the workers of a Ray cluster.",
        rich_help_panel=_RUN,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of the Ray cluster; by default the one that is running, else one of this machine "
        "alone.",
        rich_help_panel=_RUN,
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 3 if an image failed.")]
JsonSummary = Annotated[
    bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=_RUN)
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line, failures included.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

Checked = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="HANDLE",
        help="Modules, or files of weights; by default those in the package.",
        show_default=False,
    ),
]
Photos = Annotated[
    str | None,
    typer.Option(
        "--photos", metavar="PATH",
        help="Photos to measure decoding with, and the way from files to feature vectors: a "
        "folder, or whatever else `embed` takes.",
    ),
]  # fmt: skip
Seconds = Annotated[float, typer.Option(help="How long each figure is measured.")]

# Similar images.

Dataset = Annotated[
    Path, typer.Argument(metavar="DATASET", help="What `embed` wrote.", show_default=False)
]
IndexFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The index's folder.", show_default="DATASET.index"),
]
Index = Annotated[
    Path,
    typer.Option(
        "--index", "-i", help="What `index` or `embed` wrote of others.", show_default=False
    ),
]
Count = Annotated[int, typer.Option("--count", "-k", min=1, help="Matches per image.")]
By = Annotated[
    Literal["hash", "embedding"] | None,
    typer.Option(
        help="hash: copies, by what `embed --perceptual-hash` noted; embedding: what looks alike, "
        "other shots of the same thing too.",
        show_default="hash, where the dataset has it",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold", "-t", min=0.0, max=1.0, help="Least similarity of two copies.",
        show_default="0.75 by hash, 0.95 by embedding",
    ),
]  # fmt: skip
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page of pictures to look at.")
]
HtmlRoot = Annotated[
    str | None,
    typer.Option("--root", metavar="FOLDER", help="For --html: what relative ids are relative to."),
]
