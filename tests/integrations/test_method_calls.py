"""What is particular to one client: calls in calls, functions of a module, bodies that are read once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from method_surfaces import KEY, MESSAGES, QUIET, BedrockSurface, GoogleSurface, MistralSurface, OllamaSurface
from model_server import ModelServer

import honeytrace
from honeytrace.testing import Traces, capture

pytestmark = QUIET


@pytest.fixture
def recorded_all(collected: None) -> Any:
    with capture() as traces:
        honeytrace.instrument("google", "ollama", "bedrock", "mistral", "cohere")
        yield traces
        honeytrace.uninstrument()


def test_functions_that_google_calls_itself_are_between_two_events(server: ModelServer, recorded_all: Traces) -> None:
    pytest.importorskip("google.genai")

    def weather(city: str) -> str:
        """Tell the weather."""
        return f"rain in {city}"

    weather.__annotations__ = {"city": str, "return": str}  # some versions cannot read them as text
    weather = honeytrace.trace("tool")(weather)

    @honeytrace.trace
    def ask(client: Any) -> str:
        config = {"tools": [weather], "temperature": 0.5}
        return str(client.models.generate_content(model="calls", contents="how is it?", config=config).text)

    surface = GoogleSurface("sync", server.origin)
    assert ask(surface.client) == "Hello world"
    first, tool, second, around = recorded_all
    assert [event.event_type for event in recorded_all] == ["model", "tool", "model", "chain"]
    assert {event.parent_id for event in (first, tool, second)} == {around.event_id}
    assert first.outputs["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Bern"}}
    assert second.inputs["chat_history"][-1]["role"] == "tool"
    assert second.inputs["chat_history"][-2]["tool_calls"][0]["id"] == "call_1"
    assert second.config["temperature"] == 0.5
    surface.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_chat_of_google_is_recorded_with_its_history(server: ModelServer, recorded_all: Traces, mode: str) -> None:
    pytest.importorskip("google.genai")
    surface = GoogleSurface(mode, server.origin)
    chat = surface.client.chats.create(model="plain")
    surface.wait(chat.send_message("hi"))
    surface.take(surface.wait(chat.send_message_stream("again")))
    assert [event.event_name for event in recorded_all] == [surface.chat_name, surface.stream_name]
    history = recorded_all[1].inputs["chat_history"]
    assert [(one["role"], one["content"]) for one in history] == [
        ("user", "hi"), ("assistant", "Hello world"), ("user", "again"),
    ]  # fmt: skip
    surface.close()


def test_the_functions_of_ollama_s_module_are_recorded(
    server: ModelServer, recorded_all: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama = pytest.importorskip("ollama")
    default = ollama.chat.__self__
    monkeypatch.setattr(default, "_client", type(default)(server.origin)._client)
    ollama.chat("plain", MESSAGES)
    ollama.generate("plain", "why?", system="Be brief.", options={"seed": 3})
    ollama.embed("plain", "a")
    list(ollama.generate("plain", "why?", stream=True))
    names = [event.event_name for event in recorded_all]
    assert names == ["chat", "generate", "embed", "generate"]
    generated = recorded_all[1]
    assert [one["content"] for one in generated.inputs["chat_history"]] == ["Be brief.", "why?"]
    assert (generated.outputs["content"], generated.config["seed"]) == ("Hello world", 3)
    assert recorded_all[3].outputs == generated.outputs
    default._client.close()


def test_what_mistral_has_beside_chat_is_recorded(server: ModelServer, recorded_all: Traces) -> None:
    pytest.importorskip("mistralai")
    surface = MistralSurface("sync", server.origin)
    surface._call("agents", "complete", agent_id="helper", messages=MESSAGES)
    surface._call("fim", "complete", model="plain", prompt="def f(", suffix="return 1", max_tokens=9)
    surface.take(surface._call("fim", "stream", model="plain", prompt="def f("))
    agent, whole, streamed = recorded_all
    assert (agent.event_name, agent.config["model"]) == ("agents.complete", "helper")
    assert (whole.event_name, streamed.event_name) == ("fim.complete", "fim.stream")
    assert whole.inputs == {"prompt": "def f(", "suffix": "return 1"}
    assert whole.config["max_tokens"] == 9
    assert whole.outputs["content"] == streamed.outputs["content"] == "Hello world"
    surface.close()


def test_mistral_s_models_on_azure_are_recorded(server: ModelServer, recorded_all: Traces) -> None:
    azure = pytest.importorskip("mistralai.azure.client")
    client = azure.MistralAzure(api_key=KEY, server_url=f"{server.origin}/mistral")
    answer = client.chat.complete(model="plain", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello world"
    (event,) = recorded_all
    assert (event.outputs["content"], event.config["provider"]) == ("Hello world", "azure")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_ranking_of_cohere_is_recorded(server: ModelServer, recorded_all: Traces, mode: str) -> None:
    pytest.importorskip("cohere")
    from method_surfaces import CohereSurface

    surface = CohereSurface(mode, server.origin)
    surface.wait(surface.client.rerank(model="plain", query="q", documents=["a", "b"], top_n=1))
    (event,) = recorded_all
    assert event.event_name == "rerank"
    assert event.inputs == {"query": "q", "documents": ["a", "b"]}
    assert event.outputs["results"] == [{"index": 1, "relevance_score": 0.9}]
    assert event.config["top_n"] == 1
    surface.close()


def test_a_raw_stream_of_cohere_is_recorded(server: ModelServer, recorded_all: Traces) -> None:
    pytest.importorskip("cohere.v2.raw_client")
    from method_surfaces import CohereSurface

    surface = CohereSurface("sync", server.origin)
    if not surface.retries:
        pytest.skip("the raw client of this version is that of the interface before")
    with surface.client.with_raw_response.chat_stream(model="plain", messages=MESSAGES) as response:
        assert response.status_code == 200
        list(response.data)
    with surface.client.with_raw_response.chat_stream(model="plain", messages=MESSAGES):
        pass
    whole, unread = recorded_all
    assert whole.outputs["content"] == "Hello world"
    assert "outcome" not in whole.metadata
    assert unread.metadata["outcome"] == "closed"
    surface.close()


def _read(body: Any) -> Any:
    return body.read()


def _read_in_pieces(body: Any) -> Any:
    return b"".join(iter(lambda: body.read(20), b""))


def _read_chunks(body: Any) -> Any:
    return b"".join(body.iter_chunks(10))


def _read_lines(body: Any) -> Any:
    return b"".join(body.iter_lines())


def _read_json(body: Any) -> Any:
    return json.dumps(json.load(body)).encode()


def _read_into(body: Any) -> Any:
    if not hasattr(body, "readinto"):
        pytest.skip("not in this version")
    buffer = bytearray(50)
    return b"".join(iter(lambda: bytes(buffer[: body.readinto(buffer)]), b""))


READERS = [_read, _read_in_pieces, _read_chunks, _read_lines, _read_json, _read_into]


@pytest.mark.parametrize("read", READERS, ids=[read.__name__.strip("_") for read in READERS])
def test_a_body_of_bedrock_is_recorded_however_it_is_read(
    server: ModelServer, recorded_all: Traces, read: Callable[[Any], bytes]
) -> None:
    pytest.importorskip("boto3")
    surface = BedrockSurface("sync", server.origin)
    body = surface.client.invoke_model(modelId="plain", body='{"messages": []}')["body"]
    assert len(recorded_all) == 0
    assert type(body).__name__ == "StreamingBody"
    assert json.loads(read(body))["stop_reason"] == "end_turn"
    (event,) = recorded_all
    assert (event.outputs["content"], event.metadata["prompt_tokens"]) == ("Hello world", 11)
    assert "outcome" not in event.metadata
    surface.close()


def test_a_body_of_bedrock_that_is_not_read_still_counts_its_tokens(server: ModelServer, recorded_all: Traces) -> None:
    pytest.importorskip("boto3")
    surface = BedrockSurface("sync", server.origin)
    for leave in ("close", "drop", "half"):
        body = surface.client.invoke_model(modelId="plain", body='{"messages": []}')["body"]
        if leave == "half":
            assert len(body.read(20)) == 20
        if leave != "drop":
            body.close()
        del body
        surface.collect()
    assert [event.metadata["prompt_tokens"] for event in recorded_all] == [7, 7, 7]
    assert [event.metadata["completion_tokens"] for event in recorded_all] == [7, 7, 7]
    assert [event.metadata["outcome"] for event in recorded_all] == ["closed", "abandoned", "closed"]
    surface.close()


def test_other_calls_of_aws_are_let_through(server: ModelServer, recorded_all: Traces) -> None:
    boto3 = pytest.importorskip("boto3")
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": KEY}
    client = boto3.client("sts", "us-east-1", endpoint_url=server.origin, **keys)
    with pytest.raises(Exception):
        client.get_caller_identity()
    assert len(recorded_all) == 0
    client.close()


def test_aiobotocore_is_let_through(server: ModelServer) -> None:
    session = pytest.importorskip("aiobotocore.session")  # imported first: its class is one of botocore's then
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": KEY, "region_name": "us-east-1"}

    async def program() -> Any:
        making = session.get_session().create_client("bedrock-runtime", endpoint_url=server.origin, **keys)
        async with making as client:
            asked = {"modelId": "plain", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
            stream = (await client.converse_stream(**asked))["stream"]
            body = (await client.invoke_model(modelId="plain", body='{"messages": []}'))["body"]
            return [type(stream), type(body), [event async for event in stream], await body.read()]

    plain = asyncio.run(program())
    with capture() as traces:
        honeytrace.instrument("bedrock")
        assert asyncio.run(program()) == plain
        honeytrace.uninstrument()
        assert len(traces) == 0


@pytest.mark.parametrize(
    ("body", "content"),
    [("titan", "Hello world"), ("plain", "Hello world")],
)
def test_what_makers_of_models_on_bedrock_say_is_understood(
    server: ModelServer, recorded_all: Traces, body: str, content: str
) -> None:
    pytest.importorskip("boto3")
    surface = BedrockSurface("sync", server.origin)
    surface.client.invoke_model(modelId=body, body='{"inputText": "hi", "temperature": 0.5}')["body"].read()
    (event,) = recorded_all
    assert event.outputs["content"] == content
    assert event.inputs["input"] == "hi"
    assert (event.config["temperature"], event.metadata["total_tokens"]) == (0.5, 18)
    surface.close()


def test_a_local_model_without_a_name_or_with_odd_fields_does_not_disturb(
    server: ModelServer, recorded_all: Traces
) -> None:
    pytest.importorskip("ollama")
    surface = OllamaSurface("sync", server.origin)
    answer = surface.client.chat("odd", [{"role": "user", "content": "hi", "images": None}], keep_alive=0)
    assert answer["message"]["content"] == "Hello world"
    (event,) = recorded_all
    assert event.config["keep_alive"] == 0
    surface.close()
