"""`hub.evaluate`: how good a classifier is on photos whose classes are known."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from mobilenet_hub import __version__
from mobilenet_hub.catalog import CLASSIFY_MODULE
from mobilenet_hub.errors import InputError
from mobilenet_hub.evaluation.collector import Collector
from mobilenet_hub.evaluation.folders import ClassFolders
from mobilenet_hub.evaluation.metrics import Metrics, measure
from mobilenet_hub.evaluation.records import Evaluation, Listing, Predictions, Report
from mobilenet_hub.evaluation.report import render_report
from mobilenet_hub.evaluation.split_file import Side, read_split, split_beside
from mobilenet_hub.evaluation.tables import ClassTable, DataOptions, has_labels, is_table
from mobilenet_hub.inference import InferenceModule, in_inference
from mobilenet_hub.pages.page import write_page
from mobilenet_hub.pipeline.parallel import process_all
from mobilenet_hub.pipeline.processor import Processor, settings_for
from mobilenet_hub.pipeline.progress import Progress
from mobilenet_hub.pipeline.records import Failure
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.pipeline.sources.source import SourceOptions
from mobilenet_hub.settings import PreprocessingChoices, Settings
from mobilenet_hub.weights.canonical import fingerprint
from mobilenet_hub.weights.resolve import Spec

_ALL = (
    "All photos given. Only of photos that the classifier was not made with do figures say how "
    "good it will be on others."
)
_NAMED = 5  # classes in a title
_ONE_LABEL = (
    "This classifier gives a photo several labels, and the folder of a photo says one: any other "
    "that it gives counts as wrong."
)
_UNSEEN = "Those of the photos given that the classifier was neither trained on nor chosen by."


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationResult:
    """What `hub.evaluate` found.

    Attributes:
        metrics: the figures of each evaluation.
        evaluations: what was said of each photo that could be read. Where a list beside the
            classifier (`split.parquet`) says that it was made with some of them, the first is of
            the others, if there are any, and the last of all.
        notes: what people should know, a sentence each.
        failures: photos that could not be read; they count in no figure.
        module: what was evaluated.
        settings: how it was computed.
        passed_over: how many files of each suffix were left out, as not named like images.
    """

    metrics: tuple[Metrics, ...]
    evaluations: tuple[Evaluation, ...]
    notes: tuple[str, ...]
    failures: tuple[Failure, ...]
    module: InferenceModule
    settings: Settings
    passed_over: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """All figures, settings, versions and failures, as they go into JSON."""
        failures = [asdict(failure) for failure in self.failures]
        evaluations = [each.to_dict() for each in self.metrics]
        notes = list(self.notes)
        return {**self._facts(), "notes": notes, "evaluations": evaluations, "failures": failures}

    def write_html(self, path: str | PathLike[str]) -> None:
        """Write a page that shows all of it, replacing an earlier one.

        Raises:
            InputError: something else is there.
            OSError: the file cannot be written.
        """
        how = self.settings.preprocessing
        write_page(path, render_report(self.report(), self.module, preprocessing=how))

    def report(self) -> Report:
        """What the page shows."""
        rows = [(each.id, each.stage, each.reason) for each in self.failures]
        unread = Listing(
            "Photos that could not be read", "They count in no figure.",
            ("photo", "stage", "reason"), rows,
        )  # fmt: skip
        classifier = self.module.weights.classifier
        threshold = None if classifier is None else classifier.reject_threshold
        return Report(
            self._title(),
            self.module.labels,
            self.evaluations,
            reject_threshold=threshold,
            notes=self.notes,
            listings=(unread,) if rows else (),
            facts=self._facts(),
        )

    def _title(self) -> str:
        labels, weights = self.module.labels, self.module.weights
        if weights.is_imagenet:
            return f"Evaluation of {self.module.info.handle}"
        few = ", ".join(labels) if len(labels) <= _NAMED else f"{len(labels):,} classes"
        return f"Evaluation of a classifier of {few}"

    def _facts(self) -> dict[str, dict[str, Any]]:
        weights = self.module.weights
        versions = {"mobilenet_hub": __version__}
        about = {"module": self.module.info.handle, "weights_sha256": fingerprint(weights)}
        classifier = {} if weights.classifier is None else weights.classifier.to_metadata()
        classifier.pop("labels", None)
        facts = {
            "module": about, "classifier": classifier, "settings": self.settings.to_dict(),
            "versions": versions,
        }  # fmt: skip
        return {heading: values for heading, values in facts.items() if values}


def evaluate(
    photos: str | PathLike[str] | Sequence[str | PathLike[str]],
    module: Spec = CLASSIFY_MODULE,
    *,
    reject: bool | None = None,
    threads: int | None = None,
    options: SourceOptions | None = None,
    progress: Progress | None = None,
    split: Path | None = None,
    label_column: str | None = None,
    label_separator: str = "|",
    **preprocessing: Unpack[PreprocessingChoices],
) -> EvaluationResult:
    """How good a classifier is on photos in folders that are named by class, or in labelled tables.

    ```python
    result = hub.evaluate("imagenet/val")
    print(result.metrics[0].top_1, result.metrics[0].top_5)
    result.write_html("report.html")
    ```

    Args:
        photos: folders with a folder for each class, or such class folders themselves; globs,
            lists and archives of files in such folders. They are named by label; for ImageNet's
            modules by WordNet id (`n01440764`), label (`tench`) or index (`1`). Or tables of paths
            and labels (`.csv`, `.tsv`, `.parquet`), as `hub.retrain` takes them, with the same
            names; of a classifier with several labels a photo, several in a cell.
        module: a module of task `classification`, or its handle, or the path of a classifier.
        reject: whether to measure what the classifier rejects as none of its classes; by default
            where it can. What it answers counts in all other figures, rejected or not.
        threads: how many images to read and decode at once; one a core by default.
        options: how to read sources.
        progress: told of the counts after each few photos.
        split: the list of photos that the classifier was made with, as `retrain` writes it; by
            default the one beside a classifier that is given by its path.
        label_column: of tables; by default the one whose name says so. A table without is a list of
            photos in class folders.
        label_separator: between the labels in a cell.
        **preprocessing: see `hub.embed`.

    Raises:
        InputError: folders or labels that name no class, no photo that can be read, or settings
            that mean nothing.
        DatasetError: the list of photos that the classifier was made with is damaged.
        SourceError, UnknownHandleError, MissingWeightsError: as `hub.embed`.
    """
    split = split or split_beside(module)
    used_for = {} if split is None else read_split(split)
    loaded = in_inference(module)
    labels, classifier = loaded.labels, loaded.weights.classifier
    threshold = None if classifier is None else classifier.reject_threshold
    settings = settings_for(
        loaded, preprocessing, features=threshold is not None and reject is not False,
        labels=len(labels) or 1, reject=reject, content_hash=bool(used_for),
    )  # fmt: skip
    words = [photos] if isinstance(photos, str | PathLike) else list(photos)
    sources = _sources(words, loaded, options or SourceOptions(), label_column, label_separator)
    for source in sources:
        source.check()
    collector = Collector(loaded, reject=settings.reject)
    under_way: deque[tuple[Item, tuple[int, ...]]] = deque()
    processor = Processor(loaded, settings, threads=threads)
    with closing(process_all(processor, _noted(sources, under_way), threads=threads)) as stream:
        for results in stream:
            collector.add(results, [under_way.popleft() for _ in results.outcomes])
            if progress is not None:
                progress.update(collector.counts)
    evaluations, notes = _evaluations(
        collector.predictions(), [used_for.get(bytes.fromhex(each)) for each in collector.digests]
    )
    if _gives_several(loaded) and any(isinstance(source, ClassFolders) for source in sources):
        notes += (_ONE_LABEL,)
    passed_over = sum((source.passed_over for source in sources), Counter[str]())
    return EvaluationResult(
        tuple(measure(each, labels, reject_threshold=threshold) for each in evaluations),
        evaluations, notes, tuple(collector.failures), loaded, settings, passed_over,
    )  # fmt: skip


def _gives_several(module: InferenceModule) -> bool:
    """Whether a classifier gives a photo any number of labels, and not one."""
    classifier = module.weights.classifier
    return classifier is not None and classifier.activation == "sigmoid"


def _sources(
    words: Sequence[str | PathLike[str]],
    module: InferenceModule,
    options: SourceOptions,
    label_column: str | None,
    label_separator: str,
) -> list[ClassFolders | ClassTable]:
    """Tables with a column of labels, in their order, after everything else."""
    how = DataOptions(
        options.path_column, label_column, None, label_separator, options.root, options.id_column
    )
    tables = [
        Path(word)
        for word in words
        if is_table(Path(word)) and Path(word).is_file() and has_labels(Path(word), how)
    ]
    others = [word for word in words if Path(word) not in tables]
    if label_column is not None and others:
        raise InputError(
            f"a column of labels is of a table (.csv, .tsv, .parquet). Received: {others[0]!r}"
        )
    several = _gives_several(module)
    found: list[ClassFolders | ClassTable]
    found = [ClassTable(path, module.labels, how, several=several) for path in tables]
    return [ClassFolders(others, module.labels, options), *found] if others else found


def _evaluations(
    of: Predictions, sides: Sequence[Side | None]
) -> tuple[tuple[Evaluation, ...], tuple[str, ...]]:
    """Of the photos that the classifier was not made with, and of all; and what is to be said."""
    everything = Evaluation("photos given", _ALL, of)
    seen = np.array([side in ("train", "val") for side in sides])
    if not seen.any():
        return (everything,), ()
    trained = sum(side == "train" for side in sides)
    note = (
        f"the classifier was trained on {trained:,} of these photos, and {seen.sum() - trained:,} "
        "decided how; figures of them flatter"
    )
    if seen.all():
        return (everything,), (f"{note}, and there are no others.",)
    others = Evaluation("photos it never saw", _UNSEEN, of.only(np.flatnonzero(~seen)))
    return (others, everything), (f"{note}: the headline is of the others.",)


def _noted(
    sources: Sequence[ClassFolders | ClassTable], under_way: deque[tuple[Item, tuple[int, ...]]]
) -> Iterator[Item]:
    """The photos, each noted with its classes until its result comes, in the same order."""
    for source in sources:
        for item, classes in source.items():
            under_way.append((item, classes))
            yield item
