"""OpenAI's package, and every server that speaks its protocol: chat, responses, embeddings, images, audio, moderation.

Covers openai 1.12 and later, OpenAI and AzureOpenAI, synchronous and asynchronous.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from honeytrace.integrations._calls import Library
from honeytrace.integrations._joins import JoinChat, JoinResponse, JoinText
from honeytrace.integrations._messages import failure, get, shown, tool_call
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._stainless import stainless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CHAT", "LIBRARY", "ROUTES", "TARGETS", "provider"]

_HOSTS = {"azure.com": "azure", "x.ai": "xai", "googleapis.com": "google", "amazonaws.com": "bedrock"}


def provider(client: Any) -> str:
    """Name the provider after the host: "openai", "azure", "groq" for api.groq.com, else the host itself."""
    if "Azure" in type(client).__name__:
        return "azure"
    host = str(client.base_url.host)
    labels = host.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or ":" in host:
        return host
    return _HOSTS.get(".".join(labels[-2:]), labels[-2])


def _usage(answer: Any) -> dict[str, Any]:
    """Tokens under the contract's names. Cached and reasoning tokens are part of the totals, as they come."""
    usage = get(answer, "usage") or get(answer, "x_groq", "usage")
    look: Callable[[str], Any] = usage.get if type(usage) is dict else partial(get, usage)
    inputs = look("prompt_tokens_details") or look("input_tokens_details")
    outputs = look("completion_tokens_details") or look("output_tokens_details")
    prompt, completion = look("prompt_tokens"), look("completion_tokens")
    tokens = {
        "prompt_tokens": look("input_tokens") if prompt is None else prompt,
        "completion_tokens": look("output_tokens") if completion is None else completion,
        "total_tokens": look("total_tokens"),
        "cache_read_input_tokens": get(inputs, "cached_tokens"),
        "cache_write_input_tokens": get(inputs, "cache_write_tokens"),
        "reasoning_tokens": get(outputs, "reasoning_tokens"),
        "cost": look("cost"),
    }
    return {name: count for name, count in tokens.items() if isinstance(count, (int, float))}


_IDENTITY = {
    "response_id": lambda answer: get(answer, "id"),
    "response_model": lambda answer: get(answer, "model"),
    "service_tier": lambda answer: get(answer, "service_tier"),
    "system_fingerprint": lambda answer: get(answer, "system_fingerprint"),
}


def _said(answer: Any, name: str) -> Any:
    """A field of the first message, most often of plain dicts."""
    choices = answer.get("choices") if type(answer) is dict else None
    first = choices[0] if type(choices) is list and choices else None
    message = first.get("message") if type(first) is dict else None
    return message.get(name) if type(message) is dict else get(answer, "choices", 0, "message", name)


def _calls_of(answer: Any) -> Any:
    calls = []
    for call in _said(answer, "tool_calls") or ():
        function = get(call, "function") or get(call, "custom")
        arguments = get(function, "arguments") or get(function, "input")
        calls.append(tool_call(get(call, "id"), get(function, "name"), arguments))
    legacy = _said(answer, "function_call")
    if legacy:
        calls.append(tool_call(None, get(legacy, "name"), get(legacy, "arguments")))
    return calls or None


def _all_choices(answer: Any) -> Any:
    choices = get(answer, "choices") or ()
    if len(choices) < 2:
        return None
    return [{**shown(choice["message"]), "finish_reason": choice.get("finish_reason")} for choice in choices]


CHAT = Operation(
    event_name="chat.completions.create",
    parsed_name="chat.completions.parse",
    inputs={"chat_history": lambda request: shown(request.get("messages"))},
    content=frozenset({"messages"}),
    outputs={
        "role": lambda answer: _said(answer, "role") or "assistant",
        "content": lambda answer: _said(answer, "content"),
        "tool_calls": _calls_of,
        "refusal": lambda answer: _said(answer, "refusal"),
        "reasoning": lambda answer: _said(answer, "reasoning_content") or _said(answer, "reasoning"),
        "audio": lambda answer: shown(_said(answer, "audio")),
        "annotations": lambda answer: _said(answer, "annotations") or None,
        "choices": _all_choices,
    },
    metadata={**_IDENTITY, "finish_reason": lambda answer: get(answer, "choices", 0, "finish_reason")},
    usage=_usage,
    error=failure,
    join=JoinChat,
)


def _conversation(request: Any) -> Any:
    """Instructions and input of a response as a chat history."""
    history: list[Any] = []
    if isinstance(request.get("instructions"), str):
        history.append({"role": "system", "content": request["instructions"]})
    given = request.get("input")
    for item in given if isinstance(given, list) else () if given is None else (given,):
        kind = get(item, "type")
        if isinstance(item, str):
            history.append({"role": "user", "content": item})
        elif kind == "function_call":
            call = tool_call(get(item, "call_id"), get(item, "name"), get(item, "arguments"))
            history.append({"role": "assistant", "tool_calls": [call]})
        elif kind == "function_call_output":
            content = shown(get(item, "output"))
            history.append({"role": "tool", "tool_call_id": get(item, "call_id"), "content": content})
        elif get(item, "role") is None and isinstance(item, dict):
            history.append({"role": "assistant", "content": [shown(item)]})
        else:
            history.append(shown(item))
    return history


def _parts(answer: Any, kind: str, name: str) -> list[Any]:
    return [
        part[name]
        for item in get(answer, "output") or ()
        if get(item, "type") == "message"
        for part in get(item, "content") or ()
        if get(part, "type") == kind
    ]


def _function_calls(answer: Any) -> Any:
    calls = []
    for item in get(answer, "output") or ():
        if get(item, "type") in ("function_call", "custom_tool_call"):
            arguments = get(item, "arguments") or get(item, "input")
            calls.append(tool_call(get(item, "call_id") or get(item, "id"), get(item, "name"), arguments))
    return calls or None


def _other_items(answer: Any) -> Any:
    """What the built-in tools did, media described."""
    items = []
    for item in get(answer, "output") or ():
        if get(item, "type") in ("message", "function_call", "custom_tool_call", "reasoning"):
            continue
        if get(item, "type") == "image_generation_call" and isinstance(get(item, "result"), str):
            item = {**item, "result": f"data:image/{get(item, 'output_format') or 'png'};base64,{item['result']}"}
        items.append(shown(item))
    return items or None


def _reasoning(answer: Any) -> Any:
    texts = [
        part["text"]
        for item in get(answer, "output") or ()
        if get(item, "type") == "reasoning"
        for part in [*(get(item, "summary") or ()), *(get(item, "content") or ())]
        if get(part, "text")
    ]
    return "\n\n".join(texts) or None


RESPONSES = Operation(
    event_name="responses.create",
    parsed_name="responses.parse",
    inputs={"chat_history": _conversation},
    content=frozenset({"input", "instructions"}),
    outputs={
        "role": lambda answer: "assistant",
        "content": lambda answer: "".join(_parts(answer, "output_text", "text")) or None,
        "tool_calls": _function_calls,
        "refusal": lambda answer: "".join(_parts(answer, "refusal", "refusal")) or None,
        "reasoning": _reasoning,
        "items": _other_items,
    },
    metadata={
        **_IDENTITY,
        "finish_reason": lambda answer: get(answer, "incomplete_details", "reason") or get(answer, "status"),
    },
    usage=_usage,
    error=failure,
    join=JoinResponse,
)


def _vectors(answer: Any) -> Any:
    """How many vectors of which size; never the vectors."""
    vectors = get(answer, "data") or ()
    first = get(answer, "data", 0, "embedding")
    size = len(first) if isinstance(first, list) else len(first) * 3 // 4 // 4 if isinstance(first, str) else None
    return {"count": len(vectors), "dimensions": size}


EMBEDDINGS = Operation(
    event_name="embeddings.create",
    inputs={"input": lambda request: request.get("input")},
    content=frozenset({"input"}),
    outputs={"embeddings": _vectors},
    metadata=_IDENTITY,
    usage=_usage,
    error=failure,
    join=JoinText,
)


def _images(answer: Any) -> Any:
    """Addresses, or what one wants to know of the bytes."""
    kind = get(answer, "output_format") or "png"
    given = get(answer, "data") or ([answer] if get(answer, "b64_json") else ())
    return [shown({**image, "output_format": kind}) for image in given]


def _plain(event_name: str, inputs: tuple[str, ...], outputs: Any) -> Operation:
    """An operation without messages: these fields of the request are inputs, the rest is configuration."""

    def given(name: str) -> Any:
        return lambda request: shown(request.get(name))

    return Operation(
        event_name=event_name,
        inputs={name: given(name) for name in inputs},
        content=frozenset(inputs),
        outputs=outputs,
        metadata=_IDENTITY,
        usage=_usage,
        error=failure,
        join=JoinText,
    )


_TEXT = {"content": lambda answer: get(answer, "text") or get(answer, "body"), "language": lambda a: get(a, "language"),
         "duration": lambda answer: get(answer, "duration")}  # fmt: skip
_PICTURES = {"images": _images}

ROUTES = {
    "/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/embeddings": EMBEDDINGS,
    "/completions": _plain("completions.create", ("prompt",), {
        "role": lambda answer: "assistant",
        "content": lambda answer: get(answer, "choices", 0, "text") or get(answer, "text"),
    }),
    "/images/generations": _plain("images.generate", ("prompt",), _PICTURES),
    "/images/edits": _plain("images.edit", ("prompt",), _PICTURES),
    "/images/variations": _plain("images.create_variation", (), _PICTURES),
    "/audio/transcriptions": _plain("audio.transcriptions.create", ("prompt",), _TEXT),
    "/audio/translations": _plain("audio.translations.create", ("prompt",), _TEXT),
    "/audio/speech": _plain("audio.speech.create", ("input", "instructions"), {"audio": lambda a: get(a, "body")}),
    "/moderations": _plain("moderations.create", ("input",), {"results": lambda answer: get(answer, "results")}),
}  # fmt: skip

LIBRARY = Library("openai")
TARGETS = stainless(LIBRARY, "openai._base_client", ROUTES, provider)
