"""A search for words, as people write it: all of them, the last as a beginning; "in quotes" as one phrase.

`fts5` asks the index, `finder` one event after the other; both find the same, but for accents that are not on a Latin
letter or come in pairs: the index keeps those.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from honeytrace.server.facts import words_of
from honeytrace.server.fields import load

__all__ = ["finder", "fts5"]

_MOST = 20
_WORD = re.compile(r"[^\W_]+")


def fts5(text: str) -> str:
    """The search as an FTS5 query; '' if there is no word in it."""
    phrases, open_end = _phrases(text)
    quoted = [f'"{phrase}"' for phrase in phrases]
    if open_end:
        quoted[-1] += " *"
    return " AND ".join(quoted[:_MOST])


def finder(text: str) -> Callable[[str], bool]:
    """Make what says whether the JSON of an event has all the words in its inputs, outputs and error."""
    phrases, open_end = _phrases(text)
    patterns = [r"(?<![^\W_])" + r"[\W_]+".join(_WORD.findall(_folded(phrase))) + r"(?![^\W_])" for phrase in phrases]
    if open_end:
        patterns[-1] = patterns[-1].removesuffix(r"(?![^\W_])")
    wanted = [re.compile(pattern) for pattern in patterns[:_MOST]]

    def has_all(body: str) -> bool:
        words = _folded(words_of(load(body)))
        return bool(wanted) and all(pattern.search(words) for pattern in wanted)

    return has_all


def _phrases(text: str) -> tuple[list[str], bool]:
    """The words and phrases, and whether the last is only the beginning of one."""
    parts = text.replace("\0", " ").split('"')
    phrases = [
        phrase
        for number, part in enumerate(parts)
        for phrase in ([part] if number % 2 else part.split())
        if any(letter.isalnum() for letter in phrase)
    ]
    return phrases, bool(phrases) and len(parts) % 2 == 1 and not text.endswith((" ", '"'))


def _folded(text: str) -> str:
    """Lower case without accents, which is how the index compares."""
    if text.isascii():
        return text.lower()
    return "".join(letter for letter in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(letter))
