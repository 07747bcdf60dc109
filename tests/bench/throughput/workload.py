"""What every contender traces: a small function, about 500 bytes of JSON in and out.

Each result bears a receipt of its own. However a contender packs its events, the receipts that arrive at the sink
are the calls that arrived with their results.
"""

from __future__ import annotations

import re
from typing import Any

RECEIPT = re.compile(rb"receipt-(\d{7})")
"""Finds a result in whatever arrived; no argument looks like it."""


def look_up(question: str, history: list[dict[str, str]], page: int, limit: int = 5) -> dict[str, Any]:
    return {
        "receipt": f"receipt-{page:07}",
        "hits": [
            {"id": "meadow-17", "score": 0.93, "text": "Four figures to the east, then a long run"},
            {"id": "meadow-4", "score": 0.71, "text": "A short waggle: nearer, but poorer"},
        ],
        "more": True,
    }


def warm_up(question: str, history: list[dict[str, str]], page: int, limit: int = 5) -> dict[str, Any]:
    return {"hits": [], "more": False}


def call(function: Any, first: int, last: int) -> None:
    """Call it once for each number of the range, with arguments that nobody has encoded before."""
    for page in range(first, last):
        function(
            f"Where did forager {page} dance, and for how long?",
            [
                {"role": "system", "content": "You answer from the log of the hive, briefly."},
                {"role": "user", "content": f"Tell me about day {page} in the meadow."},
            ],
            page,
        )
