"""What is recorded of a call of the openai client, through the real client over a real connection."""

from __future__ import annotations

import base64
from importlib.util import find_spec
from typing import Any

import openai
import pytest
from model_server import ModelServer
from openai.resources.chat.completions import Completions
from openai_protocol import PNG
from openai_surface import KEY, MESSAGES, Surface

from honeytrace import _diagnostics
from honeytrace.testing import Traces

RESPONSES = pytest.mark.skipif(find_spec("openai.resources.responses") is None, reason="this openai has no responses")
HELPERS = pytest.mark.skipif(not hasattr(Completions, "parse"), reason="this openai has its helpers elsewhere")
TOKENS = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cache_read_input_tokens": 4,
          "reasoning_tokens": 3}  # fmt: skip
CALLS = [{"id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}]


def subset(fields: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    return {name: of.get(name) for name in fields}


def test_a_chat_completion_is_a_model_event_in_the_conventions_of_the_contract(
    surface: Surface, recorded: Traces
) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    surface.chat(temperature=0.5, max_tokens=9, tools=tools, seed=3, extra_body={"top_k": 2})
    (event,) = recorded
    assert (event.event_type, event.event_name, event.error) == ("model", "chat.completions.create", None)
    assert event.inputs == {"chat_history": MESSAGES}
    assert event.config == {
        "model": "plain", "provider": "127.0.0.1", "temperature": 0.5, "max_tokens": 9, "tools": tools, "seed": 3,
        "top_k": 2,
    }  # fmt: skip
    assert event.outputs == {"role": "assistant", "content": "Hello world"}
    expected = {**TOKENS, "finish_reason": "stop", "response_id": "chatcmpl-1", "response_model": "plain-2026",
                "request_id": "req_1"}  # fmt: skip
    assert subset(expected, event.metadata) == expected
    assert "cost" not in event.metadata


@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_is_recorded_as_one(surface: Surface, recorded: Traces, streamed: bool) -> None:
    answer = surface.chat("refusal", stream=streamed)
    if streamed:
        surface.take(answer)
    assert recorded[0].outputs == {"role": "assistant", "refusal": "I will not."}


def test_more_choices_than_one_are_all_recorded(surface: Surface, recorded: Traces) -> None:
    surface.chat(n=2)
    assert [choice["content"] for choice in recorded[0].outputs["choices"]] == ["Hello world"] * 2


@HELPERS
def test_parse_is_one_event_under_its_own_name(surface: Surface, recorded: Traces) -> None:
    import pydantic

    class City(pydantic.BaseModel):
        city: str

    answer = surface.call("chat.completions.parse", model="schema", messages=MESSAGES, response_format=City)
    assert answer.choices[0].message.parsed == City(city="Bern")
    (event,) = recorded
    assert event.event_name == "chat.completions.parse"
    assert event.outputs["content"] == '{"city":"Bern"}'
    assert event.config["response_format"]["type"] == "json_schema"


@HELPERS
def test_a_parser_that_refuses_the_answer_leaves_the_answer_and_the_error(surface: Surface, recorded: Traces) -> None:
    import pydantic

    class City(pydantic.BaseModel):
        city: str

    with pytest.raises(openai.LengthFinishReasonError):
        surface.call("chat.completions.parse", model="cut", messages=MESSAGES, response_format=City)
    (event,) = recorded
    assert event.error.startswith("LengthFinishReasonError")
    assert event.outputs["content"] == "Hello world"


@HELPERS
def test_the_stream_helper_is_one_event(surface: Surface, recorded: Traces) -> None:
    manager = surface.client.chat.completions.stream(model="plain", messages=MESSAGES)
    stream = surface.enter(manager)
    assert surface.wait(stream.get_final_completion()).choices[0].message.content == "Hello world"
    surface.leave(manager)
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert "outcome" not in event.metadata


@RESPONSES
@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_has_its_conversation_reasoning_and_built_in_tools(
    surface: Surface, recorded: Traces, streamed: bool
) -> None:
    given = [
        {"role": "user", "content": "weather?"},
        {"type": "function_call", "call_id": "call_0", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_0", "output": "rain"},
    ]
    answer = surface.call(
        "responses.create", model="plain", instructions="be brief", input=given, reasoning={"effort": "low"},
        stream=streamed,
    )  # fmt: skip
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert event.event_name == "responses.create"
    assert event.inputs["chat_history"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [{"id": "call_0", "function": {"name": "weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_0", "content": "rain"},
    ]
    assert event.outputs["content"] == "Hello world"
    assert event.outputs["reasoning"] == "Think."
    assert event.outputs["items"][0]["type"] == "web_search_call"
    assert subset(TOKENS, event.metadata) == TOKENS
    assert (event.metadata["response_id"], event.metadata["finish_reason"]) == ("resp_1", "completed")
    assert event.config["reasoning"] == {"effort": "low"}


@RESPONSES
def test_function_calls_of_a_response_are_tool_calls(surface: Surface, recorded: Traces) -> None:
    surface.call("responses.create", model="tools", input="weather?")
    assert recorded[0].outputs["tool_calls"] == CALLS


@RESPONSES
def test_a_response_that_failed_is_an_error_although_nothing_was_raised(surface: Surface, recorded: Traces) -> None:
    assert surface.call("responses.create", model="failed", input="x").status == "failed"
    assert recorded[0].error == "server_error: it broke"


@RESPONSES
def test_a_response_stream_that_is_left_early_keeps_what_came(surface: Surface, recorded: Traces) -> None:
    stream = surface.call("responses.create", model="plain", input="x", stream=True)
    surface.take(stream, 5)
    surface.wait(stream.close())
    (event,) = recorded
    assert event.outputs["content"] == "Hello "
    assert event.metadata["outcome"] == "closed"


@RESPONSES
@HELPERS
def test_responses_parse_is_one_event(surface: Surface, recorded: Traces) -> None:
    import pydantic

    class City(pydantic.BaseModel):
        city: str

    answer = surface.call("responses.parse", model="schema", input="x", text_format=City)
    assert answer.output_parsed == City(city="Bern")
    (event,) = recorded
    assert event.event_name == "responses.parse"


def test_embeddings_are_counted_and_never_recorded(surface: Surface, recorded: Traces) -> None:
    assert surface.call("embeddings.create", model="e", input=["a", "b"]).data[1].embedding == [1.0, 2.0, 3.0]
    (event,) = recorded
    assert event.event_name == "embeddings.create"
    assert event.inputs == {"input": ["a", "b"]}
    assert event.outputs == {"embeddings": {"count": 2, "dimensions": 3}}
    assert event.metadata["prompt_tokens"] == 5


def test_media_are_described_not_recorded(surface: Surface, recorded: Traces) -> None:
    audio = base64.b64encode(b"\x01" * 900).decode()
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
    ]
    surface.call("chat.completions.create", model="plain", messages=[{"role": "user", "content": parts}])
    surface.call("images.generate", model="plain", prompt="a bee")
    surface.call("audio.speech.create", model="plain", input="say", voice="alloy")
    surface.call("audio.transcriptions.create", model="plain", file=("a.wav", b"RIFF" + b"\x02" * 900))
    surface.call("moderations.create", model="plain", input="bad")
    chat, image, speech, transcript, moderation = recorded
    shown = chat.inputs["chat_history"][0]["content"]
    assert shown[0]["image_url"]["url"].items() >= {"mime": "image/png", "bytes": len(PNG)}.items()
    assert shown[1]["input_audio"]["data"].items() >= {"mime": "audio/wav", "bytes": 900}.items()
    assert set(shown[0]["image_url"]["url"]) == {"mime", "bytes", "sha256"}
    assert image.inputs == {"prompt": "a bee"}
    assert image.outputs["images"][0]["b64_json"].items() >= {"mime": "image/png", "bytes": len(PNG)}.items()
    assert speech.inputs == {"input": "say"}
    assert speech.outputs["audio"].items() >= {"mime": "audio/mpeg", "bytes": 1003}.items()
    assert transcript.outputs["content"] == "spoken words"
    assert moderation.outputs["results"][0]["flagged"] is True
    assert [event.event_name for event in recorded][1:] == [
        "images.generate", "audio.speech.create", "audio.transcriptions.create", "moderations.create",
    ]  # fmt: skip


def test_a_cost_the_provider_gives_is_passed_on(surface: Surface, recorded: Traces) -> None:
    surface.chat("paid")
    assert recorded[0].metadata["cost"] == 0.0125


@pytest.mark.internal_failure_expected
def test_a_field_of_another_form_costs_that_field_only(
    surface: Surface, recorded: Traces, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        surface.call("chat.completions.with_raw_response.create", model="odd", messages=MESSAGES)
    for event in recorded:
        assert event.outputs == {"role": "assistant", "content": "still here"}
        assert event.metadata["finish_reason"] == "stop"
    doing = f"reading tool_calls of openai {openai.__version__}"
    assert _diagnostics.failures[doing] == 2
    assert len([record for record in caplog.records if doing in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.x.ai/v1", "xai"),
        ("https://me.openai.azure.com/openai/v1", "azure"),
        ("http://localhost:11434/v1", "localhost"),
        ("http://[::1]:8000/v1", "::1"),
    ],
)
def test_the_provider_is_named_after_the_host(url: str, name: str) -> None:
    from honeytrace.integrations.openai import provider

    with openai.OpenAI(api_key=KEY, base_url=url) as client:
        assert provider(client) == name


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_azure_is_recorded_as_azure(mode: str, server: ModelServer, recorded: Traces) -> None:
    kind: Any = openai.AzureOpenAI if mode == "sync" else openai.AsyncAzureOpenAI
    client = kind(api_key=KEY, azure_endpoint=server.url, api_version="2024-06-01")
    surface = Surface(mode, server, client=client)
    surface.chat()
    surface.close()
    (event,) = recorded
    assert event.config["provider"] == "azure"
    assert event.outputs["content"] == "Hello world"
