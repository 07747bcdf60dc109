"""The queue between recording and delivery: records in the order they came, bounded in bytes.

Callers append in their own thread; one consumer at a time takes a batch, which stays, and acknowledges it,
which removes it. Offsets only grow and mean nothing but order. The books close at every moment:
recorded = delivered + pending + dropped + set aside.

Appending takes no lock. What must be exact is derived from one list, whose append is atomic: an event counts
because it is there, so a signal handler, a finaliser or an interrupt in the middle leaves nothing half done.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TypedDict

from honeytrace._diagnostics import guard, logger
from honeytrace._event import Event, Kind

__all__ = ["Batch", "Books", "Journal", "Tally", "Throttle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the records of one sort. `dropped` is by reason; "full" means refused by the journal."""

    recorded: int
    delivered: int
    pending: int
    dropped: Mapping[str, int]
    set_aside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Books(Tally):
    """One moment of a journal: its events, and under `others` its session and update records.

    A root or a last record is one event, however many records `expand` makes of it.
    """

    others: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records from the head of the journal, between two offsets; `events` says how many are events."""

    records: tuple[Event, ...]
    events: int
    start: int
    end: int


class Throttle:
    """Says yes the first time, then at most once per interval of seconds. Time is an argument."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: float | None = None

    def due(self, now: float) -> bool:
        """Say whether it is time again; yes starts the next interval."""
        if self._next is not None and now < self._next:
            return False
        self._next = now + self._interval
        return True


_OTHERS = ("session", "update")

_RECORD_BYTES = 300
"""What a record costs beyond its body: tuple, id, time, object headers, its slot in the list."""


class Journal:
    """Keep records until they are acknowledged; refuse the newest when `max_bytes` are held.

    `append`, `books` and `note_dropped` may be called from any thread, a signal handler or a finaliser.
    `take` and `acknowledge` belong to one consumer at a time: the flusher sees to that.
    """

    def __init__(self, name: str, max_bytes: int) -> None:
        self.name = name
        self.closed = False
        self.written = 0
        """Bytes ever appended; only grows. Compared by whoever waits for a full batch."""
        self.released = 0
        """Bytes ever acknowledged; only grows."""
        self.acknowledged = 0
        """The offset before the oldest record that is held; only grows."""
        self.wake_at = sys.maxsize
        """The size from which `append` calls `wake`; both belong to the flusher."""
        self.wake: Callable[[], object] = _nobody
        self._max_bytes = max_bytes
        self._throttle = Throttle(60.0)
        self._begin()

    def __repr__(self) -> str:
        return f"Journal({self.name!r}, max_bytes={self._max_bytes}, records={len(self._records)})"

    def append(self, kind: Kind, id: bytes, body: bytes, time_ns: int) -> bool:
        """Add a record behind all others; say whether there was room. No lock, no system call.

        Wakes the flusher only where it asked for that: when it sleeps for lack of work, or a batch is full. After
        `close()` records are still taken while there is room: what runs late in a process counts too.
        """
        size = len(body) + _RECORD_BYTES
        if self.written + size <= self._limit:
            # CPython runs no other thread and no signal handler between the load and the store of this line: there is
            # no call in it. Were one ever lost, the bound would be off by one record; the books do not depend on it.
            self.written += size
            self._push((kind, id, body, time_ns))
            if self.written >= self.wake_at:
                self.wake()
            return True
        self._refuse(kind)
        return False

    @property
    def empty(self) -> bool:
        """Whether nothing waits for an acknowledgement."""
        return not self._records

    @property
    def end(self) -> int:
        """The offset after the newest record."""
        with self._lock:
            return self.acknowledged + len(self._records)

    def take(self, max_bytes: int, max_count: int) -> Batch:
        """Read the oldest records, at least one if there is any, without removing them."""
        start = self.acknowledged
        records = [Event(*fields) for fields in self._records[: max(1, max_count)]]
        size = 0
        for count, record in enumerate(records):
            size += len(record.body)
            if count and size > max_bytes:
                del records[count:]
                break
        others = _count_others(records)
        return Batch(records=tuple(records), events=len(records) - others, start=start, end=start + len(records))

    def acknowledge(self, batch: Batch, *, set_aside: bool = False) -> None:
        """Remove all records up to the batch's end and enter them as delivered, or as set aside.

        A batch that does not start at the head (acknowledged before, or taken before a fork) is ignored.
        """
        count = len(batch.records)
        others = count - batch.events
        freed = sum(len(record.body) for record in batch.records) + count * _RECORD_BYTES
        ledger = self._set_aside if set_aside else self._delivered
        # Reentrant, because a signal handler may ask for the books; and nothing is called between the first
        # change and the last, so that no interrupt comes in between.
        with self._lock:
            if batch.start == self.acknowledged:
                self.acknowledged = batch.end
                self.released += freed
                self._limit += freed
                ledger[False] += batch.events
                ledger[True] += others
                del self._records[:count]

    def note_dropped(self, reason: str, count: int = 1) -> None:
        """Enter events that a rule kept from being appended: recorded, and dropped for this reason."""
        with self._lock:
            dropped = self._dropped[False]
            dropped[reason] = dropped.get(reason, 0) + count

    def books(self) -> Books:
        """Count everything at one moment. Looks at every pending record: for people, not for the hot path."""
        with self._lock:
            records = self._records.copy()
            delivered, set_aside = tuple(self._delivered), tuple(self._set_aside)
            dropped, others_dropped = self._dropped[False].copy(), self._dropped[True].copy()
        others = _count_others(records)
        return Books(
            **_tally(delivered[False], len(records) - others, dropped, set_aside[False]),
            others=Tally(**_tally(delivered[True], others, others_dropped, set_aside[True])),
        )

    def close(self) -> None:
        """Say that no thread will come for what is appended from here on; it is kept to the end."""
        self.closed = True

    def reset_after_fork(self) -> None:
        """In a child: forget what the parent recorded, which the parent delivers, and count from zero.

        Offsets go on from where they were, so that a batch taken before the fork fits nothing here.
        """
        self.acknowledged += len(self._records)
        self._begin()

    def _begin(self) -> None:
        self._lock = RLock()
        self._records: list[tuple[Kind, bytes, bytes, int]] = []
        self._push = self._records.append
        self.released = self.written
        self._limit = self.written + self._max_bytes
        # Pairs: events at False, session and update records at True.
        self._delivered = [0, 0]
        self._set_aside = [0, 0]
        self._dropped: tuple[dict[str, int], dict[str, int]] = ({"full": 0}, {"full": 0})

    def _refuse(self, kind: Kind) -> None:
        with self._lock:
            self._dropped[kind in _OTHERS]["full"] += 1
        if self._throttle.due(time.monotonic()):
            with guard("reporting a refused record"):
                logger.warning(
                    "the journal of %s is full (%d bytes): %d records refused so far",
                    self.name,
                    self._max_bytes,
                    sum(dropped["full"] for dropped in self._dropped),
                )


def _nobody() -> None:
    """Stand in for the flusher of a journal that has none."""


class _Counts(TypedDict):
    recorded: int
    delivered: int
    pending: int
    dropped: Mapping[str, int]
    set_aside: int


def _tally(delivered: int, pending: int, dropped: Mapping[str, int], set_aside: int) -> _Counts:
    seen = {reason: count for reason, count in dropped.items() if count}
    recorded = delivered + pending + sum(seen.values()) + set_aside
    return _Counts(recorded=recorded, delivered=delivered, pending=pending, dropped=seen, set_aside=set_aside)


def _count_others(records: Sequence[tuple[Kind, bytes, bytes, int]]) -> int:
    return sum(record[0] in _OTHERS for record in records)
