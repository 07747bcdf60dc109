"""What a stored event says, whoever wrote it: its JSON, and the values that lists, roll-ups and the page show.

Nothing here trusts the store: a value of another type than the contract's counts as absent.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

__all__ = ["cost_of", "id_of", "key_of", "load", "model_of", "number", "text", "tokens_of"]

_MOST_SUM = 2**53
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_BIG_NUMBER = re.compile(r"\d{19}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")  # SQLite takes no lone ones


def load(body: str, *, exactly: bool = False) -> dict[str, Any]:
    """Decode what the store holds, whatever a direct writer has put there; `exactly`: integers of any size."""
    try:
        event: Any = json.loads(body) if exactly and _BIG_NUMBER.search(body) else orjson.loads(body)
    except (ValueError, RecursionError):
        try:
            event = json.loads(_SURROGATE.sub(r"\\ufffd", body))
        except (ValueError, RecursionError):
            event = {}
    return event if isinstance(event, dict) else {}


def text(value: object) -> str | None:
    """A string, None for anything else."""
    return value if isinstance(value, str) else None


def number(value: object) -> float | None:
    """A JSON number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def model_of(event: dict[str, Any]) -> str | None:
    """The model that was asked."""
    config = event.get("config")
    return text(config.get("model")) if isinstance(config, dict) else None


def tokens_of(event: dict[str, Any]) -> int | None:
    """All tokens of an event, None if it does not say."""
    metadata = event.get("metadata")
    if not isinstance(metadata, dict):
        return None
    total = number(metadata.get("total_tokens"))
    if total is None:
        parts = [number(metadata.get(name)) for name in ("prompt_tokens", "completion_tokens")]
        given = [part for part in parts if part is not None]
        if not given:
            return None
        total = sum(given)
    return int(total) if abs(total) < _MOST_SUM else None


def cost_of(event: dict[str, Any]) -> float | None:
    """What the event cost in USD, None if it does not say."""
    metadata = event.get("metadata")
    cost = number(metadata.get("cost")) if isinstance(metadata, dict) else None
    return cost if cost is not None and abs(cost) < _MOST_SUM else None


def key_of(event_id: str) -> bytes | str:
    """An id in the index: sixteen bytes if it is a UUID."""
    if _UUID.match(event_id):
        return bytes.fromhex(event_id.replace("-", ""))
    return event_id


def id_of(key: bytes | str) -> str:
    """The id a key of the index stands for."""
    if isinstance(key, str):
        return key
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
