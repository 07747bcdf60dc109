"""Numbers that stand for texts in the index: of sessions, and of names, sources, users, models and paths."""

from __future__ import annotations

import sqlite3

__all__ = ["Sessions", "Words", "word"]


def word(connection: sqlite3.Connection, text: str | None) -> int | None:
    """The number of a name, source, user, model or path; None if it does not occur."""
    if text is None:
        return None
    row = connection.execute("SELECT no FROM words WHERE text = ?", (text,)).fetchone()
    return None if row is None else int(row[0])


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


class Sessions(_Numbered):
    """Numbers of sessions by their ids."""

    _find = "SELECT no FROM sessions WHERE id = ?"
    _make = "INSERT INTO sessions (id) VALUES (?)"


class Words:
    """Numbers of all other texts; none for none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._numbered = _NumberedWords(connection)

    def __getitem__(self, text: str | None) -> int | None:
        return None if text is None else self._numbered[text]


class _NumberedWords(_Numbered):
    _find = "SELECT no FROM words WHERE text = ?"
    _make = "INSERT INTO words (text) VALUES (?)"
