"""Run every benchmark in a fresh interpreter and print one table: the figure, the goal, met or not met.

The exit code is 1 if a goal is missed by more than the tolerance, or if a benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from _measure import Row, table

HERE = Path(__file__).parent
PROGRAMS = (
    "disabled_call",
    "traced_call",
    "async_call",
    "tree_of_eight",
    "payload_4kb",
    "payload_200kb",
    "generator_step",
    "import_time",
)


def rows_of(program: str) -> list[Row]:
    """The rows of one program; what it says on stderr passes through."""
    command = [sys.executable, str(HERE / f"{program}.py"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    return [Row(**row) for row in json.loads(done.stdout)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*", metavar="program", help=f"of: {', '.join(PROGRAMS)}; default: all")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.2,
        metavar="PART",
        help="how far a goal may be missed; default: 0.2",
    )
    given = parser.parse_args()
    print(f"Python {sys.version.split()[0]}; x plain: honeytrace over plain; tolerance {given.tolerance:.0%}")
    missed = failures = 0
    for number, program in enumerate(given.programs or PROGRAMS):
        try:
            rows = rows_of(program)
        except (subprocess.SubprocessError, ValueError) as error:
            print(f"{program} FAILED: {error}", file=sys.stderr)
            failures += 1
            continue
        print("\n".join(table(rows, given.tolerance)[1 if number else 0 :]), flush=True)
        missed += sum(row.goal is not None and row.figure > row.goal * (1 + given.tolerance) for row in rows)
    print(f"{missed} goals missed by more than the tolerance, {failures} benchmarks failed")
    return 1 if missed or failures else 0


if __name__ == "__main__":
    sys.exit(main())
