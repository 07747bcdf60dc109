"""Streams that only openai has, and how much of a long one is kept."""

from __future__ import annotations

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
