"""The steps of a training: photos gathered and divided, a head learned, a classifier made."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub import __version__
from mobilenet_hub.catalog import find
from mobilenet_hub.errors import InputError, SourceError
from mobilenet_hub.evaluation.split_file import Side
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.dataset.id_sets import digest
from mobilenet_hub.pipeline.progress import Progress
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.retraining.cores import all_cores, single_threaded_blas
from mobilenet_hub.retraining.data.features import Embedded, Photos, embed_items
from mobilenet_hub.retraining.data.reading import check_classes
from mobilenet_hub.retraining.data.split import Split, decide_sides
from mobilenet_hub.retraining.data.ties import Ties
from mobilenet_hub.retraining.learning import (
    MOST_TRIALS,
    Fitted,
    LearningSettings,
    axes_of,
    class_weights,
    fit_head,
    learn,
    validate,
)
from mobilenet_hub.retraining.records import Data, FineTuned, Head
from mobilenet_hub.retraining.rejecting import reject_scores
from mobilenet_hub.retraining.summary import Summary
from mobilenet_hub.settings import (
    ClassifierSettings,
    FineTuneSettings,
    Settings,
)
from mobilenet_hub.weights.canonical import Weights, fingerprint
from mobilenet_hub.weights.classifier import make_classifier


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


@dataclass(frozen=True, slots=True)
class Run:
    """What all steps of a training are done with."""

    module: InferenceModule
    settings: Settings
    learning: LearningSettings
    note: Callable[[str], None]
    progress: Progress | None
    threads: int | None

    def step(self, what: str, done: int, total: int) -> None:
        """Tell how far something is that takes long."""
        if self.progress is not None:
            self.progress.step(what, done, total)

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
class Found:
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


def gather(run: Run, data: Data, earlier: Mapping[bytes, Side], shares: Shares) -> Found:
    """Features, ties and sides of the photos."""
    if not data.items:
        raise SourceError("there are no photos in the folders or table. Received: none")
    embedded = run.embed(data.items)
    data = data.only(embedded.rows)
    warnings = check_classes(data)
    if embedded.failures:
        warnings.append(f"{len(embedded.failures):,} photos could not be read, and were skipped")
    warnings += _labelled_twice(data, embedded.photos.digests)
    photos, compared = embedded.photos, partial(run.step, "photos compared, blocks")
    ties = Ties(photos, data.groups, compared)
    split = decide_sides(
        data, photos.digests, ties, earlier,
        validation_share=shares.validation, test_share=shares.test,
    )  # fmt: skip
    sides = tuple(side for side in split.sides if side is not None)
    sided = replace(data, sides=sides)
    if split.left_out.size:
        kept = np.flatnonzero([side is not None for side in split.sides])
        sided, photos = replace(data.only(kept), sides=sides), photos.only(kept)
        ties = Ties(photos, sided.groups, compared)
        warnings.append(f"{split.left_out.size:,} photos tie two sides together: left out")
    components = ties.components
    of_test = np.array([side == "test" for side in sides])
    if any(of_test[leak.row] or of_test[leak.other] for leak in split.leaks):
        # What a photo to test with ties together is not tied: nothing of it may reach a choice.
        components = ties.components_without(of_test)
    return Found(data, embedded, split, sided, photos, components, warnings)


def _labelled_twice(data: Data, digests: Sequence[bytes]) -> list[str]:
    """A warning where copies of a photo have different labels: no classifier can be right."""
    first: dict[bytes, int] = {}
    pairs = [
        (data.items[earlier].id, data.items[row].id)
        for row, content in enumerate(digests)
        if (data.targets[row] != data.targets[earlier := first.setdefault(content, row)]).any()
    ]
    if not pairs:
        return []
    more = f", and {len(pairs) - 1:,} more" if len(pairs) > 1 else ""
    return [f"copies of a photo have different labels: {pairs[0][0]!r} and {pairs[0][1]!r}{more}"]


def train(
    run: Run,
    found: Found,
    asked: Mapping[str, Any],
    unknown: str | os.PathLike[str] | None,
    fine_tuning: FineTuneSettings | None,
    place: Path,
) -> tuple[Summary, Weights]:
    """The classifier, and what is known of it."""
    data, photos, components = found.sided, found.photos, found.components
    trials = count(1)
    with all_cores(run.threads) as pool:
        axes = axes_of(data, photos)
        learned = learn(
            data, photos, axes, components, run.learning, pool,
            lambda: run.step("strengths", next(trials), MOST_TRIALS),
        )  # fmt: skip
        run.step("strengths", MOST_TRIALS, MOST_TRIALS)
        run.note(f"strength {learned.strength:.3g} chosen")
        out_of_fold = validate(
            data, photos, axes, components, run.learning, learned.strength, pool,
            partial(run.step, "folds"),
        )  # fmt: skip
    run.note("cross-validated")
    head, curves = learned.head, learned.curves
    chosen: dict[str, Any] = {"strength": learned.strength}
    if fine_tuning is not None:
        run, photos, tuned = _fine_tune(run, found, head, fine_tuning, place)
        head, curves = tuned.head, (*tuned.curves, *curves)
        chosen |= tuned.chosen
    with single_threaded_blas():
        fitted = fit_head(data, photos, components, head)
    chosen["temperature"] = fitted.temperature
    unknown_scores = None
    if unknown is not None:
        strange = run.embed(list(open_sources(unknown).items()))
        unknown_scores = reject_scores(strange.photos.features, fitted.prototypes)
    weights = _classifier(run, data, head, fitted)
    summary = Summary(
        data, fitted, out_of_fold,
        fine_tuned=fine_tuning is not None,
        leaks=found.split.leaks,
        left_out=[found.data.items[row].id for row in found.split.left_out],
        failures=found.embedded.failures,
        unknown_scores=unknown_scores,
        curves=curves,
        warnings=found.warnings,
        facts=_facts(run, weights, asked, chosen),
    )  # fmt: skip
    return summary, weights


def _fine_tune(
    run: Run, found: Found, head: Head, settings: FineTuneSettings, place: Path
) -> tuple[Run, Photos, FineTuned]:
    """The last blocks trained too, and what the photos' features are then."""
    from mobilenet_hub.retraining.fine_tune import fine_tune

    data, module = found.sided, run.module
    train = np.asarray(data.sides) == "train"
    began = (fingerprint(module.current_weights()), settings, run.learning, run.settings)
    photos = zip(found.photos.digests, data.sides or (), data.targets.tolist(), strict=True)
    key = digest(*map(str, began), *map(str, photos)).hex()
    tuned = fine_tune(
        data, module, head, run.settings.preprocessing, settings,
        work=place.with_name(f".{place.name}.{key}.epochs"),
        class_weights=class_weights(data, train) if run.learning.balance else None,
        log=run.note, threads=run.threads,
    )  # fmt: skip
    info = find(f"google/imagenet/{module.info.checkpoint_key}/feature_vector")
    trained = InferenceModule(info, weights=tuned.backbone, **asdict(module.compute))
    run = replace(run, module=trained)
    embedded = run.embed(data.items)
    if embedded.failures:
        raise SourceError(
            "photos changed while the network was trained; the same command goes on from the last "
            f"epoch. Received: {embedded.failures[0].id!r}: {embedded.failures[0].reason}"
        )
    return run, embedded.photos, tuned


def _classifier(run: Run, data: Data, head: Head, fitted: Fitted) -> Weights:
    backbone = run.module.current_weights()
    calibration = run.module.calibration(run.settings.preprocessing.size)
    settings = ClassifierSettings(
        data.labels,
        run.settings.preprocessing,
        "sigmoid" if data.multi_label else "softmax",
        fitted.temperature,
        fitted.reject_threshold,
        run.settings.compute.precision,
        backbone.network.input_range,
        None if calibration is None else calibration.sha256,
    )
    return make_classifier(
        backbone, head.kernel, head.biases, settings, prototypes=fitted.prototypes
    )


def _facts(
    run: Run, weights: Weights, asked: Mapping[str, Any], chosen: Mapping[str, Any]
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
