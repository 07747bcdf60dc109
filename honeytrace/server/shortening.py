"""Long values, cut for the page: what is shown at first costs no more than what can be seen."""

from __future__ import annotations

from typing import Any

__all__ = ["cut", "preview"]

_PREVIEW = 120
_CUT_TEXT = 4000
_CUT_ITEMS = 100
_CUT_TOTAL = 400_000


def preview(value: Any) -> str:
    """The beginning of the first text in a value, or of its JSON; costs no more than what it shows."""
    value = _said(value)
    while isinstance(value, (dict, list)) and len(value) == 1:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    if value is None:
        return ""
    if isinstance(value, str):
        text = value[:_PREVIEW]
    elif isinstance(value, dict):
        text = ", ".join(f"{name}: {_brief(inner)}" for name, inner in list(value.items())[:6])
    elif isinstance(value, list):
        text = ", ".join(_brief(inner) for inner in value[:6])
    else:
        text = str(value)
    return " ".join(text[:_PREVIEW].split())


def _said(value: Any) -> Any:
    """Of a conversation what its user said last, of a message its text or the names of the tools it calls."""
    history = value.get("chat_history") if isinstance(value, dict) else None
    if isinstance(history, list) and history:
        users = [one for one in history[-50:] if isinstance(one, dict) and one.get("role") == "user"]
        value = (users or history)[-1]
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return value
    content, calls = value.get("content"), value.get("tool_calls")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        content = texts[0] if texts else content
    if not content and isinstance(calls, list) and calls:
        named = [call.get("function", call) for call in calls[:6] if isinstance(call, dict)]
        return ", ".join(f"{one.get('name')}()" for one in named if isinstance(one, dict))
    return value if content is None else content


def _brief(value: Any) -> str:
    if isinstance(value, str):
        return value[:_PREVIEW]
    if isinstance(value, dict):
        return "{…}" if value else "{}"
    if isinstance(value, list):
        return "[…]" if value else "[]"
    return "null" if value is None else str(value)[:40]


def cut(event: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Cut long texts, lists and objects below the fields of an event; say where."""
    places: list[dict[str, Any]] = []
    room = [_CUT_TOTAL]

    def shorter(value: Any, path: list[Any]) -> Any:
        if isinstance(value, str):
            most = _CUT_TEXT if room[0] > 0 else 200
            room[0] -= min(len(value), most)
            if len(value) > most:
                places.append({"path": path, "length": len(value), "kind": "string"})
                return value[:most]
            return value
        room[0] -= 8
        most = _CUT_ITEMS if room[0] > 0 else 3
        if isinstance(value, dict):
            if len(value) > most:
                places.append({"path": path, "length": len(value), "kind": "object"})
            return {name: shorter(value[name], [*path, name]) for name in list(value)[:most]}
        if isinstance(value, list):
            if len(value) > most:
                places.append({"path": path, "length": len(value), "kind": "array"})
            return [shorter(inner, [*path, number]) for number, inner in enumerate(value[:most])]
        return value

    return {field: shorter(value, [field]) for field, value in event.items()}, places
