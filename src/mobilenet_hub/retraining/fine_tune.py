"""More than the head trained on photos: from items to what `keras.fine_tuning` trains on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import find
from mobilenet_hub.errors import ImageError, InputError, ItemError
from mobilenet_hub.evaluation.records import Curve
from mobilenet_hub.images import preprocess
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.parallel import ordered_map
from mobilenet_hub.retraining.records import Data, FineTuned, Head
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.settings import FineTuneSettings, PreprocessingSettings

if TYPE_CHECKING:
    from mobilenet_hub.keras.fine_tuning.checkpoint import Epoch
    from mobilenet_hub.keras.fine_tuning.training import Examples


def fine_tune(
    data: Data,
    module: InferenceModule,
    head: Head,
    preprocessing: PreprocessingSettings,
    settings: FineTuneSettings,
    *,
    work: Path,
    class_weights: NDArray[np.float32] | None = None,
    log: Callable[[str], None] = lambda text: None,
    threads: int | None = None,
) -> FineTuned:
    """Train the last blocks, or all, of a network whose head was trained already.

    Args:
        data: photos with sides: `train` is trained on, `val` says which epoch is best.
        module: the network to begin with.
        head: trained on its features.
        preprocessing: how photos become what it takes.
        settings: how.
        work: a folder for pixels and the checkpoint, made if need be: a training that was killed
            goes on from it. It is for the caller to remove.
        class_weights: float32 [classes], of each class in the loss.
        log: told what was chosen and what happens, a sentence at a time.
        threads: how many photos are read and decoded at once; one a core by default.

    Returns:
        The network and head of the best epoch.

    Raises:
        InputError: photos with several labels each.
        MissingExtraError: Keras is not installed.
        WeightsError: values that are not finite: the training went wrong.
        OSError: the folder cannot be written.
    """
    if data.multi_label:
        raise InputError(
            "a network is trained on photos of one class each: leave --fine-tune out where they "
            "have several labels. Received: several labels a photo"
        )
    from mobilenet_hub.keras.fine_tuning.training import fine_tune as train

    work.mkdir(parents=True, exist_ok=True)
    larger = 1 + settings.crop
    wide = replace(
        preprocessing,
        height=round(preprocessing.height * larger),
        width=round(preprocessing.width * larger),
    )
    info = find(f"google/imagenet/{module.info.checkpoint_key}/feature_vector")
    trained = train(
        info,
        module.current_weights(),
        (head.kernel, head.biases),
        _examples(data.on("train"), wide, work / "train.npy", log, threads),
        _examples(data.on("val"), preprocessing, work / "validation.npy", log, threads),
        settings,
        checkpoint=work / "checkpoint.npz",
        class_weights=class_weights,
        log=log,
    )
    chosen = {
        "batch_norm": "batch" if settings.normalizes_by_batch else "frozen",
        "averages_momentum": trained.momentum,
        "averages_momentum_because": trained.why,
        "epoch": trained.best,
    }
    curves = _curves(trained.epochs, trained.best)
    return FineTuned(trained.weights, Head(trained.kernel, trained.biases), curves, chosen)


def _examples(
    data: Data,
    preprocessing: PreprocessingSettings,
    path: Path,
    log: Callable[[str], None],
    threads: int | None,
) -> Examples:
    """The pixels of photos, in a file that is mapped: more of them than memory holds may be there.

    Photos that cannot be read any more are left out.
    """
    from mobilenet_hub.keras.fine_tuning.training import Examples

    shape = (len(data.items), *preprocessing.shape)
    if not len(data.items):  # an empty file cannot be mapped
        return Examples(np.empty(shape, preprocessing.dtype), data.targets)
    images = np.lib.format.open_memmap(path, "w+", preprocessing.dtype, shape)
    limit = max_bytes(preprocessing.max_pixels)

    def read(row: int) -> str | None:
        item = data.items[row]
        try:
            preprocess(item.read(limit)[0], preprocessing, images[row], item.path)
        except (ItemError, ImageError) as error:
            return error.reason
        except OSError as error:
            return error.strerror or str(error)
        return None

    rows = range(len(data.items))
    with closing(ordered_map(read, rows, threads=threads or available_threads())) as results:
        reasons = list(results)
    for row in rows:
        if reasons[row]:
            log(f"left out of the training of the network: {data.items[row].id}: {reasons[row]}")
    good = [row for row in rows if not reasons[row]]
    if len(good) == len(reasons):
        return Examples(images, data.targets)
    for place, row in enumerate(good):
        images[place] = images[row]
    return Examples(images[: len(good)], data.targets[good])


def _curves(epochs: tuple[Epoch, ...], best: int) -> tuple[Curve, ...]:
    """Loss and accuracy by epoch; of no validation photos, the loss of training alone."""
    numbers = tuple(map(float, range(1, len(epochs))))
    loss: dict[str, tuple[float, ...]] = {"training": tuple(e.train_loss for e in epochs[1:])}
    if np.isnan(epochs[0].loss):
        return (Curve("Loss by epoch", "epoch", "loss", numbers, loss, chosen=float(best)),)
    accuracy = {"validation": tuple(epoch.accuracy for epoch in epochs)}
    loss["validation"] = tuple(epoch.loss for epoch in epochs[1:])
    return (
        Curve("Loss by epoch", "epoch", "loss", numbers, loss, chosen=float(best)),
        Curve(
            "Accuracy by epoch", "epoch", "accuracy", (0.0, *numbers), accuracy, chosen=float(best)
        ),
    )
