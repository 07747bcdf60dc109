"""POST /v1/events/search and /v1/events/export: filters, from the index where it can tell, from the bodies where not.

A filter means what `matches` says. For most fields the same question can be put to the index in SQL; filters that
only the body can answer are asked of those events the others have left, newest first.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from honeytrace.server import digesting
from honeytrace.server.contract import instant
from honeytrace.server.index import Index, TooSlow

__all__ = ["Filter", "Query", "matches", "search", "stored"]

_FEW = 20_000  # matches of one filter that are better sorted than looked for in order
_BLOCK = 400
_MOST_COUNTS = 500
_NOTHING = object()  # a value that is not of the type it is said to be: nothing compares with it
_MOST_SECONDS = 60.0
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_COLUMNS = {"event_name": "name", "source": "source"}
_TIMES = {"start_time": "start", "end_time": "end", "duration": "duration"}


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one field."""

    field: str
    operator: str
    value: Any
    type: str


@dataclass(frozen=True, slots=True)
class Query:
    """A page of a search. `since` and `until` are milliseconds, both included."""

    filters: tuple[Filter, ...] = ()
    since: float | None = None
    until: float | None = None
    limit: int = 1000
    page: int = 1

    @classmethod
    def of(cls, body: dict[str, Any], *, since: str, until: str) -> Query:
        """Read a checked request body; `since` and `until` are what its date range calls its ends."""
        dates = body.get("dateRange") or {}
        return cls(
            tuple(_filter(given) for given in body.get("filters") or ()),
            instant(dates[since]) if dates else None,
            instant(dates[until]) if dates else None,
            int(body.get("limit", 1000)),
            int(body.get("page", 1)),
        )


def search(index: Index, query: Query) -> tuple[list[str], int]:
    """The JSON of the events of one page, newest start_time first, and how many match on all pages."""
    asked = [_condition(filter) for filter in query.filters]
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
                conditions.append(_Condition(f"e.start {sign} ?", (start,)))
        if any(one.none for one in (condition.bound(connection) for condition in conditions)):
            return [], 0
        offset = (query.page - 1) * query.limit
        if rest:
            return _looked_through(index, connection, conditions, rest, offset, query.limit)
        count = _count(index, connection, conditions)
        if offset >= count:
            return [], count
        rows = _ordered(connection, conditions, f"LIMIT {query.limit} OFFSET {offset}").fetchall()
    return list(stored(index, [_id_of(row[0]) for row in rows])), count


def matches(filter: Filter, event: dict[str, Any]) -> bool:
    """Say whether an event fulfils a filter.

    A field that is missing or null exists not, is not anything and contains nothing. Texts are compared as they are,
    upper and lower case apart; only numbers compare as numbers.
    """
    value = _lookup(event, filter.field)
    operator = filter.operator
    if operator == "exists":
        return value is not None
    if operator == "not exists":
        return value is None
    if operator in ("is not", "not contains"):
        return not matches(Filter(filter.field, operator.replace("not contains", "contains").replace("is not", "is"),
                                  filter.value, filter.type), event)  # fmt: skip
    if value is None:
        return operator == "is" and filter.value is None
    if operator == "contains":
        return _contains(value, filter.value)
    here, there = _comparable(value, filter.type), filter.value
    if here is None or there is None or there is _NOTHING:
        return False
    if operator == "is":
        return bool(here == there)
    return bool(here > there) if operator in ("greater than", "after") else bool(here < there)


def _filter(given: dict[str, Any]) -> Filter:
    field, operator, value, kind = given["field"], given["operator"], given["value"], given.get("type")
    if kind is None:
        if operator in ("after", "before") or (field in ("start_time", "end_time") and isinstance(value, str)):
            kind = "datetime"
        else:
            kind = "boolean" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else "string"
    if operator in ("exists", "not exists", "contains", "not contains") or value is None:
        return Filter(field, operator, value, kind)
    wanted = _as_number(value) if kind == "number" and isinstance(value, str) else _comparable(value, kind)
    return Filter(field, operator, _NOTHING if wanted is None else wanted, kind)


def _comparable(value: Any, kind: str) -> Any:
    """A value as its kind is compared; None if it is nothing of that kind."""
    if kind == "string":
        return _as_text(value)
    if kind == "boolean":
        return _TRUTHS.get(value) if isinstance(value, str) else value if isinstance(value, bool) else None
    if kind == "datetime" and isinstance(value, str):
        return instant(value)
    return digesting.number(value)


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number - number == 0 else None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _contains(value: Any, part: Any) -> bool:
    if part is None:
        return False
    if isinstance(value, list) and any(_as_text(item) == _as_text(part) for item in value):
        return True
    return _as_text(part) in _as_text(value)


def _lookup(value: Any, path: str) -> Any:
    """What a dotted path leads to; names may hold dots themselves."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    at = path.find(".")
    while at >= 0:
        if path[:at] in value and (found := _lookup(value[path[:at]], path[at + 1 :])) is not None:
            return found
        at = path.find(".", at + 1)
    return None


# -- in SQL -------------------------------------------------------------------------------------------------------


class _Condition:
    """A filter the index can answer: SQL about the event `e`. `facts`: the same, about the facts `f`."""

    def __init__(
        self,
        sql: str,
        values: tuple[Any, ...] = (),
        *,
        word: str | None = None,
        session: str | None = None,
        fact: str | None = None,
        negative: bool = False,
        seeks: bool = True,
    ) -> None:
        self.sql = sql
        self.values = values
        self.none = False
        self.fact = fact is not None
        self._word = fact if fact is not None else word
        self._session = session
        self._negative = negative
        self._seeks = seeks

    def bound(self, connection: sqlite3.Connection) -> _Condition:
        """Look up the number of the name the condition is about; `none` if it does not occur."""
        number = None
        if self._session is not None:
            row = connection.execute("SELECT no FROM sessions WHERE id = ?", (self._session,)).fetchone()
            number = None if row is None else row[0]
        elif self._word is not None:
            number = digesting.word(connection, self._word)
        else:
            return self
        self.none = number is None and not self._negative  # IS NOT NULL is right for a name nobody has
        self.values = (number, *self.values)
        return self

    @property
    def where(self) -> str:
        if not self.fact:
            return self.sql
        if self._seeks:  # the whole key is known: one seek per event
            return f"EXISTS (SELECT 1 FROM facts f WHERE f.seq = e.seq AND {self.sql})"
        return f"e.seq IN (SELECT f.seq FROM facts f WHERE {self.sql})"


def _condition(filter: Filter) -> _Condition | None:
    """The filter for the index, None if only the body can tell."""
    field, operator, value = filter.field, filter.operator, filter.value
    if value is _NOTHING:
        return _Condition("1" if operator == "is not" else "0")
    root, _, below = field.partition(".")
    if below and root in digesting.FACT_FIELDS:
        return _fact_condition(filter)
    if field in _TIMES and filter.type in ("number", "datetime"):
        sign = {"greater than": ">", "after": ">", "less than": "<", "before": "<"}.get(operator)
        # An event without start_time stands in the index with 0.
        if sign is not None and (field != "start_time" or (sign == ">" and value >= 0)):
            return _Condition(f"e.{_TIMES[field]} {sign} ?", (value,))
        return None
    if field == "error" and operator in ("exists", "not exists"):
        return _Condition("e.error <> 0" if operator == "exists" else "e.error = 0")
    if filter.type != "string" or not isinstance(value, str):
        return None
    if operator in ("contains", "not contains") and field in _COLUMNS:
        sql = f"coalesce(e.{_COLUMNS[field]} IN (SELECT no FROM words WHERE instr(text, ?)), 0)"
        return _Condition(sql if operator == "contains" else f"NOT {sql}", (value,))
    if operator not in ("is", "is not"):
        return None
    equals, negative = ("=", False) if operator == "is" else ("IS NOT", True)
    if field == "session_id":
        return _Condition(f"e.session {equals} ?", session=value, negative=negative)
    if field == "event_id":
        return _Condition(f"e.id {equals} ?", (digesting.key_of(value),))
    if field == "event_type" and value in digesting.TYPES:
        return _Condition(f"e.type {equals} ?", (digesting.TYPES[value],))
    return _Condition(f"e.{_COLUMNS[field]} {equals} ?", word=value, negative=negative) if field in _COLUMNS else None


def _fact_condition(filter: Filter) -> _Condition | None:
    operator, value, kind = filter.operator, filter.value, filter.type
    if operator == "exists":
        return _Condition("f.path = ?", fact=filter.field, seeks=False)
    if kind == "number" and operator in ("greater than", "less than"):
        sign = ">" if operator == "greater than" else "<"
        return _Condition(f"f.path = ? AND f.value {sign} ? AND f.value < ''", (value,), fact=filter.field, seeks=False)
    if operator != "is" or value is None or kind == "datetime":
        return None
    if kind == "string" and value[:1] in ("[", "{"):  # perhaps the text of an object or an array
        return None
    same = _same_facts(value, kind)
    return _Condition(f"f.path = ? AND f.value IN ({', '.join('?' * len(same))})", same, fact=filter.field)


def _same_facts(value: Any, kind: str) -> tuple[Any, ...]:
    """The facts that are equal to a value of some kind."""
    if kind == "boolean":
        return (digesting.fact_value(value), *(text for text, truth in _TRUTHS.items() if truth is value))
    if kind == "number":
        return (value,)
    same = [digesting.fact_value(value)]
    if value in ("true", "false"):
        same.append(digesting.fact_value(value == "true"))
    else:
        try:
            number = float(value)
            same.extend(
                one for one in (number, int(value) if number.is_integer() else number) if _as_text(one) == value
            )
        except (ValueError, OverflowError):
            pass
    return tuple(dict.fromkeys(same))


def _where(conditions: list[_Condition]) -> tuple[str, list[Any]]:
    sql = " AND ".join(condition.where for condition in conditions) or "1"
    return sql, [value for condition in conditions for value in condition.values]


def _ordered(connection: sqlite3.Connection, conditions: list[_Condition], rest: str) -> sqlite3.Cursor:
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


def _rare_fact(connection: sqlite3.Connection, conditions: list[_Condition]) -> _Condition | None:
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


def _count(index: Index, connection: sqlite3.Connection, conditions: list[_Condition]) -> int:
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
    conditions: list[_Condition],
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
        for body in stored(index, [_id_of(row[0]) for row in block]):
            event = digesting.load(body)
            if all(matches(filter, event) for filter in rest):
                if offset <= count < offset + limit:
                    found.append(body)
                count += 1
    return found, count


def stored(index: Index, ids: list[str]) -> Iterator[str]:
    """The JSON of events by their ids, in that order; those that are gone are left out."""
    connection = index.bodies()
    for begin in range(0, len(ids), 1000):
        some = ids[begin : begin + 1000]
        bodies = dict(
            connection.execute(
                "SELECT event_id, body FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
                " AND event_type IS NOT NULL",
                (json.dumps(some),),
            ).fetchall()
        )
        for event_id in some:
            if (body := bodies.get(event_id)) is not None:
                yield body if '"event_id"' in body else json.dumps({"event_id": event_id, **json.loads(body)})


def _id_of(key: bytes | str) -> str:
    """The id a key of the index stands for."""
    if isinstance(key, str):
        return key
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
