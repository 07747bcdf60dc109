"""The contract's merging rules: what a stored event becomes when another record about it arrives.

Pure functions over decoded events; applying the same record twice gives the same event as once.
"""

from __future__ import annotations

from typing import Any

__all__ = ["session_event", "with_event", "with_session", "with_update"]

_MERGED = ("metadata", "feedback", "metrics", "config", "user_properties")
_MERGED_IN_SESSIONS = ("metadata", "user_properties")
_SET = ("duration", "end_time", "children_ids")


def session_event(session_id: str, session: dict[str, Any]) -> dict[str, Any]:
    """Write the form of POST /v1/sessions as the event it becomes. Nulls are left out."""
    event: dict[str, Any] = {"event_id": session_id, "session_id": session_id, "event_type": "session"}
    name = session.get("session_name") or session.get("event_name")
    if name is not None:
        event["event_name"] = name
    for field, value in session.items():
        if value is not None and field not in ("session_name", "event_name"):
            event.setdefault(field, value)
    return event


def with_update(event: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """Apply PUT /v1/events/{event_id}: five fields merge key by key, outputs is replaced, three are set.

    Everything else in the update is ignored, and so is null.
    """
    changed = dict(event)
    _merge(changed, update, _MERGED)
    if isinstance(update.get("outputs"), dict):
        changed["outputs"] = update["outputs"]
    changed.update((field, update[field]) for field in _SET if update.get(field) is not None)
    return changed


def with_session(stored: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """Apply a repeated session, already in the form of `session_event`, to what is stored."""
    if "event_type" not in stored:  # only updates so far: they are later than what they update
        return with_update(event, stored)
    changed = {**stored, **event}
    for field in _MERGED_IN_SESSIONS:
        if field in stored:
            changed[field] = stored[field]
    _merge(changed, event, _MERGED_IN_SESSIONS)
    return changed


def with_event(stored: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """Apply an event whose id is stored: it came twice, or its updates came first. Updates stay on top."""
    return with_update({**stored, **event}, stored)


def _merge(into: dict[str, Any], given: dict[str, Any], fields: tuple[str, ...]) -> None:
    for field in fields:
        value, kept = given.get(field), into.get(field)
        if isinstance(value, dict):
            into[field] = {**kept, **value} if isinstance(kept, dict) else value
