"""A type as it is, past every attempt to hide it; and what a kind may use while a value is copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from honeytrace._scrub import REDACTED
from honeytrace._snapshot._shorten import Plain

__all__ = ["REDACTED", "Kind", "Walk", "class_attribute", "dict_of", "module_of", "mro_of", "name_of", "type_name"]


class Walk(Protocol):
    """What a kind may use while a value is copied; `_plain` has the one there is."""

    def copy(self, value: object, depth: int) -> Plain: ...
    def sequence(self, value: Any, base: type, depth: int) -> Plain: ...
    def unsliced(self, value: Any, base: type, depth: int) -> list[Plain]: ...
    def mapping(self, value: Any, base: type, depth: int) -> Plain: ...
    def record(self, values: dict[str, object], depth: int) -> dict[str, Plain]: ...
    def string(self, text: str) -> Plain: ...
    def foreign(self, code: Callable[[], Any]) -> Any: ...
    def described(self, code: Callable[[], Any]) -> Plain: ...
    def key(self, name: object) -> str: ...
    def is_secret(self, name: str) -> bool: ...
    def is_late(self) -> bool: ...


Kind: TypeAlias = Callable[[Walk, Any, type, int], Plain]
"""(walk, value, the base that is in the table, depth) -> plain."""

mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
dict_of: Callable[[type], dict[str, Any]] = type.__dict__["__dict__"].__get__
name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
module_of: Callable[[type], Any] = type.__dict__["__module__"].__get__


def type_name(value: object) -> str:
    """The name of the value's type, past every attempt to hide it."""
    return name_of(type(value))[:100]


def class_attribute(kind: type, name: str) -> Any:
    """What the class or its bases define under a name, as it stands there; None when there is nothing."""
    for base in mro_of(kind):
        found = dict_of(base).get(name)
        if found is not None:
            return found
    return None
