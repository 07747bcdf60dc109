"""What an event says of a call, whichever client made it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from method_surfaces import KEY, PNG, QUIET, SURFACES, Surface
from model_server import ModelServer

import honeytrace
from honeytrace._span import live
from honeytrace.testing import Traces, capture

pytestmark = QUIET
SHA = hashlib.sha256(PNG).hexdigest()


def test_a_call_is_one_event_with_all_that_was_said(client: Surface, traced: Traces) -> None:
    client.chat(**{client.temperature: 0.5, client.top: 0.25})
    (event,) = traced
    assert (event.event_type, event.event_name, event.error) == ("model", client.chat_name, None)
    system, user = event.inputs["chat_history"]
    assert (system["role"], system["content"]) == ("system", "Be brief.")
    assert (user["role"], user["content"]) == ("user", "hi")
    assert (event.outputs["role"], event.outputs["content"]) == ("assistant", "Hello world")
    assert (event.config["model"], event.config["provider"]) == ("plain", client.provider)
    assert (event.config[client.temperature], event.config[client.top]) == (0.5, 0.25)
    _check_usage(client, event)


def _check_usage(client: Surface, event: Any) -> None:
    metadata = event.metadata
    assert (metadata["prompt_tokens"], metadata["completion_tokens"], metadata["total_tokens"]) == (
        client.prompt,
        7,
        18,
    )
    assert metadata.get("cache_read_input_tokens") == client.cached
    assert metadata["finish_reason"].lower() in ("stop", "complete", "end_turn")


def test_a_stream_says_the_same_as_a_call_and_how_fast_it_came(client: Surface, traced: Traces) -> None:
    client.chat(temperature=0.5)
    client.take(client.stream(temperature=0.5))
    plain, streamed = traced
    assert streamed.event_name == client.stream_name
    assert streamed.outputs == plain.outputs
    assert streamed.inputs == plain.inputs
    assert {**streamed.config, "stream": None} == {**plain.config, "stream": None}
    timing = {name: streamed.metadata.pop(name) for name in ("chunks", "time_to_first_token_ms", "longest_gap_ms")}
    assert timing["chunks"] >= 4
    assert timing["time_to_first_token_ms"] >= 0
    assert streamed.metadata.pop("tokens_per_second") > 0
    assert {**streamed.metadata, "request_id": None} == {**plain.metadata, "request_id": None}


@pytest.mark.parametrize("how", ["chat", "stream"])
def test_tool_calls_are_in_the_form_of_the_contract(client: Surface, traced: Traces, how: str) -> None:
    if how == "chat":
        client.chat("tools")
    else:
        client.take(client.stream("tools"))
    (call,) = traced[0].outputs["tool_calls"]
    assert call["id"] == (None if client.library == "ollama" else "call_1")
    assert call["function"]["name"] == "weather"
    arguments = call["function"]["arguments"]
    assert (json.loads(arguments) if isinstance(arguments, str) else arguments) == {"city": "Bern"}


def test_embeddings_are_counted_not_copied(client: Surface, traced: Traces) -> None:
    client.embed()
    (event,) = traced
    assert event.event_name == client.embed_name
    assert event.inputs["input"] in (["a"], "a")
    assert (event.outputs["embeddings"]["count"], event.outputs["embeddings"]["dimensions"]) == (1, 3)
    assert "1.0, 2.0" not in str(event.outputs)


def test_media_are_described_not_copied(client: Surface, traced: Traces) -> None:
    client.with_image()
    told = json.dumps(traced[0].inputs)
    assert SHA in told
    assert '"image/png"' in told
    assert str(len(PNG)) in told
    assert "look" in told
    assert len(told) < 1000


def test_an_error_is_recorded_as_the_program_sees_it(client: Surface, traced: Traces) -> None:
    with pytest.raises(client.errors()) as caught:
        client.chat("error-400")
    (event,) = traced
    assert event.error.startswith(type(caught.value).__name__)
    assert "bad request" in event.error
    assert event.metadata["status_code"] == 400
    assert "content" not in (event.outputs or {})


def test_an_error_before_the_first_chunk_is_recorded(client: Surface, traced: Traces) -> None:
    with pytest.raises(client.errors()):
        client.take(client.stream("error-400"))
    (event,) = traced
    assert event.metadata["status_code"] == 400
    assert "chunks" not in event.metadata
    assert not event.outputs


def test_retries_happen_inside_one_event(client: Surface, server: ModelServer, traced: Traces) -> None:
    if not client.retries:
        pytest.skip("this client does not retry")
    client.chat("retry")
    assert len(server.requests) == 2
    (event,) = traced
    assert (event.error, event.outputs["content"]) == (None, "Hello world")


def test_a_timeout_is_an_error(client: Surface, server: ModelServer, traced: Traces) -> None:
    hasty = type(client)("async" if client.is_async else "sync", server.origin, timeout=0.3)
    with pytest.raises(Exception) as caught:
        hasty.chat("slow")
    server.release.set()
    hasty.close()
    (event,) = traced
    assert event.error.startswith(type(caught.value).__name__)


def test_a_connection_that_cannot_be_made_is_an_error(client: Surface, traced: Traces) -> None:
    nowhere = type(client)("async" if client.is_async else "sync", "http://127.0.0.1:9", timeout=5)
    with pytest.raises(Exception) as caught:
        nowhere.chat()
    nowhere.close()
    (event,) = traced
    assert event.error.startswith(type(caught.value).__name__)


def test_the_key_is_in_no_event(client: Surface, traced: Traces) -> None:
    if client.provider in ("bedrock", "ollama"):
        pytest.skip("this client sends no key")
    with pytest.raises(Exception) as caught:
        client.chat("leak")
    assert KEY in str(caught.value)
    (event,) = traced
    assert "[redacted]" in event.error
    assert KEY not in str(vars(event)) + str(event)


def test_a_call_belongs_to_the_span_it_was_made_in(client: Surface, traced: Traces) -> None:
    @honeytrace.trace
    def ask() -> None:
        client.chat()

    @honeytrace.trace
    def read() -> None:
        client.take(client.stream())

    ask()
    read()
    inner, outer, streamed, around = traced
    assert inner.parent_id == outer.event_id
    assert streamed.parent_id == around.event_id
    assert inner.session_id == outer.session_id


def test_a_decorated_model_function_and_its_call_are_one_event(client: Surface, traced: Traces) -> None:
    @honeytrace.trace("model")
    def ask() -> str:
        client.chat()
        return "done"

    ask()
    (event,) = traced
    assert event.event_name == "ask"
    assert event.metadata["total_tokens"] == 18
    assert event.config["provider"] == client.provider


def test_suppress_records_nothing(client: Surface, traced: Traces) -> None:
    with honeytrace.suppress():
        client.chat()
        client.take(client.stream())
    assert len(traced) == 0


def test_after_uninstrument_nothing_is_recorded(client: Surface, traced: Traces) -> None:
    honeytrace.uninstrument(client.library)
    client.chat()
    client.take(client.stream())
    assert len(traced) == 0
    assert not live


def test_wrap_records_one_client_and_no_other(client: Surface, server: ModelServer) -> None:
    other = type(client)("async" if client.is_async else "sync", server.origin)
    mine = client._whole if hasattr(client, "_whole") else client.client
    with capture() as traces:
        assert honeytrace.wrap(mine) is mine
        client.chat()
        client.take(client.stream())
        other.chat()
        assert [event.event_name for event in traces] == [client.chat_name, client.stream_name]
    other.close()


def test_wrap_and_instrument_together_record_once(client: Surface, server: ModelServer, traced: Traces) -> None:
    honeytrace.wrap(client._whole if hasattr(client, "_whole") else client.client)
    client.chat()
    client.take(client.stream())
    assert len(traced) == 2


def test_every_library_goes_by_the_names_people_have_for_it() -> None:
    aliases = {
        "google": "google.genai",
        "google-genai": "google.genai",
        "gemini": "google.genai",
        "bedrock": "botocore",
        "boto3": "botocore",
        "mistral": "mistralai",
    }
    for alias, name in aliases.items():
        assert honeytrace.instrument(alias) == (name,)
        honeytrace.uninstrument(alias)


def test_instrument_without_names_takes_all_that_are_installed() -> None:
    assert {kind.library for kind, _ in SURFACES} <= set(honeytrace.instrument())
    honeytrace.uninstrument()
