"""Events as JSON Lines and as records: one event per line, with the contract's fields and nothing else.

Whatever `to_line` writes, `from_line` reads back as the same event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from honeytrace._event import EVENT_TYPES, FIELDS, Event

__all__ = ["from_line", "to_line", "to_records"]

_OBJECTS = ("config", "inputs", "outputs", "metadata", "metrics", "feedback", "user_properties")
_TEXTS = ("parent_id", "event_name", "source")
_NUMBERS = ("start_time", "end_time", "duration")
_IGNORED = ("project_id",)

_IN_SESSIONS = ("source", "start_time", "end_time", "duration", "config", "inputs", "outputs", "user_properties")
_BESIDE_SESSIONS = ("feedback", "metrics")
_ROLL_UPS = frozenset(
    ["num_events", "num_model_events", "has_feedback", "cost", "total_tokens", "prompt_tokens", "completion_tokens"]
)
"""What the server adds up by itself in the metadata of a session (contract): not for clients to send."""


def to_line(event: Mapping[str, Any]) -> bytes:
    """Write an event as one line; what belongs to no field of the contract is left out."""
    fields = {field: event[field] for field in FIELDS if field in event}
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a character, which only an escape can write
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Event:
    """Read a line as an event for the local store.

    Raises:
        ValueError: it is none; the text says why.
    """
    try:
        event = json.loads(line, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(event, dict):
        raise ValueError("no JSON object")
    _check(event)
    event = {name: value for name, value in event.items() if name in FIELDS and (value is not None or name == "error")}
    body = json.dumps(event, separators=(",", ":")).encode()
    time_ns = int(min(max(event.get("start_time", 0), 0), 9e12) * 1_000_000)
    return Event("event", event["event_id"].encode(), body, time_ns)


_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _check(event: dict[str, Any]) -> None:
    unknown = [name for name in event if name not in FIELDS and name not in _IGNORED]
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    for name in ("event_id", "session_id"):
        value = event.get(name)
        if not isinstance(value, str) or _UUID.fullmatch(value) is None:
            raise ValueError(f"{name} must be a lower-case UUID")
    if event.get("event_type") not in EVENT_TYPES:
        raise ValueError(f"event_type must be one of {', '.join(EVENT_TYPES)}")
    if event["event_type"] != "session" and event.get("inputs") is None:
        raise ValueError("inputs is missing")
    for names, kind, word in (
        (_OBJECTS, dict, "an object"),
        (_TEXTS, str, "a text"),
        (_NUMBERS, (int, float), "a number"),
        (("children_ids",), list, "a list"),
        (("error",), str, "a text"),
    ):
        for name in names:
            value = event.get(name)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise ValueError(f"{name} must be {word}")


def to_records(events: list[dict[str, Any]]) -> list[Event]:
    """Turn the events of one session into records for an exporter: the session first."""
    sessions: list[Event] = []
    others: list[Event] = []
    for event in events:
        if "event_type" not in event:  # an update that waits for its event
            continue
        if not all(_UUID.fullmatch(str(event.get(name))) for name in ("event_id", "session_id")):
            continue  # the server would replace such an id (contract)
        fields = {name: event[name] for name in FIELDS if event.get(name) is not None}
        if fields["event_type"] == "session" and fields["event_id"] == fields.get("session_id"):
            sessions += _session_records(fields)
        else:
            others.append(_record("event", {"inputs": {}, **fields}, fields))
    return sessions + others


def _session_records(fields: dict[str, Any]) -> list[Event]:
    """A session as POST /v1/sessions takes it, and an update with what it does not take."""
    session = {"session_id": fields["session_id"]}
    if "event_name" in fields:
        session["session_name"] = fields["event_name"]
    session.update((name, fields[name]) for name in _IN_SESSIONS if name in fields)
    metadata = {name: value for name, value in fields.get("metadata", {}).items() if name not in _ROLL_UPS}
    if fields.get("error"):
        metadata.setdefault("error", fields["error"])
    if metadata:
        session["metadata"] = metadata
    records = [_record("session", session, fields)]
    update = {name: fields[name] for name in _BESIDE_SESSIONS if name in fields}
    return [*records, _record("update", update, fields)] if update else records


def _record(kind: str, body: dict[str, Any], fields: dict[str, Any]) -> Event:
    time_ns = int(min(max(fields.get("start_time") or 0, 0), 9e12) * 1_000_000)
    id = str(fields["event_id"]).encode("ascii", "backslashreplace")
    return Event(kind, id, json.dumps(body, separators=(",", ":")).encode(), time_ns)  # type: ignore[arg-type]
