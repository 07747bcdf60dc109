"""Streams of OpenAI's protocol, put together into what the call would have answered without streaming.

Many servers speak this protocol; each class is one form of it. Nothing here may rely on a field being there.
"""

from __future__ import annotations

from collections.abc import Callable

from honeytrace.integrations._messages import get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JoinChat", "JoinResponse", "JoinText", "Pieces"]

_KEPT = 8_000_000
"""So many characters of a stream of parsed items are kept."""


class Pieces:
    """Texts that come in pieces, by key; what is too much is let go."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: dict[Any, list[str]] = {}
        self._size = 0

    def add(self, key: object, piece: object) -> bool:
        """Append a piece; say whether there was one."""
        if not isinstance(piece, str) or not piece:
            return False
        if self._size < _KEPT:
            self._size += len(piece)
            self._pieces.setdefault(key, []).append(piece)
        return True

    def text(self, key: object) -> str | None:
        """Give what came under a key, None if nothing did."""
        pieces = self._pieces.get(key)
        return None if pieces is None else "".join(pieces)

    def keys(self) -> list[Any]:
        """The keys, as they first came."""
        return list(self._pieces)


class JoinText:
    """Joins streams of plain pieces of text (transcripts, completions); keeps what else the last events say."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._last: dict[str, Any] = {}

    def add(self, event: Any) -> bool:
        """Take an event."""
        piece = get(event, "delta") or get(event, "choices", 0, "text")
        if isinstance(piece, str):
            self._pieces.append(piece)
        self._last.update((name, value) for name, value in event.items() if value is not None)
        return bool(piece) or get(event, "b64_json") is not None

    def result(self) -> Any:
        """Give the last event with the whole text."""
        return {"text": "".join(self._pieces), **self._last}


class JoinChat:
    """Joins the chunks of a chat completion."""

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._calls: dict[tuple[int, int], dict[str, Any]] = {}

    def add(self, event: Any) -> bool:
        """Take a chunk."""
        for name, value in event.items():
            if name != "choices" and value is not None:
                self._answer[name] = value
        generated = False
        for choice in event.get("choices") or ():
            index = choice.get("index") or 0
            whole = self._choices.setdefault(index, {"message": {}, "finish_reason": None})
            whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
            for name, value in (choice.get("delta") or {}).items():
                if name == "role":
                    whole["message"].setdefault(name, value)
                elif not value:
                    continue
                elif name == "tool_calls":
                    generated = True
                    for piece in value:
                        self._add_call(index, piece)
                elif isinstance(value, str):
                    generated = True
                    self._pieces.setdefault((index, name), []).append(value)
                else:
                    whole["message"][name] = value
        return generated

    def repeats(self, event: Any) -> tuple[str, Callable[[str], object]] | None:
        """Give the text of a chunk that adds only that, and what takes more of it."""
        choices = event.get("choices") or []
        delta = choices[0].get("delta") if len(choices) == 1 else None
        if not delta or len(delta) != 1:
            return None
        name = next(iter(delta))
        pieces = self._pieces.get((choices[0].get("index") or 0, name))
        return None if pieces is None or not isinstance(delta[name], str) else (delta[name], pieces.append)

    def _add_call(self, index: int, piece: Any) -> None:
        key = index, piece.get("index") or 0
        call = self._calls.setdefault(key, {"id": None, "function": {"name": "", "arguments": ""}})
        call["id"] = piece.get("id") or call["id"]
        function = piece.get("function") or piece.get("custom") or {}
        call["function"]["name"] = function.get("name") or call["function"]["name"]
        # Appending in place is cheap while nobody else holds the text.
        call["function"]["arguments"] += function.get("arguments") or function.get("input") or ""

    def result(self) -> Any:
        """Give the completion so far."""
        for (index, name), pieces in self._pieces.items():
            self._choices[index]["message"][name] = "".join(pieces)
        for (index, _), call in sorted(self._calls.items(), key=lambda item: item[0]):
            self._choices[index]["message"].setdefault("tool_calls", []).append(call)
        return {**self._answer, "choices": [self._choices[index] for index in sorted(self._choices)]}


class JoinResponse:
    """Joins the events of a response: the last one has it whole, unless the stream broke off before."""

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._ended = False

    def add(self, event: Any) -> bool:
        """Take an event."""
        kind = str(event.get("type"))
        if isinstance(event.get("response"), dict):
            self._response = event["response"]
            if kind in ("response.completed", "response.incomplete", "response.failed"):
                self._ended = True
                self._items.clear()
                self._pieces.clear()
        elif kind == "error":
            self._response = {**self._response, "error": event.get("error") or event}
        elif isinstance(event.get("item"), dict):
            self._items[event.get("output_index") or 0] = event["item"]
        elif kind.endswith(".delta") and isinstance(event.get("delta"), str):
            self._pieces.setdefault((event.get("output_index") or 0, kind), []).append(event["delta"])
            return True
        return False

    def result(self) -> Any:
        """Give the response so far."""
        if self._ended or not (self._items or self._pieces):
            return self._response
        for (index, kind), pieces in self._pieces.items():
            item = self._items.setdefault(index, {"type": "message"})
            text = "".join(pieces)
            if kind == "response.output_text.delta" and not item.get("content"):
                item["content"] = [{"type": "output_text", "text": text}]
            elif kind == "response.refusal.delta" and not item.get("content"):
                item["content"] = [{"type": "refusal", "refusal": text}]
            elif "arguments" in kind and not item.get("arguments"):
                item["arguments"] = text
            elif "reasoning" in kind and not item.get("summary"):
                item["summary"] = [{"text": text}]
        return {**self._response, "output": [self._items[index] for index in sorted(self._items)]}
