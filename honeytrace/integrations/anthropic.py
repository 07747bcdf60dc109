"""Anthropic's package: messages, batches of them, and the older completions; direct, on Bedrock and on Vertex.

Covers anthropic 0.18 and later, stable and beta. A message is recorded in the form all providers share: the system
prompt and tool results are messages of their own, tool calls stand beside the content.
"""

from __future__ import annotations

from functools import lru_cache

import orjson

from honeytrace.integrations import openai
from honeytrace.integrations._calls import Library
from honeytrace.integrations._messages import failure, get, shown, tool_call
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._stainless import stainless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["LIBRARY", "MESSAGES", "TARGETS", "provider"]

_PLATFORMS = {"Bedrock": "bedrock", "Vertex": "vertex", "GoogleCloud": "google", "Foundry": "azure", "AWS": "aws"}


def provider(client: Any) -> str:
    """Name the platform after the client's class, else the provider after the host."""
    return _platform(tuple(base.__name__ for base in type(client).__mro__)) or openai.provider(client)


@lru_cache(maxsize=64)
def _platform(classes: tuple[str, ...]) -> str | None:
    for kind in classes:
        for name, platform in _PLATFORMS.items():
            if kind.removeprefix("Async").startswith(f"Anthropic{name}"):
                return platform
    return None


def _conversation(request: Any) -> list[Any]:
    history: list[Any] = []
    if request.get("system"):
        history.append({"role": "system", "content": shown(request["system"])})
    given = request.get("messages")
    for message in given if isinstance(given, list) else () if given is None else (given,):
        history.extend(_turns(message))
    return history


def _turns(message: Any) -> Iterator[Any]:
    """One message as it was sent; tool results become messages of their own, tool calls stand beside the content."""
    content = get(message, "content")
    if not isinstance(content, list):
        yield message
        return
    parts, calls = [], []
    for block in content:
        kind = get(block, "type")
        if kind == "tool_result":
            failed = {"is_error": True} if block.get("is_error") else {}
            result = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": shown(block.get("content"))}
            yield {**result, **failed}
        elif kind == "tool_use":
            calls.append(_call(block))
        else:
            parts.append(shown(block))
    turn = {**message, "content": parts}
    if calls:
        turn["tool_calls"] = calls
    if parts or calls or not content:
        yield turn


def _call(block: Any) -> dict[str, Any]:
    given = block.get("input")
    arguments = given if isinstance(given, str) else orjson.dumps(given).decode()  # a string: the stream broke off
    return tool_call(block.get("id"), block.get("name"), arguments)


def _blocks(answer: Any, *kinds: str) -> list[Any]:
    return [block for block in get(answer, "content") or () if get(block, "type") in kinds]


def _other_blocks(answer: Any) -> Any:
    """What tools that run over there were asked and said, and whatever else there may be."""
    known = ("text", "thinking", "redacted_thinking", "tool_use")
    return [shown(block) for block in get(answer, "content") or () if get(block, "type") not in known] or None


def _usage(answer: Any) -> dict[str, Any]:
    """Tokens under the contract's names. What was read from a cache or written to it is not in input_tokens here."""
    usage = get(answer, "usage")
    fresh, completion = get(usage, "input_tokens"), get(usage, "output_tokens")
    read, written = get(usage, "cache_read_input_tokens"), get(usage, "cache_creation_input_tokens")
    prompt = None if fresh is None else fresh + (read or 0) + (written or 0)
    tokens = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": None if prompt is None or completion is None else prompt + completion,
        "cache_read_input_tokens": read,
        "cache_write_input_tokens": written,
        "reasoning_tokens": get(usage, "output_tokens_details", "thinking_tokens"),
    }
    return {name: count for name, count in tokens.items() if isinstance(count, (int, float))}


class JoinMessage:
    """Joins the events of a message: each block starts as something and grows by deltas."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def add(self, event: Any) -> bool:
        """Take an event."""
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._grow(event.get("index") or 0, event.get("delta") or {})
        if kind == "content_block_start":
            self._blocks[event.get("index") or 0] = dict(event["content_block"])
        elif kind == "message_start":
            self._message = dict(event["message"])
        elif kind == "message_delta":
            self._message.update(event["delta"])
            used = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
            self._message["usage"] = {**(self._message.get("usage") or {}), **used}
        elif kind == "error":
            self._message["error"] = event.get("error") or event
        return False

    def _grow(self, index: int, delta: Any) -> bool:
        block, generated = self._blocks.setdefault(index, {"type": "text"}), False
        for name, value in delta.items():
            if name == "type" or not value:
                continue
            generated = True
            if name == "citation":
                block["citations"] = [*(block.get("citations") or ()), value]
            elif isinstance(value, str):
                self._pieces.setdefault((index, name), []).append(value)
            else:
                block[name] = value
        return generated

    def result(self) -> Any:
        """Give the message so far."""
        for (index, name), pieces in self._pieces.items():
            block, text = self._blocks[index], "".join(pieces)
            if name == "partial_json":
                block["input"] = _parsed(text)
            else:
                block[name] = (block.get(name) or "") + text
        self._pieces.clear()
        return {**self._message, "content": [self._blocks[index] for index in sorted(self._blocks)]}


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


class JoinCompletion:
    """Joins the pieces of a completion."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._last: dict[str, Any] = {}

    def add(self, event: Any) -> bool:
        """Take an event."""
        self._last = event
        self._pieces.append(event.get("completion") or "")
        return bool(self._pieces[-1])

    def result(self) -> Any:
        """Give the last event with the whole text."""
        return {**self._last, "completion": "".join(self._pieces)}


_IDENTITY = {
    "response_id": lambda answer: get(answer, "id"),
    "response_model": lambda answer: get(answer, "model"),
    "finish_reason": lambda answer: get(answer, "stop_reason"),
}

MESSAGES = Operation(
    event_name="messages.create",
    parsed_name="messages.parse",
    inputs={"chat_history": _conversation},
    content=frozenset({"messages", "system"}),
    outputs={
        "role": lambda answer: get(answer, "role") or "assistant",
        "content": lambda answer: "".join(block["text"] for block in _blocks(answer, "text")) or None,
        "tool_calls": lambda answer: [_call(block) for block in _blocks(answer, "tool_use")] or None,
        "reasoning": lambda answer: "\n\n".join(block["thinking"] for block in _blocks(answer, "thinking")) or None,
        "redacted_thinking": lambda answer: len(_blocks(answer, "redacted_thinking")) or None,
        "citations": lambda answer: [
            one for block in _blocks(answer, "text") for one in block.get("citations") or ()
        ] or None,
        "items": _other_blocks,
    },
    metadata={
        **_IDENTITY,
        "stop_sequence": lambda answer: get(answer, "stop_sequence"),
        "stop_details": lambda answer: get(answer, "stop_details"),
        "service_tier": lambda answer: get(answer, "usage", "service_tier"),
        "server_tool_use": lambda answer: get(answer, "usage", "server_tool_use"),
    },
    usage=_usage,
    error=failure,
    join=JoinMessage,
)  # fmt: skip


def _requests(request: Any) -> list[Any]:
    """Each request of a batch, its messages as those of a call of its own."""
    made = []
    for one in request.get("requests") or ():
        params = one["params"]
        settings = {name: value for name, value in params.items() if name not in MESSAGES.content}
        made.append({"custom_id": one.get("custom_id"), "chat_history": _conversation(params), **settings})
    return made


_BATCH = Operation(
    event_name="messages.batches.create",
    inputs={"requests": _requests},
    content=frozenset({"requests"}),
    outputs={
        "status": lambda answer: get(answer, "processing_status"),
        "request_counts": lambda answer: get(answer, "request_counts"),
    },
    metadata={"response_id": lambda answer: get(answer, "id")},
    error=failure,
    join=JoinMessage,
)

_COMPLETION = Operation(
    event_name="completions.create",
    inputs={"prompt": lambda request: request.get("prompt")},
    content=frozenset({"prompt"}),
    outputs={"role": lambda answer: "assistant", "content": lambda answer: get(answer, "completion")},
    metadata=_IDENTITY,
    error=failure,
    join=JoinCompletion,
)

LIBRARY = Library("anthropic")
TARGETS = stainless(
    LIBRARY,
    "anthropic._base_client",
    {"/v1/messages": MESSAGES, "/v1/messages/batches": _BATCH, "/v1/complete": _COMPLETION},
    provider,
)
