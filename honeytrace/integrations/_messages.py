"""Pieces that several providers have in common: fields that may be missing, failures, media, tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from honeytrace._snapshot._binary import blob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["described", "failure", "fields_of", "get", "given", "media", "plain", "shown", "tool_call"]


def get(source: Any, *path: str | int) -> Any:
    """Go down a path of keys, attributes and indexes; None where it ends, or where a client's word for "not given" is.

    Of objects only fields are read, never properties: nothing of the client's runs.
    """
    for step in path:
        if type(source) is dict:  # nearly always; asking for a Mapping takes ten times as long
            source = source.get(step)
        elif source is None:
            return None
        elif isinstance(source, Mapping):
            source = source.get(step)
        elif isinstance(source, (list, tuple)):
            if not isinstance(step, int) or not -len(source) <= step < len(source):
                return None
            source = source[step]
        else:
            source = fields_of(source).get(step)
    return plain_scalar(source)


_NOTHING: dict[Any, Any] = {}
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})
_MISSING = frozenset({"Unset", "Omit", "NotGiven", "ellipsis", "PydanticUndefinedType"})


def fields_of(source: object) -> Mapping[Any, Any]:
    """The fields of an object, those that its class does not know included; empty if it has none."""
    try:
        fields = object.__getattribute__(source, "__dict__")
    except AttributeError:
        return _NOTHING
    try:
        extra = object.__getattribute__(source, "__pydantic_extra__")
    except AttributeError:
        return fields  # type: ignore[no-any-return]
    return {**extra, **fields} if extra else fields


def plain_scalar(value: Any) -> Any:
    """Give an enumeration's value, and None for what stands for "not given"; anything else as it is."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        return value._value_
    return None if type(value).__name__ in _MISSING else value


def plain(value: Any, depth: int = 12) -> Any:
    """Give lists and dicts in place of a client's objects, without what is not there. Plain values are not copied."""
    value = plain_scalar(value)
    kind = type(value)
    if kind is dict or kind is list or kind is tuple:
        if not depth:
            return value
        if kind is not dict:
            made = [plain(inner, depth - 1) for inner in value]
            return made if any(new is not old for new, old in zip(made, value, strict=True)) else value
        changed = {name: plain(inner, depth - 1) for name, inner in value.items()}
        return changed if any(changed[name] is not value[name] for name in value) else value
    fields = _NOTHING if kind in _PLAIN or not depth or not hasattr(kind, "model_fields") else fields_of(value)
    if not fields:
        return value
    made_fields = {name: plain(inner, depth - 1) for name, inner in fields.items() if not str(name).startswith("_")}
    return {name: inner for name, inner in made_fields.items() if inner is not None}


def given(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that were given: without None and a client's words for "not given"."""
    return {name: value for name, value in kwargs.items() if plain_scalar(value) is not None}


def described(data: bytes, mime: str | None) -> dict[str, object]:
    """Bytes as what one wants to know of them: {mime, bytes, sha256}."""
    return blob(data, len(data), mime)


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
        copied: list[Any] | None = None
        for place, inner in enumerate(value):
            made = shown(inner, depth - 1)
            if made is not inner:
                copied = copied or [*value]
                copied[place] = made
        return value if copied is None else copied
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
