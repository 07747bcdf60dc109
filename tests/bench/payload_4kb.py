"""A traced call that takes 4 KB: a chat history, one string, one string that is not all ASCII.

The last has no goal: turning such a string into UTF-8 costs any encoder as much as all the rest.
"""

from __future__ import annotations

import json
from functools import partial

import _payloads
from _measure import Honeytrace, OpenTelemetry, Plain, Row, Run, against, each, rounds, show

REPLY = {"role": "assistant", "content": "Follow the one that dances longest."}


KINDS = ("chat", "text", "accented")


def main(size: int = 4_000, goal: float = 1 / 6, calls: int = 60, repeat: int = 50, kinds=KINDS) -> list[Row]:
    contenders = (Plain(), Honeytrace(), OpenTelemetry())

    def run(trace) -> Run:
        @trace
        def complete(messages: object, temperature: float = 0.2) -> object:
            return REPLY

        return each(complete)

    rows = []
    for kind in kinds:
        make = partial(getattr(_payloads, kind), size)
        encoded = len(json.dumps(make(0), ensure_ascii=False).encode())
        assert size * 0.9 < encoded < size * 1.4, (kind, encoded)
        for where, inside in (("in a session", True), ("as a root", False)):
            times = rounds(contenders, run, make, calls=calls, repeat=repeat, events=1, in_session=inside)
            judged = None if kind == "accented" else goal
            rows.append(against(f"{encoded / 1000:.1f} KB {kind}, {where}", times, judged))
    return rows


if __name__ == "__main__":
    show(main())
