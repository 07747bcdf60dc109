"""Cut a value that is too large down to a number of bytes, and say what is missing where it is missing.

What becomes of what:
    a long string   "its head … [123456 characters, sha256 0a1b...] … its tail"
    a long list     its first and last items, and "… 120 items left out …" between them
    a large object  its first and last entries, and "…": "35 entries left out" between them

The room is shared fairly: what is small stays whole, what is large gets an equal part of the rest.
Invariant: `fit` returns valid JSON that is never larger than the room it was given.
"""

from __future__ import annotations

from time import thread_time
from typing import Any, TypeAlias

import orjson

__all__ = [
    "HASHED",
    "Cut",
    "LeftOut",
    "Plain",
    "digest",
    "encode",
    "ends",
    "fit",
    "left_out",
    "readable",
    "shorten",
]

Plain: TypeAlias = Any
"""A private tree of dict, list, str, int, float, bool and None; bytes in it are a part already encoded."""

HASHED = 500_000
"""A longer string or blob is not hashed as a whole: that would take milliseconds."""

_LEAST = 64
"""Bytes every item gets at least: enough for any number, and for saying what was left out."""
_ITEMS = 500
_GRANTED = 4
"""So many containers are taken apart even when the time is over: a garbage collection may have used it up."""


class Cut(str):
    """A shortened string that still knows the whole: `fit` decides how much of it there is room for."""

    __slots__ = ("whole",)
    whole: str


class LeftOut(str):
    """The marker that stands for a number of items or entries."""

    __slots__ = ("stands_for",)
    stands_for: int


def encode(value: Plain) -> bytes:
    """Encode a private tree."""
    return orjson.dumps(value, orjson.Fragment)


def digest(data: bytes) -> str:
    """The SHA-256 of the data as hex."""
    from hashlib import sha256  # loads OpenSSL, which most programs that trace need not wait for

    return sha256(data).hexdigest()


def shorten(text: str, keep: int) -> Cut:
    """Keep head and tail of a string, with its length."""
    cut = Cut(_ends_of(text, keep, _note(text, hashed=False)))
    cut.whole = text
    return cut


def left_out(count: int, what: str) -> LeftOut:
    """Make the marker for a number of "items" or "entries"."""
    marker = LeftOut(f"… {count} {what} left out …")
    marker.stands_for = count
    return marker


def readable(text: str) -> str:
    """Escape lone surrogates, which UTF-8 cannot hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def fit(value: Plain, room: int, *, max_string: int, seconds: float) -> bytes:
    """Encode a private tree in at most `room` bytes (64 or more).

    When the CPU time is over, what is still too large is left out or loses all but its beginning.
    """
    return _Fit(max_string, thread_time() + seconds).fit(value, room)


class _Fit:
    __slots__ = ("_deadline", "_kept", "_late", "_max_string", "_open", "_reductions", "_sizes")

    def __init__(self, max_string: int, deadline: float) -> None:
        self._max_string = max_string
        self._deadline = deadline
        self._late = False
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()
        self._reductions = 0
        self._kept: list[Plain] = []  # sizes are found by id: what is decoded here must stay alive

    def fit(self, value: Plain, room: int) -> bytes:
        self._weigh(value)
        data = self._whole(value, room)
        return self._reduced(value, room) if data is None else data

    def _whole(self, value: Plain, room: int) -> bytes | None:
        """Encode the value if it fits; what is certainly too large is not encoded only to find that out."""
        if type(value) is bytes:
            data = value
        elif type(value) is Cut or id(value) in self._open or self._size(value) > room:
            return None
        else:
            data = encode(value)
        return data if len(data) <= room else None

    def _size(self, value: Plain) -> int:
        """How many bytes the value takes at least; for what holds cut strings, about what it could use."""
        if type(value) is Cut:
            whole = value.whole
            return min(len(whole), self._max_string) * (1 if whole.isascii() else 3) + 2 * _LEAST
        return len(value) if isinstance(value, (str, bytes)) else self._sizes.get(id(value), 1)

    def _weigh(self, value: Plain) -> int:
        """Note the size of each container, and whether a cut string is below."""
        kind = type(value)
        if kind is not dict and kind is not list:
            return self._size(value)
        size, is_open = 4 * len(value) + 2, False
        for child in value.values() if kind is dict else value:
            size += self._weigh(child)
            is_open = is_open or type(child) is Cut or id(child) in self._open
        if kind is dict:
            size += sum(map(len, value))
        if is_open:
            self._open.add(id(value))
            size += 2 * _LEAST
        self._sizes[id(value)] = size
        return size

    def _reduced(self, value: Plain, room: int) -> bytes:
        if type(value) is bytes:
            value = orjson.loads(value)
            self._weigh(value)
            self._kept.append(value)
        if isinstance(value, str):
            whole = value.whole if type(value) is Cut else value
            return (
                _head(whole, room) if self._is_late() else _fit_text(whole, room, self._max_string, hashed=room > 300)
            )
        self._reductions += 1
        if room >= 4 * _LEAST and (self._reductions <= _GRANTED or not self._is_late()):
            return self._fit_entries(value, room) if type(value) is dict else self._fit_items(value, room)
        return encode(f"<{len(value)} {'entries' if type(value) is dict else 'items'} left out>")

    def _is_late(self) -> bool:
        self._late = self._late or thread_time() > self._deadline
        return self._late

    def _fit_items(self, items: list[Plain], room: int) -> bytes:
        head, tail = ends(len(items), min(_ITEMS, (room - _LEAST) // (_LEAST + 1)))
        kept = [*items[:head], *items[tail:]]
        parts = self._share(kept, room - _LEAST - len(kept))
        if head < tail:
            parts.insert(head, encode(left_out(_count(items[head:tail]), "items")))
        return b"[" + b",".join(parts) + b"]"

    def _fit_entries(self, entries: dict[str, Plain], room: int) -> bytes:
        names = list(entries)
        count = min(_ITEMS, len(names))
        while True:
            head, tail = ends(len(names), count)
            kept = [*names[:head], *names[tail:]]
            keys = _keys(kept, max(48, (room - _LEAST) // 4))
            rest = room - _LEAST - sum(map(len, keys)) - 2 * len(keys)
            if rest >= _LEAST * len(keys):
                break
            count //= 2  # with one key there is room: 48 bytes for it, 64 for its value
        parts = [
            b"%b:%b" % pair for pair in zip(keys, self._share([entries[name] for name in kept], rest), strict=True)
        ]
        if head < tail:
            missing = _count([entries[name] for name in names[head:tail]])
            parts.insert(
                head,
                (b'"\xe2\x80\xa6\xe2\x80\xa6":' if "…" in kept else b'"\xe2\x80\xa6":')
                + encode(left_out(missing, "entries")),
            )
        return b"{" + b",".join(parts) + b"}"

    def _share(self, values: list[Plain], room: int) -> list[bytes]:
        """Encode the values in at most `room` bytes together (64 for each, or more)."""
        parts = [self._whole(value, room) for value in values]
        sizes = [
            max(_LEAST, min(room, self._size(value))) if part is None else len(part)
            for part, value in zip(parts, values, strict=True)
        ]
        level = _water_level(sizes, room)
        return [
            self._reduced(value, min(size, level)) if part is None or size > level else part
            for part, size, value in zip(parts, sizes, values, strict=True)
        ]


def ends(total: int, count: int) -> tuple[int, int]:
    """Where the head ends and the tail begins when so many of the total are kept; equal when all are."""
    if count >= total:
        return total, total
    return count - count // 3, total - count // 3


def _water_level(sizes: list[int], room: int) -> int:
    """The largest size at which, when all that is above is cut down to it, the sum is within the room."""
    for index, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - index)
        if size > share:
            return share
        room -= size
    return max(sizes, default=0)


def _count(values: list[Plain]) -> int:
    return sum(value.stands_for if type(value) is LeftOut else 1 for value in values)


def _keys(names: list[str], room: int) -> list[bytes]:
    """Encode keys, each in at most `room` bytes (48 or more), and all different."""
    keys = [encode(name) for name in names]
    if all(len(key) <= room for key in keys):
        return keys
    seen: set[bytes] = set()
    for index, key in enumerate(keys):
        if len(key) > room:
            key = _fit_text(names[index], room, room)
        keys[index] = encode(f"… [key {index}]") if key in seen else key
        seen.add(keys[index])
    return keys


def _note(text: str, *, hashed: bool) -> str:
    hashed = hashed and len(text) <= HASHED
    sha256 = f", sha256 {digest(text.encode('utf-8', 'surrogatepass'))}" if hashed else ""
    return f" … [{len(text)} characters{sha256}] … "


def _ends_of(text: str, keep: int, note: str) -> str:
    return readable(text[: keep - keep // 3]) + note + readable(text[-(keep // 3) :])


def _head(text: str, room: int) -> bytes:
    """Encode the beginning of a string and its length, in one go: for when there is no time left to try more."""
    keep = max(0, room - _LEAST) // 7  # the most that a character takes: half a surrogate pair, as \\ud800
    return encode(f"{readable(text[:keep])} … [{len(text)} characters]")


def _fit_text(text: str, room: int, max_string: int, *, hashed: bool = False) -> bytes:
    keep = min(max_string, room, len(text) - 1)
    if not text.isascii() and keep > 2_000:  # a character may take up to seven bytes: guess from some
        keep = min(keep, room * 1_900 // len(encode(readable(text[:1_000] + text[-1_000:]))))
    note = _note(text, hashed=hashed)
    while keep >= 3:
        data = encode(_ends_of(text, keep, note))
        if len(data) <= room:
            return data
        keep = min(keep * 7 // 8, keep * room // len(data))
    return encode(f"… [{len(text)} characters]")
