"""`hub.retrain`: from a folder of photos to a folder with a classifier."""

from __future__ import annotations

import datetime
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO, Unpack

from mobilenet_hub import __version__
from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.errors import AccuracyError, InputError
from mobilenet_hub.evaluation.metrics import Metrics
from mobilenet_hub.evaluation.report import render_report
from mobilenet_hub.evaluation.split_file import SPLIT
from mobilenet_hub.evaluation.tables import DataOptions
from mobilenet_hub.files import advice_where_full, atomic_folder
from mobilenet_hub.inference import InferenceModule, in_inference
from mobilenet_hub.pipeline.processor import settings_for
from mobilenet_hub.pipeline.progress import Progress
from mobilenet_hub.retraining import output as folder
from mobilenet_hub.retraining.data.reading import read_data
from mobilenet_hub.retraining.learning import (
    LearningSettings,
)
from mobilenet_hub.retraining.steps import Run, Shares, gather, train
from mobilenet_hub.settings import (
    FineTuneSettings,
    PreprocessingChoices,
)
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.resolve import Spec

_LOG_LINE = "mobilenet-hub retrain"
_WHERE_FULL = (
    "what was there stays; make room and run the same command again: the features are in the cache"
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
    fine_tuning: FineTuneSettings | None = None,
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
        fine_tuning: how the last blocks are trained after the head (extra `[keras]` and a backend);
            None leaves them as they are. A training that was killed goes on from its last epoch.
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
        MissingExtraError: `fine_tuning` without Keras.
        CacheError, OSError: the features or the output cannot be written.
    """
    place, source = Path(output), Path(photos)
    learning, shares = learning or LearningSettings(), shares or Shares()
    with folder.own_folder(place, source), _journal(place, say) as note:
        note(f"photos from {source.absolute()}")
        loaded = in_inference(module)
        settings = settings_for(loaded, preprocessing, content_hash=True, perceptual_hash=True)
        run = Run(loaded, settings, learning, note, progress, threads)
        found = gather(run, read_data(source, options), folder.earlier_split(place), shares)
        asked: dict[str, Any] = {**asdict(learning), **asdict(shares)}
        if fine_tuning is not None:
            asked["fine_tuning"] = fine_tuning.to_dict()
        summary, weights = train(run, found, asked, unknown, fine_tuning, place)
        metrics, suspects = summary.measured(), summary.suspects()
        _assert_accuracy(metrics[0], assert_accuracy_at_least)
        with advice_where_full(_WHERE_FULL), atomic_folder(place) as parts:
            weights.save(parts / folder.MODEL)
            folder.write_labels(parts / folder.LABELS, summary.data.labels)
            folder.write_metrics(parts / folder.METRICS, summary.metrics(metrics))
            folder.write_split(
                parts / SPLIT, found.data, found.embedded.photos.digests, found.split.sides
            )
            folder.write_suspects(parts / folder.SUSPECTS, suspects, summary.data)
            page = render_report(summary.report(), InferenceModule(parts / folder.MODEL))
            (parts / folder.REPORT).write_bytes(page)
        for work in place.parent.glob(f".{glob.escape(place.name)}.*.epochs"):
            shutil.rmtree(work)
        note(f"written to {place.absolute()}")
    return Retrained(
        place, weights, tuple(metrics), tuple(summary.notes()), found.embedded.computed,
        len(suspects),
    )  # fmt: skip


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
    """Whether a file is a log, or empty: that of a run that was killed before its first line."""
    if not path.is_file():  # opening a pipe would wait for ever
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(200)
    return not first or _LOG_LINE in first


def _write(file: TextIO, text: str) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    file.write(f"{now} {text!s}\n")
    file.flush()
