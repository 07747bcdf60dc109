"""Who the receiver of a method call is, found by where the function sits and not by a name such as `self`.

A function is bound to its first argument if the class of that argument holds the function as a method. The answer
is remembered by type.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType

from honeytrace._diagnostics import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Receivers"]


class Receivers(dict[type, int]):
    """Remembers, by the type of a first argument, whether it is the bound receiver of a function.

    0: it is not. 1: it is. 2: it is a class, so the answer depends on which. The receiver is recognised by where the
    function sits: the class of the argument holds it as a method. The name `self` has no part in it.
    """

    __slots__ = ("_function", "door")

    def __init__(self, function: FunctionType) -> None:
        super().__init__(dict.fromkeys((str, int, float, bool, type(None), list, dict, tuple, bytes), 0))
        self._function = function
        self.door: object = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what to look for; what was found is found again, among the classes of the other process."""
        return Receivers, (self._function,), self.door

    def __setstate__(self, door: object) -> None:
        self.door = door

    def __missing__(self, kind: type) -> int:
        try:
            answer = 2 if issubclass(kind, type) else int(self._holds(kind, instance=True))
        except Exception as error:  # a metaclass that lies
            failed("looking for the receiver", error)
            answer = 0
        if len(self) > 200:  # classes made at run time must not pile up here
            self.clear()
        self[kind] = answer
        return answer

    def receives(self, value: object) -> bool:
        """Say whether an object is the receiver; a class is one in class methods, __new__ and metaclass methods."""
        try:
            if issubclass(type(value), type) and self._holds(value, instance=False):  # type: ignore[arg-type]
                return True
            return self._holds(type(value), instance=True)
        except Exception as error:
            failed("looking for the receiver", error)
            return False

    def _holds(self, owner: type, *, instance: bool) -> bool:
        function = self._function
        home, _, name = function.__qualname__.rpartition(".")
        for klass in _mro(owner):
            members = _members(klass)
            for key, member in list(members.items()):
                if self._leads_here(member):
                    return _binds(member, key, instance)
            if members.get("__module__") == function.__module__ and name in members and _qualname(klass) == home:
                # Another decorator in between that left no trail: judge by what the class holds under the name.
                return _binds(members[name], name, instance)
        return False

    def _leads_here(self, member: object) -> bool:
        """Follow what wrappers and descriptors wrap, down to the function or its door.

        What else a class holds is not ours to ask: it may be a lazy object that loads, or one that raises.
        """
        from honeytrace._snapshot._kinds import held_by  # loaded by init() at the latest

        todo, seen = [member], 0
        while todo and seen < 12:
            seen += 1
            candidate = todo.pop()
            if candidate is self.door or candidate is self._function:
                return True
            if issubclass(type(candidate), property):
                parts = (property.__dict__[name].__get__(candidate) for name in ("fget", "fset", "fdel"))
                todo += [part for part in parts if part is not None]
                continue
            held = held_by(candidate)
            for name in ("__func__", "__wrapped__", "func", "_self_wrapper"):
                inner = held.get(name) if name != "__func__" else None
                inner = inner if inner is not None else _plain(candidate, name)
                if inner is not None:
                    todo.append(inner)
        return False


def _plain(candidate: object, name: str) -> object:
    """An attribute of the descriptors that are known to be harmless to ask."""
    kind = type(candidate)
    if issubclass(kind, (staticmethod, classmethod)) or _module(kind) == "functools":
        return getattr(candidate, name, None)
    return None


def _binds(member: object, key: str, instance: bool) -> bool:
    """Say whether a class member hands its owner to the function as first argument."""
    if key == "__new__":
        return not instance
    if issubclass(type(member), staticmethod):
        return False
    if issubclass(type(member), classmethod):
        return not instance
    return instance


# A metaclass may answer anything for these names, so type itself is asked.


def _members(klass: type) -> Mapping[str, object]:
    members: Mapping[str, object] = type.__dict__["__dict__"].__get__(klass)
    return members


def _module(klass: type) -> object:
    name: object = type.__dict__["__module__"].__get__(klass)
    return name


def _qualname(klass: type) -> str:
    name: str = type.__dict__["__qualname__"].__get__(klass)
    return name


def _mro(owner: type) -> tuple[type, ...]:
    mro: tuple[type, ...] = type.__dict__["__mro__"].__get__(owner)
    return mro
