"""What is recorded alike of every client made by Stainless, through the real client over a real connection."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from libraries import EVERY_LIBRARY
from model_server import ModelServer
from surface import KEY, MESSAGES
from surface import StainlessSurface as Surface

import honeytrace
from honeytrace.integrations._pricing import settle_prices
from honeytrace.testing import Traces, capture

pytestmark = EVERY_LIBRARY

ANSWER = {"role": "assistant", "content": "Hello world"}
CALLS = [{"id": None, "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}]


def subset(fields: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    return {name: of.get(name) for name in fields}


def test_a_call_is_a_model_event_in_the_conventions_of_the_contract(surface: Surface, recorded: Traces) -> None:
    surface.chat(extra_body={"seed": 3})
    (event,) = recorded
    assert (event.event_type, event.event_name, event.error) == ("model", surface.create, None)
    assert event.inputs == {"chat_history": MESSAGES}
    assert event.config == {"model": "plain", "provider": "127.0.0.1", "seed": 3, **surface.required}
    assert event.outputs == ANSWER
    expected = {**surface.tokens, "response_model": "plain-2026", "request_id": "req_1"}
    assert subset(expected, event.metadata) == expected
    assert event.metadata["response_id"]
    assert "cost" not in event.metadata


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_calls_are_whole_however_they_came(surface: Surface, recorded: Traces, streamed: bool) -> None:
    answer = surface.chat("tools", stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert [{**call, "id": None} for call in event.outputs["tool_calls"]] == CALLS
    assert event.outputs["tool_calls"][0]["id"] in ("call_1", "toolu_1")
    assert event.metadata["finish_reason"] in ("tool_calls", "tool_use")


def test_a_stream_and_a_plain_call_leave_the_same_outputs_and_tokens(surface: Surface, recorded: Traces) -> None:
    surface.chat()
    surface.take(surface.stream(**surface.with_usage))
    plain, streamed = recorded
    assert streamed.outputs == plain.outputs == ANSWER
    assert subset(surface.tokens, streamed.metadata) == surface.tokens
    assert streamed.metadata["finish_reason"] == plain.metadata["finish_reason"]
    assert 0 < streamed.metadata["time_to_first_token_ms"] <= streamed.fields["duration"]
    assert streamed.metadata["tokens_per_second"] > 0
    assert streamed.metadata["longest_gap_ms"] > 0


@pytest.mark.parametrize("variant", ["raw", "opened"])
def test_raw_variants_leave_the_same_event(surface: Surface, recorded: Traces, variant: str) -> None:
    surface.chat()
    if variant == "raw":
        assert surface.text(surface.parsed(surface.raw())) == "Hello world"
    else:
        manager = surface.opened()
        response = surface.enter(manager)
        assert surface.wait(response.json())["id"]
        surface.leave(manager)
    plain, raw = recorded
    assert raw.outputs == plain.outputs
    assert subset(surface.tokens, raw.metadata) == surface.tokens


def test_the_stream_helper_is_one_event(surface: Surface, recorded: Traces) -> None:
    manager = surface.helper()
    surface.take(surface.enter(manager))
    surface.leave(manager)
    (event,) = recorded
    assert event.event_name == f"{surface.resource}.stream"
    assert event.outputs == ANSWER
    assert "outcome" not in event.metadata


def test_the_clients_own_exception_is_seen_and_recorded_once(surface: Surface, recorded: Traces) -> None:
    with pytest.raises(surface.package.BadRequestError) as caught:
        surface.chat("error-400")
    assert not hasattr(caught.value, "__notes__")
    (event,) = recorded
    assert event.error.startswith("BadRequestError")
    assert (event.metadata["status_code"], event.metadata["request_id"]) == (400, "req_1")
    assert event.inputs == {"chat_history": MESSAGES}
    assert event.outputs is None


@pytest.mark.parametrize("streamed", [False, True])
def test_retries_are_one_event_that_counts_them(
    surface: Surface, server: ModelServer, recorded: Traces, streamed: bool
) -> None:
    answer = surface.chat("retry", stream=streamed)
    if streamed:
        surface.take(answer)
    (event,) = recorded
    assert len(server.requests) == 2
    if "x-stainless-retry-count" in server.requests[0][1]:
        assert event.metadata["retries"] == 1
    assert (event.error, event.outputs) == (None, ANSWER)


def test_a_timeout_is_the_error_of_one_event(surface: Surface, server: ModelServer, recorded: Traces) -> None:
    with pytest.raises(surface.package.APITimeoutError):
        surface.chat("slow", client=surface.client.with_options(max_retries=0), timeout=0.05)
    (event,) = recorded
    assert event.error.startswith("APITimeoutError")


def test_a_server_that_is_not_there_is_the_error_of_one_event(
    surface: Surface, server: ModelServer, recorded: Traces
) -> None:
    server.stop()
    with pytest.raises(surface.package.APIConnectionError):
        surface.chat(client=surface.client.with_options(max_retries=0))
    (event,) = recorded
    assert event.error.startswith("APIConnectionError")


def test_no_key_is_recorded_even_if_the_server_repeats_it(surface: Surface, recorded: Traces) -> None:
    with pytest.raises(surface.package.AuthenticationError) as caught:
        surface.chat("leak", extra_headers={"X-Other": "hush-hush-hush"}, extra_body={"api_key": "open-sesame"})
    assert KEY in str(caught.value)
    written = json.dumps([event.fields for event in recorded])
    assert "AuthenticationError" in written
    assert KEY not in written
    assert "hush" not in written
    assert "sesame" not in written


def test_a_cost_function_runs_in_another_thread_and_unknown_stays_absent(
    surface: Surface, recorded: Traces, library: str
) -> None:
    threads = []

    def table(provider: str, model: str | None, usage: Any) -> float | None:
        threads.append(threading.get_ident())
        return usage["total_tokens"] / 1000 if model == "plain" else None

    honeytrace.instrument(library, cost=table)
    surface.chat()
    surface.chat("tools")
    assert settle_prices(10)
    plain, unknown = recorded
    assert (plain.metadata["cost"], plain.metadata["cost_source"]) == (0.018, "table")
    assert "cost" not in unknown.metadata
    assert threading.get_ident() not in threads


def test_messages_from_a_generator_are_sent_and_recorded(
    surface: Surface, server: ModelServer, recorded: Traces
) -> None:
    surface.chat(messages=({"role": "user", "content": word} for word in ("one", "two")))
    ((_, _, sent),) = server.requests
    (event,) = recorded
    assert [message["content"] for message in json.loads(sent)["messages"]] == ["one", "two"]
    assert [message["content"] for message in event.inputs["chat_history"]] == ["one", "two"]


def test_a_decorated_call_is_one_event(surface: Surface, recorded: Traces) -> None:
    @honeytrace.trace("model")
    def ask() -> str:
        return surface.text(surface.chat())

    assert ask() == "Hello world"
    (event,) = recorded
    assert event.event_name == "ask"
    assert event.config["model"] == "plain"
    assert event.outputs == {"result": "Hello world", **ANSWER}
    assert subset(surface.tokens, event.metadata) == surface.tokens


def test_a_second_call_inside_a_decorated_one_is_an_event_of_its_own(surface: Surface, recorded: Traces) -> None:
    @honeytrace.trace("model")
    def ask() -> None:
        surface.chat()
        surface.chat("tools")

    ask()
    assert [event.event_name for event in recorded] == [surface.create, "ask"]
    assert recorded[0].parent_id == recorded[1].event_id
    assert (recorded[0].config["model"], recorded[1].config["model"]) == ("tools", "plain")


def test_calls_are_children_of_what_is_current_and_streams_of_what_was(surface: Surface, recorded: Traces) -> None:
    with honeytrace.span("agent"):
        stream = surface.stream()
        with honeytrace.span("reading"):
            surface.take(stream)
        surface.chat()
    agent = recorded.one("agent")
    assert [event.parent_id for event in recorded.named(surface.create)] == [agent.event_id] * 2
    assert recorded.one("reading").parent_id == agent.event_id


def test_nothing_is_recorded_under_suppress(surface: Surface, recorded: Traces) -> None:
    with honeytrace.suppress():
        surface.chat()
        surface.take(surface.stream())
    assert len(recorded) == 0


def test_other_calls_of_the_client_are_no_events(surface: Surface, server: ModelServer, recorded: Traces) -> None:
    surface.wait(surface.client.get("/v1/models", cast_to=object))
    with pytest.raises(surface.package.NotFoundError):
        surface.wait(surface.client.post("/v1/other", cast_to=object, body={"model": "plain"}))
    assert len(server.requests) == 1  # a GET is not listed there
    assert len(recorded) == 0


def test_wrap_records_this_client_and_its_copies_and_no_other(
    surface: Surface, server: ModelServer, library: str
) -> None:
    other = type(surface)("async" if surface.is_async else "sync", server)
    with capture() as traces:
        assert honeytrace.wrap(surface.client) is surface.client
        surface.chat()
        surface.chat(client=surface.client.with_options(max_retries=0))
        surface.take(surface.stream())
        surface.chat(messages=(message for message in MESSAGES))
        assert [event.inputs["chat_history"] for event in traces] == [MESSAGES] * 4
        other.chat()
        assert len(traces) == 4
    other.close()
    assert isinstance(surface.client, surface.kinds[surface.is_async])
