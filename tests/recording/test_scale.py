"""Many threads, deep stacks, long runs: nothing lost, twice or left behind, and no cost out of proportion."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress

import pytest

import honeytrace
from honeytrace import Event
from honeytrace._bookkeeping import late
from honeytrace._diagnostics import failures, reset_failures
from honeytrace._span import live
from honeytrace.testing import capture


class Keeping:
    """An exporter that keeps what it gets."""

    name = "keeping"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        self.events += batch

    def close(self) -> None:
        pass


class Nowhere(Keeping):
    def export(self, batch: Sequence[Event], deadline: float) -> None:
        pass


@honeytrace.trace
def leaf(thread: int, number: int) -> int:
    return number


@honeytrace.trace
def branch(thread: int, number: int) -> None:
    for step in range(4):
        leaf(thread, number * 4 + step)


def assert_nothing_left_behind() -> None:
    assert live == {}
    assert not late
    assert honeytrace.current_session() is None


@pytest.fixture(autouse=True)
def nothing_from_before() -> None:
    live.clear()
    late.clear()
    reset_failures()


def test_fifty_thousand_events_of_a_hundred_threads_arrive_once_each_with_the_right_parents() -> None:
    keeping = Keeping()
    honeytrace.init(exporters=[keeping])
    ready = threading.Barrier(100)

    def work(thread: int) -> None:
        ready.wait()
        for number in range(100):
            branch(thread, number)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(100)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    result = honeytrace.flush(30)
    assert (result.ok, result.pending, result.dropped) == (True, 0, 0)
    assert honeytrace.stats().recorded == honeytrace.stats().delivered == 50_000

    events = {}
    announced: set[str] = set()
    for record in keeping.events:
        fields = record.fields()
        if record.kind == "session":
            announced.add(fields["session_id"])
        elif record.kind == "event":
            assert fields["event_id"] not in events
            assert fields["session_id"] in announced
            events[fields["event_id"]] = fields
    assert len(events) == 50_000
    assert len(announced) == 10_000
    places = Counter()
    for fields in events.values():
        inputs = fields["inputs"]
        places[fields["event_name"], inputs["thread"], inputs["number"]] += 1
        if fields["event_name"] == "leaf":
            parent = events[fields["parent_id"]]
            assert parent["session_id"] == fields["session_id"]
            assert parent["inputs"] == {"thread": inputs["thread"], "number": inputs["number"] // 4}
        else:
            assert fields["parent_id"] == fields["session_id"]
    assert len(places) == 50_000
    assert_nothing_left_behind()


def test_a_session_is_announced_first_when_many_threads_finish_its_first_events_at_once() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with capture() as traces:
            for _ in range(120):
                with honeytrace.span("root"):
                    ready = threading.Barrier(6)

                    def work(ready: threading.Barrier = ready) -> None:
                        ready.wait()
                        leaf(0, 0)

                    threads = [threading.Thread(target=honeytrace.propagate(work)) for _ in range(6)]
                    for one in threads:
                        one.start()
                    for one in threads:
                        one.join()
    finally:
        sys.setswitchinterval(before)
    announced: set[str] = set()
    early = 0
    for record in traces.records:
        if record.kind == "session":
            announced.add(record.event_id)
        elif record.kind == "event":
            early += record.fields()["session_id"] not in announced
    assert early == 0
    assert len(announced) == 120


class Bottom(Exception):
    pass


def test_an_exception_through_five_hundred_traced_frames_arrives_as_itself_in_less_than_a_second() -> None:
    error = Bottom("innermost")

    @honeytrace.trace
    def dig(levels: int) -> None:
        if not levels:
            raise error
        dig(levels - 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5_000)
    try:
        with capture() as traces:
            began = time.process_time()
            with pytest.raises(Bottom) as caught:
                dig(499)
            spent = time.process_time() - began
        assert caught.value is error
        assert len(traces) == 500
        assert {event.error for event in traces} == {"Bottom: innermost"}
        assert spent < 1.0
    finally:
        sys.setrecursionlimit(limit)
    assert_nothing_left_behind()


@pytest.fixture
def shallow() -> Iterator[None]:
    """A recursion limit that five hundred traced frames (two each) run into."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000 + len(__import__("inspect").stack()))
    yield
    sys.setrecursionlimit(limit)


def test_a_call_that_runs_out_of_stack_costs_less_than_a_second_and_leaves_nothing_behind(shallow: None) -> None:
    depth = 0

    @honeytrace.trace
    def dig(levels: int) -> None:
        nonlocal depth
        depth = max(depth, levels)
        dig(levels + 1)

    def fill(levels: int) -> None:
        if levels:
            fill(levels - 1)
        else:
            dig(1)

    for spare in range(12):  # so that the stack is full at another line of ours
        depth = 0
        with capture() as traces:
            began = time.process_time()
            with pytest.raises(RecursionError):
                fill(spare)
            spent = time.process_time() - began
            leaf(1, 1)  # takes along what could not be finished where it ended
            assert honeytrace.current_session() is None
        assert depth >= 400
        assert spent < 1.0
        assert traces.one("leaf").parent_id == traces.one("leaf").session_id
        digs = traces.named("dig")
        assert depth - 2 <= len(digs) <= depth + 1
        assert all(event.error.startswith("RecursionError") for event in digs)
        assert_nothing_left_behind()


@pytest.mark.parametrize("kind", ["generator", "async generator", "coroutine"])
def test_a_recursion_of_whatever_waits_leaves_nothing_behind_either(kind: str, shallow: None) -> None:
    @honeytrace.trace
    def generator(levels: int) -> Iterator[int]:
        if levels == 0:  # only there: each level would hand on what is below it
            yield levels
        yield from generator(levels + 1)

    @honeytrace.trace
    async def coroutine(levels: int) -> None:
        await coroutine(levels + 1)

    @honeytrace.trace
    async def async_generator(levels: int) -> AsyncIterator[int]:
        if levels == 0:
            yield levels
        async for deeper in async_generator(levels + 1):
            yield deeper

    async def drained() -> None:
        async for _ in async_generator(0):
            pass

    run = {
        "generator": lambda: list(generator(0)),
        "async generator": lambda: asyncio.run(drained()),
        "coroutine": lambda: asyncio.run(coroutine(0)),
    }[kind]

    def fill(levels: int) -> object:
        return fill(levels - 1) if levels else run()

    for spare in range(8):
        with capture() as traces:
            with pytest.raises(RecursionError):
                fill(spare)
            leaf(1, 1)
        events = [event for event in traces if event.event_name != "leaf"]
        assert events
        assert all(str(event.error).startswith("RecursionError") for event in events)
        assert_nothing_left_behind()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("enriches", [False, True])
@pytest.mark.internal_failure_expected
def test_what_finishes_at_the_end_of_the_stack_finishes_once_with_what_was_added_to_it(
    shallow: None, fails: bool, enriches: bool
) -> None:
    ran: list[int] = []
    enriched: list[int] = []

    @honeytrace.trace
    def dig(level: int) -> int:
        ran.append(level)
        if enriches:
            honeytrace.enrich_span(metadata={"level": level})
            if not failures["enriching a span"]:
                enriched.append(level)
        try:
            return dig(level + 1)
        except RecursionError:
            if fails:
                raise
            return level

    def fill(levels: int) -> None:
        if levels:
            fill(levels - 1)
        else:
            dig(1)

    for spare in range(12):
        ran.clear()
        enriched.clear()
        reset_failures()
        with capture() as traces:
            with suppress(RecursionError):
                fill(spare)
            leaf(1, 1)
        digs = {event.inputs["level"]: event for event in traces.named("dig")}
        assert len(digs) == len(traces.named("dig"))
        assert len([level for level in ran if level not in digs]) <= failures["starting a span on a full stack"]
        assert [level for level in enriched if digs[level].metadata.get("level") != level] == []
        assert not failures["finishing a span"]
        assert_nothing_left_behind()


def test_a_call_that_cannot_start_for_lack_of_stack_is_counted_and_said(
    shallow: None, caplog: pytest.LogCaptureFixture
) -> None:
    depth = 0

    @honeytrace.trace
    def dig(levels: list[int]) -> None:
        nonlocal depth
        depth = max(depth, len(levels))
        dig([*levels, 1])

    def fill(levels: int) -> None:
        if levels:
            fill(levels - 1)
        else:
            dig([1])

    missing = 0
    for spare in range(12):
        depth = 0
        with capture() as traces:
            with pytest.raises(RecursionError):
                fill(spare)
            leaf(1, 1)
        missing += max(0, depth - len(traces.named("dig")))
    assert missing > 0
    assert failures["starting a span on a full stack"] >= missing
    # Once; again only where the stack was too full to say it to all handlers of the log.
    assert 1 <= sum("full stack" in record.message for record in caplog.records) <= 3


def test_the_stack_running_out_in_user_code_still_raises_the_user_s_own_exception_object() -> None:
    raised: list[RecursionError] = []

    def bottomless() -> None:
        bottomless()

    @honeytrace.trace
    def dig(levels: int) -> None:
        if levels:
            dig(levels - 1)
        else:
            try:
                bottomless()
            except RecursionError as error:
                raised.append(error)
                raise

    with capture() as traces:
        with pytest.raises(RecursionError) as caught:
            dig(200)
    assert caught.value is raised[0]
    assert len(traces) == 201
    assert_nothing_left_behind()


def test_a_late_span_ends_no_later_than_the_one_around_it(shallow: None) -> None:
    @honeytrace.trace
    def dig() -> None:
        dig()

    with capture() as traces:
        with honeytrace.span("around"):
            with pytest.raises(RecursionError):
                dig()
        leaf(1, 1)
    events = {event.event_id: event for event in traces}
    for event in traces.named("dig"):
        parent = events.get(event.parent_id)
        if parent is not None:
            assert event.end_time <= parent.end_time


def test_memory_does_not_grow_with_the_number_of_calls() -> None:
    honeytrace.init(exporters=[Nowhere()])

    @honeytrace.trace
    def call(number: int) -> int:
        return inner(number)

    @honeytrace.trace
    def inner(number: int) -> int:
        if number % 100 == 0:
            honeytrace.enrich_span(metadata={"number": number})
        return number

    def run(count: int) -> int:
        for number in range(count):
            call(number)
            if number % 5_000 == 0:
                honeytrace.flush(10)
        assert honeytrace.flush(10)
        gc.collect()
        return sys.getallocatedblocks()

    run(2_000)
    before = run(2_000)
    assert run(50_000) - before < 2_000  # one block kept per call would be 100,000
    assert_nothing_left_behind()


def test_what_fails_is_left_behind_no_more_than_what_succeeds() -> None:
    @honeytrace.trace
    def fail(number: int) -> None:
        raise Bottom

    @honeytrace.trace
    def produce() -> Iterator[int]:
        yield 1
        yield 2

    with capture() as traces:
        for number in range(1_000):
            with pytest.raises(Bottom):
                fail(number)
            next(produce())  # dropped half-way
            with honeytrace.session("s"), honeytrace.suppress(), honeytrace.span("b"):
                pass
        gc.collect()
    assert len(traces) == 2_000
    assert_nothing_left_behind()
