"""What a module carries for whoever reads it: the size of image it expects, and which it is.

`tensorflow_hub` calls the first `ImageModuleInfo` (`tensorflow_hub/image_module_info.proto`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message
from mobilenet_hub.weights.readers.tensorflow.saved_model import HANDLE_KEY, IMAGE_MODULE_INFO_KEY


@dataclass
class ImageSize:
    """Height and width of an image, in pixels."""

    height: int = 0
    width: int = 0


@dataclass
class ImageModuleInfo:
    """What a module for images says of itself, with the two methods of a protocol message.

    ```python
    info = module.get_attached_message("image_module_info", hub.ImageModuleInfo)
    info.default_image_size.height
    ```
    """

    default_image_size: ImageSize = field(default_factory=ImageSize)

    def SerializeToString(self) -> bytes:  # noqa: N802 - a protocol message's
        """The message on the wire: field 1, with the fields 1 and 2 in it."""
        size = b"\x08" + _varint(self.default_image_size.height)
        size += b"\x10" + _varint(self.default_image_size.width)
        return b"\x0a" + _varint(len(size)) + size

    def ParseFromString(self, data: bytes) -> int:  # noqa: N802 - a protocol message's
        """Take the fields of such a message; returns its length.

        Raises:
            WeightsError: it is no such message.
        """
        size = Message(data, "an ImageModuleInfo").message(1)
        self.default_image_size = ImageSize(size.integer(1), size.integer(2))
        return len(data)


def attached_message(info: ModuleInfo, key: str, message_type: Any, required: bool = False) -> Any:
    """The message that is attached to a module under a key, as a message of a type.

    Args:
        info: the module.
        key: `image_module_info` is the only one there is.
        message_type: made without arguments, then given the bytes by `ParseFromString`.
        required: whether an unknown key is an error; else it gives None.

    Raises:
        KeyError: there is no such message.
    """
    if key != IMAGE_MODULE_INFO_KEY:
        if required:
            raise KeyError(
                f"No attached message for key '{key}' in graph version [] of Hub Module "
                f"{info.handle}"
            )
        return None
    message = message_type()
    size = ImageSize(info.image_size, info.image_size)
    message.ParseFromString(ImageModuleInfo(size).SerializeToString())
    return message


def attachments(info: ModuleInfo) -> list[bytes]:
    """What an exported module carries, as `tensorflow_hub/module_attachment.proto` has it.

    The size of image for everybody; for this library, the handle, which it tells apart from those
    of the same network by.
    """
    size = ImageModuleInfo(ImageSize(info.image_size, info.image_size)).SerializeToString()
    messages = {IMAGE_MODULE_INFO_KEY: size, HANDLE_KEY: info.handle.encode()}
    return [_field(1, key.encode()) + _field(2, value) for key, value in messages.items()]


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
