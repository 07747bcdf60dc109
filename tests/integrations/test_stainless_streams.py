"""Every way in which a stream can end: one event each, at that moment, with what came so far."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
from libraries import EVERY_LIBRARY
from model_server import ModelServer
from surface import KEY
from surface import StainlessSurface as Surface

import honeytrace
from honeytrace._span import live
from honeytrace.testing import Traces

pytestmark = EVERY_LIBRARY


@pytest.fixture
def asynchronous(library: str, server: ModelServer) -> Iterator[Surface]:
    """An asynchronous surface, to be used and closed in a loop of the test's own."""
    surface = import_module(f"{library}_surface").Surface("async", server)
    yield surface
    surface.close_loop()


def _exhaust(surface: Surface, stream: Any) -> None:
    surface.take(stream)


def _close_unread(surface: Surface, stream: Any) -> None:
    surface.wait(stream.close())


def _close_midway(surface: Surface, stream: Any) -> None:
    surface.take_words(stream, 2)
    surface.wait(stream.close())


def _close_the_response(surface: Surface, stream: Any) -> None:
    surface.take_words(stream, 2)
    surface.wait(stream.response.aclose() if surface.is_async else stream.response.close())


def _leave_the_block(surface: Surface, stream: Any) -> None:
    assert surface.enter(stream) is stream
    surface.take_words(stream, 2)
    surface.leave(stream)


def _close_twice(surface: Surface, stream: Any) -> None:
    _close_midway(surface, stream)
    surface.wait(stream.close())
    stream = None
    surface.collect()


def _exhaust_and_close(surface: Surface, stream: Any) -> None:
    surface.take(stream)
    surface.wait(stream.close())


ENDS: list[tuple[Callable[[Surface, Any], None], str | None, str | None]] = [
    (_exhaust, "Hello world", None),
    (_exhaust_and_close, "Hello world", None),
    (_close_unread, None, "closed"),
    (_close_midway, "Hello ", "closed"),
    (_close_the_response, "Hello ", "closed"),
    (_leave_the_block, "Hello ", "closed"),
    (_close_twice, "Hello ", "closed"),
]


@pytest.mark.parametrize(("end", "content", "outcome"), ENDS, ids=[end[0].__name__ for end in ENDS])
@pytest.mark.parametrize("model", ["plain", "endless"])
def test_a_stream_ends_once_with_what_came_so_far(
    surface: Surface, server: ModelServer, recorded: Traces, end: Any, content: str | None, outcome: str | None,
    model: str,
) -> None:  # fmt: skip
    if model == "endless" and outcome is None:
        server.release.set()
    stream = surface.stream(model)
    end(surface, stream)
    (event,) = recorded
    del stream
    surface.collect()
    assert len(recorded) == 1
    # What came may be more than was read: the connection hands over what is there.
    assert (event.outputs.get("content") or "").startswith(content or "")
    assert event.metadata.get("outcome") in ((None, outcome) if model == "plain" else (outcome,))
    assert event.error is None
    assert not live


def test_a_dropped_stream_is_recorded_when_it_is_collected_and_lets_the_connection_go(
    surface: Surface, server: ModelServer, recorded: Traces
) -> None:
    stream = surface.stream("endless")
    surface.take_words(stream, 2)
    seen = weakref.ref(stream)
    del stream
    surface.collect()
    assert seen() is None
    (event,) = recorded
    assert event.outputs["content"].startswith("Hel")
    assert event.metadata["outcome"] in ("closed", "abandoned")
    assert event.error is None
    assert server.gone.wait(10)


def test_a_stream_never_read_and_dropped_is_recorded(surface: Surface, recorded: Traces) -> None:
    stream = surface.stream("endless")
    del stream
    surface.collect()
    assert [event.metadata["outcome"] in ("closed", "abandoned") for event in recorded] == [True]


@pytest.mark.parametrize("model", ["midway", "drop", "garbage"])
def test_a_stream_that_fails_records_the_exception_that_the_program_sees(
    surface: Surface, recorded: Traces, model: str
) -> None:
    stream = surface.stream(model)
    seen = None
    try:
        surface.take(stream)
    except Exception as error:
        seen = error
    (event,) = recorded
    # An old client takes an error inside the stream for a chunk like others.
    assert seen is not None or model == "midway"
    assert event.error.startswith(type(seen).__name__ if seen else "busy: overloaded")
    assert (event.outputs.get("content") or "").startswith("Hello")
    assert event.metadata["chunks"] >= 4


def test_an_exception_in_the_block_of_a_stream_closes_it(surface: Surface, recorded: Traces) -> None:
    stream = surface.stream("endless")
    with pytest.raises(KeyError):
        try:
            surface.enter(stream)
            surface.take_words(stream, 2)
            raise KeyError("mine")
        finally:
            surface.leave(stream)
    (event,) = recorded
    assert (event.error, event.metadata["outcome"]) == (None, "closed")


def test_a_cancelled_task_records_what_came_and_that_it_was_cancelled(asynchronous: Surface, recorded: Traces) -> None:
    async def program() -> None:
        async with asynchronous.client:
            reading = asyncio.Event()

            async def read() -> None:
                words = 0
                async for event in await asynchronous.client_call(stream=True, model="endless"):
                    words += bool(asynchronous.delta(event))
                    if words == 3:
                        reading.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(reading.wait(), 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(program())
    (event,) = recorded
    assert event.error.startswith("CancelledError")
    assert event.metadata["outcome"] == "cancelled"
    assert event.outputs["content"].startswith("Hello ")


def test_a_call_cancelled_before_its_answer_is_an_event(
    asynchronous: Surface, server: ModelServer, recorded: Traces
) -> None:
    async def program() -> None:
        async with asynchronous.client:
            task = asyncio.create_task(asynchronous.client_call(model="slow"))
            while not server.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(program())
    assert [event.metadata["outcome"] for event in recorded] == ["cancelled"]


def test_a_coroutine_that_is_never_awaited_is_no_event(
    asynchronous: Surface, server: ModelServer, recorded: Traces
) -> None:
    asynchronous.client_call().close()
    assert len(recorded) == 0
    assert not live


@pytest.mark.parametrize("reader", ["iter_lines", "iter_bytes", "parse"])
def test_a_stream_read_as_lines_or_bytes_is_recorded_all_the_same(
    surface: Surface, recorded: Traces, reader: str
) -> None:
    manager = surface.opened(stream=True)
    response = surface.enter(manager)
    surface.take(surface.wait(response.parse()) if reader == "parse" else getattr(response, reader)())
    surface.leave(manager)
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert "outcome" not in event.metadata


def test_a_raw_response_streams_into_one_event(surface: Surface, recorded: Traces) -> None:
    stream = surface.parsed(surface.raw(stream=True))
    surface.take(stream)
    if not stream.response.is_closed:  # an old groq leaves it to the garbage collector
        del stream
        surface.collect()
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert "outcome" not in event.metadata


def test_an_error_inside_a_raw_stream_is_still_an_error(surface: Surface, recorded: Traces) -> None:
    raw = surface.raw("midway", stream=True)
    with suppress(surface.package.APIError):  # an old client takes it for a chunk like others
        surface.take(surface.parsed(raw))
    del raw  # old versions leave it to the garbage collector to close what failed
    surface.collect()
    (event,) = recorded
    assert "overloaded" in event.error


def test_leaving_the_stream_helper_early_ends_the_event_at_once(surface: Surface, recorded: Traces) -> None:
    manager = surface.helper("endless")
    stream = surface.enter(manager)
    surface.take_words(stream, 3)
    assert len(recorded) == 0
    surface.leave(manager)
    (event,) = recorded
    assert event.metadata["outcome"] == "closed"
    assert event.outputs["content"].startswith("Hel")


def test_a_decorated_generator_over_a_stream_is_one_event(surface: Surface, recorded: Traces) -> None:
    @honeytrace.trace("model")
    def words() -> Any:
        for event in surface.take(surface.stream(**surface.with_usage)):
            if surface.delta(event):
                yield surface.delta(event)

    assert "".join(words()) == "Hello world"
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert event.metadata["total_tokens"] == 18


def test_a_stream_open_at_the_end_of_the_process_is_recorded(library: str, server: ModelServer) -> None:
    surface: type[Surface] = import_module(f"{library}_surface").Surface
    program = f"""
import {library} as package, honeytrace
honeytrace.init(exporters=["console"], journal=False)
honeytrace.instrument("{library}")
client = package.{surface.kinds[0].__name__}(api_key="{KEY}", base_url="{surface.base_url(server)}", max_retries=0)
stream = client.{surface.resource}.create(stream=True, **{surface.arguments("endless")})
for _, chunk in zip(range({surface.lead + 2}), stream): pass
"""
    # No word about the exit code: some versions of Python crash on the client's open generator, with or without us.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert f"{surface.resource}.create" in done.stdout + done.stderr
    assert "chunks" in done.stdout + done.stderr
