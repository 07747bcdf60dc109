"""A traced coroutine function, awaited in a task of an asyncio loop."""

from __future__ import annotations

import asyncio

from _measure import Honeytrace, OpenTelemetry, Plain, Row, Run, against, each_awaited, rounds, show

QUERY = "what is honey {}"


def main() -> list[Row]:
    contenders = (Plain(), Honeytrace(), OpenTelemetry())
    loop = asyncio.new_event_loop()

    def run(trace) -> Run:
        @trace
        async def search(query: str, limit: int = 5) -> str:
            return query

        return each_awaited(loop, search)

    try:
        rows = [
            against(
                f"async call, {where}",
                rounds(contenders, run, QUERY.format, calls=300, repeat=60, events=1, in_session=inside),
                1 / 10,
            )
            for where, inside in (("in a session", True), ("as a root", False))
        ]
    finally:
        loop.close()
    return rows


if __name__ == "__main__":
    show(main())
