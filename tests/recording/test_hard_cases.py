"""Cases at the edges: threads that come first together, hooks, enrichment with hostile values, long streams."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import numpy
import pytest

import honeytrace
from honeytrace import Event
from honeytrace.testing import Traces, capture


class Kept:
    """An exporter that keeps what it is given, after waiting a while."""

    def __init__(self, name: str, wait: float = 0.0) -> None:
        self.name = name
        self.wait = wait
        self.events: list[Event] = []

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        time.sleep(self.wait)
        self.events += [event for event in batch if event.kind == "event"]

    def close(self) -> None: ...


def test_a_secret_stays_hidden_when_many_threads_make_the_first_call_at_once() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(60):

            @honeytrace.trace
            def login(user: str, password: str) -> None: ...

            with capture() as traces:
                start = threading.Barrier(4)

                def work(login: Any = login, start: threading.Barrier = start) -> None:
                    start.wait()
                    login("ada", "hunter2")

                threads = [threading.Thread(target=work) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert len(traces) == 4
                assert not any(b"hunter2" in record.body for record in traces.records)
    finally:
        sys.setswitchinterval(interval)


def test_a_callable_without_a_signature_shows_nothing_where_inputs_are_restricted(traces: Traces) -> None:
    hidden = honeytrace.trace(max, capture_inputs=False)
    assert hidden("hunter2", "a") == "hunter2"
    assert traces.one("max").inputs == {}


@pytest.mark.parametrize("key", ["\ud800", 10**30, ("a", 1)])
def test_enrichment_under_any_key_keeps_the_event(traces: Traces, key: Any) -> None:
    @honeytrace.trace
    def work() -> None:
        honeytrace.enrich_span(metadata={key: "kept", "other": 1})

    work()
    assert traces.one("work").metadata["other"] == 1
    assert "kept" in traces.one("work").metadata.values()


def test_enrichment_is_bounded_like_everything_else(traces: Traces) -> None:
    @honeytrace.trace
    def work() -> str:
        honeytrace.enrich_span(metadata={f"key {number}": "x" * 400_000 for number in range(20)})
        return "done"

    began = time.thread_time()
    work()
    assert time.thread_time() - began < 1.0
    assert max(len(record.body) for record in traces.records) < 1_200_000
    assert traces.one("work").outputs == {"result": "done"}


class Hostile(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise ValueError(key)

    def __iter__(self) -> Iterator[str]:
        raise ValueError

    def __len__(self) -> int:
        raise ValueError


@pytest.mark.parametrize("values", [Hostile(), numpy.zeros(3), [1, 2]], ids=["mapping", "array", "list"])
def test_values_that_are_no_mapping_lose_neither_span_nor_session(traces: Traces, values: Any) -> None:
    with honeytrace.session("chat", user_properties=values):
        with honeytrace.span("block", inputs=values) as span:
            span.enrich(metadata=values)
        span = honeytrace.span("ended").start()
        span.end(outputs=values)
        honeytrace.log_event("logged", inputs=values, metadata=values)
    assert [event.event_name for event in traces] == ["block", "ended", "logged"]
    assert [session.event_name for session in traces.sessions] == ["chat"]


def test_no_call_is_lost_while_another_init_waits_for_an_exporter() -> None:
    slow, new = Kept("slow", wait=0.5), Kept("new")
    honeytrace.init(exporters=[slow])

    @honeytrace.trace
    def work(number: int) -> None: ...

    stop, calls = threading.Event(), 0

    def trace_on() -> None:
        nonlocal calls
        while not stop.is_set():
            work(calls)
            calls += 1
            time.sleep(0.002)

    thread = threading.Thread(target=trace_on)
    thread.start()
    time.sleep(0.05)
    honeytrace.init(exporters=[new])
    stop.set()
    thread.join()
    honeytrace.flush(5)
    seen = sorted(event.fields()["inputs"]["number"] for event in slow.events + new.events)
    assert seen == list(range(calls))


def test_a_reducer_is_given_every_chunk_of_a_long_stream(traces: Traces) -> None:
    @honeytrace.trace(reduce="".join)
    def words() -> Iterator[str]:
        for number in range(3_000):
            yield f"{number} "

    text = "".join(words())
    assert traces.one("words").outputs == {"result": text}
    assert "chunks_left_out" not in traces.one("words").metadata


def test_a_stream_says_how_many_chunks_it_left_out(traces: Traces) -> None:
    @honeytrace.trace
    def numbers() -> Iterator[int]:
        yield from range(3_000)

    assert sum(1 for _ in numbers()) == 3_000
    metadata = traces.one("numbers").metadata
    assert metadata["chunks"] == 3_000
    assert metadata["chunks_left_out"] == 3_000 - 2 * 512


def test_a_hook_sees_shared_parts_without_paying_for_each_path_to_them(traces: Traces) -> None:
    shared: Any = [1]
    for _ in range(40):
        shared = [shared, shared]

    @honeytrace.trace(process_inputs=lambda inputs: {"seen": type(inputs["tree"]).__name__})
    def work(tree: Any) -> None: ...

    began = time.thread_time()
    work(shared)
    assert time.thread_time() - began < 0.5
    assert traces.one("work").inputs == {"seen": "list"}


def test_the_text_of_an_exception_makes_no_events(traces: Traces) -> None:
    @honeytrace.trace
    def helper() -> str:
        return "told"

    class Told(Exception):
        def __str__(self) -> str:
            return helper()

    @honeytrace.trace
    def work() -> None:
        raise Told

    with pytest.raises(Told):
        work()
    assert [event.event_name for event in traces] == ["work"]
    assert traces.one("work").error == "Told: told"


def test_what_is_added_to_a_block_while_tracing_is_off_does_not_show_up_later() -> None:
    block = honeytrace.span("block")
    with block:
        block.enrich(metadata={"stale": True})
    with capture() as traces:
        with block:
            pass
    assert traces.one("block").metadata == {}


def test_configuration_changed_after_the_first_call_does_not_change_the_record(traces: Traces) -> None:
    config = {"model": "one"}

    @honeytrace.trace("model", config=config)
    def work(enrich: bool) -> None:
        if enrich:
            honeytrace.enrich_span(metadata={"a": 1})

    work(False)
    config["model"] = "two"
    work(True)
    assert [json.dumps(event.config) for event in traces] == ['{"model": "one"}'] * 2


def test_a_root_call_that_fails_leaves_its_error_on_the_session_as_well(traces: Traces) -> None:
    @honeytrace.trace
    def inner() -> None: ...

    @honeytrace.trace
    def work(below: bool) -> None:
        if below:
            inner()
        raise ValueError("why")

    for below in (False, True):
        with pytest.raises(ValueError):
            work(below)
    assert [session.metadata for session in traces.sessions] == [{"error": "ValueError: why"}] * 2


def test_a_stream_that_is_abandoned_when_the_event_loop_ends_is_closed_and_no_failure(traces: Traces) -> None:
    @honeytrace.trace("model")
    async def words() -> AsyncIterator[str]:
        for word in "an answer in pieces".split():
            await asyncio.sleep(0)
            yield word

    async def main() -> None:
        async for _ in words():
            break

    asyncio.run(main())
    event = traces.one("words")
    assert (event.error, event.metadata["outcome"], event.outputs) == (None, "closed", {"result": ["an"]})


def test_a_stream_that_is_cancelled_while_it_works_is_cancelled(traces: Traces) -> None:
    @honeytrace.trace("model")
    async def words() -> AsyncIterator[str]:
        yield "an"
        await asyncio.sleep(10)

    async def main() -> None:
        async def consume() -> None:
            async for _ in words():
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(consume())
        await started.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    event = traces.one("words")
    assert event.error.startswith("CancelledError")
    assert event.metadata["outcome"] == "cancelled"
