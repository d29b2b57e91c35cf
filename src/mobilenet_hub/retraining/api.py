"""`hub.retrain`: from a folder of photos to a folder with a classifier."""

from __future__ import annotations

import datetime
import errno
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, Unpack

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub import __version__
from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.errors import AccuracyError, InputError, SourceError
from mobilenet_hub.evaluation.metrics import Metrics
from mobilenet_hub.evaluation.report import render_report
from mobilenet_hub.evaluation.split_file import SPLIT, Side
from mobilenet_hub.files import atomic_folder
from mobilenet_hub.inference import InferenceModule, in_inference
from mobilenet_hub.pipeline.processor import settings_for
from mobilenet_hub.pipeline.progress import Progress
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.retraining import output as folder
from mobilenet_hub.retraining.data.features import Embedded, Photos, embed_items
from mobilenet_hub.retraining.data.reading import DataOptions, check_classes, read_data
from mobilenet_hub.retraining.data.split import Split, decide_sides
from mobilenet_hub.retraining.data.ties import Ties
from mobilenet_hub.retraining.learning import (
    Fitted,
    LearningSettings,
    axes_of,
    fit_head,
    learn,
    validate,
)
from mobilenet_hub.retraining.records import Data, Head
from mobilenet_hub.retraining.rejecting import reject_scores
from mobilenet_hub.retraining.summary import Summary
from mobilenet_hub.settings import ClassifierSettings, PreprocessingChoices, Settings
from mobilenet_hub.weights.canonical import Weights, fingerprint
from mobilenet_hub.weights.classifier import make_classifier
from mobilenet_hub.weights.resolve import Spec

_LOG_LINE = "mobilenet-hub retrain"


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the photos, where no split is given.

    Attributes:
        validation: that choices are made on.
        test: that nothing sees; of fewer than 100 photos there is none, and cross-validation says
            how good the classifier is.

    Raises:
        InputError: shares that leave nothing to learn from.
    """

    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        if not (self.validation > 0 and self.test >= 0 and self.validation + self.test <= 0.8):
            raise InputError(
                "the validation share must be above 0, the test share not below, both together at "
                f"most 0.8. Received: {self.validation} and {self.test}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Retrained:
    """A finished training.

    Attributes:
        output: the folder.
        weights: the classifier in it.
        metrics: the figures of each evaluation, the headline first.
        notes: what the user should know, a sentence each.
        computed: how many photos were embedded, and not found in the cache.
        suspects: how many labels are probably wrong.
    """

    output: Path
    weights: Weights
    metrics: tuple[Metrics, ...]
    notes: tuple[str, ...]
    computed: int
    suspects: int


def retrain(
    photos: str | os.PathLike[str],
    output: str | os.PathLike[str],
    module: Spec = EMBED_MODULE,
    *,
    learning: LearningSettings | None = None,
    shares: Shares | None = None,
    unknown: str | os.PathLike[str] | None = None,
    assert_accuracy_at_least: float | None = None,
    options: DataOptions | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda text: None,
    **preprocessing: Unpack[PreprocessingChoices],
) -> Retrained:
    """Make a classifier of photos with labels.

    ```python
    result = hub.retrain("insects/", "insects-classifier")
    print(result.metrics[0].top_1)  # 94.7 % (92.0 to 96.5)
    hub.Module("insects-classifier").labels  # ("ants", "bees")
    ```

    Args:
        photos: a folder with one folder a class, or with `train`, `val` and `test` folders of
            these; or a `.csv`, `.tsv` or `.parquet` table of paths and labels.
        output: the folder to write: `model.safetensors`, `labels.txt`, `metrics.json`,
            `split.parquet`, `suspects.csv`, `report.html`; times and paths go to `OUTPUT.log`. One
            that an earlier training wrote is replaced, and the sides of its photos are kept.
        module: whose features are used: a module or its handle.
        learning: how the head is learned.
        shares: of the sides, where no split is given.
        unknown: photos of nothing that is trained, to see how many of them are rejected: anything
            that `hub.embed` takes.
        assert_accuracy_at_least: in [0, 1]; below, nothing is written.
        options: how a table is read.
        threads: how many photos are read and decoded at once; one a core by default.
        progress: told of the photos.
        say: told what happens, a sentence at a time.
        **preprocessing: `crop`, `resample`, `size`, `max_pixels`: see `hub.embed`; they travel with
            the classifier.

    Returns:
        What was found. Two trainings of equal photos with equal settings write equal files.

    Raises:
        SourceError: no such photos or columns.
        InputError: classes that cannot be learned, settings that mean nothing, or an output that
            something else wrote.
        DatasetError: another training is writing there, or the earlier split is damaged.
        AccuracyError: less than was asserted.
        CacheError, OSError: the features or the output cannot be written.
    """
    place, source = Path(output), Path(photos)
    learning, shares = learning or LearningSettings(), shares or Shares()
    with folder.own_folder(place, source), _journal(place, say) as note:
        note(f"photos from {source.absolute()}")
        loaded = in_inference(module)
        settings = settings_for(loaded, preprocessing, content_hash=True, perceptual_hash=True)
        run = _Run(loaded, settings, learning, note, progress, threads)
        found = _gather(run, read_data(source, options), folder.earlier_split(place), shares)
        summary, weights = _train(run, found, {**asdict(learning), **asdict(shares)}, unknown)
        metrics, suspects = summary.measured(), summary.suspects()
        _assert_accuracy(metrics[0], assert_accuracy_at_least)
        with _advice_where_full(), atomic_folder(place) as parts:
            weights.save(parts / folder.MODEL)
            folder.write_labels(parts / folder.LABELS, summary.data.labels)
            folder.write_metrics(parts / folder.METRICS, summary.metrics(metrics))
            folder.write_split(
                parts / SPLIT, found.data, found.embedded.photos.digests, found.split.sides
            )
            folder.write_suspects(parts / folder.SUSPECTS, suspects, summary.data)
            page = render_report(summary.report(), InferenceModule(parts / folder.MODEL))
            (parts / folder.REPORT).write_bytes(page)
        note(f"written to {place.absolute()}")
    return Retrained(
        place, weights, tuple(metrics), tuple(summary.notes()), found.embedded.computed,
        len(suspects),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Run:
    """What all steps of a training are done with."""

    module: InferenceModule
    settings: Settings
    learning: LearningSettings
    note: Callable[[str], None]
    progress: Progress | None
    threads: int | None

    def embed(self, items: Sequence[Item]) -> Embedded:
        """The features of photos; those that cannot be read are said."""
        found = embed_items(
            items, self.module, self.settings,
            log=self.note, progress=self.progress, threads=self.threads,
        )  # fmt: skip
        self.note(
            f"{len(found.rows):,} photos: {found.computed:,} embedded, "
            f"{len(found.rows) - found.computed:,} from the cache, "
            f"{len(found.failures):,} not readable"
        )
        for failure in found.failures:
            self.note(f"skipped {failure.id}: {failure.reason}")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The photos and their sides.

    Attributes:
        data, embedded, split: of all photos that could be read.
        sided, photos, components: of those that have a side.
        warnings: a sentence each.
    """

    data: Data
    embedded: Embedded
    split: Split
    sided: Data
    photos: Photos
    components: NDArray[np.intp]
    warnings: list[str]


def _gather(run: _Run, data: Data, earlier: Mapping[bytes, Side], shares: Shares) -> _Found:
    """Features, ties and sides of the photos."""
    if not data.items:
        raise SourceError("there are no photos in the folders or table. Received: none")
    embedded = run.embed(data.items)
    data = data.only(embedded.rows)
    warnings = check_classes(data)
    if embedded.failures:
        warnings.append(f"{len(embedded.failures):,} photos could not be read, and were skipped")
    photos, ties = embedded.photos, Ties(embedded.photos, data.groups)
    split = decide_sides(
        data, photos.digests, ties, earlier,
        validation_share=shares.validation, test_share=shares.test,
    )  # fmt: skip
    sides = tuple(side for side in split.sides if side is not None)
    sided = replace(data, sides=sides)
    if split.left_out.size:
        kept = np.flatnonzero([side is not None for side in split.sides])
        sided, photos = replace(data.only(kept), sides=sides), photos.only(kept)
        ties = Ties(photos, sided.groups)
        warnings.append(f"{split.left_out.size:,} photos tie two sides together: left out")
    components = ties.components
    of_test = np.array([side == "test" for side in sides])
    if any(of_test[leak.row] or of_test[leak.other] for leak in split.leaks):
        # What a photo to test with ties together is not tied: nothing of it may reach a choice.
        components = ties.components_without(of_test)
    return _Found(data, embedded, split, sided, photos, components, warnings)


def _train(
    run: _Run, found: _Found, asked: Mapping[str, Any], unknown: str | os.PathLike[str] | None
) -> tuple[Summary, Weights]:
    """The classifier, and what is known of it."""
    data, photos, components = found.sided, found.photos, found.components
    axes = axes_of(data, photos)
    learned = learn(data, photos, axes, components, run.learning)
    run.note(f"strength {learned.strength:.3g} chosen")
    out_of_fold = validate(
        data, photos, axes, components, run.learning, learned.strength,
        lambda done, total: run.note(f"fold {done} of {total}"),
    )  # fmt: skip
    fitted = fit_head(data, photos, components, learned.head)
    unknown_scores = None
    if unknown is not None:
        strange = run.embed(list(open_sources(unknown).items()))
        unknown_scores = reject_scores(strange.photos.features, fitted.prototypes)
    weights = _classifier(run, data, learned.head, fitted)
    chosen = {"strength": learned.strength, "temperature": fitted.temperature}
    summary = Summary(
        data, fitted, out_of_fold,
        fine_tuned=False,
        leaks=found.split.leaks,
        left_out=[found.data.items[row].id for row in found.split.left_out],
        failures=found.embedded.failures,
        unknown_scores=unknown_scores,
        curves=learned.curves,
        warnings=found.warnings,
        facts=_facts(run, weights, asked, chosen),
    )  # fmt: skip
    return summary, weights


def _classifier(run: _Run, data: Data, head: Head, fitted: Fitted) -> Weights:
    backbone = run.module.current_weights()
    settings = ClassifierSettings(
        data.labels,
        run.settings.preprocessing,
        "sigmoid" if data.multi_label else "softmax",
        fitted.temperature,
        fitted.reject_threshold,
        run.settings.compute.precision,
        backbone.network.input_range,
    )
    return make_classifier(
        backbone, head.kernel, head.biases, settings, prototypes=fitted.prototypes
    )


def _facts(
    run: _Run, weights: Weights, asked: Mapping[str, Any], chosen: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    engine = run.settings.compute.engine
    return {
        "Settings": {"module": run.module.info.handle, **asked, **run.settings.to_dict()},
        "Chosen": dict(chosen),
        "Versions": {
            "mobilenet_hub": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            engine: version(engine),
        },
        "Hashes": {
            "backbone_sha256": fingerprint(run.module.current_weights()),
            "model_sha256": fingerprint(weights),
        },
    }


def _assert_accuracy(headline: Metrics, least: float | None) -> None:
    if least is not None and headline.top_1.value < least:
        raise AccuracyError(
            f"expected an accuracy of at least {least:.4f}; nothing was written. Received: "
            f"{headline.top_1.value:.4f} by {headline.name}"
        )


@contextmanager
def _journal(output: Path, say: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """A log beside the output, with times and paths, which the output is free of.

    Raises:
        InputError: something else has its name.
    """
    path = output.with_name(f"{output.name}.log")
    if path.is_symlink() or (path.exists() and not _is_log(path)):
        raise InputError(
            f"the log has its place beside the output, where something else is. "
            f"Received: {str(path)!r}"
        )
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        _write(file, f"{_LOG_LINE} {__version__}")

        def note(text: str) -> None:
            _write(file, text)
            say(text)

        try:
            yield note
        except BaseException as error:
            with suppress(OSError):  # a full disk must not hide why it ended
                _write(file, f"ended by {type(error).__name__}: {error}")
            raise


def _is_log(path: Path) -> bool:
    if not path.is_file():  # opening a pipe would wait for ever
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return _LOG_LINE in file.readline(200)


def _write(file: TextIO, text: str) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    file.write(f"{now} {text!s}\n")
    file.flush()


@contextmanager
def _advice_where_full() -> Iterator[None]:
    """A full disk, or quota, as an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        advice = "make room and run the same command again: the features are in the cache"
        reason = f"{os.strerror(error.errno)}; what was there stays; {advice}"
        raise OSError(error.errno, reason, error.filename) from error
