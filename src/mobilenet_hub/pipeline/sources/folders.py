"""Folders on this machine, searched to any depth, and globs."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator

from mobilenet_hub.pipeline.sources.items import BrokenItem, FileItem, Item, path_id
from mobilenet_hub.pipeline.sources.source import Source, SourceOptions, is_wanted


def open_folder(folder: str, options: SourceOptions) -> Source:
    """The images of a folder and all below it, by the bytes of their names."""
    passed_over: Counter[str] = Counter()
    return Source(
        lambda: _walk(folder, options, passed_over),
        lambda: sum(1 for _ in _walk(folder, options, Counter())),
        distinct=True,
        passed_over=passed_over,
    )


def glob_paths(pattern: str) -> list[str]:
    """What a glob matches, by the bytes of the names."""
    found = glob.glob(pattern, recursive=True, include_hidden=True)  # noqa: PTH207 - as the shell
    return sorted(found, key=os.fsencode)


def _walk(root: str, options: SourceOptions, passed_over: Counter[str]) -> Iterator[Item]:
    passed_over.clear()
    seen: set[tuple[int, int]] = set()  # device and inode of the folders entered through links
    open_folders = [iter((f"{root}/",))]  # names still to come, of the folder and those above it
    prefixes = [""]  # put before these names
    while open_folders:
        name = next(open_folders[-1], None)
        if name is None:
            open_folders.pop()
            prefixes.pop()
        elif not name.endswith("/"):
            yield FileItem(prefixes[-1] + name)
        else:
            folder = prefixes[-1] + name[:-1]
            try:
                if options.follow_links and _entered(folder, seen):
                    continue
                open_folders.append(iter(_names(folder, options, passed_over)))
            except OSError as error:
                yield BrokenItem(path_id(folder), folder, "list", error.strerror or str(error))
            else:
                prefixes.append("" if folder == "." else os.path.join(folder, ""))  # noqa: PTH118


def _entered(folder: str, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was searched already, by this path or another; from now on it was."""
    status = os.stat(folder)  # noqa: PTH116 - may hold any bytes
    key = (status.st_dev, status.st_ino)
    if key in seen:
        return True
    seen.add(key)
    return False


def _names(folder: str, options: SourceOptions, passed_over: Counter[str]) -> list[str]:
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
