"""From checked request bodies to rows: ids are made or brought into one form, defaults are filled in.

What leaves here is JSON text with a lower-case event_id and session_id, ready to be written.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, NamedTuple

import orjson

from honeytrace.server import contract
from honeytrace.server.bodies import MOST_LEVELS, Refused, too_deep

__all__ = ["Row", "encode", "new_id", "rows", "session_of", "with_own_id"]

_LINE_END = orjson.Fragment(b"\n")
_IDS = ("event_id", "session_id", "parent_id")


class Row(NamedTuple):
    """An event on its way into the store."""

    event_id: str
    session_id: str
    body: str
    name: str
    source: str
    start: float | None


def new_id() -> str:
    """A fresh UUIDv4."""
    return str(uuid.uuid4())


def rows(events: list[dict[str, Any]], *, session_id: str | None = None, name: str = "events") -> list[Row]:
    """Complete checked events; `session_id` overrides theirs. `name` is what errors call the list.

    Raises:
        Refused: an event is nested too deep.
    """
    for event in events:
        _complete(event, session_id)
    made = []
    for index, (event, text) in enumerate(zip(events, _texts(events), strict=True)):
        if too_deep(text, event):
            where = f"{name}[{index}]" if name else "the event"
            raise Refused(400, f"{where}: expected at most {MOST_LEVELS} nested levels")
        start = event.get("start_time")
        made.append(Row(event["event_id"], event["session_id"], text, event["event_name"], event["source"], start))
    return made


def with_own_id(session: dict[str, Any]) -> dict[str, Any]:
    """A session with a session_id that is a UUID: its own, or a fresh one as the contract says; nulls left out."""
    session = {name: value for name, value in session.items() if value is not None}
    given = session.get("session_id")
    session["session_id"] = str(given).lower() if contract.is_uuid(given) else new_id()
    return session


def session_of(session_id: str, rows_of_it: list[Row]) -> dict[str, Any]:
    """The session event that is made for events which arrive without one."""
    first = min(rows_of_it, key=lambda row: row.start if row.start is not None else float("inf"))
    return {
        "event_id": session_id,
        "session_id": session_id,
        "event_type": "session",
        "event_name": first.name,
        "source": first.source,
        "inputs": {},
        "start_time": first.start if first.start is not None else time.time() * 1000,
    }


def encode(fields: dict[str, Any]) -> str:
    """Encode what is stored.

    Raises:
        Refused: it is nested too deep.
    """
    text = _bytes(fields).decode()
    if too_deep(text, fields):
        raise Refused(400, f"expected at most {MOST_LEVELS} nested levels")
    return text


def _complete(event: dict[str, Any], session_id: str | None) -> None:
    for field in _IDS:
        if field in event:
            event[field] = event[field].lower()
    is_session = event["event_type"] == "session"
    if session_id is not None:
        event["session_id"] = session_id
        if is_session:
            event.setdefault("event_id", session_id)
    elif "session_id" not in event:
        event["session_id"] = event["event_id"] if is_session and "event_id" in event else new_id()
    if "event_id" not in event:
        event["event_id"] = event["session_id"] if is_session else new_id()
    if event["event_id"] != event["session_id"]:  # a session is nobody's child, least of all its own
        event.setdefault("parent_id", event["session_id"])
    event.setdefault("event_name", "unknown")
    event.setdefault("source", "unknown")


def _texts(events: list[dict[str, Any]]) -> list[str]:
    """Encode all events at once: half the cost. What orjson writes has no line ends, so these tell the events apart."""
    parts: list[Any] = [_LINE_END] * (2 * len(events))
    parts[::2] = events
    try:
        return orjson.dumps(parts)[1:-3].decode().split(",\n,") if events else []
    except TypeError:
        return [_bytes(event).decode() for event in events]


def _bytes(fields: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError:  # integers beyond 64 bits; its own bound of 254 levels
        try:
            return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()
        except RecursionError:
            raise Refused(400, f"expected at most {MOST_LEVELS} nested levels") from None
