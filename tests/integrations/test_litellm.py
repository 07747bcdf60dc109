"""LiteLLM: each call one event, with the tokens and the price once, whether or not the client below is recorded."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the network for prices when it is imported
litellm = pytest.importorskip("litellm", reason="needs litellm")
openai = pytest.importorskip("openai", reason="needs openai")

from frameworks import KEY, TOKENS, counting, recording, tidied, tree
from model_server import ModelServer

import honeytrace
from honeytrace.integrations import litellm as integration
from honeytrace.testing import Traces

# LiteLLM warns of itself in many places, and its workers outlive event loops; what honeytrace does is still an error.
pytestmark = pytest.mark.filterwarnings("default")


tidy = pytest.fixture(scope="module", autouse=True)(tidied)
MESSAGES = [{"role": "user", "content": "hi"}]
WAYS = ("completion", "acompletion", "stream", "astream", "router", "arouter")
OPENAI, OTHER = "openai/gpt-4o", "hosted_vllm/plain"
"""A model that LiteLLM reaches through the client of openai, and one that it reaches by HTTP of its own."""


def call(way: str, server: ModelServer, model: str = OPENAI, **options: Any) -> Any:
    """Make a call in one of LiteLLM's ways, and read it to its end."""
    given = {"api_base": server.url, "api_key": KEY, "max_retries": 0}
    request = {"messages": MESSAGES, "stream": "stream" in way, **options}
    if "router" in way:
        router = litellm.Router([{"model_name": "group", "litellm_params": {"model": model, **given}}], num_retries=0)
        plain, awaited, request = router.completion, router.acompletion, {**request, "model": "group"}
    else:
        plain, awaited, request = litellm.completion, litellm.acompletion, {**request, "model": model, **given}

    async def main() -> Any:
        answer = await awaited(**request)
        if "stream" not in way:
            return answer
        pieces = [piece async for piece in answer]
        await asyncio.to_thread(until, ended)  # the end of a stream is told in its event loop
        return pieces

    if way.startswith("a"):
        return asyncio.run(main())
    return list(plain(**request)) if way == "stream" else plain(**request)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what LiteLLM says in a thread of its own."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ended() -> bool:
    return not integration.LIBRARY.steps


@pytest.fixture
def both() -> Iterator[Traces]:
    with recording("litellm", "openai") as traces:
        yield traces
        until(ended)


@pytest.fixture
def alone() -> Iterator[Traces]:
    with recording("litellm") as traces:
        yield traces
        until(ended)


class Gate(litellm.integrations.custom_logger.CustomLogger):  # type: ignore[name-defined,misc]
    """A callback of the program that holds up those behind it until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.opened.wait(30)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Makes all ends late; asked for before the recording, so that it is in front."""
    gate = Gate()
    names = ("callbacks", "input_callback", "success_callback", "failure_callback")
    before = {name: list(getattr(litellm, name)) for name in names}
    for name in names:
        getattr(litellm, name)[:] = [gate]
    yield gate
    gate.opened.set()
    for name in names:
        getattr(litellm, name)[:] = before[name]


@pytest.mark.parametrize("way", WAYS)
def test_the_event_of_the_client_stands_for_the_call_and_has_the_price(
    way: str, server: ModelServer, both: Traces
) -> None:
    with honeytrace.span("program"):
        call(way, server, stream_options={"include_usage": True} if "stream" in way else None)
    until(ended)
    assert tree(both) == ["program", "  chat.completions.create"]
    event = both.one("chat.completions.create")
    assert {name: event.metadata[name] for name in TOKENS} == TOKENS
    assert 0 < event.metadata["cost"] < 0.01


@pytest.mark.parametrize("model", [OPENAI, OTHER])
@pytest.mark.parametrize("way", WAYS)
def test_without_the_client_the_call_is_an_event_of_its_own(
    way: str, model: str, server: ModelServer, alone: Traces
) -> None:
    with honeytrace.span("program"):
        call(way, server, model, temperature=0.5)
    until(ended)
    assert tree(alone) == ["program", "  litellm.completion"]
    event = alone.one("litellm.completion")
    assert event.event_type == "model"
    assert event.inputs == {"chat_history": MESSAGES}
    assert (event.outputs["role"], event.outputs["content"]) == ("assistant", "Hello world")
    assert (event.config["model"], event.config["provider"]) == tuple(reversed(model.split("/")))
    assert event.config["temperature"] == 0.5
    assert event.metadata["finish_reason"] == "stop"
    assert ("cost" in event.metadata) == (model == OPENAI)
    if "stream" in way:
        assert event.metadata["tokens_estimated"] is True
        assert event.metadata["time_to_first_token_ms"] > 0
    else:
        assert {name: event.metadata[name] for name in TOKENS} == TOKENS
    assert KEY not in str([one.fields for one in alone])


def test_a_stream_of_which_the_client_knows_no_tokens_is_given_the_estimate(server: ModelServer, both: Traces) -> None:
    call("stream", server)
    until(ended)
    event = both.one("chat.completions.create")
    assert (event.metadata["tokens_estimated"], event.metadata["total_tokens"] > 0) == (True, True)
    assert counting(both) == ["chat.completions.create"]


@pytest.mark.parametrize("way", ["completion", "acompletion", "stream", "router"])
def test_what_follows_a_call_is_no_part_of_it(way: str, server: ModelServer, alone: Traces) -> None:
    with honeytrace.span("program"):
        call(way, server)
        with honeytrace.span("later"):
            pass
    until(ended)
    assert {alone.one(name).parent_id for name in ("later", "litellm.completion")} == {alone.one("program").event_id}


def test_a_call_of_the_client_after_one_that_did_not_use_it_is_not_taken_for_it(
    gate: Gate, server: ModelServer, both: Traces
) -> None:
    call("completion", server, OTHER)
    assert not ended()
    with openai.OpenAI(api_key=KEY, base_url=server.url) as client:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    gate.opened.set()
    until(ended)
    assert sorted(counting(both)) == ["chat.completions.create", "litellm.completion"]


def test_calls_side_by_side_are_counted_once_each(server: ModelServer, both: Traces) -> None:
    async def main() -> None:
        given = {"api_base": server.url, "api_key": KEY, "messages": MESSAGES}
        await asyncio.gather(*(litellm.acompletion(model=OPENAI, **given) for _ in range(5)))

    asyncio.run(main())
    until(ended)
    assert counting(both) == ["chat.completions.create"] * 5
    assert all(event.metadata["cost"] > 0 for event in both)


@pytest.mark.parametrize("way", ["completion", "acompletion", "stream", "astream", "router"])
@pytest.mark.parametrize("client", [False, True])
def test_an_error_is_recorded_once_and_reaches_the_program(client: bool, way: str, server: ModelServer) -> None:
    with recording("litellm", *["openai"] * client) as traces:
        with pytest.raises(litellm.BadRequestError):
            call(way, server, "openai/error-400")
        until(ended)
    (event,) = traces
    assert "bad request" in event.error
    assert event.event_name == ("chat.completions.create" if client else "litellm.completion")
    assert event.metadata["status_code"] == 400


def test_an_embedding_is_a_model_event_without_vectors(server: ModelServer, alone: Traces) -> None:
    litellm.embedding(model="hosted_vllm/e", input=["words"], api_base=server.url, api_key=KEY)
    until(ended)
    event = alone.one("litellm.embedding")
    assert (event.event_type, event.inputs) == ("model", {"input": ["words"]})
    assert event.outputs == {"embeddings": {"count": 1, "dimensions": 3}}
    assert event.metadata["prompt_tokens"] == 5


def test_other_callbacks_of_the_program_hear_the_same(server: ModelServer) -> None:
    heard: list[str] = []

    class Ear(litellm.integrations.custom_logger.CustomLogger):  # type: ignore[name-defined,misc]
        def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
            heard.append("start")

        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            heard.append("end")

    ear = Ear()
    litellm.callbacks.append(ear)
    try:
        with recording("litellm", "openai"):
            call("completion", server)
            until(lambda: len(heard) == 2 and ended())
    finally:
        litellm.callbacks.remove(ear)
        for name in ("input_callback", "success_callback", "failure_callback"):
            setattr(litellm, name, [one for one in getattr(litellm, name) if one is not ear])
    assert heard == ["start", "end"]


def test_after_uninstrument_nothing_is_recorded_and_twice_records_once(server: ModelServer) -> None:
    with recording("litellm") as traces:
        honeytrace.instrument("litellm")
        call("completion", server)
        until(ended)
        honeytrace.uninstrument("litellm")
        call("completion", server)
    assert len(traces) == 1


def test_a_call_lasts_as_long_as_it_did_and_not_until_it_is_heard_of(
    gate: Gate, server: ModelServer, alone: Traces
) -> None:
    with honeytrace.span("program"):
        call("completion", server)
    assert not ended()
    gate.opened.set()
    until(ended)
    program, event = alone.one("program"), alone.one("litellm.completion")
    assert program.start_time <= event.start_time <= event.end_time <= program.end_time


@pytest.mark.parametrize(
    "libraries", [("agents", "litellm", "openai"), ("agents", "litellm"), ("agents", "openai"), ("agents",)]
)
@pytest.mark.parametrize("model", [OPENAI, OTHER])
def test_of_three_that_report_one_call_one_counts(model: str, libraries: tuple[str, ...], server: ModelServer) -> None:
    agents = pytest.importorskip("agents", reason="needs openai-agents")
    extension = pytest.importorskip("agents.extensions.models.litellm_model", reason="needs openai-agents[litellm]")

    async def main() -> None:
        through = extension.LitellmModel(model, base_url=server.url, api_key=KEY)
        await agents.Runner.run(agents.Agent(name="helper", model=through), "hi")

    with recording(*libraries) as traces:
        agents.set_trace_processors([])
        asyncio.run(main())
        until(ended)
    inner = ["chat.completions.create"] if "openai" in libraries and model == OPENAI else []
    outer = ["litellm.completion"] if "litellm" in libraries else ["generation"]
    assert counting(traces) == (inner or outer)
    (event,) = [event for event in traces if "total_tokens" in event.metadata]
    assert event.event_type == "model"
    assert event.metadata["total_tokens"] == 18
    assert ("cost" in event.metadata) == ("litellm" in libraries and model == OPENAI)
    assert len(traces.sessions) == 1
