"""A burst of calls against a slow server: nobody waits, memory stays flat, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fault_server import ServerProcess
from faults_programs import KEY, Program, Stage, arrived, assert_quiet

CALLS = 50_000

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures with /proc")

BURST = """
    import json
    calls = int(os.environ["T_CALLS"])

    @honeytrace.trace
    def burst(n, payload):
        return None

    def plain(n, payload):
        return None

    def memory(what):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what))

    def waited_for_a_processor(files):
        "Nanoseconds that threads of this process were ready to run, and did not."
        return sum(int(os.pread(file, 64, 0).split()[1]) for file in files)

    def longest(function):
        '''The longest call in milliseconds, as it was; and without the time in which this program had no processor.

        Read before and after each call, so that what the machine does to the program is not held against the call.
        '''
        files = []
        for task in os.listdir("/proc/self/task"):
            if os.access(f"/proc/self/task/{task}/schedstat", os.R_OK):  # not on every kernel
                files.append(os.open(f"/proc/self/task/{task}/schedstat", os.O_RDONLY))
        worst, blocked = 0, 0
        payload = "x" * 1000
        now = time.perf_counter_ns
        before = waited_for_a_processor(files)
        for i in range(calls):
            start = now()
            function(str(i), payload)
            took = now() - start
            after = waited_for_a_processor(files)
            worst, blocked = max(worst, took), max(blocked, took - (after - before))
            before = after
        for file in files:
            os.close(file)
        return worst / 1e6, blocked / 1e6

    traced("first")  # a session of its own, and a first request: what delivers is loaded
    until(lambda: honeytrace.stats().delivered == 1)
    control = longest(plain)
    before = memory("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    ready()
    wait()
    start = clock()
    worst, blocked = longest(burst)
    seconds = clock() - start
    peak = memory("VmHWM") - before
    say(json.dumps({
        "control": control, "worst": worst, "blocked": blocked, "grown": peak, "seconds": seconds,
        "dropped": dict(honeytrace.stats().dropped), "recorded": honeytrace.stats().recorded,
        "closed": closed() is True,
    }))
    wait()
    result = honeytrace.flush(120)
    grown = memory("VmHWM") - before
    say(json.dumps({"ok": result.ok, "pending": result.pending, "grown": grown, "closed": closed() is True}))
"""


def _said(program: Program) -> dict[str, Any]:
    line = program.line(120)
    assert line is not None, program.stderr
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize(("calls", "seconds"), [(3_000, 0.3), pytest.param(CALLS, 3, marks=pytest.mark.slow)])
def test_a_burst_against_a_slow_server_holds_nobody_up_and_loses_nothing(
    stage: Stage, calls: int, seconds: float
) -> None:
    log = stage.folder / "stored.jsonl"
    with ServerProcess("--key", KEY, log=log) as server:
        program = stage.start(BURST, server.url, dev=False, T_CALLS=str(calls)).ready()
        server.mode("slow", seconds=seconds)
        burst = _said(program.go())
        # The same loop with a plain function says what the machine itself does to a loop.
        assert burst["blocked"] < 50 + burst["control"][1], burst
        assert burst["grown"] < 40 * 1024, burst
        assert (burst["dropped"], burst["recorded"], burst["closed"]) == ({}, calls + 1, True)
        server.mode("ok")
        after = _said(program.go())
        program.end()
        assert (after["ok"], after["pending"], after["closed"]) == (True, 0, True)
        assert after["grown"] < 40 * 1024, after
        found = arrived(server.stored())
    assert found == {"first": 1, **{str(i): 1 for i in range(calls)}}
    assert_quiet(program)


@pytest.mark.slow
def test_a_burst_of_a_program_that_ends_at_once_is_delivered_by_the_next(stage: Stage) -> None:
    with ServerProcess("--key", KEY) as server:
        server.mode("slow", seconds=3)
        program = stage.run("for i in range(3000): call(f'{i}')", server.url, dev=False)
        assert program.seconds_to_leave < 2.7
        assert_quiet(program, lines=2)
        server.mode("ok")
        stage.deliver_the_rest(server.url)
        assert arrived(server.stored()).keys() == {str(i) for i in range(3000)}
