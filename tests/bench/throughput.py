"""Throughput: many traced calls from one thread, then a flush, beside other SDKs and against the same local sink.

Makes a virtual environment for each rival, and runs each contender in a process of its own, in turn. Needs Linux and,
the first time, a package registry. The exit code is 1 if a goal is not met or honeytrace could not be measured; with
fewer than 50,000 calls only loss is judged.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

PARTS = Path(__file__).parent / "throughput"
CALLS = 50_000
"""What the goals are for: with fewer, what is paid once weighs too much."""


@dataclass(frozen=True)
class Contender:
    """Who takes part: a module of `throughput/`, what it needs installed, its settings in the environment."""

    name: str
    module: str
    packages: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


OTEL = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
PLAIN = Contender("without tracing", "plain_")
OURS = Contender("honeytrace", "honeytrace_")
THEIRS = Contender("OpenTelemetry, large queue", "opentelemetry_", OTEL, (("OTEL_BSP_MAX_QUEUE_SIZE", "1000000"),))
CONTENDERS = (
    PLAIN,
    OURS,
    THEIRS,
    Contender("OpenTelemetry, default", "opentelemetry_", OTEL),
    Contender("LangSmith", "langsmith_", ("langsmith",)),
    Contender("HoneyHive's SDK", "honeyhive_", ("honeyhive",)),
)


class Unmeasured(Exception):
    """A contender could not be installed, or failed; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run of a contender, or the median of several, shows."""

    arrived: int
    repeated: int
    calls_s: float
    flushed_s: float
    delivered_s: float
    cpu_s: float
    memory_mb: float

    def __str__(self) -> str:
        seconds = f"calls {self.calls_s:.2f} s, last delivery {self.delivered_s:.2f} s, flushed {self.flushed_s:.2f} s"
        return f"{self.arrived} arrived, {seconds}, CPU {self.cpu_s:.2f} s, memory {self.memory_mb:.1f} MB"

    @property
    def per_second(self) -> float:
        """Events delivered per second, from the first call until the last event was acknowledged."""
        return self.arrived / self.delivered_s if self.arrived else 0.0


class Sink:
    """The server, in a process of its own for as long as the block lasts."""

    def __enter__(self) -> Sink:
        command = [sys.executable, str(PARTS / "sink.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self._line())}"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=10)

    def switch(self, spool: Path | str, delay: float) -> None:
        """Keep what arrives from here on in this file, and answer so late."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"spool": str(spool), "delay": delay}) + "\n")
        self.process.stdin.flush()
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def interpreter(contender: Contender, venvs: Path) -> str:
    """The Python of its environment, made if it is not there yet."""
    if not contender.packages:
        return sys.executable
    folder = venvs / f"{contender.module.strip('_')}-{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        print(f"installing {', '.join(contender.packages)}", file=sys.stderr)
        run([sys.executable, "-m", "venv", "--clear", str(folder)], 120)
        run([str(python), "-m", "pip", "install", "--quiet", *contender.packages], 600)
        done.touch()
    return str(python)


def run(command: Sequence[str], seconds: float, env: dict[str, str] | None = None) -> str:
    """What a program prints. Raises Unmeasured, with the end of its complaint."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env, check=False)
    except subprocess.TimeoutExpired:
        raise Unmeasured(f"not done within {seconds:.0f} s") from None
    if done.returncode:
        raise Unmeasured((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return done.stdout


def clean_environment(home: str, settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The environment less what could lead a contender elsewhere."""
    ours = ("HH_", "HONEYTRACE_", "OTEL_", "LANGSMITH_", "LANGCHAIN_", "PYTHON")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONPATH" or not name.startswith(ours) and not name.lower().endswith("_proxy")
    }
    return {**kept, "HONEYTRACE_HOME": home, **dict(settings)}


class Bench:
    """The runs: same sink, same number of calls, each in a fresh process and an empty folder."""

    def __init__(self, sink: Sink, *, events: int, seconds: float, venvs: Path) -> None:
        self.sink, self.events, self.seconds, self.venvs = sink, events, seconds, venvs
        self.versions: set[str] = set()

    def measure(self, contender: Contender, delay: float) -> Figures:
        """One run. Raises Unmeasured."""
        python = interpreter(contender, self.venvs)
        with tempfile.TemporaryDirectory(prefix="honeytrace-bench-") as folder:
            spool = Path(folder, "spool")
            self.sink.switch(spool, delay)
            command = [python, str(PARTS / "measure.py"), contender.module]
            command += [self.sink.url, str(self.events), str(self.seconds)]
            # The limit of a flush, once more for the calls, and for the end of the process.
            said = run(command, 3 * self.seconds, clean_environment(folder, contender.settings))
            self.sink.switch(os.devnull, 0.0)
            ran = json.loads(said.splitlines()[-1])
            came = json.loads(run([python, str(PARTS / "arrivals.py"), str(spool)], 300))
        self.versions.update(ran.pop("versions"))
        began = ran.pop("began")
        return Figures(
            arrived=came["arrived"],
            repeated=came["repeated"],
            delivered_s=(came["last"] or began) - began,
            **ran,
        )

    def rounds(self, contenders: Sequence[Contender], rounds: int, delay: float) -> dict[str, Figures | str]:
        """The medians of each contender by name, or why there are none. They take turns, and who begins changes."""
        runs: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
        failed: dict[str, Figures | str] = {}
        for number in range(rounds):
            for place in range(len(contenders)):
                contender = contenders[(number + place) % len(contenders)]
                if contender.name in failed:
                    continue
                try:
                    figures = self.measure(contender, delay)
                except Unmeasured as why:
                    failed[contender.name] = str(why)
                else:
                    runs[contender.name].append(figures)
                    print(f"round {number + 1}, {contender.name}: {figures}", file=sys.stderr, flush=True)
        return {name: failed.get(name) or middle(several) for name, several in runs.items()}


def middle(runs: Sequence[Figures]) -> Figures:
    """The median of each figure; of what arrived, the least."""
    return Figures(
        arrived=min(run.arrived for run in runs),
        repeated=max(run.repeated for run in runs),
        calls_s=median(run.calls_s for run in runs),
        flushed_s=median(run.flushed_s for run in runs),
        delivered_s=median(run.delivered_s for run in runs),
        cpu_s=median(run.cpu_s for run in runs),
        memory_mb=median(run.memory_mb for run in runs),
    )


@dataclass(frozen=True)
class Results:
    """The figures of all contenders at one delay."""

    events: int
    by_name: dict[str, Figures | str]

    def cpu(self, figures: Figures) -> float:
        """Microseconds of CPU for each event that arrived, less those of the same program without tracing."""
        plain = self.by_name[PLAIN.name]
        spent = figures.cpu_s - (plain.cpu_s if isinstance(plain, Figures) else 0.0)
        return spent / figures.arrived * 1e6 if figures.arrived else float("inf")

    def table(self) -> list[list[str]]:
        head = ["", "events/s delivered", "CPU per event", "memory", "arrived", "lost", "calls", "last delivery"]
        rows = [head]
        for name, figures in self.by_name.items():
            if isinstance(figures, str):
                rows.append([name, f"not measured: {figures}", *[""] * 6])
            elif name != PLAIN.name:
                rows.append(
                    [
                        name,
                        f"{figures.per_second:,.0f}",
                        f"{self.cpu(figures):.0f} us",
                        f"{figures.memory_mb:.0f} MB",
                        f"{figures.arrived:,}" + (f" ({figures.repeated:,} twice)" if figures.repeated else ""),
                        f"{self.events - figures.arrived:,}",
                        f"{figures.calls_s:.1f} s",
                        f"{figures.delivered_s:.1f} s",
                    ]
                )
        return rows

    def goals(self) -> list[tuple[str, bool]]:
        """What honeytrace is held to, with the figure, and whether it is met."""
        ours, theirs = self.by_name.get(OURS.name), self.by_name.get(THEIRS.name)
        if not isinstance(ours, Figures):
            return [(f"honeytrace was not measured: {ours}", False)]
        said = [(f"nothing lost: {self.events - ours.arrived:,} lost", ours.arrived == self.events)]
        if isinstance(theirs, Figures) and ours.arrived and theirs.arrived:
            cpu, pace = self.cpu(theirs) / self.cpu(ours), ours.per_second / theirs.per_second
            said += [
                (f"CPU per event at most 1/6 of OpenTelemetry's: 1/{cpu:.1f}", cpu >= 6),
                (f"events per second at least 5 times OpenTelemetry's: {pace:.1f} times", pace >= 5),
            ]
        return [*said, (f"memory below 40 MB: {ours.memory_mb:.0f} MB", ours.memory_mb < 40)]


def plain_text(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"{row[0]:<28}" + "".join(f"{cell:>19}" for cell in row[1:]).rstrip() for row in rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| --- |" + " ---: |" * (len(rows[0]) - 1), *lines[1:]])


def arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "honeytrace-bench"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=CALLS, metavar="N", help=f"traced calls; default: {CALLS}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians are shown; default: 3")
    parser.add_argument(
        "--delay-ms",
        type=float,
        default=250,
        metavar="MS",
        help="how late every answer is in the second table, of one round; 0: no such table; default: 250",
    )
    parser.add_argument("--only", metavar="MODULES", help="of: honeytrace, opentelemetry, langsmith, honeyhive")
    parser.add_argument("--limit", type=float, default=300, metavar="S", help="of one flush; default: 300")
    parser.add_argument("--venvs", type=Path, default=cache, metavar="PATH", help=f"default: {cache}")
    parser.add_argument("--markdown", action="store_true", help="print for the README, with date and command")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    modules = [f"{name.strip()}_" for name in given.only.split(",")] if given.only else None
    contenders = [one for one in CONTENDERS if one is PLAIN or modules is None or one.module in modules]
    show = markdown if given.markdown else plain_text
    missed = 0
    with Sink() as sink:
        bench = Bench(sink, events=given.events, seconds=given.limit, venvs=given.venvs)
        first = Results(given.events, bench.rounds(contenders, given.rounds, 0.0))
        second = Results(given.events, bench.rounds(contenders, 1, given.delay_ms / 1e3)) if given.delay_ms else None
    if given.markdown:
        command = shlex.join(["python", "tests/bench/throughput.py", *sys.argv[1:]])
        where = f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {', '.join(sorted(bench.versions))}"
        print(f"{datetime.now(timezone.utc):%Y-%m-%d}, `{command}` ({where}):\n")
    for results, title in ((first, ""), (second, f"Every answer {given.delay_ms:g} ms late:")):
        if results is None:
            continue
        print(*([f"\n{title}\n"] if title else []), show(results.table()), sep="\n", end="\n\n")
        all_of_them = results is first and given.events >= CALLS  # else only what must hold always: nothing is lost
        goals = results.goals()[: None if all_of_them else 1] if OURS in contenders else []
        for goal, met in goals:
            print(f"- {goal}: {'met' if met else 'not met'}")
            missed += not met
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
