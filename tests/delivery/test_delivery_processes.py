"""Delivery where processes fork, end and are interrupted: nothing lost, nothing twice, no hang, no noise."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import honeytrace

PREAMBLE = """
import atexit, os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # os.fork beside threads is the point
from delivery_fakes import Failing, Hanging, Recording, an_event
from honeytrace._flusher import Flusher
from honeytrace._journal import Journal

class Printing(Recording):
    def export(self, batch, deadline):
        super().export(batch, deadline)
        os.write(1, b"".join(b"%s %s\\n" % (self.label, event.body) for event in batch))
    label = b"got"

def line(exporter, **settings):
    journal = Journal("line", 1 << 30)
    flusher = Flusher(journal, exporter, **settings)
    def submit(body):
        journal.append(*an_event(body=body))
    return journal, flusher, submit
"""


def run(script: str) -> list[str]:
    """Run the script in a process of its own; give its lines. Nothing may appear on stderr."""
    package, here = Path(honeytrace.__file__).parents[1], Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PREAMBLE + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{here}"},
        cwd=here,  # the interpreter looks there first
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.split("\n")[:-1]


def test_parent_and_children_each_deliver_their_own_events_once() -> None:
    lines = run("""
        exporter = Printing()
        journal, flusher, submit = line(exporter, interval=0.3)
        os.register_at_fork(after_in_child=flusher.reset_after_fork)
        submit(b"parent-first")
        children = []
        for n in range(3):
            pid = os.fork()
            if pid == 0:
                exporter.label = b"child%d" % n
                submit(b"child-event")
                result = flusher.stop(5)
                books = journal.books()
                ok = result.ok and result.delivered == 1 and books.recorded == books.delivered == 1
                os._exit(0 if ok else 1)
            children.append(pid)
        submit(b"parent-second")
        assert flusher.flush(5).delivered == 2
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    """)
    assert sorted(lines) == [
        "child0 child-event",
        "child1 child-event",
        "child2 child-event",
        "got parent-first",
        "got parent-second",
    ]


def test_a_fork_while_an_export_hangs_leaves_the_child_able_to_deliver() -> None:
    lines = run("""
        exporter = Hanging()
        journal, flusher, submit = line(exporter, interval=0.01)
        os.register_at_fork(after_in_child=flusher.reset_after_fork)
        submit(b"parent")
        assert exporter.entered.wait(5)
        pid = os.fork()
        if pid == 0:
            exporter._hang = exporter._before = lambda batch: os.write(1, batch[0].body + b"\\n")
            submit(b"child")
            os._exit(0 if flusher.flush(5).ok else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert journal.books().pending == 1
        exporter.release.set()
        assert flusher.stop(5).delivered == 1
    """)
    assert lines == ["child"]


def test_what_is_flushed_at_exit_is_delivered_though_the_interval_never_passed() -> None:
    lines = run("""
        journal, flusher, submit = line(Printing(), interval=3600)
        atexit.register(flusher.stop, 2.5)
        atexit.register(submit, b"in an exit handler")
        submit(b"one")
    """)
    assert lines == ["got one", "got in an exit handler"]


def test_a_first_event_in_an_exit_handler_is_delivered() -> None:
    lines = run("""
        journal, flusher, submit = line(Printing())
        atexit.register(flusher.stop, 2.5)
        atexit.register(submit, b"late")
    """)
    assert lines == ["got late"]


def test_a_flush_while_the_interpreter_is_torn_down_does_not_hang() -> None:
    lines = run("""
        import builtins
        exporter = Recording(lambda batch, write=os.write: [write(1, event.body) for event in batch])
        journal, flusher, submit = line(exporter, interval=3600)
        submit(b"early ")
        class Late:
            event = an_event(body=b"late ")
            def __del__(self, append=journal.append, flush=flusher.flush, write=os.write):
                append(*self.event)
                write(1, b"delivered\\n" if flush(2).ok else b"pending\\n")
        builtins.late = Late()  # this module outlives the others, so that its content is still whole
    """)
    assert lines == ["early late delivered"]


def test_the_end_of_a_process_with_a_hanging_exporter_is_quick_and_silent() -> None:
    lines = run("""
        exporter = Hanging()
        journal, flusher, submit = line(exporter, interval=0.01)
        def end():
            started = time.monotonic()
            result = flusher.stop(0.3)
            print(result.ok, result.pending, 0.25 < time.monotonic() - started < 0.55)
        atexit.register(end)
        submit(b"one")
        assert exporter.entered.wait(5)
    """)
    assert lines == ["False 1 True"]


def test_a_process_that_never_stops_its_flusher_ends_without_output() -> None:
    assert (
        run("""
        for _ in range(20):
            journal, flusher, submit = line(Recording(), interval=0.001)
            submit(b"one")
    """)
        == []
    )


@pytest.mark.parametrize("interval", [0.001, 3600])
def test_signal_handlers_may_submit_and_flush_at_any_time(interval: float) -> None:
    lines = run(f"""
        exporter = Recording()
        journal, flusher, submit = line(exporter, interval={interval})
        handled = 0
        def handler(*_):
            global handled
            submit(b"signal")
            flusher.flush(0.5)
            handled += 1
            signal.setitimer(signal.ITIMER_REAL, 0.001)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        sent = 0
        while handled < 100:
            submit(b"main")
            sent += 1
            if sent % 50 == 0:
                flusher.flush(5)
        signal.setitimer(signal.ITIMER_REAL, 0)
        result = flusher.stop(5)
        ids = [event.id for event in exporter.events]
        print(result.ok, len(ids) == len(set(ids)) == sent + handled)
    """)
    assert lines == ["True True"]


def test_ctrl_c_interrupts_a_flush_and_what_was_pending_is_delivered_later() -> None:
    lines = run("""
        exporter = Hanging()
        journal, flusher, submit = line(exporter, interval=0.01)
        submit(b"one")
        assert exporter.entered.wait(5)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            flusher.flush()
        except KeyboardInterrupt:
            print("interrupted")
        exporter.release.set()
        print(flusher.stop(5).ok, len(exporter.events))
    """)
    assert lines == ["interrupted", "True 1"]
