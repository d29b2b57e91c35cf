"""Photos on the page: those called what they are not, and those whose label is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import ImageError, ItemError
from mobilenet_hub.evaluation.drawing.heat_maps import has_heat_maps, heat_maps, overlay
from mobilenet_hub.evaluation.metrics import answers_right, predicted_classes
from mobilenet_hub.evaluation.records import Predictions
from mobilenet_hub.evaluation.suspects import find_suspects
from mobilenet_hub.images import preprocess
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pages.page import common_folder
from mobilenet_hub.pages.picture import jpeg_uri, png_uri
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.settings import PreprocessingSettings

SHOWN = 48  # photos of each kind, some kilobytes each
_SIZE = 128  # pixels of a photo's side
_BATCH = 16  # photos whose feature maps are in memory at once

Card = dict[str, Any]


class PhotoCards:
    """Makes what the page says and shows of single photos.

    A card is a dict: `id` (below the folder that all photos are in), `photo` (a URI, or None where
    it cannot be read), `said` and `truth` (labels and their probabilities), `maps` (label and URI
    of a heat map).

    Args:
        labels: of the classes.
        module: the classifier.
        preprocessing: how photos become what it takes, which is what the page shows of them.

    Attributes:
        have_heat_maps: whether the classifier's head allows any.
    """

    def __init__(
        self, labels: Sequence[str], module: InferenceModule, preprocessing: PreprocessingSettings
    ) -> None:
        self._labels = labels
        self._module = module
        self._preprocessing = preprocessing
        self.have_heat_maps = has_heat_maps(module.current_weights())

    def wrong(self, of: Predictions) -> tuple[list[Card], int]:
        """Photos that were called what they are not, the surest first, and how many there are."""
        predicted = predicted_classes(of)
        sure = of.probabilities.max(axis=1)
        below = len(common_folder(item.id for item in of.items))
        rows = sorted(
            np.flatnonzero(~answers_right(of)).tolist(),
            key=lambda row: (-sure[row], of.items[row].id),
        )
        surest: dict[str, int] = {}  # of each photo, which may be there several times
        for row in rows:
            surest.setdefault(of.items[row].id, row)
        once = list(surest.values())
        cards = []
        for row in once[:SHOWN]:
            said, truth = _classes(predicted[row]), _classes(of.truth[row])
            cards.append(self._card(of, row, said, truth, below))
        shown = [(card, of.items[row], self._in_question(of, row))
                 for card, row in zip(cards, once, strict=False)]  # fmt: skip
        self._draw(shown, maps=self.have_heat_maps)
        return cards, len(once)

    def suspects(self, of: Predictions | None) -> tuple[list[Card], int]:
        """Photos whose label is probably wrong, the surest first, and how many there are."""
        if of is None:
            return [], 0
        found = find_suspects(of)
        below = len(common_folder(item.id for item in of.items))
        cards: list[Card] = []
        shown: list[tuple[Card, Item, list[int]]] = []
        for suspect in found[:SHOWN]:
            given, likely = self._labels[suspect.given], self._labels[suspect.likely]
            if of.multi_label:
                has = bool(of.truth[suspect.row, suspect.given])
                given = given if has else f"not {given}"
                likely = f"not {likely}" if has else likely
            item = of.items[suspect.row]
            card: Card = {
                "id": item.id[below:], "photo": None, "maps": [],
                "said": [(likely, suspect.likely_probability)],
                "truth": [(given, suspect.given_probability)],
            }  # fmt: skip
            cards.append(card)
            shown.append((card, item, []))
        self._draw(shown, maps=False)
        return cards, len(found)

    def _card(
        self, of: Predictions, row: int, said: list[int], truth: list[int], below: int
    ) -> Card:
        words = [
            [(self._labels[number], float(of.probabilities[row, number])) for number in numbers]
            for numbers in (said, truth)
        ]
        return {"id": of.items[row].id[below:], "photo": None, "maps": [],
                "said": words[0], "truth": words[1]}  # fmt: skip

    def _in_question(self, of: Predictions, row: int) -> list[int]:
        """The classes whose heat maps tell most: what it was called, and what it is."""
        if of.multi_label:
            return [int(np.abs(of.probabilities[row] - of.truth[row]).argmax())]
        return [int(of.probabilities[row].argmax()), int(of.truth[row])]

    def _draw(self, shown: list[tuple[Card, Item, list[int]]], *, maps: bool) -> None:
        """Fill photos and heat maps into cards."""
        for start in range(0, len(shown), _BATCH):
            read = [(card, pixels, classes) for card, item, classes in shown[start : start + _BATCH]
                    if (pixels := self._pixels(item)) is not None]  # fmt: skip
            for card, pixels, _ in read:
                card["photo"] = jpeg_uri(_as_bytes(pixels), _SIZE)
            if not maps or not read:
                continue
            images = np.stack([pixels for _, pixels, _ in read])
            drawn = heat_maps(self._module, images, np.array([classes for *_, classes in read]))
            for (card, _, classes), cells in zip(read, drawn, strict=True):
                largest = float(np.abs(cells).max())
                card["maps"] = [
                    (self._labels[number], png_uri(overlay(each, largest)))
                    for number, each in zip(classes, cells, strict=True)
                ]

    def _pixels(self, item: Item) -> NDArray[Any] | None:
        """What the classifier sees of a photo; None where it is gone or broken by now."""
        how = self._preprocessing
        pixels = np.empty(how.shape, how.dtype)
        try:
            data, _ = item.read(max_bytes(how.max_pixels))
            preprocess(data, how, pixels, item.path)
        except (ItemError, ImageError, OSError):
            return None  # the page says that there is no picture
        return pixels


def _classes(answer: Any) -> list[int]:
    """The numbers of classes: of one number, or of bool [classes]."""
    return np.flatnonzero(answer).tolist() if np.ndim(answer) else [int(answer)]


def _as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels * 255).clip(0, 255)
    return pixels.astype(np.uint8, copy=False)
