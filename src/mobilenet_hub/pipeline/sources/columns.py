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
_NAMES, _LETTERS = 20, 60  # of columns in an error, and of each
ID_COLUMNS = ("id", "image_id", "key", "__key__")


def find_columns(
    header: Iterable[str], options: SourceOptions, table: str
) -> tuple[int, int | None]:
    """Where the column of paths is, and the column of ids if there is one.

    Raises:
        SourceError: there is no column of that name, or none whose name says what it is.
    """
    columns = list(header)
    path_at = find_column(columns, options.path_column, PATH_COLUMNS, table)
    if path_at is None:
        if not columns:
            raise SourceError(f"expected a table with a header. Received: {table!r}, empty")
        if len(columns) == 1:
            raise SourceError(
                f"expected a header such as `path` in the first row of {table}. "
                f"Received: {listed(columns)!r}"
            )
        raise SourceError(
            f"no column of {table} is named like paths ({', '.join(PATH_COLUMNS)}); say which "
            f"one holds them with --path-column. Received: {listed(columns)}"
        )
    id_at = find_column(columns, options.id_column, ID_COLUMNS, table)
    return path_at, None if id_at == path_at and options.id_column is None else id_at


def find_column(
    columns: list[str], name: str | None, usual: Iterable[str], table: str
) -> int | None:
    """Where a column is.

    Args:
        columns: their names.
        name: of the column; None for the first that is named as usual.
        usual: names that such columns have, most telling first.
        table: in words.

    Returns:
        Its place; None where none is named as usual.

    Raises:
        SourceError: there is none of that name, or more than one.
    """
    if name is None:
        lower = [column.strip().lower() for column in columns]
        found = next((lower.index(word) for word in usual if word in lower), None)
        if found is None:
            return None
        name = columns[found]
    if name not in columns:
        raise SourceError(
            f"{table} has no column {name!r}; it has {listed(columns)}. Received: {name!r}"
        )
    if columns.count(name) > 1:
        raise SourceError(
            f"{table} has {columns.count(name)} columns of one name; it must have one. "
            f"Received: {name!r}"
        )
    return columns.index(name)


def listed(columns: list[str]) -> str:
    """Names of columns for an error: of a file that is no table, they may be megabytes."""
    names = [f"{name[:_LETTERS]}..." if len(name) > _LETTERS else name for name in columns]
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
