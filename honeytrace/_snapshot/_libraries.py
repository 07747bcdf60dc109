"""Values of libraries for numbers, tables and databases: a bounded look at what they hold.

No library is imported for them. Everything here runs their code, and so through `walk.foreign`.
"""

from __future__ import annotations

from typing import Any

from honeytrace._snapshot._shorten import Plain
from honeytrace._snapshot._types import REDACTED, Walk, type_name

__all__ = ["array", "frame", "index", "mapped_row", "numpy_scalar", "row", "series", "tensor"]


def numpy_scalar(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    """A scalar as the number or text it is; one with fields as a record."""

    def look() -> object:
        names = value.dtype.names
        return dict(zip(names, base.item(value), strict=True)) if names else base.item(value)

    return walk.copy(walk.foreign(look), depth + 1)


def array(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    """Shape, type and some of the values; those of a structured array as records, so that its names count."""

    def look() -> dict[str, object]:
        values = base.tolist(value.flat[:16] if value.size > 64 else value)
        if value.dtype.names and type(values) is list and all(type(row) is tuple for row in values):
            values = [dict(zip(value.dtype.names, row, strict=True)) for row in values]
        return {
            "type": type_name(value),
            "shape": list(value.shape),
            "dtype": str(value.dtype),
            "head" if value.size > 64 else "values": values,
        }

    return walk.record(walk.foreign(look), depth)


def tensor(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    """Shape and type only: the values may be on another device."""
    look: dict[str, object] = {"type": type_name(value), "shape": None, "dtype": None}
    look["shape"] = walk.foreign(lambda: [int(size) for size in value.shape])
    look["dtype"] = walk.foreign(lambda: str(value.dtype))
    return walk.record(look, depth)


def frame(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    """Shape, columns and the first rows."""

    def look() -> dict[str, object]:
        columns = [walk.key(column) for column in value.columns[:50]]
        secret = [walk.is_secret(column) for column in columns]
        head = [
            [REDACTED if hide else cell for hide, cell in zip(secret, row, strict=True)]
            for row in value.iloc[:5, :50].itertuples(index=False, name=None)
        ]
        return {"type": type_name(value), "shape": list(value.shape), "columns": columns, "head": head}

    return walk.record(walk.foreign(look), depth)


def series(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    """Shape, type, name and the first values, under the name: it may be a secret one."""

    def look() -> dict[str, object]:
        head = value.iloc[:10].to_dict()
        named = value.name if isinstance(value.name, str) else "head"
        look = {
            "type": type_name(value),
            "shape": list(value.shape),
            "dtype": str(value.dtype),
            "name": value.name,
        }
        return look | ({"head": head} if named == "head" else {"head": {named: head}})

    return walk.record(walk.foreign(look), depth)


def index(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    """Shape and the first values."""
    return walk.record(
        walk.foreign(lambda: {"type": type_name(value), "shape": list(value.shape), "head": list(value[:10])}),
        depth,
    )


def row(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    """A row that a database gave: its cells are there already."""
    return walk.record(walk.foreign(lambda: dict(zip(value.keys(), tuple(value), strict=True))), depth)


def mapped_row(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    """A row that goes by the names of its columns."""
    return walk.record(walk.foreign(lambda: dict(getattr(value, "_mapping", value))), depth)
