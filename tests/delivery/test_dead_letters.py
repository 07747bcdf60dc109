"""What was refused for good stays until somebody takes it out: across processes, kills and damage."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from delivery_fakes import an_event

import honeytrace
from honeytrace._dead_letters import DeadLetters
from honeytrace._records import MARK

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{Path(honeytrace.__file__).parents[1]}{os.pathsep}{Path(__file__).parent}"}


def python(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    preamble = "import os, sys\nfrom pathlib import Path\nfrom delivery_fakes import an_event\n"
    preamble += "from honeytrace._dead_letters import DeadLetters\nletters = DeadLetters(Path(sys.argv[1]))\n"
    return subprocess.Popen(
        [sys.executable, "-c", preamble + script, *map(str, arguments)],
        env=ENVIRONMENT,
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
    )


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    return DeadLetters(tmp_path / "folder" / "dead-letters")


def test_what_was_added_is_read_with_its_reason_oldest_first(letters: DeadLetters) -> None:
    assert letters.read() == []
    events = [an_event(kind, b'{"n":1}') for kind in ("event", "session", "update", "root", "last")]
    for number, event in enumerate(events):
        letters.add(event, f'HTTP 400: "no" \u20ac {number}')
    assert [letter.event for letter in letters.read()] == events
    assert [letter.reason for letter in letters.read()] == [f'HTTP 400: "no" \u20ac {number}' for number in range(5)]
    assert all(letter.time > 1e9 for letter in letters.read())


def test_the_file_is_private_and_so_is_a_rewritten_one(letters: DeadLetters) -> None:
    before = os.umask(0)
    try:
        letters.add(an_event(), "no")
        assert stat.S_IMODE(letters.path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(letters.path.stat().st_mode) == 0o600
        letters.add(an_event(), "no")
        letters.remove(letters.read()[:1])
        assert stat.S_IMODE(letters.path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_removing_takes_these_and_no_others_and_says_how_many(letters: DeadLetters) -> None:
    assert letters.remove([]) == 0
    assert not letters.path.exists()
    for _ in range(4):
        letters.add(an_event(), "no")
    first, second, third, fourth = letters.read()
    assert letters.remove([second, fourth]) == 2
    assert letters.remove([second]) == 0
    assert letters.read() == [first, third]


def test_damage_costs_the_letter_it_touches_and_lends_no_reason_to_another(letters: DeadLetters) -> None:
    for number in range(4):
        letters.add(an_event(body=b"body%d" % number), f"reason{number}")
    whole = letters.path.read_bytes()
    for place, expected in {
        b"body1": [(b"body0", "reason0"), (b"body2", "reason2"), (b"body3", "reason3")],
        b"reason2": [(b"body0", "reason0"), (b"body1", "reason1"), (b"body2", "unknown"), (b"body3", "reason3")],
    }.items():
        letters.path.write_bytes(whole.replace(place, b"#" * len(place)))
        assert [(letter.event.body, letter.reason) for letter in letters.read()] == expected


def test_a_torn_end_does_not_hide_what_is_added_after_it(letters: DeadLetters) -> None:
    letters.add(an_event(body=b"one"), "no")
    size = letters.path.stat().st_size
    letters.add(an_event(body=b"torn"), "no")
    for cut in range(size, letters.path.stat().st_size, 7):
        whole = letters.path.read_bytes()
        letters.path.write_bytes(whole[:cut])
        letters.add(an_event(body=b"after"), "yes")
        found = [(letter.event.body, letter.reason) for letter in letters.read()]
        assert found == [(b"one", "no"), (b"after", "yes")]
        letters.path.write_bytes(whole)


def test_a_body_of_marks_is_kept_as_it_is(letters: DeadLetters) -> None:
    event = an_event(body=MARK * 100)
    letters.add(event, "no")
    assert [letter.event for letter in letters.read()] == [event]


def test_several_processes_add_while_another_removes_and_nothing_is_lost(letters: DeadLetters) -> None:
    letters.add(an_event(body=b"first"), "no")
    adding = "for number in range(60): letters.add(an_event(body=b'%s %d' % (sys.argv[2].encode(), number)), 'no')"
    processes = [python(adding, letters.path, name) for name in "abc"]
    taken = []
    while any(process.poll() is None for process in processes) or letters.read():
        some = letters.read()[:20]
        assert letters.remove(some) == len(some)
        taken += some
    assert all(process.wait() == 0 for process in processes)
    for process in processes:
        process.stdout.close()  # type: ignore[union-attr]
    bodies = [letter.event.body for letter in taken]
    for name in (b"a", b"b", b"c"):
        assert [body for body in bodies if body.startswith(name + b" ")] == [b"%s %d" % (name, n) for n in range(60)]
    assert len(bodies) == 181


@pytest.mark.parametrize("doing", ["add", "remove"])
def test_a_process_killed_in_the_middle_costs_at_most_what_it_was_adding(letters: DeadLetters, doing: str) -> None:
    for number in range(20):
        letters.add(an_event(body=b"kept %d" % number), "no")
    step = {
        "add": "letters.add(an_event(body=b'x' * 50000), 'no')",
        "remove": "letters.remove(letters.read()[20:])",
    }[doing]
    for moment in range(5):
        process = python(f"while True:\n    {step}\n    os.write(1, b'.')", letters.path)
        with process:
            assert process.stdout is not None
            process.stdout.read(1 + moment)
            process.send_signal(signal.SIGKILL)
        letters.add(an_event(body=b"after %d" % moment), "yes")
        bodies = [letter.event.body for letter in letters.read()]
        assert bodies[:20] == [b"kept %d" % number for number in range(20)]
        assert bodies[-1] == b"after %d" % moment
        assert letters.remove(letters.read()[20:]) == len(bodies) - 20


def test_a_child_forked_while_letters_are_added_does_not_keep_the_lock(letters: DeadLetters) -> None:
    script = """
import threading, warnings
warnings.simplefilter("ignore")
stop = threading.Event()
def adding():
    while not stop.is_set():
        letters.add(an_event(body=b"x" * 100000), "no")
threads = [threading.Thread(target=adding) for _ in range(2)]
for thread in threads: thread.start()
children = []
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        os.read(0, 1)  # lives on until the test ends
        os._exit(0)
    children.append(pid)
stop.set()
for thread in threads: thread.join(10)
alive = any(thread.is_alive() for thread in threads)
import signal
for pid in children:
    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
os.write(1, b"stuck" if alive else b"free")
os._exit(0)
"""
    read, write = os.pipe()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys\nfrom pathlib import Path\nfrom delivery_fakes import an_event\n"
            "from honeytrace._dead_letters import DeadLetters\nletters = DeadLetters(Path(sys.argv[1]))\n" + script,
            str(letters.path),
        ],
        env=ENVIRONMENT,
        cwd=Path(__file__).parent,
        stdin=read,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.communicate(timeout=60)[0] == b"free"
    finally:
        os.close(read)
        os.close(write)


def test_threads_that_add_at_once_lose_nothing(letters: DeadLetters) -> None:
    threads = [threading.Thread(target=lambda: [letters.add(an_event(), "no") for _ in range(20)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({letter.event.id for letter in letters.read()}) == 100
