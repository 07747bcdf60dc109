"""A root with seven calls below it on two further levels, siblings and nested: eight events."""

from __future__ import annotations

from _measure import Honeytrace, OpenTelemetry, Plain, Row, Run, against, each, rounds, show

EVENTS = 8
QUERY = "what is honey {}"


def tree(trace):
    @trace
    def fetch(url: str) -> str:
        return url

    @trace
    def rank(text: str, limit: int = 3) -> str:
        return text

    @trace
    def research(topic: str) -> str:
        return rank(fetch(topic))

    @trace
    def agent(question: str) -> str:
        research(question)
        research(question)
        return rank(question)

    return agent


def main() -> list[Row]:
    contenders = (Plain(), Honeytrace(), OpenTelemetry())

    def run(trace) -> Run:
        return each(tree(trace))

    return [
        against(
            f"tree of eight, {where}",
            rounds(contenders, run, QUERY.format, calls=50, repeat=60, events=EVENTS, in_session=inside),
            1 / 10,
        )
        for where, inside in (("in a session", True), ("as a root", False))
    ]


if __name__ == "__main__":
    show(main())
