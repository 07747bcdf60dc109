"""POST /v1/events/search and /v1/events/export: filters, from the index where it can tell, from the bodies where not.

A filter means what `matches` says. For most fields the same question can be put to the index in SQL; filters that
only the body can answer, `contains` on inputs and outputs above all, are asked of those events the others have left,
newest first: 10 to 20 us for each, and 503 when that has taken half a minute. On a store of millions one says more, a
session, a name or a stretch of time, or asks the page's search for words.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from honeytrace.server import fields
from honeytrace.server.conditions import Condition, condition
from honeytrace.server.filters import Filter, Query, matches
from honeytrace.server.index import Index, TooSlow

__all__ = ["search", "some_of", "stored"]

_FEW = 20_000  # matches of one filter that are better sorted than looked for in order
_BLOCK = 400
_MOST_COUNTS = 500
_PIECE = 8 * 1024 * 1024  # characters
_MOST_CONDITIONS = 200
_MOST_SECONDS = 60.0


def search(index: Index, query: Query) -> tuple[list[str], int]:
    """The ids of the events of one page, newest start_time first, and how many match on all pages."""
    # SQLite takes a thousand terms at most: what is beyond many is asked of the bodies.
    asked = [condition(filter) if number < _MOST_CONDITIONS else None for number, filter in enumerate(query.filters)]
    with index.reading(
        deep=any(one is not None and one.fact for one in asked), patience=30.0, whole=True
    ) as connection:
        (some_partial,) = connection.execute("SELECT EXISTS (SELECT 1 FROM partial)").fetchone()
        conditions = [one for one in asked if one is not None and not (one.fact and some_partial)]
        rest = [
            filter
            for filter, one in zip(query.filters, asked, strict=True)
            if one is None or (one.fact and some_partial)
        ]
        for start, sign in ((query.since, ">="), (query.until, "<=")):
            if start is not None:
                conditions.append(Condition(f"e.start {sign} ?", (start,)))
        if any(one.bound(connection).none for one in conditions):
            return [], 0
        offset = (query.page - 1) * query.limit
        if rest:
            return _looked_through(index, connection, conditions, rest, offset, query.limit)
        count = _count(index, connection, conditions)
        if offset >= count:
            return [], count
        rows = _ordered(connection, conditions, f"LIMIT {query.limit} OFFSET {offset}").fetchall()
    return [fields.id_of(row[0]) for row in rows], count


def _where(conditions: list[Condition]) -> tuple[str, list[Any]]:
    sql = " AND ".join(one.where for one in conditions) or "1"
    return sql, [value for one in conditions for value in one.values]


def _ordered(connection: sqlite3.Connection, conditions: list[Condition], rest: str) -> sqlite3.Cursor:
    """The ids of the events that fulfil all conditions, newest first."""
    rare = _rare_fact(connection, conditions)
    if rare is None:
        sql, values = _where(conditions)
        return connection.execute(
            f"SELECT e.id, e.seq FROM events e WHERE {sql} ORDER BY e.start DESC, e.seq DESC {rest}", values
        )
    sql, values = _where([one for one in conditions if one is not rare])
    return connection.execute(
        f"SELECT e.id, e.seq FROM facts f CROSS JOIN events e ON e.seq = f.seq WHERE {rare.sql} AND {sql}"
        f" ORDER BY e.start DESC, e.seq DESC {rest}",
        [*rare.values, *values],
    )


def _rare_fact(connection: sqlite3.Connection, conditions: list[Condition]) -> Condition | None:
    """The fact that fewest events have, if these are few."""
    best, least = None, _FEW + 1
    for one in conditions:
        if one.fact:
            (count,) = connection.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM facts f WHERE {one.sql} LIMIT {_FEW + 1})", one.values
            ).fetchone()
            if count < least:
                best, least = one, count
    return best


def _count(index: Index, connection: sqlite3.Connection, conditions: list[Condition]) -> int:
    facts = [one for one in conditions if one.fact]
    if len(facts) == len(conditions) == 1:
        sql, values = f"SELECT count(*) FROM facts f WHERE {facts[0].sql} AND EXISTS", list(facts[0].values)
        sql += " (SELECT 1 FROM events WHERE seq = f.seq)"
        if not _has_stale(connection):
            sql = f"SELECT count(*) FROM facts f WHERE {facts[0].sql}"
    elif (rare := _rare_fact(connection, conditions)) is not None:
        where, values = _where([one for one in conditions if one is not rare])
        sql = f"SELECT count(*) FROM facts f CROSS JOIN events e ON e.seq = f.seq WHERE {rare.sql} AND {where}"
        values = [*rare.values, *values]
    else:
        where, values = _where(conditions)
        sql = f"SELECT count(*) FROM events e WHERE {where}"
    version = connection.execute("SELECT value FROM state WHERE key IN ('events', 'deep', 'dropped')").fetchall()
    key = (str(index.path), *version, sql, *values)
    if key not in _counts:
        if len(_counts) > _MOST_COUNTS:
            _counts.clear()
        (_counts[key],) = connection.execute(sql, values).fetchone()
    return _counts[key]


_counts: dict[tuple[Any, ...], int] = {}
"""Counts of searches over a state of an index, for their next pages."""


def _has_stale(connection: sqlite3.Connection) -> bool:
    row = connection.execute("SELECT value FROM state WHERE key = 'stale'").fetchone()
    return row is not None and bool(row[0])


# -- in the bodies ------------------------------------------------------------------------------------------------


def _looked_through(
    index: Index,
    connection: sqlite3.Connection,
    conditions: list[Condition],
    rest: list[Filter],
    offset: int,
    limit: int,
) -> tuple[list[str], int]:
    """Ask the bodies of all events that fulfil the conditions."""
    found: list[str] = []
    count = 0
    cursor = _ordered(connection, conditions, "")
    end = time.monotonic() + _MOST_SECONDS
    while block := cursor.fetchmany(_BLOCK):
        if time.monotonic() > end:
            raise TooSlow("this takes too long: add a filter by session_id, event_name or time")
        for event_id, body in stored(index, [fields.id_of(row[0]) for row in block]):
            event = fields.load(body)
            if all(matches(filter, event) for filter in rest):
                if offset <= count < offset + limit:
                    found.append(event_id)
                count += 1
    return found, count


def some_of(index: Index, ids: list[str]) -> tuple[list[str], list[str]]:
    """The JSON of the first of these events, as many as make a piece of an answer, and the ids that are left."""
    bodies: list[str] = []
    size = 0
    for event_id, body in stored(index, ids):
        bodies.append(body)
        size += len(body)
        if size > _PIECE:
            return bodies, ids[ids.index(event_id) + 1 :]
    return bodies, []


def stored(index: Index, ids: list[str]) -> Iterator[tuple[str, str]]:
    """The ids and the JSON of events, in that order, one at a time; those that are gone are left out."""
    connection = index.bodies()
    for event_id in ids:
        row = connection.execute(
            "SELECT body FROM events WHERE event_id = ? AND event_type IS NOT NULL", (event_id,)
        ).fetchone()
        if row is not None:
            body = row[0]
            yield event_id, body if '"event_id"' in body else json.dumps({"event_id": event_id, **json.loads(body)})
