"""The proof that a value may go to orjson as it is: exact plain types, clean names, no bomb.

Lists that share their parts, or one long string many times over, are small in memory and astronomical in text: so the
size of the text is bounded before it is made. `room` is that bound, in characters; every node takes some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from gc import is_tracked
from itertools import chain
from typing import Any, Protocol

from honeytrace._binary import DATA_URI

__all__ = ["ATOMS", "Names", "prove", "prove_text"]

ATOMS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_NUMBERS = ATOMS - {str}

_DICTS = {dict}

_MANY = 64
"""Longer lists are looked at as a whole first."""

_NODE = 60
"""What a member of a list or dict takes of the room, beside its text: a node costs 60 to 170 ns to look at."""


class Names(Protocol):
    """What knows about secret names."""

    clean: set[str]
    """Names that are known to be harmless."""

    def are_clean(self, names: set[Any]) -> bool:
        """Say whether all of these dict keys are plain strings and harmless."""
        ...


def prove(value: Any, names: Names, levels: int, room: int) -> int:
    """Prove it for one value of at most `levels` levels.

    Gives the room that is left; negative means that there is no proof.
    """
    kind = type(value)
    if kind is str:
        return prove_text((value,), room)
    if kind in _NUMBERS:
        return room
    if kind is not dict and kind is not list and kind is not tuple:
        return -1
    room -= _NODE * len(value)
    if room < 0:
        return -1
    if kind is dict:
        if not names.clean.issuperset(value) and not names.are_clean(set(value)):
            return -1
        return _prove_members(value.values(), names, levels - 1, room)
    if len(value) > _MANY:
        types = {*map(type, value)}
        if types <= _NUMBERS:  # an embedding, say
            return room
        if types == _DICTS:
            return _prove_rows(value, names, levels - 2, room)
    return _prove_members(value, names, levels - 1, room)


def _prove_rows(rows: Sequence[dict[Any, Any]], names: Names, levels: int, room: int) -> int:
    """Prove it for a long list of dicts: their names all at once.

    A dict that the garbage collector does not track holds no container (CPython up to 3.13; later versions track every
    dict). Where that goes for all rows, what they hold is text and numbers, and a sample tells how much: it is only
    wrong for strings that are few, enormous and the same object many times over.
    """
    room -= _NODE * sum(map(len, rows))
    found: set[Any] = set().union(*rows) if room >= 0 else set()
    if room < 0 or (not found <= names.clean and not names.are_clean(found)):
        return -1
    if any(map(is_tracked, rows)):
        return _prove_members(chain.from_iterable(map(dict.values, rows)), names, levels, room)
    step = len(rows) // _MANY
    sample = prove_text(chain.from_iterable(map(dict.values, rows[::step])), room)
    return -1 if sample < 0 else room - (room - sample) * step


def _prove_members(members: Iterable[Any], names: Names, levels: int, room: int) -> int:
    if levels < 0 or room < 0:
        return -1
    for member in members:
        kind = type(member)
        if kind is str:
            size = len(member)
            room -= size
            if size > DATA_URI and member.startswith("data:"):
                return -1
        elif kind not in _NUMBERS:
            room = prove(member, names, levels, room)
            if room < 0:
                return -1
    return room


def prove_text(values: Iterable[Any], room: int) -> int:
    """Take the size of all strings among the values from the room; no proof if one is a long data URI."""
    for value in values:
        if type(value) is str:
            size = len(value)
            room -= size
            if size > DATA_URI and value.startswith("data:"):
                return -1
    return room
