"""Clients of anthropic that are built otherwise: with middleware of the program's, for Bedrock, for Vertex."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import signature
from typing import Any

import anthropic
import pytest
from anthropic_surface import Surface
from model_server import ModelServer
from surface import KEY, MESSAGES

import honeytrace
from honeytrace.integrations.anthropic import provider
from honeytrace.testing import Traces, capture

LIBRARY = "anthropic"

MIDDLEWARE = pytest.mark.skipif(not hasattr(anthropic, "Middleware"), reason="this anthropic has no middleware")


def _through(mode: str, server: ModelServer, handle: Callable[..., Any]) -> Surface:
    """A client with a middleware: a generator that gives what it wants called, and returns what it lets through."""

    def here(request: Any, call_next: Any) -> Any:
        steps = handle(request)
        result = next(steps)
        while True:
            try:
                result = steps.send(call_next(result) if result is request else result())
            except StopIteration as ended:
                return ended.value

    async def there(request: Any, call_next: Any) -> Any:
        steps = handle(request)
        result = next(steps)
        while True:
            try:
                result = steps.send(await call_next(result) if result is request else await result())
            except StopIteration as ended:
                return ended.value

    return Surface(mode, server, middleware=[there if mode == "async" else here])


@MIDDLEWARE
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_answer_that_a_middleware_lets_through_is_recorded(
    mode: str, streamed: bool, server: ModelServer, recorded: Traces
) -> None:
    statuses = []

    def watch(request: Any) -> Any:
        response = yield request
        statuses.append(response.http_response.status_code)
        return response

    surface = _through(mode, server, watch)
    answer = surface.chat("retry", stream=streamed)
    if streamed:
        surface.take(answer)
    surface.close()
    assert statuses == [429, 200]
    (event,) = recorded
    assert (event.error, event.outputs["content"]) == (None, "Hello world")
    assert event.metadata["retries"] == 1


@MIDDLEWARE
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_that_a_middleware_lets_through_is_no_answer(
    mode: str, streamed: bool, server: ModelServer, recorded: Traces
) -> None:
    def watch(request: Any) -> Any:
        response = yield request
        return response

    surface = _through(mode, server, watch)
    with pytest.raises(anthropic.BadRequestError):
        surface.chat("error-400", stream=streamed)
    surface.close()
    (event,) = recorded
    assert event.error.startswith("BadRequestError")
    assert event.outputs is None
    assert (event.metadata["status_code"], event.metadata["request_id"]) == (400, "req_1")


@MIDDLEWARE
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_of_two_streams_that_a_middleware_opens_the_one_it_lets_through_is_recorded(
    mode: str, server: ModelServer, recorded: Traces
) -> None:
    def again(request: Any) -> Any:
        first = yield request
        yield first.http_response.aclose if mode == "async" else first.http_response.close
        second = yield request
        return second

    surface = _through(mode, server, again)
    surface.take(surface.stream())
    surface.close()
    assert len(server.requests) == 2
    (event,) = recorded
    assert event.outputs["content"] == "Hello world"
    assert "outcome" not in event.metadata


@MIDDLEWARE
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_a_middleware_asks_beside_is_no_answer_of_the_call(
    mode: str, server: ModelServer, recorded: Traces
) -> None:
    def count(request: Any) -> Any:
        response = yield request
        if "count_tokens" not in request.url:
            yield lambda: surface.client.messages.count_tokens(model="plain", messages=MESSAGES)
        return response

    surface = _through(mode, server, count)
    surface.chat()
    surface.close()
    assert [path for path, _, _ in server.requests] == ["/v1/messages", "/v1/messages/count_tokens"]
    (event,) = recorded
    assert event.outputs == {"role": "assistant", "content": "Hello world"}


@MIDDLEWARE
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_stream_that_a_middleware_has_read_is_recorded_when_the_call_returns(
    mode: str, server: ModelServer, recorded: Traces
) -> None:
    seen = []

    def read(request: Any) -> Any:
        response = yield request
        yield response.http_response.aread if mode == "async" else response.http_response.read
        seen.append(len(recorded))
        return response

    surface = _through(mode, server, read)
    stream = surface.stream()
    (event,) = recorded
    assert seen == [0]
    assert event.outputs["content"] == "Hello world"
    assert "outcome" not in event.metadata
    assert len(surface.take(stream)) > 5
    surface.close()
    assert len(recorded) == 1


def _bedrock(mode: str, server: ModelServer) -> Surface:
    pytest.importorskip("botocore")
    kind: Any = anthropic.AsyncAnthropicBedrock if mode == "async" else anthropic.AnthropicBedrock
    keys = {"aws_access_key": "key", "aws_secret_key": "secret-of-aws", "aws_region": "eu-central-1"}
    return Surface(mode, server, client=kind(base_url=server.origin, **keys))


def _vertex(mode: str, server: ModelServer) -> Surface:
    kind: Any = anthropic.AsyncAnthropicVertex if mode == "async" else anthropic.AnthropicVertex
    client = kind(base_url=server.origin, region="europe-west1", project_id="p", access_token="secret-of-google")
    return Surface(mode, server, client=client)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(("make", "name"), [(_bedrock, "bedrock"), (_vertex, "vertex")])
@pytest.mark.parametrize("streamed", [False, True])
def test_clouds_are_recorded_under_their_names(
    mode: str, make: Callable[..., Surface], name: str, streamed: bool, server: ModelServer, recorded: Traces
) -> None:
    surface = make(mode, server)
    answer = surface.chat("plain", stream=streamed)
    if streamed:
        surface.take(answer)
    surface.close()
    assert "plain" in server.requests[0][0]  # the model has moved into the URL
    (event,) = recorded
    assert (event.config["model"], event.config["provider"]) == ("plain", name)
    assert event.outputs == {"role": "assistant", "content": "Hello world"}
    assert {name: event.metadata[name] for name in surface.tokens} == surface.tokens
    assert "secret-of" not in json.dumps(event.fields)
    if streamed:
        assert event.metadata["time_to_first_token_ms"] > 0


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("AnthropicBedrockMantle", "bedrock"),
        ("AsyncAnthropicVertex", "vertex"),
        ("AnthropicGoogleCloud", "google"),
        ("AsyncAnthropicFoundry", "azure"),
        ("AnthropicAWS", "aws"),
    ],
)
def test_a_subclass_of_a_platforms_client_is_named_after_the_platform(kind: str, name: str) -> None:
    if not hasattr(anthropic, kind):
        pytest.skip(f"this anthropic has no {kind}")
    mine = type("Mine", (getattr(anthropic, kind),), {})
    assert provider(object.__new__(mine)) == name


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.skipif(
    "auth_token" not in signature(anthropic.Anthropic).parameters, reason="this anthropic knows keys only"
)
def test_no_token_is_recorded_even_if_the_server_repeats_it(
    mode: str, server: ModelServer, recorded: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    kind: Any = anthropic.AsyncAnthropic if mode == "async" else anthropic.Anthropic
    surface = Surface(mode, server, client=kind(auth_token=KEY, base_url=server.origin))
    with pytest.raises(anthropic.AuthenticationError) as caught:
        surface.chat(
            "leak", extra_body={"mcp_servers": [{"url": "https://x.test", "authorization_token": "hush-hush"}]}
        )
    surface.close()
    assert KEY in str(caught.value)
    written = json.dumps(recorded[0].fields)
    assert "https://x.test" in written
    assert KEY not in written
    assert "hush" not in written


@pytest.mark.skipif("open_telemetry" not in signature(anthropic.Anthropic).parameters, reason="this one traces nothing")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_clients_own_spans_are_the_same_with_and_without(mode: str, server: ModelServer) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="its own spans need opentelemetry-sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    def spans() -> list[Any]:
        exporter, tracers = InMemorySpanExporter(), TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
        surface = Surface(mode, server, open_telemetry={"tracer_provider": tracers})
        surface.chat()
        surface.take(surface.stream())
        stream = surface.stream("endless")
        surface.take_words(stream, 2)
        surface.wait(stream.close())
        surface.close()
        tracers.shutdown()
        return [
            (one.name, one.status.status_code, {k: v for k, v in one.attributes.items() if not isinstance(v, float)})
            for one in exporter.get_finished_spans()  # floats are times
        ]

    plain = spans()
    with capture() as traces:
        honeytrace.instrument("anthropic")
        try:
            assert spans() == plain
        finally:
            honeytrace.uninstrument()
    assert len(plain) == len(traces) == 3
    assert [event.metadata.get("outcome") for event in traces] == [None, None, "closed"]
