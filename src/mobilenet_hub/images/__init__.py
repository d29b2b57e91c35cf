"""Images: bytes to pixels of the size a network wants.

JPEG, PNG, WebP, GIF (first frame), BMP and TIFF, told apart by their content, become RGB: grey,
palette, CMYK and 16-bit files too. As in TensorFlow, alpha is dropped (see `formats.decode`) and
colour profiles are not applied. What cannot be read raises `ImageError`, and nothing else.

Two ways from the picture to the result, both bilinear without antialias, because the networks
were trained so:

`bilinear` (the default): the picture is turned upright (EXIF). A JPEG is decoded at the least n/8
of its size that still has all the pixels needed, other formats in full; what then is still at
least twice too large is averaged in boxes by an integer factor; the rest is interpolated with
half-pixel centres. So a large photo neither aliases nor costs what its full size would. Result:
uint8.

`tf1`: what TF-Slim's evaluation did in TensorFlow 1, to the last bit: full-size decode, EXIF
ignored, crop, `resize_bilinear(align_corners=False)`. It aliases on large photos. Result: float32,
not rounded, as there.

Measured with V2 1.4 224, V1 1.0 224 on 1,000 photos: TF-Slim's evaluation (`slim`, `tf1`) 90.7 and
91.9 % top-1, the default here 92.8 and 93.2 %; antialiased `slim` 88.7 and 91.4 % (issue 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import ImageError, ImageFormatError, InputError
from mobilenet_hub.images import formats, jpeg
from mobilenet_hub.images.geometry import (
    Box,
    Window,
    layout,
    least_scale_num,
    reduction,
    sample,
    shrunk_window,
)
from mobilenet_hub.images.limits import Data, max_bytes
from mobilenet_hub.settings import MAX_PIXELS, Crop, PreprocessingSettings, Resample

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "MAX_PIXELS",
    "Crop",
    "Preprocessing",
    "Resample",
    "decode",
    "load_image",
    "read_file",
    "upright_size",
]

Source = str | PathLike[str] | Data

# Mid-grey: zero after the networks' own 2x − 1, as is TensorFlow's SAME padding inside them.
_PADDING = {"bilinear": 128, "tf1": 0.5}


@dataclass(frozen=True, slots=True)
class Preprocessing(PreprocessingSettings):
    """From the bytes of an image file to the pixels of a size.

    Its fields, what they mean, and the errors they raise are those of `PreprocessingSettings`.
    """

    def __call__(
        self, data: Data, *, path: str = "<bytes>", into: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Decode, turn upright, crop and resize one image. Safe to call from several threads.

        Args:
            data: the bytes of an image file.
            path: where they came from, for errors.
            into: array of `shape` and `dtype` to write the result to (a slot of a batch). Left
                undefined where an error is raised.

        Returns:
            RGB of `shape` and `dtype`; `into`, where it was given.

        Raises:
            ImageError: an image that cannot be read: `path` and the reason.
            InputError: an `into` that does not fit.
        """
        if into is None:
            into = np.empty(self.shape, self.dtype)
        elif into.shape != self.shape or into.dtype != self.dtype or not into.flags.writeable:
            raise InputError(
                f"into must be a writeable {self.dtype} array of shape {self.shape}. "
                f"Received: {into.dtype} {into.shape}, writeable: {into.flags.writeable}"
            )
        preprocess(data, self, into, path)
        return into


def preprocess(
    data: Data, settings: PreprocessingSettings, into: NDArray[Any], path: str = "<bytes>"
) -> None:
    """`Preprocessing` without the checks of `into`: for buffers that were made to fit.

    Args:
        data: the bytes of an image file.
        settings: how they become pixels.
        into: array of the settings' `shape` and `dtype`; undefined where an error is raised.
        path: where the bytes came from, for errors.

    Raises:
        ImageError: an image that cannot be read: `path` and the reason.
    """
    picture, window, filled = _picture(data, settings, path)
    if (filled.height, filled.width) != (settings.height, settings.width):
        into.fill(_PADDING[settings.resample])
    rows = slice(filled.top, filled.top + filled.height)
    columns = slice(filled.left, filled.left + filled.width)
    sample(picture, window, into[rows, columns], tf1=settings.resample == "tf1")


def _picture(
    data: Data, settings: PreprocessingSettings, path: str
) -> tuple[NDArray[np.uint8], Window, Box]:
    """The decoded picture, the window of it to interpolate, the box of the result it fills."""
    target, exact = (settings.height, settings.width), settings.resample == "tf1"
    data, kind = _recognised(data, path)
    if kind == "JPEG":
        header = jpeg.read_header(data, path, settings.max_pixels)
        size = (header.height, header.width) if exact else header.upright_size
        fixed = exact or not header.scalable
        n = 8 if fixed else least_scale_num(size, target, settings.crop)
        picture = jpeg.decode(
            data, header, path, scale_num=n, fast_dct=exact, upright=not exact,
            reuse_buffer=True,
        )  # fmt: skip
        used, filled = layout(size, target, settings.crop, n)
        factors = (1, 1) if exact else reduction(used, filled)
        if factors == (1, 1):
            return picture, Window(used, used.height, used.width), filled
        image = formats.to_image(picture)
    else:
        image = formats.decode(bytes(data), kind, path, settings.max_pixels, upright=not exact)
        used, filled = layout((image.height, image.width), target, settings.crop)
        factors = (1, 1) if exact else reduction(used, filled)
        if factors == (1, 1):
            return np.asarray(image), Window(used, used.height, used.width), filled
    down, across = factors
    edges = (used.left, used.top, used.left + used.width, used.top + used.height)
    shrunk = image.reduce((across, down), box=edges)
    return np.asarray(shrunk), shrunk_window(used, factors), filled


def load_image(
    source: Source | Image | NDArray[np.uint8],
    height: int,
    width: int,
    *,
    crop: Crop = "center",
    resample: Resample = "bilinear",
    max_pixels: int = MAX_PIXELS,
) -> NDArray[Any]:
    """An image file, its bytes or a picture, as pixels of a size: `Preprocessing` in one call.

    Args:
        source: path; the bytes of a file; a picture of Pillow, or a uint8 array [height, width, 3].
        height: of the result.
        width: of the result.
        crop: see `Preprocessing`.
        resample: see `Preprocessing`.
        max_pixels: see `Preprocessing`.

    Returns:
        RGB [height, width, 3]: uint8 in [0, 255]; for `tf1` float32 in [0, 1].

    Raises:
        ImageError: it cannot be read: the path and the reason.
        InputError: settings that mean nothing.
    """
    preprocessing = Preprocessing(height, width, crop, resample, max_pixels)
    if formats.is_picture(source):
        return preprocessing(formats.to_file(source, "<picture>"), path="<picture>")
    if isinstance(source, Data):
        return preprocessing(source)
    path = cast("str | PathLike[str]", source)
    return preprocessing(read_file(path, max_pixels=max_pixels), path=fspath(path))


def decode(data: Data, *, path: str = "<bytes>", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The whole picture at full size, upright; otherwise as `tf.io.decode_image` decodes it.

    Args:
        data: the bytes of an image file.
        path: where they came from, for errors.
        max_pixels: greatest width times height, checked before it is decoded.

    Returns:
        uint8 RGB [height, width, 3].

    Raises:
        ImageError: it cannot be read: `path` and the reason.
    """
    data, kind = _recognised(data, path)
    if kind == "JPEG":
        header = jpeg.read_header(data, path, max_pixels)
        return jpeg.decode(data, header, path, fast_dct=True)
    return np.array(formats.decode(bytes(data), kind, path, max_pixels))


def upright_size(
    data: Data, *, path: str = "<bytes>", max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """Height and width, in pixels, of the picture that `decode` gives, from the header alone.

    Args:
        data: the bytes of an image file that can be decoded.
        path: where they came from, for errors.
        max_pixels: greatest width times height.

    Raises:
        ImageError: it is not an image, or has more pixels.
    """
    data, kind = _recognised(data, path)
    if kind == "JPEG":
        return jpeg.read_header(data, path, max_pixels).upright_size
    return formats.upright_size(bytes(data), kind)


def read_file(path: str | PathLike[str], *, max_pixels: int = MAX_PIXELS) -> bytes:
    """The bytes of an image file.

    Reads no further than its first bytes where these are of no image, nor further than any
    picture of `max_pixels` needs.

    Raises:
        ImageError: it cannot be read, or is not an image.
    """
    name = fspath(path)
    limit = max_bytes(max_pixels)
    try:
        with Path(path).open("rb") as file:
            head = file.read(formats.SEEMS_BYTES)
            _recognised(head, name)  # raises
            data = head + file.read(limit + 1 - len(head))
    except OSError as error:
        raise ImageError(name, error.strerror or str(error)) from error
    except ValueError as error:  # a path with a null character
        if isinstance(error, ImageError):
            raise
        raise ImageError(name, str(error)) from error
    if len(data) > limit:
        raise ImageError(name, f"more than {limit:,} bytes, too large for {max_pixels:,} pixels")
    return data


def worth_reading(head: bytes, limit: int) -> int:
    """How many bytes of a file are worth reading, judged by the first of them.

    Args:
        head: the beginning of the file, some kilobytes.
        limit: in any case.

    Returns:
        None beyond `head` where that is of no image: `decode` will say so. Where the head of a
        JPEG, PNG or BMP tells the picture's size, no more than such a picture can have. (The
        others may hold any number of pictures.)
    """
    kind = formats.recognise(head[:12])
    if kind is None:
        return len(head)
    size = jpeg.size_in(head) if kind == "JPEG" else formats.size_in(head, kind)
    return limit if size is None else min(limit, max_bytes(size[0] * size[1]))


def _recognised(data: Data, path: str) -> tuple[Data, str]:
    """The bytes, and the format that the first of them announce; refuses what is none."""
    if isinstance(data, memoryview) and not (data.c_contiguous and data.itemsize == data.ndim == 1):
        data = data.tobytes()
    head = bytes(data[: formats.SEEMS_BYTES])
    if not head:
        raise ImageError(path, "an empty file")
    kind = formats.recognise(head)
    if kind is None:
        raise ImageFormatError(path, formats.appearance(head))
    return data, kind
