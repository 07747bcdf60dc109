"""What is recorded of a call of the anthropic client, through the real client over a real connection."""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
import pytest
from anthropic_protocol import CITATION
from anthropic_surface import Surface
from model_server import ModelServer
from surface import KEY, MESSAGES

from honeytrace import _diagnostics
from honeytrace.integrations.anthropic import provider
from honeytrace.testing import Traces

LIBRARY = "anthropic"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 500


def has(path: str) -> bool:
    """Whether this version of the client has something."""
    found: Any = anthropic.Anthropic(api_key=KEY)
    try:
        for name in path.split("."):
            found = getattr(found, name)
    except AttributeError:
        return False
    return True


def needs(path: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not has(path), reason=f"this anthropic has no {path}")


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_is_reasoning_and_what_is_hidden_is_counted(
    surface: Surface, recorded: Traces, streamed: bool
) -> None:
    answer = surface.chat("thinking", stream=streamed, extra_body={"thinking": {"type": "enabled"}})
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert event.outputs == {
        "role": "assistant", "content": "Hello world", "reasoning": "Think.", "redacted_thinking": 1,
    }  # fmt: skip
    assert event.config["thinking"] == {"type": "enabled"}


@pytest.mark.parametrize("streamed", [False, True])
def test_text_before_a_tool_call_is_kept_beside_it(surface: Surface, recorded: Traces, streamed: bool) -> None:
    answer = surface.chat("tools", stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    call = {"id": "toolu_1", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
    assert event.outputs == {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}


@pytest.mark.parametrize("streamed", [False, True])
def test_citations_are_recorded_beside_the_whole_text(surface: Surface, recorded: Traces, streamed: bool) -> None:
    answer = surface.chat("cited", stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert event.outputs == {"role": "assistant", "content": "Hello world", "citations": [CITATION]}


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_that_run_over_there_are_items_and_no_calls(surface: Surface, recorded: Traces, streamed: bool) -> None:
    answer = surface.chat("server", stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert "tool_calls" not in event.outputs
    asked, found = event.outputs["items"]
    assert (asked["name"], asked["input"]) == ("web_search", {"query": "q"})
    assert found["content"][0]["url"] == "https://x.test"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_is_a_reason_to_stop_and_no_error(surface: Surface, recorded: Traces, streamed: bool) -> None:
    answer = surface.chat("refusal", stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert (event.error, event.metadata["finish_reason"]) == (None, "refusal")


def test_tokens_of_the_cache_are_part_of_the_prompt_and_counted_beside_it(surface: Surface, recorded: Traces) -> None:
    answer = surface.chat()
    surface.take(surface.stream())
    assert answer.usage.input_tokens == 5
    for event in recorded:
        assert {name: event.metadata[name] for name in surface.tokens} == surface.tokens
        assert event.metadata["service_tier"] == "standard"


def test_a_conversation_with_tools_and_media_is_recorded_in_the_form_all_providers_share(
    surface: Surface, recorded: Traces
) -> None:
    picture = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    paper = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF" * 99).decode()}
    result = [{"type": "text", "text": "rain"}, {"type": "image", "source": picture}]
    surface.chat(
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "weather?"}, {"type": "image", "source": picture},
                                         {"type": "document", "source": paper}]},
            {"role": "assistant", "content": [{"type": "text", "text": "let me see"}, {
                "type": "tool_use", "id": "toolu_0", "name": "weather", "input": {"city": "Köln"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_0", "content": result},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such tool", "is_error": True},
                {"type": "text", "text": "go on"}]},
        ],
    )  # fmt: skip
    system, question, answer, rain, failed, more = recorded[0].inputs["chat_history"]
    assert (system["role"], system["content"][0]["text"]) == ("system", "be brief")
    image = question["content"][1]["source"]["data"]
    assert image.items() >= {"mime": "image/png", "bytes": len(PNG)}.items()
    assert set(image) == {"mime", "bytes", "sha256"}
    assert question["content"][2]["source"]["data"].items() >= {"mime": "application/pdf", "bytes": 396}.items()
    assert answer == {
        "role": "assistant", "content": [{"type": "text", "text": "let me see"}],
        "tool_calls": [{"id": "toolu_0", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}],
    }  # fmt: skip
    assert (rain["role"], rain["tool_call_id"], rain["content"][0]["text"]) == ("tool", "toolu_0", "rain")
    assert rain["content"][1]["source"]["data"]["mime"] == "image/png"
    assert failed == {"role": "tool", "tool_call_id": "toolu_1", "content": "no such tool", "is_error": True}
    assert more == {"role": "user", "content": [{"type": "text", "text": "go on"}]}


def test_the_content_of_an_answer_can_be_sent_back_as_it_came(
    surface: Surface, server: ModelServer, recorded: Traces
) -> None:
    answer = surface.chat("tools")
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}
    turns = [*MESSAGES, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    surface.chat(messages=turns)
    sent = json.loads(server.requests[1][2])["messages"][1]["content"]
    assert [block["type"] for block in sent] == ["text", "tool_use"]
    history = recorded[1].inputs["chat_history"]
    assert [message["role"] for message in history] == ["user", "assistant", "tool"]
    assert history[1]["tool_calls"] == recorded[0].outputs["tool_calls"]


def test_what_is_not_given_is_not_recorded(surface: Surface, recorded: Traces) -> None:
    surface.chat(system=getattr(anthropic, "omit", anthropic._types.NOT_GIVEN))
    assert recorded[0].config == {"model": "plain", "provider": "127.0.0.1", "max_tokens": 9}
    assert recorded[0].inputs == {"chat_history": MESSAGES}


def test_a_generator_that_fails_leaves_the_event_of_a_call_that_failed(surface: Surface, recorded: Traces) -> None:
    def messages() -> Any:
        yield MESSAGES[0]
        raise KeyError("mine")

    with pytest.raises(KeyError):
        surface.chat(messages=messages())
    if not hasattr(surface.client, "_copy_and_prepare"):
        pytest.skip("this anthropic reads the messages before the call begins")
    (event,) = recorded
    assert event.error.startswith("KeyError")
    assert event.config == {"model": "plain", "provider": "127.0.0.1", "max_tokens": 9}


@needs("beta.messages")
def test_beta_is_recorded_under_the_same_name(surface: Surface, server: ModelServer, recorded: Traces) -> None:
    surface.call("beta.messages.create", **surface.arguments(), betas=["some-beta"])
    assert server.requests[0][1]["anthropic-beta"] == "some-beta"
    (event,) = recorded
    assert (event.event_name, event.outputs["content"]) == ("messages.create", "Hello world")


@pytest.mark.filterwarnings("ignore:The 'output_format' parameter:DeprecationWarning")
@pytest.mark.parametrize("path", ["messages.parse", "beta.messages.parse"])
def test_parse_is_one_event_under_its_own_name(surface: Surface, recorded: Traces, path: str) -> None:
    import pydantic

    if not has(path):
        pytest.skip(f"this anthropic has no {path}")

    class City(pydantic.BaseModel):
        city: str

    answer = surface.call(path, **surface.arguments("schema"), output_format=City)
    assert answer.parsed_output == City(city="Bern")
    (event,) = recorded
    assert (event.event_name, event.outputs["content"]) == ("messages.parse", '{"city":"Bern"}')


@pytest.mark.skipif(not hasattr(anthropic.types, "ToolUseBlock"), reason="this anthropic knows no tools")
def test_the_final_message_of_the_stream_helper_is_what_is_recorded(surface: Surface, recorded: Traces) -> None:
    manager = surface.helper("tools")
    stream = surface.enter(manager)
    message = surface.wait(stream.get_final_message())
    surface.leave(manager)
    assert message.content[1].input == {"city": "Bern"}
    (event,) = recorded
    assert event.outputs["content"] == "Let me see."
    assert json.loads(event.outputs["tool_calls"][0]["function"]["arguments"]) == {"city": "Bern"}
    assert {name: event.metadata[name] for name in surface.tokens} == surface.tokens


@needs("beta.messages.tool_runner")
def test_a_tool_runner_is_an_event_for_each_turn(surface: Surface, recorded: Traces) -> None:
    async def over_there(city: str) -> str:
        """Say how the weather is."""
        return f"rain in {city}"

    def here(city: str) -> str:
        """Say how the weather is."""
        return f"rain in {city}"

    tool: Any = anthropic.beta_async_tool(over_there) if surface.is_async else anthropic.beta_tool(here)
    tool.name = "weather"
    runner = surface.client.beta.messages.tool_runner(**surface.arguments("tools"), tools=[tool], max_iterations=2)
    surface.wait(runner.until_done())
    assert [event.event_name for event in recorded] == [recorded[0].event_name] * 2
    last = recorded[1].inputs["chat_history"][-1]  # some versions send what the server does not know yet, others all
    assert (last["role"], "rain in Bern" in json.dumps(last["content"])) == ("tool", True)


@needs("messages.batches")
def test_a_batch_is_one_event_with_the_messages_of_each_request(surface: Surface, recorded: Traces) -> None:
    params = {"model": "plain", "max_tokens": 9, "system": "be brief", "messages": MESSAGES}
    surface.call("messages.batches.create", requests=[{"custom_id": "one", "params": params}])
    (event,) = recorded
    assert (event.event_type, event.event_name) == ("model", "messages.batches.create")
    (request,) = event.inputs["requests"]
    assert request == {
        "custom_id": "one", "model": "plain", "max_tokens": 9,
        "chat_history": [{"role": "system", "content": "be brief"}, *MESSAGES],
    }  # fmt: skip
    assert event.outputs["status"] == "in_progress"
    assert event.outputs["request_counts"]["processing"] == 1
    assert event.metadata["response_id"] == "msgbatch_1"


@pytest.mark.parametrize("path", ["messages.count_tokens", "beta.messages.count_tokens"])
def test_counting_tokens_is_no_event(surface: Surface, server: ModelServer, recorded: Traces, path: str) -> None:
    if not has(path):
        pytest.skip(f"this anthropic has no {path}")
    assert surface.call(path, model="plain", messages=MESSAGES).input_tokens == 5
    assert len(server.requests) == 1
    assert len(recorded) == 0


@needs("completions")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_completion_of_the_old_kind_is_recorded(surface: Surface, recorded: Traces, streamed: bool) -> None:
    prompt = "\n\nHuman: hi\n\nAssistant:"
    arguments = {"model": "plain", "max_tokens_to_sample": 9, "prompt": prompt}
    answer = surface.call("completions.create", **arguments, stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert (event.event_name, event.inputs) == ("completions.create", {"prompt": prompt})
    assert event.outputs == {"role": "assistant", "content": "Hello world"}
    assert event.metadata["finish_reason"] == "stop_sequence"


@pytest.mark.internal_failure_expected
def test_a_field_of_another_form_costs_that_field_only(surface: Surface, recorded: Traces) -> None:
    surface.raw("odd")
    (event,) = recorded
    assert event.outputs["content"] == "still here"
    assert (event.metadata["finish_reason"], event.metadata["response_id"]) == ("end_turn", "msg_1")
    assert not [doing for doing in _diagnostics.failures if "reading" not in doing]


def test_an_error_inside_a_stream_read_as_lines_is_still_an_error(surface: Surface, recorded: Traces) -> None:
    manager = surface.opened("midway", stream=True)
    response = surface.enter(manager)
    surface.take(response.iter_lines())
    surface.leave(manager)
    assert recorded[0].error == "overloaded_error: overloaded"


def test_a_tool_call_that_broke_off_keeps_the_arguments_that_came(surface: Surface, recorded: Traces) -> None:
    stream = surface.stream("tools")
    assert '{"ci' in str(surface.take(stream, 7)[-1])
    surface.wait(stream.close())
    arguments = recorded[0].outputs["tool_calls"][0]["function"]["arguments"]
    assert arguments.startswith('{"ci')


def test_the_provider_is_named_after_the_host() -> None:
    with anthropic.Anthropic(api_key=KEY) as client:
        assert provider(client) == "anthropic"
