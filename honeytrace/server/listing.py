"""The page's list: sessions, newest first, that hold an event which passes all filters.

Who the user is, the source and metadata may be said by that event or by the session itself. Filters that few events
pass are asked first; if there are none such, sessions are looked through from the newest on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from honeytrace.server.arguments import milliseconds, whole
from honeytrace.server.digesting import TYPES
from honeytrace.server.facts import fact_value
from honeytrace.server.index import Index
from honeytrace.server.numbering import word
from honeytrace.server.summaries import COLUMNS, summary
from honeytrace.server.words import fts5

__all__ = ["sessions"]

_FEW = 5000
_FEW_WORDS = 20_000  # cheaper to join: their order is that of the events
_FIRST_BLOCK = 200  # sessions looked through at once; more each time
_MOST_BLOCK = 3200
_OWN = "(SELECT own_seq FROM sessions WHERE no = e.session)"
_SECONDS = 1.0  # for looking through sessions in one request


def sessions(index: Index, given: Mapping[str, str]) -> dict[str, Any]:
    """One page of sessions, newest first, of those that hold an event which matches all filters.

    since, until (of the start), min_duration and max_duration are about the session; type, name, model, error and q
    about one event; user, source and meta about that event or the session itself.
    Raises:
        ValueError: a filter is not what it should be.
    """
    limit = whole(given, "limit", otherwise=50, most=500)
    after = _cursor(given.get("cursor"))
    deep = bool(given.get("q")) or any(name.startswith("meta.") for name in given)
    own, own_values = _about_session(given)
    with index.reading(deep=deep) as connection:
        tests = _about_event(connection, given)
        if tests is None:
            return {"sessions": [], "next": None}
        rows, more = _found(connection, tests, own, own_values, after, limit)
    return {"sessions": [summary(row) for row in rows], "next": more}


def _found(
    connection: Any, tests: list[_Test], own: str, own_values: list[Any], after: tuple[float, int] | None, limit: int
) -> tuple[list[Any], str | None]:
    few = _few(connection, tests)
    where, values = own, list(own_values)
    if few is not None:
        others = [test for test in tests if test is not few]
        if few.shared and others:
            numbers = list(_holding(connection, _sessions_of(connection, few, []), tests))
        else:
            numbers = _sessions_of(connection, few, others)
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
        f"SELECT {COLUMNS} FROM sessions s WHERE {where}{older} ORDER BY s.start DESC, s.no DESC LIMIT {size}",
        [*values, *place],
    ).fetchall()
    return rows


def _sessions_of(connection: Any, few: _Test, others: list[_Test]) -> list[int]:
    where = " AND ".join(test.where for test in others) or "1"
    rows = connection.execute(
        f"SELECT DISTINCT e.session FROM ({few.drive}) AS d CROSS JOIN events e ON e.seq = d.seq WHERE {where}",
        [*few.drive_values, *(value for test in others for value in test.values)],
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
        if (number := milliseconds(given, name)) is not None:
            values.append(number)
            parts.append(sql)
    return " AND ".join(parts), values


def _cursor(text: str | None) -> tuple[float, int] | None:
    if not text:
        return None
    try:
        start, _, number = text.partition("_")
        place = float(start), int(number)
        if not (abs(place[0]) < math.inf and abs(place[1]) < 2**63):
            raise ValueError
        return place
    except ValueError:
        raise ValueError(f"cursor: expected what `next` said, got {text[:80]!r}") from None


def _as_cursor(row: Any) -> str:
    return f"{row[5]!r}_{row[0]}"


class _Test:
    """A condition on one event. `drive` are all matching seqs, `where` the same about the event `e`.

    A `shared` one may be fulfilled by the session of `e` instead: then `where` says so and takes the values twice.
    """

    def __init__(
        self, where: str, drive: str, values: list[Any], *, text: bool = False, of_session: str | None = None
    ) -> None:
        self.shared = of_session is not None
        self.where = f"({where} OR {of_session})" if self.shared else where
        self.drive = drive
        self.drive_values = values
        self.values = values * 2 if self.shared else values
        self.text = text


def _about_event(connection: Any, given: Mapping[str, str]) -> list[_Test] | None:
    """The filters that one event must pass; None if no event can."""
    tests: list[_Test] = []
    if kind := given.get("type"):
        number = TYPES.get(kind)
        if number is None:
            raise ValueError(f"type: expected one of {', '.join(TYPES)}, got {kind[:80]!r}")
        tests.append(_column("type", number))
    for name in ("name", "source", "user", "model"):
        if text := given.get(name):
            number = word(connection, text)
            if number is None:
                return None
            tests.append(_column(name, number))
    if given.get("error") in ("1", "true"):
        tests.append(_column("error", 1))
    for name, text in given.items():
        if name.startswith("meta."):
            number = word(connection, "metadata." + name[5:])
            if number is None:
                return None
            tests.append(_fact(number, text))
    if words := fts5(given.get("q", "")):
        where = "EXISTS (SELECT 1 FROM text WHERE text MATCH ? AND rowid = e.seq)"
        tests.append(_Test(where, "SELECT rowid AS seq FROM text WHERE text MATCH ?", [words], text=True))
    elif given.get("q", "").strip():
        return None
    return sorted(tests, key=lambda test: test.shared)  # to ask the session, too, costs more


def _column(name: str, number: int) -> _Test:
    of_session = f"(SELECT {name} FROM events WHERE seq = {_OWN}) = ?" if name in ("source", "user") else None
    return _Test(f"e.{name} = ?", f"SELECT seq FROM events WHERE {name} = ?", [number], of_session=of_session)


def _fact(path: int, text: str) -> _Test:
    same: list[Any] = [fact_value(text)]
    try:
        found = json.loads(text)
        if isinstance(found, (int, float, bool)):
            same.append(fact_value(found))
    except (ValueError, RecursionError):
        pass
    marks = ", ".join("?" * len(same))
    about = f"FROM facts WHERE path = ? AND value IN ({marks})"
    return _Test(
        f"EXISTS (SELECT 1 {about} AND seq = e.seq)",
        f"SELECT seq {about}",
        [path, *same],
        of_session=f"EXISTS (SELECT 1 {about} AND seq = {_OWN})",
    )


def _few(connection: Any, tests: list[_Test]) -> _Test | None:
    """The test that fewest events pass, if these are few."""
    best, least = None, _FEW_WORDS + 1
    for test in tests:
        most = _FEW_WORDS if test.text else _FEW
        (count,) = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM ({test.drive}) LIMIT {most + 1})", test.drive_values
        ).fetchone()
        if count <= most and count < least:
            best, least = test, count
    return best
