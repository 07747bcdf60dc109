"""What the page reads: lists of sessions, one session, one event, and what there is to filter by.

Plain functions from an index and arguments to JSON values; HTTP is next door in pages.py. Times and durations are
milliseconds. Long values are cut, and say so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from honeytrace._event import FIELDS
from honeytrace.server import digesting
from honeytrace.server.index import Index

__all__ = ["changed", "download", "event", "facets", "session", "sessions", "value"]

_RUNNING = 5 * 60 * 1000.0  # ms since its last sign of life after which a session without an end is over
_PREVIEW = 120
_CUT_TEXT = 4000
_CUT_ITEMS = 100
_CUT_TOTAL = 400_000
_FEW = 5000
_FEW_WORDS = 20_000  # cheaper to join: their order is that of the events
_FIRST_BLOCK = 200  # sessions looked through at once; more each time
_MOST_BLOCK = 3200
_SECONDS = 1.0  # for looking through sessions in one request

_SUMMARY = (
    "s.no, s.id, s.name, s.source, s.user, s.start, s.own_end, s.own_duration, s.own_error, s.events, s.errors,"
    " s.tokens + coalesce(CASE WHEN s.events = 0 THEN s.own_tokens END, 0),"
    " coalesce(s.cost, s.own_cost), s.last"
)


def sessions(index: Index, given: Mapping[str, str]) -> dict[str, Any]:
    """One page of sessions, newest first, of those that hold an event which matches all filters.

    since, until (of the start), min_duration and max_duration are about the session; all others about one event.
    Raises:
        ValueError: a filter is not what it should be.
    """
    limit = max(1, min(500, int(given.get("limit") or 50)))
    after = _cursor(given.get("cursor"))
    deep = bool(given.get("q")) or any(name.startswith("meta.") for name in given)
    own, own_values = _about_session(given)
    with index.reading(deep=deep) as connection:
        tests = _about_event(connection, given)
        if tests is None:
            return {"sessions": [], "next": None}
        rows, more = _found(connection, tests, own, own_values, after, limit)
    return {"sessions": [_summary(row) for row in rows], "next": more}


def _found(
    connection: Any, tests: list[_Test], own: str, own_values: list[Any], after: tuple[float, int] | None, limit: int
) -> tuple[list[Any], str | None]:
    few = _few(connection, tests)
    where, values = own, list(own_values)
    if few is not None:
        numbers = _sessions_of(connection, few, [test for test in tests if test is not few])
        where += " AND s.no IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(numbers))
    if few is not None or not tests:
        rows = _block(connection, where, values, after, limit + 1)
        return rows[:limit], _as_cursor(rows[limit - 1]) if len(rows) > limit else None
    return _looked_through(connection, tests, (where, values), after, limit)


def _looked_through(
    connection: Any, tests: list[_Test], about: tuple[str, list[Any]], after: tuple[float, int] | None, limit: int
) -> tuple[list[Any], str | None]:
    """Test sessions from the newest on until there are enough, for tests that many events pass."""
    rows: list[Any] = []
    size, end = _FIRST_BLOCK, time.monotonic() + _SECONDS
    while True:
        block = _block(connection, *about, after, size)
        holding = _holding(connection, [row[0] for row in block], tests)
        rows.extend(row for row in block if row[0] in holding)
        if len(rows) > limit:
            return rows[:limit], _as_cursor(rows[limit - 1])
        if len(block) < size:
            return rows, None
        after = (block[-1][5], block[-1][0])
        if time.monotonic() > end and rows:
            return rows, _as_cursor(block[-1])
        size = min(size * 2, _MOST_BLOCK)


def _block(connection: Any, where: str, values: list[Any], after: tuple[float, int] | None, size: int) -> list[Any]:
    older, place = ("", ()) if after is None else (" AND (s.start, s.no) < (?, ?)", after)
    rows: list[Any] = connection.execute(
        f"SELECT {_SUMMARY} FROM sessions s WHERE {where}{older} ORDER BY s.start DESC, s.no DESC LIMIT {size}",
        [*values, *place],
    ).fetchall()
    return rows


class _Test:
    """A condition on one event. `drive` are all matching seqs, `where` the same about the event `e`."""

    def __init__(self, where: str, drive: str, values: list[Any], *, text: bool = False) -> None:
        self.where = where
        self.drive = drive
        self.values = values
        self.text = text


def _about_event(connection: Any, given: Mapping[str, str]) -> list[_Test] | None:
    """The filters that one event must pass; None if no event can."""
    tests: list[_Test] = []
    if kind := given.get("type"):
        number = digesting.TYPES.get(kind)
        if number is None:
            raise ValueError(f"type: expected one of {', '.join(digesting.TYPES)}, got {kind[:80]!r}")
        tests.append(_column("type", number))
    for name in ("name", "source", "user", "model"):
        if text := given.get(name):
            number = digesting.word(connection, text)
            if number is None:
                return None
            tests.append(_column(name, number))
    if given.get("error") in ("1", "true"):
        tests.append(_column("error", 1))
    for name, text in given.items():
        if name.startswith("meta."):
            number = digesting.word(connection, "metadata." + name[5:])
            if number is None:
                return None
            tests.append(_fact(number, text))
    if words := _match(given.get("q", "")):
        where = "EXISTS (SELECT 1 FROM text WHERE text MATCH ? AND rowid = e.seq)"
        tests.append(_Test(where, "SELECT rowid AS seq FROM text WHERE text MATCH ?", [words], text=True))
    elif given.get("q", "").strip():
        return None
    return tests


def _column(name: str, number: int) -> _Test:
    return _Test(f"e.{name} = ?", f"SELECT seq FROM events WHERE {name} = ?", [number])


def _fact(path: int, text: str) -> _Test:
    same: list[Any] = [digesting.fact_value(text)]
    try:
        found = json.loads(text)
        if isinstance(found, (int, float, bool)):
            same.append(digesting.fact_value(found))
    except (ValueError, RecursionError):
        pass
    marks = ", ".join("?" * len(same))
    return _Test(
        f"EXISTS (SELECT 1 FROM facts WHERE path = ? AND value IN ({marks}) AND seq = e.seq)",
        f"SELECT seq FROM facts WHERE path = ? AND value IN ({marks})",
        [path, *same],
    )


def _match(text: str) -> str:
    """People's words as an FTS5 query: all of them, the last as a beginning; "in quotes" as one phrase."""
    parts = text.replace("\0", " ").split('"')
    phrases = []
    for number, part in enumerate(parts):
        for phrase in [part] if number % 2 else part.split():
            if any(letter.isalnum() for letter in phrase):
                phrases.append(f'"{phrase}"')
    if phrases and len(parts) % 2 and not text.endswith((" ", '"')):
        phrases[-1] += " *"
    return " AND ".join(phrases[:20])


def _few(connection: Any, tests: list[_Test]) -> _Test | None:
    """The test that fewest events pass, if these are few."""
    best, least = None, _FEW_WORDS + 1
    for test in tests:
        most = _FEW_WORDS if test.text else _FEW
        (count,) = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM ({test.drive}) LIMIT {most + 1})", test.values
        ).fetchone()
        if count <= most and count < least:
            best, least = test, count
    return best


def _sessions_of(connection: Any, few: _Test, others: list[_Test]) -> list[int]:
    where = " AND ".join(test.where for test in others) or "1"
    rows = connection.execute(
        f"SELECT DISTINCT e.session FROM ({few.drive}) AS d CROSS JOIN events e ON e.seq = d.seq WHERE {where}",
        [*few.values, *(value for test in others for value in test.values)],
    )
    return [row[0] for row in rows]


def _holding(connection: Any, sessions: list[int], tests: list[_Test]) -> set[int]:
    """Those of some sessions that hold an event which passes all tests."""
    among = json.dumps(sessions)
    texts = [test for test in tests if test.text]
    others = [test for test in tests if not test.text]
    where = " AND ".join(["e.session IN (SELECT value FROM json_each(?))", *(test.where for test in others)])
    values = [among, *(value for test in others for value in test.values)]
    source = "events e INDEXED BY events_by_session"
    for test in texts:
        # One pass over the words of the stretch these sessions lie in: asking for each event costs much more.
        low, high = connection.execute(
            "SELECT min(seq), max(seq) FROM events WHERE session IN (SELECT value FROM json_each(?))", (among,)
        ).fetchone()
        source = "text CROSS JOIN events e ON e.seq = text.rowid"
        where = f"text MATCH ? AND text.rowid BETWEEN ? AND ? AND {where}"
        values = [*test.values, low, high, *values]
    return {row[0] for row in connection.execute(f"SELECT DISTINCT e.session FROM {source} WHERE {where}", values)}


def _about_session(given: Mapping[str, str]) -> tuple[str, list[Any]]:
    parts, values = ["1"], []
    duration = "coalesce(s.own_duration, s.own_end - s.start, s.last - s.start)"
    for name, sql in (
        ("since", "s.start >= ?"),
        ("until", "s.start <= ?"),
        ("min_duration", f"{duration} >= ?"),
        ("max_duration", f"{duration} <= ?"),
    ):
        if text := given.get(name):
            try:
                values.append(float(text))
            except ValueError:
                raise ValueError(f"{name}: expected a number of milliseconds, got {text[:80]!r}") from None
            parts.append(sql)
    return " AND ".join(parts), values


def _summary(row: Any) -> dict[str, Any]:
    _, session_id, name, source, user, start, own_end, own_duration, own_error, events, errors, tokens, cost, last = row
    end, duration = own_end, own_duration
    if end is None and duration is not None and start:
        end = start + duration
    running = end is None and time.time() * 1000 - max(start or 0.0, last or 0.0) < _RUNNING
    if end is None and not running:
        end = last
    if duration is None and end is not None and start:
        duration = max(0.0, end - start)
    return {
        "session_id": session_id,
        "name": name or "unknown",
        "source": source,
        "user_id": user,
        "start_time": start or None,
        "end_time": end,
        "duration": duration,
        "events": events,
        "errors": errors,
        "tokens": tokens,
        "cost": cost,
        "status": "error" if errors or own_error else "running" if running else "ok",
    }


def _cursor(text: str | None) -> tuple[float, int] | None:
    if not text:
        return None
    try:
        start, _, number = text.partition("_")
        return float(start), int(number)
    except ValueError:
        raise ValueError(f"cursor: expected what `next` said, got {text[:80]!r}") from None


def _as_cursor(row: Any) -> str:
    return f"{row[5]!r}_{row[0]}"


# -- one session, one event ---------------------------------------------------------------------------------------


def session(index: Index, session_id: str, after_seq: int | None = None) -> dict[str, Any] | None:
    """A session with the outlines of its events, or of those written after `after_seq`; None if there is none."""
    with index.reading() as connection:
        row = connection.execute(f"SELECT {_SUMMARY} FROM sessions s WHERE s.id = ?", (session_id,)).fetchone()
    if row is None:
        return None
    rows = (
        index.bodies()
        .execute(
            "SELECT seq, event_id, body FROM events WHERE session_id = ? AND seq > ? ORDER BY seq",
            (session_id, after_seq or 0),
        )
        .fetchall()
    )
    events = [(seq, event_id, digesting.load(body)) for seq, event_id, body in rows]
    outlines = [_outline(event_id, event) for _, event_id, event in events if "event_type" in event]
    outlines.sort(key=lambda outline: outline["start_time"] or 0.0)
    own = _one(index, session_id)
    return {
        "session": None if own is None else _cut(_contract(own))[0],
        "summary": _summary(row),
        "events": outlines,
        "seq": max((seq for seq, _, _ in events), default=after_seq or 0),
    }


def event(index: Index, event_id: str) -> dict[str, Any] | None:
    """An event with its long values cut, and where they were."""
    found = _one(index, event_id)
    if found is None:
        return None
    shown, cut = _cut(_contract(found))
    return {"event": shown, "cut": cut}


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


def download(index: Index, session_id: str) -> dict[str, Any] | None:
    """All events of a session, whole."""
    rows = index.bodies().execute(
        "SELECT event_id, body FROM events WHERE session_id = ? ORDER BY start_time, seq", (session_id,)
    )
    events = [_contract({"event_id": event_id, **digesting.load(body, exactly=True)}) for event_id, body in rows]
    events = [event for event in events if "event_type" in event]
    return {"session_id": session_id, "events": events} if events else None


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
            for name, number in digesting.TYPES.items()
            if connection.execute("SELECT EXISTS (SELECT 1 FROM events WHERE type = ?)", (number,)).fetchone()[0]
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
        (seq,) = connection.execute("SELECT value FROM state WHERE key = 'events'").fetchone()
    return int(seq), [row[0] for row in rows]


def _one(index: Index, event_id: str) -> dict[str, Any] | None:
    row = index.bodies().execute("SELECT body FROM events WHERE event_id = ?", (event_id,)).fetchone()
    found = None if row is None else digesting.load(row[0], exactly=True)
    return None if found is None or "event_type" not in found else {"event_id": event_id, **found}


def _contract(event: dict[str, Any]) -> dict[str, Any]:
    return {field: event[field] for field in FIELDS if field in event}


def _outline(event_id: str, event: dict[str, Any]) -> dict[str, Any]:
    error, feedback = event.get("error"), event.get("feedback")
    metadata = event.get("metadata")
    first = metadata.get("time_to_first_token_ms") if isinstance(metadata, dict) else None
    return {
        "event_id": event_id,
        "parent_id": event.get("parent_id"),
        "event_type": event.get("event_type"),
        "event_name": event.get("event_name"),
        "start_time": digesting.number(event.get("start_time")),
        "end_time": digesting.number(event.get("end_time")),
        "duration": digesting.number(event.get("duration")),
        "error": str(error)[:300] if error else None,
        "model": digesting.model_of(event),
        "tokens": digesting.tokens_of(event),
        "cost": digesting.cost_of(event),
        "first_token_ms": digesting.number(first),
        "feedback": feedback if isinstance(feedback, dict) and feedback and len(str(feedback)) < 2000 else None,
        "inputs_preview": _preview(event.get("inputs")),
        "outputs_preview": _preview(event.get("outputs")),
    }


def _preview(value: Any) -> str:
    """The beginning of the first text in a value, or of its JSON; costs no more than what it shows."""
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


def _brief(value: Any) -> str:
    if isinstance(value, str):
        return value[:_PREVIEW]
    if isinstance(value, dict):
        return "{…}" if value else "{}"
    if isinstance(value, list):
        return "[…]" if value else "[]"
    return "null" if value is None else str(value)[:40]


def _cut(event: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Cut long texts, lists and objects below the fields of an event; say where."""
    cut: list[dict[str, Any]] = []
    room = [_CUT_TOTAL]

    def shorter(value: Any, path: list[Any]) -> Any:
        if isinstance(value, str):
            most = _CUT_TEXT if room[0] > 0 else 200
            room[0] -= min(len(value), most)
            if len(value) > most:
                cut.append({"path": path, "length": len(value), "kind": "string"})
                return value[:most]
            return value
        room[0] -= 8
        most = _CUT_ITEMS if room[0] > 0 else 3
        if isinstance(value, dict):
            if len(value) > most:
                cut.append({"path": path, "length": len(value), "kind": "object"})
            return {name: shorter(value[name], [*path, name]) for name in list(value)[:most]}
        if isinstance(value, list):
            if len(value) > most:
                cut.append({"path": path, "length": len(value), "kind": "array"})
            return [shorter(inner, [*path, number]) for number, inner in enumerate(value[:most])]
        return value

    return {field: shorter(value, [field]) for field, value in event.items()}, cut
