"""Whatever becomes of the disk or the clock, the program goes on, and the books close."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_server import FaultServer
from faults_programs import Stage, also_slow, arrived, assert_exactly_once, assert_nothing_lost, soon


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A small file system, where mounting is allowed."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


FILLS = """
    FLUSH = float(os.environ.get("T_FLUSH", "30"))
    payload = "x" * 5000
    @honeytrace.trace
    def large(n, payload):
        pass
    def fill(label, count):
        for i in range(count):
            large(f"{label}{i}", payload)
            note(f"{label}{i}")
        assert closed() is True, closed()
    fill("first ", 1000)
    ready()
    wait()
    fill("second ", 1000)
    result = honeytrace.flush(FLUSH)
    books = honeytrace.stats()
    say("books", closed(), result.ok, books.pending, dict(books.dropped))
"""


@pytest.mark.parametrize("megabytes", also_slow([3], [1]))
def test_on_a_full_disk_a_program_goes_on_in_memory_and_loses_nothing(
    server: FaultServer, stage: Stage, tmp_path: Path, megabytes: int
) -> None:
    with tmpfs(tmp_path / "small", f"size={megabytes}m") as home:
        server.mode("refuse")
        program = stage.start(FILLS, server.url, home=home).ready()
        server.mode("ok")
        program.go().end()
    assert "books True True 0 {}" in program.lines, program.lines
    assert_exactly_once(server, program, expect=2000)
    said = [line for line in program.stderr.splitlines() if "cannot deliver" not in line]
    assert len(said) == 1
    assert "No space left on device" in said[0]


def test_a_disk_that_others_fill_while_the_program_runs_loses_nothing(
    server: FaultServer, stage: Stage, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "small", "size=20m") as home:
        server.mode("refuse")
        program = stage.start(FILLS, server.url, home=home).ready()
        with pytest.raises(OSError, match="No space"), open(home / "of others", "wb", buffering=0) as others:
            while True:
                os.posix_fallocate(others.fileno(), os.fstat(others.fileno()).st_size, 4096)
        program.go()
        soon(lambda: len(program.returned) == 2000)
        server.mode("ok")
        program.end()
    assert "books True True 0 {}" in program.lines, program.lines
    assert_exactly_once(server, program, expect=2000)


@pytest.mark.slow
def test_what_a_full_disk_cannot_keep_is_counted_when_memory_has_its_bound(
    server: FaultServer, stage: Stage, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "small", "size=1m") as home:
        server.mode("refuse")
        program = stage.start(
            FILLS + "\n    assert books.dropped['full'] > 0",
            server.url,
            home=home,
            init={"journal_bytes": 4_000_000},
            T_FLUSH="0.1",
        ).ready()
        program.go().end()
    books = next(line for line in program.lines if line.startswith("books"))
    assert books.startswith("books True False "), books
    assert "'full':" in books
    assert any("is full" in line for line in program.stderr.splitlines()), program.stderr


@pytest.fixture(params=also_slow(["read-only"], ["a file", "forbidden"]))
def unwritable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A home that cannot be written to."""
    place = tmp_path / "unwritable"
    if request.param == "read-only":
        with tmpfs(place, "ro") as home:
            yield home
    elif request.param == "a file":
        place.write_text("not a folder")
        yield place
    else:
        yield Path("/proc/honeytrace")


def test_without_a_writable_home_everything_is_delivered_from_memory(
    server: FaultServer, stage: Stage, unwritable: Path
) -> None:
    program = stage.run("both(200); say('books', closed())", server.url, home=unwritable)
    assert "books True" in program.lines
    assert_exactly_once(server, program, expect=200)
    (said,) = program.stderr.splitlines()
    assert "what is not delivered when the process ends is lost" in said


def test_without_any_home_everything_is_delivered_from_memory_and_that_is_said_once(
    server: FaultServer, stage: Stage
) -> None:
    body = "both(100); honeytrace.init(api_key='hh_test', server_url=os.environ['T_URL']); both(100, 'more ')"
    program = stage.run(body, server.url, home=Path("~no-such-user/honeytrace"))
    assert_exactly_once(server, program, expect=200)
    (said,) = program.stderr.splitlines()
    assert "HONEYTRACE_HOME" in said
    assert "what is not delivered when the process ends is lost" in said


@pytest.mark.slow
def test_without_a_writable_home_and_a_server_the_end_says_what_is_lost(
    server: FaultServer, stage: Stage, unwritable: Path
) -> None:
    server.mode("refuse")
    program = stage.run("both(200); say('books', closed())", server.url, home=unwritable)
    assert "books True" in program.lines
    assert program.stderr.splitlines()[-1].startswith("200 events are not delivered to honeyhive")
    assert program.stderr.splitlines()[-1].endswith("they are lost")


RUNS_ON = """
    for i in range(200):
        traced(f"before {i}")
    ready()
    wait()
    for i in range(200):
        traced(f"after {i}")
        time.sleep(0.001)
    assert closed() is True, closed()
    ready()
    wait()
    result = honeytrace.flush(20)
    books = honeytrace.stats()
    say("books", closed(), result.ok, books.recorded, books.delivered, books.pending, dict(books.dropped))
"""


@pytest.mark.parametrize("part", also_slow(["", "journal/*/*/*.seg"], ["journal", "journal/*", "journal/*/*"]))
def test_a_journal_removed_while_the_program_runs_loses_nothing(server: FaultServer, stage: Stage, part: str) -> None:
    server.mode("refuse")
    program = stage.start(RUNS_ON, server.url).ready()
    for path in list(stage.home.glob(part)) if part else [stage.home]:
        while path.exists():  # the program may put something there while it is emptied
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    program.go().ready()
    server.mode("ok")
    program.go().end()
    assert "books True True 400 400 0 {}" in program.lines, (program.lines, program.stderr)
    assert_exactly_once(server, program, expect=400)
    assert len(program.stderr.splitlines()) <= 2, program.stderr


def test_the_lock_of_a_journal_removed_while_the_program_runs_loses_nothing(server: FaultServer, stage: Stage) -> None:
    server.mode("refuse")
    program = stage.start(RUNS_ON, server.url).ready()
    (lock,) = stage.home.glob("journal/*/*/lock")
    lock.unlink()
    program.go().ready()
    server.mode("ok")
    program.go().end()
    assert any(line.startswith("books True True ") for line in program.lines), (program.lines, program.stderr)
    assert_nothing_lost(server, program, expect=400)  # somebody may take it for left behind, and deliver it twice


@pytest.mark.parametrize("left", also_slow([0, 5000], [10, 64]))
def test_a_file_that_somebody_cuts_short_costs_what_was_cut_off_and_is_counted(
    server: FaultServer, stage: Stage, left: int
) -> None:
    server.mode("refuse")
    program = stage.start(RUNS_ON, server.url).ready()
    (segment,) = stage.segments()
    os.truncate(segment, left)
    program.go().ready()
    server.mode("ok")
    program.go().end()
    found = arrived(server)
    books = next(line for line in program.lines if line.startswith("books"))
    cut_off = 400 - len(found)
    # The flush says that not all of it arrived.
    assert books == f"books True False 400 {len(found)} 0 {{'damaged': {cut_off}}}", (books, program.stderr)
    assert {f"after {i}" for i in range(200)} <= found.keys()
    assert cut_off < 200 if left == 5000 else cut_off == 200
    assert max(found.values()) == 1
    assert len(program.stderr.splitlines()) <= 3, program.stderr


def test_a_file_left_behind_and_damaged_costs_the_damaged_record_only(server: FaultServer, stage: Stage) -> None:
    program = stage.run("both(100); os._exit(0)", server.url)
    (segment,) = stage.segments()
    with open(segment, "r+b") as file:
        data = file.read()
        at = data.index(b'"n":"50"')
        file.seek(at)
        file.write(b"!!!!")
    stage.run("honeytrace.flush(20)", server.url)
    assert set(program.returned) - arrived(server).keys() == {"50"}


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
/* A wall clock that is an hour late from the moment the file T_CLOCK is there. */
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, now);
    const char *switched = getenv("T_CLOCK");
    if (which == CLOCK_REALTIME && switched && access(switched, F_OK) == 0) now->tv_sec -= 3600;
    return result;
}
"""


def test_a_clock_set_back_an_hour_loses_nothing_and_makes_no_negative_duration(
    server: FaultServer, stage: Stage, tmp_path: Path
) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: the clock of the machine is not ours to set")
    source, shim, switch = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "an hour back"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True, capture_output=True)
    server.mode("status", status=503, retry_after=1, first=1)
    program = stage.start(
        """
        both(50, "before ")
        before = time.time()
        with honeytrace.session("long"):
            @honeytrace.trace
            def around(n):
                traced("inside")
                ready()
                wait()
                traced("inside, later")
            around("around")
        assert time.time() < before - 3000, "the clock was not set back"
        both(50, "after ")
        until(lambda: honeytrace.stats().pending == 0)
        start = clock()
        assert honeytrace.flush(5)
        say("books", closed(), clock() - start < 1)
        """,
        server.url,
        LD_PRELOAD=str(shim),
        T_CLOCK=str(switch),
    ).ready()
    switch.touch()
    program.go().end()
    assert "books True True" in program.lines
    assert_exactly_once(server, program, expect=102)
    assert all(event["duration"] >= 0 and event["end_time"] >= event["start_time"] for event in server.events)
    assert_nothing_lost(server, program)
