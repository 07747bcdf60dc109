"""Event and session ids: lower-case UUIDv4 as ASCII bytes, made in blocks so that one costs no system call.

A block is one read of the kernel's random bytes, cut and joined by C code; formatting one id at a time costs
three to ten times as much. A forked child drops the inherited block: no id is ever given out twice.
"""

from __future__ import annotations

import os
import re
import struct
from binascii import hexlify

__all__ = ["forget", "is_id", "new_id", "take"]

_BLOCK = 128
_PATTERN = b"%b-%b-4%b-a%b-%b " * _BLOCK
_groups = struct.Struct("8s4s3s3s12s" * _BLOCK).unpack
_pool: list[bytes] = []

take = _pool.pop
"""Take an id made earlier; raises IndexError when the block is used up. For the hot path; see new_id."""

forget = _pool.clear
"""Drop ids made earlier. Called in a forked child."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def new_id() -> bytes:
    """Return a fresh id."""
    try:
        return take()
    except IndexError:
        _pool.extend((_PATTERN % _groups(hexlify(os.urandom(15 * _BLOCK)))).split())
        return take()


def is_id(text: object) -> bool:
    """Say whether this is a UUID as the contract wants it: lower case, with hyphens."""
    return isinstance(text, str) and _UUID.match(text) is not None
