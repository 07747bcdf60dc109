"""Decorate functions: plain, async, generators, methods, and one that fails.

    python examples/decorate_functions.py

Decorated functions are called as before and return what they returned before. Each call becomes one event
with its arguments by name, its result, its duration and its place in the tree.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import AsyncIterator, Iterator

import honeytrace
from honeytrace import cli

READINGS = "18.4 18.9 n/a 19.3 21.0 20.7"


# Bare: an event of type "chain", named after the function.
@honeytrace.trace
def parse(text: str) -> list[float]:
    values = []
    for word in text.split():
        try:
            values.append(to_celsius(word))
        except ValueError:
            continue  # the failed call is in the trace all the same
    return values


# The event type first: chain, model, tool or session; agent, llm, retriever and the like are understood.
@honeytrace.trace("tool")
def to_celsius(reading: str, *, digits: int = 1) -> float:
    return round(float(reading), digits)


# An async function: the event covers the time until its result is there.
@honeytrace.trace("tool", metadata={"unit": "°C"})
async def average(values: list[float]) -> float:
    return await asyncio.to_thread(statistics.fmean, values)


def largest_change(changes: list[float]) -> dict[str, float]:
    return {"largest": max(changes, key=abs), "count": len(changes)}


# A generator: the event covers the iteration and holds what was yielded; `reduce` may join it.
@honeytrace.trace("tool", reduce=largest_change)
def changes(values: list[float]) -> Iterator[float]:
    for before, after in itertools.pairwise(values):
        yield round(after - before, 1)


@honeytrace.trace("tool", reduce="".join)
async def report(values: list[float]) -> AsyncIterator[str]:
    yield f"{len(values)} readings, "
    yield f"{await average(values):.1f} °C on average"


class Station:
    """Methods are traced one by one; `@honeytrace.trace` above the class would trace all the public ones."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    @honeytrace.trace
    def nearest(cls, latitude: float, longitude: float) -> Station:
        return cls("harbour" if latitude > 0 else "cape")

    @property
    @honeytrace.trace("tool")
    def label(self) -> str:
        return self.name.title()

    # What must not be recorded is excluded by name; the value of an api_key is replaced without being told.
    @honeytrace.trace("tool", event_name="upload", exclude="values", config={"retries": 0})
    def send(self, values: list[float], api_key: str) -> str:
        return f"{len(values)} values accepted for {self.label}"


# What a call raises is recorded and passes through: the same exception object, from the same line.
@honeytrace.trace("tool")
def forecast(values: list[float]) -> float:
    slope, start = statistics.linear_regression(range(len(values)), values)
    if slope > 0.1:
        raise OverflowError(f"a rise of {slope:.2f} °C per reading cannot go on")
    return start + slope * len(values)


def main() -> None:
    honeytrace.init(exporters=["local"])
    with honeytrace.session("decorate functions") as session:
        values = parse(READINGS)
        print("changes:", *changes(values))
        print("report: ", asyncio.run(read(values)))
        station = Station.nearest(53.5, 9.9)
        print("upload: ", station.send(values, api_key="not-in-the-trace"))
        try:
            forecast(values)
        except OverflowError as error:
            print("error:  ", error)
    honeytrace.flush()
    print()
    cli.main(["show", session.session_id])


async def read(values: list[float]) -> str:
    return "".join([piece async for piece in report(values)])


if __name__ == "__main__":
    main()
