"""Pydantic AI: the runs of its agents and their tools. The models are the events of the clients that it uses.

Every way to run an agent goes through `Agent.iter`, every tool through the `call_tool` of a toolset.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from honeytrace._diagnostics import guard
from honeytrace._lifecycle import default_tracer
from honeytrace.integrations._frameworks import Framework, start_step
from honeytrace.integrations._patching import Hook, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]

LIBRARY = Framework("pydantic-ai-slim")


def _iter(wrapped: Any, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    inner = wrapped(*args, **kwargs)
    return inner if default_tracer.recorder is None else _followed(inner, agent, args, kwargs)


@asynccontextmanager
async def _followed(inner: Any, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
    """Enter the context of a run, and record it from then on until it is left."""
    step = None
    with guard("starting a run of pydantic-ai"):
        asked = args[0] if args else kwargs.get("user_prompt")
        name = str(agent.name or "agent")
        model = kwargs.get("model") or agent.model
        facts = {"agent_name": name, "model": model if isinstance(model, str) else getattr(model, "model_name", None)}
        step = start_step(LIBRARY, object(), name, "chain", {"input": asked}, metadata=facts)
    run = None
    try:
        async with inner as run:
            yield run
    except:
        if step is not None:
            step.finish(error=sys.exc_info()[1])
        raise
    if step is not None:
        with guard("finishing a run of pydantic-ai"):
            result = getattr(run, "result", None)
            step.finish(None if result is None else {"result": result.output})


def _call_tool(wrapped: Any, toolset: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    called = wrapped(*args, **kwargs)
    return called if default_tracer.recorder is None else _tool(called, args, kwargs)


async def _tool(called: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Await a tool's call. Toolsets call each other's tools: the outermost one is recorded."""
    step = None
    with guard("starting a tool of pydantic-ai"):
        given = {**dict(zip(("name", "tool_args", "ctx", "tool"), args, strict=False)), **kwargs}
        context = given["ctx"]
        key = (id(context.messages), context.tool_call_id, given["name"])
        if context.tool_call_id is None or not any(one[:2] == key[:2] for one in _running()):
            facts = {"tool_name": given["name"], "tool_call_id": context.tool_call_id}
            step = start_step(LIBRARY, key, str(given["name"]), "tool", given["tool_args"], metadata=facts)
    try:
        result = await called
    except:
        if step is not None:
            step.finish(error=sys.exc_info()[1])
        raise
    if step is not None:
        step.finish({"result": result})
    return result


def _running() -> list[tuple[Any, ...]]:
    return [key for key in LIBRARY.steps if isinstance(key, tuple)]


def _install() -> None:
    LIBRARY.active = True


def _remove() -> None:
    LIBRARY.active = False


TARGETS = (
    Hook("pydantic_ai", _install, _remove),
    Target("pydantic_ai.agent", "Agent", "iter", _iter),
    Target("pydantic_ai.toolsets.abstract", "AbstractToolset", "call_tool", _call_tool),
    Target("pydantic_ai.toolsets.function", "FunctionToolset", "call_tool", _call_tool),
)
