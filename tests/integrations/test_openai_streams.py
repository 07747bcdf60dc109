"""Streams that only openai has, and how much of a long one is kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai_surface import Surface

from honeytrace.testing import Traces


def test_a_streamed_transcript_is_joined(surface: Surface, recorded: Traces) -> None:
    types = pytest.importorskip("openai.types.audio")
    if not hasattr(types, "TranscriptionStreamEvent"):
        pytest.skip("this openai does not stream transcripts")
    stream = surface.call("audio.transcriptions.create", model="plain", file=("a.wav", b"RIFF"), stream=True)
    surface.take(stream)
    assert recorded[0].outputs["content"] == "Hello world"


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


def test_a_body_that_the_client_reads_once_more_at_the_end_is_recorded_once(recorded: Traces) -> None:
    """Newer versions read on until nothing comes; the bodies of some transports then begin again."""
    import openai._base_client
    from openai_protocol import chat_events

    http: Any = getattr(openai._base_client, "httpx2", None) or openai._base_client.httpx

    class Body(http.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> Any:
            for event in chat_events("plain", {}):
                yield f"data: {json.dumps(event)}\n\n".encode()
            yield b"data: [DONE]\n\n"

    class Transport(http.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            return http.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    async def whole() -> None:
        async with http.AsyncClient(transport=Transport()) as transport:
            client = openai.AsyncOpenAI(base_url="http://127.0.0.1/v1", api_key="sk-test-123456", http_client=transport)
            asked = [{"role": "user", "content": "hi"}]
            async for _ in await client.chat.completions.create(model="plain", messages=asked, stream=True):
                pass

    asyncio.run(whole())
    [event] = recorded
    assert event.outputs["content"] == "Hello world"
    assert event.metadata["chunks"] == len(chat_events("plain", {}))
