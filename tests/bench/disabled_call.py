"""A decorated call while tracing is off: before init(), disabled, under suppress(), after shutdown().

OpenTelemetry stands for a decorator by hand without a provider, which asks is_recording() before it encodes.
"""

from __future__ import annotations

import asyncio
from functools import partial, wraps

from _measure import NoExport, Plain, Row, Run, each, each_awaited, over_plain, rounds, show
from opentelemetry import trace as api

import honeytrace

GOAL = 1.0


class Off(Plain):
    """Honeytrace as it is before init()."""

    def trace(self, function):
        return honeytrace.trace(function, event_type="tool")

    def drain(self, events: int) -> None:
        assert honeytrace.stats().recorded == 0, "a call was recorded while tracing was off"


class NoProvider(Plain):
    """OpenTelemetry without a provider."""

    def trace(self, function):
        start, name = api.get_tracer("bench").start_as_current_span, function.__name__

        @wraps(function)
        def wrapper(*args, **kwargs):
            with start(name) as span:
                assert not span.is_recording()
                return function(*args, **kwargs)

        @wraps(function)
        async def awaiting(*args, **kwargs):
            with start(name) as span:
                assert not span.is_recording()
                return await function(*args, **kwargs)

        return awaiting if function.__code__.co_flags & 0x80 else wrapper


def called(trace) -> Run:
    @trace
    def search(query: str, limit: int = 5) -> str:
        return query

    return each(search)


def called_method(trace) -> Run:
    class Index:
        @trace
        def search(self, query: str, limit: int = 5) -> str:
            return query

    return each(Index().search)


def awaited(loop: asyncio.AbstractEventLoop, trace) -> Run:
    @trace
    async def search(query: str, limit: int = 5) -> str:
        return query

    return each_awaited(loop, search)


def main() -> list[Row]:
    contenders = (Plain(), Off(), NoProvider())
    loop = asyncio.new_event_loop()

    def measure(what: str, build) -> Row:
        times = rounds(contenders, build, str, calls=2000, repeat=45, events=0)
        return over_plain(f"disabled {what}", times, GOAL)

    try:
        rows = [
            measure("call, before init()", called),
            measure("method, before init()", called_method),
            measure("async call, before init()", partial(awaited, loop)),
        ]
        honeytrace.init(exporters=[NoExport()], enabled=False)
        rows.append(measure("call, init(enabled=False)", called))
        honeytrace.init(exporters=[NoExport()], enabled=True)
        with honeytrace.suppress():
            rows.append(measure("call, under suppress()", called))
        honeytrace.shutdown()
        rows.append(measure("call, after shutdown()", called))
    finally:
        loop.close()
    return rows


if __name__ == "__main__":
    show(main())
