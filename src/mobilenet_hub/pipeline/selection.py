"""Which items a run deals with: those of its shard, each of them once, each under its own id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass, replace

from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, digest
from mobilenet_hub.pipeline.dataset.writer import Shard
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem, FileItem, Item, SliceItem
from mobilenet_hub.pipeline.sources.source import Source


@dataclass(slots=True)
class Selection:
    """The items of one shard.

    An item that comes twice is left out the second time. Other items that have the id of an
    earlier one (rows of a table, members of an archive) get ids of their own, `ID#2`, `ID#3` and so
    on in the order of the source.

    Attributes:
        source: of the items.
        shard: (i, n) for the i-th of n.
        remember: whether `seen` is wanted though the source names nothing twice.
        duplicates: how many were left out.
        renamed: how many got ids of their own.
        seen: digests of the ids so far.
    """

    source: Source
    shard: Shard
    remember: bool
    duplicates: int = 0
    renamed: int = 0
    seen: DigestSet = field(default_factory=DigestSet)
    _origins: DigestSet = field(default_factory=DigestSet)
    _numbers: dict[str, int] = field(default_factory=dict)  # the last, for each id that came twice

    def __iter__(self) -> Iterator[Item]:
        """The items, in the order of the source."""
        index, shards = self.shard
        for item in self.source.items():
            if shards > 1 and int.from_bytes(digest(item.id)[:8], "big") % shards != index:
                continue
            if self.source.distinct:
                if self.remember:
                    self.seen.add(digest(item.id))
            elif not self._origins.add(digest(item.id, _origin(item))):
                self.duplicates += 1
                continue
            elif not self.seen.add(digest(item.id)):
                item = self._with_own_id(item)
            yield item

    def _with_own_id(self, item: Item) -> Item:
        number = self._numbers.get(item.id, 1) + 1
        while not self.seen.add(digest(f"{item.id}#{number}")):
            number += 1
        self._numbers[item.id] = number
        self.renamed += 1
        identity = f"{item.id}#{number}"
        if isinstance(item, FileItem):
            return FileItem(item.path, identity)
        if is_dataclass(item) and not isinstance(item, type):
            return replace(item, id=identity)
        return BrokenItem(identity, item.path, "list", f"another item has the id {item.id!r}")


def _origin(item: Item) -> str:
    """What is the same only where the bytes of two items are."""
    if isinstance(item, SliceItem):
        return f"{item.archive}:{item.offset}"
    if isinstance(item, BytesItem):
        import google_crc32c

        return f"{len(item.data)}:{google_crc32c.value(item.data)}"
    return item.path
