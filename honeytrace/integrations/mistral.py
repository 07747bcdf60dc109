"""Mistral's package: chat, agents, fill in the middle, and embeddings, of Mistral AI, Azure and Google Cloud.

Covers mistralai 1.0 and later; the modules moved in 2.0. The protocol is OpenAI's, read off the client's objects.
"""

from __future__ import annotations

from dataclasses import replace

from honeytrace.integrations._calls import Library
from honeytrace.integrations._joins import JoinChat
from honeytrace.integrations._messages import get, given, plain, shown
from honeytrace.integrations._methods import method
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._patching import Target
from honeytrace.integrations.openai import CHAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

__all__ = ["LIBRARY", "TARGETS", "parts"]


class _Join(JoinChat):
    """Joins the chunks that a stream's events carry."""

    def add(self, event: Any) -> bool:
        """Take an event."""
        chunk = plain(get(event, "data"))
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if isinstance(delta.get("content"), list):  # thoughts come as parts
                delta["content"], delta["reasoning"] = _text(delta["content"]), _thoughts(delta["content"])
        return super().add(chunk)


def _text(content: Any) -> Any:
    """Text that may come as parts, as text."""
    if not isinstance(content, (list, tuple)):
        return content
    return "".join(get(part, "text") or "" for part in content if get(part, "type") == "text") or None


def _thoughts(content: Any) -> Any:
    if not isinstance(content, (list, tuple)):
        return None
    thoughts = [_text(get(part, "thinking") or ()) for part in content if get(part, "type") == "thinking"]
    return "".join(thought for thought in thoughts if thought) or None


def _message(answer: Any) -> Any:
    return get(answer, "choices", 0, "message")


def _choices(answer: Any) -> Any:
    choices = get(answer, "choices") or ()
    if len(choices) < 2:
        return None
    return [{**plain(get(choice, "message")), "finish_reason": get(choice, "finish_reason")} for choice in choices]


def _chat(name: str) -> Operation:
    return replace(
        CHAT,
        event_name=name,
        parsed_name=None,
        inputs={"chat_history": lambda request: shown(plain(request.get("messages")))},
        content=_TRANSPORT | {"messages"},
        outputs={
            **CHAT.outputs,
            "content": lambda answer: _text(get(_message(answer), "content")),
            "reasoning": lambda answer: (
                _thoughts(get(_message(answer), "content")) or get(_message(answer), "reasoning")
            ),
            "choices": _choices,
        },
        join=_Join,
    )


def _fim(name: str) -> Operation:
    return replace(
        _chat(name),
        inputs={"prompt": lambda request: request.get("prompt"), "suffix": lambda request: request.get("suffix")},
        content=_TRANSPORT | {"prompt", "suffix"},
    )


def _vectors(answer: Any) -> Any:
    return {"count": len(get(answer, "data") or ()), "dimensions": len(get(answer, "data", 0, "embedding") or ())}


def _embed(name: str) -> Operation:
    return replace(
        _chat(name),
        inputs={"input": lambda request: request.get("inputs")},
        content=_TRANSPORT | {"inputs"},
        outputs={"embeddings": _vectors},
    )


_TRANSPORT = frozenset({"retries", "server_url", "timeout_ms", "http_headers"})

LIBRARY = Library("mistralai")
_CLASSES: dict[str, tuple[str, Callable[[str], Operation], tuple[str, ...]]] = {
    "chat": ("Chat", _chat, ("complete", "stream")),
    "agents": ("Agents", _chat, ("complete", "stream")),
    "fim": ("Fim", _fim, ("complete", "stream")),
    "embeddings": ("Embeddings", _embed, ("create",)),
}
_PACKAGES = ("mistralai", "mistralai.client", "mistralai_azure", "mistralai_gcp", "mistralai.azure.client",
             "mistralai.gcp.client")  # fmt: skip


def _provider(client: Any) -> str:
    """Who serves it: the clients for the clouds are packages of their own."""
    package = type(client).__module__.replace("_", ".").split(".")
    return "azure" if "azure" in package else "google" if "gcp" in package else "mistral"


def _key(client: Any) -> Any:
    return get(client, "sdk_configuration", "security", "api_key")


def _door(operation: Operation) -> Any:
    def asked(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Operation, Mapping[str, Any]]:
        """The request, an agent in the place of a model."""
        return operation, {"model": kwargs.get("agent_id"), **given(kwargs)}

    return method(LIBRARY, asked, provider=_provider, key=_key)


def parts(client: Any) -> Iterator[Any]:
    """The objects that have the methods of a client."""
    if type(client).__name__.startswith("Mistral"):
        for name in _CLASSES:
            yield getattr(client, name, None)


TARGETS = tuple(
    Target(f"{package}.{module}", owner, name + suffix, _door(make(f"{module}.{name}")))
    for module, (owner, make, names) in _CLASSES.items()
    for name in names
    for suffix in ("", "_async")
    for package in _PACKAGES
)
