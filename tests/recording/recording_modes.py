"""The ways honeytrace can be in a program: off, suppressed, sampled out, on, and failing in each of its parts.

`MODES` parametrises a test; `mode.active()` is the block in which a traced callable is used, `mode.trace` the
decorator to use in it. A failing mode carries the mark that allows internal failures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import honeytrace
from honeytrace._span import Recorder
from honeytrace.testing import Traces, capture


class Broken(Exception):
    """What the broken parts of honeytrace raise. User code must never see it."""


def broken(*args: object, **kwargs: object) -> Any:
    raise Broken("inside honeytrace")


class BrokenSampler:
    keep = staticmethod(broken)


class BrokenRedactor:
    is_secret = staticmethod(broken)


class Never:
    def keep(self, session_id: str) -> bool:
        return False


def plain(target: Any = None, /, **options: object) -> Any:
    """Stands in for trace(), and leaves everything as it is."""
    return (lambda function: function) if target is None or isinstance(target, str) else target


def with_broken_hooks(target: Any = None, /, **options: object) -> Any:
    given = {"process_inputs": broken, "process_outputs": broken, "reduce": broken, **options}
    decorator = honeytrace.trace(**given)
    return decorator if target is None or isinstance(target, str) else decorator(target)


@contextmanager
def _off() -> Iterator[Traces]:
    yield Traces()


@contextmanager
def _suppressed() -> Iterator[Traces]:
    with capture() as traces, honeytrace.suppress():
        yield traces


@contextmanager
def _without(*parts: str) -> Iterator[Traces]:
    """Recording with parts of the recorder replaced by one that raises."""
    with capture() as traces:
        recorder = honeytrace.default_tracer.recorder
        for part in parts:
            setattr(recorder, part, broken)
        yield traces


class BrokenClock(Recorder):
    """Fails where a session starts, in the middle of starting a span."""

    __slots__ = ()
    new_anchor = broken


@contextmanager
def _without_clock() -> Iterator[Traces]:
    with capture() as traces:
        honeytrace.default_tracer.recorder.__class__ = BrokenClock
        yield traces


@dataclass(frozen=True)
class Mode:
    name: str
    active: Callable[[], Any]
    records: bool = False
    trace: Callable[..., Any] = honeytrace.trace

    def __str__(self) -> str:
        return self.name


DISABLED = Mode("disabled", _off)
ENABLED = Mode("enabled", capture, records=True)
QUIET = [
    DISABLED,
    Mode("suppressed", _suppressed),
    Mode("sampled_out", lambda: capture(sampler=Never())),
    ENABLED,
]
FAILING = [
    Mode("broken_sampler", lambda: capture(sampler=BrokenSampler()), records=True),
    Mode("broken_redactor", lambda: capture(redact=BrokenRedactor()), records=True),
    Mode("broken_submit", lambda: _without("submit")),
    Mode("broken_snapshot", lambda: _without("snapshot", "fields")),
    Mode("broken_clock", _without_clock),
    Mode("broken_hooks", capture, records=True, trace=with_broken_hooks),
]
MODES = [
    *(pytest.param(mode, id=mode.name) for mode in QUIET),
    *(pytest.param(mode, id=mode.name, marks=pytest.mark.internal_failure_expected) for mode in FAILING),
]
