"""The books of a journal: what became of everything that was recorded. They close by construction.

What is pending is what has been recorded and has not left, so no order of events in any number of threads can make the
sum wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

__all__ = ["Books", "Tally", "tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the records of one sort.

    `dropped` is by reason: "full", refused by the journal; "damaged", lost with a file that somebody changed.
    """

    recorded: int
    delivered: int
    pending: int
    dropped: Mapping[str, int]
    set_aside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Books(Tally):
    """One moment of a journal: its events, and under `others` its session and update records.

    A root or a last record is one event, however many records `expand` makes of it. `adopted` says how many of the
    recorded events were left behind by another process.
    """

    others: Tally
    adopted: int = 0


class _Counts(TypedDict):
    recorded: int
    delivered: int
    pending: int
    dropped: Mapping[str, int]
    set_aside: int


def tally(appended: int, delivered: int, dropped: dict[str, int], set_aside: int, damaged: int) -> _Counts:
    """Count what is pending as what has not left: so the books close."""
    return _Counts(
        recorded=appended + sum(dropped.values()),
        delivered=delivered,
        pending=appended - delivered - set_aside - damaged,
        dropped={**dropped, "damaged": damaged} if damaged else dropped,
        set_aside=set_aside,
    )
