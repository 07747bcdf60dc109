"""An agent that answers from files, as a graph of LangGraph: a node that thinks, a node that runs tools, and a loop.

    python examples/agent_langgraph.py
    python examples/agent_langgraph.py "When is the boiler due?" --folder ~/notes

Needs `pip install langgraph langchain-openai`. With OPENAI_API_KEY in the environment it talks to OpenAI, without one
to a model made of rules that runs on this machine. `instrument` is the line that records graph, tools and model calls
as one tree, the decorated functions among them.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Annotated, Any

try:
    from langchain_core.messages import AnyMessage, SystemMessage
    from langchain_core.tools import StructuredTool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages
    from langgraph.prebuilt import ToolNode
except ModuleNotFoundError:
    raise SystemExit("this example needs LangGraph: pip install langgraph langchain-openai") from None

import offline_model
from folder_tools import DESCRIPTIONS, INSTRUCTIONS, Folder, parse_arguments
from typing_extensions import TypedDict

import honeytrace
from honeytrace import cli


class Conversation(TypedDict):
    """What the nodes of the graph hand on."""

    messages: Annotated[list[AnyMessage], add_messages]


def librarian(model: ChatOpenAI, folder: Folder) -> Any:
    """Make the graph: think, use tools while there are some to use, think again."""
    tools = [
        StructuredTool.from_function(function, name=name, description=DESCRIPTIONS[name][0])
        for name, function in (("find", folder.find), ("read", folder.read))
    ]
    thinker = model.bind_tools(tools)

    def think(state: Conversation) -> dict[str, Any]:
        return {"messages": [thinker.invoke([SystemMessage(INSTRUCTIONS), *state["messages"]])]}

    def wants_tools(state: Conversation) -> str:
        return "tools" if getattr(state["messages"][-1], "tool_calls", None) else END

    graph = StateGraph(Conversation)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", wants_tools, ["tools", END])
    graph.add_edge("tools", "think")
    return graph.compile(name="librarian")


def main() -> int:
    arguments = parse_arguments("gpt-5-mini")
    honeytrace.init(exporters=["local"])
    honeytrace.instrument("langgraph", "openai")
    with ExitStack() as stack:
        if os.environ.get("OPENAI_API_KEY"):
            model = ChatOpenAI(model=arguments.model)
        else:
            url = stack.enter_context(offline_model.serve())
            model = ChatOpenAI(model=offline_model.MODEL, base_url=f"{url}/v1", api_key="none")  # type: ignore[arg-type]
        session = stack.enter_context(honeytrace.session("agent", user_properties={"user_id": "newcomer"}))
        print(f"{arguments.question}\n")
        state = librarian(model, Folder(arguments.folder)).invoke({"messages": [("user", arguments.question)]})
        print(state["messages"][-1].content)
    honeytrace.flush()
    print()
    cli.main(["show", session.session_id])
    return 0


if __name__ == "__main__":
    sys.exit(main())
