"""Cohere's package, the second version of its interface: chat, streams of it, embed and rerank.

Covers `ClientV2` and `Client.v2` of cohere 5.11 and later. From 5.16 on a client has a raw one behind it, and that is
what is patched: a client binds its own methods when it is made, so that patches that come later would be passed by.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from types import AsyncGeneratorType, GeneratorType

from honeytrace._diagnostics import guard
from honeytrace._lifecycle import default_tracer
from honeytrace.integrations._calls import Library, ModelCall
from honeytrace.integrations._joins import Pieces
from honeytrace.integrations._messages import fields_of, get, given, plain, shown, tool_call
from honeytrace.integrations._methods import Question, method, regenerated
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._patching import Target
from honeytrace.integrations._streams import StreamRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any

__all__ = ["LIBRARY", "TARGETS", "parts"]


def _usage(answer: Any) -> dict[str, Any]:
    usage = get(answer, "usage") or get(answer, "meta")
    tokens = get(usage, "tokens") or get(usage, "billed_units")
    prompt, completion = _count(get(tokens, "input_tokens")), _count(get(tokens, "output_tokens"))
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": None if prompt is None else prompt + (completion or 0),
        "cache_read_input_tokens": _count(get(usage, "cached_tokens")),
    }
    return {name: count for name, count in counts.items() if count is not None}


def _count(value: Any) -> int | None:
    """The client gives counts as floats."""
    return int(value) if isinstance(value, (int, float)) else None


def _texts(answer: Any, kind: str, name: str) -> str | None:
    parts = get(answer, "message", "content") or ()
    return "".join(get(part, name) or "" for part in parts if get(part, "type") == kind) or None


def _tool_calls(answer: Any) -> Any:
    calls = get(answer, "message", "tool_calls") or ()
    return [
        tool_call(get(call, "id"), get(call, "function", "name"), get(call, "function", "arguments")) for call in calls
    ] or None


class _Join:
    """Joins the events of a chat."""

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}
        self._texts = Pieces()
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, event: Any) -> bool:
        """Take an event."""
        kind, message = get(event, "type"), get(event, "delta", "message")
        if kind == "message-start":
            self._answer["id"] = get(event, "id")
        elif kind == "message-end":
            self._answer.update(finish_reason=get(event, "delta", "finish_reason"), usage=get(event, "delta", "usage"))
        elif kind == "tool-call-start":
            self._calls[get(event, "index") or 0] = {"id": get(message, "tool_calls", "id"), "function": {
                "name": get(message, "tool_calls", "function", "name")}}  # fmt: skip
        index = get(event, "index") or 0
        return any([
            self._texts.add("text", get(message, "content", "text")),
            self._texts.add("thinking", get(message, "content", "thinking")),
            self._texts.add("plan", get(message, "tool_plan")),
            self._texts.add(index, get(message, "tool_calls", "function", "arguments")),
        ])  # fmt: skip

    def result(self) -> Any:
        """Give the answer so far."""
        for index, call in self._calls.items():
            call["function"]["arguments"] = self._texts.text(index)
        content = [{"type": kind, kind: self._texts.text(kind)} for kind in ("text", "thinking")]
        calls = [call for _, call in sorted(self._calls.items())]
        return {**self._answer, "message": {"content": content, "tool_calls": calls,
                                            "tool_plan": self._texts.text("plan")}}  # fmt: skip


CHAT = Operation(
    event_name="chat",
    inputs={
        "chat_history": lambda request: shown(plain(request.get("messages"))),
        "documents": lambda request: request.get("documents"),
    },
    content=frozenset({"messages", "documents", "request_options"}),
    outputs={
        "role": lambda answer: "assistant",
        "content": lambda answer: _texts(answer, "text", "text"),
        "tool_calls": _tool_calls,
        "reasoning": lambda answer: _texts(answer, "thinking", "thinking") or get(answer, "message", "tool_plan"),
        "citations": lambda answer: plain(get(answer, "message", "citations")),
    },
    metadata={
        "response_id": lambda answer: get(answer, "id"),
        "finish_reason": lambda answer: get(answer, "finish_reason"),
    },
    usage=_usage,
    join=_Join,
)


def _vectors(answer: Any) -> Any:
    """How many vectors of which size, of the first of the types that were asked for."""
    for kind, vectors in fields_of(get(answer, "embeddings")).items():
        if isinstance(vectors, list) and vectors:
            return {"count": len(vectors), "dimensions": len(vectors[0]), "type": kind.rstrip("_")}
    return None


_EMBEDDED = ("texts", "images", "inputs")

EMBED = replace(
    CHAT,
    event_name="embed",
    inputs={"input": lambda request: shown(plain(next(request[name] for name in _EMBEDDED if name in request)))},
    content=frozenset({"texts", "images", "inputs", "request_options"}),
    outputs={"embeddings": _vectors},
)
RERANK = replace(
    CHAT,
    event_name="rerank",
    inputs={
        "query": lambda request: request.get("query"),
        "documents": lambda request: plain(request.get("documents")),
    },
    content=frozenset({"query", "documents", "request_options"}),
    outputs={"results": lambda answer: plain(get(answer, "results"))},
)

LIBRARY = Library("cohere")


def _key(client: Any) -> Any:
    return get(client, "_client_wrapper", "_token")


def _asked_raw(operation: Operation) -> Any:
    return lambda client, args, kwargs: (operation, given(kwargs))


def _asked_of_old(operation: Operation) -> Any:
    return lambda client, args, kwargs: None if hasattr(client, "_raw_client") else (operation, given(kwargs))


def _landed(call: ModelCall, result: Any) -> Any:
    """A raw answer: what the client would give is in it."""
    with guard("finishing a model call"):
        call.finish(fields_of(result).get("_data"))
    return result


def _stream(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The door of a method that gives a context manager, in whose block the stream is."""
    manager = wrapped(*args, **kwargs)
    question = None
    with guard("starting a model call"):
        if default_tracer.recorder is not None:
            question = Question(LIBRARY, CHAT_STREAM, given(kwargs), lambda: _provider(client), _key(client))
    if question is None:
        return manager
    return (_async_block if hasattr(manager, "__aenter__") else _block)(manager, question)


@contextmanager
def _block(manager: Any, question: Question) -> Iterator[Any]:
    with ExitStack() as stack:
        record = question.record()
        try:
            response = stack.enter_context(manager)
        except BaseException as error:
            if record is not None:
                record.end(error)
            raise
        _tap(response, record)
        try:
            yield response
        finally:
            if record is not None:
                record.body_ended()


@asynccontextmanager
async def _async_block(manager: Any, question: Question) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        record = question.record()
        try:
            response = await stack.enter_async_context(manager)
        except BaseException as error:
            if record is not None:
                record.end(error)
            raise
        _tap(response, record)
        try:
            yield response
        finally:
            if record is not None:
                record.body_ended()


def _tap(response: Any, record: StreamRecord | None) -> None:
    data = fields_of(response).get("_data")
    if record is not None and isinstance(data, (GeneratorType, AsyncGeneratorType)):
        response._data = regenerated(data, lambda: record)


CHAT_STREAM = replace(CHAT, event_name="chat_stream")
_OPERATIONS = {"chat": CHAT, "embed": EMBED, "rerank": RERANK}


def parts(client: Any) -> Iterator[Any]:
    """The raw client behind one, which may be one of two."""
    raw = fields_of(client).get("_raw_client")
    yield fields_of(raw).get("_v2") or raw


def _provider(client: Any) -> str:
    return "cohere"


TARGETS = (
    *(
        Target("cohere.v2.raw_client", owner, name, method(
            LIBRARY, _asked_raw(operation), provider=_provider, key=_key, land=_landed))
        for name, operation in _OPERATIONS.items() for owner in ("RawV2Client", "AsyncRawV2Client")
    ),
    Target("cohere.v2.raw_client", "RawV2Client", "chat_stream", _stream),
    Target("cohere.v2.raw_client", "AsyncRawV2Client", "chat_stream", _stream),
    *(
        Target("cohere.v2.client", owner, name, method(
            LIBRARY, _asked_of_old(operation), provider=_provider, key=_key))
        for name, operation in {**_OPERATIONS, "chat_stream": CHAT_STREAM}.items()
        for owner in ("V2Client", "AsyncV2Client")
    ),
)  # fmt: skip
