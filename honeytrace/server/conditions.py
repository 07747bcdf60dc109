"""Filters as SQL about the index, for those that it can answer as `matches` does."""

from __future__ import annotations

import sqlite3
from typing import Any

from honeytrace.server.digesting import TYPES
from honeytrace.server.facts import FACT_FIELDS, fact_value
from honeytrace.server.fields import key_of
from honeytrace.server.filters import NOTHING, TRUTHS, Filter, as_text
from honeytrace.server.numbering import word

__all__ = ["Condition", "condition"]

_COLUMNS = {"event_name": "name", "source": "source"}
_TIMES = {"start_time": "start", "end_time": "end", "duration": "duration"}


class Condition:
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

    def bound(self, connection: sqlite3.Connection) -> Condition:
        """Look up the number of the name the condition is about; `none` if it does not occur."""
        number = None
        if self._session is not None:
            row = connection.execute("SELECT no FROM sessions WHERE id = ?", (self._session,)).fetchone()
            number = None if row is None else row[0]
        elif self._word is not None:
            number = word(connection, self._word)
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


def condition(filter: Filter) -> Condition | None:
    """The filter for the index, None if only the body can tell."""
    field, operator, value = filter.field, filter.operator, filter.value
    if value is NOTHING:
        return Condition("1" if operator == "is not" else "0")
    root, _, below = field.partition(".")
    if below and root in FACT_FIELDS:
        return _fact_condition(filter)
    if field in _TIMES and filter.type in ("number", "datetime"):
        sign = {"greater than": ">", "after": ">", "less than": "<", "before": "<"}.get(operator)
        # An event without start_time stands in the index with 0.
        if sign is not None and (field != "start_time" or (sign == ">" and value >= 0)):
            return Condition(f"e.{_TIMES[field]} {sign} ?", (value,))
        return None
    if field == "error" and operator in ("exists", "not exists"):
        return Condition("e.error <> 0" if operator == "exists" else "e.error = 0")
    if filter.type != "string" or not isinstance(value, str):
        return None
    if operator in ("contains", "not contains") and field in _COLUMNS:
        sql = f"coalesce(e.{_COLUMNS[field]} IN (SELECT no FROM words WHERE instr(text, ?)), 0)"
        return Condition(sql if operator == "contains" else f"NOT {sql}", (value,))
    if operator not in ("is", "is not"):
        return None
    equals, negative = ("=", False) if operator == "is" else ("IS NOT", True)
    if field == "session_id":
        return Condition(f"e.session {equals} ?", session=value, negative=negative)
    if field == "event_id":
        return Condition(f"e.id {equals} ?", (key_of(value),))
    if field == "event_type" and value in TYPES:
        return Condition(f"e.type {equals} ?", (TYPES[value],))
    return Condition(f"e.{_COLUMNS[field]} {equals} ?", word=value, negative=negative) if field in _COLUMNS else None


def _fact_condition(filter: Filter) -> Condition | None:
    operator, value, kind = filter.operator, filter.value, filter.type
    if operator == "exists":
        return Condition("f.path = ?", fact=filter.field, seeks=False)
    if kind == "number" and operator in ("greater than", "less than"):
        sign = ">" if operator == "greater than" else "<"
        return Condition(f"f.path = ? AND f.value {sign} ? AND f.value < ''", (value,), fact=filter.field, seeks=False)
    if operator != "is" or value is None or kind == "datetime":
        return None
    if kind == "string" and value[:1] in ("[", "{"):  # perhaps the text of an object or an array
        return None
    same = _same_facts(value, kind)
    return Condition(f"f.path = ? AND f.value IN ({', '.join('?' * len(same))})", same, fact=filter.field)


def _same_facts(value: Any, kind: str) -> tuple[Any, ...]:
    """The facts that are equal to a value of some kind."""
    if kind == "boolean":
        return (fact_value(value), *(text for text, truth in TRUTHS.items() if truth is value))
    if kind == "number":
        return (value,)
    same = [fact_value(value)]
    if value in ("true", "false"):
        same.append(fact_value(value == "true"))
    else:
        try:
            number = float(value)
            same.extend(one for one in (number, int(value) if number.is_integer() else number) if as_text(one) == value)
        except (ValueError, OverflowError):
            pass
    return tuple(dict.fromkeys(same))
