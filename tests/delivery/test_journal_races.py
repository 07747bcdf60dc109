"""Threads, signal handlers and interrupts amid a journal's work: no record lost, none twice, books closed."""

from __future__ import annotations

import dis
import gc
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest
from delivery_fakes import an_event, assert_closed

from honeytrace import _journal
from honeytrace._books import Books
from honeytrace._folders import DestinationFolder
from honeytrace._journal import Journal

ROOMY = 1 << 30


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Segments of a few dozen records, begun again after a few, and threads that take turns as often as they can."""
    monkeypatch.setattr(_journal, "_REWIND", 1 << 9)
    monkeypatch.setattr(_journal, "_FIRST_BYTES", 1 << 14)
    monkeypatch.setattr(_journal, "_SEGMENT_BYTES", 1 << 14)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6 if sys.version_info >= (3, 11) else 1e-5)  # before 3.11 they did nothing else
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(params=["files", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    folder = DestinationFolder.of(tmp_path / "journal", "j", "there") if request.param == "files" else None
    journal = Journal("j", ROOMY, folder)
    yield journal
    journal.close()


def put(journal: Journal, body: bytes) -> bool:
    return journal.append(*an_event(body=body))


def drain(journal: Journal, most: int = 1000) -> list[bytes]:
    bodies = []
    while (batch := journal.take(ROOMY, most)).records:
        bodies += [record.body for record in batch.records]
        journal.acknowledge(batch)
    return bodies


def assert_sound(books: Books) -> None:
    for one in (books, books.others):
        assert_closed(one)
        assert min(one.recorded, one.delivered, one.pending, one.set_aside) >= 0, books
    assert "damaged" not in books.dropped, books


class Sampler:
    """Reads the books all the time, in a thread of its own."""

    def __init__(self, journal: Journal) -> None:
        self.samples = 0
        self.errors: list[BaseException] = []
        self._journal = journal
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert not self.errors
        assert self.samples

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                assert_sound(self._journal.books())
                self.samples += 1
                self._stop.wait(0.0002)  # so that others get the lock, too
        except BaseException as error:
            self.errors.append(error)


@pytest.mark.parametrize("function", [Journal.append, Journal._append_large, Journal._put])
def test_no_call_and_no_jump_comes_between_reserving_a_place_and_filling_it(function: Callable[..., object]) -> None:
    instructions = list(dis.get_instructions(function))
    first = next(n for n, one in enumerate(instructions) if one.argval == "next" and one.opname.startswith("LOAD"))
    last = next(n for n, one in enumerate(instructions) if one.opname in ("STORE_SUBSCR", "STORE_SLICE"))
    assert first < last
    for one in instructions[first:last]:
        assert "CALL" not in one.opname
        # The way out leads past the end; on 3.10 a jump that is taken lets other threads run.
        assert "JUMP" not in one.opname or one.argval > instructions[last].offset


@pytest.mark.parametrize("size", [10, 20_000])
def test_no_finaliser_runs_between_reserving_a_place_and_filling_it(journal: Journal, size: int) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            out.extend(drain(journal))

    class Sliced:
        def __getitem__(self, _: slice) -> None:  # while that is held, Python before 3.12 has none to use again
            append("event", id, body, 1)

    out: list[bytes] = []
    append, (_, id, body, _) = journal.append, an_event(body=b"x" * size)
    threshold = gc.get_threshold()
    try:
        for count in range(400):
            gc.disable()
            Cycle()
            gc.set_threshold(1 + count % 40)
            gc.enable()
            Sliced()[count:]
    finally:
        gc.set_threshold(*threshold)
        gc.enable()
    out += drain(journal)
    assert_sound(journal.books())
    assert len(out) == 400


def test_no_call_comes_between_finding_a_segment_empty_and_beginning_it_again() -> None:
    instructions = list(dis.get_instructions(Journal._rewind))
    stores = [n for n, one in enumerate(instructions) if one.opname == "STORE_ATTR" and one.argval in ("base", "next")]
    last_look = max(n for n in range(stores[0]) if instructions[n].opname == "COMPARE_OP")
    assert not [one for one in instructions[last_look : stores[-1]] if "CALL" in one.opname]


def test_eight_threads_and_a_consumer_every_record_comes_out_once_and_in_order(journal: Journal) -> None:
    running = [True] * 8
    out: list[bytes] = []

    def produce(thread: int) -> None:
        for number in range(500):
            assert put(journal, b"%d %d " % (thread, number) + b"x" * (number % 300))
        running[thread] = False

    threads = [threading.Thread(target=produce, args=(thread,)) for thread in range(8)]
    with Sampler(journal):
        for thread in threads:
            thread.start()
        rng = random.Random(1)
        while any(running) or not journal.empty:
            batch = journal.take(ROOMY, rng.randrange(1, 60))
            out += [record.body for record in batch.records]
            journal.acknowledge(batch)
        for thread in threads:
            thread.join()
    numbers: list[list[int]] = [[] for _ in range(8)]
    for body in out:
        thread_number, number = body.split()[:2]
        numbers[int(thread_number)].append(int(number))
    assert numbers == [list(range(500))] * 8
    assert journal.written == journal.released
    assert journal.books().delivered == 4000


def test_a_record_that_is_being_written_is_not_read_where_threads_take_turns_in_the_middle_of_it(
    journal: Journal,
) -> None:
    journal.append = journal._append_locked  # type: ignore[method-assign]  # as under a debugger
    assert put(journal, b"first")
    assert drain(journal) == [b"first"]
    assert put(journal, b"second")
    reserved, go_on = threading.Event(), threading.Event()
    before = journal._segment.next

    def in_the_middle(frame: FrameType, event: str, _: object) -> object:
        if frame.f_code is not Journal.append.__code__:
            return in_the_middle if event == "call" else None
        if journal._segment.next > before and not reserved.is_set():
            reserved.set()
            assert go_on.wait(10)
        return in_the_middle

    def write() -> None:
        sys.settrace(in_the_middle)  # type: ignore[arg-type]
        put(journal, b"third")

    writer = threading.Thread(target=write)

    def once_without_the_lock(frame: FrameType, event: str, _: object) -> object:
        about_a_segment = frame.f_code is Journal.take.__code__ and "segment" in frame.f_locals
        if about_a_segment and not journal._lock._is_owned() and writer.ident is None:  # type: ignore[attr-defined]
            writer.start()
            assert reserved.wait(10)
        return once_without_the_lock

    previous = sys.gettrace()
    sys.settrace(once_without_the_lock)  # type: ignore[arg-type]
    try:
        batch = journal.take(ROOMY, 10)
    finally:
        sys.settrace(previous)
    assert reserved.is_set()
    assert [record.body for record in batch.records] == [b"second"]
    go_on.set()
    writer.join()
    journal.acknowledge(batch)
    assert drain(journal) == [b"third"]
    assert_sound(journal.books())


def test_threads_against_a_full_journal_keep_the_bound_and_the_books(tmp_path: Path) -> None:
    bound = 60_000
    journal = Journal("j", bound, DestinationFolder.of(tmp_path / "journal", "j", "there"))
    accepted, refused = [0] * 4, [0] * 4
    done = threading.Event()

    def produce(thread: int) -> None:
        for _ in range(1000):
            if put(journal, b"x" * 200):
                accepted[thread] += 1
            else:
                refused[thread] += 1

    def consume() -> None:
        while not done.is_set() or not journal.empty:
            assert journal.written - journal.released <= bound
            journal.acknowledge(journal.take(ROOMY, 20))

    threads = [threading.Thread(target=produce, args=(thread,)) for thread in range(4)]
    consumer = threading.Thread(target=consume)
    with Sampler(journal):
        for thread in (*threads, consumer):
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        consumer.join()
    books = journal.books()
    assert (books.delivered, books.dropped.get("full", 0)) == (sum(accepted), sum(refused))
    assert journal.written == journal.released
    journal.close()


def test_tidying_against_threads_that_append_loses_nothing(journal: Journal) -> None:
    running = [True] * 4
    out: list[bytes] = []

    def produce(thread: int) -> None:
        for number in range(300):
            assert put(journal, b"%d/%d" % (thread, number))
        running[thread] = False

    threads = [threading.Thread(target=produce, args=(thread,)) for thread in range(4)]
    with Sampler(journal):
        for thread in threads:
            thread.start()
        while any(running) or not journal.empty:
            out += drain(journal, 50)
            journal.tidy()
        for thread in threads:
            thread.join()
    assert sorted(out) == sorted(b"%d/%d" % (thread, number) for thread in range(4) for number in range(300))


def test_closing_while_others_append_take_and_acknowledge_loses_nothing(tmp_path: Path) -> None:
    for attempt in range(12):
        folder = DestinationFolder.of(tmp_path / str(attempt), "j", "there")
        journal = Journal("j", ROOMY, folder)
        for number in range(150):
            assert put(journal, b"%d" % number)
        out: list[bytes] = []
        stop = threading.Event()
        appended = [150]
        failures: list[BaseException] = []

        def produce() -> None:
            while not stop.is_set():
                assert put(journal, b"%d" % appended[0])
                appended[0] += 1

        def consume() -> None:
            try:
                while not stop.is_set():
                    batch = journal.take(ROOMY, 3)
                    out.extend(record.body for record in batch.records)
                    journal.acknowledge(batch)
                    journal.adopt()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=target) for target in (produce, produce_nothing, consume)]
        for thread in threads:
            thread.start()
        while len(out) < 5 * attempt:
            pass
        journal.close()
        after = journal.books()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert_closed(after)
        assert_closed(journal.books())
        assert min(after.pending, journal.books().pending) >= 0
        # Its lock is the process's until the end; here the folders are given up by hand.
        for writer in tuple(journal._writers):
            journal._close_writer(writer)
        other = Journal("j", ROOMY, folder)
        other.adopt()
        while not other.empty:
            out += drain(other)
            other.adopt()
        other.close()
        assert {int(body) for body in out} == set(range(appended[0]))


def produce_nothing() -> None:
    """Stand in for a thread that only looks on."""


def interrupted_by(handler: Callable[[str], None], work: Callable[[], None], *, times: int) -> int:
    """Run the work over and over while a signal handler runs on top of it at random moments."""
    handled = 0
    rng = random.Random(3)

    def on_signal(_: int, frame: FrameType | None) -> None:
        nonlocal handled
        handled += 1
        try:
            handler("" if frame is None else frame.f_code.co_filename)
        finally:  # not before: handlers on top of handlers would never end
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00005, 0.001))

    previous = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    try:
        while handled < times:
            work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return handled


def test_a_signal_handler_may_append_in_the_middle_of_append_rotation_and_acknowledgement(journal: Journal) -> None:
    appended: list[bytes] = []
    out: list[bytes] = []

    def add(body: bytes) -> None:
        assert put(journal, body)
        appended.append(body)

    def handler(_: str) -> None:
        for number in range(3):
            add(b"handler %d " % len(appended) + b"x" * 6000 * (number == 1))
        assert_sound(journal.books())

    def work() -> None:
        for _ in range(30):
            add(b"work %d " % len(appended) + b"x" * 800)
        batch = journal.take(ROOMY, 25)
        out.extend(record.body for record in batch.records)
        journal.acknowledge(batch)

    interrupted_by(handler, work, times=300)
    out += drain(journal)
    assert len(out) == len(set(out)) == len(appended)
    assert journal.written == journal.released
    assert_sound(journal.books())
    assert len(journal._own) <= 1  # none is left over that nobody will ever write to


def test_a_record_that_is_refused_for_lack_of_stack_is_not_kept_and_one_that_is_kept_is_not_refused(
    journal: Journal,
) -> None:
    def wake(calls: int = 5) -> None:
        if calls:
            wake(calls - 1)

    journal.wake = wake
    journal.wake_from(0)
    assert put(journal, b"{}")  # beginning a segment takes more stack than waking anybody
    kept, limit = 1, sys.getrecursionlimit()
    depth = len(__import__("inspect").stack())
    for room in range(2, 40):
        try:
            sys.setrecursionlimit(depth + room)
            kept += journal.append(*an_event())
        except RecursionError:
            pass
        finally:
            sys.setrecursionlimit(limit)
        assert journal.books().recorded == kept
    assert kept > 10
    assert len(drain(journal)) == kept


class Interrupt(BaseException):
    """What a Ctrl-C raises, without stopping the test run if it comes too late."""


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # an interrupt leaves a listing to the garbage collector
def test_interrupts_at_random_points_leave_the_books_closed_and_no_record_lost(journal: Journal) -> None:
    returned: list[bytes] = []
    begun = 0
    out: list[bytes] = []
    armed = False

    def handler(interrupted: str) -> None:
        # Only where it can reach the caller: in a finaliser or a warning filter it would be noise.
        if armed and Path(interrupted).name in ("_journal.py", "_segment.py", "_folders.py"):
            raise Interrupt

    def work() -> None:
        nonlocal armed, begun
        batch = None
        try:
            armed = True
            for _ in range(20):
                begun += 1
                body = b"%d " % begun + b"x" * 900
                journal.append("event", b"%036d" % begun, body, 1)
                returned.append(body)
            batch = journal.take(ROOMY, 15)
            journal.acknowledge(batch)
            armed = False
        except Interrupt:
            pass
        finally:
            armed = False
        if batch is not None and batch.records and batch.segment.acknowledged >= batch.end:
            out.extend(record.body for record in batch.records)
        assert_sound(journal.books())

    interrupted_by(handler, work, times=500)
    out += drain(journal)
    assert set(returned) <= set(out)
    assert len(out) == len(set(out))
    books = journal.books()
    assert_sound(books)
    assert (books.pending, books.delivered) == (0, len(out))
    assert all(int(first.split()[0]) < int(second.split()[0]) for first, second in pairwise(out))
