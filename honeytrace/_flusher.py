"""The background thread of one exporter: when to deliver, and what can be asked of it.

Invariant: no method waits longer than it was told to, whatever the exporter does; and records are delivered
even where there is no thread: the caller of `flush` does it where the thread is dead, frozen or slow.
"""

from __future__ import annotations

import math
import queue
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from threading import TIMEOUT_MAX, Lock, Thread, current_thread, main_thread
from time import monotonic

from honeytrace._books import Books
from honeytrace._delivery import Delivery
from honeytrace._diagnostics import failed, guard
from honeytrace._event import Event
from honeytrace._journal import Journal, Mark
from honeytrace.exceptions import ConfigError
from honeytrace.protocols import Exporter

__all__ = ["FlushResult", "Flusher", "check_timeout"]

_NEVER = sys.maxsize
_PATIENCE = 0.1
"""Seconds the thread has to react before the caller of `flush` does its work."""

_LOOK_AROUND = 5.0
"""Seconds between two looks for what other processes left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """What a flush achieved; true when it is `ok`. All numbers count events.

    `ok`: all that was submitted before the call was delivered. `delivered`: during the call. `pending`,
    `dropped` (refused ones included) and `set_aside`: at its end, since the process began. `last_error`: the
    latest failure, if it happened during the call or still holds delivery up.
    """

    ok: bool
    delivered: int
    pending: int
    dropped: int
    set_aside: int
    last_error: str | None

    def __bool__(self) -> bool:
        return self.ok


class _Waiting:
    """A flush in progress: what it wants delivered, and where it hears of each attempt."""

    __slots__ = ("news", "target")

    def __init__(self, target: Mark) -> None:
        self.target = target
        self.news: queue.SimpleQueue[None] = queue.SimpleQueue()


class Flusher:
    """Deliver one journal to one exporter. Every method may be called from any thread.

    `interval` is how many seconds an event waits at most for a batch to fill. `ticks` are called in the
    background once per interval, from the first event on. With none registered an idle thread wakes every five seconds
    to look for what other processes left behind, and not at all if the journal is in memory.
    """

    def __init__(
        self,
        journal: Journal,
        exporter: Exporter,
        *,
        interval: float = 1.0,
        batch_bytes: int = 3_500_000,
        batch_count: int = 1000,
        export_timeout: float = 30.0,
    ) -> None:
        self.ticks: list[Callable[[], None]] = []
        self._journal = journal
        self._name = exporter.name
        self._interval = interval
        self._batch_bytes = batch_bytes
        self._export_timeout = export_timeout
        self._delivery = Delivery(journal, exporter, batch_bytes=batch_bytes, batch_count=batch_count)
        self._ending = False
        self._stop_by = math.inf
        self._begin()

    @property
    def last_error(self) -> str | None:
        """The latest failure of all, in words without secrets."""
        return self._delivery.last_error

    @property
    def why_not(self) -> str:
        """Why not everything has been delivered, for people."""
        return self.last_error or ("no answer yet" if self._delivery.exporting else "there was no time")

    @property
    def set_aside(self) -> list[tuple[Event, str]]:
        """The latest records (at most 100) that were refused for good, each with the reason."""
        return list(self._delivery.set_aside)

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Deliver what was submitted before the call, for at most `timeout` seconds; None sets no limit.

        Cuts a backoff short. 0 asks how things stand. Called from inside an exporter it does not wait. Where
        the exporter must be called in this thread, it is told the deadline and trusted to keep it.

        Raises:
            ConfigError: the timeout is not a number of seconds.
        """
        return self._flush(_deadline(timeout))

    def stop(self, timeout: float | None = None) -> FlushResult:
        """Flush, end the thread, close the exporter: within `timeout` seconds. Calling it again is harmless.

        An exporter that is stuck in a call is closed by the thread when it comes back.

        Raises:
            ConfigError: the timeout is not a number of seconds.
        """
        deadline = _deadline(timeout)
        self._stop_by = deadline
        result = self._flush(deadline)
        self._journal.close()
        self._ending = True
        self._wake.put(None)
        thread = self._thread
        if thread is not None and thread is not current_thread() and not sys.is_finalizing():
            thread.join(_left(deadline))
        if not self._alive():
            self._delivery.close()
        return result

    def leave_open(self) -> None:
        """Do not close the exporter at the end: it goes on to serve another flusher."""
        self._delivery.keep_open = True

    def look_after_others(self) -> None:
        """Start at once if another process may have left something for this destination."""
        if self._journal.folder is not None and self._journal.folder.used():
            self._next_look = 0.0
            self._rouse()

    def deliver_late(self, timeout: float) -> None:
        """From here on deliver each record on the spot: the thread may be gone.

        For so many seconds in all; after that records are only kept.
        """
        left = timeout

        def deliver() -> None:
            nonlocal left
            # Without it nothing can be imported any more, and what delivers is being taken apart: the record is kept.
            # So it is where a daemon thread may be stopped in the middle of delivering: it would come twice.
            kept = self._journal.folder is not None and current_thread() is not main_thread()
            if sys.meta_path is not None and left > 0 and not kept:
                began = monotonic()
                self.flush(left)
                left -= monotonic() - began
            self._journal.tidy()

        self._journal.tidy()
        self._late = True
        self._journal.wake = deliver
        self._wake_from(0)

    def _wake_from(self, size: int) -> None:
        self._journal.wake_from(0 if self._late else size)

    def reset_after_fork(self) -> None:
        """In a child: give up the thread, the locks and the records, all of which are the parent's."""
        self._journal.reset_after_fork()
        self._delivery.reset_after_fork()
        self._begin()

    def _begin(self) -> None:
        self._starting = Lock()
        self._thread: Thread | None = None
        # Not an Event: a signal handler or a finaliser that sets it in the middle of a set() would deadlock.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._late = False
        self._journal.wake = self._rouse
        self._wake_from(0)  # the journal's size from which an append wakes the thread
        self._waiting: set[_Waiting] = set()
        self._next_tick = 0.0
        self._next_look = 0.0 if self._journal.folder is not None else math.inf

    # The caller's side

    def _alive(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _rouse(self) -> None:
        if not self._alive():
            self._start()
        elif self._wake.empty():
            self._wake.put(None)

    def _start(self) -> None:
        """Start the thread, unless it was stopped or another caller is at it."""
        # While the interpreter is torn down a thread never starts, and start() may wait for it for ever.
        if self._journal.closed or sys.is_finalizing() or not self._starting.acquire(blocking=False):
            return
        try:
            if not self._alive():
                self._wake_from(_NEVER)
                if type(self._wake) is not queue.SimpleQueue:  # gevent has come in between: its threads wait at its own
                    self._wake = queue.SimpleQueue()
                thread = Thread(target=self._run, name=f"honeytrace-flusher-{self._name}", daemon=True)
                thread.start()
                self._thread = thread
        except Exception as error:
            # Without a thread flush() works all the same; the next try is a batch later.
            self._wake_from(self._journal.written + self._batch_bytes)
            if main_thread().is_alive():  # else the interpreter is ending and starts none
                failed("starting the flusher", error)
        finally:
            self._starting.release()

    def _flush(self, deadline: float) -> FlushResult:
        journal, delivery = self._journal, self._delivery
        complete = delivery.closed or monotonic() >= deadline or journal.adopt(deadline)
        before, target, errors = journal.books(), journal.mark(), delivery.errors
        stuck = delivery.failures > 0
        while target and not delivery.closed:
            delivery.hurry()
            self._rouse()
            if monotonic() < deadline and not delivery.inside():
                self._wait_for(_Waiting(target), deadline)
            if not journal.passed(target):
                break
            # What dead processes left is taken over some folders at a time.
            complete = journal.adopt(deadline)
            target = journal.mark_adopted()
        after = journal.books()
        drained = complete and journal.passed(target)
        recent = delivery.errors > errors or (stuck and not drained)
        return FlushResult(
            ok=drained and _lost(after) == _lost(before),
            delivered=after.delivered - before.delivered,
            pending=after.pending,
            dropped=sum(after.dropped.values()),
            set_aside=after.set_aside,
            last_error=delivery.last_error if recent else None,
        )

    def _wait_for(self, waiting: _Waiting, deadline: float) -> None:
        """Wait until the thread has delivered what is waited for; deliver it here if the thread does not."""
        delivery = self._delivery
        self._waiting.add(waiting)
        try:
            self._rouse()
            heard = monotonic()
            while not self._journal.passed(waiting.target) and not delivery.closed:
                now = monotonic()
                if now >= deadline:
                    return
                ready = max(heard, delivery.not_before) + _PATIENCE if self._alive() else delivery.not_before
                if now >= ready:
                    if delivery.attempt(min(deadline, now + self._export_timeout), wait=False):
                        continue
                    if sys.is_finalizing():  # a frozen thread holds the lock, for ever
                        return
                with suppress(Empty):
                    waiting.news.get(timeout=min(_PATIENCE / 2, deadline - now))
                    heard = monotonic()
        finally:
            self._waiting.discard(waiting)

    # The thread's side

    def _run(self) -> None:
        try:
            while not self._ending:
                self._rest()
                self._tick()
                self._drain()
            self._delivery.close()
        except BaseException as error:
            failed("running the flusher", error)
        finally:
            self._wake_from(_NEVER if self._ending else 0)  # 0: the next event starts another thread

    def _rest(self) -> None:
        """Wait for a reason to act: a full batch, the interval, a flush, a backoff's end, a tick, stop."""
        due = math.inf
        while not self._ending:
            now = monotonic()
            full = self._journal.released + self._batch_bytes
            if self.ticks and now >= self._next_tick:
                return
            if now >= self._next_look:
                self._look_around(now)
            if self._journal.empty:
                due = math.inf
                self._pause(0, due)
            elif now < self._delivery.not_before:
                due = self._delivery.not_before
                self._pause(_NEVER, due)
            elif now >= due or self._journal.written >= full or self._wanted():
                return
            else:
                due = min(due, now + self._interval)
                self._pause(full, due)

    def _look_around(self, now: float) -> None:
        """Take over what dead processes left, and save from a loss of power what cannot be delivered."""
        self._next_look = now + _LOOK_AROUND
        self._journal.adopt()
        if not self._journal.empty:
            self._journal.sync()

    def _pause(self, size: int, until: float) -> None:
        """Sleep until the journal reaches this size, or somebody wakes the thread, or it is late enough."""
        self._wake_from(size)
        # What was appended before the line above woke nobody.
        if self._journal.empty or self._journal.written < size:
            until = min(until, self._next_look, self._next_tick if self.ticks else math.inf)
            with suppress(Empty):
                self._wake.get(timeout=_left(until))
        self._wake_from(_NEVER)

    def _wanted(self) -> bool:
        return any(not self._journal.passed(waiting.target) for waiting in tuple(self._waiting))

    def _tick(self) -> None:
        if self.ticks and monotonic() >= self._next_tick:
            self._next_tick = monotonic() + self._interval
            for tick in tuple(self.ticks):
                with guard("running a tick of the flusher"):
                    tick()

    def _drain(self) -> None:
        """Deliver what is there at the start, not what comes meanwhile: that may fill a better batch."""
        journal, delivery = self._journal, self._delivery
        target = journal.mark()
        while not journal.passed(target) and monotonic() >= delivery.not_before and not self._ending:
            delivery.attempt(min(monotonic() + self._export_timeout, self._stop_by), wait=True)
            for waiting in tuple(self._waiting):
                waiting.news.put(None)


def _lost(books: Books) -> int:
    """How many records of any kind did not arrive and never will, of those that came in."""
    kinds = (books, books.others)
    return sum(one.set_aside + sum(one.dropped.values()) - one.dropped.get("full", 0) for one in kinds)


def check_timeout(timeout: object) -> None:
    """Refuse what is neither None nor a number of seconds.

    Raises:
        ConfigError: the timeout is such a thing.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ConfigError(f"timeout must be None or a number of seconds from 0 up, not {timeout!r}")


def _deadline(timeout: float | None) -> float:
    check_timeout(timeout)
    return math.inf if timeout is None else monotonic() + timeout


def _left(deadline: float) -> float | None:
    """Say how many seconds are left until then, in the words of the threading module: None for ever."""
    left = max(0.0, deadline - monotonic())
    return None if left > TIMEOUT_MAX else left
