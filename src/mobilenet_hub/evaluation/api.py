"""`hub.evaluate`: how good a classifier is on photos whose classes are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, Unpack

from mobilenet_hub import __version__
from mobilenet_hub.catalog import CLASSIFY_MODULE
from mobilenet_hub.evaluation.collector import Collector
from mobilenet_hub.evaluation.folders import ClassFolders
from mobilenet_hub.evaluation.metrics import Metrics, measure
from mobilenet_hub.evaluation.records import Evaluation, Listing, Report
from mobilenet_hub.evaluation.report import render_report
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

_SEEN = (
    "The photos given. Whether the classifier was trained on some of them is not known here: only "
    "of photos it never saw do these figures say how good it will be on others."
)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationResult:
    """What `hub.evaluate` found.

    Attributes:
        metrics: the figures.
        evaluation: what was said of each photo that could be read.
        failures: photos that could not be read; they count in no figure.
        module: what was evaluated.
        settings: how it was computed.
        passed_over: how many files of each suffix were left out, as not named like images.
    """

    metrics: Metrics
    evaluation: Evaluation
    failures: tuple[Failure, ...]
    module: InferenceModule
    settings: Settings
    passed_over: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """All figures, settings, versions and failures, as they go into JSON."""
        failures = [asdict(failure) for failure in self.failures]
        return {**self._facts(), "metrics": self.metrics.to_dict(), "failures": failures}

    def write_html(self, path: str | PathLike[str]) -> None:
        """Write a page that shows all of it, replacing an earlier one.

        Raises:
            InputError: something else is there.
            OSError: the file cannot be written.
        """
        write_page(path, render_report(self.report(), self.module))

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
            f"Evaluation of {self.module.info.handle}",
            self.module.labels,
            (self.evaluation,),
            reject_threshold=threshold,
            listings=(unread,) if rows else (),
            facts=self._facts(),
        )

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
    **preprocessing: Unpack[PreprocessingChoices],
) -> EvaluationResult:
    """How good a classifier is on photos in folders that are named by class.

    ```python
    result = hub.evaluate("imagenet/val")
    print(result.metrics.top_1, result.metrics.top_5)
    result.write_html("report.html")
    ```

    Args:
        photos: folders with a folder for each class, or such class folders themselves; globs,
            lists and archives of files in such folders. They are named by label; for ImageNet's
            modules by WordNet id (`n01440764`), label (`tench`) or index (`1`).
        module: a module of task `classification`, or its handle, or the path of a classifier.
        reject: whether to measure what the classifier rejects as none of its classes; by default
            where it can. What it answers counts in all other figures, rejected or not.
        threads: how many images to read and decode at once; one a core by default.
        options: how to read sources.
        progress: told of the counts after each few photos.
        **preprocessing: see `hub.embed`.

    Raises:
        InputError: folders that name no class, no photo that can be read, or settings that mean
            nothing.
        SourceError, UnknownHandleError, MissingWeightsError: as `hub.embed`.
    """
    loaded = in_inference(module)
    labels, classifier = loaded.labels, loaded.weights.classifier
    threshold = None if classifier is None else classifier.reject_threshold
    settings = settings_for(
        loaded, preprocessing, features=threshold is not None and reject is not False,
        labels=len(labels) or 1, reject=reject,  # of none, settings_for says so
    )  # fmt: skip
    words = [photos] if isinstance(photos, str | PathLike) else list(photos)
    folders = ClassFolders(words, labels, options)
    folders.check()
    collector = Collector(loaded, reject=settings.reject)
    under_way: deque[tuple[Item, int]] = deque()
    processor = Processor(loaded, settings, threads=threads)
    with closing(process_all(processor, _noted(folders, under_way), threads=threads)) as stream:
        for results in stream:
            collector.add(results, [under_way.popleft() for _ in results.outcomes])
            if progress is not None:
                progress.update(collector.counts)
    evaluation = Evaluation("evaluation", _SEEN, collector.predictions())
    metrics = measure(evaluation, labels, reject_threshold=threshold)
    return EvaluationResult(
        metrics, evaluation, tuple(collector.failures), loaded, settings, folders.passed_over
    )


def _noted(folders: ClassFolders, under_way: deque[tuple[Item, int]]) -> Iterator[Item]:
    """The photos, each noted with its class until its result comes, in the same order."""
    for item, number in folders.items():
        under_way.append((item, number))
        yield item
