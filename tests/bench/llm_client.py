"""What tracing adds to a call of an LLM client: openai's, with honeytrace and with others, against one local server.

Each contender runs in a process and a virtual environment of its own, with the same version of openai; they take
turns, round by round. The exit code is 1 if a goal is missed by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from throughput import Contender, Unmeasured, clean_environment, interpreter

PARTS = Path(__file__).parent / "llm_client"
GOAL = 1 / 5
CHUNKS = 500
"""By so many chunks the two kinds of streams differ."""


def contenders() -> tuple[Contender, ...]:
    same = f"openai=={version('openai')}"
    return (
        Contender("honeytrace", "honeytrace_client"),
        Contender("LangSmith", "langsmith_client", ("langsmith", same)),
        Contender(
            "OpenInference",
            "openinference_client",
            ("openinference-instrumentation-openai", "opentelemetry-sdk", same),
        ),
    )


@dataclass
class Runner:
    """A contender's process, and the figures of its rounds: by kind of call, then by figure."""

    name: str
    process: subprocess.Popen[str]
    versions: list[str] = field(default_factory=list)
    rounds: list[dict[str, dict[str, float]]] = field(default_factory=list)

    def line(self) -> Any:
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            self.process.wait(10)
            raise Unmeasured(f"{self.name} ended with {self.process.returncode}")
        return json.loads(said)

    def round(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        figures = self.line()
        for way in ("", "async "):
            few, many = figures[f"{way}stream of 20"], figures[f"{way}stream of 520"]
            figures[f"{way}chunk"] = {name: (many[name] - few[name]) / CHUNKS for name in few}
        self.rounds.append(figures)

    def figure(self, kind: str, name: str) -> float:
        """The median of the rounds, in microseconds."""
        return median(one[kind][name] for one in self.rounds)


def start(contender: Contender, url: str, venvs: Path, home: str) -> Runner:
    """Start a contender, and wait until it is warm."""
    python = interpreter(contender, venvs)
    env = clean_environment(home, contender.settings)
    command = [python, str(PARTS / "measure.py"), contender.module, url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    runner = Runner(contender.name, process)
    runner.versions = runner.line()
    if not runner.versions[-1].endswith(version("openai")):
        raise Unmeasured(f"{runner.versions[-1]} is in {python}, {version('openai')} here: delete that environment")
    return runner


def ratio(ours: Runner, theirs: Runner, kind: str) -> float:
    """Our part of what they add: the median of the rounds' ratios."""
    pairs = zip(ours.rounds, theirs.rounds, strict=True)
    return median(mine[kind]["added"] / other[kind]["added"] for mine, other in pairs)


def table(runners: Sequence[Runner]) -> list[list[str]]:
    ours, *rivals = runners
    head = ["caller's CPU added", "plain"]
    head += [cell for one in runners for cell in (one.name, *([] if one is ours else ["ratio"]))]
    rows = [[*head, "all threads: " + " / ".join(one.name for one in runners)]]
    for kind in ours.rounds[0]:
        row = [kind, f"{ours.figure(kind, 'plain'):.0f} us", f"{ours.figure(kind, 'added'):.1f} us"]
        for other in rivals:
            row += [f"{other.figure(kind, 'added'):.1f} us", f"1/{1 / ratio(ours, other, kind):.1f}"]
        rows.append([*row, " / ".join(f"{one.figure(kind, 'process'):.1f}" for one in runners)])
    return rows


def goals(runners: Sequence[Runner], tolerance: float) -> list[str]:
    """What is missed by more than the tolerance. Streams are judged by their chunks and by short ones."""
    ours, *rivals = runners
    return [
        f"{kind}: {ratio(ours, other, kind):.2f} of {other.name}, at most {GOAL:.2f} wanted"
        for kind in ours.rounds[0]
        for other in rivals
        if not kind.endswith("of 520") and ratio(ours, other, kind) > GOAL * (1 + tolerance)
    ]


def arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "honeytrace-bench"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="medians are shown; default: 15")
    parser.add_argument("--only", metavar="MODULES", help="of: langsmith, openinference; honeytrace is always there")
    parser.add_argument("--in-process", action="store_true", help="without sockets: steadier on a busy machine")
    parser.add_argument("--tolerance", type=float, default=0.0, help="0.2 is a fifth of the goal")
    parser.add_argument("--venvs", type=Path, default=cache, metavar="PATH", help=f"default: {cache}")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    wanted = given.only and ["honeytrace", *given.only.split(",")]
    chosen = [one for one in contenders() if not wanted or one.module.removesuffix("_client") in wanted]
    server = subprocess.Popen(
        [sys.executable, str(PARTS / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    runners: list[Runner] = []
    with tempfile.TemporaryDirectory(prefix="honeytrace-bench-") as home, server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        if given.in_process:
            url = "http://in.process/v1"
        for contender in chosen:
            runners.append(start(contender, url, given.venvs, home))
        for number in range(given.rounds):
            for place in range(len(runners)):
                runners[(number + place) % len(runners)].round()
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
        for runner in runners:
            runner.process.communicate(timeout=30)
        server.communicate(timeout=10)
    rows = table(runners)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)))
    print(*[", ".join(runner.versions) for runner in runners], sep="; ")
    missed = goals(runners, given.tolerance)
    print(*missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
