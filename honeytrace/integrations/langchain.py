"""LangChain and LangGraph: every run of theirs, by the configure hook of langchain_core.

Chains, prompts, parsers and the nodes of graphs are chains, tools and retrievers tools, and models are models. What is
marked as hidden (the channels of a graph) is left out. Covers langchain_core 0.3 and 1.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar

from honeytrace._diagnostics import guard
from honeytrace._lifecycle import default_tracer
from honeytrace.integrations._frameworks import Framework, Step, start_step
from honeytrace.integrations._langchain_values import (
    counted_tokens,
    has_tool_calls,
    is_hidden,
    model_config,
    model_facts,
    model_outputs,
    plain,
    run_name,
    step_facts,
    tool_result,
)
from honeytrace.integrations._nesting import enclosing
from honeytrace.integrations._patching import Hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]

# From Python 3.11 on its own context variable follows tasks: whoever has no parent there is nobody's child.
LIBRARY = Framework("langchain-core", tells_roots=sys.version_info >= (3, 11))

_CONTEXT = "langchain_core.tracers.context"
_PAUSES = ("GraphInterrupt", "GraphBubbleUp", "NodeInterrupt", "ParentCommand")
"""Exceptions by which a graph waits for a human, or hands over to another graph: no failures."""


class _Callbacks:
    """What langchain_core calls. Nothing here raises an Exception, and nothing is asked while tracing is off."""

    raise_error = False
    run_inline = True  # in the caller's own context, also where callbacks run in a thread

    @property
    def ignore_llm(self) -> bool:
        return not LIBRARY.active or (default_tracer.recorder is None and not LIBRARY.steps)

    ignore_chain = ignore_agent = ignore_retriever = ignore_chat_model = ignore_llm
    ignore_retry = ignore_custom_event = True

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **about: Any) -> None:
        if is_hidden(about):
            LIBRARY.pass_over(run_id, about.get("parent_run_id"))
            return
        given = inputs if isinstance(inputs, dict) else {"input": inputs}
        self._start("chain", serialized, plain(given), run_id, about, yields=True)

    def on_tool_start(self, serialized: Any, input_str: Any, *, run_id: Any, **about: Any) -> None:
        inputs = about.get("inputs")
        given = inputs if isinstance(inputs, dict) else {"input": input_str}
        name = run_name(serialized, about)
        facts = {"tool_name": name, "tool_call_id": about.get("tool_call_id")}
        self._start("tool", serialized, plain(given), run_id, about, facts)

    def on_retriever_start(self, serialized: Any, query: Any, *, run_id: Any, **about: Any) -> None:
        self._start("tool", serialized, {"query": query}, run_id, about)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: Any, **about: Any) -> None:
        history = [{"role": "user", "content": prompt} for prompt in prompts]
        self._start("model", serialized, {"chat_history": history}, run_id, about)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: Any, **about: Any) -> None:
        history = plain(messages[0] if len(messages) == 1 else messages)
        self._start("model", serialized, {"chat_history": history}, run_id, about)

    def _start(
        self, kind: str, serialized: Any, inputs: Any, run_id: Any, about: Any, facts: Any = None, yields: bool = False
    ) -> None:
        with guard("starting a run of langchain"):
            start_step(
                LIBRARY,
                run_id,
                run_name(serialized, about),
                kind,
                inputs,
                parent=about.get("parent_run_id"),
                beside=_first_of_batch(about) if kind == "model" else None,
                config=model_config(about) if kind == "model" else None,
                metadata={**step_facts(about), **(facts or {})},
                yields=yields,
            )

    def on_llm_new_token(self, token: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.steps.get(run_id)
        if step is not None and step.first is None:
            step.piece(bool(token) or has_tool_calls(about.get("chunk")))

    def on_chain_end(self, outputs: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.ending_step(run_id)
        if step is not None:
            with guard("finishing a run of langchain"):
                made, inputs = plain(outputs), plain(about.get("inputs"))
                given = inputs if inputs is None or isinstance(inputs, dict) else {"input": inputs}
                step.finish(made if isinstance(made, dict) else {"result": made}, inputs=given)

    def on_tool_end(self, output: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.ending_step(run_id)
        if step is not None:
            with guard("finishing a run of langchain"):
                result, error, facts = tool_result(output)
                step.finish({"result": result}, error, metadata=facts)

    def on_retriever_end(self, documents: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.ending_step(run_id)
        if step is not None:
            with guard("finishing a run of langchain"):
                step.finish({"documents": plain(list(documents))})

    def on_llm_end(self, response: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.ending_step(run_id)
        if step is not None:
            with guard("finishing a run of langchain"):
                step.finish(model_outputs(response), metadata=model_facts(response), counted=counted_tokens(response))

    def on_chain_error(self, error: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.ending_step(run_id)
        if step is None:
            return
        if any(kind.__name__ in _PAUSES for kind in type(error).__mro__):
            step.finish({"result": plain(list(error.args))}, metadata={"outcome": "interrupted"})
        else:
            self._fail(step, error)

    def on_llm_error(self, error: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.ending_step(run_id)
        if step is not None:
            self._fail(step, error, about.get("response"))

    def on_tool_error(self, error: Any, *, run_id: Any, **about: Any) -> None:
        step = LIBRARY.ending_step(run_id)
        if step is not None:
            self._fail(step, error)

    on_retriever_error = on_tool_error

    def _fail(self, step: Step, error: Any, partial: Any = None) -> None:
        with guard("finishing a run of langchain"):
            outputs = model_outputs(partial) if getattr(partial, "generations", None) else None
            step.finish(outputs or None, error, counted=counted_tokens(partial) if outputs else None)


def _first_of_batch(about: Any) -> Step | None:
    """Of several prompts that are one call the first, which is what is current when the others start."""
    layer = enclosing()
    if (about.get("batch_size") or 1) > 1 and isinstance(layer, Step) and layer.framework is LIBRARY:
        return layer if layer.calls_model and not layer.heard else None
    return None


_handler: ContextVar[Any] | None = None


def _install() -> None:
    """Register the handler, once in a process: it is the default of its variable, and so there in every thread."""
    global _handler
    LIBRARY.active = True
    if _handler is None:
        base = sys.modules["langchain_core.callbacks.base"].BaseCallbackHandler
        handler = type("HoneytraceCallbacks", (_Callbacks, base), {})()
        _handler = ContextVar("honeytrace_langchain", default=handler)
        sys.modules[_CONTEXT].register_configure_hook(_handler, inheritable=True)


def _remove() -> None:
    LIBRARY.active = False


TARGETS = (Hook(_CONTEXT, _install, _remove),)
