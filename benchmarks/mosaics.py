"""Photos as phones take them: 12 megapixels, as mosaics of the photos at their own scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

HEIGHT, WIDTH = 3024, 4032
DIFFERENT = 24


def write_mosaics(photos: Path, folder: Path) -> list[Path]:
    """JPEGs of 3 to 5 MB, quality 90, chroma halved both ways (4:2:0), each of other photos."""
    folder.mkdir()
    tiles = [simplejpeg.decode_jpeg(path.read_bytes()) for path in sorted(photos.glob("*.jpg"))]
    paths = [folder / f"mosaic-{number:02d}.jpg" for number in range(DIFFERENT)]
    for number, path in enumerate(paths):
        path.write_bytes(simplejpeg.encode_jpeg(mosaic(tiles, number), 90, colorsubsampling="420"))
    return paths


def mosaic(tiles: list[NDArray[np.uint8]], seed: int) -> NDArray[np.uint8]:
    """Tiles in rows, in a random order: uint8 [3024, 4032, 3]; edges are cut off."""
    order = np.random.default_rng(seed).permutation(len(tiles))
    canvas = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    top = taken = 0
    while top < HEIGHT:
        rows = min(tiles[order[taken % len(tiles)]].shape[0], HEIGHT - top)
        left = 0
        while left < WIDTH:
            tile = tiles[order[taken % len(tiles)]]
            taken += 1
            again = -(-rows // tile.shape[0])  # one that is too low is repeated below itself
            part = np.tile(tile, (again, 1, 1))[:rows, : WIDTH - left]
            canvas[top : top + rows, left : left + part.shape[1]] = part
            left += part.shape[1]
        top += rows
    return canvas
