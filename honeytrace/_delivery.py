"""One attempt to deliver the oldest batch of a journal, and what follows from its outcome.

Attempts are single-file and in order. A record leaves the journal only after the exporter said so, or refused
it alone and for good; everything else stays and is tried again.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from operator import itemgetter
from random import Random
from threading import RLock, current_thread, main_thread
from time import monotonic

from honeytrace._dead_letters import DeadLetters
from honeytrace._diagnostics import Throttle, guard, logger
from honeytrace._error_words import describe
from honeytrace._event import COMPOUND, Event, expand
from honeytrace._journal import Batch, Journal
from honeytrace.exceptions import ExportError
from honeytrace.protocols import Exporter

__all__ = ["Delivery", "backoff"]

_SET_ASIDE_KEPT = 100
_RETRY_AFTER_MAX = 300.0
_AT_ONCE = 1.0
"""What the pause grows to where a server says that none is needed."""


def backoff(failures: int, retry_after: float | None, chance: float) -> float:
    """Say how many seconds to wait after so many failures in a row; `chance`, from 0 to 1, is the jitter.

    Doubles from 0.1 to 30 s. The server's word wins, up to five minutes: beyond that it is a mistake. So it is to come
    at once, time after time: a server that says 0, or a date that has passed by this machine's clock, would be asked
    300 times a second.
    """
    wait = min(30.0, 0.1 * 2.0 ** min(failures - 1, 20)) * (1 - 0.5 * chance)
    if retry_after is not None and retry_after >= 0:
        return max(min(retry_after, _RETRY_AFTER_MAX) * (1 + 0.1 * chance), min(wait, _AT_ONCE))
    return wait


class Delivery:
    """Take, export, acknowledge: whichever thread asks first does it, the others are told to wait.

    `not_before` is the `time.monotonic()` before which a failed batch should not be tried again; `failures`
    counts those in a row that may pass, `errors` all there ever were.
    """

    def __init__(self, journal: Journal, exporter: Exporter, *, batch_bytes: int, batch_count: int) -> None:
        self.closed = False
        self.keep_open = False
        self._journal = journal
        self._exporter = exporter
        self._batch_bytes = batch_bytes
        self._batch_count = batch_count
        self._dead_letters = None if journal.folder is None else DeadLetters(journal.folder.dead_letters)
        self._outages, self._refusals, self._losses = Throttle(60.0), Throttle(60.0), Throttle(60.0)
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Start afresh in a child process: whatever held the lock is not there."""
        # Reentrant: an exporter, or a signal handler on top of one, may flush.
        self._lock = RLock()
        self._exporting = False
        self._limit = self._batch_count
        self._jitter = Random()
        self.set_aside: deque[tuple[Event, str]] = deque(maxlen=_SET_ASIDE_KEPT)
        self.last_error: str | None = None
        self.errors = 0
        self._word: str | None = ""  # None: all is well; another process may have left word, and be gone
        self.hurry()

    def hurry(self) -> None:
        """Forget a backoff: the next attempt may be made at once."""
        self.failures = 0
        self.not_before = 0.0

    def attempt(self, deadline: float, *, wait: bool) -> bool:
        """Export one batch by this `time.monotonic()`; False: another thread is at it (`wait` unset).

        The outcome is in the journal's books, `errors` and `last_error`; nothing is raised but the
        KeyboardInterrupt or SystemExit that a signal handler raises in the main thread.
        """
        lock = self._lock
        if not lock.acquire(blocking=wait):
            return False
        try:
            if not self.closed and not self._exporting:
                batch = self._take()
                if batch is not None and batch.records:
                    self._export(batch, deadline)
        finally:
            lock.release()
        return True

    @property
    def exporting(self) -> bool:
        """Whether an export is under way, in whatever thread."""
        return self._exporting

    def inside(self) -> bool:
        """Say whether this thread is in the middle of an export, so that waiting for it would never end."""
        lock = self._lock
        if not lock.acquire(blocking=False):
            return False
        inside = self._exporting  # the lock is this thread's, or was free: so is what is being exported
        lock.release()
        return inside

    def close(self) -> None:
        """Close the exporter once, unless it is busy."""
        lock = self._lock
        if lock.acquire(blocking=False):
            try:
                if not self.closed and not self._exporting:
                    self.closed = True
                    if not self.keep_open:
                        with guard("closing an exporter"):
                            self._exporter.close()
            finally:
                lock.release()

    def _take(self) -> Batch | None:
        try:
            return self._journal.take(self._batch_bytes, self._limit)
        except OSError as error:  # a disk that may do better the next time
            self.last_error = f"cannot read the journal: {describe(error, where=False)}"
            self.errors += 1
            self._note_outage(error, self.last_error)
            return None

    def _export(self, batch: Batch, deadline: float) -> None:
        self._exporting = True
        try:
            self._exporter.export(_travelling(batch), deadline)
        except BaseException as error:
            self._note_failure(error, batch)
            if not (isinstance(error, ExportError) and (error.permanent or error.partly)):
                # It may need what a dead process left: an update comes after its event.
                if monotonic() < deadline:
                    self._journal.adopt(deadline)
                self._journal.pass_turn()
            # Delivery outlives whatever an exporter raises; but here it may be the user's Ctrl-C.
            if not isinstance(error, Exception) and current_thread() is main_thread():
                raise
        else:
            self._journal.acknowledge(batch)
            self._leave_word(None)
            self.failures = 0
            self._limit = min(self._limit * 2, self._batch_count)
        finally:
            self._exporting = False

    def _note_failure(self, error: BaseException, batch: Batch) -> None:
        """Halve a batch that can never arrive, down to the record at fault; wait before trying any other."""
        name, text = self._exporter.name, describe(error)
        if isinstance(error, ExportError) and error.partly:
            self.failures, self.not_before = 0, 0.0
            return
        self.last_error = text
        self.errors += 1
        with guard("reporting a failed export"):
            logger.debug("export of %d records to %s failed: %s", len(batch.records), name, text)
        if not (isinstance(error, ExportError) and error.permanent):
            self._note_outage(error, text)
        elif len(batch.records) > 1:
            self._limit = len(batch.records) // 2
        else:
            self._put_aside(batch, text)

    def _note_outage(self, error: BaseException, text: str) -> None:
        """Wait before the next attempt, and say why: once for an outage, and once more if somebody must act."""
        self.failures += 1
        retry_after = error.retry_after if isinstance(error, ExportError) else None
        self.not_before = monotonic() + backoff(self.failures, retry_after, self._jitter.random())
        lasting = isinstance(error, ExportError) and error.lasting
        throttle = self._refusals if lasting else self._outages
        if (lasting or self.failures == 1) and self._word != text and throttle.due(monotonic()):
            with guard("reporting a failed export"):
                kept = "kept in memory" if self._journal.in_memory() else "everything is kept"
                logger.warning("cannot deliver to %s yet: %s (%s, and tried again)", self._exporter.name, text, kept)
        self._leave_word(text)

    def _leave_word(self, text: str | None) -> None:
        """Let other processes know why delivery fails, or that it does not any more."""
        if text == self._word:
            return
        self._word = text
        if self._journal.folder is not None:
            with suppress(OSError):  # a disk that is full has been reported by the journal
                self._journal.folder.note_error(text)

    def _put_aside(self, batch: Batch, reason: str) -> None:
        """Take a record that was refused for good out of the journal, to where its owner can see it."""
        record = batch.records[0]
        self.set_aside.append((record, reason))
        kept = True
        if self._dead_letters is not None:
            try:
                self._dead_letters.add(record, reason)
            except Exception as error:
                kept, reason = False, f"{reason}; and no dead letter could be written: {describe(error, where=False)}"
        if kept:
            self._journal.acknowledge(batch, set_aside=True)
        else:  # it cannot stay where it is, ahead of all others
            self._journal.give_up(batch, "no dead letter")
        with guard("reporting a record set aside"):
            if self._losses.due(monotonic()):
                logger.warning(
                    "%s refused a record for good: %s (%d set aside so far; see honeytrace dead-letters)",
                    self._exporter.name,
                    reason,
                    self._journal.refused_for_good(),
                )


def _travelling(batch: Batch) -> list[Event]:
    """Expand a batch into what goes on the wire."""
    if COMPOUND.isdisjoint(map(itemgetter(0), batch.records)):  # a quarter of the price, and what most batches are
        return [*batch.records]
    try:
        return [event for record in batch.records for event in (expand(record) if record[0] in COMPOUND else (record,))]
    except Exception as error:
        raise ExportError(f"cannot expand a record: {type(error).__name__}", permanent=True) from error
