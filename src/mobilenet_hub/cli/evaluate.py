"""`evaluate`: how good is a classifier?"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from mobilenet_hub.catalog import CLASSIFY_MODULE
from mobilenet_hub.cli import options
from mobilenet_hub.cli.options import retrain as retrain_options
from mobilenet_hub.cli.output import (
    end,
    note_passed_over,
    print_json,
    print_note,
    print_table,
    printable,
)
from mobilenet_hub.cli.values import computed_by
from mobilenet_hub.settings import MAX_PIXELS

if TYPE_CHECKING:
    from mobilenet_hub.evaluation.metrics import Metrics

_CONFUSED = 10  # pairs in the table; all are in --json and --html


def evaluate_command(
    paths: options.ClassFolders,
    module: options.Classifier = CLASSIFY_MODULE,
    reject: options.Reject = None,
    crop: options.Crop = None,
    resample: options.Resample = None,
    size: options.InputSize = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    precision: options.Precision = "auto",
    engine: options.Engine = "openvino",
    all_files: options.AllFiles = False,
    follow_links: options.FollowLinks = False,
    root: options.Root = None,
    path_column: options.PathColumn = None,
    id_column: options.IdColumn = None,
    label_column: retrain_options.LabelColumn = None,
    label_separator: retrain_options.LabelSeparator = "|",
    threads: options.Threads = None,
    progress: options.Progress = "auto",
    html: options.Html = None,
    as_json: options.Json = False,
    strict: options.Strict = False,
) -> None:
    """Measure a classifier on photos in folders that are named by class, or in labelled tables.

    A photo is of the class that the nearest folder around it is named by: for ImageNet's modules by
    WordNet id (n01440764), label (tench) or index (1), for a classifier of one's own by label. A
    table (.csv, .tsv, .parquet) with a column of labels names them itself.

    Photos that cannot be read are listed on standard error and count in no figure.
    """
    from mobilenet_hub.evaluation.api import evaluate
    from mobilenet_hub.evaluation.split_file import split_beside
    from mobilenet_hub.pages.page import refuse_other_page
    from mobilenet_hub.pipeline.progress import make_progress
    from mobilenet_hub.pipeline.sources.resolve import open_words
    from mobilenet_hub.pipeline.sources.source import SourceOptions

    if html is not None:
        refuse_other_page(html)
    how = SourceOptions(all_files, follow_links, root, path_column, None, id_column)
    loaded = computed_by(module, engine, precision)
    with closing(make_progress(progress, open_words(paths, how).count)) as shown:
        result = evaluate(
            paths, loaded, reject=reject, threads=threads, options=how, progress=shown,
            split=split_beside(module), label_column=label_column, label_separator=label_separator,
            size=size, crop=crop, resample=resample, max_pixels=max_pixels,
        )  # fmt: skip
    for failure in result.failures:
        print_note(f"{printable(failure.id)}: {failure.reason}")
    for note in result.notes:
        print_note(note)
    if as_json:
        print_json(result.to_dict(), indent=True)
    else:
        print_table("", [("figure", "cyan"), ("value", "green")], _figures(result.metrics[0]))
    if html is not None:
        result.write_html(html)
    note_passed_over(result.passed_over)
    end(result.metrics[-1].photos, len(result.failures), strict=strict)


def _figures(metrics: Metrics) -> list[list[str]]:
    """Name and value, with the interval that the true one lies in with 95 % probability."""
    from mobilenet_hub.pages.page import percent

    rows = [["photos", f"{metrics.photos:,}"], ["top-1", str(metrics.top_1)]]
    if metrics.top_5 is not None:
        rows.append(["top-5", str(metrics.top_5)])
    rows.append(["F1, mean of classes", percent(metrics.macro_f1)])
    if metrics.micro_f1 is not None:
        rows.append(["F1 of all labels", percent(metrics.micro_f1)])
    rows.append(["calibration error", percent(metrics.calibrated.error)])
    if metrics.rejection is not None:
        rows.append(["answered, not unknown", percent(metrics.rejection.coverage)])
        rows.append(["top-1 of these", percent(metrics.rejection.accuracy)])
    return rows + [
        [f"{pair.truth} called {pair.predicted}", f"{pair.photos:,}"]
        for pair in metrics.confused()[:_CONFUSED]
    ]


COMMANDS = {"evaluate": evaluate_command}
