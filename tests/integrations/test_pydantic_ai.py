"""Pydantic AI: runs of agents and their tools, with the events of the client in the same tree."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pydantic_ai = pytest.importorskip("pydantic_ai", reason="needs pydantic-ai-slim[openai]")
openai = pytest.importorskip("openai", reason="needs pydantic-ai-slim[openai]")

from frameworks import KEY, counting, recording, tree
from model_server import ModelServer
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.toolsets import FunctionToolset

import honeytrace
from honeytrace.testing import Traces

MODELS = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}
CALLS = {"chat": "chat.completions.create", "responses": "responses.create"}
WAYS = ("run", "run_stream", "iter")


@pytest.fixture
def both() -> Iterator[Traces]:
    with recording("pydantic_ai", "openai") as traces:
        yield traces


@honeytrace.trace
def look_up(city: str) -> str:
    return f"sunny in {city}"


def weather(city: str) -> str:
    """Say what the weather is like."""
    return look_up(city)


def run(way: str, server: ModelServer, name: str = "once", api: str = "chat", **options: Any) -> Any:
    """Run an agent in one of the ways; gives its output."""

    async def main() -> Any:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client:
            model = MODELS[api](name, provider=OpenAIProvider(openai_client=client))
            agent = pydantic_ai.Agent(model, name="helper", **{"tools": [weather], **options})
            if way == "run":
                return (await agent.run("hi")).output
            if way == "run_stream":
                async with agent.run_stream("hi") as result:
                    return await result.get_output()
            async with agent.iter("hi") as steps:
                async for _ in steps:
                    pass
                return steps.result.output

    return asyncio.run(main())


@pytest.mark.parametrize("api", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_one_tree_of_agent_tools_and_models(way: str, api: str, server: ModelServer, both: Traces) -> None:
    plain = run(way, server, api=api)
    assert plain.replace(" ", "") == "Helloworld"
    assert tree(both) == ["helper", f"  {CALLS[api]}", "  weather", "    look_up", f"  {CALLS[api]}"]
    assert len(both.sessions) == 1
    agent, tool = both.one("helper"), both.one("weather")
    assert (agent.event_type, agent.inputs, agent.outputs) == ("chain", {"input": "hi"}, {"result": plain})
    assert agent.metadata == {"agent_name": "helper", "model": "once"}
    assert (tool.event_type, tool.inputs, tool.outputs) == ("tool", {"city": "Bern"}, {"result": "sunny in Bern"})
    assert tool.metadata == {"tool_name": "weather", "tool_call_id": "call_1"}


def test_tokens_are_counted_by_the_client_alone(server: ModelServer, both: Traces) -> None:
    run("run", server)
    assert counting(both) == ["chat.completions.create"] * 2


def test_run_sync_is_recorded_too(server: ModelServer, both: Traces) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client = openai.AsyncOpenAI(base_url=server.url, api_key=KEY)
    try:
        model = OpenAIChatModel("plain", provider=OpenAIProvider(openai_client=client))
        with honeytrace.span("program"):
            helper = pydantic_ai.Agent(model)
            helper.run_sync("hi")
            look_up("after")
    finally:
        loop.run_until_complete(client.close())
        loop.close()
        asyncio.set_event_loop(None)
    assert tree(both) == ["program", "  helper", "    chat.completions.create", "  look_up"]


@pytest.mark.parametrize("way", WAYS)
def test_an_error_is_recorded_and_reaches_the_program(way: str, server: ModelServer, both: Traces) -> None:
    with pytest.raises(pydantic_ai.exceptions.ModelHTTPError):
        run(way, server, "error-400")
    assert "status_code: 400" in both.one("helper").error


def test_a_tool_that_fails_ends_the_run_with_its_error(server: ModelServer, both: Traces) -> None:
    def broken(city: str) -> str:
        raise LookupError("no such city")

    broken.__name__ = "weather"
    with pytest.raises(LookupError):
        run("run", server, tools=[broken])
    assert both.one("weather").error == both.one("helper").error == "LookupError: no such city"


def test_a_tool_of_toolsets_within_each_other_is_one_event(server: ModelServer, both: Traces) -> None:
    toolset = FunctionToolset([weather]).filtered(lambda context, tool: True)
    run("run", server, tools=[], toolsets=[toolset])
    assert len(both.named("weather")) == 1


def test_an_agent_that_is_the_tool_of_another_is_below_it(server: ModelServer, both: Traces) -> None:
    async def ask(city: str) -> str:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY) as client:
            model = OpenAIChatModel("plain", provider=OpenAIProvider(openai_client=client))
            return str((await pydantic_ai.Agent(model, name="inner").run(city)).output)

    ask.__name__ = "weather"
    run("run", server, tools=[ask])
    call = "chat.completions.create"
    assert tree(both) == ["helper", f"  {call}", "  weather", "    inner", f"      {call}", f"  {call}"]


def test_a_cancelled_run_ends_as_cancelled(server: ModelServer, both: Traces) -> None:
    async def main() -> None:
        async def work() -> None:
            async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY) as client:
                model = OpenAIChatModel("slow", provider=OpenAIProvider(openai_client=client))
                await pydantic_ai.Agent(model, name="helper").run("hi")

        task = asyncio.ensure_future(work())
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert both.one("helper").metadata["outcome"] == "cancelled"


def test_after_uninstrument_the_methods_are_the_very_same(server: ModelServer) -> None:
    before = pydantic_ai.Agent.__dict__["iter"], FunctionToolset.__dict__["call_tool"]
    with recording("pydantic_ai") as traces:
        assert pydantic_ai.Agent.__dict__["iter"] is not before[0]
        honeytrace.uninstrument("pydantic_ai")
        assert (pydantic_ai.Agent.__dict__["iter"], FunctionToolset.__dict__["call_tool"]) == before
        run("run", server, "plain")
    assert len(traces) == 0
