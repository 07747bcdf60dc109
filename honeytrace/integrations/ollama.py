"""Ollama's package: chat, generate and embed, by clients and by the functions of the module.

Covers ollama 0.4 and later. All of them end in `_request` of a client, which is what is patched; a streamed call sends
nothing before the first step of its generator.
"""

from __future__ import annotations

from base64 import b64decode

from honeytrace.integrations._calls import Library
from honeytrace.integrations._joins import Pieces
from honeytrace.integrations._messages import described, get, plain, tool_call
from honeytrace.integrations._methods import method
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._patching import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]


def _usage(answer: Any) -> dict[str, Any]:
    prompt, completion = get(answer, "prompt_eval_count"), get(answer, "eval_count")
    total = prompt + completion if prompt is not None and completion is not None else None
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    return {name: count for name, count in tokens.items() if count is not None}


def _image(image: Any) -> Any:
    return described(b64decode(image), None) if isinstance(image, str) else plain(image)


def _message(message: Any) -> Any:
    shown = dict(message)
    if message.get("images"):
        shown["images"] = [_image(image) for image in message["images"]]
    return shown


def _prompt(request: Any) -> Any:
    """A prompt as a chat history."""
    history = [{"role": "system", "content": request["system"]}] if request.get("system") else []
    asked = {"role": "user", "content": request.get("prompt")}
    if request.get("images"):
        asked["images"] = [_image(image) for image in request["images"]]
    return [*history, asked]


def _tool_calls(answer: Any) -> Any:
    calls = get(answer, "message", "tool_calls") or ()
    return [
        tool_call(None, get(call, "function", "name"), plain(get(call, "function", "arguments"))) for call in calls
    ] or None


class _Join:
    """Joins the parts of an answer: the last one counts, the texts and tool calls of all are kept."""

    def __init__(self) -> None:
        self._pieces = Pieces()
        self._calls: list[Any] = []
        self._last: Any = None

    def add(self, event: Any) -> bool:
        """Take a part."""
        self._last = event
        calls = get(event, "message", "tool_calls") or []
        self._calls.extend(calls)
        message = get(event, "message")
        source = event if message is None else message
        came = [self._pieces.add(name, get(source, name)) for name in ("content", "thinking", "response")]
        return any(came) or bool(calls)

    def result(self) -> Any:
        """Give what came so far."""
        texts = {name: self._pieces.text(name) for name in ("content", "thinking", "response")}
        message = {**texts, "role": get(self._last, "message", "role"), "tool_calls": self._calls}
        return {**plain(self._last), **texts, "message": message}


_METADATA = {
    "response_model": lambda answer: get(answer, "model"),
    "finish_reason": lambda answer: get(answer, "done_reason"),
    "load_duration_ms": lambda answer: (
        round(get(answer, "load_duration") / 1e6, 3) if get(answer, "load_duration") else None
    ),
}

CHAT = Operation(
    event_name="chat",
    inputs={"chat_history": lambda request: [_message(message) for message in request.get("messages") or ()]},
    content=frozenset({"messages"}),
    outputs={
        "role": lambda answer: get(answer, "message", "role") or "assistant",
        "content": lambda answer: get(answer, "message", "content"),
        "tool_calls": _tool_calls,
        "reasoning": lambda answer: get(answer, "message", "thinking"),
    },
    metadata=_METADATA,
    usage=_usage,
    join=_Join,
)

GENERATE = Operation(
    event_name="generate",
    inputs={"chat_history": _prompt, "suffix": lambda request: request.get("suffix")},
    content=frozenset({"prompt", "system", "images", "suffix", "context"}),
    outputs={
        "role": lambda answer: "assistant",
        "content": lambda answer: get(answer, "response"),
        "reasoning": lambda answer: get(answer, "thinking"),
    },
    metadata=_METADATA,
    usage=_usage,
    join=_Join,
)


def _vectors(answer: Any) -> Any:
    vectors = get(answer, "embeddings") or [get(answer, "embedding")]
    return {"count": len(vectors), "dimensions": len(vectors[0])}


EMBED = Operation(
    event_name="embed",
    inputs={"input": lambda request: request.get("input") or request.get("prompt")},
    content=frozenset({"input", "prompt"}),
    outputs={"embeddings": _vectors},
    metadata=_METADATA,
    usage=_usage,
    join=_Join,
)

_PATHS = {"/api/chat": CHAT, "/api/generate": GENERATE, "/api/embed": EMBED, "/api/embeddings": EMBED}


def _asked(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Operation, Mapping[str, Any]] | None:
    """The path says what is asked; what is sampled with stands in "options"."""
    operation = _PATHS.get(args[2]) if len(args) > 2 else None
    if operation is None:
        return None
    request = kwargs["json"]
    return operation, {**request, **request.get("options", {}), "options": None}


LIBRARY = Library("ollama")
_DOOR = method(LIBRARY, _asked, lazy=lambda kwargs: kwargs.get("stream"))
TARGETS = (
    Target("ollama._client", "Client", "_request", _DOOR),
    Target("ollama._client", "AsyncClient", "_request", _DOOR),
)
