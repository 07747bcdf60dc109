"""Amazon Bedrock by boto3 and botocore: converse and invoke_model, and streams of both.

Covers botocore 1.34 and later, but not aiobotocore. All calls of all of AWS go through one method of the base class;
only those of the bedrock runtime are looked at. What a body says is read while the program reads it, never before.
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from honeytrace._diagnostics import guard
from honeytrace.integrations._bedrock_models import JoinInvoked, history, invoked
from honeytrace.integrations._calls import Library, ModelCall
from honeytrace.integrations._items import follow
from honeytrace.integrations._joins import Pieces
from honeytrace.integrations._messages import described, get, tool_call
from honeytrace.integrations._methods import landed, method
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._patching import Target
from honeytrace.integrations._read_once import follow_body
from honeytrace.integrations._streams import StreamRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]

_MEDIA = {"image": "image/{}", "video": "video/{}", "document": "application/{}", "audio": "audio/{}"}


def _block(block: Any) -> Any:
    """One block of content, its bytes described."""
    for kind, mime in _MEDIA.items():
        data = get(block, kind, "source", "bytes")
        if isinstance(data, (bytes, bytearray)):
            return {"type": kind, **described(bytes(data), mime.format(get(block, kind, "format") or "octet-stream"))}
    text = get(block, "text")
    return block if text is None else {"type": "text", "text": text}


def _messages(message: Any) -> list[Any]:
    """A message as one or more of the contract's: results of tools are messages of their own."""
    blocks = get(message, "content") or ()
    made: list[Any] = []
    rest = []
    for block in blocks:
        result = get(block, "toolResult")
        if result is None:
            rest.append(block)
        else:
            content = [get(one, "json") or _block(one) for one in get(result, "content") or ()]
            made.append({"role": "tool", "tool_call_id": get(result, "toolUseId"), "content": content})
    shown = {"role": get(message, "role"), "content": _text(rest), "tool_calls": _calls(rest)}
    others = [_block(block) for block in rest if not {"toolUse", "reasoningContent"} & set(block)]
    if any(block.get("type") != "text" for block in others):
        shown["content"] = others
    return [*made, {name: value for name, value in shown.items() if value is not None}] if rest else made


def _history(request: Any) -> Any:
    system = [{"role": "system", "content": get(block, "text") or block} for block in request.get("system") or ()]
    return [*system, *(one for message in request.get("messages") or () for one in _messages(message))]


def _text(blocks: Any) -> str | None:
    return "".join(get(block, "text") or "" for block in blocks) or None


def _calls(blocks: Any) -> Any:
    uses = [get(block, "toolUse") for block in blocks if get(block, "toolUse") is not None]
    return [tool_call(get(use, "toolUseId"), get(use, "name"), get(use, "input")) for use in uses] or None


def _content(answer: Any) -> Any:
    return get(answer, "output", "message", "content") or ()


def _reasoning(answer: Any) -> str | None:
    texts = [get(block, "reasoningContent", "reasoningText", "text") for block in _content(answer)]
    return "".join(text for text in texts if text) or None


def _usage(answer: Any) -> dict[str, Any]:
    """Cached tokens come beside the others: the contract wants them among those of the prompt."""
    usage = get(answer, "usage")
    read, written = get(usage, "cacheReadInputTokens"), get(usage, "cacheWriteInputTokens")
    prompt = get(usage, "inputTokens")
    tokens = {
        "prompt_tokens": None if prompt is None else prompt + (read or 0) + (written or 0),
        "completion_tokens": get(usage, "outputTokens"),
        "total_tokens": get(usage, "totalTokens"),
        "cache_read_input_tokens": read,
        "cache_write_input_tokens": written,
    }
    return {name: count for name, count in tokens.items() if count is not None}


class _Join:
    """Joins the events of a conversation."""

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._texts = Pieces()

    def add(self, event: Any) -> bool:
        """Take an event."""
        index = get(event, "contentBlockStart", "contentBlockIndex")
        if index is not None:
            self._blocks[index] = dict(get(event, "contentBlockStart", "start", "toolUse") or {})
        self._answer["stopReason"] = get(event, "messageStop", "stopReason") or self._answer.get("stopReason")
        self._answer["usage"] = get(event, "metadata", "usage") or self._answer.get("usage")
        index, delta = (get(event, "contentBlockDelta", name) for name in ("contentBlockIndex", "delta"))
        text, input = get(delta, "text"), get(delta, "toolUse", "input")
        return any([
            self._texts.add((index, "text"), text),
            self._texts.add((index, "reasoning"), get(delta, "reasoningContent", "text")),
            self._texts.add((index, "input"), input),
        ])  # fmt: skip

    def result(self) -> Any:
        """Give the answer so far."""
        content: list[Any] = []
        for index, kind in self._texts.keys():  # noqa: SIM118
            text = self._texts.text((index, kind))
            if kind == "text":
                content.append({"text": text})
            elif kind == "reasoning":
                content.append({"reasoningContent": {"reasoningText": {"text": text}}})
        for index, use in sorted(self._blocks.items()):
            if use:
                content.append({"toolUse": {**use, "input": self._texts.text((index, "input"))}})
        return {**self._answer, "output": {"message": {"role": "assistant", "content": content}}}


CONVERSE = Operation(
    event_name="converse",
    inputs={"chat_history": _history},
    content=frozenset({"messages", "system", "modelId", "inferenceConfig"}),
    outputs={
        "role": lambda answer: get(answer, "output", "message", "role") or "assistant",
        "content": lambda answer: _text(_content(answer)),
        "tool_calls": lambda answer: _calls(_content(answer)),
        "reasoning": _reasoning,
    },
    metadata={"finish_reason": lambda answer: get(answer, "stopReason")},
    usage=_usage,
    join=_Join,
)


def _invoked(name: str) -> Any:
    return lambda answer: invoked(answer).get(name)


INVOKE = Operation(
    event_name="invoke_model",
    inputs={"chat_history": history, "input": lambda request: request.get("inputText") or request.get("texts")},
    content=frozenset({"messages", "system", "prompt", "inputText", "texts", "modelId", "body"}),
    outputs={name: _invoked(name) for name in ("role", "content", "tool_calls", "reasoning", "embeddings")},
    metadata={"finish_reason": lambda answer: invoked(answer).get("finish_reason")},
    usage=lambda answer: invoked(answer).get("usage") or {},
    join=JoinInvoked,
)

_OPERATIONS = {
    "Converse": CONVERSE,
    "ConverseStream": replace(CONVERSE, event_name="converse_stream"),
    "InvokeModel": INVOKE,
    "InvokeModelWithResponseStream": replace(INVOKE, event_name="invoke_model_with_response_stream"),
}


def _asked(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Operation, Mapping[str, Any]] | None:
    """The name of the operation and its parameters; every call of every service passes by here."""
    name = args[0] if args else kwargs.get("operation_name")
    operation = _OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None or client.meta.service_model.service_name != "bedrock-runtime":
        return None
    if any(kind.__name__ == "AioBaseClient" for kind in type(client).__mro__):
        return None  # aiobotocore: its streams and bodies are proxies, whose class is not to be changed
    params = args[1] if len(args) > 1 else kwargs["api_params"]
    request = {"model": params.get("modelId"), **params}
    body = params.get("body")
    if isinstance(body, (str, bytes, bytearray)):
        sent = orjson.loads(body)
        request.update(sent if isinstance(sent, dict) else {"prompt": sent})
    settings = params.get("inferenceConfig")
    return operation, {**request, **settings} if isinstance(settings, dict) else request


def _landed(call: ModelCall, result: Any) -> Any:
    """The answer, or one whose events or body are yet to come."""
    with guard("finishing a model call"):
        about = get(result, "ResponseMetadata")
        headers = get(about, "HTTPHeaders") or {}
        call.facts.update(request_id=get(about, "RequestId"), retries=get(about, "RetryAttempts"))
        for name, header in (("prompt_tokens", "input"), ("completion_tokens", "output")):
            count = headers.get(f"x-amzn-bedrock-{header}-token-count")
            if count is not None and count.isdigit():
                call.hints[name] = int(count)
        stream = result.get("stream") or result.get("body")
        if stream is None:
            return landed(call, result)
        if hasattr(type(stream), "read"):
            follow_body(stream, StreamRecord(call, str(result.get("contentType") or "application/json")))
        else:
            follow(stream, StreamRecord(call))
    return result


LIBRARY = Library("botocore")
_DOOR = method(LIBRARY, _asked, provider=lambda client: "bedrock", land=_landed)
TARGETS = (Target("botocore.client", "BaseClient", "_make_api_call", _DOOR),)
