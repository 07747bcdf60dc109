"""The filters of a search: what a request asks for, and which events fulfil it.

`matches` is the meaning of a filter. Whatever answers faster, conditions.py for one, answers the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from honeytrace.server.contract import instant
from honeytrace.server.fields import number

__all__ = ["NOTHING", "TRUTHS", "Filter", "Query", "as_text", "matches"]

NOTHING = object()  # a value that is not of the type it is said to be: nothing compares with it
TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


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
    if here is None or there is None or there is NOTHING:
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
    return Filter(field, operator, NOTHING if wanted is None else wanted, kind)


def _comparable(value: Any, kind: str) -> Any:
    """A value as its kind is compared; None if it is nothing of that kind."""
    if kind == "string":
        return as_text(value)
    if kind == "boolean":
        return TRUTHS.get(value) if isinstance(value, str) else value if isinstance(value, bool) else None
    if kind == "datetime" and isinstance(value, str):
        return instant(value)
    return number(value)


def _as_number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if found - found == 0 else None


def as_text(value: Any) -> str:
    """A value as `contains` and `is` see it: texts as they are, all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _contains(value: Any, part: Any) -> bool:
    if part is None:
        return False
    if isinstance(value, list) and any(as_text(item) == as_text(part) for item in value):
        return True
    return as_text(part) in as_text(value)


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
