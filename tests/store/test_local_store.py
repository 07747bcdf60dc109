"""The local store as a file: private, shared, crash-safe, clear about what is wrong with it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from honeytrace import _config
from honeytrace._event import Event
from honeytrace.exceptions import ExportError
from honeytrace.exporters._store import Store, StoreError
from honeytrace.exporters.local import LocalExporter
from honeytrace.protocols import Exporter


def new_id() -> str:
    return str(uuid.uuid4())


def record(session_id: str, *, parent: str | None = None, **fields) -> Event:
    event_id = new_id()
    body = {"event_id": event_id, "session_id": session_id, "parent_id": parent or session_id}
    body |= {
        "event_type": "tool",
        "event_name": "t",
        "inputs": {},
        "start_time": 10.5,
        "duration": 1.5,
        **fields,
    }
    return Event("event", event_id.encode(), json.dumps(body).encode(), 0)


def opened(session_id: str, **fields) -> Event:
    return Event("session", session_id.encode(), json.dumps({"session_id": session_id, **fields}).encode(), 0)


def soon() -> float:
    return time.monotonic() + 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "traces.db"


@pytest.fixture
def exporter(path: Path):
    made = LocalExporter(path)
    yield made
    made.close()


WRITER = """
import json, sys, time, uuid
from honeytrace._event import Event
from honeytrace.exporters.local import LocalExporter
path, session, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
exporter = LocalExporter(path)
print("ready", flush=True)
sys.stdin.readline()
for batch in range(batches):
    records = []
    for n in range(20):
        i = str(uuid.uuid4())
        body = {"event_id": i, "session_id": session, "event_type": "tool", "inputs": {}}
        records.append(Event("event", i.encode(), json.dumps(body).encode(), 0))
    exporter.export(records, time.monotonic() + 20)
    if batch == 3:
        print("going", flush=True)
exporter.close()
print("done", flush=True)
"""


def writer(path: Path, session_id: str, batches: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), session_id, str(batches)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_the_exporter_is_one(exporter):
    assert isinstance(exporter, Exporter)


def test_making_an_exporter_touches_no_file(path):
    LocalExporter(path)
    assert not path.parent.exists()


def test_the_default_file_is_resolved_by_the_first_export(tmp_path, monkeypatch):
    exporter = LocalExporter()
    monkeypatch.setenv("HONEYTRACE_HOME", str(tmp_path / "elsewhere"))
    exporter.export([record(new_id())], soon())
    exporter.close()
    assert (tmp_path / "elsewhere" / "traces.db").exists()
    assert _config.home() == tmp_path / "elsewhere"


def test_folder_and_files_are_private(exporter, path):
    before = os.umask(0)
    try:
        exporter.export([record(new_id())], soon())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = list(path.parent.iterdir())
    assert len(files) == 3  # the file, its WAL and the WAL's index
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_body_is_stored_as_it_was_sent(exporter, path):
    event_id = new_id()
    body = b'{"event_id" : "%s","start_time":1763940000123123e-3, "inputs":{"a":"\\u00e9"}}' % event_id.encode()
    exporter.export([Event("event", event_id.encode(), body, 0)], soon())
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT body, start_time FROM events").fetchall() == [(body.decode(), 1763940000123.123)]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_listing_sessions_walks_an_index_and_sorts_nothing(exporter, path):
    exporter.export([opened(new_id(), start_time=1)], soon())
    connection = sqlite3.connect(path)
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT event_id FROM events WHERE event_type = 'session'"
        " ORDER BY start_time DESC, event_id DESC LIMIT 5"
    ).fetchall()
    connection.close()
    assert "sessions_by_time" in str(plan)
    assert "TEMP B-TREE" not in str(plan)


def test_a_session_is_summed_up(exporter, path):
    session_id = new_id()
    exporter.export(
        [
            opened(
                session_id,
                session_name="chat",
                source="dev",
                start_time=5,
                user_properties={"user_id": "ada"},
            ),
            record(session_id, metadata={"prompt_tokens": 10, "completion_tokens": 5}),
            record(session_id, metadata={"total_tokens": 7, "prompt_tokens": 99}, error="bad"),
            record(session_id, end_time=25.5, error=""),
        ],
        soon(),
    )
    with Store(path) as store:
        (found,) = store.sessions()
    assert (found.session_id, found.name, found.source, found.user) == (session_id, "chat", "dev", "ada")
    assert (found.events, found.errors, found.tokens) == (3, 1, 22)
    assert (found.start_time, found.end_time, found.duration) == (5, 25.5, 20.5)


def test_pages_of_sessions_miss_none_even_when_times_are_equal(exporter, path):
    ids = {new_id() for _ in range(9)}
    exporter.export([opened(one, start_time=n // 4) for n, one in enumerate(ids)], soon())
    with Store(path) as store:
        pages = [store.sessions(2)]
        while pages[-1]:
            pages.append(store.sessions(2, before=pages[-1][-1].session_id))
    listed = [one for page in pages for one in page]
    assert {one.session_id for one in listed} == ids
    assert len(listed) == 9
    times = [one.start_time or 0 for one in listed]
    assert times == sorted(times, reverse=True)


def test_a_unique_beginning_finds_a_session_and_an_ambiguous_one_names_the_choices(exporter, path):
    one, two = "aaaa0000" + new_id()[8:], "aaaa1111" + new_id()[8:]
    exporter.export([opened(one), record(one), opened(two)], soon())
    with Store(path) as store:
        assert [event["session_id"] for event in store.session("aaaa0")] == [one, one]
        with pytest.raises(StoreError, match=f"'aaaa' is ambiguous: it begins {one}, {two}"):
            store.session("aaaa")
        with pytest.raises(StoreError, match="no session begins with 'b'"):
            store.session("b")


def test_an_event_without_its_session_record_is_found_by_session_id(exporter, path):
    session_id = new_id()
    exporter.export([record(session_id)], soon())
    with Store(path) as store:
        assert len(store.session(session_id)) == 1


def test_changes_are_seen_once_each_and_a_changed_event_is_seen_again(exporter, path):
    session_id, first = new_id(), None
    first = record(session_id)
    with Store(path) as store:
        assert store.cursor() == 0
        exporter.export([first], soon())
        cursor, seen = store.changes_since(0)
        assert [one["event_id"] for one in seen] == [first.event_id]
        assert store.changes_since(cursor) == (cursor, [])
        exporter.export([first], soon())  # a repeat changes nothing
        assert store.changes_since(cursor) == (cursor, [])
        exporter.export([Event("update", first.id, b'{"metadata":{"x":1}}', 0)], soon())
        after, seen = store.changes_since(cursor)
        assert after > cursor
        assert [one["metadata"] for one in seen] == [{"x": 1}]
        exporter.export([Event("update", first.id, b'{"metadata":{"x":1}}', 0)], soon())
        assert store.changes_since(after) == (after, [])


def test_changes_come_in_pages_of_the_asked_size(exporter, path):
    exporter.export([record(new_id()) for _ in range(5)], soon())
    with Store(path) as store:
        cursor, first = store.changes_since(0, limit=3)
        _, rest = store.changes_since(cursor, limit=3)
    assert (len(first), len(rest)) == (3, 2)


def test_a_store_that_was_deleted_is_made_again_and_read_again(exporter, path):
    exporter.export([record(new_id()), record(new_id())], soon())
    with Store(path) as store:
        cursor = store.cursor()
        for file in path.parent.iterdir():
            file.unlink()
        exporter.export([record(new_id())], soon())
        cursor, seen = store.changes_since(cursor)
        assert (cursor, seen) == (0, [])
        assert len(store.changes_since(cursor)[1]) == 1


def test_a_batch_arrives_whole_or_not_at_all(exporter, path):
    good = record(new_id())
    bad = Event("event", new_id().encode(), b'{"event_id": ', 0)
    with pytest.raises(ExportError) as caught:
        exporter.export([good, bad], soon())
    assert caught.value.permanent
    with Store(path) as store:
        assert store.changes_since(0) == (0, [])
    exporter.export([good], soon())
    with Store(path) as store:
        assert len(store.changes_since(0)[1]) == 1


@pytest.mark.parametrize(
    "body", [b"[1]", b"", b"null", b'{"a": "\xff"}', b'{"metadata":' + b'{"a":' * 3000 + b"1" + b"}" * 3001]
)
@pytest.mark.parametrize("kind", ["event", "session", "update"])
def test_a_body_that_cannot_be_stored_is_a_permanent_error(exporter, kind, body):
    with pytest.raises(ExportError) as caught:
        exporter.export([Event(kind, new_id().encode(), body, 0)], soon())
    assert caught.value.permanent


def test_a_locked_store_is_waited_for_until_the_deadline(exporter, path):
    exporter.export([record(new_id())], soon())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    with pytest.raises(ExportError, match="locked by another process") as caught:
        exporter.export([record(new_id())], start + 0.3)
    assert 0.15 < time.monotonic() - start < 3
    assert not caught.value.permanent
    other.execute("COMMIT")
    exporter.export([record(new_id())], soon())
    other.close()


def test_a_damaged_file_is_an_export_error_that_names_it(exporter, path):
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(ExportError, match="traces.db is damaged, or no honeytrace store") as caught:
        exporter.export([record(new_id())], soon())
    assert not caught.value.permanent
    with pytest.raises(StoreError, match="damaged"):
        Store(path).sessions()


def test_a_full_disk_is_an_export_error_and_writing_goes_on_when_there_is_room(exporter, path):
    exporter.export([record(new_id())], soon())
    exporter._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(ExportError, match="the disk is full"):
        exporter.export([record(new_id(), inputs={"a": "x" * 100_000})], soon())
    exporter.export([record(new_id(), inputs={"a": "x" * 100_000})], soon())


def test_a_folder_that_cannot_be_made_is_an_export_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file"):
        LocalExporter(tmp_path / "file" / "t.db").export([record(new_id())], soon())


def test_a_store_of_a_newer_release_is_refused_by_both_sides(exporter, path):
    exporter.export([record(new_id())], soon())
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    exporter.close()
    with pytest.raises(ExportError, match="newer honeytrace"):
        exporter.export([record(new_id())], soon())
    with pytest.raises(StoreError, match="newer honeytrace"):
        Store(path).sessions()


def test_someone_elses_sqlite_file_is_left_alone(exporter, path):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(ExportError, match="not a honeytrace store"):
        exporter.export([record(new_id())], soon())


def test_any_thread_may_export(exporter, path):
    failures: list[BaseException] = []

    def run() -> None:
        try:
            exporter.export([record(new_id())], soon())
        except BaseException as error:
            failures.append(error)

    for _ in range(3):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert failures == []
    with Store(path) as store:
        assert store.cursor() == 3


def test_two_processes_write_at_once_and_nothing_is_lost(path):
    sessions = [new_id(), new_id()]
    writers = [writer(path, one, 40) for one in sessions]
    for process in writers:
        go(process)
    for process in writers:
        out, _ = process.communicate(timeout=120)
        assert out.endswith("done\n")
    with Store(path) as store:
        assert [len(store.session(one)) for one in sessions] == [800, 800]


def test_a_writer_killed_in_the_middle_leaves_a_store_of_whole_batches(path):
    session_id = new_id()
    process = writer(path, session_id, 1_000_000)
    go(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    with Store(path) as store:
        events = store.session(session_id)
    assert len(events) >= 80
    assert len(events) % 20 == 0
    exporter = LocalExporter(path)
    exporter.export([record(session_id)], soon())
    exporter.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


FORKER = """
import json, os, sys, threading, time, uuid
from honeytrace._event import Event
from honeytrace.exporters.local import LocalExporter
path, session = sys.argv[1:]
def record():
    i = str(uuid.uuid4())
    body = {"event_id": i, "session_id": session, "event_type": "tool", "inputs": {}}
    return Event("event", i.encode(), json.dumps(body).encode(), 0)
exporter = LocalExporter(path)
stop = threading.Event()
written = 0
def busy():
    global written
    while not stop.is_set():
        exporter.export([record()], time.monotonic() + 10)
        written += 1
thread = threading.Thread(target=busy)
thread.start()
children = []
closed, close = os.pipe()
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        for _ in range(10):
            exporter.export([record()], time.monotonic() + 10)
        os.close(close)
        os.read(closed, 1)      # the parent closes its connection while this one is open
        for _ in range(10):
            exporter.export([record()], time.monotonic() + 10)
        exporter.close()
        os._exit(0)
    children.append(pid)
stop.set()
thread.join()
exporter.close()
os.close(close)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
print(written + 160)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_forked_in_the_middle_of_an_export_lose_nothing(path):
    session_id = new_id()
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKER, str(path), session_id],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    with Store(path) as store:
        assert len(store.session(session_id)) == int(run.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_keeps_its_events_when_the_parent_closes_the_store(exporter, path):
    session_id = new_id()
    exporter.export([record(session_id)], soon())
    opened_by_child, closed_by_parent = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            exporter.export([record(session_id)], soon())
            os.write(opened_by_child[1], b"x")
            os.read(closed_by_parent[0], 1)
            exporter.export([record(session_id)], soon())
        finally:
            os._exit(0)
    os.read(opened_by_child[0], 1)
    exporter.export([record(session_id)], soon())
    exporter.close()
    os.write(closed_by_parent[1], b"x")
    os.waitpid(pid, 0)
    for end in (*opened_by_child, *closed_by_parent):
        os.close(end)
    with Store(path) as store:
        assert len(store.session(session_id)) == 4


def test_importing_the_exporter_does_not_import_sqlite():
    code = "import sys, honeytrace.exporters.local; print('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
