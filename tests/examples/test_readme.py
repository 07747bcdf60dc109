"""The README's first examples run as they stand there, and record what it says."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import honeytrace
from honeytrace.testing import Traces, assert_tree

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def example(of: str) -> str:
    """The block of Python that holds a text."""
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if of in block]
    return str(found)


def first_minutes() -> dict[str, Any]:
    names: dict[str, Any] = {"threading": threading, "honeytrace": honeytrace, "__name__": "first"}
    exec(compile(example("async def answer"), "README.md", "exec"), names)
    return names


def test_the_first_example_runs_and_is_one_tree(traces: Traces) -> None:
    assert asyncio.run(first_minutes()["answer"]("why?")) == "an answer in pieces"
    assert_tree(
        traces,
        """
        answer (chain)
        ├── search (tool)
        └── write (model)
    """,
    )
    assert traces.one("answer").feedback == {"rating": 5}


def test_the_threads_of_the_example_belong_to_the_span_they_were_started_in(traces: Traces) -> None:
    names = first_minutes()
    with honeytrace.span("here") as span:
        exec(compile(example("propagate(search)"), "README.md", "exec"), names)
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join(10)
    assert [event.parent_id for event in traces.named("search")] == [span.event_id] * 3
    assert len(names["results"]) == 2
