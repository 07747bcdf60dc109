"""Google's package google-genai: content, streams of it, chats and embeddings; Gemini and Vertex AI.

Covers google-genai 1.0 and later. What is patched are the private methods that make one HTTP call each: the public ones
may make several (functions that are called automatically, continuations) and would tell only of the last.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace

from honeytrace.integrations._calls import Library
from honeytrace.integrations._joins import Pieces
from honeytrace.integrations._messages import described, fields_of, get, given, plain, tool_call
from honeytrace.integrations._methods import method
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._patching import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from honeytrace.integrations._methods import Asked

__all__ = ["LIBRARY", "TARGETS", "parts"]


def _usage(answer: Any) -> dict[str, Any]:
    """Thoughts and results of tools come beside the other counts; cached tokens are among those of the prompt."""
    usage = get(answer, "usage_metadata")
    if usage is None:
        return {}
    thoughts, total = get(usage, "thoughts_token_count"), get(usage, "total_token_count")
    prompt = _sum(get(usage, "prompt_token_count"), get(usage, "tool_use_prompt_token_count"))
    completion = _sum(get(usage, "candidates_token_count"), thoughts)
    if completion is not None and thoughts is None and prompt is not None and total is not None:
        completion = total - prompt  # old versions know of no thoughts
    tokens = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "cache_read_input_tokens": get(usage, "cached_content_token_count"),
        "reasoning_tokens": thoughts,
    }
    return {name: count for name, count in tokens.items() if count is not None}


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _part(part: Any) -> Any:
    """One part of a content: text, or what it is, its bytes described."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    text, blob = get(part, "text"), get(part, "inline_data") or get(part, "inlineData")
    if blob is not None:
        data, mime = get(blob, "data"), get(blob, "mime_type") or get(blob, "mimeType")
        if isinstance(data, str):
            data = b64decode(data.replace("-", "+").replace("_", "/"))
        return {"type": "inline_data", **described(data, mime)}
    return {"type": "text", "text": text} if text is not None else plain(part)


def _message(role: str, parts: list[Any]) -> list[Any]:
    """The parts of one content as messages: texts together, function calls and their results each in its form."""
    messages: list[Any] = []
    calls, rest = [], []
    for part in parts:
        result = get(part, "function_response")
        if result is not None:
            content = plain(get(result, "response"))
            messages.append({"role": "tool", "name": get(result, "name"), "content": content})
        elif get(part, "function_call") is not None:
            calls.append(_call(get(part, "function_call")))
        elif not get(part, "thought"):
            rest.append(_part(part))
    if not rest and not calls:
        return messages
    message: dict[str, Any] = {"role": "assistant" if role == "model" else role}
    if rest:
        are_texts = all(get(part, "type") == "text" for part in rest)
        message["content"] = "".join(part["text"] for part in rest) if are_texts else rest
    if calls:
        message["tool_calls"] = calls
    return [*messages, message]


def _call(call: Any) -> dict[str, Any]:
    return tool_call(get(call, "id"), get(call, "name"), plain(get(call, "args")))


def _history(request: Any) -> Any:
    """The system instruction and the contents as a chat history; what is no content yet is one of the user's."""
    history: list[Any] = []
    system = request.get("system_instruction")
    if system is not None:
        history += _message("system", get(system, "parts") or (system if isinstance(system, list) else [system]))
    contents = next((request[name] for name in ("contents", "batch_contents", "content") if name in request), None)
    loose: list[Any] = []
    for item in contents if isinstance(contents, list) else () if contents is None else (contents,):
        parts = None if isinstance(item, str) else get(item, "parts")
        if parts is None:
            loose.append(item)
            continue
        if loose:
            history += _message("user", loose)
            loose = []
        history += _message(get(item, "role") or "user", parts)
    return history + _message("user", loose)


def _parts_of(answer: Any) -> list[Any]:
    return get(answer, "candidates", 0, "content", "parts") or []


def _text(answer: Any, thought: bool) -> str | None:
    texts = [get(part, "text") for part in _parts_of(answer) if bool(get(part, "thought")) is thought]
    return "".join(text for text in texts if text) or None


def _tool_calls(answer: Any) -> Any:
    calls = [get(part, "function_call") for part in _parts_of(answer)]
    return [_call(call) for call in calls if call is not None] or None


def _others(answer: Any) -> Any:
    """Parts that are neither text nor a call: pictures, code that was run."""
    others = [part for part in _parts_of(answer) if get(part, "text") is None and get(part, "function_call") is None]
    return [_part(part) for part in others] or None


def _candidates(answer: Any) -> Any:
    candidates = get(answer, "candidates") or ()
    if len(candidates) < 2:
        return None
    return [
        {
            "role": "assistant",
            "content": _text({"candidates": [one]}, False),
            "finish_reason": get(one, "finish_reason"),
        }
        for one in candidates
    ]


class _Join:
    """Joins the chunks of a content: counts and reasons of the last, texts and parts of all."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._candidates: dict[int, dict[str, Any]] = {}
        self._texts = Pieces()

    def add(self, event: Any) -> bool:
        """Take a chunk."""
        for name, value in fields_of(event).items():
            if value is not None and name != "candidates":
                self._last[name] = value
        generated = False
        for candidate in get(event, "candidates") or ():
            index = get(candidate, "index") or 0
            whole = self._candidates.setdefault(index, {"finish_reason": None, "parts": []})
            whole["finish_reason"] = get(candidate, "finish_reason") or whole["finish_reason"]
            for part in get(candidate, "content", "parts") or ():
                text = get(part, "text")
                if text is None:
                    whole["parts"].append(part)
                    generated = True
                else:
                    generated = self._texts.add((index, bool(get(part, "thought"))), text) or generated
        return generated

    def result(self) -> Any:
        """Give the content so far."""
        candidates = []
        for index, whole in sorted(self._candidates.items()):
            texts = [{"text": self._texts.text((index, thought)), "thought": thought} for thought in (True, False)]
            parts = [*(part for part in texts if part["text"] is not None), *whole["parts"]]
            candidates.append({"finish_reason": whole["finish_reason"], "content": {"parts": parts}})
        return {**self._last, "candidates": candidates}


_CONTENT = frozenset({"contents", "content", "batch_contents", "system_instruction", "http_options"})

GENERATE = Operation(
    event_name="models.generate_content",
    inputs={"chat_history": _history},
    content=_CONTENT,
    outputs={
        "role": lambda answer: "assistant",
        "content": lambda answer: _text(answer, False),
        "tool_calls": _tool_calls,
        "reasoning": lambda answer: _text(answer, True),
        "parts": _others,
        "choices": _candidates,
    },
    metadata={
        "response_id": lambda answer: get(answer, "response_id"),
        "response_model": lambda answer: get(answer, "model_version"),
        "finish_reason": lambda answer: (
            get(answer, "candidates", 0, "finish_reason") or get(answer, "prompt_feedback", "block_reason")
        ),
    },
    usage=_usage,
    join=_Join,
)


def _vectors(answer: Any) -> Any:
    vectors = get(answer, "embeddings") or ()
    return {"count": len(vectors), "dimensions": len(get(answer, "embeddings", 0, "values") or ())}


EMBED = Operation(
    event_name="models.embed_content",
    inputs={"input": lambda request: [message["content"] for message in _history(request)]},
    content=_CONTENT | {"embedding_api_type"},
    outputs={"embeddings": _vectors},
    usage=_usage,
    join=_Join,
)


def _request(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments, those in `config` (an object or a dict) among them."""
    config = kwargs.get("config")
    settings = config if isinstance(config, Mapping) else fields_of(config)
    return {**given({name: plain(value) for name, value in settings.items()}), **given(kwargs), "config": None}


def _asked(operation: Operation) -> Asked:
    return lambda client, args, kwargs: (operation, _request(kwargs))


def _asked_of_old(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The public method, where there is no private one behind it."""
    return None if hasattr(client, "_embed_content") else (EMBED, _request(kwargs))


def parts(client: Any) -> Iterator[Any]:
    """The objects that have the methods of a client."""
    own = fields_of(client)
    yield own.get("_models")
    yield fields_of(own.get("_aio")).get("_models")


LIBRARY = Library("google-genai")
_METHODS = {
    "_generate_content": _asked(GENERATE),
    "_generate_content_stream": _asked(replace(GENERATE, event_name="models.generate_content_stream")),
    "_embed_content": _asked(EMBED),
    "embed_content": _asked_of_old,
}
TARGETS = tuple(
    Target(
        "google.genai.models",
        owner,
        name,
        method(LIBRARY, asked, provider=lambda client: "google", key=lambda client: client._api_client.api_key),
    )
    for name, asked in _METHODS.items()
    for owner in ("Models", "AsyncModels")
)
