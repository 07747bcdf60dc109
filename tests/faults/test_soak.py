"""A seeded minute of everything at once: faults, kills, forks and restarts; in the end the books close."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from faults_programs import Program, Stage, arrived

WORKING = """
    chance = random.Random(int(os.environ["T_SEED"]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def work(name, seed):
        chance = random.Random(seed)
        i = 0
        while not stop.is_set():
            poison = "poison-" if chance.random() < 0.01 else ""
            n = f"{poison}{os.getpid()}-{name}-{i}"
            if chance.random() < 0.3:
                with honeytrace.session("together"):
                    traced(n)
                    traced(n + "-again")
                    honeytrace.enrich_session(metadata={"seen": True})
            else:
                traced(n)
            i += 1
            time.sleep(chance.expovariate(150))

    threads = [threading.Thread(target=work, args=(name, chance.random())) for name in range(3)]
    for thread in threads:
        thread.start()
    ready()
    children = []
    while not stop.wait(chance.expovariate(2)):
        pid = os.fork()
        if pid == 0:
            for i in range(chance.randrange(20)):
                traced(f"child-{os.getpid()}-{i}")
            chance.random() < 0.5 and os._exit(0)
            stop.set()
            sys.exit(0)
        children.append(pid)
        assert closed() is True, closed()
    for thread in threads:
        thread.join()
    for pid in children:
        os.waitpid(pid, 0)
    chance.random() < 0.5 and honeytrace.flush(1)
    say("books", closed())
"""

FAULTS: list[list[dict[str, Any]]] = [
    *[[{"mode": "ok"}]] * 6,
    [{"mode": "refuse"}],
    [{"mode": "reset"}],
    [{"mode": "close"}],
    [{"mode": "hang"}],
    [{"mode": "unread"}],
    [{"mode": "lost", "first": 3}],
    [{"mode": "status", "status": 500}],
    [{"mode": "status", "status": 503, "retry_after": 0}],
    [{"mode": "status", "status": 429, "retry_after": 1, "first": 4}],
    [{"mode": "status", "status": 401, "first": 2}],
    [{"mode": "partial", "stored": 5, "routes": ["batch"], "first": 4}],
    [{"mode": "drip_body"}],
    [{"mode": "cut_length", "first": 2}],
    [{"mode": "html"}],
    [{"mode": "gzip", "bytes": 1_000_000}],
    [{"mode": "limit", "bytes": 20_000}],
    [{"mode": "poison", "marker": "poison-"}],
    [{"mode": "poison", "marker": "poison-", "status": 422}],
    [{"mode": "slow", "seconds": 0.3}],
    [{"mode": "missing", "routes": ["batch"]}],
]


def set_aside(home: Path) -> set[str]:
    """The calls that are among the dead letters."""
    return {
        n.decode()
        for path in home.rglob("dead-letters")
        for n in re.findall(rb'"inputs":{"n":"([^"]+)"', path.read_bytes())
    }


def end(program: Program, chance: random.Random) -> Program:
    """Kill it, or let it end."""
    if chance.random() < 0.6:
        program.send(signal.SIGKILL)
        return program.end(code=-signal.SIGKILL)
    program.send(signal.SIGTERM)
    program.end()
    assert "books True" in program.lines, (program.lines, program.stderr)
    return program


@pytest.mark.parametrize(
    ("seconds", "seed"), [(2, 11), pytest.param(60, 12, marks=pytest.mark.slow)], ids=["2 s", "60 s"]
)
def test_whatever_happens_what_was_recorded_is_delivered_or_set_aside(
    server: FaultServer, stage: Stage, seconds: float, seed: int
) -> None:
    chance = random.Random(seed)
    running: list[Program] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        server.modes([dict(mode) for mode in chance.choice(FAULTS)])
        while len(running) < 3:
            running.append(stage.start(WORKING, server.url, dev=False, T_SEED=str(chance.randrange(1 << 30))).ready())
        time.sleep(chance.uniform(0.1, 0.8))
        if chance.random() < 0.5:
            end(running.pop(chance.randrange(3)), chance)
    for program in running:
        end(program, chance)
    server.mode("ok")
    programs = list(stage.programs)
    stage.deliver_the_rest(server.url)

    found, aside = arrived(server), set_aside(stage.home)
    returned = [n for program in programs for n in program.returned]
    assert len(returned) > 50 * seconds
    lost = [n for n in returned if n not in found and n not in aside]
    assert not lost, f"{len(lost)} of {len(returned)} lost: {lost[:20]}"
    assert all(n.startswith("poison-") for n in aside), [n for n in aside if not n.startswith("poison-")][:20]
    assert stage.segments() == []
    unexpected = [
        program.stderr for program in programs if "Traceback" in program.stderr or "failed while" in program.stderr
    ]
    assert not unexpected, unexpected[0]
