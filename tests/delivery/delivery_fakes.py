"""Exporters for the delivery tests: small, real, and each with one way to behave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from honeytrace._books import Tally
from honeytrace._event import Event

_ids: Iterator[int] = count()


def an_event(kind: str = "event", body: bytes = b"{}") -> Event:
    return Event(kind, b"%036d" % next(_ids), body, 1)  # type: ignore[arg-type]


def assert_closed(books: Tally) -> None:
    settled = books.delivered + books.pending + books.set_aside + sum(books.dropped.values())
    assert books.recorded == settled, books


class Recording:
    """Keeps what it gets; `before` runs first and may wait or raise."""

    def __init__(self, before: Callable[[Sequence[Event]], None] | None = None) -> None:
        self.name = "recording"
        self.batches: list[list[Event]] = []
        self.deadlines: list[float] = []
        self.threads: list[str] = []
        self.closed = 0
        self.arrived = threading.Event()
        self._before = before

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        self.deadlines.append(deadline)
        self.threads.append(threading.current_thread().name)
        if self._before is not None:
            self._before(batch)
        self.batches.append(list(batch))
        self.arrived.set()

    def close(self) -> None:
        self.closed += 1


class Hanging(Recording):
    """Ignores its deadline until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        super().__init__(self._hang)

    def _hang(self, batch: Sequence[Event]) -> None:
        self.entered.set()
        self.release.wait(20)


class Failing(Recording):
    """Raises the given errors, one per call, before it works."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.failed = threading.Event()
        super().__init__(self._fail)

    def _fail(self, batch: Sequence[Event]) -> None:
        if self.errors:
            self.failed.set()
            raise self.errors.pop(0)
