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

    `dropped` is by reason: "full", refused by the journal; "damaged", lost with a file that somebody changed; "no dead
    letter", refused by the destination for good while nothing could be written.
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


def tally(
    appended: int, delivered: int, refused: Mapping[str, int], set_aside: int, lost: Mapping[str, int]
) -> _Counts:
    """Count what is pending as what has not left: so the books close.

    What was `refused` never came in; what was `lost` did, and is dropped as well.
    """
    gone = {reason: count for reason, count in lost.items() if count}
    return _Counts(
        recorded=appended + sum(refused.values()),
        delivered=delivered,
        pending=appended - delivered - set_aside - sum(gone.values()),
        dropped={**refused, **gone},
        set_aside=set_aside,
    )
