"""Programs under test: what they have in common, how they are started, and what became of their calls.

A program is a piece of text that runs behind `PREAMBLE` in a process of its own. It makes calls with `traced(n)`, which
writes n to a file with one system call after the traced call has returned: what stands there must arrive, whatever
happens next. `Program.returned` reads it; `arrived` counts what a server has.

    ready()     tell the test that the program has started
    wait()      block until the test says go()
    say(...)    write a line, read by Program.line()
    clock()     time.monotonic(), which all processes share
    own_time()  the same without the time in which the machine was busy with others
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import honeytrace

__all__ = [
    "KEY", "NEXT", "also_slow", "Program", "Stage", "arrived", "assert_exactly_once", "assert_nothing_lost",
    "assert_quiet", "events", "soon",
]  # fmt: skip

KEY = "hh_test"


def also_slow(fast: Iterable[Any], slow: Iterable[Any]) -> list[Any]:
    """Parameters of a test, some of which are for CI only."""
    return [*fast, *(pytest.param(one, marks=pytest.mark.slow) for one in slow)]


PREAMBLE = """\
import atexit, os, random, signal, sys, threading, time
from time import monotonic as clock

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def unscheduled():
    "Seconds that threads of this process were ready to run, and had no processor: not ours to answer for."
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/schedstat") as file:
                _delays[task] = int(file.read().split()[1])
    except OSError:
        pass
    return sum(_delays.values()) / 1e9

def own_time():
    "A clock that stands still while this process wants to run and may not."
    return clock() - unscheduled()

_main, _delays = os.getpid(), {}
# Before the import, so called behind the handler of honeytrace.
atexit.register(lambda: os.getpid() == _main and say("left", own_time()))
import honeytrace

def ready():
    say("ready", clock())

def wait():
    sys.stdin.readline()

honeytrace.init(api_key=os.environ["T_KEY"], server_url=os.environ["T_URL"], **eval(os.environ.get("T_INIT", "{}")))
_returned = os.open(os.environ["T_RETURNED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(n):
    os.write(_returned, f"{n}\\n".encode())

@honeytrace.trace
def call(n):
    return n

def traced(n):
    call(str(n))
    note(n)

def both(count, label=""):
    "Half of the calls are sessions of their own, half are made in one."
    for i in range(count // 2):
        traced(f"{label}{i}")
    with honeytrace.session("together"):
        for i in range(count // 2, count):
            traced(f"{label}{i}")
        honeytrace.enrich_session(metadata={"calls": count})

def closed(books=None):
    books = books or honeytrace.stats()
    settled = books.delivered + books.pending + sum(books.dropped.values()) + books.set_aside
    return books.recorded == settled or books

def until(condition, seconds=30):
    end = clock() + seconds
    while not condition():
        assert clock() < end, honeytrace.stats()
        time.sleep(0.01)

# Behind the import, so called before the handler of honeytrace.
atexit.register(lambda: os.getpid() == _main and say("leaving", own_time()))
"""

NEXT = """
ready()
say(honeytrace.flush(60).ok, closed())
"""
"""The next process: delivers what others left."""

_DOCUMENTED = (
    re.compile(r"cannot deliver to honeyhive yet: .* \(.*tried again\)"),
    re.compile(
        r"\d+ events? (is|are) not delivered to honeyhive \(.*\): kept in \S+, delivered by the next process or by: .*"
    ),
)
"""What may be on stderr: the first failure, when it happens; and at the end what stays behind and where."""


class Program:
    """A process that runs a piece of text behind `PREAMBLE`."""

    def __init__(self, path: Path, *, flags: Iterable[str], env: dict[str, str]) -> None:
        self._errors = path.with_suffix(".err")
        self._notes = Path(env["T_RETURNED"])
        self.started = time.monotonic()
        with open(self._errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore::DeprecationWarning", *flags, str(path)],
                env=env,
                cwd=path.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self._output = self.process.stdout.fileno()
        self._unread = b""
        self._ended = threading.Event()
        self.lines: list[str] = []
        self.startup = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self.process.wait()
        self.ended = time.monotonic()
        self._ended.set()

    def line(self, timeout: float = 30) -> str | None:
        """The next line it says; None at its end."""
        until = time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = until - time.monotonic()
            assert left > 0 and select.select([self._output], [], [], left)[0], f"silent for {timeout} s: {self.stderr}"
            piece = os.read(self._output, 65536)
            if not piece:
                return None
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        self.lines.append(line.decode())
        return self.lines[-1]

    def ready(self) -> Program:
        """Wait until it says so."""
        line = self.line(60)
        assert line is not None and line.startswith("ready "), (line, self.stderr)
        self.startup = float(line.split()[1]) - self.started
        return self

    def go(self) -> Program:
        """Let it go on from wait()."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, timeout: float = 60, code: int | None = 0) -> Program:
        """Wait for the end of it and of all that share its output, and check the exit code."""
        try:
            until = time.monotonic() + timeout
            while self.line(max(0.1, until - time.monotonic())) is not None:
                pass
            assert self._ended.wait(max(0.1, until - time.monotonic())), "it closed its output and did not end"
        finally:
            self.close()
        assert code is None or self.process.returncode == code, (self.process.returncode, self.stderr)
        return self

    def close(self) -> None:
        """Make sure that neither it nor a child of it is there any more."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._ended.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    @property
    def seconds_to_leave(self) -> float:
        """How long honeytrace took at the end, without the time in which the machine was busy with others."""
        said = dict(line.split() for line in self.lines if line.startswith(("leaving ", "left ")))
        return float(said["left"]) - float(said["leaving"])

    @property
    def returned(self) -> list[str]:
        """The calls that have returned, as whole lines only."""
        if not self._notes.exists():
            return []
        return [line.decode() for line in self._notes.read_bytes().split(b"\n")[:-1]]


class Stage:
    """A folder with a HONEYTRACE_HOME in it, where programs run; none of them outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "honeytrace-home"
        self.programs: list[Program] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc: object) -> None:
        for program in self.programs:
            program.close()

    def start(
        self,
        body: str,
        url: str,
        *,
        key: str = KEY,
        home: Path | None = None,
        dev: bool = True,
        init: dict[str, Any] | None = None,
        **env: str,
    ) -> Program:
        """Start a program. With `dev` every warning that Python has for developers is on."""
        number = len(self.programs) + 1
        path = self.folder / f"program{number}.py"
        path.write_text(PREAMBLE + textwrap.dedent(body))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HH_")}
        settings = {
            "PYTHONPATH": str(Path(honeytrace.__file__).parents[1]),
            "HONEYTRACE_HOME": str(home or self.home),
            "T_URL": url,
            "T_KEY": key,
            "T_INIT": repr(init or {}),
            "T_RETURNED": str(self.folder / f"returned{number}"),
        }
        program = Program(path, flags=("-X", "dev") if dev else (), env={**inherited, **settings, **env})
        self.programs.append(program)
        return program

    def run(self, body: str, url: str, *, code: int | None = 0, timeout: float = 60, **options: Any) -> Program:
        """Run a program to its end."""
        return self.start(body, url, **options).end(timeout, code)

    def deliver_the_rest(self, url: str, **options: Any) -> Program:
        """Run the next process: one restart."""
        program = self.run(NEXT, url, **options)
        assert "True True" in program.lines, (program.lines, program.stderr)
        return program

    def segments(self) -> list[Path]:
        """The files of the journal."""
        # Not rglob: a folder that vanishes meanwhile is an error to it (before Python 3.13).
        walk = os.walk(self.home)
        return sorted(Path(folder, name) for folder, *names in walk for name in sum(names, []) if name.endswith(".seg"))


def events(server: Any) -> list[dict[str, Any]]:
    """The events a server has: all but the sessions."""
    return [event for event in list(server.events) if event["event_type"] != "session"]


def arrived(server: Any) -> Counter[str]:
    """How often each call of `traced` has arrived."""
    return Counter(event["inputs"]["n"] for event in events(server) if "n" in event["inputs"])


def soon(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until the condition holds: for what another process does, and tells nobody."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s in vain"
        time.sleep(0.005)


def assert_nothing_lost(server: Any, *programs: Program, expect: int | None = None) -> None:
    """All calls that returned have arrived, and each event's session with it."""
    found = arrived(server)
    returned = [n for program in programs for n in program.returned]
    lost = [n for n in returned if n not in found]
    assert not lost, f"{len(lost)} of {len(returned)} lost: {lost[:10]}"
    assert expect is None or len(returned) == expect, f"the program made {len(returned)} calls, not {expect}"
    missing = {event["session_id"] for event in events(server)} - server.session_ids().keys()
    assert not missing, f"sessions of events that arrived are missing: {missing}"


def assert_exactly_once(server: Any, *programs: Program, expect: int | None = None) -> None:
    """Nothing lost, and nothing delivered twice."""
    assert_nothing_lost(server, *programs, expect=expect)
    twice = {n: times for n, times in arrived(server).items() if times > 1}
    assert not twice, f"{len(twice)} delivered more than once: {list(twice.items())[:10]}"


def assert_quiet(program: Program, *, lines: int = 0, processes: int = 1) -> None:
    """On stderr there is nothing, or at most so many of the documented lines, each once in every process."""
    said = program.stderr.splitlines()
    kinds = [next((i for i, known in enumerate(_DOCUMENTED) if known.fullmatch(line)), line) for line in said]
    assert all(isinstance(kind, int) for kind in kinds), program.stderr
    assert len(said) <= lines * processes, program.stderr
    assert all(kinds.count(kind) <= processes for kind in kinds), program.stderr
