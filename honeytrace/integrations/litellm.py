"""LiteLLM: completions, embeddings, responses and others of every provider, by its own callbacks.

Its end is reported late and from other threads, so a call is never current. Where the client below is recorded, that
event stands for the call and is given what only LiteLLM knows: the price, and the tokens of a stream that names none.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from honeytrace._diagnostics import guard
from honeytrace.integrations._frameworks import Framework, start_step
from honeytrace.integrations._messages import get, shown
from honeytrace.integrations._operation import Operation, read
from honeytrace.integrations._patching import Hook, Target
from honeytrace.integrations.openai import CHAT, ROUTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]

LIBRARY = Framework("litellm")

_OPERATIONS: Mapping[str, Operation] = {
    "completion": CHAT,
    "text_completion": ROUTES["/completions"],
    "responses": ROUTES["/responses"],
    "embedding": ROUTES["/embeddings"],
    "image_generation": ROUTES["/images/generations"],
    "moderation": ROUTES["/moderations"],
    "transcription": ROUTES["/audio/transcriptions"],
    "speech": ROUTES["/audio/speech"],
}
_NEVER = frozenset({"extra_headers", "headers", "api_key", "user_api_key", "metadata", "litellm_metadata"})


class _Callbacks:
    """What LiteLLM calls, by the names of these parameters. Nothing here raises an Exception."""

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        if not LIBRARY.active:
            return
        with guard("starting a call of litellm"):
            name = _name(kwargs)
            operation = _OPERATIONS.get(name)
            if operation is None:
                return
            given = kwargs.get("optional_params") or {}
            config = {name: value for name, value in given.items() if name not in _NEVER}
            about = {"model": kwargs.get("model") or model, "provider": kwargs.get("custom_llm_provider")}
            asked = kwargs.get("input") if name not in ("completion", "text_completion") else None
            request = {**given, "messages": shown(messages), "prompt": messages, "input": asked or messages}
            key = kwargs.get("litellm_call_id")
            earlier = LIBRARY.ending_step(key)
            if earlier is not None:
                earlier.finish(metadata={"outcome": "tried again"})
            inputs = read(operation.inputs, request, LIBRARY.package)
            facts = {"group": get(_metadata(kwargs), "model_group")}
            step = start_step(
                LIBRARY, key, f"litellm.{name}", "model", inputs, config={**config, **about}, metadata=facts
            )
            if step is not None:
                step.step_aside()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        _succeed(kwargs, response_obj, start_time, end_time)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        step = LIBRARY.ending_step(kwargs.get("litellm_call_id"))
        if step is not None:
            with guard("finishing a call of litellm"):
                error = kwargs.get("exception")
                facts = {"status_code": getattr(error, "status_code", None)}
                known = error if isinstance(error, BaseException) else str(error or "failed")
                step.finish(error=known, metadata=facts, ended=end_time.timestamp())

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.log_failure_event(kwargs, response_obj, start_time, end_time)


def _succeed(kwargs: Any, response: Any, start_time: Any, end_time: Any) -> None:
    step = LIBRARY.ending_step(kwargs.get("litellm_call_id"))
    if step is None:
        return
    with guard("finishing a call of litellm"):
        answer = response if isinstance(response, dict) else _dumped(response)
        operation = _OPERATIONS[_name(kwargs)]
        facts = read(operation.metadata, answer, LIBRARY.package)
        first = kwargs.get("completion_start_time")
        if kwargs.get("stream") and first is not None and first != end_time:
            began = kwargs.get("api_call_start_time") or start_time
            facts["time_to_first_token_ms"] = round((first - began).total_seconds() * 1000, 3)
        logged = kwargs.get("standard_logging_object") or {}
        hidden = getattr(response, "_hidden_params", None) or {}
        cached = bool(logged.get("cache_hit") or hidden.get("cache_hit"))
        price = kwargs.get("response_cost") or logged.get("response_cost") or hidden.get("response_cost")
        step.finish(
            read(operation.outputs, answer, LIBRARY.package),
            metadata={**facts, "cache_hit": cached or None},
            counted={} if cached else _counted(kwargs, operation, answer, price),
            ended=end_time.timestamp(),
        )


def _awaited(wrapped: Any, logging: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Where an awaited call has its answer: its callback comes later, or never where the event loop ends first."""
    with guard("finishing a call of litellm"):
        given = dict(zip(("result", "start_time", "end_time"), args, strict=False), **kwargs)
        if not logging.stream:
            _succeed(logging.model_call_details, given["result"], given["start_time"], given["end_time"])
    return wrapped(*args, **kwargs)


def _name(kwargs: Any) -> str:
    """The kind of a call, without the letter that says that it is awaited."""
    kind = str(kwargs.get("call_type"))
    return kind[1:] if kind[1:] in _OPERATIONS else kind


def _metadata(kwargs: Any) -> Any:
    return get(kwargs.get("litellm_params") or {}, "metadata")


def _dumped(answer: Any) -> dict[str, Any]:
    dump = getattr(answer, "model_dump", None)
    return dump(warnings=False) if dump is not None else {}


def _counted(kwargs: Any, operation: Operation, answer: Any, price: Any) -> dict[str, Any]:
    """Tokens and the price. What is not known is not nothing."""
    counted: dict[str, Any] = dict(operation.usage(answer))
    if kwargs.get("stream") and not get(kwargs.get("optional_params"), "stream_options", "include_usage"):
        counted = {**counted, "tokens_estimated": True} if counted.get("total_tokens") else {}
    return {**counted, "cost": price} if price else counted


_callbacks: Any = None


def _install() -> None:
    """Join the callbacks of the program, once; a program that has replaced the list since is joined again."""
    global _callbacks
    LIBRARY.active = True
    if _callbacks is None:
        base = sys.modules["litellm.integrations.custom_logger"].CustomLogger
        _callbacks = type("HoneytraceCallbacks", (_Callbacks, base), {})()
    registered = sys.modules["litellm"].callbacks
    if not any(one is _callbacks for one in registered):
        registered.append(_callbacks)


def _remove() -> None:
    LIBRARY.active = False
    registered = sys.modules["litellm"].callbacks
    registered[:] = [one for one in registered if one is not _callbacks]


TARGETS = (
    Hook("litellm", _install, _remove),
    Target(
        "litellm.litellm_core_utils.litellm_logging",
        "Logging",
        "handle_sync_success_callbacks_for_async_calls",
        _awaited,
    ),
)
