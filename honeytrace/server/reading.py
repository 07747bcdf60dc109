"""What the page reads besides its list: one session, one event, what there is to filter by, and what has changed.

Plain functions from an index and arguments to JSON values; HTTP is next door in pages.py. Times and durations are
milliseconds. Long values are cut, and say so.
"""

from __future__ import annotations

from typing import Any

from honeytrace._event import FIELDS
from honeytrace.server.bodies import encoded
from honeytrace.server.digesting import TYPES
from honeytrace.server.fields import cost_of, load, model_of, number, tokens_of
from honeytrace.server.index import Index
from honeytrace.server.shortening import cut, preview
from honeytrace.server.summaries import COLUMNS, summary

__all__ = ["changed", "event", "events_of", "facets", "session", "value", "whole"]

_PIECE = 8 * 1024 * 1024  # bytes
_RARE = frozenset({"error", "model", "tokens", "cost", "first_token_ms", "feedback"})
"""What an outline leaves out when there is none."""


def session(index: Index, session_id: str, after_seq: int | None = None) -> dict[str, Any] | None:
    """A session with the outlines of its events, or of those written after `after_seq`; None if there is none."""
    with index.reading() as connection:
        row = connection.execute(f"SELECT {COLUMNS} FROM sessions s WHERE s.id = ?", (session_id,)).fetchone()
    if row is None:
        return None
    rows = index.bodies().execute(
        "SELECT seq, event_id, body FROM events WHERE session_id = ? AND seq > ? ORDER BY seq",
        (session_id, after_seq or 0),
    )
    outlines, newest = [], after_seq or 0
    for seq, event_id, body in rows:  # one body at a time: all of a session may be gigabytes
        newest = seq
        if "event_type" in (found := load(body)):
            outlines.append(_outline(event_id, found))
    outlines.sort(key=lambda outline: outline["start_time"] or 0.0)
    own = _one(index, session_id)
    return {
        "session": None if own is None else cut(_contract(own))[0],
        "summary": summary(row),
        "events": outlines,
        "seq": newest,
    }


def event(index: Index, event_id: str) -> dict[str, Any] | None:
    """An event with its long values cut, and where they were."""
    found = _one(index, event_id)
    if found is None:
        return None
    shown, places = cut(_contract(found))
    return {"event": shown, "cut": places}


def value(index: Index, event_id: str, path: list[Any]) -> tuple[bool, Any]:
    """Whether there is a value at this path of an event, and the whole of it."""
    found: Any = _one(index, event_id)
    if found is None:
        return False, None
    for step in path:
        inside = step in found if isinstance(found, dict) and isinstance(step, str) else _is_place(found, step)
        if not inside:
            return False, None
        found = found[step]
    return True, found


def _is_place(found: Any, step: Any) -> bool:
    return isinstance(found, list) and type(step) is int and 0 <= step < len(found)


def events_of(index: Index, session_id: str) -> list[str]:
    """The ids of all events of a session, in the order of their start."""
    rows = index.bodies().execute(
        "SELECT event_id FROM events WHERE session_id = ? AND event_type IS NOT NULL ORDER BY start_time, seq",
        (session_id,),
    )
    return [event_id for (event_id,) in rows]


def whole(index: Index, event_ids: list[str]) -> tuple[list[bytes], list[str]]:
    """The first of these events with all that they hold, as many as make a piece, and the ids that are left.

    Those that are gone are left out.
    """
    made: list[bytes] = []
    size = 0
    for place, event_id in enumerate(event_ids, 1):
        event = _one(index, event_id)
        if event is not None:
            made.append(encoded(_contract(event)))
            size += len(made[-1])
        if size > _PIECE:
            return made, event_ids[place:]
    return made, []


def facets(index: Index) -> dict[str, Any]:
    """What there is to filter by, the most used first."""
    names: dict[str, list[str]] = {}
    with index.reading() as connection:
        for column in ("name", "source", "user", "model"):
            # One seek per different value while there are few: counting a million events takes a second.
            counted = connection.execute(
                f"""
                WITH RECURSIVE used (no) AS (
                    SELECT min({column}) FROM events WHERE {column} IS NOT NULL
                    UNION ALL
                    SELECT (SELECT min({column}) FROM events WHERE {column} > used.no) FROM used
                    WHERE used.no IS NOT NULL LIMIT 2000)
                SELECT text FROM used JOIN words ON words.no = used.no
                ORDER BY (SELECT count(*) FROM
                    (SELECT 1 FROM events WHERE {column} = used.no LIMIT 1000)) DESC, text LIMIT 100
                """
            )
            names[column] = [text for (text,) in counted]
        used = [
            name
            for name, kind in TYPES.items()
            if connection.execute("SELECT EXISTS (SELECT 1 FROM events WHERE type = ?)", (kind,)).fetchone()[0]
        ]
    return {
        "names": names["name"],
        "sources": names["source"],
        "types": used,
        "users": names["user"],
        "models": names["model"],
    }


def changed(index: Index, since: int) -> tuple[int, list[str]]:
    """Up to which write the index is, and the sessions that changed after `since`."""
    with index.reading(patience=0.0) as connection:
        rows = connection.execute(
            "SELECT DISTINCT s.id FROM (SELECT session FROM events WHERE seq > ? ORDER BY seq DESC LIMIT 5000) AS e"
            " JOIN sessions s ON s.no = e.session LIMIT 50",
            (since,),
        ).fetchall()
        row = connection.execute("SELECT value FROM state WHERE key = 'events'").fetchone()
    return since if row is None else int(row[0]), [one[0] for one in rows]


def _one(index: Index, event_id: str) -> dict[str, Any] | None:
    row = index.bodies().execute("SELECT body FROM events WHERE event_id = ?", (event_id,)).fetchone()
    found = None if row is None else load(row[0], exactly=True)
    return None if found is None or "event_type" not in found else {"event_id": event_id, **found}


def _contract(event: dict[str, Any]) -> dict[str, Any]:
    return {field: event[field] for field in FIELDS if field in event}


def _outline(event_id: str, event: dict[str, Any]) -> dict[str, Any]:
    error, feedback = event.get("error"), event.get("feedback")
    metadata = event.get("metadata")
    first = metadata.get("time_to_first_token_ms") if isinstance(metadata, dict) else None
    outline = {
        "event_id": event_id,
        "parent_id": event.get("parent_id"),
        "event_type": event.get("event_type"),
        "event_name": event.get("event_name"),
        "start_time": number(event.get("start_time")),
        "end_time": number(event.get("end_time")),
        "duration": number(event.get("duration")),
        "error": str(error)[:300] if error else None,
        "model": model_of(event),
        "tokens": tokens_of(event),
        "cost": cost_of(event),
        "first_token_ms": number(first),
        "feedback": feedback if isinstance(feedback, dict) and feedback and len(str(feedback)) < 2000 else None,
        "inputs_preview": preview(event.get("inputs")),
        "outputs_preview": preview(event.get("outputs")),
    }
    # Ten thousand of them are megabytes: what most events do not have is left out.
    return {name: value for name, value in outline.items() if value is not None or name not in _RARE}
