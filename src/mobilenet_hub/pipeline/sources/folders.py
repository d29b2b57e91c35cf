"""Folders on this machine, searched to any depth, and globs."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator

from mobilenet_hub.pipeline.sources.items import BrokenItem, FileItem, Item, path_id, reason
from mobilenet_hub.pipeline.sources.source import PassedOver, Source, SourceOptions, is_wanted


def open_folder(folder: str, options: SourceOptions) -> Source:
    """The images of a folder and all below it, by the bytes of their names."""
    return Source(
        lambda passed_over: _walk(folder, options, passed_over),
        lambda: sum(1 for _ in _walk(folder, options, Counter())),
        distinct=True,
    )


def glob_paths(pattern: str) -> list[str]:
    """What a glob matches, by the bytes of the names."""
    found = glob.glob(pattern, recursive=True, include_hidden=True)  # noqa: PTH207 - as the shell
    return sorted(found, key=os.fsencode)


def _walk(root: str, options: SourceOptions, passed_over: PassedOver) -> Iterator[Item]:
    seen: set[tuple[int, int]] = set()  # device and inode of the folders entered through links
    waiting = [iter((f"{root}/",))]  # paths still to come, of the folder and those above it
    while waiting:
        path = next(waiting[-1], None)
        if path is None:
            waiting.pop()
        elif not path.endswith("/"):
            yield FileItem(path)
        else:
            folder = path[:-1]
            prefix = "" if folder == "." else os.path.join(folder, "")  # noqa: PTH118
            try:
                if not options.follow_links or _first_visit(folder, seen):
                    waiting.append(map(prefix.__add__, _names(folder, options, passed_over)))
            except OSError as error:
                yield BrokenItem(path_id(folder), folder, "list", reason(error))


def _first_visit(folder: str, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was not searched before, by this path or another; from now on it was."""
    status = os.stat(folder)  # noqa: PTH116 - may hold any bytes
    known = len(seen)
    seen.add((status.st_dev, status.st_ino))
    return len(seen) > known


def _names(folder: str, options: SourceOptions, passed_over: PassedOver) -> list[str]:
    """Sorted names in a folder, those of folders with `/` at the end.

    (Names only: a million directory entries would fill memory.)
    """
    with os.scandir(folder) as entries:
        names = [
            f"{entry.name}/" if entry.is_dir(follow_symlinks=options.follow_links) else entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=options.follow_links)
            or is_wanted(entry.name, options, passed_over)
        ]
    names.sort(key=os.fsencode)
    return names
