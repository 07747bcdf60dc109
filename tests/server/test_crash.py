"""The server killed under load: nothing that was answered 200 is missing, and clients deliver the rest afterwards."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from server_process import ServeProcess, event, uid

PROGRAM = """
import sys, honeytrace
honeytrace.init(api_key="k", server_url=sys.argv[1])
@honeytrace.trace
def work(number):
    return number
for line in sys.stdin:
    work(int(line))
result = honeytrace.flush(float(sys.argv[2]))
print(result, flush=True)
"""


def check(store: Path) -> None:
    connection = sqlite3.connect(store)
    found = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    assert found == [("ok",)]


def stored(store: Path) -> dict[str, dict[str, object]]:
    connection = sqlite3.connect(store)
    found = {row[0]: json.loads(row[1]) for row in connection.execute("SELECT event_id, body FROM events")}
    connection.close()
    return found


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_nothing_that_was_answered_is_missing_after_a_kill(store: Path, kills: int) -> None:
    answered: set[str] = set()
    updated: dict[str, int] = {}
    for _ in range(kills):
        with ServeProcess(store) as server:
            stop = threading.Event()

            def load(server: ServeProcess = server, stop: threading.Event = stop) -> None:
                with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
                    session = uid()
                    while not stop.is_set():
                        ids = [uid() for _ in range(random.randint(1, 40))]
                        body = {"events": [event(event_id=one, session_id=session) for one in ids]}
                        try:
                            if client.post("/v1/events/batch", json=body).status_code == 200:
                                answered.update(ids)
                            if client.put(f"/v1/events/{ids[0]}", json={"metrics": {"n": 1}}).status_code == 200:
                                updated[ids[0]] = 1
                        except httpx.TransportError:
                            return

            threads = [threading.Thread(target=load) for _ in range(4)]
            before = len(answered)
            for thread in threads:
                thread.start()
            end = time.monotonic() + 30
            while len(answered) < before + 300 and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(random.random() * 0.2)
            server.kill()
            stop.set()
            for thread in threads:
                thread.join()
        check(store)
    found = stored(store)
    assert len(answered) >= 300 * kills
    assert answered <= set(found)
    assert all(found[one]["metrics"] == {"n": 1} for one in updated)
    with ServeProcess(store) as server:
        assert server.search(("event_type", "is", "tool"))["count"] == sum(
            one["event_type"] == "tool" for one in found.values()
        )


def test_a_client_loses_nothing_across_a_restart(store: Path, private_home: Path) -> None:
    with ServeProcess(store) as server:
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, server.url, "60"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HONEYTRACE_HOME": str(private_home)},
        )
        assert program.stdin is not None

        def work(numbers: range) -> None:
            assert program.stdin is not None
            program.stdin.write("".join(f"{number}\n" for number in numbers))
            program.stdin.flush()

        work(range(200))
        end = time.monotonic() + 60
        while len(stored(store)) < 20 and time.monotonic() < end:
            time.sleep(0.02)
        server.kill()
        port = server.port
    work(range(200, 400))
    with ServeProcess(store, port=port):
        work(range(400, 600))
        out, _ = program.communicate(timeout=120)
        assert program.returncode == 0, out
    results = {one["outputs"]["result"] for one in stored(store).values() if one["event_type"] != "session"}  # type: ignore[index]
    assert results == set(range(600)), out
    check(store)


def test_a_server_that_is_told_to_stop_answers_what_it_has_begun(store: Path) -> None:
    answered: list[str] = []
    with ServeProcess(store) as server:

        def load() -> None:
            with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
                while True:
                    event_id = uid()
                    try:
                        if client.post("/v1/events", json=event(event_id=event_id)).status_code != 200:
                            return
                    except httpx.TransportError:
                        return
                    answered.append(event_id)

        thread = threading.Thread(target=load)
        thread.start()
        end = time.monotonic() + 30
        while len(answered) < 20 and time.monotonic() < end:
            time.sleep(0.01)
        server.process.terminate()
        assert server.process.wait(30) in (0, -15)
        thread.join()
    assert set(answered) <= set(stored(store))
