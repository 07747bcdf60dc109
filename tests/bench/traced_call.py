"""A traced call of a small function: inside a session, and as a root call outside any."""

from __future__ import annotations

from _measure import Honeytrace, OpenTelemetry, Plain, Row, Run, against, each, over_plain, rounds, show

QUERY = "what is honey {}"


def small(trace):
    @trace
    def search(query: str, limit: int = 5) -> str:
        return query

    return search


def main() -> list[Row]:
    contenders = (Plain(), Honeytrace(), OpenTelemetry())

    def measure(build, in_session: bool) -> list[list[float]]:
        def run(trace) -> Run:
            return each(build(trace))

        return rounds(contenders, run, QUERY.format, calls=300, repeat=60, events=1, in_session=in_session)

    inside = measure(small, True)
    return [
        against("traced call, in a session", inside, 1 / 10),
        against("traced call, as a root", measure(small, False), 1 / 10),
        over_plain("traced call, in a session, over plain", inside, None),
    ]


if __name__ == "__main__":
    show(main())
