"""Text for terminals: harmless, measured in columns, cut to fit, with numbers in units people read.

Whatever goes through `visible` is one line that can neither move the cursor nor change colours or direction.
"""

from __future__ import annotations

import datetime
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

__all__ = ["Look", "clock", "columns", "count", "cut", "duration", "encodable", "paint", "visible", "wrap"]

_MARKS = "├─└│✗…→›·µ⚠"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_DROPPED = "\u200c\u200d\u00ad"
_WIDEST = 100
_STYLES = {
    "dim": "2",
    "preview": "2",
    "bold": "1",
    "error": "31",
    "note": "33",
    "chain": "34",
    "model": "35",
    "tool": "36",
    "session": "1",
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a stream wants its text."""

    color: bool = False
    ascii: bool = False
    width: int = _WIDEST

    @classmethod
    def of(cls, stream: TextIO | None, environ: Mapping[str, str], *, color: bool | None = None) -> Look:
        """Decide from a stream and its environment: NO_COLOR, FORCE_COLOR, TERM, COLUMNS."""
        terminal = _is_terminal(stream)
        if color is None:
            color = _wants_color(terminal, environ)
        return cls(color=color, ascii=not _draws_boxes(stream), width=_width(stream, terminal, environ))


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, OSError, ValueError):
        return False


def _wants_color(terminal: bool, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return terminal and environ.get("TERM") != "dumb"


def _draws_boxes(stream: TextIO | None) -> bool:
    try:
        _MARKS.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True


def _width(stream: TextIO | None, terminal: bool, environ: Mapping[str, str]) -> int:
    given = environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given) > 0:
        found = int(given)
    elif terminal and stream is not None:
        try:
            found = os.get_terminal_size(stream.fileno()).columns or _WIDEST
        except (OSError, ValueError):
            found = _WIDEST
    else:
        found = _WIDEST
    return max(40, min(found, _WIDEST))


def encodable(text: str, stream: TextIO | None) -> str:
    """Escape what the encoding of the stream cannot take."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode("ascii")


def paint(text: str, style: str, look: Look) -> str:
    """Colour a text that is already harmless."""
    code = _STYLES.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if look.color and code and text else text


def visible(text: str) -> str:
    """Escape control characters, line ends, direction overrides and lone surrogates.

    Joiners are dropped: they are invisible, and no two terminals agree how wide they make their neighbours.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character in _DROPPED:
        return ""
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    number = ord(character)
    if number < 0x100:
        return _SHORT.get(character) or f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def columns(text: str) -> int:
    """Count the terminal columns of a text that is already harmless."""
    if text.isascii():
        return len(text)
    return sum(_character_columns(character) for character in text)


def _character_columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int, look: Look) -> str:
    """Shorten a harmless text to `width` columns; what is missing shows as an ellipsis."""
    if columns(text) <= width:
        return text
    mark = "..." if look.ascii else "…"
    if width < len(mark):
        return ""
    return _head(text, width - len(mark)) + mark


def wrap(text: str, width: int) -> list[str]:
    """Break a harmless text into lines of at most `width` columns; never returns an empty list."""
    lines: list[str] = []
    position = 0
    while True:
        head = _head(text[position : position + width], width)
        if position + len(head) >= len(text) or not head:
            return [*lines, head]
        space = head.rfind(" ", len(head) // 2)
        head = head[: space + 1] if space > 0 else head
        lines.append(head)
        position += len(head)


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[: max(0, width)]
    used = 0
    for position, character in enumerate(text):
        used += _character_columns(character)
        if used > width:
            return text[:position]
    return text


def duration(milliseconds: object, look: Look) -> str:
    """Say a duration in the unit that fits: 850 µs, 12 ms, 3.4 s, 2 min 05 s. Anything else is ''."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        return ""
    if not 0 <= milliseconds < 1e15:
        return ""
    if round(milliseconds * 1000) < 1000:
        return f"{round(milliseconds * 1000)} {'us' if look.ascii else 'µs'}"
    if milliseconds < 999.5:
        return f"{milliseconds:.1f} ms" if milliseconds < 9.95 else f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f} s"
    seconds = round(milliseconds / 1000)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600:02} h"


def clock(milliseconds: object, pattern: str = "%H:%M:%S") -> str:
    """Write a time in Unix milliseconds as local time; '' for anything that is none."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        return ""
    try:
        return datetime.datetime.fromtimestamp(milliseconds / 1000).strftime(pattern)
    except (OverflowError, OSError, ValueError):
        return ""


def count(number: float) -> str:
    """Write a number with thousands separated."""
    return f"{number:,.0f}"
