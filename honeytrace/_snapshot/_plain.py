"""Copy any value into a private tree of plain dicts, lists, strings and numbers: the slow path of a snapshot.

One `Walk` copies one value, within a budget of depth, nodes, characters and time; where a budget ends, the
tree says so. Containers are copied in one step before they are looked into, because another thread may be
changing them. A value's own code is called through `foreign` only.

What has no counterpart in JSON:
    a cycle             "<cycle: list>"
    too deep            "<dict: below 64 levels>"
    a raising object    "<Name: ValueError>"
    keys                str of them; one that collides with another gets its type added: "1", "1 (int)"
    secret keys         the key stays, its value becomes "[redacted]"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter, thread_time
from typing import Any

from honeytrace._diagnostics import is_interruption
from honeytrace._snapshot._binary import DATA_URI, data_uri
from honeytrace._snapshot._kinds import integer, known_of, name_of_pair
from honeytrace._snapshot._shorten import LeftOut, Plain, encode, ends, left_out, readable, shorten
from honeytrace._snapshot._types import REDACTED, name_of, type_name
from honeytrace.exceptions import ConfigError

__all__ = ["Limits", "Walk"]

_RESERVE = 32
"""Nodes kept for each sibling that is still to come, so that a large first one does not take all."""
_OWN = 6
"""Nodes for each item that is no plain text or number."""
_WHOLE = 4
"""Down to this level a part is tried whole, at the speed of C, before it is copied bit by bit."""
_ROWS = 5_000
_TRIES = 16
"""So many parts in a row that are not plain, and no more are tried."""
_SHORT = 64
_GRANTED = 200
"""So many values are copied even when the time is over."""
_DESCRIBED = 4_000
"""So many characters of what a value says of itself are kept, a tenth of that after _DESCRIPTIONS of them."""
_DESCRIPTIONS = 30_000
_KEY = 1_000
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one snapshot may be and cost.

    max_bytes: size of the JSON text. max_string: characters kept of a long string, when the whole is too
    large. max_depth: levels of nesting. max_nodes: values copied one by one, on the slow path. seconds: CPU
    time of ours on the slow path; code of the value itself (`__repr__` and the like) gets as much again, and
    ten times as much by the clock on the wall, before no more of it is called.
    """

    max_bytes: int = 500_000
    max_string: int = 32_000
    max_depth: int = 64
    max_nodes: int = 5_000
    seconds: float = 0.004

    def __post_init__(self) -> None:
        for name, least in (("max_bytes", 256), ("max_string", 64), ("max_depth", 1), ("max_nodes", 16)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")


class Unreadable(Exception):
    """A value's own code raised or has had its time; the message says which."""


class Walk:
    """Copies one value, once."""

    __slots__ = (
        "_asked",
        "_characters",
        "_deadline",
        "_described",
        "_encode_rows",
        "_encode_whole",
        "_floor",
        "_foreign_cpu",
        "_foreign_wall",
        "_has_cut",
        "_left",
        "_limits",
        "_path",
        "_scrub",
        "_tries",
        "is_secret",
    )

    def __init__(
        self,
        limits: Limits,
        is_secret: Callable[[str], bool],
        encode_whole: Callable[[object, int, int], bytes | None],
        encode_rows: Callable[[list[Any], int, int], bytes | None],
        scrub: Callable[[str], str],
    ) -> None:
        self._limits = limits
        self.is_secret = is_secret
        self._encode_whole = encode_whole
        self._encode_rows = encode_rows
        self._scrub = scrub
        self._left = limits.max_nodes
        self._tries = _TRIES
        self._floor = 0
        self._characters = limits.max_bytes
        self._has_cut = False
        self._deadline = thread_time() + limits.seconds * 0.5  # the rest is for shortening
        self._asked = self._described = 0
        self._foreign_cpu = self._foreign_wall = 0.0
        self._path: set[int] = set()

    def copy(self, value: object, depth: int) -> Plain:
        """Copy any value."""
        kind = type(value)
        if kind is str:
            return self.string(value)  # type: ignore[arg-type]
        if kind is int:
            return integer(value)  # type: ignore[arg-type]
        if value is None or kind is float or kind is bool:
            return value
        if id(value) in self._path:
            return f"<cycle: {type_name(value)}>"
        if depth >= self._limits.max_depth:
            return f"<{type_name(value)}: below {depth} levels>"
        if self._left <= self._floor or self._is_over():
            return f"<{type_name(value)}: left out>"
        self._path.add(id(value))
        try:
            return self._convert(value, kind, depth)
        except RecursionError:
            raise
        except Unreadable as error:
            return f"<{type_name(value)}: {error}>"
        except Exception as error:  # a type that only pretends to be what its name or its marks say
            return f"<{type_name(value)}: {type_name(error)}>"
        finally:
            self._path.discard(id(value))

    def fields(self, values: dict[str, object]) -> dict[str, Plain]:
        """Copy a dict whose own names have been checked before."""
        return self._pairs(list(values.items()), 0, checked=True)

    def record(self, values: dict[str, object], depth: int) -> dict[str, Plain]:
        """Copy a private dict with names for keys."""
        return self._pairs(list(values.items()), depth)

    def mapping(self, value: Any, base: Any, depth: int) -> dict[str, Plain]:
        """Copy a dict or OrderedDict, or what is one underneath."""
        size = base.__len__(value)
        head, tail = self._ends(size, _retried(lambda: [*islice(base.values(value), 1)]))
        if head == tail:
            return self._pairs(_retried(lambda: [*base.items(value)]), depth)

        def cut() -> list[Any]:
            last = [*islice(reversed(base.items(value)), size - tail)]
            return [*islice(base.items(value), head), *reversed(last)]

        return self._pairs(_retried(cut), depth, head=head, missing=tail - head)

    def sequence(self, value: Any, base: Any, depth: int) -> list[Plain] | bytes:
        """Copy a list or tuple, or what is one underneath."""
        size = base.__len__(value)
        samples = base.__getitem__(value, slice(None, None, max(1, size - 1)))
        if 0 < size <= _ROWS and type(samples[0]) is dict:
            rows = self._tried(self._encode_rows, [*base.__getitem__(value, slice(_ROWS))], depth)
            if rows is not None:
                return rows
        head, tail = self._ends(size, samples)
        items = [*base.__getitem__(value, slice(head)), *base.__getitem__(value, slice(tail, None))]
        return self._items(items, depth, head=head, missing=tail - head)

    def unsliced(self, value: Any, base: Any, depth: int) -> list[Plain]:
        """Copy a set, a deque or a view of a dict; sets in order where there is one."""
        size = base.__len__(value)
        head = min(size, self._room(_retried(lambda: [*islice(base.__iter__(value), 1)])))
        items = _retried(lambda: [*islice(base.__iter__(value), head)])
        if base is set or base is frozenset:
            kinds = {id(type(item)) for item in items}
            if kinds == {id(str)} or kinds <= {id(int), id(float)}:
                items.sort()
        return self._items(items, depth, head=head, missing=size - head)

    def string(self, text: str) -> Plain:
        """Take a string over; a data URI becomes what it holds, and what cannot fit is shortened."""
        size = len(text)
        if size > DATA_URI and text.startswith("data:"):
            described = data_uri(text, hashed=not self.is_late())
            if described is not None:
                return described
        if size > self._characters and size > 2 * _SHORT:
            self._has_cut = True
            return shorten(text, _SHORT)
        shown = readable(text)
        self._characters -= len(shown)
        return shown

    def foreign(self, code: Callable[[], Any]) -> Any:
        """Call code that is not ours. Its time is not counted as ours, but it does not get it without end."""
        seconds = self._limits.seconds
        if self._asked >= 2 and (self._foreign_cpu > seconds or self._foreign_wall > 10 * seconds):
            raise Unreadable("no time left to ask")
        self._asked += 1
        cpu, wall = thread_time(), perf_counter()
        try:
            return code()
        except BaseException as error:
            if is_interruption(error):
                raise
            raise Unreadable(type_name(error)) from None
        finally:
            used = thread_time() - cpu
            self._foreign_wall += perf_counter() - wall
            self._foreign_cpu += used
            self._deadline += used

    def described(self, code: Callable[[], Any]) -> Plain:
        """Take over text that foreign code writes about itself, without the secrets it names."""
        text = self.foreign(code)
        if not issubclass(type(text), str):
            raise Unreadable("no text")
        text = str.__str__(text)
        keep = _DESCRIBED if self._described < _DESCRIPTIONS else _DESCRIBED // 10
        kept = text[:keep]
        self._described += len(kept)
        if " at 0x" in kept:
            kept = _ADDRESS.sub("", kept)
        kept = self._scrub(kept)
        return self.string(f"{kept} … [{len(text)} characters]" if len(text) > keep else kept)

    def key(self, name: object, depth: int = 0) -> str:
        """The text of a key."""
        if type(name) is bytes:
            return name[:_KEY].decode("utf-8", "backslashreplace")
        if type(name) is tuple and depth < 4:
            parts = (repr(part) if type(part) is str else self.key(part, depth + 1) for part in name[:50])
            return f"({', '.join(parts)}{',' if len(name) == 1 else ''}{', …' if len(name) > 50 else ''})"
        plain = self.copy(name, max(0, self._limits.max_depth - 4))
        if isinstance(plain, (dict, list, bytes)):
            return encode(plain).decode()[:_KEY]
        return str.__str__(plain) if isinstance(plain, str) else str(plain)

    def is_heavy(self) -> bool:
        """Whether the tree has so much text that it may well be too large, or too large it was."""
        return self._has_cut or self._characters < self._limits.max_bytes // 2

    def is_late(self) -> bool:
        """Whether our own time is over: nothing that takes long is begun."""
        return thread_time() > self._deadline

    def _is_over(self) -> bool:
        # A garbage collection takes more than all our time, and may fall into the first microsecond of it.
        return self._left < self._limits.max_nodes - _GRANTED and self.is_late()

    def _convert(self, value: Any, kind: type, depth: int) -> Plain:
        exact = kind is dict or kind is list or kind is tuple
        if exact:
            if 0 < depth <= _WHOLE:  # at depth 0 it has just been tried
                whole = self._try_whole(value, depth)
                if whole is not None:
                    return whole
            return self.mapping(value, dict, depth) if kind is dict else self.sequence(value, kind, depth)
        known = known_of(kind)
        if known.hook is not None:
            return self.copy(self.foreign(lambda: known.hook.__get__(value, kind)()), depth + 1)
        return known.convert(self, value, known.base, depth)

    def _try_whole(self, value: object, depth: int) -> bytes | None:
        if self._tries <= 0 or self.is_late():
            return None
        data = self._tried(self._encode_whole, value, depth)
        self._tries = self._tries - 1 if data is None else _TRIES
        return data

    def _tried(self, attempt: Callable[[Any, int, int], bytes | None], value: object, depth: int) -> bytes | None:
        try:
            data = attempt(value, self._characters, self._limits.max_depth - depth)
        except RecursionError:
            raise
        except Exception:  # what orjson or a key's own code refuses is copied bit by bit
            return None
        if data is not None:
            self._left -= 1 + (len(data) >> 8)
            self._characters -= len(data)
        return data

    def _items(self, items: list[object], depth: int, *, head: int, missing: int) -> list[Plain]:
        if len(items) == 2:
            name = name_of_pair(items)
            if name is not None and self.is_secret(name):
                items = [items[0], REDACTED]
        floor, siblings = self._floor, len(items)
        self._left -= siblings
        copies: list[Plain] = []
        for item in items:
            if missing and len(items) - siblings == head:
                copies.append(left_out(missing, "items"))
            if not siblings & 15 and self._is_over():
                copies.append(left_out(siblings, "items"))
                break
            siblings -= 1
            copies.append(self._child(item, depth, floor, siblings))
        else:
            if missing and head == len(items):
                copies.append(left_out(missing, "items"))
        self._floor = floor
        return copies

    def _pairs(
        self,
        pairs: list[tuple[Any, object]],
        depth: int,
        *,
        checked: bool = False,
        head: int = -1,
        missing: int = 0,
    ) -> dict[str, Plain]:
        floor, siblings = self._floor, len(pairs)
        self._left -= siblings
        copies: dict[str, Plain] = {}
        for key, value in pairs:
            if missing and len(pairs) - siblings == head:
                copies[_free(copies, "…", LeftOut)] = left_out(missing, "entries")
            if not siblings & 15 and self._is_over():
                copies[_free(copies, "…", LeftOut)] = left_out(siblings, "entries")
                break
            siblings -= 1
            name = key if type(key) is str else self.key(key)
            secret = not checked and self.is_secret(name)
            if len(name) > _KEY:
                name = str.__str__(shorten(name, _KEY // 2))
            if not name.isascii():
                name = readable(name)
            if name in copies:
                name = _free(copies, name, type(key))
            copies[name] = REDACTED if secret else self._child(value, depth, floor, siblings)
        self._floor = floor
        return copies

    def _child(self, value: object, depth: int, floor: int, siblings: int) -> Plain:
        """Copy a value that has so many siblings still to come, and leave some of the budget to them."""
        kind = type(value)
        if kind is str:
            return self.string(value)  # type: ignore[arg-type]
        if value is None or kind is float or kind is bool:
            return value
        if kind is int:
            return integer(value)  # type: ignore[arg-type]
        available = max(0, self._left - floor)
        self._floor = floor + min(_RESERVE * siblings, available * siblings // (siblings + 1))
        return self.copy(value, depth + 1)

    def _room(self, samples: Sequence[object]) -> int:
        """So many children may be kept; fewer when they have children themselves."""
        room = self._left - self._floor
        if not all(type(item) is str or type(item) is int or type(item) is float for item in samples):
            room //= _OWN
        return max(4, room)

    def _ends(self, size: int, samples: Sequence[object]) -> tuple[int, int]:
        return ends(size, self._room(samples))


def _free(taken: dict[str, Plain], name: str, kind: type) -> str:
    """The name, or when it is taken, one like it that is not."""
    if name not in taken:
        return name
    number = 1
    other = f"{name} ({name_of(kind)})"
    while other in taken:
        number += 1
        other = f"{name} ({number})"
    return other


def _retried(copy: Callable[[], list[Any]]) -> list[Any]:
    """Copy while another thread may be changing the size: that is noticed, and rare enough to try again."""
    for _ in range(8):
        try:
            return copy()
        except RecursionError:
            raise
        except RuntimeError:
            continue
    raise Unreadable("changed while it was read")
