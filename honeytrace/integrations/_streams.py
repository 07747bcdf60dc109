"""A streamed answer on its way to the program, and the one moment at which its event ends.

What arrives, and how it ends, is told by those who listen (_bodies, _items, _read_once). The first end wins:
exhausted, closed, broken off, or dropped and garbage collected. Nothing here is held by anything but the stream itself,
so it lives exactly as long as the client lets it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from time import perf_counter_ns
from weakref import WeakSet, ref

import orjson

from honeytrace._diagnostics import failed
from honeytrace.integrations._calls import ModelCall
from honeytrace.integrations._events import EventStream
from honeytrace.integrations._wire import decoder, events_of, read_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["StreamRecord"]

_WAITING, _LARGE = 200, 1_000
"""So many chunks wait until they are read, unless one has more bytes than this."""

_KEPT = 8_000_000
"""So many bytes of a body that is no stream of events are kept for the record."""

_open: WeakSet[StreamRecord] = WeakSet()


class StreamRecord:
    """What is known of a stream so far. It is fed with the bytes of a body, or, without a `mime`, with parsed items."""

    __slots__ = ("__weakref__", "_decode", "_events", "_generator", "_join", "_kept", "_mime", "_over", "_total",
                 "_waiting", "busy", "call", "chunks", "ended", "exhausted", "first", "gap", "last")  # fmt: skip

    def __init__(self, call: ModelCall, mime: str | None = None, encoding: str = "") -> None:
        self.call = call
        self.busy = False
        """Whether the client is at work: how that ends says more than the end of the body."""
        self._generator: ref[Any] | None = None
        self._over = False
        self.ended = self.exhausted = False
        self.first: int | None = None
        self.last = self.gap = self.chunks = 0
        self._mime = mime
        self._decode: Callable[[bytes], bytes] = decoder(encoding)
        self._join = call.operation.join()
        events = events_of(mime)
        self._events = None if events is None else EventStream(events, self._join, call.library.package)
        self._waiting: list[bytes] = []
        self._kept: list[bytes] = []
        self._total = 0
        _open.add(self)

    def receive(self, data: bytes) -> None:
        """Take what has arrived. Never raises an Exception."""
        now = perf_counter_ns()
        if self.last and now - self.last > self.gap:
            self.gap = now - self.last
        self.last = now
        self._waiting.append(data)
        # Where generation has begun a chunk only waits: reading one for itself costs more than its share of many.
        if self.first is None or len(data) > _LARGE or len(self._waiting) > _WAITING:
            try:
                self._read()
            except Exception as error:
                failed("reading a stream", error)

    def take(self, item: Any) -> None:
        """Take an item that the client has parsed. Never raises an Exception."""
        if self.ended:
            return
        try:
            self._tick()
            self.chunks += 1
            if self._join.add(item) and self.first is None:
                self.first = self.last
        except Exception as error:
            failed(f"reading a chunk of {self.call.library.package}", error)

    def _tick(self) -> None:
        now = perf_counter_ns()
        if self.last and now - self.last > self.gap:
            self.gap = now - self.last
        self.last = now

    def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        data = self._decode(b"".join(waiting))
        if self._events is None:
            if self._mime != "application/json":  # that one is not generated while it travels
                self.first = self.first or self.last
            if self._total < _KEPT:
                self._kept.append(data)
            self._total += len(data)
            return
        self._events.feed(data)
        if self.first is None and self._events.begun:
            self.first = self.last
        self.chunks, self.exhausted = self._events.chunks, self.exhausted or self._events.done

    def end(self, error: BaseException | None = None, outcome: str | None = None) -> None:
        """End the event: with an error, or an outcome other than having come whole. Never raises an Exception."""
        if self.ended:
            return
        self.ended = True
        _open.discard(self)
        answer: Any = None
        facts: dict[str, Any] = {}
        try:
            self._read()
        except Exception as problem:
            failed("reading a stream", problem)
        try:
            if self.first is not None:
                facts["time_to_first_token_ms"] = round((self.first - self.call.started) / 1e6, 3)
                facts.update(first_ns=self.first, last_ns=self.last)
            if self.gap:
                facts["longest_gap_ms"] = round(self.gap / 1e6, 3)
            if self._events is not None or self.chunks:
                answer = self._join.result()
                facts["chunks"] = self.chunks
            elif self._kept and self._mime is not None:
                answer = read_body(b"".join(self._kept), self._mime)
        except orjson.JSONDecodeError:  # of a body that was not read to its end
            pass
        except Exception as problem:
            failed("reading a stream", problem)
        if isinstance(error, (GeneratorExit, StopIteration, StopAsyncIteration)):
            error = None
        if outcome is not None and error is None and not self.exhausted:
            facts["outcome"] = outcome
        self.call.finish(answer, error, **facts)

    def follow(self, generator: Any) -> None:
        """Ask this generator whether the client's iterator is at work. It is not held: it holds this record."""
        self._generator = ref(generator)

    def body_ended(self, error: BaseException | None = None) -> None:
        """Take note that the body ended or was closed. The client, while it is at work, says it better."""
        self._over = True
        generator = None if self._generator is None else self._generator()
        if not (self.busy or (generator is not None and generator.gi_running)):
            self.end(error, "closed")

    def idle(self) -> bool:
        """Take note that the client has handed the stream over; say whether its body has ended already."""
        self.busy = False
        if self._over:
            self.end(outcome="closed")
        return self.ended

    def disown(self) -> None:
        """Leave the event to somebody else."""
        self.ended = True
        _open.discard(self)

    def __del__(self) -> None:
        try:
            self.end(outcome="abandoned")
        except Exception:  # at the end of the interpreter anything may be missing
            pass


def _end_all() -> None:
    """End what is still open when the process ends: nobody will read it any more."""
    for record in list(_open):
        record.end(outcome="abandoned")


def _disown() -> None:
    """In a forked child: the streams are the parent's, and so are their events."""
    for record in list(_open):
        record.ended = record.call.done = True
    _open.clear()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
