"""Small image files of many kinds, and what TensorFlow makes of them.

`data/images_tensorflow.npz` holds files and what TensorFlow 2.21 makes of them: `decoded`
(`tf.io.decode_image(channels=3)`), `slim` (TF-Slim's evaluation: `convert_image_dtype`,
`central_crop` 0.875, `tf.compat.v1.image.resize_bilinear` to 20 × 16), `half_pixel`
(`tf.image.resize` of the whole to 42 × 50, bilinear, no antialias).
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mobilenet_hub.errors import ImageError
from mobilenet_hub.images import Preprocessing
from places import DATA

TENSORFLOW = np.load(DATA / "images_tensorflow.npz")


FILES = {
    key.removesuffix("/file"): TENSORFLOW[key].tobytes()
    for key in TENSORFLOW.files
    if key.endswith("/file")
}


CROPS = ("center", "cover", "slim", "none", "pad")


def scene(height, width, channels=3, seed=0):
    """Smooth waves with noise: uint8 [height, width, channels]."""
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(columns / (3 + k) + rows / (7 + k) + k) for k in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, channels))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def encode(pixels, kind, mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reason_for(data, **options):
    with pytest.raises(ImageError) as caught:
        Preprocessing(24, 24, **options)(data, path="some/photo.jpg")
    assert caught.value.path == "some/photo.jpg"
    return caught.value.reason


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


TRUNCATABLE = {
    **FILES,
    "webp_lossy": encode(scene(40, 30), "WebP"),
    "gif_animated": encode(
        Image.fromarray(scene(40, 30)),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(scene(40, 30, seed=n)) for n in (1, 2)],
    ),
    **{
        f"tiff_{compression}": encode(scene(40, 30), "TIFF", compression=compression)
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    },
}
