"""init, shutdown and the end of the interpreter: no connection, no hang, no exception, nothing that is not ours."""

from __future__ import annotations

import pytest
from fault_server import FaultServer
from faults_programs import (
    KEY,
    Stage,
    also_slow,
    arrived,
    assert_exactly_once,
    assert_nothing_lost,
    assert_quiet,
    events,
    soon,
)  # fmt: skip


def test_init_makes_no_connection(server: FaultServer, stage: Stage) -> None:
    program = stage.run(
        "time.sleep(0.3); say('httpx' in sys.modules); say(honeytrace.flush(1).ok); honeytrace.init(); time.sleep(0.1)",
        server.url,
        HH_API_KEY=KEY,
        HH_API_URL=server.url,
    )
    assert program.lines[:2] == ["False", "True"]
    assert server.connections == 0
    assert_quiet(program)
    assert not stage.home.exists()


@pytest.mark.slow
def test_init_waits_for_nobody_who_hangs(server: FaultServer, stage: Stage) -> None:
    server.mode("unread")
    program = stage.run(
        """
        traced("before")
        start = clock()
        honeytrace.init(api_key="hh_test", server_url=os.environ["T_URL"])
        say("took", clock() - start)
        traced("after")
        """,
        server.url,
    )
    assert float(program.lines[0].split()[1]) < 0.5, program.lines
    server.mode("ok")
    stage.deliver_the_rest(server.url)
    assert_exactly_once(server, program, expect=2)


def test_shutdown_may_come_any_number_of_times_and_from_anywhere(server: FaultServer, stage: Stage) -> None:
    program = stage.run(
        """
        both(50)
        say(honeytrace.shutdown().ok, honeytrace.shutdown().ok, honeytrace.shutdown(0).ok)
        traced("recorded by nobody")
        threads = [threading.Thread(target=honeytrace.shutdown) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        honeytrace.init(api_key="hh_test", server_url=os.environ["T_URL"])
        traced("of the second life")
        atexit.register(honeytrace.shutdown)
        threads = [threading.Thread(target=honeytrace.shutdown) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
        server.url,
    )
    assert program.lines[0] == "True True True"
    found = arrived(server)
    assert found.keys() == set(program.returned) - {"recorded by nobody"}
    assert max(found.values()) == 1
    assert_quiet(program)


def test_a_call_that_is_open_at_shutdown_is_kept_for_the_next_process(server: FaultServer, stage: Stage) -> None:
    program = stage.run(
        """
        @honeytrace.trace
        def around(n):
            call("inside")
            honeytrace.shutdown()
            return n
        around("around")
        note("inside")
        note("around")
        """,
        server.url,
    )
    stage.deliver_the_rest(server.url)
    assert_exactly_once(server, program, expect=2)
    assert_quiet(program)


LATE = """
    import builtins
    class Late:
        def __init__(self, n):
            self.n = n
        def __del__(self, traced=traced):
            traced(self.n)
    both(20)
    def at_the_end():
        traced("handler")
        with honeytrace.span("in a handler"):
            traced("handler, in a span")
    atexit.register(at_the_end)
    in_the_module = Late("collected with the module")
    builtins.late = Late("collected last")
    in_a_cycle = [Late("collected in a cycle")]
    in_a_cycle.append(in_a_cycle)
"""


@pytest.mark.parametrize("mode", also_slow(["ok"], ["refuse", "hang"]))
def test_what_exit_handlers_and_finalisers_trace_is_kept(server: FaultServer, stage: Stage, mode: str) -> None:
    server.mode(mode)
    # A handler registered before the import of honeytrace runs after honeytrace's own.
    first = stage.folder / "sitecustomize.py"
    first.write_text(
        "import atexit, sys\natexit.register(lambda: sys.modules['__main__'].traced('very late handler'))\n"
    )
    program = stage.start(LATE, server.url, PYTHONPATH=_with(stage)).end()
    late = {"handler", "handler, in a span", "very late handler"}
    assert late <= set(program.returned), program.stderr
    assert_quiet(program, lines=0 if mode == "ok" else 2)
    server.mode("ok")
    stage.deliver_the_rest(server.url)
    assert_exactly_once(server, program) if mode != "hang" else assert_nothing_lost(server, program)


def _with(stage: Stage) -> str:
    from pathlib import Path

    import honeytrace

    return f"{stage.folder}:{Path(honeytrace.__file__).parents[1]}"


@pytest.mark.parametrize("mode", also_slow(["ok"], ["hang"]))
def test_daemon_threads_that_trace_while_the_interpreter_ends_neither_raise_nor_hang(
    server: FaultServer, stage: Stage, mode: str
) -> None:
    server.mode(mode)
    program = stage.run(
        """
        def work(name):
            for i in range(1_000_000):
                traced(f"{name}-{i}")
                time.sleep(0.0005)
        for name in range(3):
            threading.Thread(target=work, args=(name,), daemon=True).start()
        both(50, "main ")
        time.sleep(0.1)
        """,
        server.url,
    )
    assert program.seconds_to_leave < 2.7
    assert_quiet(program, lines=2 if mode == "hang" else 1)
    server.mode("ok")
    stage.deliver_the_rest(server.url)
    assert_nothing_lost(server, program)
    assert max(arrived(server).values()) == 1 or mode == "hang"


PASSWORD = "geheim-im-url"
SECRETIVE = """
    import logging
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    both(50)
    traced("poisoned")
    result = honeytrace.flush(1)
    say(result, honeytrace.stats(), repr(honeytrace.default_tracer if hasattr(honeytrace, "default_tracer") else ""))
    import gc
    for thing in gc.get_objects():
        if type(thing).__module__.partition(".")[0] == "honeytrace":
            try:
                say(repr(thing)[:2000])
            except Exception as error:
                say(type(error))
    honeytrace.shutdown(0.3)
"""


@pytest.mark.parametrize(
    "mode",
    also_slow(
        [{"mode": "status", "status": 401}],
        [
            {"mode": "refuse"},
            {"mode": "ok"},
            {"mode": "reset"},
            {"mode": "status", "status": 503},
            {"mode": "redirect", "to": "http://127.0.0.1:9/elsewhere"},
            {"mode": "poison", "marker": "poisoned"},
        ],
    ),
    ids=lambda mode: f"{mode['mode']} {mode.get('status', '')}".strip(),
)
def test_key_and_password_are_in_no_file_no_output_and_no_log(stage: Stage, mode: dict[str, object]) -> None:
    key = "hh_this_key_is_secret"
    with FaultServer(key=key) as server:
        server.modes([mode])
        url = server.url.replace("http://", f"http://somebody:{PASSWORD}@")
        program = stage.run(SECRETIVE, url, key=key)
        said = "\n".join(program.lines) + program.stderr
        assert "DEBUG" in said
        assert "FlushResult" in said
        assert "HoneyHiveExporter" in said
        files = [path for path in stage.home.rglob("*") if path.is_file()]
        assert files or mode["mode"] == "ok"
        for secret in (key, PASSWORD):
            assert secret not in said, next(line for line in said.splitlines() if secret in line)
            assert not [path for path in files if secret.encode() in path.read_bytes() or secret in str(path)]
        for path in (stage.home, *stage.home.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path


def test_another_key_and_another_server_never_get_what_was_recorded_for_the_first(stage: Stage) -> None:
    with FaultServer() as first, FaultServer() as second:
        first.mode("refuse")
        program = stage.run("both(50); os._exit(0)", first.url)
        first.mode("ok")
        others = [
            stage.run("traced('for the other key'); honeytrace.flush(10)", first.url, key="hh_other"),
            stage.run("traced('for the other server'); honeytrace.flush(10)", second.url),
        ]
        assert arrived(first) == {"for the other key": 1}
        assert arrived(second) == {"for the other server": 1}
        stage.deliver_the_rest(first.url)
        assert_exactly_once(first, program, others[0])
        assert arrived(second) == {"for the other server": 1}
        assert all(request.headers["authorization"] == "Bearer hh_other" for request in first.requests[:1])


def test_what_another_process_left_is_delivered_by_a_sibling_that_only_runs(server: FaultServer, stage: Stage) -> None:
    server.mode("refuse")
    left = stage.run("both(50); os._exit(0)", server.url)
    server.mode("ok")
    sibling = stage.start("ready(); wait()", server.url).ready()
    soon(lambda: len(events(server)) >= 50, 15)
    sibling.go().end()
    assert_exactly_once(server, left, expect=50)


def test_a_sibling_that_never_rests_delivers_what_another_process_left(server: FaultServer, stage: Stage) -> None:
    server.mode("refuse")
    left = stage.run("both(3000, 'left '); os._exit(0)", server.url)
    server.modes([{"mode": "slow", "seconds": 0.02}, {"mode": "ok"}])  # there is something new after every answer
    sibling = stage.start(
        """
        ready()
        def work(name):
            n = 0
            while not done:
                n += 1
                traced(f"{name} {n}")
                time.sleep(0.002)
        done = []
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads: thread.start()
        wait()
        done.append(True)
        for thread in threads: thread.join()
        """,
        server.url,
    ).ready()
    soon(lambda: sum(n.startswith("left ") for n in arrived(server)) == 3000, 20)
    sibling.go().end()
    assert_exactly_once(server, left, sibling)
