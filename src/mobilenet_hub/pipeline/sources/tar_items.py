"""Tar archives, as WebDataset and others write them: their images are read, never extracted.

A damaged archive yields all that lies before the damage, and then one failure that says where it
is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mobilenet_hub.errors import ItemError, TarError
from mobilenet_hub.images import MAX_PIXELS
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.sources.items import (
    BrokenItem,
    BytesItem,
    Item,
    SliceItem,
    nanoseconds,
    path_id,
    read_image,
    reason,
)
from mobilenet_hub.pipeline.sources.source import (
    File,
    PassedOver,
    Source,
    SourceOptions,
    is_wanted,
)
from mobilenet_hub.tar import Member, TarReader, decompressed

_MAX_MEMBER = max_bytes(MAX_PIXELS)


def open_archive(file: File, options: SourceOptions) -> Source:
    """The images of a tar archive, compressed or not; those of a plain local one in any order."""

    def items(passed_over: PassedOver) -> Iterator[Item]:
        reader = None
        try:
            with file.open() as stream:
                plain = decompressed(stream, stream.peek(6))
                in_place = file.local and plain is stream
                reader = TarReader(plain)
                for member in reader:
                    if member.kind == "other" or not is_wanted(member.name, options, passed_over):
                        continue
                    identity = f"{path_id(file.name)}/{path_id(member.name)}"
                    if why := _unreadable(member):
                        yield BrokenItem(identity, identity, "read", why)
                        continue
                    modified = nanoseconds(member.modified)
                    if in_place:
                        yield SliceItem(
                            identity, identity, file.name, member.offset, member.size, modified
                        )
                        continue
                    try:
                        data = read_image(reader.read, member.size, _MAX_MEMBER)
                    except ItemError as error:
                        yield BrokenItem(identity, identity, error.stage, error.reason)
                    else:
                        yield BytesItem(identity, identity, data, modified)
        except (TarError, OSError) as error:
            where = f"archive, near byte {reader.offset if reader else 0:,}: {reason(error)}"
            yield BrokenItem(path_id(file.name), file.name, "list", where)

    plain = file.local and file.name.lower().endswith(".tar")
    return Source(items, lambda: sum(1 for _ in items(Counter())) if plain else None)


def _unreadable(member: Member) -> str | None:
    """Why the data of a member cannot be had, in words."""
    if member.kind == "link":
        return "a link, which is not followed inside an archive: pack it with --dereference"
    if member.kind == "sparse":
        return "stored without its holes: pack it again without --sparse"
    return None
