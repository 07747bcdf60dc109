"""What the index keeps of an event: a row for lists and roll-ups, its words, and its facts.

A fact is a scalar below metadata, config, metrics, feedback or user_properties with its dotted path. The index may
hold facts and words of events that have changed since; whoever uses them joins the events by seq.
"""

from __future__ import annotations

import json
import re
import sqlite3
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from honeytrace.server.contract import is_uuid

__all__ = [
    "FACT_FIELDS",
    "TYPES",
    "Digest",
    "add_events",
    "add_words",
    "cost_of",
    "fact_value",
    "key_of",
    "load",
    "model_of",
    "number",
    "sum_up",
    "tokens_of",
    "word",
]

FACT_FIELDS = ("metadata", "user_properties", "config", "metrics", "feedback")
TYPES = {"session": 0, "chain": 1, "model": 2, "tool": 3}

_PRESENT = b"{}"  # the fact that here is an object or an array
_MOST_FACTS = 64
_MOST_LEVELS = 6
_MOST_TEXT = 64 * 1024  # characters of one event that are searched
_LONG = 120
_MOST_SUM = 2**53
_BIG_NUMBER = re.compile(r"\d{19}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")  # SQLite takes no lone ones


class Digest(NamedTuple):
    """One event as the index's table of events has it; None as `session_id` if there is no event yet."""

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

    @classmethod
    def of(cls, seq: int, event_id: str, body: str) -> Digest:
        """Digest what the store holds, whoever wrote it."""
        event = load(body)
        start, error = number(event.get("start_time")), event.get("error")
        user = event.get("user_properties")
        return cls(
            seq,
            event_id,
            _text(event.get("session_id")) if "event_type" in event else None,
            TYPES.get(_text(event.get("event_type")) or ""),
            _text(event.get("event_name")),
            _text(event.get("source")),
            _text(user.get("user_id")) if isinstance(user, dict) else None,
            model_of(event),
            start or 0.0,
            number(event.get("end_time")),
            number(event.get("duration")),
            0 if error is None else 1 if error != "" else 2,
            tokens_of(event),
            cost_of(event),
            start is not None,
        )


def model_of(event: dict[str, Any]) -> str | None:
    """The model that was asked."""
    config = event.get("config")
    return _text(config.get("model")) if isinstance(config, dict) else None


def tokens_of(event: dict[str, Any]) -> int | None:
    """All tokens of an event, None if it does not say."""
    metadata = event.get("metadata")
    if not isinstance(metadata, dict):
        return None
    total = number(metadata.get("total_tokens"))
    if total is None:
        parts = [number(metadata.get(name)) for name in ("prompt_tokens", "completion_tokens")]
        given = [part for part in parts if part is not None]
        if not given:
            return None
        total = sum(given)
    return int(total) if abs(total) < _MOST_SUM else None


def cost_of(event: dict[str, Any]) -> float | None:
    """What the event cost in USD, None if it does not say."""
    metadata = event.get("metadata")
    cost = number(metadata.get("cost")) if isinstance(metadata, dict) else None
    return cost if cost is not None and abs(cost) < _MOST_SUM else None


def key_of(event_id: str) -> bytes | str:
    """An id in the index: sixteen bytes if it is a UUID."""
    if is_uuid(event_id) and event_id == event_id.lower():
        return bytes.fromhex(event_id.replace("-", ""))
    return event_id


def word(connection: sqlite3.Connection, text: str | None) -> int | None:
    """The number of a name, source, user, model or path; None if it does not occur."""
    if text is None:
        return None
    row = connection.execute("SELECT no FROM words WHERE text = ?", (text,)).fetchone()
    return None if row is None else int(row[0])


def add_events(connection: sqlite3.Connection, digests: list[Digest]) -> None:
    """Take in events in the order of their seq and bring the roll-ups of their sessions up to date."""
    digests = [digest for digest in digests if digest.session_id is not None]
    if not digests:
        return
    sessions, words = _Sessions(connection), _Words(connection)
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
        " own_error = ?, own_tokens = ?, own_cost = ? WHERE id = ?",
        [
            (one.name, one.source, one.user, one.start if one.has_start else None, one.end, one.duration,
             int(one.error == 1), one.tokens, one.cost, one.session_id)
            for one in digests
            if one.event_id == one.session_id
        ],
    )  # fmt: skip
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


def add_words(connection: sqlite3.Connection, rows: list[tuple[int, str, str]]) -> None:
    """Take in the words of inputs and outputs, and the facts."""
    texts: list[tuple[int, str]] = []
    facts: list[tuple[int, Any, int]] = []
    partial: list[tuple[int]] = []
    paths = _Words(connection)
    for seq, _, body in rows:
        event = load(body)
        if "event_type" not in event:
            continue
        if text := _words_of(event):
            texts.append((seq, text))
        found, whole = _facts_of(event)
        facts.extend((paths[path] or 0, value, seq) for path, value in found)
        if not whole:
            partial.append((seq,))
    facts.sort(key=_place)
    connection.executemany("INSERT INTO text (rowid, words) VALUES (?, ?)", texts)
    connection.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?, ?)", facts)
    connection.executemany("INSERT OR IGNORE INTO partial VALUES (?)", partial)


def fact_value(value: object) -> Any:
    """A scalar as facts hold it: numbers and texts as they are, booleans and long texts in a form of their own."""
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, (int, float)):
        return value if isinstance(value, float) or -(2**63) <= value < 2**63 else str(value)[:_LONG]
    if isinstance(value, str):
        return value if len(value) <= _LONG else b"#" + sha256(value.encode()).digest()
    return _PRESENT


def _place(fact: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where about a fact goes in the table: neighbours are cheaper to write together."""
    path, value, _ = fact
    return path, type(value).__name__, value


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
        " cost = CASE WHEN ?4 IS NULL THEN cost ELSE coalesce(cost, 0) + ?4 END,"
        " first = min(coalesce(first, ?5), ?5), last = max(coalesce(last, ?6), ?6) WHERE no = ?7",
        [(*values, session) for session, values in sums.items()],
    )


class _Numbered(dict[str, int]):
    """Numbers for texts, made when first asked for."""

    _find = _make = ""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._execute = connection.execute

    def __missing__(self, text: str) -> int:
        row = self._execute(self._find, (text,)).fetchone()
        number = int(row[0]) if row is not None else int(self._execute(self._make, (text,)).lastrowid or 0)
        self[text] = number
        return number


class _Sessions(_Numbered):
    _find = "SELECT no FROM sessions WHERE id = ?"
    _make = "INSERT INTO sessions (id) VALUES (?)"


class _Words:
    """Numbers for texts; none for none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._numbered = _NumberedWords(connection)

    def __getitem__(self, text: str | None) -> int | None:
        return None if text is None else self._numbered[text]


class _NumberedWords(_Numbered):
    _find = "SELECT no FROM words WHERE text = ?"
    _make = "INSERT INTO words (text) VALUES (?)"


def _words_of(event: dict[str, Any]) -> str:
    """The texts and numbers in inputs, outputs and error, one after the other."""
    parts: list[str] = []
    room = _MOST_TEXT
    waiting: list[Any] = [event.get("error"), event.get("outputs"), event.get("inputs")]
    while waiting and room > 0:
        value = waiting.pop()
        kind = type(value)
        if kind is str:
            parts.append(value if len(value) <= room else value[:room])
            room -= len(value)
        elif kind is dict:
            waiting.extend(reversed(value.values()))
        elif kind is list:
            waiting.extend(reversed(value))
        elif kind is int or kind is float:
            parts.append(str(value)[:400])
    return "\n".join(parts)


def _facts_of(event: dict[str, Any]) -> tuple[list[tuple[str, Any]], bool]:
    """Facts, and whether these are all of them."""
    facts: list[tuple[str, Any]] = []
    waiting: list[tuple[str, Any, int]] = [(field, event[field], 0) for field in FACT_FIELDS if field in event]
    whole = True
    while waiting:
        path, value, level = waiting.pop()
        if value is None:
            continue
        if len(facts) >= _MOST_FACTS:
            return facts, False
        facts.append((path, fact_value(value)))
        whole = whole and not (type(value) is int and not -(2**63) <= value < 2**63)
        if type(value) is dict:
            if level >= _MOST_LEVELS:
                whole = False
            else:
                waiting.extend((f"{path}.{name}", inner, level + 1) for name, inner in value.items() if len(name) < 200)
                whole = whole and all(len(name) < 200 for name in value)
    return facts, whole


def load(body: str, *, exactly: bool = False) -> dict[str, Any]:
    """Decode what the store holds, whatever a direct writer has put there; `exactly`: integers of any size."""
    try:
        event: Any = json.loads(body) if exactly and _BIG_NUMBER.search(body) else orjson.loads(body)
    except (ValueError, RecursionError):
        try:
            event = json.loads(_SURROGATE.sub(r"\\ufffd", body))
        except (ValueError, RecursionError):
            event = {}
    return event if isinstance(event, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def number(value: object) -> float | None:
    """A JSON number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
