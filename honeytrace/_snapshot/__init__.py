"""A snapshot: any Python value as JSON text that can no longer change. Bounded, and it never raises.

Invariants: what comes out is strict UTF-8 JSON of at most `Limits.max_bytes`; no Exception gets out, only
KeyboardInterrupt and its like pass; the value under a secret key is nowhere in the text.

Nearly every value consists of plain dicts, lists, strings and numbers. A walk at the speed of C proves that,
and then orjson encodes the value as it is. Everything else is first copied by `_plain` into a private tree. A
result that is too large is cut by `_shorten`. What each type looks like is a table in `_kinds`.
NaN and the infinities become null: JSON has no word for them.
"""

from __future__ import annotations

from datetime import date, datetime
from itertools import chain
from typing import Any
from uuid import UUID

import orjson

from honeytrace._context import NOTHING_KEPT, leave, variables
from honeytrace._diagnostics import failed
from honeytrace._event import PLAIN_SCALARS as SCALARS
from honeytrace._scrub import scrub
from honeytrace._snapshot._binary import DATA_URI
from honeytrace._snapshot._kinds import REDACTED, type_name
from honeytrace._snapshot._plain import Limits, Walk
from honeytrace._snapshot._proof import ATOMS, prove, prove_text
from honeytrace._snapshot._shorten import Plain, fit
from honeytrace.protocols import Redactor

__all__ = ["REDACTED", "SCALARS", "Limits", "Snapshotter"]

_ROW = ATOMS | {date, datetime, UUID}
_ROOM = 500_000
"""The room of a proof beyond `Limits.max_bytes`: together enough for some 16,000 nodes, or a megabyte of text."""
_PART_NODES = 10_000
_LEARN = 500
"""So many unknown keys of one value are put to the redactor by the walk; more are left to the slow path."""
_REMEMBERED = 4_096
_LONG_NAME = 256

# The value may be shared with other threads. orjson reads exact types without running any Python, so nobody
# gets between; a `default` hook, or an object it knows how to open, would let them change what is being read.
_NOTHING_CLEVER = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS

_dumps = orjson.dumps


class Snapshotter:
    """Takes snapshots. One per process is enough; threads may share it."""

    __slots__ = ("_redactor", "_secret", "clean", "limits")

    def __init__(self, redactor: Redactor | None, limits: Limits | None = None) -> None:
        self._redactor = redactor
        self.limits = limits or Limits()
        self.clean: set[str] = set()
        self._secret: set[str] = set()

    def __call__(self, value: object) -> bytes:
        """Encode any value."""
        try:
            kind = type(value)
            if kind in SCALARS:
                return _dumps(value)
            if kind is not str:
                data = self._encode(value, self.limits.max_depth, self.limits.max_bytes + _ROOM)
            elif len(value) <= self.limits.max_bytes and not _is_data_uri(value):  # type: ignore[arg-type]
                data = _dumps(value)
            else:
                data = None
            if data is not None and len(data) <= self.limits.max_bytes:
                return data
        except Exception:  # not a failure of ours: a type or a key with a mind of its own, or what orjson refuses
            pass
        return self._slowly(value)

    def fields(self, values: dict[str, object]) -> bytes:
        """Encode a dict as an object, without asking about its own keys; those below are checked as usual.

        For parameters, whose names are decided once per function.
        """
        try:
            levels, room = self.limits.max_depth, self.limits.max_bytes + _ROOM
            for value in values.values():
                kind = type(value)
                if kind is str:
                    room -= len(value)  # type: ignore[arg-type]
                    if _is_data_uri(value):  # type: ignore[arg-type]
                        room = -1
                elif kind not in SCALARS:
                    room = prove(value, self, levels, room)
                if room < 0:
                    return self._slowly(values, names_checked=True)
            data = _dumps(values, None, _NOTHING_CLEVER)
            if len(data) <= self.limits.max_bytes:
                return data
        except Exception:
            pass
        return self._slowly(values, names_checked=True)

    def bounded(self, text: bytes) -> bytes:
        """Shorten an object that is encoded already, where what was added to it bit by bit is too large as a whole."""
        limits = self.limits
        if len(text) <= limits.max_bytes + limits.max_bytes // 8:
            return text
        return fit(orjson.loads(text), limits.max_bytes, max_string=limits.max_string, seconds=limits.seconds)

    def is_secret(self, name: str) -> bool:
        """Say whether the value under this name is kept back. The answer is remembered."""
        if name in self.clean:
            return False
        if name in self._secret:
            return True
        if len(name) > _LONG_NAME:  # text used as a key: its ends will do, and it is not worth remembering
            return self.is_secret(f"{name[:100]} {name[-100:]}")
        try:
            secret = self._redactor is not None and bool(self._redactor.is_secret(name))
        except RecursionError:  # the stack is full, which says nothing about the name
            raise
        except Exception as error:
            failed("asking the redactor about a name", error)
            return True
        if secret:
            self._secret = _with(self._secret, name)
        else:
            self.clean = _with(self.clean, name)
        return secret

    def scrub(self, text: str, *, code: bool = False) -> str:
        """Replace secrets in a text that tells of something, such as an error or a line of `code`; see _scrub."""
        return text if self._redactor is None else scrub(text, self.is_secret, code=code)

    def _encode(self, value: object, levels: int, room: int) -> bytes | None:
        """Encode a plain value; None for any other, and for one with something to be shortened in it."""
        if prove(value, self, levels, room) >= 0:
            return _dumps(value, None, _NOTHING_CLEVER)
        return None

    def _encode_part(self, value: object, room: int, levels: int) -> bytes | None:
        data = self._encode(value, levels, room + _ROOM)
        return data if data is None or len(data) <= room else None

    def _encode_rows(self, rows: list[Any], room: int, levels: int) -> bytes | None:
        """Encode dicts of scalars, dates and UUIDs, as databases give them; None for anything else.

        They are copied first: orjson opens dates and UUIDs by itself, which may run code of a time zone.
        """
        if levels < 2 or set(map(type, rows)) != {dict} or sum(map(len, rows)) > _PART_NODES:
            return None
        copies = [*map(dict.copy, rows)]
        values = [*chain.from_iterable(map(dict.values, copies))]
        if not _ROW.issuperset(map(type, values)) or not self.are_clean(set().union(*copies)):
            return None
        return None if prove_text(values, room) < 0 else _dumps(copies)

    def are_clean(self, names: set[Any]) -> bool:
        """Say whether all of these dict keys are plain strings and harmless."""
        unknown = names - self.clean
        if len(unknown) > _LEARN:
            return False
        return all(type(name) is str and len(name) <= _LONG_NAME and not self.is_secret(name) for name in unknown)

    def _slowly(self, value: object, *, names_checked: bool = False) -> bytes:
        # Looking at a value may run code of its own, and that may be traced: it is no part of the program's trace.
        # No context manager: on a stack that is nearly full, leaving must not need more room than entering did.
        tokens: list[Any] = []
        try:
            for variable in variables:
                tokens.append((variable, variable.set(NOTHING_KEPT)))
            return self._copied(value, names_checked=names_checked)
        finally:
            for variable, token in tokens:
                try:
                    variable.reset(token)
                except ValueError:
                    leave(variable, token, NOTHING_KEPT)

    def _copied(self, value: object, *, names_checked: bool) -> bytes:
        try:
            walk = Walk(self.limits, self.is_secret, self._encode_part, self._encode_rows, self.scrub)
            tree: Plain = walk.fields(value) if names_checked else walk.copy(value, 0)  # type: ignore[arg-type]
            if not walk.is_heavy():
                data = _dumps(tree, orjson.Fragment)
                if len(data) <= self.limits.max_bytes:
                    return data
            limits = self.limits
            return fit(tree, limits.max_bytes, max_string=limits.max_string, seconds=limits.seconds * 0.3)
        except RecursionError:
            reason = "the stack is full"
        except Exception as error:
            failed("taking a snapshot", error)
            reason = "not recorded"
        text = _dumps(f"<{type_name(value)}: {reason}>")
        return b'{"\xe2\x80\xa6":' + text + b"}" if names_checked else text


def _is_data_uri(text: str) -> bool:
    return len(text) > DATA_URI and text.startswith("data:")


def _with(names: set[str], name: str) -> set[str]:
    """Add a name, in place while there is room: another thread may be reading the set."""
    if len(names) >= _REMEMBERED:
        return {name}
    names.add(name)
    return names
