"""Every way in which a stream of parsed items can end: one event each, at that moment, with what came so far."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from method_surfaces import QUIET, Surface
from model_server import OURS, ModelServer

import honeytrace
from honeytrace._span import live
from honeytrace.testing import Traces

pytestmark = QUIET


def _read_all(client: Surface, stream: Any) -> None:
    client.take(stream)


def _read_all_and_close(client: Surface, stream: Any) -> None:
    client.take(stream)
    client.shut(stream)


def _close_midway(client: Surface, stream: Any) -> None:
    client.take(stream, 3)
    client.shut(stream)


def _close_midway_twice(client: Surface, stream: Any) -> None:
    _close_midway(client, stream)
    client.shut(stream)


def _drop_midway(client: Surface, stream: Any) -> None:
    client.take(stream, 3)


ENDS = [_read_all, _read_all_and_close, _close_midway, _close_midway_twice, _drop_midway]


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__.strip("_") for end in ENDS])
def test_a_stream_ends_once_with_what_came_so_far(
    client: Surface, server: ModelServer, traced: Traces, end: Callable[[Surface, Any], None]
) -> None:
    whole = end in (_read_all, _read_all_and_close)
    stream = client.stream("plain" if whole else "endless")
    end(client, stream)
    if end is not _drop_midway:
        assert len(traced) == 1
    del stream
    client.collect()
    (event,) = traced
    assert event.error is None
    assert event.metadata.get("outcome") in ((None,) if whole else ("closed", "abandoned"))
    content = event.outputs.get("content") or ""
    assert content == "Hello world" if whole else "Hello world".startswith(content)
    assert (event.metadata["chunks"] >= 4) if whole else (event.metadata["chunks"] == 3)
    assert not live


def test_leaving_the_block_of_a_stream_ends_it(client: Surface, server: ModelServer, traced: Traces) -> None:
    stream = client.stream("endless")
    if not hasattr(stream, "__aexit__" if client.is_async else "__exit__"):
        client.shut(stream)
        pytest.skip("this stream has no block")
    client.take(stream, 3)
    client.leave(stream)
    (event,) = traced
    assert (event.error, event.metadata["outcome"], event.metadata["chunks"]) == (None, "closed", 3)


def test_a_stream_that_is_dropped_goes_and_lets_its_connection_go(
    client: Surface, server: ModelServer, traced: Traces
) -> None:
    stream = client.stream("endless")
    client.take(stream, 3)
    seen = weakref.ref(stream)
    del stream
    client.collect()
    assert seen() is None
    assert server.gone.wait(10)


def test_a_stream_that_breaks_off_records_the_exception_that_the_program_sees(client: Surface, traced: Traces) -> None:
    stream = client.stream("drop")
    with pytest.raises(Exception) as caught:
        client.take(stream)
    (event,) = traced
    assert event.error.startswith(type(caught.value).__name__)
    assert "Hello world".startswith(event.outputs.get("content") or "")
    assert "outcome" not in event.metadata


def test_an_error_inside_a_stream_is_recorded_if_the_client_raises_it(client: Surface, traced: Traces) -> None:
    raised: Exception | None = None
    try:
        client.take(client.stream("midway"))
    except Exception as error:
        raised = error
    (event,) = traced
    if raised is None:
        assert event.error is None
        pytest.skip("this protocol has none, or this version of the client does not look")
    assert event.error.startswith(type(raised).__name__)
    assert event.metadata["chunks"] >= 2


def test_a_stream_never_started_that_has_sent_nothing_is_no_event(
    client: Surface, server: ModelServer, traced: Traces
) -> None:
    stream = client.stream("endless")
    sent = len(server.requests)
    del stream
    client.collect()
    assert len(traced) == sent
    assert not live


def test_a_stream_made_in_a_span_and_read_elsewhere_belongs_to_that_span(client: Surface, traced: Traces) -> None:
    if client.provider in ("google", "cohere"):
        pytest.skip("this client's stream begins where it is read")

    @honeytrace.trace
    def ask() -> Any:
        return client.stream()

    @honeytrace.trace
    def read(stream: Any) -> None:
        client.take(stream)

    read(ask())
    events = {event.event_name: event for event in traced}
    assert events[client.stream_name].parent_id == events["ask"].event_id


def test_reading_a_stream_leaves_the_reader_s_span_current(client: Surface, traced: Traces) -> None:
    with honeytrace.span("reader") as reader:
        stream = client.stream()
        client.take(stream, 2)
        assert honeytrace.current_span().event_id == reader.event_id
        client.take(stream)
        assert honeytrace.current_span().event_id == reader.event_id


def test_a_cancelled_task_records_what_came_and_that_it_was_cancelled(
    client: Surface, server: ModelServer, traced: Traces
) -> None:
    if not client.is_async or not client.cancels:
        pytest.skip("only tasks can be cancelled, and only where the client lets go of the event loop")

    async def read(stream: Any, reading: asyncio.Event) -> None:
        count = 0
        async for _ in stream:
            count += 1
            if count == 3:
                reading.set()

    async def program() -> None:
        reading = asyncio.Event()
        task = asyncio.create_task(read(stream, reading))
        await asyncio.wait_for(reading.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    stream = client.stream("endless")
    client.wait(program())
    (event,) = traced
    assert event.error.startswith("CancelledError")
    assert event.metadata["outcome"] == "cancelled"
    assert event.outputs["content"].startswith("Hel")


def test_an_exception_thrown_into_a_generator_reaches_it(client: Surface, server: ModelServer, traced: Traces) -> None:
    if client.library != "ollama":
        pytest.skip("no generator, or one of the client's around the one that is followed")
    stream = client.stream("endless")
    client.take(stream, 3)
    with pytest.raises(KeyError):
        client.wait(stream.athrow(KeyError("mine")) if client.is_async else stream.throw(KeyError("mine")))
    (event,) = traced
    assert event.error.startswith("KeyError")


def test_a_program_that_ends_with_a_stream_open_ends_as_ever(
    client: Surface, server: ModelServer, tmp_path: Path
) -> None:
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import honeytrace, method_surfaces
TRACED = len(sys.argv) > 1
if TRACED:
    honeytrace.init(exporters=["console"], journal=False)
    honeytrace.instrument({client.library!r})
surface = method_surfaces.{type(client).__name__}({"async" if client.is_async else "sync"!r}, {server.origin!r})
loop = surface._loop
if loop is None:
    stream = surface.stream("endless")
    surface.take(stream, 3)
else:
    surface._loop = None
    async def main():
        stream = surface.stream("endless")
        if hasattr(stream, "__await__"):
            stream = await stream
        for _ in range(3):
            await stream.__anext__()
    asyncio.run(main())
    loop.close()
"""
    run = [sys.executable, "-W", "ignore", "-c", program]
    traced = subprocess.run([*run, "traced"], capture_output=True, text=True, timeout=60)
    assert client.stream_name in traced.stderr
    assert not any(one in traced.stderr for one in OURS), traced.stderr
    said = {one for one in ("never retrieved", "already running", "ignored in", "Traceback") if one in traced.stderr}
    for _ in range(4):  # what a client says by itself at that point, it does not say every time
        plain = subprocess.run(run, capture_output=True, text=True, timeout=60)
        assert traced.returncode == plain.returncode
        said = {one for one in said if one not in plain.stderr}
        if "already running" in plain.stderr:  # of a client's generators one complains, that comes first in a set of
            said.discard("Traceback")  # asyncio's: which one it is decides whether there are frames to show
        if not said:
            break
    assert not said, traced.stderr
