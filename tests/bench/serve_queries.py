"""Lists and searches over a large store: what `honeytrace serve` answers, and how fast.

    python tests/bench/serve_queries.py                                # 1,000,000 events; building takes minutes
    python tests/bench/serve_queries.py --store /tmp/big.db            # keeps the store, and uses it again

Prints p50 and p95 of each kind of question and of all lists and searches together, and the time to open a session of
10,000 events. Each question is asked with other values each time. Fails if a goal is missed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from serve_ingest import _WORDS, Server, event

from honeytrace.server.intake import rows
from honeytrace.server.writing import Transaction, connect, put_events

GOAL_MS = 100.0
GOAL_OPEN_MS = 1000.0
LARGE = str(uuid.UUID(int=1 << 80))


def build(path: Path, events: int) -> None:
    """Write the store, as the server would, in large transactions."""
    connection = connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    start, session, known = time.time() * 1000 - events * 50, "", set()
    for first in range(0, events, 10_000):
        batch = []
        for number in range(first, min(events, first + 10_000)):
            if number % 10 == 0:
                session = str(uuid.uuid4())
            inside = LARGE if first == 10_000 else session
            batch.append(event(number, inside, start + number * 50))
        connection.execute("BEGIN")
        put_events(rows(batch))(Transaction(connection, known))
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def questions(server: Server, sessions: list[str], until: float) -> dict[str, Callable[[], bytes]]:
    def page(**filters: object) -> Callable[[], bytes]:
        return lambda: server.get(
            "/ui/api/sessions?" + urllib.parse.urlencode({k: v() if callable(v) else v for k, v in filters.items()})
        )

    def search(*filters: tuple[str, str, Any], **more: Any) -> Callable[[], bytes]:
        def ask() -> bytes:
            made = [
                {"field": field, "operator": operator, "value": value() if callable(value) else value}
                for field, operator, value in filters
            ]
            given = {name: value() if callable(value) else value for name, value in more.items()}
            return server.post("/v1/events/search", orjson.dumps({"filters": made, "limit": 100, **given}))

        return ask

    words = lambda: random.choice(_WORDS)  # noqa: E731
    hour = lambda: until - random.random() * 3.6e6 * 10  # noqa: E731
    dates = lambda: {"start_time": _iso(hour() - 60_000), "end_time": _iso(hour())}  # noqa: E731
    return {
        "list: newest": page(),
        "list: until some hour": page(until=hour),
        "list: a word": page(q=words),
        "list: two words": page(q=lambda: f"{words()} {words()} "),
        "list: the beginning of a word": page(q=lambda: words()[:3]),
        "list: a name": page(name=lambda: f"tool {random.randrange(10) * 4 + 2}"),
        "list: type and error": page(type="model", error=1),
        "list: a user": page(user=lambda: f"user-{random.randrange(500)}"),
        "list: metadata": page(**{"meta.tenant": lambda: f"tenant-{random.randrange(200)}"}),
        "list: word, type and source": page(q=words, type="tool", source="prod"),
        "search: session_id is": search(("session_id", "is", lambda: random.choice(sessions))),
        "search: all, a later page": search(page=lambda: random.randrange(1, 200)),
        "search: event_name is": search(("event_name", "is", lambda: f"chain {random.randrange(10) * 4}")),
        "search: event_type is not": search(("event_type", "is not", "session"), page=lambda: random.randrange(1, 50)),
        "search: error exists": search(("error", "exists", None)),
        "search: metadata is": search(("metadata.tenant", "is", lambda: f"tenant-{random.randrange(200)}")),
        "search: metadata number": search(
            ("metadata.total_tokens", "greater than", lambda: 880 + random.random() * 15)
        ),
        "search: duration and type": search(("duration", "greater than", 690), ("event_type", "is", "model")),
        "search: dates": search(dateRange=dates),
    }


def _iso(ms: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + "Z"


def timed(ask: Callable[[], bytes], times: int) -> list[float]:
    delays = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        delays.append((time.perf_counter() - began) * 1000)
    return sorted(delays)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=30, help="how often each question is asked")
    parser.add_argument("--store", type=Path, help="keep the store here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or Path(folder) / "traces.db"
        if not store.exists():
            began = time.perf_counter()
            build(store, arguments.events)
            print(f"built {store} in {time.perf_counter() - began:.0f} s", flush=True)
        server = Server(store)
        try:
            return measure(server, arguments.times)
        finally:
            server.stop()


def measure(server: Server, times: int) -> int:
    began = time.perf_counter()
    ready = {"filters": [{"field": "metadata.tenant", "operator": "is", "value": "tenant-0"}], "limit": 1}
    while True:
        try:
            answer = orjson.loads(server.post("/v1/events/search", orjson.dumps({"limit": 1})))
            server.post("/v1/events/search", orjson.dumps(ready))
            break
        except SystemExit as late:
            if "503" not in str(late):
                raise
    print(f"{answer['count']:,} events; the index was there after {time.perf_counter() - began:.0f} s", flush=True)
    sessions = [one["session_id"] for one in orjson.loads(server.get("/ui/api/sessions?limit=500"))["sessions"]]
    together: list[float] = []
    for what, ask in questions(server, sessions, answer["events"][0]["start_time"]).items():
        delays = timed(ask, times)
        together += delays
        print(
            f"{what:32} p50 {delays[len(delays) // 2]:8.1f} ms   p95 {delays[int(len(delays) * 0.95)]:8.1f} ms",
            flush=True,
        )
    together.sort()
    p95 = together[int(len(together) * 0.95)]
    print(f"{'all of these':32} p50 {together[len(together) // 2]:8.1f} ms   p95 {p95:8.1f} ms")
    opened = timed(lambda: server.get(f"/ui/api/sessions/{LARGE}"), 5)[2]
    print(f"{'open a session of 10,000 events':32} {opened:8.0f} ms")
    for path in ("/ui/api/overview", "/ui/api/facets"):
        print(f"{path:32} {timed(lambda path=path: server.get(path), 3)[1]:8.0f} ms")
    return int(p95 > GOAL_MS or opened > GOAL_OPEN_MS)


if __name__ == "__main__":
    sys.exit(main())
