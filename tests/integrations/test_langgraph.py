"""LangGraph: nodes, tools and models of a graph in one tree, without the machinery of the graph."""

from __future__ import annotations

import asyncio
import operator
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

warnings.filterwarnings("ignore", category=PendingDeprecationWarning)  # of older versions about themselves
pytest.importorskip("langgraph", reason="needs langgraph")
pytest.importorskip("langchain_openai", reason="needs langchain-openai")

from frameworks import KEY, counting, recording, tree
from langchain_core.messages import AnyMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt
from model_server import ModelServer
from typing_extensions import TypedDict

import honeytrace
from honeytrace.testing import Traces


@pytest.fixture
def both() -> Iterator[Traces]:
    with recording("langgraph", "openai") as traces:
        yield traces


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@honeytrace.trace
def look_up(city: str) -> str:
    return f"sunny in {city}"


@tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return look_up(city)


def agent(server: ModelServer, asynchronous: bool) -> Any:
    llm = ChatOpenAI(model="once", base_url=server.url, api_key=KEY).bind_tools([weather])

    def think(state: State) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"])]}

    async def athink(state: State) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    def more(state: State) -> str:
        return "tools" if state["messages"][-1].tool_calls else END

    graph = StateGraph(State)
    graph.add_node("think", athink if asynchronous else think)
    graph.add_node("tools", ToolNode([weather]))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", more, ["tools", END])
    graph.add_edge("tools", "think")
    return graph.compile(name="assistant")


LOOP = """\
assistant
  think
    ChatOpenAI
      chat.completions.create
    more
  tools
    weather
      look_up
  think
    ChatOpenAI
      chat.completions.create
    more""".split("\n")


@pytest.mark.parametrize("mode", ["invoke", "stream", "ainvoke", "astream"])
def test_an_agent_is_one_tree_of_nodes_tools_and_models(mode: str, server: ModelServer, both: Traces) -> None:
    given = {"messages": [("user", "How is the weather in Bern?")]}
    graph = agent(server, mode.startswith("a"))

    async def collect() -> None:
        if mode == "ainvoke":
            await graph.ainvoke(given)
        else:
            async for _ in graph.astream(given):
                pass

    if mode == "invoke":
        graph.invoke(given)
    elif mode == "stream":
        list(graph.stream(given))
    else:
        asyncio.run(collect())
    assert tree(both) == LOOP
    assert counting(both) == ["chat.completions.create"] * 2
    assert len(both.sessions) == 1
    event = both.one("weather")
    assert (event.event_type, event.inputs, event.outputs) == ("tool", {"city": "Bern"}, {"result": "sunny in Bern"})
    assert event.metadata["tool_call_id"] == "call_1"
    whole = both.one("assistant")
    assert whole.outputs["messages"][-1]["content"] == "Hello world"
    assert whole.outputs["messages"][1]["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": '{"city":"Bern"}',
    }
    assert both.named("think")[0].metadata["langgraph_node"] == "think"


def test_nodes_that_run_side_by_side_are_siblings(both: Traces) -> None:
    class Sum(TypedDict):
        seen: Annotated[list[str], operator.add]

    graph = StateGraph(Sum)
    for name in ("left", "right"):
        graph.add_node(name, lambda state, name=name: {"seen": [look_up(name)]})
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    graph.compile(name="both").invoke({"seen": []})
    assert sorted(tree(both)) == sorted(["both", "  left", "    look_up", "  right", "    look_up"])


def test_a_graph_that_waits_for_a_human_did_not_fail(both: Traces) -> None:
    def ask(state: State) -> dict[str, Any]:
        return {"messages": [("user", interrupt("really?"))]}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    compiled = graph.compile(checkpointer=InMemorySaver(), name="careful")
    config: Any = {"configurable": {"thread_id": "1"}}
    compiled.invoke({"messages": []}, config)
    compiled.invoke(Command(resume="yes"), config)
    first, second = both.named("ask")
    assert (first.error, first.metadata["outcome"]) == (None, "interrupted")
    assert second.outputs == {"messages": [["user", "yes"]]}
    assert [event.error for event in both] == [None] * len(both)


def test_an_error_in_a_node_reaches_the_program_and_all_around_it(both: Traces) -> None:
    def fail(state: State) -> dict[str, Any]:
        raise ZeroDivisionError("no")

    graph = StateGraph(State)
    graph.add_node("fail", fail)
    graph.add_edge(START, "fail")
    with pytest.raises(ZeroDivisionError):
        graph.compile(name="brittle").invoke({"messages": []})
    assert [event.error for event in both] == ["ZeroDivisionError: no"] * 2


def test_a_graph_inside_a_node_is_its_child(both: Traces) -> None:
    inner = StateGraph(State)
    inner.add_node("deep", lambda state: {"messages": [("user", look_up("deep"))]})
    inner.add_edge(START, "deep")
    compiled = inner.compile(name="inner")
    outer = StateGraph(State)
    outer.add_node("call", lambda state: compiled.invoke(state))
    outer.add_edge(START, "call")
    outer.compile(name="outer").invoke({"messages": []})
    assert tree(both) == ["outer", "  call", "    inner", "      deep", "        look_up"]
