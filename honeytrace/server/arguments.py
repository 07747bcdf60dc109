"""Numbers in the page's questions: what stands in a query string, or an error that names it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["milliseconds", "whole"]

_MOST = 2.0**53


def milliseconds(given: Mapping[str, str], name: str) -> float | None:
    """A time or duration; None if it is not given.

    Raises:
        ValueError: it is no number, or none that a time can be.
    """
    text = given.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = _MOST
    if not abs(number) < _MOST:
        raise ValueError(f"{name}: expected a number of milliseconds, got {text[:80]!r}")
    return number


def whole(given: Mapping[str, str], name: str, *, otherwise: int, most: int) -> int:
    """A whole number from 1 to `most`: the nearest of them.

    Raises:
        ValueError: it is no whole number.
    """
    text = given.get(name)
    if not text:
        return otherwise
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise ValueError(f"{name}: expected a whole number, got {text[:80]!r}")
    return max(1, min(most, int(text)))
