"""OpenAI's Agents SDK: agents, turns, tools and models in one tree with decorated functions and client events."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

agents = pytest.importorskip("agents", reason="needs openai-agents")
if not hasattr(agents, "add_trace_processor"):
    pytest.skip("needs openai-agents", allow_module_level=True)

import openai
import pydantic
from frameworks import KEY, TOKENS, counting, recording, tree
from model_server import ModelServer

import honeytrace
from honeytrace.testing import Traces

MODELS = {"responses": agents.OpenAIResponsesModel, "chat": agents.OpenAIChatCompletionsModel}
CALLS = {"responses": "responses.create", "chat": "chat.completions.create"}
STEPS = {"responses": "response", "chat": "generation"}


@pytest.fixture(autouse=True)
def only_ours() -> None:
    """Keep the SDK's own traces from leaving this machine."""
    agents.set_trace_processors([])


@pytest.fixture
def both() -> Iterator[Traces]:
    with recording("openai_agents", "openai") as traces:
        yield traces


@honeytrace.trace
def look_up(city: str) -> str:
    return f"sunny in {city}"


@agents.function_tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return look_up(city)


_clients: list[openai.AsyncOpenAI] = []


def model(server: ModelServer, api: str, name: str) -> Any:
    _clients.append(openai.AsyncOpenAI(base_url=server.url, api_key=KEY, max_retries=0))
    return MODELS[api](name, _clients[-1])


def to_the_end(work: Any) -> None:
    """Run a coroutine in a loop of its own, and close its clients there."""

    async def main() -> None:
        try:
            await work
        finally:
            while _clients:
                await _clients.pop().close()

    asyncio.run(main())


def agent(server: ModelServer, api: str = "responses", name: str = "once", **options: Any) -> Any:
    return agents.Agent(
        name="helper", instructions="be nice", tools=[weather], model=model(server, api, name), **options
    )


async def read(run: Any) -> None:
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type.endswith("output_text.delta"):
            look_up("between")


def run(way: str, agent: Any, given: str = "hi", **options: Any) -> None:
    async def streamed() -> None:
        await read(agents.Runner.run_streamed(agent, given, **options))

    to_the_end(agents.Runner.run(agent, given, **options) if way == "run" else streamed())


@pytest.mark.parametrize("api", MODELS)
@pytest.mark.parametrize("way", ["run", "run_streamed"])
def test_a_run_is_one_tree_of_agent_turns_tools_and_models(
    way: str, api: str, server: ModelServer, both: Traces
) -> None:
    with honeytrace.span("program"):
        run(way, agent(server, api, model_settings=agents.ModelSettings(include_usage=True)))
    drawn = [line for line in tree(both) if line != "  look_up"]
    model_lines = [f"        {STEPS[api]}", f"          {CALLS[api]}"]
    start = ["program", "  Agent workflow", "    helper", "      turn 1", *model_lines]
    assert drawn == [*start, "        weather", "          look_up", "      turn 2", *model_lines]
    assert counting(both) == [CALLS[api]] * 2
    assert both.one("helper").metadata["agent_name"] == "helper"
    for name in ("helper", "Agent workflow"):
        assert both.one(name).inputs == {"input": "hi"}
        assert both.one(name).outputs == {"role": "assistant", "content": "Hello world"}
    tool = both.one("weather")
    assert (tool.event_type, tool.inputs, tool.outputs) == ("tool", {"city": "Bern"}, {"result": "sunny in Bern"})
    between = [one for one in both.named("look_up") if one.inputs == {"city": "between"}]
    assert {one.parent_id for one in between} <= {both.one("program").event_id}
    assert bool(between) == (way == "run_streamed")


@pytest.mark.parametrize("api", MODELS)
@pytest.mark.parametrize("way", ["run", "run_streamed"])
def test_without_the_client_the_model_of_the_sdk_counts(way: str, api: str, server: ModelServer) -> None:
    with recording("agents") as traces:
        run(way, agent(server, api, "plain", model_settings=agents.ModelSettings(include_usage=True)))
    (event,) = traces.named(STEPS[api])
    assert counting(traces) == [STEPS[api]]
    assert event.event_type == "model"
    assert {name: event.metadata[name] for name in TOKENS} == TOKENS
    assert event.inputs["chat_history"][-1] == {"role": "user", "content": "hi"}
    assert (event.outputs["role"], event.outputs["content"]) == ("assistant", "Hello world")
    assert event.config["model"].startswith("plain")


def test_what_a_stream_does_not_count_is_unknown_and_not_nothing(server: ModelServer, both: Traces) -> None:
    run("run_streamed", agent(server, "chat", "plain"))
    assert counting(both) == []


@pytest.mark.parametrize("api", MODELS)
@pytest.mark.parametrize("way", ["run", "run_streamed"])
def test_an_error_is_recorded_where_it_passes_and_reaches_the_program(
    way: str, api: str, server: ModelServer, both: Traces
) -> None:
    with pytest.raises(openai.BadRequestError):
        run(way, agent(server, api, "error-400"))
    assert {event.event_name for event in both if event.error} >= {"helper", "turn 1", STEPS[api], CALLS[api]}
    assert both.one(STEPS[api]).error == "BadRequestError: Error code: 400 - bad request"


def test_a_tool_that_fails_has_an_error_even_where_the_sdk_tells_the_model(server: ModelServer, both: Traces) -> None:
    @agents.function_tool(name_override="weather")
    def broken(city: str) -> str:
        """Fail."""
        raise LookupError(f"no such city: {city}")

    run("run", agents.Agent(name="helper", tools=[broken], model=model(server, "responses", "once")))
    assert both.one("weather").error.startswith("Error running tool")
    assert both.one("helper").error is None


def test_a_span_inside_the_handling_of_an_exception_did_not_fail(both: Traces) -> None:
    with agents.trace("program"):
        try:
            raise LookupError("handled")
        except LookupError:
            with agents.custom_span("tidy up", {"left": 0}):
                pass
    assert [event.error for event in both] == [None, None]
    assert both.one("tidy up").inputs == {"left": 0}


def test_a_cancelled_run_ends_as_cancelled(server: ModelServer, both: Traces) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(agents.Runner.run(agent(server, "responses", "slow"), "hi"))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    to_the_end(main())
    for name in ("helper", "turn 1", "response", "responses.create"):
        assert both.one(name).metadata["outcome"] == "cancelled"


def test_handoffs_and_guardrails_are_chains(server: ModelServer, both: Traces) -> None:
    @agents.input_guardrail(name="polite")
    async def polite(context: Any, agent: Any, given: Any) -> Any:
        return agents.GuardrailFunctionOutput(output_info=look_up("manners"), tripwire_triggered=False)

    expert = agents.Agent(name="expert", model=model(server, "responses", "plain"))

    class Where(pydantic.BaseModel):
        city: str

    def told(context: Any, given: Where) -> None:
        pass

    transfer = agents.handoff(expert, tool_name_override="weather", input_type=Where, on_handoff=told)
    first = agents.Agent(
        name="first", handoffs=[transfer], input_guardrails=[polite], model=model(server, "responses", "tools")
    )
    run("run", first)
    assert both.one("polite").outputs == {"triggered": False}
    assert both.one("polite").event_type == both.one("handoff").event_type == "chain"
    assert (both.one("handoff").inputs, both.one("handoff").outputs) == (
        {"from_agent": "first"},
        {"to_agent": "expert"},
    )
    assert {both.one("first").metadata["agent_name"], both.one("expert").metadata["agent_name"]} == {"first", "expert"}


def test_runs_inside_one_trace_are_one_tree_with_its_metadata(server: ModelServer, both: Traces) -> None:
    with agents.trace("two questions", group_id="thread 1", metadata={"user": "ada"}):
        run("run", agent(server, name="plain"))
        run("run", agent(server, name="plain"))
    root = both.one("two questions")
    assert len(both.sessions) == 1
    assert len(both.named("helper")) == 2
    assert (root.metadata["user"], root.metadata["group_id"]) == ("ada", "thread 1")
    assert root.inputs == {"input": "hi"}


def test_runs_side_by_side_do_not_see_each_other(server: ModelServer, both: Traces) -> None:
    async def main() -> None:
        await asyncio.gather(*(agents.Runner.run(agent(server), "hi") for _ in range(3)))

    to_the_end(main())
    assert len(both.sessions) == 3
    for root in both.named("Agent workflow"):
        mine = [event for event in both if event.session_id == root.session_id]
        assert sorted(event.event_name for event in mine) == sorted(
            ["Agent workflow", "helper", "turn 1", "turn 2", "weather", "look_up"]
            + ["response", "responses.create"] * 2
        )


def test_a_program_that_replaces_the_processors_is_still_recorded_and_once(server: ModelServer, both: Traces) -> None:
    agents.set_trace_processors([])
    run("run", agent(server, name="plain"))
    assert len(both.named("helper")) == 1
    honeytrace.instrument("agents")
    run("run", agent(server, name="plain"))
    assert len(both.named("helper")) == 2


def test_after_uninstrument_nothing_is_recorded(server: ModelServer) -> None:
    with recording("agents") as traces:
        honeytrace.uninstrument("openai_agents")
        run("run", agent(server, name="plain"))
        agents.set_trace_processors([])
    assert len(traces) == 0


def test_a_package_of_the_same_name_is_left_alone(tmp_path: Any) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("from . import tracing\n")
    (tmp_path / "agents" / "tracing.py").write_text("provider = None\n")
    program = "import sys, honeytrace; honeytrace.instrument(); import agents; print(agents.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path / "agents" / "__init__.py"), "")
