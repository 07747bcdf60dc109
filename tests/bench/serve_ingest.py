"""Ingest over HTTP: batches of 100 events of 1 KB into a real `honeytrace serve`, by default held to one core.

    python tests/bench/serve_ingest.py                       # 100,000 events, 16 connections, server on one core
    python tests/bench/serve_ingest.py --events 1000000 --store /tmp/big.db

Prints events per second until all answers had arrived (each after its commit), the delay of answers, and how long
after the last answer the last event was found by a search. Fails if an event is missing, or below the goal.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import orjson

GOAL = 10_000
WORDS_DONE = {"field": "metadata.tenant", "operator": "is", "value": "tenant-199"}  # waits for the whole index
_WORDS = [f"{random.Random(number).randbytes(4).hex()[: 3 + number % 6]}" for number in range(20_000)]


def event(number: int, session: str, start: float) -> dict[str, object]:
    """An event of about 1 KB on the wire."""
    chosen = random.choices(_WORDS, k=110)
    kind = ("chain", "model", "tool", "tool")[number % 4]
    return {
        "event_id": str(uuid.uuid4()),
        "session_id": session,
        "event_type": kind,
        "event_name": f"{kind} {number % 40}",
        "source": ("dev", "prod")[number // 1000 % 2],
        "inputs": {"question": " ".join(chosen[:60])},
        "outputs": {"result": " ".join(chosen[60:])},
        "config": {"model": ("gpt-4o", "claude", "llama")[number % 3]} if kind == "model" else {},
        "metadata": {"total_tokens": number % 900, "cost": 0.0001 * (number % 50), "tenant": f"tenant-{number % 200}"},
        "user_properties": {"user_id": f"user-{number // 10 % 500}"},
        "start_time": start,
        "end_time": start + number % 700,
        "duration": number % 700,
        **({"error": "ValueError: no"} if number % 97 == 0 else {}),
    }


def bodies(events: int, size: int = 100, per_session: int = 10) -> list[bytes]:
    """Encoded batches."""
    made, session = [], ""
    now = time.time() * 1000 - events * 10
    for first in range(0, events, size):
        batch = []
        for number in range(first, min(events, first + size)):
            if number % per_session == 0:
                session = str(uuid.uuid4())
            batch.append(event(number, session, now + number * 10))
        made.append(orjson.dumps({"events": batch}))
    return made


class Server:
    """A `serve` process of its own, on any free port, perhaps held to one core."""

    def __init__(self, store: Path, core: int | None = None) -> None:
        code = (
            "import argparse; from honeytrace.server import command; p = argparse.ArgumentParser();"
            "p.add_argument('--store'); command.add_arguments(p); raise SystemExit(command.run(p.parse_args()))"
        )
        command = [sys.executable, "-c", code, "--store", str(store), "--port", "0"]
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def cpu(self) -> float:
        """Seconds of CPU it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def post(self, path: str, body: bytes, connection: http.client.HTTPConnection | None = None) -> bytes:
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {content[:300]!r}")
        return content

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {content[:300]!r}")
        return content

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def ingest(server: Server, batches: list[bytes], connections: int) -> tuple[float, list[float]]:
    """Send all batches over some connections; return the seconds and the delay of each answer."""
    delays: list[float] = []
    waiting = iter(batches)
    lock = threading.Lock()

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return
            began = time.perf_counter()
            server.post("/v1/events/batch", body, connection)
            delays.append(time.perf_counter() - began)

    began = time.perf_counter()
    threads = [threading.Thread(target=send) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, sorted(delays)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--cores", choices=("one", "all"), default="one", help="what the server may use")
    parser.add_argument("--store", type=Path, help="keep the store here (default: a temporary one)")
    arguments = parser.parse_args()
    batches = bodies(arguments.events)
    size = sum(map(len, batches)) / arguments.events
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or Path(folder) / "traces.db"
        server = Server(store, 0 if arguments.cores == "one" and sys.platform == "linux" else None)
        try:
            server.post("/v1/events/batch", bodies(100)[0])
            cpu = server.cpu()
            seconds, delays = ingest(server, batches, arguments.connections)
            used = server.cpu() - cpu
            began = time.perf_counter()
            server.post("/v1/events/search", orjson.dumps({"limit": 1}))
            found = time.perf_counter() - began
            began = time.perf_counter()
            while b"event_id" not in server.post(
                "/v1/events/search", orjson.dumps({"filters": [WORDS_DONE], "limit": 1})
            ):
                pass
            words = time.perf_counter() - began
            total = server.cpu() - cpu
        finally:
            server.stop()
        connection = sqlite3.connect(store)
        (stored,) = connection.execute("SELECT count(*) FROM events WHERE event_type <> 'session'").fetchone()
        connection.close()
    rate = arguments.events / seconds
    print(f"{arguments.events} events of {size:.0f} bytes in {seconds:.2f} s: {rate:,.0f} events/s committed")
    p50, p95 = (delays[int(len(delays) * part)] * 1000 for part in (0.5, 0.95))
    print(f"answers after {p50:.1f} ms (p50), {p95:.1f} ms (p95)")
    until_answered, until_indexed = (cpu / arguments.events * 1e6 for cpu in (used, total))
    print(
        f"server CPU {until_answered:.0f} us/event (a core of its own takes {1e6 / until_answered:,.0f} events/s),"
        f" with all indexing {until_indexed:.0f}"
    )
    print(f"found by search {found * 1000:.0f} ms after the last answer, by its words {words * 1000:.0f} ms later")
    if stored < arguments.events:
        print(f"LOST: {arguments.events - stored}")
        return 1
    return int(rate < GOAL)


if __name__ == "__main__":
    sys.exit(main())
