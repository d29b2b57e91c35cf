"""Folders of pictures whose classes can be told, and which are no copies of each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SMALL_MODULE = "google/imagenet/mobilenet_v1_025_224/feature_vector/5"
COLOURS = {"red": (255, 60, 60), "green": (60, 255, 60), "blue": (60, 60, 255)}
_SIDE = 96


def drawing(colour: str, number: int) -> Image.Image:
    """Shapes of a colour on a ground of noise tinted with it, each picture with its own."""
    random = np.random.default_rng([list(COLOURS).index(colour), number])
    ground = random.normal(random.uniform(60, 200), random.uniform(5, 70), (_SIDE, _SIDE, 3))
    ground = ground * np.array(COLOURS[colour]) / 255
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(2, 9))):
        corners = random.integers(-10, _SIDE + 10, (int(random.integers(2, 7)), 2))
        points = [(int(x), int(y)) for x, y in corners]
        ink = tuple(int(part * random.uniform(0.5, 1)) for part in COLOURS[colour])
        if len(points) < 4:
            pen.line(points, ink, width=int(random.integers(1, 14)))
        else:
            pen.polygon(points, ink)
    return picture


def write_class(folder: Path, colour: str, count: int, *, start: int = 0) -> list[Path]:
    """Pictures of a colour, `0.png`, `1.png`, ... in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(start, start + count)]
    for number, path in enumerate(paths, start):
        drawing(colour, number).save(path)
    return paths


def write_classes(root: Path, count: int, *colours: str, start: int = 0) -> Path:
    """A folder with a folder of pictures for each colour."""
    for colour in colours or ("red", "green"):
        write_class(root / colour, colour, count, start=start)
    return root
