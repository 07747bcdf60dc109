"""Spans opened by hand that end in another context: where they started, they are current no longer."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

import honeytrace
from honeytrace.testing import Traces, assert_tree


@honeytrace.trace
def work() -> None:
    pass


def end_elsewhere(block: Any) -> None:
    contextvars.copy_context().run(block.end)


STARTS: dict[str, Callable[[], object]] = {
    "a decorated call": work,
    "a block": lambda: honeytrace.span("work").start().end(),
    "a logged event": lambda: honeytrace.log_event("work"),
    "work carried elsewhere": lambda: contextvars.Context().run(honeytrace.propagate(work)),
}


@pytest.mark.parametrize("starts", STARTS)
def test_what_starts_after_the_end_is_no_child_of_what_ended(starts: str, traces: Traces) -> None:
    with honeytrace.span("outer"):
        block = honeytrace.span("ended elsewhere").start()
        end_elsewhere(block)
        STARTS[starts]()
    assert_tree(traces, "outer\n  ended elsewhere\n  work")


def test_several_that_ended_elsewhere_are_passed_over_at_once(traces: Traces) -> None:
    with honeytrace.span("outer"):
        blocks = [honeytrace.span(name).start() for name in "abc"]
        for block in reversed(blocks):
            end_elsewhere(block)
        work()
    assert_tree(traces, "outer\n  a\n    b\n      c\n  work")


def test_a_session_of_its_own_follows_a_root_that_ended_elsewhere(traces: Traces) -> None:
    end_elsewhere(honeytrace.span("first").start())
    assert honeytrace.current_span() is None
    assert honeytrace.current_session() is None
    work()
    assert traces.one("first").session_id != traces.one("work").session_id


def test_enrichment_reaches_the_span_around_what_ended_elsewhere(traces: Traces) -> None:
    with honeytrace.span("outer"):
        end_elsewhere(honeytrace.span("inner").start())
        honeytrace.enrich_span(metadata={"seen": True})
        headers: dict[str, str] = {}
        honeytrace.inject(headers)
    assert traces.one("outer").metadata == {"seen": True}
    assert traces.one("inner").metadata == {}
    assert f"parent_id={traces.one('outer').event_id}" in headers["baggage"]


def test_an_end_in_a_task_of_its_own_is_noticed_where_the_span_started(traces: Traces) -> None:
    async def main() -> None:
        block = honeytrace.span("started here").start()

        async def end() -> None:
            block.end()

        await asyncio.shield(asyncio.create_task(end()))
        work()

    asyncio.run(main())
    assert_tree(traces, "started here\nwork")


@pytest.mark.parametrize("joins", ["session", "attach"])
def test_a_session_that_ended_elsewhere_can_go_on(joins: str, traces: Traces) -> None:
    session_id = "6f1c1e0a-3b52-4c1e-9a43-0d6f5a5d9a11"
    end_elsewhere(honeytrace.session("chat", session_id=session_id).start())
    again = honeytrace.session("chat", session_id=session_id)
    with again if joins == "session" else honeytrace.attach({"baggage": f"session_id={session_id}"}):
        work()
    assert traces.one("work").session_id == session_id
