"""The form of one record: how it is written, and how records are found again in bytes that may be damaged.

All numbers little-endian:

    4 bytes     mark: F5 48 54 F6, which no UTF-8 text contains
    1 byte      kind: 1 event, 2 root, 3 last, 4 session, 5 update, 6 note
    1 byte      what is checked of the body: 0 all of it, 1 every 61st byte
    2 bytes     zero
    4 bytes     length of what follows the head: id and body
    4 bytes     CRC-32 of id and body, begun with (time + kind + 3 * duration) modulo 2**30 - 35
    8 bytes     time in nanoseconds since the epoch, signed
    8 bytes     duration in nanoseconds where the body is packed (_event.unpack_record), -1 where it is JSON
    36 bytes    id, ASCII
    the rest    body

Bodies of more than 16 KB have every 61st byte checked, or the sum would cost as much as encoding them; and as they are
text, whatever is no UTF-8 or a zero gives damage away as well.

A reader that meets something else looks for the next mark with a whole record behind it, so a torn or damaged record
costs that record only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from zlib import crc32

from honeytrace._event import ID_SIZE, Event, unpack_record

__all__ = [
    "CODES", "EVENTS", "LARGE", "MARK", "PRIME", "Parsed", "count_others", "frame", "head_size", "large_head",
    "pack_head", "parse",
]  # fmt: skip

MARK = b"\xf5HT\xf6"
CODES: dict[str, int] = {"event": 1, "root": 2, "last": 3, "session": 4, "update": 5, "note": 6}
EVENTS = 3
"""Codes up to here are events, those above are not."""
LARGE = 16_384
"""Bodies of more bytes are checked in part."""
PRIME = 2**30 - 35
_HEAD = Struct("<4sBB2xIIqq")
pack_head, head_size = _HEAD.pack, _HEAD.size
_STEP = 61
_KINDS = (None, *CODES)
_OTHERS = frozenset(kind for kind, code in CODES.items() if code > EVENTS)


def frame(kind: str, id: bytes, body: bytes, time_ns: int, took_ns: int = -1) -> bytes:
    """Encode one record as it stands in a segment; `append` of the journal does the same without a call."""
    code = CODES[kind]
    if len(body) > LARGE:
        return large_head(code, id, body, time_ns, took_ns) + body
    rest = id + body
    check = crc32(rest, (time_ns + code + took_ns * 3) % PRIME)
    return pack_head(MARK, code, 0, len(rest), check, time_ns, took_ns) + rest


def large_head(code: int, id: bytes, body: bytes, time_ns: int, took_ns: int) -> bytes:
    """Encode what stands before a large body, the id included."""
    check = crc32(body[::_STEP], crc32(id, (time_ns + code + took_ns * 3) % PRIME))
    return pack_head(MARK, code, 1, len(id) + len(body), check, time_ns, took_ns) + id


def _split(record: bytes, method: int, time_ns: int, took_ns: int) -> tuple[bytes, bytes] | None:
    """Give id and JSON of a record whose checksum is right; None if it is damaged all the same."""
    try:
        if took_ns < 0:
            id, text = record[:ID_SIZE], record[ID_SIZE:]
        else:
            id, text = unpack_record(record, time_ns, took_ns)
        if method and (b"\0" in text or not (text.isascii() or text.decode())):  # only part of it was checked
            return None
    except ValueError:  # UnicodeDecodeError among them
        return None
    return id, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What was read: whole records, where reading ended, and how many damaged places were passed over."""

    records: list[Event]
    end: int
    damaged: int


def parse(data: bytes, start: int = 0, *, max_bytes: int | None = None, max_count: int | None = None) -> Parsed:
    """Read records from `start` on, at least one if there is any; bounds are of bodies and of records."""
    records: list[Event] = []
    total, position, size, damaged, sound = len(data), start, 0, 0, True
    unpack_head, count = _HEAD.unpack_from, total if max_count is None else max_count
    new, kind = tuple.__new__, Event  # half the price of Event(...)
    while position < total and len(records) < count:
        begin = position + head_size
        if begin <= total:
            mark, code, method, length, check, time_ns, took_ns = unpack_head(data, position)
            end = begin + length
            if mark == MARK and end <= total and length >= ID_SIZE and 0 < code < len(_KINDS) and method < 2:
                record = data[begin:end]
                checked = record[:ID_SIZE] + record[ID_SIZE::_STEP] if method else record
                whole = crc32(checked, (time_ns + code + took_ns * 3) % PRIME) == check
                found = _split(record, method, time_ns, took_ns) if whole else None
                if found is not None:
                    id, text = found
                    size += len(text)
                    if records and max_bytes is not None and size > max_bytes:
                        break
                    records.append(new(kind, (_KINDS[code], id, text, time_ns)))
                    position, sound = end, True
                    continue
        following = data.find(MARK, position + 1)
        if following < 0 and data.count(0, position) == total - position:
            break  # zeros up to the end were never written to
        damaged += sound
        sound = False
        position = following if following >= 0 else total
    return Parsed(records=records, end=position, damaged=damaged)


def count_others(records: Sequence[Event]) -> int:
    """Count the records that are no events by themselves."""
    return len([record for record in records if record[0] in _OTHERS])
