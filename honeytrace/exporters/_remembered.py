"""What an exporter knows from earlier exports: of the server, and of a batch that failed on its way.

All of it is bounded, and none of it is needed: forgetting costs a request more, or sends a record twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from honeytrace._event import Event

__all__ = ["FailedBatch", "KnownServer"]

_ASK_AGAIN = 300.0
_REQUEST_BYTES = 3_500_000
_MOST = 20_000


class KnownServer:
    """Which routes a server lacks, how much it takes, how fast it answers. Asked again every five minutes."""

    def __init__(self) -> None:
        self.latency = 0.05
        self.refusals = 0
        """How often in a row the key was refused."""
        self._lacking: dict[str, float] = {}
        self._limit, self._limit_until = _REQUEST_BYTES, 0.0

    def lacks(self, route: str) -> bool:
        """Say whether the route was missing lately."""
        return self._lacking.get(route, 0.0) > time.monotonic()

    def note_lacking(self, route: str) -> None:
        """Remember that the route is missing."""
        self._lacking[route] = time.monotonic() + _ASK_AGAIN

    def forget_lacking(self) -> None:
        """Take all routes to be there."""
        self._lacking.clear()

    @property
    def limit(self) -> int:
        """How many bytes of events to put into one request."""
        return self._limit if time.monotonic() < self._limit_until else _REQUEST_BYTES

    def note_too_large(self, size: int) -> None:
        """Remember that a request of so many bytes was too large."""
        self._limit, self._limit_until = size // 2, time.monotonic() + _ASK_AGAIN


class FailedBatch:
    """What became of the records of a batch that comes again, whole or in parts."""

    def __init__(self) -> None:
        self.uncertain: dict[bytes, None] = {}
        """Ids that were sent and may have arrived."""
        self._arrived: dict[_Key, None] = {}
        self._not_found: dict[_Key, int] = {}

    def missing(self, batch: Sequence[Event]) -> Sequence[Event]:
        """The records that have not arrived."""
        if not self._arrived:
            return batch
        return [record for record in batch if _key(record) not in self._arrived]

    def note_arrived(self, records: Iterable[Event]) -> None:
        """Remember not to send these again."""
        self._arrived.update((_key(record), None) for record in records)
        _bound(self._arrived)

    def note_uncertain(self, ids: Iterable[bytes]) -> None:
        """Remember that these may be there already."""
        self.uncertain.update((id, None) for id in ids)
        _bound(self.uncertain)

    def not_found(self, records: Iterable[Event]) -> int:
        """How often an update was told that there is nothing to update."""
        return max(self._not_found.get(_key(record), 0) for record in records)

    def note_not_found(self, records: Sequence[Event]) -> int:
        """Count one more; how often it is."""
        count = self.not_found(records) + 1
        self._not_found.update((_key(record), count) for record in records)
        _bound(self._not_found)
        return count

    def forget(self, batch: Iterable[Event]) -> None:
        """The batch is done with."""
        if self._arrived or self.uncertain or self._not_found:
            for record in batch:
                self.uncertain.pop(record.id, None)
                self._arrived.pop(_key(record), None)
                self._not_found.pop(_key(record), None)


_Key = tuple[str, bytes, int, int]


def _key(record: Event) -> _Key:
    return record.kind, record.id, record.time_ns, hash(record.body)


def _bound(memory: dict[_Key, None] | dict[_Key, int] | dict[bytes, None]) -> None:
    while len(memory) > _MOST:
        del memory[next(iter(memory))]  # type: ignore[arg-type]
