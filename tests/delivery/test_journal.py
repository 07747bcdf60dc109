"""The journal keeps order, stays within its bound, and its books close at every moment."""

from __future__ import annotations

import logging
import resource
import signal
import sys
import threading
from pathlib import Path

import pytest
from delivery_fakes import an_event, assert_closed

from honeytrace._diagnostics import Throttle, reset_failures
from honeytrace._event import Event
from honeytrace._journal import Journal

ROOMY = 1 << 30


def test_records_come_out_as_they_went_in_and_in_order() -> None:
    journal = Journal("j", ROOMY)
    records = [an_event(kind, b'{"n":1}') for kind in ("event", "session", "update", "root", "last")]
    assert all(journal.append(*record) for record in records)
    assert journal.take(ROOMY, 100).records == tuple(records)


def test_taking_removes_nothing() -> None:
    journal = Journal("j", ROOMY)
    journal.append(*an_event())
    assert journal.take(ROOMY, 10) == journal.take(ROOMY, 10)
    assert journal.books().pending == 1


def test_a_batch_is_cut_by_count_and_by_bytes() -> None:
    journal = Journal("j", ROOMY)
    for _ in range(10):
        journal.append(*an_event(body=b"x" * 1000))
    assert len(journal.take(ROOMY, 4).records) == 4
    assert len(journal.take(3500, 100).records) == 3


def test_a_record_larger_than_a_batch_travels_alone() -> None:
    journal = Journal("j", ROOMY)
    journal.append(*an_event(body=b"x" * 1000))
    journal.append(*an_event())
    assert len(journal.take(10, 100).records) == 1


def test_acknowledging_removes_up_to_the_offset_and_no_further() -> None:
    journal = Journal("j", ROOMY)
    records = [an_event() for _ in range(5)]
    for record in records:
        journal.append(*record)
    first_three = journal.take(ROOMY, 3)
    mark = journal.mark()
    journal.acknowledge(first_three)
    assert journal.take(ROOMY, 10).records == tuple(records[3:])
    assert not journal.passed(mark)
    journal.append(*an_event())
    journal.acknowledge(journal.take(ROOMY, 2))
    assert journal.passed(mark)
    assert not journal.empty


def test_a_batch_acknowledged_twice_counts_once() -> None:
    journal = Journal("j", ROOMY)
    for _ in range(4):
        journal.append(*an_event())
    batch = journal.take(ROOMY, 2)
    journal.acknowledge(batch)
    journal.acknowledge(batch)
    assert (journal.books().delivered, journal.books().pending) == (2, 2)


def test_the_newest_is_refused_when_full_and_taken_again_after_room_is_made() -> None:
    journal = Journal("j", 10_000)
    oldest = an_event(body=b"x" * 4000)
    assert journal.append(*oldest)
    assert journal.append(*an_event(body=b"x" * 4000))
    assert not journal.append(*an_event(body=b"x" * 4000))
    assert journal.take(1, 1).records == (oldest,)
    journal.acknowledge(journal.take(1, 1))
    assert journal.append(*an_event(body=b"x" * 4000))
    books = journal.books()
    assert (books.recorded, books.delivered, books.pending, dict(books.dropped)) == (4, 1, 2, {"full": 1})


def test_many_tiny_records_are_bounded_too() -> None:
    journal = Journal("j", 100_000)
    assert sum(journal.append(*an_event()) for _ in range(5000)) < 1700  # 62 bytes each


def test_events_are_counted_apart_from_session_and_update_records() -> None:
    journal = Journal("j", ROOMY)
    for kind in ("event", "root", "last", "session", "update"):
        journal.append(*an_event(kind))
    journal.acknowledge(journal.take(ROOMY, 1), set_aside=True)
    journal.acknowledge(journal.take(ROOMY, 3))
    journal.note_dropped("too large", 2)
    books = journal.books()
    assert (books.recorded, books.delivered, books.pending, books.set_aside) == (5, 2, 0, 1)
    assert dict(books.dropped) == {"too large": 2}
    others = books.others
    assert (others.recorded, others.delivered, others.pending, others.set_aside) == (2, 1, 1, 0)


def test_a_refused_session_record_is_not_counted_as_an_event() -> None:
    journal = Journal("j", 1)
    journal.append(*an_event("session"))
    assert (journal.books().recorded, dict(journal.books().others.dropped)) == (0, {"full": 1})


def test_refusals_are_logged_at_once_with_their_number_and_then_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = Journal("j", 1)
    with caplog.at_level(logging.WARNING, "honeytrace"):
        for _ in range(50):
            journal.append(*an_event())
    assert [record.getMessage() for record in caplog.records] == [
        "the journal of j is full (1 bytes): 1 records refused so far"
    ]


def test_a_throttle_says_yes_first_and_then_once_per_interval() -> None:
    throttle = Throttle(60)
    assert [throttle.due(now) for now in (5, 6, 64.9, 65, 66, 200)] == [True, False, False, True, False, True]


@pytest.mark.internal_failure_expected
def test_a_logging_handler_that_raises_does_not_reach_the_caller() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("broken handler")

    logger, handler = logging.getLogger("honeytrace"), Broken()
    logger.addHandler(handler)
    try:
        assert not Journal("j", 1).append(*an_event())
    finally:
        logger.removeHandler(handler)
        reset_failures()


def test_records_are_still_accepted_after_close() -> None:
    journal = Journal("j", ROOMY)
    journal.close()
    journal.close()
    assert journal.append(*an_event())
    assert journal.books().pending == 1


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memory_is_given_back_as_batches_are_acknowledged() -> None:
    journal = Journal("j", ROOMY)
    before = resident()
    for n in range(4000):
        journal.append(*Event("event", b"%036d" % n, b"x" * 5000, n))
    held = resident()
    while not journal.empty:
        journal.acknowledge(journal.take(ROOMY, 100))
    left = resident()
    assert held - before > 18_000_000
    assert left - before < 8_000_000


def test_a_child_forgets_what_the_parent_recorded_and_an_old_batch_fits_nothing() -> None:
    journal = Journal("j", 10_000)
    for _ in range(20):
        journal.append(*an_event())
    old = journal.take(ROOMY, 5)
    journal.reset_after_fork()
    mine = an_event()
    assert journal.append(*mine)
    journal.acknowledge(old)
    assert journal.take(ROOMY, 10).records == (mine,)
    assert (journal.books().recorded, journal.books().delivered) == (1, 0)


def test_a_signal_handler_may_append_and_read_the_books_in_the_middle_of_an_append() -> None:
    journal = Journal("j", ROOMY)
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        journal.append(*an_event())
        assert_closed(journal.books())

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    appended = 0
    try:
        while handled < 50:
            journal.append(*an_event())
            appended += 1
            if appended % 50 == 0:
                journal.acknowledge(journal.take(ROOMY, 40))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    books = journal.books()
    assert books.recorded == appended + handled
    assert_closed(books)


def test_threads_that_append_at_once_lose_nothing_and_leave_the_bound_exact() -> None:
    journal = Journal("j", ROOMY)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [journal.append(*an_event()) for _ in range(1000)]) for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    batch = journal.take(ROOMY, 100_000)
    assert len({record.id for record in batch.records}) == 10_000
    journal.acknowledge(batch)
    assert journal.written == journal.released
