"""What commands print: lines and tables on standard output, progress on standard error.

Every text that comes from a record must have gone through `_text.visible` before it gets here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from honeytrace import _text
from honeytrace._text import Look

__all__ = ["Progress", "ago", "complain", "look", "plural", "print_json", "print_lines", "size", "table"]

_PLAIN_EVERY = 5.0
"""Seconds between two lines of progress where there is no terminal."""


def look() -> Look:
    """How standard output wants its text."""
    return Look.of(sys.stdout, os.environ)


def print_lines(lines: Sequence[str]) -> None:
    """Write lines and flush."""
    if lines:
        sys.stdout.write(_text.encodable("".join(f"{line}\n" for line in lines), sys.stdout))
        sys.stdout.flush()


def print_json(document: Any) -> None:
    """Write one JSON document."""
    import json

    print(json.dumps(document, indent=2))


def complain(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(_text.encodable(f"{line}\n", sys.stderr))
    sys.stderr.flush()


def plural(number: int, noun: str) -> str:
    """Say how many: 1 event, 1,204 events."""
    return f"{_text.count(number)} {noun}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Say a number of bytes: 812 bytes, 3.5 MB."""
    if number < 1000:
        return plural(int(number), "byte")
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.5 or unit == "GB":
            break
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:,.0f} {unit}"


def ago(seconds: float) -> str:
    """Write a time in seconds since the epoch."""
    return _text.clock(seconds * 1000, "%Y-%m-%d %H:%M:%S")


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int], styles: Sequence[str], look: Look
) -> list[str]:
    """Align columns; those in `left` to the left. The last column takes, and is cut to, the room that remains."""
    widths = [max(_text.columns(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
    room = max(10, look.width - sum(widths) - 2 * len(widths))
    lines = []
    for row in [head, *rows]:
        cells = []
        for column, width in enumerate(widths):
            gap = " " * (width - _text.columns(row[column]))
            cells.append(row[column] + gap if column in left else gap + row[column])
        cells.append(_text.cut(row[-1], room, look))
        painted = [
            _text.paint(cell, "dim" if row is head or cell.strip() == "-" else style, look)
            for cell, style in zip(cells, styles, strict=True)
        ]
        lines.append("  ".join(painted).rstrip())
    return lines


class Progress:
    """Says on standard error how far something is: a bar on a terminal, else a line every five seconds."""

    def __init__(self, what: str, noun: str = "event") -> None:
        self._what = what
        self._noun = noun
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._look = Look.of(sys.stderr, os.environ)
        self._next = time.monotonic() + (0.0 if self._terminal else _PLAIN_EVERY)
        self._drawn = False

    def show(self, done: int, total: int, note: str | None = None) -> None:
        """Draw, unless that was done a moment ago; `note` says what is in the way."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.1 if self._terminal else _PLAIN_EVERY)
        numbers = f"{_text.count(done)} of {plural(total, self._noun)}"
        rest = f"{numbers}  {self._what}" + (f"  ({_text.visible(note)})" if note else "")
        if not self._terminal:
            complain(rest)
            return
        full, empty = ("#", ".") if self._look.ascii else ("█", "░")
        filled = 20 * done // max(total, 1)
        line = _text.cut(f"{full * filled}{empty * (20 - filled)}  {rest}", self._look.width - 1, self._look)
        sys.stderr.write(f"\r{line}\x1b[K")
        sys.stderr.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the bar away, so that a line can be printed."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False
