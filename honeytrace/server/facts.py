"""What searches look for in an event: its words, and its facts.

A fact is a scalar below metadata, config, metrics, feedback or user_properties with its dotted path. The index may
hold words and facts of events that have changed since; whoever uses them joins the events by seq.
"""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from typing import Any

from honeytrace.server.fields import load
from honeytrace.server.numbering import Words

__all__ = ["FACT_FIELDS", "add_words", "fact_value", "words_of"]

FACT_FIELDS = ("metadata", "user_properties", "config", "metrics", "feedback")

_PRESENT = b"{}"  # the fact that here is an object or an array
_MOST_FACTS = 64
_MOST_LEVELS = 6
_MOST_TEXT = 64 * 1024  # characters of one event that are searched
_LONG = 120


def add_words(connection: sqlite3.Connection, rows: list[tuple[int, str, str]]) -> None:
    """Take in the words of inputs and outputs, and the facts."""
    texts: list[tuple[int, str]] = []
    facts: list[tuple[int, Any, int]] = []
    partial: list[tuple[int]] = []
    paths = Words(connection)
    for seq, _, body in rows:
        event = load(body)
        if "event_type" not in event:
            continue
        if text := words_of(event):
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


def words_of(event: dict[str, Any]) -> str:
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


def _place(fact: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where about a fact goes in the table: neighbours are cheaper to write together."""
    path, value, _ = fact
    return path, type(value).__name__, value


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
