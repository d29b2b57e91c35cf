"""Which columns of a table hold paths, images and ids, by their names."""

from __future__ import annotations

from collections.abc import Iterable

from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.sources.source import SourceOptions

# Names that people give to such columns, most telling first.
PATH_COLUMNS = (
    "path", "file_path", "filepath", "image_path", "file_name", "filename", "file", "image", "url",
    "uri", "image_url",
)  # fmt: skip
IMAGE_COLUMNS = (
    "image", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes", "data", "content",
)  # fmt: skip
ID_COLUMNS = ("id", "image_id", "key", "__key__")


def find_columns(
    header: Iterable[str], options: SourceOptions, table: str
) -> tuple[int, int | None]:
    """Where the column of paths is, and the column of ids if there is one.

    Raises:
        SourceError: there is no column of that name, or none whose name says what it is.
    """
    columns = list(header)
    lower = [column.strip().lower() for column in columns]
    if options.path_column is not None:
        path_at = find_column(columns, options.path_column, table)
    else:
        found = [lower.index(name) for name in PATH_COLUMNS if name in lower]
        if not found and len(columns) > 1:
            raise SourceError(
                f"no column of {table} is named like paths ({', '.join(PATH_COLUMNS)}); say which "
                f"one holds them with --path-column. Received: {', '.join(columns)}"
            )
        if not columns:
            raise SourceError(f"expected a table with a header. Received: {table!r}, empty")
        if not found:
            raise SourceError(
                f"expected a header such as `path` in the first row of {table}. "
                f"Received: {columns[0]!r}"
            )
        path_at = find_column(columns, columns[found[0]], table)
    if options.id_column is not None:
        return path_at, find_column(columns, options.id_column, table)
    ids = [lower.index(name) for name in ID_COLUMNS if name in lower]
    if not ids or ids[0] == path_at:
        return path_at, None
    return path_at, find_column(columns, columns[ids[0]], table)


def find_column(columns: list[str], name: str, table: str) -> int:
    """Where a column is.

    Raises:
        SourceError: there is none of that name, or more than one.
    """
    if columns.count(name) > 1:
        raise SourceError(
            f"{table} has {columns.count(name)} columns of one name; it must have one. "
            f"Received: {name!r}"
        )
    if name not in columns:
        raise SourceError(
            f"{table} has no column {name!r}; it has {', '.join(columns)}. Received: {name!r}"
        )
    return columns.index(name)
