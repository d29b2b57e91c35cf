"""Every error this library raises on purpose, in one place.

Each message says what was expected, ends with what was received, and names the next step. All
errors derive from `MobileNetHubError`, so that one `except` clause catches them; each also derives
from the built-in type that `tensorflow_hub`, or plain Python, would have raised in its place, so
that code written against those keeps working.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any, Literal

Stage = Literal["list", "read", "decode"]


class MobileNetHubError(Exception):
    """Base of all errors raised by this library."""

    def __str__(self) -> str:
        """The message as written (KeyError would show its repr, OSError the errno form)."""
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle message and attributes as they are: errors cross processes whole."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[MobileNetHubError], args: tuple[Any, ...], attributes: Any) -> Any:
    base: Any = kind  # the built-in type whose layout in memory it has
    while base.__module__ != "builtins":
        base = base.__base__
    error = base.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class UnknownHandleError(MobileNetHubError, ValueError):
    """A handle that names no module of the catalogue.

    Attributes:
        handle: what was asked for.
        suggestions: the nearest valid handles, best first.
    """

    def __init__(self, handle: str, suggestions: Sequence[str] = (), reason: str = "") -> None:
        self.handle = handle
        self.suggestions = tuple(suggestions)
        hint = f" Nearest: {', '.join(self.suggestions)}." if self.suggestions else ""
        why = f" {reason}" if reason else ""
        super().__init__(
            f"Unknown module handle.{why}{hint} `mobilenet-hub list` shows all. "
            f"Received: {handle!r}"
        )


class WeightsError(MobileNetHubError, ValueError):
    """Weights that cannot be used: corrupt, of another network, or not what was pinned."""


class MissingWeightsError(WeightsError, FileNotFoundError):
    """The weights of a known module are not on this machine."""


class AmbiguousModuleError(WeightsError):
    """Weights whose shapes fit several modules, in a file that does not say which it holds.

    Attributes:
        candidates: the handles of those modules.
    """

    def __init__(self, where: str, candidates: Sequence[str]) -> None:
        self.where, self.candidates = where, tuple(candidates)
        super().__init__(
            f"{where} fits {len(self.candidates)} modules, which differ in the image size they "
            f"were trained for. Say which: `mobilenet-hub import FILE --as HANDLE`, or "
            f"hub.Module(HANDLE, weights=FILE). Candidates: {', '.join(self.candidates)}. "
            f"Received: no handle, and no size in the file's name"
        )


class PinError(WeightsError):
    """Weights that are not those that `mobilenet-hub.lock` pins."""


class CacheError(WeightsError, OSError):
    """A cache that cannot be written or read: no permission, no space, a broken disk."""


class ConversionError(MobileNetHubError, ValueError):
    """A conversion that was asked for in a way that makes no sense."""


class DownloadError(WeightsError, ConnectionError):
    """A download that failed; names the URL, the reason, and what to do.

    Attributes:
        url: what was asked for.
        reason: why it failed, alone.
        status: of the HTTP answer; None where there was none.
    """

    def __init__(
        self, message: str, url: str = "", reason: str = "", status: int | None = None
    ) -> None:
        self.url, self.reason, self.status = url, reason or message, status
        super().__init__(message)


class TensorMismatchError(WeightsError):
    """Tensors that do not fit their network: lists all that are missing, extra or misshapen."""

    def __init__(
        self,
        where: str,
        missing: Sequence[str] = (),
        extra: Sequence[str] = (),
        misshapen: Sequence[str] = (),
    ) -> None:
        self.missing, self.extra, self.misshapen = tuple(missing), tuple(extra), tuple(misshapen)
        parts = [
            f"{len(names)} {kind}: {', '.join(names)}"
            for kind, names in (("missing", missing), ("extra", extra), ("misshapen", misshapen))
            if names
        ]
        super().__init__(f"The tensors of {where} do not fit its network. {'; '.join(parts)}")


class NetworkError(MobileNetHubError, OSError):
    """Something on a network that cannot be had.

    Attributes:
        status: of the HTTP answer; None where there was none.
        transient: whether another attempt may do better.
        retry_after: seconds that the server asked to wait.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        transient: bool = True,
        retry_after: float | None = None,
    ) -> None:
        self.status, self.transient, self.retry_after = status, transient, retry_after
        super().__init__(reason)


class FileChangedError(NetworkError):
    """A file on a network that is another one than when its first bytes were read."""


class TarError(MobileNetHubError, ValueError):
    """A tar archive that is not what its format promises.

    Attributes:
        expected: in words.
        received: what is there instead.
    """

    def __init__(self, expected: str, received: object) -> None:
        self.expected, self.received = expected, received
        super().__init__(f"expected {expected}. Received: {received}")


class ImageError(MobileNetHubError, ValueError):
    """An image that cannot be decoded.

    Attributes:
        path: where the bytes came from (a path, an URL, or a description such as `<bytes>`).
        reason: what is wrong with them, in words.
    """

    def __init__(self, path: str | bytes | PathLike[str], reason: str) -> None:
        self.path = path if isinstance(path, str) else str(fspath(path))
        self.reason = reason
        super().__init__(f"Cannot read image {self.path!r}: {reason}")


class ImageFormatError(ImageError):
    """Bytes that begin as no image does which is read here.

    Attributes:
        seems: what they seem to be, in words, such as `a PDF document`; nothing of what is in them.
    """

    def __init__(self, path: str | bytes | PathLike[str], seems: str) -> None:
        self.seems = seems
        super().__init__(
            path, f"not a JPEG, PNG, WebP, GIF, BMP or TIFF image; it seems to be {seems}"
        )


class InputError(MobileNetHubError, ValueError, TypeError):
    """Arrays passed to a module that do not fit its signature (`tensorflow_hub`: TypeError)."""


class InputTypeError(InputError):
    """Something that is not an array of a supported dtype."""


class SignatureError(MobileNetHubError, ValueError, KeyError):
    """An unknown signature of a module."""


class OutputError(MobileNetHubError, TypeError):
    """An output that the signature does not have."""


class TagsError(MobileNetHubError, ValueError, KeyError):
    """Tags that name no graph variant of the module."""


class UnsupportedError(MobileNetHubError, NotImplementedError):
    """Something of `tensorflow_hub` that has no meaning for these modules."""


class EngineError(MobileNetHubError, ValueError):
    """An engine, precision or provider that cannot be had."""


class MissingCalibrationError(EngineError):
    """Weights that nobody has calibrated for int8."""


class MissingExtraError(MobileNetHubError, ImportError):
    """An optional dependency that is not installed; the message is the command that installs it."""

    def __init__(self, extra: str, what: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an extra: pip install 'mobilenet-hub[{extra}]'")


class MissingBackendError(MobileNetHubError, ImportError):
    """Keras is installed, but not the backend it is asked to run on."""


class KerasLayerError(MobileNetHubError, ValueError):
    """Arguments of a `KerasLayer` that contradict each other, or what its module computes."""


class SourceError(MobileNetHubError, ValueError):
    """A source of images that does not exist or cannot be understood."""


class DatasetError(MobileNetHubError, ValueError):
    """A dataset that cannot be continued or read: other settings, in use, or damaged."""


class AccuracyError(MobileNetHubError, AssertionError):
    """A classifier that is not as good as was asserted."""


class ItemError(MobileNetHubError, ValueError):
    """One item that cannot be had; the pipeline turns it into a `Failure`.

    Attributes:
        stage: `list` (its folder or archive cannot be read) or `read` (its bytes cannot).
        reason: in words.
    """

    def __init__(self, stage: Stage, reason: str) -> None:
        self.stage = stage
        self.reason = reason
        super().__init__(f"cannot {stage}: {reason}")
