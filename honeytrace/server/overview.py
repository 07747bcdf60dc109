"""Events over time: how many, how many failed, how long they took, what they used. Sessions themselves not counted.

Durations of many events are counted in bins of 4 %, so the percentiles are that exact; those of few are exact.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from honeytrace.server.arguments import milliseconds, whole
from honeytrace.server.index import Index

__all__ = ["overview"]

_EXACT = 20_000
_BINS = 25.0  # in a factor of e
_MOST_GROUPS = 100


@dataclass(slots=True)
class _Sum:
    events: int = 0
    errors: int = 0
    tokens: int = 0
    cost: float | None = None
    durations: dict[float, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, duration: float | None, events: int, errors: int, tokens: int | None, cost: float | None) -> None:
        self.events += events
        self.errors += errors
        self.tokens += tokens or 0
        if cost is not None:
            self.cost = cost + (self.cost or 0.0)
        if duration is not None:
            self.durations[duration] += events

    def shown(self) -> dict[str, Any]:
        ordered = sorted(self.durations.items())
        return {
            "events": self.events,
            "errors": self.errors,
            "p50": _percentile(ordered, 0.50),
            "p95": _percentile(ordered, 0.95),
            "tokens": self.tokens,
            "cost": self.cost,
        }


def overview(index: Index, given: Mapping[str, str]) -> dict[str, Any]:
    """Sums by time and by event name or model.

    Raises:
        ValueError: an argument is not what it should be.
    """
    by = given.get("by") or "name"
    if by not in ("name", "model"):
        raise ValueError(f"by: expected 'name' or 'model', got {by[:80]!r}")
    count = whole(given, "buckets", otherwise=60, most=500)
    with index.reading() as connection:
        since, until = _span(connection, given)
        width = max(1.0, (until - since) / count)
        rows = _rows(connection, by, since, until, width)
    buckets = [_Sum() for _ in range(count)]
    groups: dict[str, _Sum] = defaultdict(_Sum)
    for bucket, key, sums in rows:
        buckets[min(count - 1, max(0, bucket))].add(*sums)
        if key is not None:
            groups[key].add(*sums)
    most = sorted(groups.items(), key=lambda pair: (-pair[1].events, pair[0]))[:_MOST_GROUPS]
    return {
        "since": since,
        "until": until,
        "buckets": [{"start": since + number * width, **one.shown()} for number, one in enumerate(buckets)],
        "groups": [{"key": key, **one.shown()} for key, one in most],
    }


def _span(connection: sqlite3.Connection, given: Mapping[str, str]) -> tuple[float, float]:
    since, until = milliseconds(given, "since"), milliseconds(given, "until")
    if until is None:
        until = time.time() * 1000
    if since is None:
        (first,) = connection.execute("SELECT min(start) FROM events WHERE start > 0").fetchone()
        since = until - 3_600_000.0 if first is None else first
    return since, max(until, since + 1.0)


def _rows(
    connection: sqlite3.Connection, by: str, since: float, until: float, width: float
) -> list[tuple[int, str | None, tuple[Any, ...]]]:
    inside = "start BETWEEN ? AND ?"
    (many,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM events WHERE {inside} LIMIT {_EXACT + 1})", (since, until)
    ).fetchone()
    duration = "duration"
    if many > _EXACT:
        connection.create_function("honeytrace_bin", 1, _bin, deterministic=True)
        duration = f"CAST({_BINS} * ln(max(duration, 0.001)) AS INTEGER)"
        try:
            connection.execute("SELECT ln(2)")
        except sqlite3.OperationalError:  # SQLite can be built without it
            duration = "honeytrace_bin(duration)"
    found = connection.execute(
        f"""
        SELECT CAST((start - ?) / ? AS INTEGER), {by}, {duration} AS bin,
               count(*), sum(error = 1), sum(tokens), sum(cost)
        FROM events WHERE {inside} AND NOT own GROUP BY 1, 2, 3
        """,
        (since, width, since, until),
    ).fetchall()
    numbers = {row[1] for row in found if row[1] is not None}
    words = {
        number: connection.execute("SELECT text FROM words WHERE no = ?", (number,)).fetchone()[0] for number in numbers
    }
    exact = many <= _EXACT
    return [
        (row[0], words.get(row[1]), (row[2] if exact or row[2] is None else math.exp((row[2] + 0.5) / _BINS), *row[3:]))
        for row in found
    ]


def _bin(duration: float | None) -> int | None:
    return None if duration is None else int(_BINS * math.log(max(duration, 0.001)))


def _percentile(ordered: list[tuple[float, int]], part: float) -> float | None:
    """The smallest value that `part` of all values do not exceed."""
    wanted = part * sum(count for _, count in ordered)
    seen = 0
    for value, count in ordered:
        seen += count
        if seen >= wanted:
            return value
    return None
