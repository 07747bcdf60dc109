"""What the benchmarks share: three contenders, interleaved rounds, ratios, one table.

What is measured is the CPU of the calling thread: recording, encoding and hand-over. Queues are emptied and
garbage is collected between the timed stretches, so that no contender pays for another or for its background
thread; and no figure counts unless every event arrived at its no-op exporter.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import wraps
from statistics import median
from time import thread_time
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import honeytrace

for _name in [name for name in os.environ if name.startswith(("HH_", "OTEL_"))]:
    del os.environ[_name]  # settings of whoever runs this are no part of what is measured

Run = Callable[[Sequence[Any]], float]
"""Make one call per argument; return the CPU seconds of this thread."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. Times are microseconds per call; `goal`, if any, judges `figure`."""

    what: str
    unit: str  # "of it": a part of OpenTelemetry's cost; "us": microseconds over plain
    figure: float
    least: float
    plain: float
    ours: float
    theirs: float | None
    goal: float | None


class Plain:
    """The functions as they are."""

    def trace(self, function: Any) -> Any:
        return function

    def session(self) -> AbstractContextManager[object]:
        return nullcontext()

    def drain(self, events: int) -> None:
        pass


class NoExport:
    """Where honeytrace's events end."""

    name = "nowhere"

    def __init__(self) -> None:
        self.events = 0

    def export(self, batch: Sequence[honeytrace.Event], deadline: float) -> None:
        self.events += sum(event.kind == "event" for event in batch)

    def close(self) -> None:
        pass


class Honeytrace:
    """As users have it: default settings, delivery in the background."""

    def __init__(self) -> None:
        self.exporter = NoExport()
        self.expected = 0
        honeytrace.init(exporters=[self.exporter], enabled=True, sample_rate=1.0)

    def trace(self, function: Any) -> Any:
        return honeytrace.trace(function, event_type="tool")

    def session(self) -> AbstractContextManager[object]:
        return honeytrace.session("bench")

    def drain(self, events: int) -> None:
        """Deliver everything, and insist that it was as many events as calls."""
        self.expected += events
        flushed, stats = honeytrace.flush(10), honeytrace.stats()
        assert flushed and not stats.pending and not stats.dropped and not stats.set_aside, stats
        counts = {self.exporter.events, stats.delivered, stats.recorded, self.expected}
        assert len(counts) == 1, (stats, self.exporter.events, self.expected)


class NoSpanExport(SpanExporter):
    """Where OpenTelemetry's spans end."""

    spans = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class OpenTelemetry:
    """The SDK with a batch processor, and a decorator written by hand: names prepared, facts as JSON text.

    The session id is a constant, which costs less than in life; a session is a span around the calls.
    """

    def __init__(self) -> None:
        self.exporter, self.expected = NoSpanExport(), 0
        self.provider = TracerProvider()
        # The batch size stays at its default, and rounds below it: a full batch would wake the other thread.
        self.provider.add_span_processor(BatchSpanProcessor(self.exporter, max_queue_size=100_000))
        self.start = self.provider.get_tracer("bench").start_as_current_span

    def trace(self, function: Any) -> Any:
        start, dumps, name = self.start, json.dumps, function.__name__
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = dict(zip(reversed(names), reversed(function.__defaults__ or ()), strict=False))
        session = "0b0d3a52-6d06-4a4c-a1f6-6cb9a2f4f4a1"

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with start(name) as span:
                span.set_attribute("event_type", "tool")
                span.set_attribute("session_id", session)
                span.set_attribute("inputs", dumps({**defaults, **dict(zip(names, args)), **kwargs}))
                result = function(*args, **kwargs)
                span.set_attribute("outputs", dumps({"result": result}))
                return result

        @wraps(function)
        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            with start(name) as span:
                span.set_attribute("event_type", "tool")
                span.set_attribute("session_id", session)
                span.set_attribute("inputs", dumps({**defaults, **dict(zip(names, args)), **kwargs}))
                result = await function(*args, **kwargs)
                span.set_attribute("outputs", dumps({"result": result}))
                return result

        return awaiting if function.__code__.co_flags & 0x80 else wrapper

    def session(self) -> AbstractContextManager[object]:
        self.expected += 1
        return self.start("bench")

    def drain(self, events: int) -> None:
        self.expected += events
        assert self.provider.force_flush()
        assert self.exporter.spans == self.expected, (self.exporter.spans, self.expected)


def each(call: Callable[[Any], object]) -> Run:
    """Call it with one argument after the other."""

    def run(arguments: Sequence[Any]) -> float:
        began = thread_time()
        for argument in arguments:
            call(argument)
        return thread_time() - began

    return run


def each_awaited(loop: Any, call: Callable[[Any], Coroutine[Any, Any, object]]) -> Run:
    """Await it with one argument after the other, in one task of the event loop."""

    async def run(arguments: Sequence[Any]) -> float:
        began = thread_time()
        for argument in arguments:
            await call(argument)
        return thread_time() - began

    return lambda arguments: loop.run_until_complete(run(arguments))


def rounds(
    contenders: Sequence[Any],
    build: Callable[[Any], Run],
    make: Callable[[int], object],
    *,
    calls: int,
    repeat: int,
    events: int,
    in_session: bool = False,
) -> list[list[float]]:
    """Time every contender once a round, each starting a round in turn; microseconds per call, by contender.

    `make(index)` builds an argument: every call gets one that nobody encoded before. `events` is the number
    of events of one call. The first two rounds warm up.
    """
    runs = [build(contender.trace) for contender in contenders]
    times: list[list[float]] = [[] for _ in contenders]
    gc.collect()
    gc.freeze()
    many = len(contenders)
    for number in range(repeat + 2):
        for which in ((number + place) % many for place in range(many)):
            arguments = [make(index) for index in range(calls)]
            gc.collect()
            with contenders[which].session() if in_session else nullcontext():
                seconds = runs[which](arguments)
            contenders[which].drain(calls * events)
            if number >= 2:
                times[which].append(seconds / calls * 1e6)
    gc.unfreeze()
    return times


def against(what: str, times: Sequence[Sequence[float]], goal: float | None) -> Row:
    """Our part of OpenTelemetry's cost: the median of the rounds' ratios, and the ratio of the minima."""
    plain, ours, theirs = times
    return Row(
        what=what,
        unit="of it",
        figure=median(mine / other for mine, other in zip(ours, theirs, strict=True)),
        least=min(ours) / min(theirs),
        plain=median(plain),
        ours=median(ours),
        theirs=median(theirs),
        goal=goal,
    )


def over_plain(what: str, times: Sequence[Sequence[float]], goal: float | None) -> Row:
    """What is added to the plain call: the rounds' median difference, that of the minima."""
    plain, ours = times[:2]
    return Row(
        what=what,
        unit="us",
        figure=median(mine - without for mine, without in zip(ours, plain, strict=True)),
        least=min(ours) - min(plain),
        plain=median(plain),
        ours=median(ours),
        theirs=median(times[2]) if len(times) > 2 else None,
        goal=goal,
    )


_LINE = "{:<44} {:>9} {:>10} {:>9} {:>8} {:>9} {:>9} {:>8}  {}"


def table(rows: Sequence[Row], tolerance: float = 0.0) -> list[str]:
    """The rows as lines of text, each with what it is judged to be."""
    head = ("", "plain", "honeytrace", "OTel SDK", "x plain", "figure", "of minima", "goal", "")
    return [_LINE.format(*head)] + [
        _LINE.format(
            row.what,
            _time(row.plain),
            _time(row.ours),
            "" if row.theirs is None else _time(row.theirs),
            f"{row.ours / row.plain:.1f}",
            _figure(row.figure, row.unit),
            _figure(row.least, row.unit),
            "" if row.goal is None else _figure(row.goal, row.unit),
            verdict(row, tolerance),
        )
        for row in rows
    ]


def verdict(row: Row, tolerance: float) -> str:
    """Say met, not met, or nothing where there is no goal."""
    if row.goal is None or row.figure <= row.goal:
        return "" if row.goal is None else "met"
    return "not met" if row.figure > row.goal * (1 + tolerance) else "not met, within tolerance"


def _time(microseconds: float) -> str:
    return f"{microseconds:.2f} us" if microseconds < 1000 else f"{microseconds / 1000:.2f} ms"


def _figure(value: float, unit: str) -> str:
    return f"{value:.2f} us" if unit == "us" else f"1/{1 / value:.1f}"


def show(rows: Sequence[Row]) -> None:
    """Print the table of one program; for run_all (--json) the rows."""
    print(json.dumps([asdict(row) for row in rows]) if "--json" in sys.argv else "\n".join(table(rows)))
