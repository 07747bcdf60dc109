"""What the index keeps of every event for lists and roll-ups: a row for each, and sums for its session.

The sums of a session are those of its rows, in whatever order events come and however often they change.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from honeytrace.server.fields import cost_of, key_of, load, model_of, number, text, tokens_of
from honeytrace.server.numbering import Sessions, Words
from honeytrace.server.shortening import preview

__all__ = ["TYPES", "Digest", "add_events", "sum_up"]

TYPES = {"session": 0, "chain": 1, "model": 2, "tool": 3}


class Digest(NamedTuple):
    """One event as the index's table of events has it; None as `session_id` if there is no event yet.

    `inputs` and `outputs` are previews, of sessions and of what is right below them.
    """

    seq: int
    event_id: str
    session_id: str | None
    type: int | None
    name: str | None
    source: str | None
    user: str | None
    model: str | None
    start: float
    end: float | None
    duration: float | None
    error: int
    tokens: int | None
    cost: float | None
    has_start: bool
    inputs: str | None
    outputs: str | None

    @classmethod
    def of(cls, seq: int, event_id: str, body: str) -> Digest:
        """Digest what the store holds, whoever wrote it."""
        event = load(body)
        start, error = number(event.get("start_time")), event.get("error")
        user = event.get("user_properties")
        session_id = text(event.get("session_id")) if "event_type" in event else None
        on_top = event_id == session_id or event.get("parent_id") in (None, session_id)
        return cls(
            seq,
            event_id,
            session_id,
            TYPES.get(text(event.get("event_type")) or ""),
            text(event.get("event_name")),
            text(event.get("source")),
            text(user.get("user_id")) if isinstance(user, dict) else None,
            model_of(event),
            start or 0.0,
            number(event.get("end_time")),
            number(event.get("duration")),
            0 if error is None else 1 if error != "" else 2,
            tokens_of(event),
            cost_of(event),
            start is not None,
            preview(event.get("inputs")) if on_top else None,
            preview(event.get("outputs")) if on_top else None,
        )


def add_events(connection: sqlite3.Connection, digests: list[Digest]) -> None:
    """Take in events in the order of their seq and bring the roll-ups of their sessions up to date."""
    digests = [digest for digest in digests if digest.session_id is not None]
    if not digests:
        return
    sessions, words = Sessions(connection), Words(connection)
    rows = [
        (
            one.seq, key_of(one.event_id), sessions[one.session_id or ""], int(one.event_id == one.session_id),
            one.type, words[one.name], words[one.source], words[one.user], words[one.model],
            one.start, one.end, one.duration, one.error, one.tokens, one.cost,
        )
        for one in digests
    ]  # fmt: skip
    marks = ", ".join("?" * len(rows[0]))
    inserted = connection.executemany(f"INSERT OR IGNORE INTO events VALUES ({marks})", rows).rowcount
    dirty: set[int] = set()
    if inserted < len(rows):
        dirty = _replace(connection, rows, f"INSERT INTO events VALUES ({marks})")
    _add_up(connection, [row for row in rows if row[2] not in dirty and not row[3]])
    connection.executemany(
        "UPDATE sessions SET name = ?, source = ?, user = ?, own_start = ?, own_end = ?, own_duration = ?,"
        " own_error = ?, own_tokens = ?, own_cost = ?, own_inputs = ?, own_outputs = ?,"
        " own_seq = ? WHERE id = ?",
        [
            (one.name, one.source, one.user, one.start if one.has_start else None, one.end, one.duration,
             int(one.error == 1), one.tokens, one.cost, one.inputs, one.outputs, one.seq, one.session_id)
            for one in digests
            if one.event_id == one.session_id
        ],
    )  # fmt: skip
    _show_first(connection, digests)
    sum_up(connection, dirty)


def sum_up(connection: sqlite3.Connection, sessions: set[int]) -> None:
    """Compute the roll-ups of some sessions from their events."""
    connection.executemany(
        """
        UPDATE sessions SET (events, errors, tokens, cost, first, last) = (
            SELECT count(*), coalesce(sum(error = 1), 0), coalesce(sum(tokens), 0), sum(cost),
                   min(start), max(max(start, coalesce(end, start)))
            FROM events WHERE session = sessions.no AND NOT own)
        WHERE no = ?
        """,
        [(session,) for session in sessions],
    )


def _show_first(connection: sqlite3.Connection, digests: list[Digest]) -> None:
    """Keep what the first event right below a session was given and gave: lists show it if the session says nothing."""
    first: dict[str | None, Digest] = {}
    for one in digests:
        if one.inputs is not None and one.event_id != one.session_id:
            kept = first.get(one.session_id)
            if kept is None or one.start <= kept.start:
                first[one.session_id] = one
    connection.executemany(
        "UPDATE sessions SET top_start = ?, top_inputs = ?, top_outputs = ?"
        " WHERE id = ? AND (top_start IS NULL OR top_start >= ?)",
        [(one.start, one.inputs, one.outputs, session_id, one.start) for session_id, one in first.items()],
    )


def _replace(connection: sqlite3.Connection, rows: list[tuple[Any, ...]], insert: str) -> set[int]:
    """Put rows in the place of older ones with the same id; return the sessions whose sums are no longer right."""
    low, high = rows[0][0], rows[-1][0]
    there = {seq for (seq,) in connection.execute("SELECT seq FROM events WHERE seq BETWEEN ? AND ?", (low, high))}
    dirty: set[int] = set()
    for row in rows:
        if row[0] in there:
            continue
        (old,) = connection.execute("SELECT session FROM events WHERE id = ?", (row[1],)).fetchall() or [(row[2],)]
        connection.execute("DELETE FROM events WHERE id = ?", (row[1],))
        connection.execute(insert, row)
        connection.execute("INSERT OR REPLACE INTO state VALUES ('stale', 1)")
        if not row[3] or old[0] != row[2]:
            dirty.update((row[2], old[0]))
    return dirty


def _add_up(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    sums: dict[int, list[Any]] = {}
    for row in rows:
        start, end, error, tokens, cost = row[9], row[10], row[12], row[13], row[14]
        last = start if end is None or end < start else end
        here = sums.get(row[2])
        if here is None:
            sums[row[2]] = [1, int(error == 1), tokens or 0, cost, start, last]
        else:
            here[0] += 1
            here[1] += error == 1
            here[2] += tokens or 0
            if cost is not None:
                here[3] = cost + (here[3] or 0.0)
            here[4] = min(here[4], start)
            here[5] = max(here[5], last)
    connection.executemany(
        "UPDATE sessions SET events = events + ?, errors = errors + ?, tokens = tokens + ?,"
        " cost = CASE WHEN ? IS NULL THEN cost ELSE coalesce(cost, 0) + ? END,"
        " first = min(coalesce(first, ?), ?), last = max(coalesce(last, ?), ?) WHERE no = ?",
        [
            (events, errors, tokens, cost, cost, first, first, last, last, session)
            for session, (events, errors, tokens, cost, first, last) in sums.items()
        ],
    )
