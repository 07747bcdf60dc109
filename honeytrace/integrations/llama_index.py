"""LlamaIndex: queries, retrievers, agents, tools, embeddings and models, by the handlers of its own instrumentation.

What methods do for each other inside (names with an underscore, splitters) is left out. A stream ends when the program
has read it or dropped it, after the method that made it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from weakref import finalize

from honeytrace._diagnostics import guard
from honeytrace.integrations._frameworks import Framework, Step, start_step
from honeytrace.integrations._messages import get
from honeytrace.integrations._patching import Hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]

LIBRARY = Framework("llama-index-core")

_MODULE = "llama_index_instrumentation"
_CALLS = frozenset(("chat", "stream_chat", "complete", "stream_complete"))
_TOOLS = frozenset(("BaseRetriever", "BaseTool", "AsyncBaseTool", "BaseNodePostprocessor"))


def _kind(instance: Any, method: str) -> str:
    names = {kind.__name__ for kind in type(instance).__mro__}
    if "BaseEmbedding" in names or ("BaseLLM" in names and (method in _CALLS or method[1:] in _CALLS)):
        return "model"
    return "tool" if names & _TOOLS else "chain"


class _Spans:
    """What a span handler is told."""

    def new_span(self, id_: str, bound_args: Any, instance: Any = None, parent_span_id: Any = None, **_: Any) -> None:
        with guard("starting a span of llama-index"):
            owner, _dot, method = id_.partition("-")[0].rpartition(".")
            if method.startswith("_") or "split" in method or not LIBRARY.active:
                LIBRARY.pass_over(id_, parent_span_id)
                return
            kind = _kind(instance, method)
            inputs = {name: _plain(value) for name, value in bound_args.arguments.items() if name != "self"}
            for spread in ("kwargs", "kwds"):
                inputs.update(inputs.pop(spread, {}))
            facts: dict[str, Any] = {}
            if "messages" in inputs and kind == "model":
                inputs["chat_history"] = inputs.pop("messages")
            named = getattr(getattr(instance, "metadata", None), "name", None) if kind == "tool" else None
            if named is not None:
                facts["tool_name"] = named
            agent = getattr(instance, "name", None) if "Agent" in owner else None
            facts["agent_name"] = agent if isinstance(agent, str) else None
            config = {"model": getattr(instance, "model_name", None) or getattr(instance, "model", None)}
            name = str(named or f"{owner}.{method}".strip("."))
            start_step(
                LIBRARY,
                id_,
                name,
                kind,
                inputs,
                parent=parent_span_id,
                config=config if kind == "model" else None,
                metadata=facts,
            )

    def prepare_to_exit_span(
        self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **_: Any
    ) -> None:
        step = LIBRARY.open_step(id_)
        if step is None:
            LIBRARY.ending_step(id_)
            return
        with guard("finishing a span of llama-index"):
            if step.calls_model and type(result).__name__ in ("generator", "async_generator"):
                step.step_aside()
                finalize(result, step.finish, metadata={"outcome": "closed"}).atexit = False
                return
            self._finish(step, None if result is None or _is_embedding(step) else _outputs(result))

    def prepare_to_drop_span(self, id_: str, bound_args: Any, instance: Any = None, err: Any = None, **_: Any) -> None:
        step = LIBRARY.ending_step(id_)
        if step is not None:
            step.finish(step.told.get("outputs"), err or "dropped")

    def _finish(self, step: Step, outputs: Mapping[str, Any] | None) -> None:
        step.finish(
            step.told.get("outputs", outputs), metadata=step.told.get("facts"), counted=step.told.get("counted")
        )


class _Events:
    """What an event handler is told: more about models, and the end of their streams."""

    def handle(self, event: Any, **_: Any) -> None:
        kind = type(event).__name__
        step = LIBRARY.open_step(event.span_id) if kind.startswith(("LLM", "Exception")) else None
        if step is None or not step.calls_model:
            return
        with guard("reading an event of llama-index"):
            if kind == "ExceptionEvent" and step.is_aside:
                step.finish(error=event.exception)
            elif kind.endswith("InProgressEvent"):
                step.piece(True)
            elif kind.endswith("EndEvent"):
                response = event.response
                step.told.update(outputs=_outputs(response), counted=_counted(response), facts=_facts(response))
                if step.first is not None or step.is_aside:
                    step.finish(step.told["outputs"], metadata=step.told["facts"], counted=step.told["counted"])


def _is_embedding(step: Step) -> bool:
    return step.calls_model and "outputs" not in step.told


def _plain(value: Any, depth: int = 4) -> Any:
    """Messages as role and content, nodes and responses as their text."""
    if isinstance(value, (list, tuple)) and depth:
        return [_plain(one, depth - 1) for one in value]
    if isinstance(value, dict) and depth:
        return {name: _plain(inner, depth - 1) for name, inner in value.items()}
    if hasattr(value, "blocks") and hasattr(value, "role"):
        role = getattr(value.role, "value", value.role)
        return {"role": role, "content": value.content}
    if hasattr(value, "node") and hasattr(value, "score"):
        return {"text": value.node.get_content(), "score": value.score, "metadata": value.node.metadata}
    if hasattr(value, "query_str"):
        return value.query_str
    return value


def _outputs(result: Any) -> dict[str, Any]:
    message = getattr(result, "message", None)
    if message is not None:
        return dict(_plain(message))
    text = getattr(result, "text", None) if hasattr(result, "raw") else None
    if isinstance(text, str):
        return {"role": "assistant", "content": text}
    if hasattr(result, "raw_output"):
        return {"result": result.raw_output}
    if hasattr(result, "source_nodes"):
        return {"result": getattr(result, "response", None), "sources": _plain(list(result.source_nodes))}
    made = _plain(result)
    return made if isinstance(made, dict) else {"result": made}


def _counted(response: Any) -> dict[str, Any]:
    usage = getattr(response, "additional_kwargs", None) or {}
    return {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _facts(response: Any) -> dict[str, Any]:
    raw = getattr(response, "raw", None)
    raw = raw if isinstance(raw, dict) else getattr(raw, "__dict__", {})
    choice = get(raw, "choices", 0)
    reason = getattr(choice, "finish_reason", None) or get(choice, "finish_reason")
    return {"finish_reason": reason, "response_id": raw.get("id"), "response_model": raw.get("model")}


_registered = False


def _install() -> None:
    """Add both handlers to the root, once: LlamaIndex has no way to take them out again."""
    global _registered
    LIBRARY.active = True
    if not _registered:
        _registered = True
        library = sys.modules[_MODULE]
        spans, events = library.span_handlers.BaseSpanHandler, library.event_handlers.BaseEventHandler
        library.root_dispatcher.add_span_handler(type("HoneytraceSpans", (_Spans, spans), {"__module__": __name__})())
        library.root_dispatcher.add_event_handler(
            type("HoneytraceEvents", (_Events, events), {"__module__": __name__})()
        )


def _remove() -> None:
    LIBRARY.active = False


TARGETS = (Hook(_MODULE, _install, _remove),)
