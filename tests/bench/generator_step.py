"""One step of a traced generator, over the same step untraced; start, finish and encoding are spread out.

OpenTelemetry stands for the usual decorator by hand: the span open across the yields, the chunks in a list.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from time import thread_time

from _measure import Honeytrace, OpenTelemetry, Plain, Row, Run, over_plain, rounds, show

import honeytrace

STEPS = 1_000
GOAL = 0.3


class ByHand(OpenTelemetry):
    """OpenTelemetry for generators."""

    def trace(self, function):
        def wrapper(chunks):
            with self.start(function.__name__) as span:
                span.set_attribute("event_type", "model")
                span.set_attribute("inputs", json.dumps({"count": len(chunks)}))
                kept = []
                for chunk in function(chunks):
                    kept.append(chunk)
                    yield chunk
                span.set_attribute("outputs", json.dumps({"result": kept}))

        async def awaiting(chunks):
            with self.start(function.__name__) as span:
                span.set_attribute("event_type", "model")
                span.set_attribute("inputs", json.dumps({"count": len(chunks)}))
                kept = []
                async for chunk in function(chunks):
                    kept.append(chunk)
                    yield chunk
                span.set_attribute("outputs", json.dumps({"result": kept}))

        return awaiting if function.__code__.co_flags & 0x200 else wrapper


class WithoutInputs(Honeytrace):
    """The chunks come in as an argument, which is no part of a step."""

    def trace(self, function):
        return honeytrace.trace(function, event_type="model", exclude=("chunks",))


def stepped(trace) -> Run:
    @trace
    def stream(chunks: list[object]):
        for chunk in chunks:
            yield chunk

    def run(arguments) -> float:
        began = thread_time()
        for chunks in arguments:
            for _ in stream(chunks):
                pass
        return thread_time() - began

    return run


def stepped_async(loop: asyncio.AbstractEventLoop, trace) -> Run:
    @trace
    async def stream(chunks: list[object]):
        for chunk in chunks:
            yield chunk

    async def run(arguments) -> float:
        began = thread_time()
        for chunks in arguments:
            async for _ in stream(chunks):
                pass
        return thread_time() - began

    return lambda arguments: loop.run_until_complete(run(arguments))


def words(index: int) -> list[object]:
    return [f" word{number}" for number in range(STEPS)]


def deltas(index: int) -> list[object]:
    return [{"delta": {"content": f" word{number}"}, "index": 0} for number in range(STEPS)]


def main() -> list[Row]:
    contenders = (Plain(), WithoutInputs(), ByHand())
    loop = asyncio.new_event_loop()
    awaited = partial(stepped_async, loop)
    try:
        rows = []
        for what, build, make, goal in (
            ("generator step, str", stepped, words, GOAL),
            ("generator step, dict", stepped, deltas, None),
            ("async generator step, str", awaited, words, None),
            ("async generator step, dict", awaited, deltas, None),
        ):
            times = rounds(contenders, build, make, calls=4, repeat=45, events=1, in_session=True)
            rows.append(over_plain(what, [[time / STEPS for time in one] for one in times], goal))
    finally:
        loop.close()
    return rows


if __name__ == "__main__":
    show(main())
