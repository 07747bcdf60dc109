"""Pieces that several providers have in common: fields that may be missing, failures, media, tool calls."""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["failure", "get", "media", "shown", "tool_call"]


def get(source: Any, *path: str | int) -> Any:
    """Go down a path of keys and indexes; None where it ends."""
    for step in path:
        if type(source) is dict:  # nearly always; asking for a Mapping takes ten times as long
            source = source.get(step)
        elif source is None:
            return None
        elif isinstance(source, Mapping):
            source = source.get(step)
        elif isinstance(source, list) and isinstance(step, int) and -len(source) <= step < len(source):
            source = source[step]
        else:
            return None
    return source


def failure(answer: Any) -> str | None:
    """What an answer says went wrong, if it does."""
    error = get(answer, "error")
    if not error:
        return None
    code, text = get(error, "code") or get(error, "type"), get(error, "message") or error
    return f"{code}: {text}" if code else str(text)


def media(encoded: str, mime: str) -> str:
    """Base64 as a data URI: the snapshot makes {mime, bytes, sha256} of it."""
    return encoded if encoded.startswith("data:") else f"data:{mime};base64,{encoded}"


_MEDIA = {"data": "audio/{format}", "file_data": "application/octet-stream", "b64_json": "image/{output_format}",
          "partial_image_b64": "image/{output_format}"}  # fmt: skip


def shown(value: Any, depth: int = 8) -> Any:
    """Give a message or an item back, its media as data URIs. What has none is given back as it is, not copied."""
    if depth and type(value) is list:
        made = [shown(inner, depth - 1) for inner in value]
        return made if any(new is not old for new, old in zip(made, value, strict=True)) else value
    if not depth or type(value) is not dict:
        return value
    changed: dict[Any, Any] = {}
    for name, inner in value.items():
        if type(inner) is str:
            form = _MEDIA.get(name)
            if name == "data" and type(value.get("media_type")) is str:
                changed[name] = media(inner, value["media_type"])
                continue
            if form is not None and len(inner) > 256 and (name != "data" or "format" in value or "transcript" in value):
                kinds = {"format": value.get("format", "basic"), "output_format": value.get("output_format", "png")}
                changed[name] = media(inner, form.format_map(kinds))
        elif type(inner) is dict or type(inner) is list:
            made = shown(inner, depth - 1)
            if made is not inner:
                changed[name] = made
    return {**value, **changed} if changed else value


def tool_call(id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """One tool call in the form the contract wants."""
    return {"id": id, "function": {"name": name, "arguments": arguments}}
