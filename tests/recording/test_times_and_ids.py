"""Times lie on one line per session, children inside their parents; ids are made here and never twice."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import honeytrace
from honeytrace.testing import CapturedEvent, Traces, capture

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def microseconds(milliseconds: float) -> int:
    return round(milliseconds * 1000)


def assert_times_fit(traces: Traces) -> None:
    events: dict[str, CapturedEvent] = {event.event_id: event for event in [*traces.sessions, *traces.events]}
    for event in events.values():
        start, end = microseconds(event.start_time), microseconds(event.end_time)
        assert microseconds(event.duration) == end - start >= 0
        if event.parent_id in events:
            parent = events[event.parent_id]
            assert microseconds(parent.start_time) <= start
            assert end <= microseconds(parent.end_time)


Tree = tuple[str, list["Tree"]]
trees = st.recursive(
    st.tuples(st.sampled_from(["call", "fail", "block", "stream", "async"]), st.just([])),
    lambda below: st.tuples(
        st.sampled_from(["call", "fail", "block", "session", "stream", "async"]), st.lists(below, max_size=3)
    ),
    max_leaves=12,
)


@honeytrace.trace
def call(below: list[Tree]) -> object:
    grow(below)
    return [None, below, {"kinds": [kind for kind, _ in below]}][len(below) % 3]


@honeytrace.trace
def fail(below: list[Tree]) -> None:
    grow(below)
    raise ValueError


@honeytrace.trace
def stream(below: list[Tree]):  # type: ignore[no-untyped-def]
    for tree in below:
        yield grow([tree])


@honeytrace.trace
async def wait(below: list[Tree]) -> None:
    grow(below)


def grow(forest: list[Tree]) -> None:
    for kind, below in forest:
        if kind == "call":
            call(below)
        elif kind == "fail":
            with pytest.raises(ValueError):
                fail(below)
        elif kind == "stream":
            list(stream(below))
        elif kind == "async":
            with pytest.raises(StopIteration):
                wait(below).send(None)  # no event loop: nothing in it waits
        else:
            with honeytrace.span("block") if kind == "block" else honeytrace.session("session"):
                grow(below)


@settings(max_examples=60, deadline=None)
@given(st.lists(trees, min_size=1, max_size=3))
def test_children_lie_inside_their_parents_in_any_tree(forest: list[Tree]) -> None:
    def size(forest: list[Tree]) -> int:
        return sum(1 + size(below) for _, below in forest)

    with capture() as traces:
        with honeytrace.session("all"):
            grow(forest)
        grow(forest)
    sessions = sum(session.event_name in ("all", "session") for session in traces.sessions)
    assert len(traces) + sessions == 2 * size(forest) + 1
    assert_times_fit(traces)


def test_children_in_tasks_and_threads_that_are_waited_for_lie_inside_their_parents(traces: Traces) -> None:
    @honeytrace.trace
    async def task(levels: int) -> None:
        await asyncio.sleep(0)
        if levels:
            await asyncio.gather(task(levels - 1), task(levels - 1))

    @honeytrace.trace
    def thread(levels: int) -> None:
        if levels:
            threads = [threading.Thread(target=honeytrace.propagate(thread), args=(levels - 1,)) for _ in range(2)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()

    asyncio.run(task(4))
    thread(3)
    assert len(traces) == 31 + 15
    assert_times_fit(traces)


def test_siblings_start_in_the_order_they_were_called(traces: Traces) -> None:
    with honeytrace.session("s"):
        for number in range(50):
            with honeytrace.span(str(number)):
                pass
    ordered = sorted(traces, key=lambda event: event.start_time)
    assert [event.event_name for event in ordered] == [str(number) for number in range(50)]


def test_the_start_is_the_wall_clock_s_and_the_duration_the_monotonic_clock_s(traces: Traces) -> None:
    before, began = time.time(), time.perf_counter()
    with honeytrace.span("block"):
        time.sleep(0.02)
    ended, after = time.perf_counter(), time.time()
    (event,) = traces
    assert before - 0.002 <= event.start_time / 1000 <= after
    assert 20 <= event.duration <= (ended - began) * 1000 + 0.001


class Clock:
    """The wall clock as honeytrace reads it, set by hand."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.offset_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stand between honeytrace and the system's clock, which a test must not set."""
    clock = Clock()
    for module in ("_span", "_blocks", "_tracer"):
        monkeypatch.setattr(f"honeytrace.{module}.time_ns", clock.time_ns)
    return clock


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_wall_clock_set_in_the_middle_of_a_session_moves_nothing_in_it(
    traces: Traces, clock: Clock, seconds: int
) -> None:
    @honeytrace.trace
    def work(levels: int) -> None:
        if levels:
            work(levels - 1)
        clock.offset_ns += seconds * 10**9

    before = time.time()
    with honeytrace.session("s"):
        work(2)
        with honeytrace.span("block"):
            work(1)
    work(1)
    after = time.time()
    assert_times_fit(traces)
    for event in traces:
        assert event.duration < (after - before) * 1000 + 1
    first = [event for event in traces if event.session_id == traces.sessions[0].session_id]
    assert all(before - 0.002 <= event.start_time / 1000 <= after for event in first)


def test_a_session_that_starts_after_the_clock_was_set_has_the_time_it_was_set_to(traces: Traces, clock: Clock) -> None:
    clock.offset_ns = -3600 * 10**9
    with honeytrace.session("s"):
        pass
    assert abs(traces.sessions[0].start_time / 1000 - (time.time() - 3600)) < 5


def test_ids_are_lower_case_uuids_of_version_4(traces: Traces) -> None:
    for _ in range(300):
        call([])
    with honeytrace.session("s") as session:
        assert UUID4.fullmatch(session.session_id)
    for event in traces:
        assert UUID4.fullmatch(event.event_id)
        assert UUID4.fullmatch(event.session_id)
    for column in range(36):
        if column not in (8, 13, 14, 18, 19, 23):
            assert len({event.event_id[column] for event in traces}) == 16


def logged(count: int) -> list[str]:
    return [str(honeytrace.log_event("e")) for _ in range(count)]


def test_a_hundred_thousand_ids_from_many_threads_are_unique() -> None:
    from honeytrace._ids import new_id

    seen: list[list[bytes]] = []

    def take() -> None:
        seen.append([new_id() for _ in range(10_000)])

    threads = [threading.Thread(target=take) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for some in seen for one in some}) == 100_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_parent_and_children_take_different_ids_after_a_fork(traces: Traces) -> None:
    def in_child(work: Callable[[], list[str]]) -> list[str]:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                os.write(write, " ".join(work()).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        return text.split()

    logged(3)  # the block of ids that a child inherits has begun
    children = [in_child(lambda: logged(300)) for _ in range(3)]
    mine = logged(300)
    everything = [one for some in (*children, mine) for one in some]
    assert len(everything) == len(set(everything)) == 1200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_it_to_its_parent_to_announce_the_session(traces: Traces) -> None:
    @honeytrace.trace
    def step() -> None:
        pass

    @honeytrace.trace
    def root() -> str:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                step()
                os.write(write, " ".join(record.kind for record in traces.records).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        return text

    assert root() == "event"
    assert [record.kind for record in traces.records] == ["session", "event"]
