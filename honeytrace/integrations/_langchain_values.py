"""LangChain's objects, read as plain values: messages, documents, generations. By their attributes, never their types.

What is no object of LangChain's is given back as it is, for the snapshot to deal with.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from honeytrace.integrations._messages import get, media, tool_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "counted_tokens",
    "has_tool_calls",
    "is_hidden",
    "model_config",
    "model_facts",
    "model_outputs",
    "plain",
    "run_name",
    "step_facts",
    "tool_result",
]

_ROLES = {"human": "user", "HumanMessageChunk": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_HIDDEN = "langsmith:hidden"
_OWN_TAGS = ("seq:step:", "map:key:", "graph:step:", "langsmith:", "condition:", "branch:")
_OWN_METADATA = ("ls_", "lc_", "langgraph_checkpoint_ns", "checkpoint_ns", "langgraph_triggers", "langgraph_path")


def plain(value: Any, depth: int = 5) -> Any:
    """Read messages, documents, prompts and commands inside dicts and lists; anything else stays as it is."""
    kind = type(value)
    if kind is str or value is None or not depth:
        return value
    if kind is dict:
        return {name: plain(inner, depth - 1) for name, inner in value.items()}
    if kind is list or kind is tuple:
        return [plain(inner, depth - 1) for inner in value]
    if hasattr(kind, "model_fields") or kind.__name__ == "Command":
        if hasattr(value, "content") and hasattr(value, "response_metadata"):
            return _message(value)
        if hasattr(value, "page_content"):
            return {"page_content": value.page_content, "metadata": value.metadata}
        if hasattr(value, "to_messages"):
            messages = getattr(value, "messages", None)
            return {"text": value.text} if messages is None else {"messages": plain(list(messages), depth)}
        if kind.__name__ == "Command":
            fields = {name: getattr(value, name, None) for name in ("goto", "update", "resume", "graph")}
            return {name: plain(inner, depth - 1) for name, inner in fields.items() if inner}
    return value


def _message(message: Any) -> dict[str, Any]:
    role = getattr(message, "role", None) or _ROLES.get(message.type, message.type)
    made: dict[str, Any] = {"role": role, "content": _content(message.content)}
    calls = getattr(message, "tool_calls", None)
    if calls:
        made["tool_calls"] = [
            tool_call(call.get("id"), call.get("name"), _arguments(call.get("args"))) for call in calls
        ]
    for name in ("name", "tool_call_id"):
        if getattr(message, name, None):
            made[name] = getattr(message, name)
    reasoning = (getattr(message, "additional_kwargs", None) or {}).get("reasoning_content")
    return {**made, "reasoning": reasoning} if reasoning else made


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    shown = []
    for block in content:
        if isinstance(block, dict):
            data = block.get("base64") or (block.get("data") if block.get("source_type") == "base64" else None)
            if isinstance(data, str):
                rest = {name: value for name, value in block.items() if name not in ("base64", "data")}
                block = {**rest, "data": media(data, str(block.get("mime_type") or "application/octet-stream"))}
        shown.append(block)
    return shown


def _arguments(given: Any) -> Any:
    """Arguments as JSON text, as they travel."""
    try:
        return orjson.dumps(given).decode()
    except (TypeError, ValueError):
        return given


def run_name(serialized: Any, about: Mapping[str, Any]) -> str:
    """The name of a run: as it was given, or of what is run."""
    name = about.get("name") or get(serialized, "name") or get(serialized, "id", -1)
    return str(name or "run")


def is_hidden(about: Mapping[str, Any]) -> bool:
    """Say whether this run is machinery."""
    return _HIDDEN in (about.get("tags") or ())


def step_facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata and tags that the program gave, and where in a graph this is."""
    given = about.get("metadata") or {}
    facts = {name: value for name, value in given.items() if not str(name).startswith(_OWN_METADATA)}
    tags = [tag for tag in about.get("tags") or () if not str(tag).startswith(_OWN_TAGS)]
    run_type = about.get("run_type")
    return {**facts, "tags": tags or None, "run_type": run_type, "agent_name": given.get("lc_agent_name")}


def model_config(about: Mapping[str, Any]) -> dict[str, Any]:
    """Model, provider and parameters of a call."""
    parameters = about.get("invocation_params") or {}
    metadata = about.get("metadata") or {}
    rest = {name: value for name, value in parameters.items() if name not in ("_type", "model_name", "messages")}
    model = parameters.get("model") or parameters.get("model_name") or metadata.get("ls_model_name")
    return {**rest, "model": model, "provider": metadata.get("ls_provider")}


def has_tool_calls(chunk: Any) -> bool:
    """Say whether a chunk without text carries something that was generated all the same."""
    return bool(getattr(getattr(chunk, "message", None), "tool_call_chunks", None))


def tool_result(output: Any) -> tuple[Any, str | None, dict[str, Any]]:
    """What a tool gave, its error where it was caught, and the call it answers."""
    call = getattr(output, "tool_call_id", None)
    if call is None and getattr(output, "status", None) is None:
        return plain(output), None, {}
    content = _content(output.content)
    error = str(content) if getattr(output, "status", None) == "error" else None
    return content, error, {"tool_call_id": call}


def _generations(response: Any) -> list[Any]:
    return [one for prompt in response.generations for one in prompt]


def model_outputs(response: Any) -> dict[str, Any]:
    """The message that was generated; where there are several, the others beside it."""
    made = []
    for generation in _generations(response):
        message = getattr(generation, "message", None)
        made.append({"role": "assistant", "content": generation.text} if message is None else _message(message))
    if not made:
        return {}
    return {**made[0], "choices": made} if len(made) > 1 else made[0]


def _is_cached(response: Any) -> bool:
    messages = [getattr(one, "message", None) for one in _generations(response)]
    return any((getattr(message, "usage_metadata", None) or {}).get("total_cost") == 0 for message in messages)


def model_facts(response: Any) -> dict[str, Any]:
    """What else the answer says: why it ended, which model gave it."""
    for generation in _generations(response)[:1]:
        message = getattr(generation, "message", None)
        about = {**(generation.generation_info or {}), **(getattr(message, "response_metadata", None) or {})}
        return {
            "finish_reason": about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason"),
            "response_model": about.get("model_name") or about.get("model"),
            "response_id": about.get("id"),
            "cache_hit": True if _is_cached(response) else None,
        }
    return {}


def counted_tokens(response: Any) -> dict[str, Any]:
    """Tokens of a call, cached and reasoning ones included in the totals. None for an answer out of a cache."""
    if _is_cached(response):
        return {}
    for generation in _generations(response):
        usage = getattr(getattr(generation, "message", None), "usage_metadata", None)
        if usage:
            return {
                "prompt_tokens": usage.get("input_tokens"),
                "completion_tokens": usage.get("output_tokens"),
                "total_tokens": usage.get("total_tokens"),
                "cache_read_input_tokens": get(usage, "input_token_details", "cache_read"),
                "cache_write_input_tokens": get(usage, "input_token_details", "cache_creation"),
                "reasoning_tokens": get(usage, "output_token_details", "reasoning"),
            }
    usage = get(response.llm_output, "token_usage") or {}
    return {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
