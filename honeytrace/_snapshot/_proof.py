"""The proof that a value may go to orjson as it is: exact plain types, clean names, no bomb.

Lists that share their parts, or one long string many times over, are small in memory and astronomical in text: so the
size of the text is bounded before it is made. `room` is that bound, in characters; every node takes some, and so a
cycle comes to its end as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from gc import is_tracked
from itertools import chain
from typing import Any, Protocol

from honeytrace._snapshot._binary import DATA_URI
from honeytrace._snapshot._kinds import is_pair

__all__ = ["ATOMS", "Names", "prove", "prove_text"]

ATOMS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_NUMBERS = ATOMS - {str}
_DICTS = {dict}
_CONTAINERS = frozenset({dict, list, tuple})

_MANY = 64
"""Longer lists are looked at as a whole first."""

_NODE = 60
"""What a member of a list or dict takes of the room, beside its text: a node costs 60 to 100 ns to look at."""


class Names(Protocol):
    """What knows about secret names."""

    clean: set[str]
    """Names that are known to be harmless."""

    def are_clean(self, names: set[Any]) -> bool:
        """Say whether all of these dict keys are plain strings and harmless."""
        ...


def prove(value: Any, names: Names, levels: int, room: int) -> int:
    """Prove it for one value of at most `levels` levels.

    Gives the room that is left; negative means that there is no proof. No call per container: that would cost more
    than all the rest. This walks through small values only, of known names, in no more containers than there may be
    levels: most are like that, and it costs them a third less than to count levels and to gather names.
    """
    if type(value) not in _CONTAINERS:
        return _prove_large(value, names, levels, room)
    clean, left = names.clean, room
    containers = [value]
    for members in containers:
        size = len(members)
        if type(members) is dict:
            known = clean.issuperset(members)
            values = members.values()
        else:
            known = size != 2 or type(members[0]) is not str or not is_pair(members)
            values = members
        if not known or size > _MANY:
            return _prove_large(value, names, levels, room)
        left -= _NODE * size
        for member in values:
            kind = type(member)
            if kind is str:
                length = len(member)
                left -= length
                if length > DATA_URI and member.startswith("data:"):
                    return -1
            elif kind in _CONTAINERS:
                containers.append(member)
            elif kind not in _NUMBERS:
                return -1
        if left < 0 or len(containers) > levels:
            return _prove_large(value, names, levels, room)
    return left


def _prove_large(value: Any, names: Names, levels: int, room: int) -> int:
    """Prove it for any value, level by level.

    The names of all dicts that hold one nobody has met are looked at together, at the end.
    """
    clean = names.clean
    dicts: list[dict[Any, Any]] = []  # those with a name that is not known yet
    pairs: list[str] = []
    level: list[Iterable[Any]] = [(value,)]
    while level:
        if levels < 0 or room < 0:
            return -1
        levels -= 1
        below: list[Iterable[Any]] = []
        for members in level:
            for member in members:
                kind = type(member)
                if kind is str:
                    size = len(member)
                    room -= size
                    if size > DATA_URI and (room < 0 or member.startswith("data:")):
                        return -1
                elif kind is dict:
                    room -= _NODE * len(member)
                    if not clean.issuperset(member):
                        dicts.append(member)
                    below.append(member.values())
                elif kind is list or kind is tuple:
                    size = len(member)
                    room -= _NODE * size
                    if size == 2 and is_pair(member):
                        pairs.append(member[0])
                    if size > _MANY and room >= 0:
                        member, room = _long(member, dicts, room)
                    below.append(member)
                elif kind not in _NUMBERS:
                    return -1
            if room < 0:
                return -1
        level = below
    if dicts:
        found: set[Any] = set().union(*dicts)
        if not found <= clean and not names.are_clean(found):
            return -1
    if pairs and not names.are_clean(set(pairs)):
        return -1
    return room


def _long(members: list[Any], dicts: list[dict[Any, Any]], room: int) -> tuple[Iterable[Any], int]:
    """Look at a long list as a whole; give what is left to be looked at, and the room that is left.

    A dict that the garbage collector does not track holds no container (CPython up to 3.13; later versions track every
    dict). Where that goes for all rows, what they hold is text and numbers, and a sample tells how much: it is only
    wrong for strings that are few, enormous and the same object many times over.
    """
    types = {*map(type, members)}
    if types <= _NUMBERS:  # an embedding, say
        return (), room
    if types == _DICTS and not any(map(is_tracked, members)):
        room -= _NODE * sum(map(len, members))
        step = len(members) // _MANY
        sample = prove_text(chain.from_iterable(map(dict.values, members[::step])), room)
        dicts += members
        return (), sample if sample < 0 else room - (room - sample) * step
    return members, room


def prove_text(values: Iterable[Any], room: int) -> int:
    """Take the size of all strings among the values from the room; no proof if one is a long data URI."""
    for value in values:
        if type(value) is str:
            size = len(value)
            room -= size
            if size > DATA_URI and (room < 0 or value.startswith("data:")):
                return -1
    return room
