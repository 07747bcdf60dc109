"""Every way in which a stream can end: one event each, at that moment, with what came so far."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import openai
import pytest
from model_server import ModelServer
from openai_surface import KEY, MESSAGES, Surface

import honeytrace
from honeytrace._span import live
from honeytrace.testing import Traces

HELPERS = pytest.mark.skipif(
    tuple(map(int, openai.__version__.split(".")[:2])) < (1, 92), reason="this openai has its helpers elsewhere"
)


def _exhaust(surface: Surface, stream: Any) -> None:
    surface.take(stream)


def _close_unread(surface: Surface, stream: Any) -> None:
    surface.wait(stream.close())


def _close_midway(surface: Surface, stream: Any) -> None:
    surface.take(stream, 3)
    surface.wait(stream.close())


def _close_the_response(surface: Surface, stream: Any) -> None:
    surface.take(stream, 3)
    surface.wait(stream.response.aclose() if surface.is_async else stream.response.close())


def _leave_the_block(surface: Surface, stream: Any) -> None:
    assert surface.enter(stream) is stream
    surface.take(stream, 3)
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
    surface.take(stream, 3)
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


@pytest.mark.parametrize(
    ("model", "raised"),
    [("midway", openai.APIError), ("drop", Exception), ("garbage", ValueError)],
)
def test_a_stream_that_fails_records_the_exception_that_the_program_sees(
    surface: Surface, recorded: Traces, model: str, raised: type[Exception]
) -> None:
    stream = surface.stream(model)
    with pytest.raises(raised) as caught:
        surface.take(stream)
    (event,) = recorded
    assert event.error.startswith(type(caught.value).__name__)
    assert (event.outputs.get("content") or "").startswith("Hello")
    assert event.metadata["chunks"] >= 4


def test_an_exception_in_the_block_of_a_stream_closes_it(surface: Surface, recorded: Traces) -> None:
    stream = surface.stream("endless")
    with pytest.raises(KeyError):
        try:
            surface.enter(stream)
            surface.take(stream, 3)
            raise KeyError("mine")
        finally:
            surface.leave(stream)
    (event,) = recorded
    assert (event.error, event.metadata["outcome"]) == (None, "closed")


def test_a_cancelled_task_records_what_came_and_that_it_was_cancelled(server: ModelServer, recorded: Traces) -> None:
    async def program() -> None:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=server.url) as client:
            reading = asyncio.Event()

            async def read() -> None:
                stream = await client.chat.completions.create(model="endless", messages=MESSAGES, stream=True)
                count = 0
                async for _ in stream:
                    count += 1
                    if count == 4:
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


def test_a_call_cancelled_before_its_answer_is_an_event(server: ModelServer, recorded: Traces) -> None:
    async def program() -> None:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=server.url) as client:
            task = asyncio.create_task(client.chat.completions.create(model="slow", messages=MESSAGES))
            while not server.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(program())
    assert [event.metadata["outcome"] for event in recorded] == ["cancelled"]


def test_a_coroutine_that_is_never_awaited_is_no_event(server: ModelServer, recorded: Traces) -> None:
    client = openai.AsyncOpenAI(api_key=KEY, base_url=server.url)
    waiting = client.chat.completions.create(model="plain", messages=MESSAGES)
    waiting.close()
    assert len(recorded) == 0
    assert not live


@pytest.mark.parametrize("reader", ["iter_lines", "iter_bytes", "parse"])
def test_a_stream_read_as_lines_or_bytes_is_recorded_all_the_same(
    surface: Surface, recorded: Traces, reader: str
) -> None:
    create = surface.client.chat.completions.with_streaming_response.create
    manager = create(model="plain", messages=MESSAGES, stream=True)
    response = surface.enter(manager)
    surface.take(surface.wait(response.parse()) if reader == "parse" else getattr(response, reader)())
    surface.leave(manager)
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert "outcome" not in event.metadata


def test_a_raw_response_streams_into_one_event(surface: Surface, recorded: Traces) -> None:
    raw = surface.call("chat.completions.with_raw_response.create", model="plain", messages=MESSAGES, stream=True)
    surface.take(raw.parse())
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert "outcome" not in event.metadata


def test_an_error_inside_a_raw_stream_is_still_an_error(surface: Surface, recorded: Traces) -> None:
    raw = surface.call("chat.completions.with_raw_response.create", model="midway", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError):
        surface.take(raw.parse())
    del raw  # old versions leave it to the garbage collector to close what failed
    surface.collect()
    (event,) = recorded
    assert "overloaded" in event.error


@HELPERS
def test_leaving_the_stream_helper_early_ends_the_event_at_once(surface: Surface, recorded: Traces) -> None:
    manager = surface.client.chat.completions.stream(model="endless", messages=MESSAGES)
    stream = surface.enter(manager)
    surface.take(stream, 4)
    assert len(recorded) == 0
    surface.leave(manager)
    (event,) = recorded
    assert event.metadata["outcome"] == "closed"
    assert event.outputs["content"].startswith("Hel")


def test_a_streamed_transcript_is_joined(surface: Surface, recorded: Traces) -> None:
    types = pytest.importorskip("openai.types.audio")
    if not hasattr(types, "TranscriptionStreamEvent"):
        pytest.skip("this openai does not stream transcripts")
    stream = surface.call("audio.transcriptions.create", model="plain", file=("a.wav", b"RIFF"), stream=True)
    surface.take(stream)
    assert recorded[0].outputs["content"] == "Hello world"


def test_a_decorated_generator_over_a_stream_is_one_event(surface: Surface, recorded: Traces) -> None:
    @honeytrace.trace("model")
    def words() -> Any:
        for chunk in surface.take(surface.stream(extra_body={"stream_options": {"include_usage": True}})):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    assert "".join(words()) == "Hello world"
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert event.metadata["total_tokens"] == 18


def test_a_long_stream_is_bounded_and_still_counts_its_tokens(recorded: Traces) -> None:
    from honeytrace.integrations._calls import start
    from honeytrace.integrations._streams import StreamRecord
    from honeytrace.integrations.openai import CHAT, LIBRARY

    call = start(LIBRARY, CHAT, {"model": "m", "messages": []}, event_name="chat", provider=lambda: "openai")
    assert call is not None
    call.leave()
    record = StreamRecord(call, "text/event-stream", "")
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 50_000)
    for _ in range(400):
        record.receive(piece)
    record.receive(b'data: {"choices":[],"usage":{"total_tokens":5}}\n\ndata: [DONE]\n\n')
    held = sum(len(piece) for pieces in record._join._pieces.values() for piece in pieces)  # type: ignore[attr-defined]
    assert held < 9_000_000
    record.end()
    (event,) = recorded
    assert event.metadata["total_tokens"] == 5
    assert len(event.outputs["content"]) < 600_000


def test_a_stream_open_at_the_end_of_the_process_is_recorded(server: ModelServer, tmp_path: Any) -> None:
    import subprocess
    import sys

    program = f"""
import honeytrace, openai
honeytrace.init(exporters=["console"], journal=False)
honeytrace.instrument("openai")
client = openai.OpenAI(api_key="{KEY}", base_url="{server.url}", max_retries=0)
stream = client.chat.completions.create(model="endless", messages=[], stream=True)
for _, chunk in zip(range(3), stream): pass
"""
    # No word about the exit code: some versions of Python crash on the client's open generator, with or without us.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "chat.completions.create" in done.stdout + done.stderr
    assert "chunks" in done.stdout + done.stderr
