"""A network cut in two: blocks that stay as they are, whose maps are kept, and those trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.keras.fine_tuning.choices import augmentation_layers
from mobilenet_hub.keras.network import NetworkLayer
from mobilenet_hub.settings import FineTuneSettings

_MAX_BYTES = 4 << 30  # of maps on disk, but for those of one view
_BATCH = 32  # photos at a time


class FrozenHalf(keras.layers.Layer):
    """From images to the maps that the trained blocks are given.

    Args:
        network: whose half it is.
        stop: the number of its first trained convolution; 0 leaves images as they are.
    """

    def __init__(self, network: NetworkLayer, stop: int) -> None:
        super().__init__(autocast=False)
        self._network, self._stop = network, stop

    def call(self, images: Any) -> Any:
        """Of images, float32 in [0,1], maps [batch, height, width, channels]."""
        if self._stop == 0:
            return images
        scaled = self._network.scale(images)
        return self._network.through(scaled, stop=self._stop, training=False)[0]


class TrainedHalf(keras.layers.Layer):
    """From these maps to features.

    Args:
        network: whose half it is.
        start: the number of its first trained convolution.
        by_batch: whether batch norm normalises by the batch in training.
    """

    def __init__(self, network: NetworkLayer, start: int, *, by_batch: bool) -> None:
        super().__init__(autocast=False)
        self.network, self._start, self._by_batch = network, start, by_batch

    def call(self, maps: Any, training: bool | None = None) -> Any:
        """Of maps, float32, features [batch, num_features]."""
        if self._start == 0:
            maps = self.network.scale(maps)
        training = bool(training) and self._by_batch
        return self.network.pool(self.network.through(maps, self._start, training=training)[0])


class Views:
    """The maps of photos, each changed at random in as many ways as there are views.

    A view is computed when it is first asked for, and lies in a file of its own from then on: where
    the training goes on after it was killed, it is there.

    Args:
        half: that makes maps.
        size: of the images that it takes, (height, width).
        settings: how pictures are changed, and how many views of each are kept.
        path: what the files' names begin with.

    Attributes:
        shape: of the maps of a photo, (height, width, channels).
    """

    def __init__(
        self, half: FrozenHalf, size: tuple[int, int], settings: FineTuneSettings, path: Path
    ) -> None:
        self._model = keras.Sequential([keras.Input((*size, 3)), half])
        self.shape: tuple[int, ...] = self._model.output_shape[1:]
        self._size, self._settings, self._path = size, settings, path

    def of_epoch(self, epoch: int, images: NDArray[Any]) -> NDArray[np.float16]:
        """The maps [photos, height, width, channels] of photos that are trained on.

        Where not all views have room on the disk, each epoch has a new one instead.

        Args:
            epoch: from 1.
            images: [photos, height, width, 3], perhaps larger than what is cut out of them.
        """
        size = len(images) * int(np.prod(self.shape)) * np.dtype(np.float16).itemsize
        number = epoch - 1
        if self._settings.views * size <= _MAX_BYTES:
            number %= self._settings.views
        else:
            self._file(str(number - 1)).unlink(missing_ok=True)
        seed = int(np.random.SeedSequence((self._settings.seed, number)).generate_state(1)[0])
        augmentation = augmentation_layers(self._settings, self._size, seed >> 2)

        def changed(part: NDArray[np.float32]) -> Any:
            for layer in augmentation:
                part = layer(part, training=True)
            return part

        return self._maps(str(number), images, changed)

    def as_they_are(self, images: NDArray[Any]) -> NDArray[np.float16]:
        """The maps [photos, height, width, channels] of photos that are judged by."""
        return self._maps("unchanged", images, lambda part: part)

    def _maps(
        self, name: str, images: NDArray[Any], change: Callable[[NDArray[np.float32]], Any]
    ) -> NDArray[np.float16]:
        shape = (len(images), *self.shape)
        if not len(images):  # an empty file cannot be mapped
            return np.empty(shape, np.float16)
        path = self._file(name)
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            maps = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
            for start in range(0, len(images), _BATCH):
                part = change(as_floats(images[start : start + _BATCH]))
                maps[start : start + _BATCH] = self._model.predict_on_batch(part)
            maps.flush()
            del maps
            unfinished.replace(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _file(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{name}.npy")


def as_floats(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images as float32 in [0,1]."""
    if images.dtype == np.uint8:
        return np.divide(images, 255, dtype=np.float32)
    return np.asarray(images, np.float32)
