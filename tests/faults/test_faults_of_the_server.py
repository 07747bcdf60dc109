"""Whatever a server does, nothing is lost, the program goes on, and its end takes 2.5 s at most."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from faults_programs import (
    KEY,
    Program,
    Stage,
    also_slow,
    arrived,
    assert_exactly_once,
    assert_nothing_lost,
    assert_quiet,
    soon,
)  # fmt: skip

EXIT_SECONDS = 2.5

# name: the modes of the server, one after the other; each for `first` requests
PASSING: dict[str, list[dict[str, Any]]] = {
    "reset": [{"mode": "reset", "first": 3}],
    "close": [{"mode": "close", "first": 3}],
    "500": [{"mode": "status", "status": 500, "first": 3}],
    "503 with Retry-After": [{"mode": "status", "status": 503, "retry_after": 1, "first": 2}],
    "429 with Retry-After": [{"mode": "status", "status": 429, "retry_after": 1, "first": 2}],
    "429 with nonsense in Retry-After": [{"mode": "status", "status": 429, "retry_after": "soon", "first": 2}],
    "401": [{"mode": "status", "status": 401, "first": 1}],
    "502 with HTML": [{"mode": "status", "status": 502, "text": "<html>bad gateway</html>", "first": 2}],
    "partial 500": [{"mode": "partial", "stored": 7, "routes": ["batch"], "first": 2}],
    "200 with HTML": [{"mode": "html"}],
    "200 with garbage": [{"mode": "garbage"}],
    "200 without a body": [{"mode": "empty"}],
    "200 with 300 MB": [{"mode": "huge"}],
    "200 with a gzip bomb": [{"mode": "gzip"}],
}
REPEATING: dict[str, list[dict[str, Any]]] = {
    "answer lost after storing": [{"mode": "lost", "routes": ["batch"], "first": 1}],
    "answer cut short": [{"mode": "cut_length", "routes": ["batch"], "first": 1}],
    "chunked answer cut short": [{"mode": "cut_chunk", "routes": ["batch"], "first": 1}],
}
LASTING: dict[str, list[dict[str, Any]]] = {
    "refuse": [{"mode": "refuse"}],
    "unread": [{"mode": "unread"}],
    "reset, always": [{"mode": "reset"}],
    "hang": [{"mode": "hang"}],
    "status 500": [{"mode": "status", "status": 500}],
    "status 503": [{"mode": "status", "status": 503, "retry_after": 120}],
    "status 429": [{"mode": "status", "status": 429, "retry_after": "120"}],
    "status 401": [{"mode": "status", "status": 401}],
    "status 403": [{"mode": "status", "status": 403}],
    "status 404": [{"mode": "status", "status": 404}],
}
LASTING_AND_STORING: dict[str, list[dict[str, Any]]] = {
    "dripping head": [{"mode": "drip_headers"}],
    "dripping body": [{"mode": "drip_body"}],
    "answer lost": [{"mode": "lost"}],
}

# What the newcomer's command runs: what waits costs little, but what starts costs half a second.
FAST = {
    "reset", "503 with Retry-After", "partial 500", "200 with HTML", "answer lost after storing",
    "refuse", "hang", "status 503", "dripping head",
}  # fmt: skip


def some(faults: dict[str, Any]) -> list[Any]:
    """Names of faults; those that resemble another are for CI only."""
    return also_slow((name for name in faults if name in FAST), (name for name in faults if name not in FAST))


ENDLESS = ["hang", "drip_headers", "drip_body"]

LIVES_THROUGH_IT = """
    ready()
    wait()
    both(100)
    until(lambda: honeytrace.stats().pending == 0, 40)
    say("books", closed(), honeytrace.stats().recorded, honeytrace.stats().delivered)
"""
DIES_OF_IT = """
    ready()
    wait()
    both(100)
    time.sleep(1.2)
    both(100, "late ")
"""


@dataclass
class Ended:
    """One server with the program that ended beside it."""

    server: FaultServer
    stage: Stage
    program: Program
    after: Program | None = None


@dataclass
class Together:
    """Servers and programs that run at the same time: most of the time they wait."""

    folder: Any
    body: str
    ended: dict[str, Ended] = field(default_factory=dict)

    def run(self, modes: dict[str, list[dict[str, Any]]]) -> None:
        for name, mode in modes.items():
            place = self.folder.mktemp("stage")
            one = Ended(FaultServer(key=KEY), Stage(place), None)  # type: ignore[arg-type]
            one.server.modes(mode)
            one.program = one.stage.start(self.body, one.server.url)
            self.ended[name] = one
        with ThreadPoolExecutor(len(modes)) as pool:
            list(pool.map(lambda name: self.ended[name].program.ready(), modes))
            list(pool.map(lambda name: self.ended[name].program.go().end(90, None), modes))

    def close(self) -> None:
        for one in self.ended.values():
            one.stage.__exit__()
            one.server.close()


def _wanted(request: pytest.FixtureRequest, faults: dict[str, Any]) -> dict[str, Any]:
    """The faults that the selected tests ask for."""
    calls = (getattr(item, "callspec", None) for item in request.session.items)
    wanted = {call.params.get("fault") for call in calls if call is not None}
    return {name: modes for name, modes in faults.items() if name in wanted}


@pytest.fixture(scope="module")
def lived_through(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Ended]]:
    """A program for each fault that passes."""
    together = Together(tmp_path_factory, LIVES_THROUGH_IT)
    together.run(_wanted(request, {**PASSING, **REPEATING}))
    yield together.ended
    together.close()


@pytest.fixture(scope="module")
def died_of_it(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """A program for each fault that does not pass, and then the next process, which finds the server well again."""
    together = Together(tmp_path_factory, DIES_OF_IT)
    together.run(_wanted(request, {**LASTING, **LASTING_AND_STORING}))
    for one in together.ended.values():
        one.server.mode("ok")
    with ThreadPoolExecutor(4) as pool:
        for one, after in zip(
            together.ended.values(),
            pool.map(lambda one: one.stage.deliver_the_rest(one.server.url), together.ended.values()),
            strict=True,
        ):
            one.after = after
    yield together.ended
    together.close()


@pytest.mark.parametrize("fault", some(PASSING))
def test_a_program_lives_through_a_fault_that_passes_and_delivers_everything_once(
    lived_through: dict[str, Ended], fault: str
) -> None:
    one = lived_through[fault]
    assert one.program.process.returncode == 0, one.program.stderr
    assert "books True 100 100" in one.program.lines
    assert_exactly_once(one.server, one.program, expect=100)
    assert_quiet(one.program, lines=1 if "first" in PASSING[fault][0] else 0)
    assert one.stage.segments() == []


@pytest.mark.parametrize("fault", some(REPEATING))
def test_an_answer_that_is_lost_costs_one_repeated_batch_at_most(lived_through: dict[str, Ended], fault: str) -> None:
    one = lived_through[fault]
    assert one.program.process.returncode == 0, one.program.stderr
    assert "books True 100 100" in one.program.lines
    assert_nothing_lost(one.server, one.program, expect=100)
    assert max(arrived(one.server).values()) <= 2
    assert any(times == 2 for times in arrived(one.server).values()), "nothing was stored without an answer"


@pytest.mark.parametrize("fault", also_slow(["503 with Retry-After"], ["429 with Retry-After"]))
def test_the_server_is_left_alone_for_as_long_as_it_asks(lived_through: dict[str, Ended], fault: str) -> None:
    first, second, third, *_ = lived_through[fault].server.requests
    assert second.at - first.at >= 1
    assert third.at - second.at >= 1


@pytest.mark.parametrize("when", also_slow(["0"], ["Fri, 31 Dec 1999 23:59:59 GMT"]))
def test_a_server_that_says_at_once_is_not_asked_without_a_pause(server: FaultServer, stage: Stage, when: str) -> None:
    server.mode("status", status=503, retry_after=when)
    program = stage.start("both(50); ready(); wait(); os._exit(0)", server.url).ready()
    soon(lambda: len(server.requests) >= 5)
    program.go().end()
    assert server.requests[4].at - server.requests[0].at > 0.6  # a hundredth of that, if nothing holds it back
    server.mode("ok")
    stage.deliver_the_rest(server.url)
    assert_exactly_once(server, program, expect=50)


@pytest.mark.parametrize("fault", some({**LASTING, **LASTING_AND_STORING}))
def test_the_end_takes_two_and_a_half_seconds_at_most(died_of_it: dict[str, Ended], fault: str) -> None:
    program = died_of_it[fault].program
    assert program.process.returncode == 0, program.stderr
    assert program.seconds_to_leave < EXIT_SECONDS + 0.2
    assert_quiet(program, lines=2)
    assert "events are not delivered" in program.stderr


@pytest.mark.parametrize("fault", some(LASTING))
def test_what_a_server_never_took_the_next_process_delivers_once(died_of_it: dict[str, Ended], fault: str) -> None:
    one = died_of_it[fault]
    assert_exactly_once(one.server, one.program, expect=200)
    assert one.stage.segments() == []


@pytest.mark.parametrize("fault", some(LASTING_AND_STORING))
def test_what_a_server_took_without_saying_so_is_delivered_again(died_of_it: dict[str, Ended], fault: str) -> None:
    one = died_of_it[fault]
    assert_nothing_lost(one.server, one.program, expect=200)
    assert one.stage.segments() == []


def test_a_redirect_to_another_host_never_sends_that_host_anything(server: FaultServer, stage: Stage) -> None:
    with FaultServer() as other:
        server.mode("redirect", to=f"{other.url}/v1/events/batch")
        program = stage.start("both(40); ready(); wait()", server.url).ready()
        soon(lambda: len(server.requests) >= 3)
        server.mode("ok")
        program.go().end()
        assert_exactly_once(server, program, expect=40)
        assert_quiet(program, lines=1)
        assert (other.connections, other.requests) == (0, [])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures with /proc")
@pytest.mark.parametrize(
    ("mode", "megabytes"), [("huge", 300), ("gzip", 30), pytest.param("gzip", 300, marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_answer(server: FaultServer, stage: Stage, mode: str, megabytes: int) -> None:
    program = stage.start(
        """
        def peak():
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
        both(100, "first ")
        assert honeytrace.flush(20)
        before = peak()
        ready()
        wait()
        for round in range(3):
            both(100, round)
            assert honeytrace.flush(20)
        say("grown", peak() - before)
        """,
        server.url,
        dev=False,
    ).ready()
    server.mode(mode, bytes=megabytes * 1_000_000)
    program.go().end()
    grown = int(next(line for line in program.lines if line.startswith("grown")).split()[1])
    assert grown < 5 * 1024, f"{grown} KiB"
    assert_exactly_once(server, program, expect=400)


POISON = """
    for i in range(100):
        traced("poisoned" if i == 41 else i)
    result = honeytrace.flush(20)
    books = honeytrace.stats()
    say(result.ok, result.set_aside, books.delivered, books.set_aside, books.pending, closed())
"""


@pytest.mark.parametrize("status", also_slow([400], [422]))
def test_of_a_hundred_events_exactly_the_poisoned_one_is_set_aside(
    server: FaultServer, stage: Stage, status: int
) -> None:
    server.mode("poison", marker="poisoned", status=status)
    program = stage.run(POISON, server.url)
    assert "False 1 99 1 0 True" in program.lines, program.lines
    found = arrived(server)
    assert found.keys() == {str(i) for i in range(100) if i != 41}
    assert max(found.values()) == 1
    assert stage.segments() == []
    (kept,) = stage.home.rglob("dead-letters")
    assert kept.read_bytes().count(b'"n":"poisoned"') == 1
    (said,) = program.stderr.splitlines()
    assert f"HTTP {status}" in said
    assert "1 set aside so far" in said


def test_one_event_above_the_limit_of_the_server_is_set_aside_and_the_others_are_delivered(
    server: FaultServer, stage: Stage
) -> None:
    server.mode("limit", bytes=1_000_000)
    program = stage.run(
        """
        @honeytrace.trace
        def large(n, payload):
            return payload if len(payload) > 10 else n
        for i in range(60):
            large(str(i), ["x" * 10_000] * 5)
            note(i)
            if i == 30:
                large("too large", ["y" * 30_000] * 55)
        result = honeytrace.flush(30)
        books = honeytrace.stats()
        say(result.ok, books.delivered, books.set_aside, books.pending, dict(books.dropped), closed())
        """,
        server.url,
        init={"max_event_bytes": 3_500_000},
    )
    assert "False 60 1 0 {} True" in program.lines, program.lines
    assert_exactly_once(server, program, expect=60)
    (kept,) = stage.home.rglob("dead-letters")
    assert kept.stat().st_size > 3_000_000
    assert b'"n":"too large"' in kept.read_bytes()
    (said,) = program.stderr.splitlines()
    assert "HTTP 413" in said


def test_a_server_without_the_batch_route_gets_every_event_once(server: FaultServer, stage: Stage) -> None:
    server.mode("missing", routes=["batch"])
    program = stage.run("both(100)", server.url)
    assert_exactly_once(server, program, expect=100)
    assert_quiet(program)


FLUSHES = """
    import asyncio
    def timed(flush, seconds):
        start = own_time()
        result = flush(seconds)
        say("took", seconds, own_time() - start, result.ok, result.pending)
    async def aflush(seconds):
        ticks, ticking = 0, True
        async def tick():
            nonlocal ticks
            while ticking:
                ticks += 1
                await asyncio.sleep(0.01)
        ticker = asyncio.create_task(tick())
        start = own_time()
        result = await honeytrace.aflush(seconds)
        say("took", seconds, own_time() - start, result.ok, result.pending)
        ticking = False
        await ticker
        assert ticks > seconds * 20, ticks
    both(100)
    ready()
    for seconds in (0, 0.2, 0.6, 0.0, 0.2):
        timed(honeytrace.flush, seconds)
    asyncio.run(aflush(0.5))
    start = own_time()
    honeytrace.shutdown(0.5)
    say("took", 0.5, own_time() - start, False, 100)
    start = own_time()
    honeytrace.shutdown(0.5)
    say("took", 0, own_time() - start, False, 100)
"""


@pytest.mark.parametrize("mode", also_slow(["hang"], ["drip_body", "unread", "drip_headers", "refuse"]))
def test_a_flush_keeps_to_its_deadline_whatever_the_server_does(server: FaultServer, stage: Stage, mode: str) -> None:
    server.mode(mode)
    program = stage.run(FLUSHES, server.url)
    took = [line.split()[1:] for line in program.lines if line.startswith("took")]
    assert len(took) == 8
    for allowed, seconds, ok, pending in took:
        assert float(seconds) < float(allowed) + 0.2, took
        assert (ok, pending) == ("False", "100")
    server.mode("ok")
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program, expect=100)


DEAD = """
    import ctypes
    both(10)
    flusher = next(thread for thread in threading.enumerate() if thread.name.startswith("honeytrace-flusher"))
    until(lambda: honeytrace.stats().pending == 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(flusher.ident), ctypes.py_object(SystemExit))
    for i in range(1000):
        traced(f"wakes it {i}")  # an exception of this kind arrives when the thread runs
        flusher.join(0.02)
        if not flusher.is_alive():
            break
    assert not flusher.is_alive()
"""
FROZEN = """
    frozen = threading.Event()
    def freeze(frame, event, argument):
        ours = threading.current_thread().name.startswith("honeytrace-flusher")
        if ours and event == "call" and frame.f_code.co_name == "_pause":  # where it holds no lock
            frozen.set()
            threading.Event().wait()
    threading.setprofile(freeze)
    traced("first")
    assert frozen.wait(20)
"""


@pytest.mark.parametrize("accident", [DEAD, FROZEN], ids=["dead", "frozen"])
def test_a_flush_delivers_where_the_background_thread_is_gone(server: FaultServer, stage: Stage, accident: str) -> None:
    program = stage.run(
        accident
        + """
    both(100, "after ")
    start = clock()
    result = honeytrace.flush(10)
    say("flushed", result.ok, result.pending, clock() - start < 5)
    traced("at the end")
""",
        server.url,
    )
    assert "flushed True 0 True" in program.lines
    assert_exactly_once(server, program)
    assert "after 99" in program.returned
    assert all("running the flusher" in line for line in program.stderr.splitlines()), program.stderr


def test_a_key_that_is_refused_for_a_while_stops_nothing_but_the_delivery(server: FaultServer, stage: Stage) -> None:
    server.mode("status", status=401)
    program = stage.start("both(50); ready(); wait(); both(50, 'later '); assert honeytrace.flush(20)", server.url)
    program.ready()
    soon(lambda: server.requests)
    server.mode("ok")
    program.go().end()
    assert_exactly_once(server, program, expect=100)
    (said,) = program.stderr.splitlines()
    assert "401" in said
    assert KEY not in said


@pytest.mark.slow
def test_a_program_outlives_ten_seconds_without_a_server(server: FaultServer, stage: Stage) -> None:
    server.mode("refuse")
    program = stage.start(
        """
        ready()
        end = clock() + 12
        i = 0
        while clock() < end:
            traced(i)
            i += 1
            time.sleep(0.005)
        until(lambda: honeytrace.stats().pending == 0, 40)
        say("books", closed())
        """,
        server.url,
    ).ready()
    threading.Event().wait(10)
    server.mode("ok")
    program.end()
    assert "books True" in program.lines
    assert_exactly_once(server, program)
    assert len(program.returned) > 500
    assert_quiet(program, lines=1)


@pytest.fixture(scope="module")
def gave_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """A program for each first request that never ends: each waits half a minute."""
    together = Together(tmp_path_factory, LIVES_THROUGH_IT)
    together.run({name: [{"mode": name, "routes": ["batch"], "first": 1}] for name in ENDLESS})
    yield together.ended
    together.close()


@pytest.mark.slow
@pytest.mark.parametrize("endless", ENDLESS)
def test_a_request_that_never_ends_is_given_up_and_made_again(gave_up: dict[str, Ended], endless: str) -> None:
    one = gave_up[endless]
    assert one.program.process.returncode == 0, one.program.stderr
    assert "books True 100 100" in one.program.lines
    assert_nothing_lost(one.server, one.program, expect=100)
    assert max(arrived(one.server).values()) <= 2
    assert_quiet(one.program, lines=1)
