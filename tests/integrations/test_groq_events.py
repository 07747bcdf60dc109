"""What groq has of its own: usage in `x_groq`, tools that run over there, reasoning."""

from __future__ import annotations

from importlib.util import find_spec

import groq
import pytest
from groq_surface import Surface
from surface import KEY

from honeytrace.integrations.groq import LIBRARY as RECORDED
from honeytrace.integrations.openai import provider
from honeytrace.testing import Traces

LIBRARY = "groq"
EXECUTED = {"index": 0, "type": "search", "arguments": '{"query": "q"}', "output": "found"}


def test_a_stream_counts_its_tokens_without_being_asked_to(surface: Surface, recorded: Traces) -> None:
    surface.take(surface.stream())
    (event,) = recorded
    assert {name: event.metadata[name] for name in surface.tokens} == surface.tokens


@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_and_tools_that_ran_over_there_are_recorded(
    surface: Surface, recorded: Traces, streamed: bool
) -> None:
    answer = surface.chat("compound", stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert event.outputs["reasoning"] == "Think."
    assert event.outputs["items"] == [EXECUTED]


def test_a_stream_that_the_server_gave_up_is_an_error_although_nothing_was_raised(
    surface: Surface, recorded: Traces
) -> None:
    surface.take(surface.stream("given-up"))
    assert recorded[0].error == "over capacity"


@pytest.mark.skipif(find_spec("groq.resources.audio") is None, reason="this groq has no audio")
def test_other_routes_of_the_protocol_are_recorded(surface: Surface, recorded: Traces) -> None:
    surface.call("audio.transcriptions.create", model="plain", file=("a.wav", b"RIFF" + b"\x02" * 900))
    (event,) = recorded
    assert (event.event_name, event.outputs) == ("audio.transcriptions.create", {"content": "spoken words"})


def test_the_provider_is_groq() -> None:
    with groq.Groq(api_key=KEY) as client:
        assert provider(client) == "groq"
    assert RECORDED.package == "groq"
