"""What `tensorflow_hub` says of a tensor before there is one: its dtype and its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenet_hub.errors import MissingExtraError


class Shape(tuple[int | None, ...]):
    """A shape with None for sizes that may vary, and the accessors of `tf.TensorShape`."""

    def __eq__(self, other: object) -> bool:
        """Equal to a tuple, a list and a `tf.TensorShape` of the same sizes."""
        return super().__eq__(tuple(other) if isinstance(other, list) else other)

    __hash__ = tuple.__hash__

    def __getitem__(self, index: Any) -> Any:
        """A size; of a slice, a shape."""
        found = super().__getitem__(index)
        return Shape(found) if isinstance(index, slice) else found

    def as_list(self) -> list[int | None]:
        """The sizes."""
        return list(self)

    @property
    def ndims(self) -> int:
        """How many sizes there are."""
        return len(self)

    rank = ndims

    def is_compatible_with(self, other: Any) -> bool:
        """Whether some tensor has both shapes; a shape of unknown rank is None."""
        if other is None or getattr(other, "rank", 0) is None:
            return True
        pairs = list(zip(self, other, strict=False))
        return len(other) == len(self) and all(None in pair or len({*pair}) == 1 for pair in pairs)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a signature, with the accessors of `tensorflow_hub`'s tensor info.

    Attributes:
        dtype: of the tensor; equal to TensorFlow's of that name.
        shape: with None for sizes that may vary.
    """

    dtype: np.dtype[Any]
    shape: Shape

    def get_shape(self) -> Shape:
        """The shape."""
        return self.shape

    def is_compatible_with(self, tensor: Any) -> bool:
        """Whether a tensor, or an info of one, may be given where this one is expected."""
        return bool(self.dtype == tensor.dtype) and self.shape.is_compatible_with(tensor.shape)

    @property
    def type_spec(self) -> Any:
        """The same as a `tf.TensorSpec`.

        Raises:
            MissingExtraError: TensorFlow is not installed.
        """
        try:
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise MissingExtraError("tensorflow", "TensorInfo.type_spec") from error
        return tf.TensorSpec(self.shape, self.dtype)

    def __repr__(self) -> str:
        """In the words of `tensorflow_hub`."""
        return (
            f"<hub.ParsedTensorInfo shape={tuple(self.shape)} dtype={self.dtype} is_sparse=False>"
        )

    @property
    def is_sparse(self) -> bool:
        """Never: all are dense."""
        return False

    @property
    def is_composite(self) -> bool:
        """Never: all are tensors."""
        return False

    @property
    def is_supported_type(self) -> bool:
        """Always."""
        return True
