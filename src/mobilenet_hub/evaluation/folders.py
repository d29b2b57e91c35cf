"""Folders named by class: which class each photo in them is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

from mobilenet_hub.errors import InputError
from mobilenet_hub.labels import imagenet_labels, imagenet_wordnet_ids
from mobilenet_hub.pipeline.sources.items import BrokenItem, Item, path_id
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceOptions

_NAMED = 10  # names in an error


class ClassNames:
    """What people call the classes of a classifier.

    By label; for ImageNet by label, WordNet id (`n01440764`) or index. Large and small letters are
    the same, and `_` is a space.

    Args:
        labels: the classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._imagenet = tuple(labels) == imagenet_labels()
        self._labels = labels
        self._class_of = _names(labels, imagenet=self._imagenet)

    def number(self, name: str) -> int | None:
        """The class of that name; None for a name of none, or of several."""
        found = (self._class_of.get(spelling) for spelling in (name, _plain(name)))
        return next((number for number in found if number is not None), None)

    def unknown(self, names: Sequence[str], what: str) -> str:
        """What to say of names that are of no class, or of several.

        Args:
            names: these.
            what: has them, such as `folders`.
        """
        received = _listed(names)
        several = {_plain(name) for name in names} & {
            name for name, number in self._class_of.items() if number is None
        }
        if several and self._imagenet:
            ids = [each for label, each in zip(self._labels, imagenet_wordnet_ids(), strict=True)
                   if _plain(label) in several]  # fmt: skip
            return f"several classes have this name; use the id of one: {_listed(ids)}. " \
                   f"Received: {received}"  # fmt: skip
        near = [
            label for name in names[:_NAMED] for label in get_close_matches(name, self._labels, 2)
        ]
        few = len(self._labels) <= _NAMED
        expected = _listed(self._labels if few else list(dict.fromkeys([*near, *self._labels])))
        kind = "WordNet id (n01440764), label or index" if self._imagenet else "class"
        return f"expected {what} named by {kind}: {expected}. Received: {received}"


class ClassFolders:
    """The photos of folders that are named by class.

    A photo is of the class that the nearest folder around it is named by, as far up as the path
    that was given; in lists and archives, of the one right around it. See `ClassNames`.

    Args:
        words: folders, globs, lists and archives.
        labels: the classes.
        options: how sources are read.

    Raises:
        InputError: standard input, which cannot be gone through twice.
        SourceError: a source does not exist.
    """

    def __init__(
        self,
        words: Sequence[str | PathLike[str]],
        labels: Sequence[str],
        options: SourceOptions | None = None,
    ) -> None:
        if "-" in words:
            raise InputError("photos are gone through twice: give a path. Received: '-'")
        self._names = ClassNames(labels)
        self._sources = [(_root(word), open_sources(word, options)) for word in words]

    def check(self) -> None:
        """Look at the names of all folders before anything is computed.

        Raises:
            InputError: folders that name no class; says what was expected.
        """
        unknown = {
            folders[-1] if folders else ""
            for folders, item in self._walk()
            if self._class(folders) is None and not isinstance(item, BrokenItem)
        }
        if unknown:
            raise InputError(self._unknown(sorted(unknown)))

    def items(self) -> Iterator[tuple[Item, tuple[int, ...]]]:
        """Each photo and its class; of what a source could not yield (`BrokenItem`), any."""
        for folders, item in self._walk():
            number = self._class(folders)
            if number is None and not isinstance(item, BrokenItem):  # made since `check`
                raise InputError(self._unknown(folders[-1:]))
            yield item, (number or 0,)

    @property
    def passed_over(self) -> Counter[str]:
        """How many files of each suffix the last pass left out, as not named like images."""
        return sum((source.passed_over for _, source in self._sources), Counter())

    def _walk(self) -> Iterator[tuple[list[str], Item]]:
        for root, source in self._sources:
            for item in source.items():
                folders = item.id.split("/")[:-1]
                around = folders[-1:] if root is None else root(folders)
                hidden = any(name.startswith(".") for name in around[1:])
                if not (hidden and self._class(around) is None):  # as `retrain` passes them over
                    yield around, item

    def _class(self, folders: Sequence[str]) -> int | None:
        found = (self._names.number(name) for name in reversed(folders))
        return next((number for number in found if number is not None), None)

    def _unknown(self, names: Sequence[str]) -> str:
        return self._names.unknown(names, "folders")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def _root(word: str | PathLike[str]) -> Callable[[list[str]], list[str]] | None:
    """For a folder, what makes of the folders in an id those from it on; None for other sources."""
    root = Path(word)
    if not root.is_dir():
        return None
    return lambda folders: [path_id(root.resolve().name), *folders[len(root.parts) :]]


def _names(labels: Sequence[str], *, imagenet: bool) -> dict[str, int | None]:
    """Names of folders to classes; None for one that several classes have."""
    spellings: dict[str, int | None] = {}
    for spelled in (_plain, path_id, str):  # the last, exact one, wins
        own: dict[str, int | None] = {}
        for number, label in enumerate(labels):
            name = spelled(label)
            own[name] = None if name in own else number
        spellings |= own
    if imagenet:
        spellings |= {name: number for number, name in enumerate(imagenet_wordnet_ids()) if name}
        spellings |= {str(number): number for number in range(len(labels))}
    return spellings


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()
