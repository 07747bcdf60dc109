"""`import honeytrace` and decorating one function, in fresh interpreters, against OpenTelemetry's.

The CPU, user and system, of the process; what an interpreter needs that imports nothing is taken off both.
"""

from __future__ import annotations

import os
import sys
from statistics import median

from _measure import Row, show

GOAL = 1 / 2
PAIRS = 20

NOTHING = "pass"
OURS = """\
import honeytrace

@honeytrace.trace
def search(query: str, limit: int = 5) -> str:
    return query
"""
THEIRS = "import opentelemetry.sdk.trace"
CHECK = """
import sys
loaded = {"httpx", "wrapt", "asyncio"} & set(sys.modules)
assert not loaded, f"importing honeytrace loads {loaded}"
"""


def cpu(program: str) -> float:
    """Run a program in a fresh interpreter; microseconds of CPU."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", program], environment)
    _, status, usage = os.wait4(child, 0)
    assert status == 0, f"a fresh interpreter failed: {program}"
    return (usage.ru_utime + usage.ru_stime) * 1e6


def main() -> list[Row]:
    cpu(OURS + CHECK)  # writes the byte code, too
    cpu(THEIRS)
    nothing, ours, theirs = [], [], []
    for pair in range(PAIRS):
        nothing.append(cpu(NOTHING))
        for times, program in ((ours, OURS), (theirs, THEIRS))[:: 1 if pair % 2 else -1]:
            times.append(cpu(program))
    bare = median(nothing)

    def row(what: str, off: float, least_off: float, goal: float | None) -> Row:
        mine, other = [time - off for time in ours], [time - off for time in theirs]
        return Row(
            what=what,
            unit="of it",
            figure=median(one / two for one, two in zip(mine, other, strict=True)),
            least=(min(ours) - least_off) / (min(theirs) - least_off),
            plain=bare,
            ours=median(mine),
            theirs=median(other),
            goal=goal,
        )

    return [
        row("import and decorate, over a bare interpreter", bare, min(nothing), GOAL),
        row("import and decorate, the whole process", 0, 0, None),
    ]


if __name__ == "__main__":
    show(main())
