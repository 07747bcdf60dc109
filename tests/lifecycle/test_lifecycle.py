"""Real processes that end, fork and hang: what was traced is in the store after the process is gone, once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import honeytrace

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

TRACED = """
import os, sys, threading
import honeytrace

@honeytrace.trace
def work(name):
    return name

@honeytrace.trace
def fail(name):
    raise ValueError(name)
"""

Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, private_home: Path) -> Run:
    """Run a script from a file, in a process of its own, with the test's store."""

    def run(script: str, *, code: int = 0, quiet: bool = True, timeout: float = 20) -> Ended:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(script).replace("# TRACED", TRACED))
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", str(path)],
            env={**os.environ, "PYTHONPATH": str(Path(honeytrace.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == code, done.stderr
        if quiet:
            assert done.stderr == ""
        return done

    return run


def stored() -> list[dict[str, Any]]:
    """Every event in the store but the sessions, in no order."""
    connection = sqlite3.connect(Path(os.environ["HONEYTRACE_HOME"]) / "traces.db")
    try:
        bodies = [json.loads(body) for (body,) in connection.execute("SELECT body FROM events")]
    finally:
        connection.close()
    return [body for body in bodies if body["event_type"] != "session"]


def names() -> Counter[str]:
    return Counter(str(event["inputs"].get("name", event["event_name"])) for event in stored())


ENDINGS = {
    "normally": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "exception": ("fail('raised')", 1),
    "SystemExit in a traced call": ("honeytrace.trace(sys.exit)(4)", 4),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_events_are_stored_however_the_process_ends(run: Run, ending: str) -> None:
    statement, code = ENDINGS[ending]
    done = run(
        f"# TRACED\nhoneytrace.init()\nwork('a')\nwith honeytrace.span('b'): work('c')\n{statement}",
        code=code,
        quiet=False,
    )
    found = names()
    assert [found[name] for name in "abc"] == [1, 1, 1]
    assert sum(found.values()) == (4 if code in (1, 4) else 3)
    assert "honeytrace" not in done.stderr.replace("honeytrace door", "") or code == 1
    assert done.stderr.count("Traceback") == (1 if code == 1 else 0)


def test_events_of_a_large_run_are_all_stored_at_exit(run: Run) -> None:
    run("# TRACED\nhoneytrace.init()\nfor number in range(5000): work('x' * 100)\n")
    assert sum(names().values()) == 5_000


def test_calls_traced_in_atexit_handlers_are_stored_whenever_the_handler_was_registered(run: Run) -> None:
    run("""
        import atexit
        def before():
            for number in range(30):
                work(f"early {number}")
        atexit.register(before)
        # TRACED
        def after():
            for number in range(30):
                work(f"late {number}")
        atexit.register(after)
        honeytrace.init()
        work("main")
    """)
    assert names() == Counter(["main", *(f"{when} {number}" for when in ("early", "late") for number in range(30))])


def test_a_first_call_in_an_atexit_handler_is_stored(run: Run) -> None:
    run("import atexit\natexit.register(lambda: work('only'))\n# TRACED\nhoneytrace.init()\n")
    assert names() == Counter(["only"])


def test_an_object_traced_while_it_is_torn_down_disturbs_nothing(run: Run) -> None:
    run("""
        # TRACED
        class Thing:
            def __del__(self):
                work("del")
                with honeytrace.span("del span"):
                    pass
        honeytrace.init()
        work("main")
        thing = Thing()
        sys.modules["__main__"].keep = thing
        cycle = [Thing()]; cycle.append(cycle)
    """)
    assert names()["main"] == 1


def test_a_daemon_thread_that_traces_until_the_end_disturbs_nothing(run: Run) -> None:
    run(
        """
        # TRACED
        honeytrace.init()
        ready = threading.Event()
        def spin():
            while not pause.wait(0.001):
                work("spin")
                ready.set()
        pause = threading.Event()
        for _ in range(3):
            threading.Thread(target=spin, daemon=True).start()
        ready.wait()
        work("main")
    """,
        quiet=False,
    )
    found = names()
    assert found["main"] == 1
    assert found["spin"] >= 1


def test_a_thread_the_process_waits_for_is_stored(run: Run) -> None:
    run("""
        # TRACED
        honeytrace.init()
        main = threading.main_thread()
        def outlive():
            main.join()
            work("outlived")
        threading.Thread(target=outlive).start()
    """)
    assert names() == Counter(["outlived"])


def test_a_shutdown_by_hand_before_the_end_stores_everything_and_the_exit_adds_nothing(run: Run) -> None:
    run("# TRACED\nhoneytrace.init()\nwork('a')\nhoneytrace.shutdown()\nwork('no')\n")
    assert names() == Counter(["a"])


def test_events_of_a_tracer_that_was_dropped_are_stored(run: Run) -> None:
    run("""
        # TRACED
        def part():
            tracer = honeytrace.Tracer().init(exporters=["local"])
            with tracer.span("dropped"):
                pass
        part()
    """)
    assert names() == Counter(["dropped"])


HANGING = """
import time
class Hanging:
    def __init__(self, name): self.name = name
    def export(self, batch, deadline): time.sleep(60)
    def close(self): pass
"""


def seconds_to_start(run: Run) -> float:
    """How long a process takes that does nothing: an end in time is measured from outside."""
    began = time.monotonic()
    run("# TRACED\n")
    return time.monotonic() - began


@pytest.mark.parametrize("tracers", [1, 2])
def test_the_process_ends_in_time_when_the_destination_hangs(run: Run, tracers: int) -> None:
    starting = seconds_to_start(run)
    began = time.monotonic()
    done = run(
        "# TRACED\n"
        + HANGING
        + "import logging\nlogging.basicConfig()\n"
        + f"for number in range({tracers}):\n"
        + "    tracer = honeytrace.Tracer().init(exporters=[Hanging(f'h{number}')])\n"
        + "    tracer.log_event('x')\n"
        + "    globals()[f't{number}'] = tracer\n",
        quiet=False,
    )
    took = time.monotonic() - began
    assert took < 2.5 + starting + 1.0
    for number in range(tracers):
        assert f"1 event is not delivered to h{number} (no answer yet): it is lost" in done.stderr


def test_calls_that_come_late_do_not_lengthen_the_end_of_the_process(run: Run) -> None:
    starting = seconds_to_start(run)
    began = time.monotonic()
    run(
        "import atexit\n"  # registered before honeytrace is imported, so it runs after honeytrace has flushed
        + "atexit.register(lambda: [tracer.log_event('late') for _ in range(20)])\n"
        + "# TRACED\n"
        + HANGING
        + "tracer = honeytrace.Tracer().init(exporters=[Hanging('h')])\n"
        + "tracer.log_event('x')\n",
        quiet=False,
    )
    assert time.monotonic() - began < 2.5 + starting + 1.0


def test_aflush_keeps_its_deadline_while_all_threads_of_the_loop_are_busy(run: Run) -> None:
    done = run(
        """
        # TRACED
        import asyncio, time
        from concurrent.futures import ThreadPoolExecutor

        async def main():
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 3)
            work(1)
            began = time.monotonic()
            result = await honeytrace.aflush(2)
            print(result.ok, time.monotonic() - began < 2.2)

        honeytrace.init()
        asyncio.run(main())
        """
    )
    assert done.stdout == "True True\n"


def test_aflush_delivers_where_no_thread_can_be_started(run: Run) -> None:
    done = run(
        """
        # TRACED
        import asyncio, threading

        def none(thread):
            raise RuntimeError("can't start new thread")

        async def main():
            work("a call")
            threading.Thread.start = none
            print((await honeytrace.aflush(5)).ok)

        honeytrace.init()
        asyncio.run(main())
        """,
        quiet=False,
    )
    assert done.stdout == "True\n"
    assert names() == {"a call": 1}


def test_the_local_store_without_a_home_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONEYTRACE_HOME", "~no-such-user/honeytrace")
    with pytest.raises(honeytrace.ConfigError, match="HONEYTRACE_HOME"):
        honeytrace.init()


@needs_fork
def test_parent_and_forked_child_each_store_their_own_events(run: Run) -> None:
    run("""
        # TRACED
        honeytrace.init()
        work("before")
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                work(f"child {number}")
                sys.exit(0)
            work(f"parent {number}")
            assert os.waitpid(pid, 0)[1] == 0
        work("after")
    """)
    numbered = [f"{who} {number}" for who in ("child", "parent") for number in range(3)]
    assert names() == Counter(["before", "after", *numbered])
    assert len({event["event_id"] for event in stored()}) == 8


@needs_fork
def test_a_child_forked_after_a_flush_and_one_that_flushes_store_their_events(run: Run) -> None:
    run("""
        # TRACED
        honeytrace.init()
        work("before")
        assert honeytrace.flush()
        pid = os.fork()
        if pid == 0:
            work("child")
            assert honeytrace.flush().delivered == 1
            assert honeytrace.stats().recorded == 1
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        work("after")
    """)
    assert names() == Counter(["before", "child", "after"])


@needs_fork
def test_a_span_open_across_a_fork_is_finished_by_the_parent_only(run: Run) -> None:
    run("""
        # TRACED
        honeytrace.init()
        @honeytrace.trace
        def around():
            with honeytrace.span("block"):
                pid = os.fork()
                if pid == 0:
                    work("child")
                else:
                    assert os.waitpid(pid, 0)[1] == 0
                    work("parent")
        around()
    """)
    events = stored()
    assert Counter(event["event_name"] for event in events) == Counter(["around", "block", "work", "work"])
    block = next(event for event in events if event["event_name"] == "block")
    assert {event["parent_id"] for event in events if event["event_name"] == "work"} == {block["event_id"]}


@needs_fork
def test_a_session_open_across_a_fork_is_completed_by_the_parent_only(run: Run) -> None:
    done = run("""
        # TRACED
        class Telling:
            name = "telling"
            def export(self, batch, deadline):
                for record in batch:
                    os.write(1, b"%d %s\\n" % (os.getpid() == parent, record.kind.encode()))
            def close(self): pass
        parent = os.getpid()
        honeytrace.init(exporters=[Telling()])
        with honeytrace.session("s"):
            pid = os.fork()
            if pid == 0:
                work("child")
            else:
                assert os.waitpid(pid, 0)[1] == 0
    """)
    assert sorted(done.stdout.splitlines()) == ["0 event", "1 session", "1 update"]


METHODS = ["fork", "spawn", "forkserver"] if hasattr(os, "fork") else ["spawn"]


@pytest.mark.parametrize("method", METHODS)
def test_the_processes_of_multiprocessing_store_their_own_events(run: Run, method: str) -> None:
    run(f"""
        # TRACED
        import multiprocessing

        def target(number):
            if {method != "fork"}:
                honeytrace.init()
            work(f"child {{number}}")

        if __name__ == "__main__":
            honeytrace.init()
            work("before")
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=target, args=(number,)) for number in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
                assert child.exitcode == 0
            work("after")
    """)
    assert names() == Counter(["before", "after", "child 0", "child 1"])


@needs_fork
def test_forking_while_other_threads_trace_neither_hangs_nor_loses(run: Run) -> None:
    done = run("""
        # TRACED
        honeytrace.init()
        stop = threading.Event()
        counts = []
        def spin():
            count = 0
            while not stop.wait(0.001):
                work("spin")
                count += 1
            counts.append(count)
        threads = [threading.Thread(target=spin) for _ in range(3)]
        for thread in threads: thread.start()
        for number in range(10):
            pid = os.fork()
            if pid == 0:
                work(f"child {number}")
                honeytrace.shutdown()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
        print(sum(counts))
    """)
    found = names()
    assert [found[f"child {number}"] for number in range(10)] == [1] * 10
    assert found["spin"] == int(done.stdout)
