"""The index beside the store: whoever writes, whatever happens to the file, answers are right and come at once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from itertools import islice
from pathlib import Path
from typing import Any

from server_process import ServeProcess, event, uid, until

from honeytrace._event import Event
from honeytrace.exporters.local import LocalExporter


def write(store: Path, *records: tuple[str, str, dict[str, Any]]) -> None:
    exporter = LocalExporter(store)
    batch = [Event(kind, one.encode(), json.dumps(body).encode(), 0) for kind, one, body in records]  # type: ignore[arg-type]
    exporter.export(batch, time.monotonic() + 20)
    exporter.close()


def summary(server: ServeProcess, session_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/ui/api/sessions/{session_id}").json()["summary"]
    return found


def test_what_programs_write_directly_is_found(store: Path) -> None:
    session_id, event_id = uid(), uid()
    with ServeProcess(store) as server:
        full = {**event(event_name="direct"), "event_id": event_id, "session_id": session_id}
        write(store, ("session", session_id, {"session_name": "mine"}), ("event", event_id, full))
        assert server.search(("event_name", "is", "direct"))["count"] == 1
        assert summary(server, session_id)["name"] == "mine"
        write(store, ("update", event_id, {"metadata": {"cost": 0.5, "total_tokens": 7}}))
        assert (summary(server, session_id)["cost"], summary(server, session_id)["tokens"]) == (0.5, 7)


def test_an_update_that_came_before_its_event_is_no_event_yet_and_stays_on_top(store: Path) -> None:
    event_id = uid()
    with ServeProcess(store) as server:
        write(store, ("update", event_id, {"feedback": {"rating": 5}}))
        assert server.get(f"/v1/events/{event_id}").status_code == 404
        assert server.search()["count"] == 0
        assert server.post("/v1/events", event(event_id=event_id)).status_code == 200
        assert server.event(event_id)["feedback"] == {"rating": 5}
        assert server.search(("feedback.rating", "is", 5))["count"] == 1


def test_roll_ups_are_right_after_any_order_of_writes(store: Path) -> None:
    session_id, ids = uid(), [uid() for _ in range(4)]
    with ServeProcess(store) as server:
        for number, one in enumerate(ids):
            metadata = {"total_tokens": 10, "cost": 0.25} if number else {"prompt_tokens": 3, "completion_tokens": 4}
            times = {"start_time": 1000.0 + number, "end_time": 2000.0 + number, "duration": 1000}
            error = {"error": "no"} if number == 2 else {}
            sent = event(event_id=one, session_id=session_id, metadata=metadata, **times, **error)
            server.post("/v1/events", sent)
        server.post(
            "/v1/sessions", {"session_id": session_id, "session_name": "s", "start_time": 999, "end_time": 2999}
        )
        found = summary(server, session_id)
        assert (found["events"], found["errors"], found["tokens"], found["cost"]) == (4, 1, 37, 0.75)
        assert (found["start_time"], found["end_time"], found["duration"], found["status"]) == (
            999,
            2999,
            2000,
            "error",
        )
        server.post("/v1/events", event(event_id=ids[2], session_id=session_id, metadata={"total_tokens": 1}))
        found = summary(server, session_id)
        assert (found["events"], found["errors"], found["tokens"], found["cost"]) == (4, 0, 28, 0.5)
        assert found["status"] == "ok"


def test_an_event_that_moves_to_another_session_counts_there(store: Path) -> None:
    one, other, event_id = uid(), uid(), uid()
    with ServeProcess(store) as server:
        server.post("/v1/events", event(event_id=event_id, session_id=one))
        server.post("/v1/events", event(event_id=event_id, session_id=other))
        assert (summary(server, one)["events"], summary(server, other)["events"]) == (0, 1)


def test_words_of_older_versions_are_not_found(store: Path) -> None:
    event_id = uid()
    with ServeProcess(store) as server:
        server.post("/v1/events", event(event_id=event_id, inputs={"q": "grünes Wachs"}))
        assert len(server.get("/ui/api/sessions?q=wachs").json()["sessions"]) == 1
        server.post("/v1/events", event(event_id=event_id, inputs={"q": "honey"}))
        assert server.get("/ui/api/sessions?q=wachs").json()["sessions"] == []


def test_a_missing_damaged_or_foreign_index_is_made_again(store: Path) -> None:
    index = store.with_name("traces.index.db")
    with ServeProcess(store) as server:
        server.post("/v1/events/batch", {"events": [event() for _ in range(30)]})
        assert server.search(("event_type", "is", "tool"))["count"] == 30
    index.unlink()
    with ServeProcess(store) as server:
        assert server.search(("event_type", "is", "tool"))["count"] == 30
    for suffix in ("-wal", "-shm"):
        index.with_name(index.name + suffix).unlink(missing_ok=True)
    index.write_bytes(b"no database at all" * 500)
    with ServeProcess(store) as server:
        assert server.search(("event_type", "is", "tool"))["count"] == 30
    with sqlite3.connect(index) as connection:
        connection.execute("UPDATE state SET value = 'another' WHERE key = 'store'")
    connection.close()
    with ServeProcess(store) as server:
        assert server.search(("event_type", "is", "tool"))["count"] == 30
        index.unlink()  # while it runs
        assert server.search(("event_type", "is", "tool"))["count"] == 30


def test_another_store_in_the_place_of_this_one_is_noticed(store: Path) -> None:
    with ServeProcess(store) as server:
        server.post("/v1/events/batch", {"events": [event() for _ in range(30)]})
        for path in store.parent.glob("traces.db*"):
            path.unlink()
        session_id = uid()
        assert server.post("/v1/events", event(session_id=session_id)).status_code == 200
        assert server.event(session_id)["event_type"] == "session"
        assert server.search(("event_type", "is", "tool"))["count"] == 1


def test_several_servers_and_programs_share_a_store(store: Path) -> None:
    with ServeProcess(store) as one, ServeProcess(store) as other:
        session_id = uid()
        for number in range(10):
            server = (one, other)[number % 2]
            ids = [uid(), uid()]
            sent = [event(event_id=each, session_id=session_id, event_name=f"n{number}") for each in ids]
            assert server.post("/v1/events/batch", {"events": sent}).status_code == 200
            direct = uid()
            write(store, ("event", direct, {**event(), "event_id": direct, "session_id": session_id}))
            for reader in (one, other):
                assert reader.search(("event_name", "is", f"n{number}"), ("event_type", "is", "tool"))["count"] == 2
        for reader in (one, other):
            assert summary(reader, session_id)["events"] == 30


def test_events_deleted_from_the_store_leave_the_index(store: Path) -> None:
    from honeytrace.server.index import Index

    keep = uid()
    with ServeProcess(store) as server:
        server.post("/v1/events/batch", {"events": [event(session_id=uid()) for _ in range(5)]})
        server.post("/v1/events", event(session_id=keep))
        assert server.search()["count"] == 12
        with sqlite3.connect(store, timeout=20) as connection:
            connection.execute("DELETE FROM events WHERE session_id <> ?", (keep,))
        connection.close()
        index = Index(store)
        index.look_for_deleted()
        index.close()
        assert server.search()["count"] == 2
        assert [one["session_id"] for one in server.get("/ui/api/sessions").json()["sessions"]] == [keep]


def test_a_write_right_after_the_start_is_told(store: Path) -> None:
    from honeytrace.server.index import Index
    from honeytrace.server.live import Watcher

    async def first_change() -> str:
        index = Index(store)
        watcher = Watcher(index)
        listening = watcher.listen()
        assert (await anext(listening)).startswith(b":")
        watcher.start()
        try:
            write(store, ("event", (mine := uid()), {**event(), "event_id": mine, "session_id": session_id}))
            return (await asyncio.wait_for(anext(listening), 10)).decode()
        finally:
            await listening.aclose()
            watcher.stop()

    session_id, earlier = uid(), uid()
    write(store, ("event", earlier, {**event(), "event_id": earlier, "session_id": uid()}))
    assert session_id in asyncio.run(first_change())


def test_changes_are_told_while_they_happen(store: Path) -> None:
    with ServeProcess(store) as server, ServeProcess(store) as other:
        session_id = uid()
        with server.client.stream("GET", "/ui/api/live") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith(":")
            other.post("/v1/events", event(session_id=session_id))
            data = next(line for line in islice(lines, 20) if line.startswith("data: "))  # a sign of life every 15 s
        assert json.loads(data[6:])["sessions"] == [session_id]
        until(lambda: server.search(("session_id", "is", session_id))["count"] == 2)
        with server.client.stream("GET", "/ui/api/live") as stream:
            assert next(stream.iter_lines()).startswith(":")
            began = time.monotonic()
            server.process.terminate()
            server.process.wait(30)
            assert time.monotonic() - began < 4.5  # it does not wait for who only listens
