"""What the tests of frameworks have in common: recording several libraries at once, and counting tokens."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import honeytrace
from honeytrace.integrations._steps import frameworks
from honeytrace.testing import CapturedEvent, Traces, capture, draw

KEY = "sk-secret-0123456789"
TOKENS = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cache_read_input_tokens": 4,
          "reasoning_tokens": 3}  # fmt: skip


def tidied() -> Iterator[None]:
    """A fixture, for libraries that leave loops and clients open: collect them while nobody minds their warnings."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@contextmanager
def recording(*libraries: str, **options: Any) -> Iterator[Traces]:
    """Instrument these libraries and capture what they record; nothing may be left open."""
    for framework in frameworks:  # what a test before this one left behind when it failed
        framework.steps.clear()
    honeytrace.instrument(*libraries, **options)
    try:
        with capture() as traces:
            yield traces
            left = [step for framework in frameworks for step in framework.steps]
            assert (traces.open_spans(), left) == ([], [])
    finally:
        honeytrace.uninstrument()


def counting(events: Iterable[CapturedEvent]) -> list[str]:
    """The names of the events that count tokens, one for each."""
    return [str(event.event_name) for event in events if "total_tokens" in event.metadata]


def tree(events: Iterable[CapturedEvent]) -> list[str]:
    """The drawing of a trace, line by line, without types: names indented by two for each level."""
    return [
        line.replace("    ", "  ").rpartition(" (")[0] + " !" * line.endswith("!") for line in draw(events).split("\n")
    ]
