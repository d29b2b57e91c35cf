"""Weights from a file: into the cache as those of a module, or into another format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mobilenet_hub.catalog import ModuleInfo, find
from mobilenet_hub.errors import ConversionError
from mobilenet_hub.weights import readers
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.identify import identify_module
from mobilenet_hub.weights.storage import store
from mobilenet_hub.weights.storage.cache import Record
from mobilenet_hub.weights.unfold import folded_layers

if TYPE_CHECKING:
    from mobilenet_hub.conversion.batch_norm import MeasuredBatchNorm
    from mobilenet_hub.pipeline.sources.source import SourceLike

Format = Literal["safetensors", "keras"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import.

    Attributes:
        module: whose weights they are now.
        entry: the record in the cache.
        folded: how many layers have batch norm folded into them: exact for inference, unfit for
            training until its statistics are measured.
        batch_norm: what was measured, if it was.
    """

    module: ModuleInfo
    entry: Record
    folded: int
    batch_norm: MeasuredBatchNorm | None


def import_file(
    path: str | PathLike[str],
    *,
    handle: str | None = None,
    use_ema: bool | None = None,
    photos: SourceLike | None = None,
    repin: bool = False,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Read weights in any format and keep them in the cache as those of a module.

    Args:
        path: of a file, folder, archive or checkpoint.
        handle: of the module, where the file does not say which it is.
        use_ema: whether exponential moving averages in a checkpoint are taken; see `readers.read`.
        photos: to measure the statistics of folded batch norm on.
        repin: accept them even if the project's lock file pins others.
        force: accept a handle of another image size than the file itself tells, and that weights
            without logits replace others that have them.
        progress: is called with the number of photos measured so far.

    Raises:
        AmbiguousModuleError: they fit several modules, and no handle was given.
        UnknownHandleError: the handle names no module.
        MissingWeightsError: there is nothing at the path.
        WeightsError: the file cannot be used; or nothing is folded and photos were given.
        PinError: the project's lock file pins others.
        CacheError: the cache cannot be written.
    """
    module, weights = readers.read_module(path, handle=handle, use_ema=use_ema, any_size=force)
    measured = None
    if photos is not None:
        from mobilenet_hub.conversion.batch_norm import measure_batch_norm

        size = module.image_size
        measured = measure_batch_norm(weights, photos, image_size=size, progress=progress)
        weights = measured.weights
    entry = store.keep(weights, module, repin=repin, force=force)
    return Imported(module, entry, len(folded_layers(weights)), measured)


def convert_file(
    source: str | PathLike[str],
    to: Format,
    *,
    output: str | PathLike[str] | None = None,
    handle: str | None = None,
    use_ema: bool | None = None,
    any_size: bool = False,
) -> tuple[Path, Weights]:
    """Write weights in another format.

    Args:
        source: a file, folder, archive or checkpoint; or a module's handle.
        to: `safetensors` (this library's own, TF-Slim names), or `keras` (a Keras 3 model, extra
            `[keras]`).
        output: where to; by default the source's name with the format's suffix, in the current
            folder.
        handle: the module they are the weights of, where the file does not say.
        use_ema: whether exponential moving averages in a checkpoint are taken; see `readers.read`.
        any_size: accept a handle of another image size than the file itself tells.

    Returns:
        Where they were written, and the weights.

    Raises:
        ConversionError: an unknown format, or an output that would replace the source or a file
            that has another suffix than the format.
        AmbiguousModuleError: `keras` needs the module's size, which the file does not tell.
        MissingExtraError: `keras` without Keras.
        MissingWeightsError, WeightsError, UnknownHandleError: as `import_file`.
        OSError: the output cannot be written.
    """
    if to not in get_args(Format):
        raise ConversionError(f"format must be one of {get_args(Format)}. Received: {to!r}")
    target = store.handle_or_path(source)
    if isinstance(target, ModuleInfo):
        weights, stem = store.load_weights(target), target.checkpoint_key
    else:
        weights = readers.read(target, handle=handle, use_ema=use_ema, any_size=any_size)
        stem = _stem(target)
    path = Path(output) if output is not None else Path(f"{stem}.{to}")
    if isinstance(target, Path) and path.exists() and target.exists() and path.samefile(target):
        raise ConversionError(
            f"The output would replace the source: name another with --output. "
            f"Received: {str(path)!r}"
        )
    if path.exists() and path.suffix != f".{to}":
        raise ConversionError(
            f"The output is there already and is not named like weights in this format (.{to}). "
            f"Received: {str(path)!r}"
        )
    if to == "safetensors":
        weights.save(path)
    else:
        _write_keras(path, weights, handle)
    return path, weights


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".tar.gz", ".weights.h5", ".ckpt.index"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return path.stem if path.is_file() else name.removesuffix(".ckpt")


def _write_keras(path: Path, weights: Weights, handle: str | None) -> None:
    from mobilenet_hub import keras as mobilenets

    module = find(handle) if handle else identify_module(weights)
    if path.suffix != ".keras":
        raise ConversionError(
            f"the name of a Keras model must end in .keras. Received: {str(path)!r}"
        )
    temporary = path.with_name(f".{path.name}.part.keras")  # Keras looks at the suffix
    try:
        mobilenets.model(module, weights=weights).save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
