"""What a provider's file says about one kind of call: how to read its request and its answer.

Requests and answers are read as JSON, as they travel, or as the client's own objects: `_messages.get` reads both. Each
field is read by a function of its own, so that a field that has changed its form costs that field and nothing beside
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from honeytrace._diagnostics import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeAlias

    Fields: TypeAlias = Mapping[str, Callable[[Any], object]]
    """Name of a field → how to read it. None means that it is not there."""

    class Join(Protocol):
        """Puts the events of a stream together. The result looks like the answer of a call that is not streamed."""

        def add(self, event: Any) -> bool:
            """Take the next event; say whether it carries something that was generated."""
            ...

        def result(self) -> Any:
            """Give what came so far."""
            ...


__all__ = ["Fields", "Operation", "read", "read_one"]

if not TYPE_CHECKING:
    Fields = Join = object


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One kind of call. `content` names what in the request is no configuration; everything else goes into config."""

    event_name: str
    inputs: Fields
    content: frozenset[str]
    outputs: Fields
    join: Callable[[], Join]
    event_type: str = "model"
    metadata: Fields = field(default_factory=dict)
    usage: Callable[[Any], Mapping[str, object]] = lambda answer: {}
    error: Callable[[Any], str | None] = lambda answer: None
    parsed_name: str | None = None
    """The event's name where the client also parses the answer."""


def read(fields: Fields, source: Any, package: str) -> dict[str, Any]:
    """Read each field; those that are not there, or cannot be read, are left out."""
    values: dict[str, Any] = {}
    for name, how in fields.items():
        try:
            value = how(source)
        except Exception as error:
            _unreadable(name, package, error)
        else:
            if value is not None:
                values[name] = value
    return values


def read_one(name: str, how: Callable[[Any], Any], source: Any, package: str) -> Any:
    """Read one thing; None, counted and logged once, if it cannot be read."""
    try:
        return how(source)
    except Exception as error:
        _unreadable(name, package, error)
        return None


def _unreadable(name: str, package: str, error: Exception) -> None:
    failed(f"reading {name} of {package} {_version(package)}", error)


@cache
def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "(unknown version)"
