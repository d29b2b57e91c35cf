"""Where a module's weights are: the one place that decides.

In this order: the cache (what was fetched or imported), the files inside this package, modules
that `tensorflow_hub` has left on this machine, the network. An explicit path comes before all of
them: see `weights.resolve`. Whatever comes out was checked against its sha256, and against
`mobilenet-hub.lock` where a project has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from importlib.resources import files
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mobilenet_hub.catalog import ModuleInfo, Task, find
from mobilenet_hub.errors import (
    CacheError,
    DownloadError,
    MissingWeightsError,
    PinError,
    UnknownHandleError,
    WeightsError,
)
from mobilenet_hub.weights import readers
from mobilenet_hub.weights.identify import check_classes
from mobilenet_hub.weights.storage import origins
from mobilenet_hub.weights.storage.cache import Cache, Record, no_space
from mobilenet_hub.weights.storage.origins import BUNDLED, WITHOUT_LOGITS, Origin
from mobilenet_hub.weights.storage.pins import Pins, check_project, tensor_digests

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights
    from mobilenet_hub.weights.storage.download import OnBytes


def _show_nothing(name: str) -> AbstractContextManager[OnBytes | None]:
    return nullcontext()


# Who shows a download that a load needs, given the checkpoint's name; the commands draw a bar.
show_download: Callable[[str], AbstractContextManager[OnBytes | None]] = _show_nothing


def is_here(info: ModuleInfo) -> bool:
    """Whether the module's weights can be loaded without a network."""
    return (
        Cache().get(info.checkpoint_key, logits=info.task == "classification") is not None
        or bundled_path(info) is not None
        or next(origins.local_origins(info), None) is not None
    )


def load_weights(info: ModuleInfo) -> Weights:
    """The weights of a module, fetched if they are not on this machine.

    Raises:
        MissingWeightsError: they cannot be had; says why, and what to do.
        PinError: they are not those that the project's lock file pins.
        WeightsError: they were changed or damaged.
        CacheError: the cache cannot be read or written.
    """
    return _obtain(info)[0]


def bundled_path(info: ModuleInfo) -> Path | None:
    """The file inside this package with all that a module needs; None if there is none."""
    key = info.checkpoint_key
    if key not in BUNDLED or (info.task == "classification" and key in WITHOUT_LOGITS):
        return None
    return Path(str(files("mobilenet_hub").joinpath(f"data/weights/{key}.safetensors")))


def local_path(handle: str | PathLike[str]) -> str:
    """The path of a module's weights on this machine, fetched if need be; `hub.resolve` to users.

    Args:
        handle: of a module; or a path, which is returned as it is.

    Raises:
        UnknownHandleError: neither a module nor a path.
        MissingWeightsError, PinError, WeightsError, CacheError: as `load_weights`.
    """
    target = handle_or_path(handle)
    if isinstance(target, Path):
        return str(target)
    return str(_obtain(target)[1])


def handle_or_path(spec: str | PathLike[str]) -> ModuleInfo | Path:
    """A string that names a module is a handle; everything else must be a path that exists.

    Raises:
        UnknownHandleError: it is neither.
        MissingWeightsError: it is a path by its looks, and there is nothing there.
    """
    if not isinstance(spec, str):
        path = Path(spec)
    else:
        try:
            return find(spec)
        except UnknownHandleError as error:
            path = Path(spec).expanduser()
            rooted = spec.startswith(("/", "./", "../", "~")) or path.is_absolute()
            path_like = rooted or _exists(path) or (path.suffix and not error.suggestions)
            if not spec or not path_like:
                raise
    if not _exists(path):
        raise MissingWeightsError(
            f"{fspath(spec)} does not exist, and names no module either. Received: {fspath(spec)!r}"
        )
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.with_name(f"{path.name}.index").exists()
    except (OSError, ValueError):  # no path at all: too long, or with a NUL character
        return False


def fetch(
    info: ModuleInfo,
    *,
    force: bool = False,
    repin: bool = False,
    lock: str | PathLike[str] | None = None,
    progress: OnBytes | None = None,
) -> Record:
    """Get a checkpoint from the network into the cache, unless it is there.

    Args:
        info: a module of the checkpoint.
        force: fetch it even if it is in the cache, and replace what is there.
        repin: accept other weights than those that are pinned, and pin them instead.
        lock: the lock file that pins it; by default the project's, if it has one.
        progress: is called with the bytes so far and their total.

    Raises:
        MissingWeightsError: it cannot be had; says why, and what to do.
        PinError: what came is not what is pinned.
        CacheError: the cache cannot be written, or holds other weights of the checkpoint, without
            logits.
    """
    key, cache = info.checkpoint_key, Cache()
    pins = Pins.find(cache, key, Path(lock) if lock else None, repin=repin)
    # What is fetched serves both tasks.
    if not force and (entry := cache.get(key, logits=True)) is not None:
        return pins.checked(entry)
    if origins.offline():
        raise _missing(info, [])
    reasons: list[str] = []
    with cache.lock(key):
        if not force and (entry := cache.get(key, logits=True)) is not None:
            return pins.checked(entry)  # another process was faster
        for origin in origins.remote_origins(info):
            try:
                weights, sha256 = _from_origin(info, origin, cache, pins, progress)
                check_classes(info, weights)
            except (PinError, CacheError):
                raise
            except WeightsError as error:
                reason = error.reason if isinstance(error, DownloadError) else str(error)
                reasons.append(f"{origin.name}: {reason}")
                continue
            pins.check(weights)
            if not (force or repin):
                _check_replaced(weights, info, cache)
            entry = cache.put(key, weights)
            pins.add(weights, origin, sha256)
            return entry
    raise _missing(info, reasons)


def keep(weights: Weights, info: ModuleInfo, *, repin: bool = False, force: bool = False) -> Record:
    """Put weights of one's own into the cache, as those of a module.

    Weights without logits leave those that are in the cache where they are, if the features are the
    same: the modules of both tasks share a checkpoint.

    Args:
        weights: of that module's network.
        info: the module.
        repin: accept them in place of those that the project's lock file pins.
        force: accept that weights without logits replace others that have them.

    Raises:
        WeightsError: they classify other classes than the module's.
        PinError: the project's lock file pins others.
        CacheError: the cache cannot be written, or holds logits that belong to other features.
    """
    key, cache = info.checkpoint_key, Cache()
    pins = Pins.find(cache, key, repin=repin)
    check_classes(info, weights)
    pins.check_project(weights)
    with cache.lock(key):
        entry = None if force or weights.has_logits else _with_logits(weights, info, cache)
        entry = entry or cache.put(key, weights)
        pins.add_import(weights)
        if pins.project_pin and repin:
            pins.pin_project(weights)
    return entry


def _with_logits(weights: Weights, info: ModuleInfo, cache: Cache) -> Record | None:
    """The record of the same features with logits, if it is in the cache."""
    entry, old = _replaced(info, cache)
    if entry is None or old is None or not entry.has_logits:
        return None
    if tensor_digests(old)[0] != tensor_digests(weights)[0]:
        raise CacheError(
            f"The cache holds weights of {info.checkpoint_key} that classify, and whose features "
            f"are others than these: with these in their place, there would be no logits. Import "
            f"weights that have logits, or say --force. Received: {weights.metadata.get('source')}"
        )
    return entry


def _replaced(info: ModuleInfo, cache: Cache) -> tuple[Record | None, Weights | None]:
    """What is in the cache, about to be replaced; nothing where that is damaged."""
    try:
        entry = cache.get(info.checkpoint_key)
        return entry, None if entry is None else cache.load(entry)
    except WeightsError:
        return None, None


def _obtain(info: ModuleInfo) -> tuple[Weights, Path]:
    """The weights of a module, and the file they are in."""
    from mobilenet_hub.weights.canonical import load

    cache, key = Cache(), info.checkpoint_key
    if (entry := cache.get(key, logits=info.task == "classification")) is not None:
        weights = cache.load(entry)
        check_project(key, weights)
        return weights, cache.path(entry)
    if (path := bundled_path(info)) is not None:
        weights = load(path, sha256=BUNDLED[key])
        with suppress(PinError):  # others may be had elsewhere
            check_project(key, weights)
            return weights, path
    for origin in origins.local_origins(info):
        weights = readers.read(origin.address, handle=info.handle)
        check_classes(info, weights)
        check_project(key, weights)
        return weights, Path(origin.address)
    entry = _fetch_for(info)
    return cache.load(entry), cache.path(entry)


def _fetch_for(info: ModuleInfo) -> Record:
    with show_download(info.checkpoint_name) as progress:
        entry = fetch(info, progress=progress)
    if info.task == "classification" and not entry.has_logits:
        raise _missing(info, [f"{entry.metadata.get('source')}: it ends at the feature vector"])
    return entry


def _from_origin(
    info: ModuleInfo,
    origin: Origin,
    cache: Cache,
    pins: Pins,
    progress: OnBytes | None,
) -> tuple[Weights, str]:
    """Weights from one place, and the sha256 of the file they came in."""
    # Any network of this checkpoint will do, with logits or without.
    handle = replace(info, task="feature_vector").handle
    from mobilenet_hub.weights.storage.download import discard, download

    if origin.kind == "kaggle":
        weights = readers.read(_kaggle(origin), handle=handle)
        return _with_provenance(info, weights, origin, ""), ""
    # Each user has a name of their own: in a folder with the sticky bit, nobody removes another's.
    user = getattr(os, "geteuid", int)()
    name = f"{info.checkpoint_key}.{user}.{urlsplit(origin.address).path.rpartition('/')[2]}.part"
    path = cache.make_downloads() / name
    with cache.errors("write"):
        while True:
            done = download(origin.address, path, progress=progress)
            pins.check_download(origin, done.sha256)
            try:
                weights = readers.read(path, handle=handle)
            except WeightsError as error:
                if no_space(error.__cause__):  # to unpack it: the download is sound
                    raise CacheError(
                        f"Cannot unpack {path}: free some space for temporary files, or set TMPDIR "
                        f"to another disk. Received: {error.__cause__}"
                    ) from error
                discard(path)
                if done.resumed:  # parts of two different files, perhaps: once more, from the start
                    continue
                raise WeightsError(f"what came is not what was asked for. {error}") from error
            discard(path)
            return _with_provenance(info, weights, origin, done.sha256), done.sha256


def _check_replaced(weights: Weights, info: ModuleInfo, cache: Cache) -> None:
    """Weights without logits that somebody imported give way to the same ones with them only."""
    _, old = _replaced(info, cache)
    if old is not None and tensor_digests(old)[0] != tensor_digests(weights)[0]:
        raise CacheError(
            f"The cache holds weights of {info.checkpoint_key} that end at the feature vector and "
            f"are others than the published ones. `mobilenet-hub fetch --force {info.handle}` "
            f"replaces them. Received: {old.metadata.get('source')}"
        )


def _with_provenance(info: ModuleInfo, weights: Weights, origin: Origin, sha256: str) -> Weights:
    """Say where they are from; their handle is the newest of the checkpoint, for all of them."""
    task: Task = "classification" if weights.has_logits else "feature_vector"
    return weights.with_metadata(
        handle=find(f"google/imagenet/{info.checkpoint_key}/{task}").handle,
        source=origin.name,
        license=origin.license,
        **({"source_sha256": sha256} if sha256 else {}),
    )


def _kaggle(origin: Origin) -> str:
    """Let kagglehub download a module; the folder it is in."""
    import kagglehub

    try:
        return str(kagglehub.model_download(origin.address))
    # kagglehub raises what its many parts raise: requests', its own, OSError, ValueError.
    except Exception as error:
        raise DownloadError(
            f"Cannot download {origin.address} with kagglehub. Received: {error}", origin.address
        ) from error


def _missing(info: ModuleInfo, reasons: list[str]) -> MissingWeightsError:
    if reasons:
        why = "could not be fetched:\n" + "\n".join(f"  {reason}" for reason in reasons)
    else:
        why = f"must not be fetched, because {origins.OFFLINE_VARIABLE} is set."
    key = info.checkpoint_key
    bundled = ", ".join(sorted(BUNDLED))
    partly = f"; of {key} the feature vector only" if key in WITHOUT_LOGITS else ""
    return MissingWeightsError(
        f"The weights of {info.handle} are not on this machine and {why}\n"
        f"`mobilenet-hub fetch {info.handle}` gets them where there is a network. Elsewhere, bring "
        f"{info.checkpoint_url} (checkpoint {info.checkpoint}), then `mobilenet-hub import FILE`.\n"
        f"Inside this package: {bundled}{partly}. Received: {info.handle!r}"
    )
