"""OpenAI's Agents SDK: traces, agents, turns, handoffs, guardrails, tools and models, by a processor of its traces.

Where the program or the environment has switched the SDK's own tracing off there is nothing to hear, and only the
calls of the client are recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import orjson

from honeytrace._diagnostics import guard
from honeytrace.integrations._frameworks import Framework, Step, start_step
from honeytrace.integrations._messages import get, shown
from honeytrace.integrations._operation import read
from honeytrace.integrations._patching import Hook, Target
from honeytrace.integrations.openai import CHAT, RESPONSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]

LIBRARY = Framework("openai-agents")

_KINDS = {"function": "tool", "mcp_tools": "tool", "generation": "model", "response": "model",
          "transcription": "model", "speech": "model"}  # fmt: skip
"""Everything else is a chain."""

_NAMES: dict[str, Callable[[Any], Any]] = {
    "turn": lambda data: f"turn {data.turn}",
    "handoff": lambda data: "handoff",
    "mcp_tools": lambda data: f"list tools of {data.server}",
}


class _Processor:
    """What the SDK calls. Only the newest one listens."""

    def on_trace_start(self, trace: Any) -> None:
        with guard("starting a trace of agents"):
            if self is _newest:
                facts = {"trace_id": trace.trace_id, "group_id": getattr(trace, "group_id", None)}
                given = getattr(trace, "metadata", None) or {}
                start_step(LIBRARY, trace.trace_id, str(trace.name), "chain", {}, metadata={**given, **facts})

    def on_trace_end(self, trace: Any) -> None:
        step = LIBRARY.ending_step(trace.trace_id) if self is _newest else None
        if step is not None:
            with guard("finishing a trace of agents"):
                self._finish(step, None, {}, {}, {})

    def on_span_start(self, span: Any) -> None:
        if self is not _newest:
            return
        with guard("starting a span of agents"):
            data, parent = span.span_data, span.parent_id or span.trace_id
            outer = LIBRARY.open_step(span.trace_id)
            if data.type == "task" and outer is not None and outer.name == data.name:
                LIBRARY.pass_over(span.span_id, parent)
                return
            name = _NAMES[data.type](data) if data.type in _NAMES else getattr(data, "name", None) or data.type
            config = {**_given(getattr(data, "model_config", None)), "model": getattr(data, "model", None)}
            kind = _KINDS.get(data.type, "chain")
            step = start_step(
                LIBRARY,
                span.span_id,
                str(name),
                kind,
                {},
                parent=parent,
                config=config if kind == "model" else None,
                metadata={"span_type": data.type, **_facts(data)},
            )
            if step is not None:
                step.handled = sys.exc_info()[1]

    def on_span_end(self, span: Any) -> None:
        step = LIBRARY.ending_step(span.span_id) if self is _newest else None
        if step is not None:
            with guard("finishing a span of agents"):
                data = span.span_data
                inputs, outputs, counted = _read(data)
                if data.type in ("generation", "response"):
                    _tell_around(step, inputs, outputs)
                if data.type == "response" and data.response is not None:
                    step.add(config={"model": data.response.model})
                self._finish(step, _text(span.error), inputs, outputs, {**_facts(data), "usage_": counted})

    def _finish(self, step: Step, text: str | None, inputs: Any, outputs: Any, facts: dict[str, Any]) -> None:
        raised = sys.exc_info()[1]
        error = raised if raised is not None and raised is not step.handled else text
        counted = facts.pop("usage_", None)
        step.finish(
            outputs or step.told.get("outputs"),
            error,
            inputs=inputs or step.told.get("inputs"),
            metadata=facts,
            counted=counted,
        )

    def shutdown(self) -> None:
        pass

    force_flush = shutdown


_newest: Any = None


def _given(values: Any) -> dict[str, Any]:
    given = values.items() if isinstance(values, Mapping) else ()
    return {name: value for name, value in given if value is not None and name != "base_url"}


def _facts(data: Any) -> dict[str, Any]:
    """What is to be said of a span beside its inputs and outputs."""
    names = {"agent": {"agent_name": "name", "tools": "tools", "handoffs": "handoffs", "output_type": "output_type"},
             "turn": {"agent_name": "agent_name"}, "function": {"tool_name": "name", "mcp": "mcp_data"}}  # fmt: skip
    return {name: getattr(data, field, None) or None for name, field in names.get(data.type, {}).items()}


def _read(data: Any) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, Any]]:
    """Inputs, outputs and tokens of a span that has ended."""
    kind = data.type
    if kind == "response":
        answer = data.response.model_dump(mode="json", warnings=False) if data.response is not None else {}
        request = {"input": data.input, "instructions": answer.get("instructions")}
        outputs = read(RESPONSES.outputs, answer, LIBRARY.package) if answer else {}
        return read(RESPONSES.inputs, request, LIBRARY.package), outputs, _tokens(data.usage)
    if kind == "generation":
        first = data.output[0] if data.output else None
        operation, answer = (RESPONSES, first) if get(first, "output") else (CHAT, {"choices": [{"message": first}]})
        outputs = read(operation.outputs, answer, LIBRARY.package) if first else {}
        return {"chat_history": shown(data.input)} if data.input else {}, outputs, _tokens(data.usage)
    if kind == "function":
        inputs, outputs = _arguments(data.input), {} if data.output is None else {"result": data.output}
        return inputs, outputs, {}
    if kind == "handoff":
        return {"from_agent": data.from_agent}, {"to_agent": data.to_agent}, {}
    if kind == "guardrail":
        return {}, {"triggered": data.triggered}, {}
    if kind == "mcp_tools":
        return {"server": data.server}, {"tools": data.result}, {}
    if kind == "custom":
        return dict(data.data or {}), {}, {}
    return {}, {}, {}


def _arguments(given: Any) -> dict[str, Any]:
    try:
        read = orjson.loads(given)
    except (TypeError, ValueError):
        read = given
    return read if isinstance(read, dict) else {} if read is None else {"input": read}


def _tokens(usage: Any) -> Mapping[str, Any]:
    """The SDK counts as the responses API does, and writes zeros where it does not know."""
    return RESPONSES.usage({"usage": usage}) if get(usage, "total_tokens") or get(usage, "input_tokens") else {}


def _text(error: Any) -> str | None:
    """The error of a span as text: what was raised and caught, too."""
    if not error:
        return None
    detail = get(error, "data", "error")
    return f"{error['message']}: {detail}" if detail else str(error["message"])


def _tell_around(step: Step, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    """Agents and traces do not say what they were asked and what came of it: their models do."""
    history = inputs.get("chat_history") or ()
    asked = [one for one in history if get(one, "role") == "user"]
    made = {name: outputs[name] for name in ("role", "content") if name in outputs}
    outer = step.outer
    while outer is not None:
        if asked:
            outer.told.setdefault("inputs", {"input": asked[-1].get("content")})
        if "content" in made:
            outer.told["outputs"] = made
        outer = outer.outer


def _install() -> None:
    """Add a processor; one that was added before and may have been thrown out since falls silent."""
    global _newest
    tracing = sys.modules["agents.tracing"]
    if not hasattr(tracing, "add_trace_processor"):  # somebody else's package of that name
        return
    LIBRARY.active = True
    _newest = type("HoneytraceProcessor", (_Processor, tracing.TracingProcessor), {})()
    tracing.add_trace_processor(_newest)


def _remove() -> None:
    global _newest
    LIBRARY.active = False
    _newest = None


def _set_processors(wrapped: Any, provider: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Programs replace all processors to be rid of the SDK's own."""
    result = wrapped(*args, **kwargs)
    if _newest is not None:
        with guard("adding a trace processor"):
            provider.register_processor(_newest)
    return result


TARGETS = (
    Hook("agents.tracing", _install, _remove),
    Target("agents.tracing.provider", "DefaultTraceProvider", "set_processors", _set_processors),
)
