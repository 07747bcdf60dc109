"""The flusher delivers everything the exporter lets it, in order, and keeps nobody waiting too long."""

from __future__ import annotations

import json
import logging
import math
import queue
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import delivery_fakes as failing
import pytest
from delivery_fakes import Failing, Hanging, Recording, an_event, assert_closed

from honeytrace import _diagnostics
from honeytrace._delivery import backoff
from honeytrace._event import Event
from honeytrace._flusher import Flusher
from honeytrace._folders import DestinationFolder
from honeytrace._journal import Journal
from honeytrace.exceptions import ExportError

ROOMY = 1 << 30
SLOW = 3600.0  # an interval no test lives to see


class Line:
    """A journal, its flusher and an exporter, and what the submit path does with them."""

    def __init__(self, exporter: Recording, **settings: float) -> None:
        self.exporter = exporter
        self.journal = Journal("line", ROOMY)
        self.flusher = Flusher(self.journal, exporter, **settings)  # type: ignore[arg-type]

    def submit(self, event: Event | None = None) -> Event:
        event = event or an_event()
        self.journal.append(*event)
        return event


class Mute(Exception):
    def __str__(self) -> str:
        raise TypeError("no words")


def flusher_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("honeytrace-")]


@pytest.fixture(autouse=True)
def _no_internal_failures() -> Iterator[None]:
    _diagnostics.reset_failures()
    _diagnostics.on_failure = failures = []
    yield
    _diagnostics.on_failure = None
    assert not failures


def until(condition: object, within: float = 5.0) -> None:
    """Wait for what has no event to wait on."""
    end = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.002)


# Waking


def test_no_thread_runs_before_the_first_event_and_a_named_daemon_after() -> None:
    line = Line(Recording(), interval=0.01)
    assert line.flusher.flush(1)
    assert flusher_threads() == []
    line.submit()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "honeytrace-flusher-recording"]
    assert thread.daemon
    assert line.flusher.stop(2)
    assert flusher_threads() == []


def test_a_queue_that_is_replaced_before_the_first_event_is_the_one_to_wait_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As gevent does in the workers of a server that loads the program first: at another all of a worker would wait."""
    line = Line(Recording(), interval=0.01)
    waiting = set()

    class Replaced(queue._PySimpleQueue):  # type: ignore[name-defined,misc]
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            waiting.add(threading.current_thread().name)
            super().get(block, timeout)

    monkeypatch.setattr(queue, "SimpleQueue", Replaced)
    line.submit()
    assert line.exporter.arrived.wait(5)
    assert line.flusher.stop(2).ok
    assert "honeytrace-flusher-recording" in waiting


def test_events_travel_by_themselves_after_the_interval() -> None:
    line = Line(Recording(), interval=0.02)
    for _ in range(3):  # the first starts the thread; the others find it idle
        line.exporter.arrived.clear()
        sent = line.submit()
        assert line.exporter.arrived.wait(5)
        until(lambda: line.journal.empty)
        assert line.exporter.events[-1] == sent
    assert set(line.exporter.threads) == {"honeytrace-flusher-recording"}
    line.flusher.stop(2)


def test_a_full_batch_does_not_wait_for_the_interval() -> None:
    line = Line(Recording(), interval=SLOW, batch_bytes=50_000)
    for _ in range(60):
        line.submit(an_event(body=b"x" * 1000))
    assert line.exporter.arrived.wait(5)
    line.flusher.stop(2)


def test_events_are_gathered_and_not_sent_one_by_one() -> None:
    line = Line(Recording(), interval=0.1)
    for _ in range(500):
        line.submit()
    until(lambda: line.journal.empty)
    assert len(line.exporter.batches) <= 3
    line.flusher.stop(2)


def test_a_steady_stream_is_gathered_while_batches_leave() -> None:
    line = Line(Recording(), interval=0.05)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        line.submit()
    result = line.flusher.stop(5)
    assert result.ok
    partly_filled = [batch for batch in line.exporter.batches if len(batch) < 1000]
    assert len(partly_filled) <= 12  # one per interval, one for the stop, and room for a slow machine


def test_an_idle_flusher_uses_no_cpu() -> None:
    line = Line(Recording(), interval=0.01)
    line.submit()
    assert line.flusher.flush(2)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.02
    line.flusher.stop(2)


def test_a_backoff_uses_no_cpu() -> None:
    line = Line(Failing(ExportError("busy", retry_after=60)), interval=0.01)
    line.submit()
    assert line.exporter.failed.wait(5)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.02
    assert line.flusher.stop(2).ok


def test_a_flush_that_waits_out_a_backoff_uses_no_cpu() -> None:
    line = Line(Failing(ExportError("busy", retry_after=0.4)), interval=SLOW)
    line.submit()
    before = time.process_time()
    started = time.monotonic()
    assert line.flusher.flush(5)
    assert 0.35 < time.monotonic() - started < 4
    assert time.process_time() - before < 0.1
    line.flusher.stop(2)


# What travels


def test_records_travel_expanded_and_in_order() -> None:
    line = Line(Recording())
    body = b'{"session_id":"s","event_name":"n","outputs":{},"end_time":2}'
    for kind in ("session", "event", "last", "root"):
        line.submit(an_event(kind, body))
    assert line.flusher.flush(5).delivered == 3
    kinds = [event.kind for event in line.exporter.events]
    assert kinds == ["session", "event", "event", "update", "session", "event"]
    line.flusher.stop(2)


def test_batches_are_cut_by_bytes_and_by_count() -> None:
    line = Line(Recording(), interval=SLOW, batch_bytes=20_000, batch_count=10)
    for _ in range(25):
        line.submit(an_event(body=b"{}"))
    for _ in range(5):
        line.submit(an_event(body=b"x" * 9000))
    assert line.flusher.flush(5)
    assert max(len(batch) for batch in line.exporter.batches) <= 10
    assert max(sum(len(event.body) for event in batch) for batch in line.exporter.batches) <= 20_000
    line.flusher.stop(2)


def test_a_hundred_threads_lose_nothing_and_the_books_close_at_every_moment() -> None:
    line = Line(Recording(), interval=0.01)
    done = threading.Event()
    samples = 0

    def sample() -> None:
        nonlocal samples
        while not done.is_set():
            books = line.journal.books()
            assert_closed(books)
            assert books.recorded >= books.delivered
            samples += 1
            time.sleep(0.001)

    def append() -> None:
        for _ in range(500):
            line.submit()

    sampler = threading.Thread(target=sample)
    sampler.start()
    threads = [threading.Thread(target=append) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = line.flusher.flush(30)
    done.set()
    sampler.join()
    assert result.ok
    assert len(line.exporter.events) == 50_000
    assert len({event.id for event in line.exporter.events}) == 50_000
    books = line.journal.books()
    assert (books.recorded, books.delivered, books.pending) == (50_000, 50_000, 0)
    assert samples > 3
    line.flusher.stop(2)


# Failure


def test_a_batch_is_kept_and_tried_again_after_any_exception() -> None:
    line = Line(Failing(ExportError("HTTP 503"), ValueError("odd"), OSError(111, "refused")), interval=0.01)
    sent = [line.submit() for _ in range(5)]
    assert line.flusher.flush(5)
    assert line.exporter.events == sent
    line.flusher.stop(2)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_the_thread_outlives_what_an_exporter_raises(error: BaseException) -> None:
    line = Line(Failing(error), interval=0.01)
    line.submit()
    assert line.exporter.arrived.wait(5)
    assert set(line.exporter.threads) == {"honeytrace-flusher-recording"}
    line.flusher.stop(2)


def test_a_flush_cuts_a_backoff_short() -> None:
    line = Line(Failing(ExportError("slow down", retry_after=200)), interval=0.01)
    line.submit()
    assert line.exporter.failed.wait(5)
    until(lambda: line.flusher.last_error)
    started = time.monotonic()
    assert line.flusher.flush(5)
    assert time.monotonic() - started < 4
    line.flusher.stop(2)


def test_retry_after_is_honoured() -> None:
    line = Line(Failing(ExportError("slow down", retry_after=0.3)), interval=0.01)
    line.submit()
    assert line.exporter.failed.wait(5)
    failed = time.monotonic()
    assert line.exporter.arrived.wait(5)
    assert 0.28 < time.monotonic() - failed < 3
    line.flusher.stop(2)


def test_backoff_doubles_from_a_tenth_of_a_second_to_thirty_with_jitter_downwards() -> None:
    assert [backoff(n, None, 0.0) for n in (1, 2, 3, 9, 10, 5000)] == [0.1, 0.2, 0.4, 25.6, 30.0, 30.0]
    assert backoff(1, None, 1.0) == 0.05
    assert backoff(1, 7.0, 0.0) == 7.0
    assert 7.0 < backoff(1, 7.0, 1.0) < 8
    assert backoff(9, 7.0, 0.0) == 7.0
    assert [backoff(n, 0.0, 0.0) for n in (1, 2, 3, 4, 5, 5000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff(1, math.inf, 0.0) == 300
    assert backoff(1, math.nan, 0.0) == 0.1


def test_a_failing_destination_is_reported_once_and_in_the_result(caplog: pytest.LogCaptureFixture) -> None:
    line = Line(Failing(*[ExportError("HTTP 503")] * 1000), interval=0.01)
    line.submit()
    with caplog.at_level(logging.WARNING, "honeytrace"):
        result = line.flusher.flush(0.4)
    assert (bool(result), result.delivered, result.pending, result.last_error) == (False, 0, 1, "HTTP 503")
    (said,) = [record.getMessage() for record in caplog.records if "cannot deliver" in record.getMessage()]
    assert said.endswith("(kept in memory, and tried again)")
    line.exporter.errors.clear()
    assert line.flusher.flush(5).ok
    assert line.flusher.flush(5).last_error is None
    line.flusher.stop(2)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("https://user:hunter2@host/"), "ValueError"),
        (RuntimeError("GET https://bob:p@ss/hunter2@host/ with Bearer hunter2"), "RuntimeError"),
        (KeyError("hunter2"), "KeyError"),
        (FileNotFoundError(2, "No such file", "/hunter2"), "FileNotFoundError: No such file"),
        (Mute("hunter2"), "Mute"),
        (type("Odd\x1b[31m", (Exception,), {})(), "Odd [31m"),
    ],
    ids=repr,
)
def test_a_foreign_exception_is_described_by_type_and_place_without_its_words(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(Failing(error), interval=0.01)
    with caplog.at_level(logging.DEBUG, "honeytrace"):
        line.submit()
        assert line.exporter.arrived.wait(5)
    place = f", raised at {failing.__file__}:"
    assert line.flusher.last_error is not None
    assert line.flusher.last_error.startswith(said + place)
    assert re.fullmatch(r"\d+ in \w+", line.flusher.last_error.removeprefix(said + place))
    assert any(
        f"yet: {said}{place}" in record.getMessage() for record in caplog.records if record.levelname == "WARNING"
    )
    assert "hunter2" not in caplog.text
    line.flusher.stop(2)


def test_an_exception_from_the_depths_of_a_library_names_the_line_of_the_exporter_too() -> None:
    line = Line(Recording(lambda batch: json.loads("{")), interval=0.01)
    line.submit()
    assert line.flusher.flush(0.2).pending == 1
    assert line.flusher.last_error is not None
    assert re.search(
        rf", raised at {re.escape(json.decoder.__file__)}:\d+ in raw_decode"
        rf", called from {re.escape(failing.__file__)}:\d+ in export\Z",
        line.flusher.last_error,
    )
    line.flusher.stop(2)


def test_only_the_record_at_fault_is_set_aside() -> None:
    bad = {17, 18, 60}

    def refuse(batch: object) -> None:
        if any(event.body == b"bad" for event in batch):  # type: ignore[attr-defined]
            raise ExportError("HTTP 400", permanent=True)

    line = Line(Recording(refuse), interval=SLOW)
    sent = [line.submit(an_event(body=b"bad" if n in bad else b"{}")) for n in range(100)]
    result = line.flusher.flush(5)
    assert line.exporter.events == [event for n, event in enumerate(sent) if n not in bad]
    assert line.flusher.set_aside == [(sent[n], "HTTP 400") for n in sorted(bad)]
    assert (result.ok, result.delivered, result.set_aside, result.pending) == (False, 97, 3, 0)
    assert result.last_error == "HTTP 400"
    assert len(line.exporter.threads) < 60
    assert_closed(line.journal.books())
    line.flusher.stop(2)


def test_a_record_that_cannot_be_expanded_is_set_aside_and_its_neighbours_travel() -> None:
    line = Line(Recording())
    first, broken, last = line.submit(), line.submit(an_event("root", b"not json")), line.submit()
    assert line.flusher.flush(5).set_aside == 1
    assert line.exporter.events == [first, last]
    assert line.flusher.set_aside[0][0] == broken
    line.flusher.stop(2)


# Flush and stop


def test_flush_counts_what_it_delivered_and_the_totals() -> None:
    line = Line(Recording(), interval=SLOW)
    for _ in range(3):
        line.submit()
    line.journal.note_dropped("too large")
    first = line.flusher.flush(5)
    line.submit()
    second = line.flusher.flush(5)
    assert (first.delivered, first.pending, first.dropped) == (3, 0, 1)
    assert (second.delivered, second.pending, second.dropped) == (1, 0, 1)
    line.flusher.stop(2)


@pytest.mark.parametrize("timeout", [-1, -0.1, math.nan, "1", True])
def test_a_timeout_that_cannot_be_right_is_named(timeout: object) -> None:
    flusher = Line(Recording()).flusher
    for method in (flusher.flush, flusher.stop):
        with pytest.raises(ValueError, match=f"timeout must be .*, not {timeout!r}"):
            method(timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [0, 0.3])
def test_flush_and_stop_return_in_time_while_an_exporter_hangs(timeout: float) -> None:
    line = Line(Hanging(), interval=0.01)
    line.submit()
    assert line.exporter.entered.wait(5)
    for method in (line.flusher.flush, line.flusher.stop):
        started = time.monotonic()
        result = method(timeout)
        assert timeout <= time.monotonic() - started < timeout + 0.2
        assert (result.ok, result.pending) == (False, 1)
    assert line.exporter.closed == 0
    line.exporter.release.set()
    until(lambda: line.exporter.closed == 1)
    assert line.journal.books().delivered == 1


def test_flush_delivers_in_the_callers_thread_while_the_flusher_does_not_react() -> None:
    line = Line(Recording(), interval=0.01)
    stuck, release = threading.Event(), threading.Event()
    line.flusher.ticks.append(lambda: (stuck.set(), release.wait(20)))
    line.submit()
    assert stuck.wait(5)
    deadline = time.monotonic() + 3
    assert line.flusher.flush(3)
    assert line.exporter.threads == ["MainThread"]
    assert line.exporter.deadlines[0] == pytest.approx(deadline, abs=0.1)
    release.set()
    line.flusher.stop(2)


def test_flush_delivers_where_no_thread_can_be_started() -> None:
    line = Line(Recording())
    size = threading.stack_size()
    try:
        threading.stack_size(1 << 45)
    except ValueError:
        pytest.skip("the platform refuses the stack size itself")
    try:
        for _ in range(3):
            line.submit()
        assert line.flusher.flush(2)
    finally:
        threading.stack_size(size)
    assert line.exporter.threads == ["MainThread"]
    assert _diagnostics.failures["starting the flusher"] >= 1
    _diagnostics.on_failure.clear()  # type: ignore[union-attr]


def test_an_exporter_may_flush_without_waiting_for_itself() -> None:
    line = Line(Recording())
    results = []
    line.exporter._before = lambda batch: results.append(line.flusher.flush(5))
    line.submit()
    started = time.monotonic()
    assert line.flusher.flush(5)
    assert time.monotonic() - started < 1
    assert [result.ok for result in results] == [False]
    line.flusher.stop(2)


def test_many_threads_may_flush_at_once() -> None:
    line = Line(Recording(), interval=SLOW)
    results = []

    def work() -> None:
        for _ in range(20):
            event = line.submit()
            results.append(line.flusher.flush(10).ok and event in line.exporter.events)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 160
    assert len(line.exporter.events) == 160
    line.flusher.stop(2)


def test_exports_are_single_file() -> None:
    inside = 0
    most = 0

    def enter(batch: object) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.001)
        inside -= 1

    line = Line(Recording(enter), interval=0.001, batch_count=10)

    def work() -> None:
        for _ in range(20):
            line.submit()
            line.flusher.flush(0.01)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    line.flusher.stop(5)
    assert most == 1
    assert len(line.exporter.events) == 160


def test_stopping_twice_closes_the_exporter_once_and_starts_no_thread() -> None:
    line = Line(Recording())
    line.submit()
    assert line.flusher.stop(2)
    late = line.submit()
    result = line.flusher.stop(2)
    assert (line.exporter.closed, result.ok, result.pending) == (1, False, 1)
    assert flusher_threads() == []
    assert line.journal.take(100, 100).records == (late,)


def test_an_exporter_that_fails_to_close_does_not_reach_the_caller() -> None:
    line = Line(Recording())
    line.exporter.close = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    assert line.flusher.stop(2)
    assert [type(error) for error in _diagnostics.on_failure or []] == [ZeroDivisionError]
    _diagnostics.on_failure.clear()  # type: ignore[union-attr]


# Ticks


def test_ticks_run_once_per_interval_and_one_that_raises_stops_nothing() -> None:
    line = Line(Recording(), interval=0.05)
    ticks: list[float] = []
    enough = threading.Event()

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 5:
            enough.set()
        raise ValueError("a tick")

    line.flusher.ticks.append(tick)
    line.submit()
    assert enough.wait(5)
    gaps = [later - earlier for earlier, later in zip(ticks, ticks[1:])]
    assert min(gaps) > 0.045
    assert line.flusher.stop(2)
    _diagnostics.on_failure.clear()  # type: ignore[union-attr]


def test_a_refused_key_is_said_though_another_failure_was_said_before(caplog: pytest.LogCaptureFixture) -> None:
    refused = [ExportError("HTTP 401", lasting=True, retry_after=0.01)] * 1000
    line = Line(Failing(ExportError("HTTP 503"), *refused), interval=0.01)
    line.submit()
    with caplog.at_level(logging.WARNING, "honeytrace"):
        assert not line.flusher.flush(0.5)
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(": ")[1].split(" (")[0] for text in said] == ["HTTP 503", "HTTP 401"]
    line.exporter.errors.clear()
    assert line.flusher.stop(5).ok


def test_an_update_that_is_refused_for_good_makes_a_flush_not_ok() -> None:
    line = Line(Failing(ExportError("HTTP 400", permanent=True)), interval=SLOW)
    line.submit(an_event("update"))
    assert not line.flusher.flush(5).ok
    assert line.flusher.stop(5).ok


def test_a_record_that_can_neither_be_delivered_nor_be_set_aside_is_dropped_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = DestinationFolder.of(tmp_path, "failing", "somewhere")
    folder.make()
    folder.dead_letters.mkdir()  # nothing can be written there
    exporter = Failing(ExportError("HTTP 400", permanent=True))
    journal = Journal("line", ROOMY, folder)
    flusher = Flusher(journal, exporter, interval=SLOW)
    journal.append(*an_event())
    journal.append(*an_event())
    with caplog.at_level(logging.WARNING, "honeytrace"):
        exporter.errors *= 2  # the batch of both, then the first alone
        flusher.flush(5)
    books = journal.books()
    assert (books.delivered, books.set_aside, dict(books.dropped)) == (1, 0, {"no dead letter": 1})
    assert_closed(books)
    assert any("no dead letter could be written" in record.getMessage() for record in caplog.records)
    flusher.stop(5)
