"""Whatever end a process comes to, each call that returned is delivered: by itself, or by the next one."""

from __future__ import annotations

import random
import signal
import time

import pytest
from fault_server import FaultServer
from faults_programs import (
    Stage,
    also_slow,
    arrived,
    assert_exactly_once,
    assert_nothing_lost,
    assert_quiet,
    events,
    soon,
)  # fmt: skip

SEED = 20_241


def test_a_normal_exit_without_flush_delivers_everything_once(server: FaultServer, stage: Stage) -> None:
    program = stage.run("ready(); both(100)", server.url)
    assert_exactly_once(server, program, expect=100)
    assert_quiet(program)
    assert stage.segments() == []


@pytest.mark.parametrize(
    ("raises", "code", "error"),
    [("sys.exit(3)", 3, "SystemExit: 3"), ("raise ValueError('mine')", 1, "ValueError: mine")],
    ids=["sys.exit", "uncaught exception"],
)
def test_an_end_inside_of_traced_calls_delivers_them_too(
    server: FaultServer, stage: Stage, raises: str, code: int, error: str
) -> None:
    program = stage.run(
        f"""
        @honeytrace.trace
        def inner(k):
            traced("below")
            {raises}

        @honeytrace.trace
        def outer(k):
            inner(k)

        both(20)
        outer(1)
        """,
        server.url,
        code=code,
    )
    assert_exactly_once(server, program, expect=21)
    ended = {event["event_name"]: event["error"] for event in events(server) if event.get("error")}
    assert ended.keys() == {"inner", "outer"}
    assert all(error.split(":")[0] in said for said in ended.values()), ended
    last = program.stderr.strip().splitlines()
    assert not last if code == 3 else last[-1] == error


def test_sigterm_by_default_leaves_everything_to_the_next_process(server: FaultServer, stage: Stage) -> None:
    program = stage.start("both(100); ready(); traced('last'); wait()", server.url).ready()
    soon(lambda: "last" in program.returned)
    program.send(signal.SIGTERM)
    program.end(code=-signal.SIGTERM)
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program, expect=101)
    assert stage.segments() == []


@pytest.mark.parametrize("handler", ["sys.exit(0)", "traced('in the handler'); honeytrace.flush(5); sys.exit(0)"])
def test_sigterm_with_a_handler_of_the_program_delivers_everything_once(
    server: FaultServer, stage: Stage, handler: str
) -> None:
    program = stage.start(
        f"""
        def handle(*_):
            {handler}
        signal.signal(signal.SIGTERM, handle)
        both(50)
        ready()
        i = 0
        while True:
            traced(f"more {{i}}")
            i += 1
            time.sleep(0.0005)
        """,
        server.url,
    ).ready()
    soon(lambda: len(program.returned) > 60)
    program.send(signal.SIGTERM)
    program.end()
    # The signal may come between the end of a call and the line that notes it: that call has arrived as well.
    assert_exactly_once(server, program)
    assert_quiet(program)


@pytest.mark.parametrize("kills", also_slow([8], [20]))
def test_what_processes_killed_at_random_moments_recorded_is_there_after_one_restart(
    server: FaultServer, stage: Stage, kills: int
) -> None:
    chance = random.Random(SEED)
    body = """
        def work(name):
            i = 0
            while True:
                for _ in range(30):
                    traced(f"{os.getpid()}-{name}-{i}")
                    i += 1
                time.sleep(0.01)
        threading.Thread(target=work, args=("thread",), daemon=True).start()
        ready()
        work("main")
    """
    killed = []
    for _ in range(kills // 4):
        four = [stage.start(body, server.url, dev=False) for _ in range(4)]
        for program in four:
            program.ready()
        for program in four:
            time.sleep(chance.uniform(0, 0.1))
            program.send(signal.SIGKILL)
        killed += [program.end(code=-signal.SIGKILL) for program in four]
    assert sum(len(program.returned) for program in killed) > 30 * kills
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, *killed)
    assert stage.segments() == []


def test_a_process_killed_while_a_batch_is_on_its_way_delivers_it_again(server: FaultServer, stage: Stage) -> None:
    server.mode("hang")
    program = stage.start("both(100); ready(); wait()", server.url).ready()
    soon(lambda: server.requests)
    program.send(signal.SIGKILL)
    program.end(code=-signal.SIGKILL)
    server.mode("ok")
    stage.deliver_the_rest(server.url)
    assert_exactly_once(server, program, expect=100)


def test_os_exit_loses_nothing(server: FaultServer, stage: Stage) -> None:
    program = stage.run("both(100); os._exit(7)", server.url, code=7)
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program, expect=100)


def test_what_was_delivered_before_a_kill_is_not_delivered_again(server: FaultServer, stage: Stage) -> None:
    program = stage.start("both(50); honeytrace.flush(20); both(50, 'later '); ready(); wait()", server.url).ready()
    program.send(signal.SIGKILL)
    program.end(code=-signal.SIGKILL)
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program, expect=100)
    assert all(arrived(server)[str(i)] == 1 for i in range(50))


STORM = """
    stop = threading.Event()
    def work(name):
        i = 0
        while not stop.is_set():
            traced(f"parent-{name}-{i}")
            i += 1
            time.sleep(0.001)
    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    traced("first")
    honeytrace.flush(10)  # so that the children need not load what delivers, all at once
    children = []
    for number in range(12):
        pid = os.fork()
        if pid == 0:
            for i in range(5):
                traced(f"child-{number}-{i}")
            END
        children.append(pid)
        time.sleep(0.005)
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    stop.set()
    for thread in threads:
        thread.join()
    say("codes", set(codes))
    say("books", closed())
"""


@pytest.mark.parametrize(
    "end",
    also_slow(
        ["sys.exit(0)"], ["os._exit(0 if honeytrace.flush(10).ok else 1)", "honeytrace.shutdown(10); os._exit(0)"]
    ),
)
def test_a_storm_of_forks_under_four_tracing_threads_delivers_everything_once(
    server: FaultServer, stage: Stage, end: str
) -> None:
    program = stage.run(STORM.replace("END", end), server.url)
    assert program.lines[:2] == ["codes {0}", "books True"]
    assert_exactly_once(server, program)
    assert sum(n.startswith("child") for n in program.returned) == 12 * 5
    assert_quiet(program)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)"])
def test_a_storm_of_forks_before_the_first_delivery_loses_nothing(server: FaultServer, stage: Stage, end: str) -> None:
    program = stage.run(STORM.replace("END", end).replace("honeytrace.flush(10)", "pass"), server.url)
    assert program.lines[:2] == ["codes {0}", "books True"]
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program)
    assert sum(n.startswith("child") for n in program.returned) == 12 * 5


@pytest.mark.parametrize("method", also_slow(["fork"], ["spawn", "forkserver"]))
def test_a_pool_of_multiprocessing_delivers_everything_once(server: FaultServer, stage: Stage, method: str) -> None:
    program = stage.run(
        f"""
        import multiprocessing
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            traced("parent before")
            pool = context.Pool(3)
            pool.map(traced, range(60), chunksize=5)
            traced("parent between")
            pool.close()
            pool.join()
            traced("parent after")
        """,
        server.url,
    )
    assert_exactly_once(server, program, expect=63)
    # On a busy machine a worker may end before it has imported httpx: it says so, and the parent delivers.
    assert_quiet(program, lines=1, processes=3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_of_concurrent_futures_delivers_everything_once(
    server: FaultServer, stage: Stage, method: str
) -> None:
    program = stage.run(
        f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        if __name__ == "__main__":
            with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({method!r})) as pool:
                list(pool.map(traced, range(40)))
            traced("parent after")
        """,
        server.url,
    )
    assert_exactly_once(server, program, expect=41)
    assert_quiet(program)


def test_workers_that_a_pool_terminates_lose_nothing(server: FaultServer, stage: Stage) -> None:
    program = stage.run(
        """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(3) as pool:
            pool.map(traced, range(60), chunksize=5)
        """,
        server.url,
    )
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program, expect=60)


def test_prefork_workers_some_of_them_killed_lose_nothing(server: FaultServer, stage: Stage) -> None:
    program = stage.run(
        """
        chance = random.Random(7)
        def worker(number):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            try:
                for i in range(100_000):
                    traced(f"worker-{number}-{i}")
                    time.sleep(0.001)
            except SystemExit:
                pass
            sys.exit(0)
        def fork(number):
            pid = os.fork()
            if pid == 0:
                worker(number)
            return pid
        traced("master")
        honeytrace.flush(10)  # so that the workers need not load what delivers, all at once
        workers = [fork(number) for number in range(4)]
        for number in range(4, 9):
            time.sleep(0.04)
            victim = workers.pop(chance.randrange(4))
            os.kill(victim, signal.SIGKILL if number % 2 else signal.SIGTERM)
            os.waitpid(victim, 0)
            workers.append(fork(number))
            traced(f"master {number}")
        time.sleep(0.04)
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        say("codes", sorted({os.waitpid(pid, 0)[1] for pid in workers}))
        """,
        server.url,
    )
    assert program.lines[0] in ("codes [0]", f"codes [0, {signal.SIGTERM}]")
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program)
    assert len(program.returned) > 100
    assert_quiet(program)
