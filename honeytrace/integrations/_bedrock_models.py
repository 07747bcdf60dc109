"""What the makers of models on Bedrock have in their bodies: `invoke_model` hands these on as they are.

Known are the forms of Anthropic, Amazon (Nova, Titan), Meta, Mistral, Cohere and AI21. Of others what looks alike is
read, and the rest is left out.
"""

from __future__ import annotations

from base64 import b64decode

import orjson

from honeytrace.integrations._joins import Pieces
from honeytrace.integrations._messages import described, get, tool_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JoinInvoked", "history", "invoked"]

_TEXTS: tuple[tuple[str | int, ...], ...] = (
    ("results", 0, "outputText"),
    ("outputText",),
    ("generation",),
    ("outputs", 0, "text"),
    ("generations", 0, "text"),
    ("choices", 0, "message", "content"),
    ("choices", 0, "delta", "content"),
    ("completions", 0, "data", "text"),
    ("completion",),
    ("text",),
)
"""Where makers put the text."""

_REASONS: tuple[tuple[str | int, ...], ...] = (
    ("stop_reason",),
    ("stopReason",),
    ("delta", "stop_reason"),
    ("results", 0, "completionReason"),
    ("completionReason",),
    ("outputs", 0, "stop_reason"),
    ("generations", 0, "finish_reason"),
    ("choices", 0, "finish_reason"),
    ("messageStop", "stopReason"),
)
_PROMPT = (("usage", "input_tokens"), ("usage", "inputTokens"), ("usage", "prompt_tokens"), ("inputTextTokenCount",),
           ("prompt_token_count",))  # fmt: skip
_COMPLETION = (("usage", "output_tokens"), ("usage", "outputTokens"), ("usage", "completion_tokens"),
               ("results", 0, "tokenCount"), ("generation_token_count",))  # fmt: skip
_METRICS = "amazon-bedrock-invocationMetrics"


def history(request: Any) -> Any:
    """The conversation, or the prompt as one."""
    made = []
    system, messages = request.get("system"), request.get("messages")
    if system is not None:
        text = system if isinstance(system, str) else "".join(get(block, "text") or "" for block in system)
        made.append({"role": "system", "content": text})
    if messages is not None:
        return [*made, *_shown(messages)]
    prompt = request.get("prompt")
    return None if prompt is None else [*made, {"role": "user", "content": prompt}]


def _shown(value: Any) -> Any:
    """Messages with their pictures and documents described."""
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    data = get(value, "source", "data") or get(value, "source", "bytes")
    if isinstance(data, str):
        mime = get(value, "source", "media_type") or f"image/{get(value, 'format')}"
        return {**value, "source": described(b64decode(data), mime)}
    return {name: _shown(inner) for name, inner in value.items()}


def _first(answer: Any, paths: Any) -> Any:
    return next((found for path in paths if (found := get(answer, *path)) is not None), None)


def invoked(answer: Any) -> dict[str, Any]:
    """Read a body, by the names of outputs and metadata."""
    content = get(answer, "content") or get(answer, "output", "message", "content") or ()
    blocks = content if isinstance(content, list) else ()
    text = "".join(get(block, "text") or "" for block in blocks) or _first(answer, _TEXTS)
    uses = [get(block, "toolUse") or (block if get(block, "type") == "tool_use" else None) for block in blocks]
    calls = [
        tool_call(get(use, "toolUseId") or get(use, "id"), get(use, "name"), get(use, "input"))
        for use in uses
        if use is not None
    ] or None
    vector = get(answer, "embedding") or get(answer, "embeddings", 0)
    known: dict[str, Any] = {
        "role": None if vector is not None else "assistant",
        "content": text,
        "tool_calls": calls,
        "reasoning": "".join(get(block, "thinking") or "" for block in blocks) or None,
        "finish_reason": _first(answer, _REASONS),
        "usage": _usage(answer),
    }
    if isinstance(vector, list):
        known["embeddings"] = {"count": len(get(answer, "embeddings") or (0,)), "dimensions": len(vector)}
    return known


def _usage(answer: Any) -> dict[str, Any]:
    read, written = get(answer, "usage", "cache_read_input_tokens"), get(answer, "usage", "cache_creation_input_tokens")
    prompt, completion = _first(answer, _PROMPT), _first(answer, _COMPLETION)
    if prompt is not None:
        prompt += (read or 0) + (written or 0)
    total = None if prompt is None or completion is None else prompt + completion
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total,
              "cache_read_input_tokens": read, "cache_write_input_tokens": written}  # fmt: skip
    return {name: count for name, count in tokens.items() if count is not None}


class JoinInvoked:
    """Joins the chunks of an invoked model: Anthropic's and Nova's events, or pieces of text."""

    def __init__(self) -> None:
        self._texts = Pieces()
        self._tools: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}
        self._reason: Any = None

    def add(self, event: Any) -> bool:
        """Take a chunk: a JSON text in bytes."""
        data = get(event, "chunk", "bytes")
        if not isinstance(data, (bytes, str)):
            return False
        piece = orjson.loads(data)
        self._reason = _first(piece, _REASONS) or self._reason
        for usage in (get(piece, "message", "usage"), get(piece, "usage"), get(piece, "metadata", "usage")):
            self._usage.update(usage or {})
        metrics = get(piece, _METRICS)
        if metrics is not None and not self._usage:
            self._usage = {
                "inputTokens": metrics.get("inputTokenCount"),
                "outputTokens": metrics.get("outputTokenCount"),
            }
        start = get(piece, "content_block") or get(piece, "contentBlockStart", "start", "toolUse")
        delta = get(piece, "delta") or get(piece, "contentBlockDelta", "delta")
        index = get(piece, "index") or get(piece, "contentBlockDelta", "contentBlockIndex") or 0
        index = get(piece, "contentBlockStart", "contentBlockIndex") or index
        if get(start, "name") is not None:
            self._tools[index] = {"toolUseId": get(start, "id") or get(start, "toolUseId"), "name": get(start, "name")}
        text = get(delta, "text") if delta is not None else _first(piece, _TEXTS)
        return any([
            self._texts.add("text", text),
            self._texts.add("thinking", get(delta, "thinking")),
            self._texts.add(index, get(delta, "partial_json") or get(delta, "toolUse", "input")),
        ])  # fmt: skip

    def result(self) -> Any:
        """Give the answer so far, in Anthropic's form."""
        content = [{"text": self._texts.text("text"), "thinking": self._texts.text("thinking")}]
        for index, tool in sorted(self._tools.items()):
            content.append({"toolUse": {**tool, "input": self._texts.text(index)}})  # type: ignore[dict-item]
        return {"content": content, "stop_reason": self._reason, "usage": self._usage}
