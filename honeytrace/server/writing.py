"""The one writer of a server: what arrives while a transaction is being committed goes into the next one.

A result is handed out after COMMIT, with synchronous = FULL: what was answered 200 outlives the process and the
machine. Each request is a savepoint of its own: one that fails takes nobody along.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from honeytrace.exporters._merge import session_event, with_event, with_session, with_update
from honeytrace.exporters._store import SCHEMA, StoreError, check_version, explain, identity
from honeytrace.server.bodies import Refused
from honeytrace.server.intake import Row, encode, session_of

__all__ = ["Job", "Transaction", "Writer", "connect", "put_events", "put_session", "put_update"]

_log = logging.getLogger("honeytrace.server")


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a job works with. `known` are sessions of which the writer knows that they are stored."""

    connection: sqlite3.Connection
    known: set[str]


Job = Callable[[Transaction], Any]
_MOST_JOBS = 64  # in one transaction: other programs want to write, too
_BUSY = 20.0  # seconds to wait for other programs before saying 503
_KNOWN = 20_000

_INSERT = "INSERT INTO events (event_id, body) VALUES (?, ?) ON CONFLICT (event_id) DO NOTHING"
_CHANGE = "UPDATE events SET body = ?, seq = (SELECT max(seq) + 1 FROM events) WHERE event_id = ? AND body <> ?"
_PRESENT = "SELECT event_id, body FROM events WHERE event_id IN (SELECT value FROM json_each(?))"


class Writer:
    """Owns the connection that writes, in a thread of its own. `committed` is called after every commit."""

    def __init__(self, path: Path, *, committed: Callable[[], None]) -> None:
        self._path = path
        self._committed = committed
        self._jobs: queue.SimpleQueue[tuple[Job, asyncio.Future[Any], asyncio.AbstractEventLoop] | None]
        self._jobs = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._known: set[str] = set()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="honeytrace-writer", daemon=True)

    def start(self) -> None:
        """Open the store, making it if need be, and begin.

        Raises:
            StoreError: it cannot be opened.
        """
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(error, self._path)) from error
        self._thread.start()

    def stop(self) -> None:
        """Commit what was handed in, and close the store."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(_BUSY + 5)

    async def __call__(self, job: Job) -> Any:
        """Run a job inside a transaction and return its result once that is committed.

        Raises:
            Refused: by the job; or 503, because the store cannot be written.
        """
        if self._ended:
            raise Refused(503, "the server is stopping", retry_after=1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put((job, future, loop))
        return await future

    def _run(self) -> None:
        last = False
        while not last:
            batch = [self._jobs.get()]
            while len(batch) < _MOST_JOBS and batch[-1] is not None:
                try:
                    batch.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            jobs = [job for job in batch if job is not None]
            self._ended = last = len(jobs) < len(batch)
            if not jobs:
                break
            began = time.monotonic()
            results = self._commit([job for job, _, _ in jobs])
            for (_, future, loop), result in zip(jobs, results, strict=True):
                try:
                    loop.call_soon_threadsafe(_settle, future, result)
                except RuntimeError:  # the loop is closed: nobody waits
                    pass
            self._committed()
            if time.monotonic() - began > 0.02:
                time.sleep(0.001)  # SQLite's lock is not fair: other programs get in only between two transactions
        self._close()

    def _commit(self, jobs: list[Job]) -> list[Any]:
        end = time.monotonic() + _BUSY
        while True:
            try:
                return self._try(jobs)
            except (sqlite3.Error, OSError, StoreError) as error:
                text = str(error)
                self._close()
                if "locked" in text and time.monotonic() < end:
                    continue
                text = explain(error, self._path)
                _log.error("cannot write: %s", text)
                return [Refused(503, f"the store cannot be written: {text}", retry_after=2)] * len(jobs)
            except Exception as error:
                self._close()
                _log.exception("cannot write")
                return [error] * len(jobs)

    def _try(self, jobs: list[Job]) -> list[Any]:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        if len(self._known) > _KNOWN:
            self._known.clear()
        transaction = Transaction(connection, self._known)
        results = [_apart(job, transaction) for job in jobs]
        connection.execute("COMMIT")
        return results

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._file != identity(self._path):
            self._close()  # somebody has deleted or replaced the file
        if self._connection is None:
            self._connection = connect(self._path)
            self._file = identity(self._path)
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._known.clear()  # what a transaction that failed has made is not there
        if connection is not None:
            connection.close()


def _apart(job: Job, transaction: Transaction) -> Any:
    """Run one job in a savepoint; what it raises is its result, unless the store itself is at fault."""
    execute = transaction.connection.execute
    execute("SAVEPOINT job")
    try:
        result = job(transaction)
    except Exception as error:
        if isinstance(error, (sqlite3.Error, OSError)) and "malformed JSON" not in str(error):
            raise
        execute("ROLLBACK TO job")
        result = Refused(400, "an event is no JSON that SQLite can read") if isinstance(error, sqlite3.Error) else error
    execute("RELEASE job")
    return result


def connect(path: Path) -> sqlite3.Connection:
    """Open a store for writing; make it one if it is empty."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")
        if not check_version(connection, path):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            if not check_version(connection, path):
                for statement in SCHEMA:
                    connection.execute(statement)
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
    except BaseException:
        connection.close()
        raise
    return connection


def put_events(rows: list[Row]) -> Job:
    """Store events; one that is there is replaced. Sessions that are missing are made."""

    def job(transaction: Transaction) -> None:
        last = {row.event_id: row.body for row in rows}
        if transaction.connection.executemany(_INSERT, last.items()).rowcount < len(last):
            _replace(transaction.connection, last)
        _make_sessions(transaction, rows)

    return job


def put_session(session: dict[str, Any]) -> Job:
    """Start a session or merge into it; the job returns the stored event."""

    def job(transaction: Transaction) -> dict[str, Any]:
        session_id = session["session_id"]
        event = session_event(session_id, session)
        found = _body(transaction.connection, session_id)
        if found is None:
            event = _with_defaults(event)
            transaction.connection.execute(_INSERT, (session_id, encode(event)))
            return event
        stored = json.loads(found)
        event = with_session(stored, event if "event_type" in stored else _with_defaults(event))
        _change(transaction.connection, session_id, event)
        return event

    return job


def put_update(event_id: str, update: dict[str, Any]) -> Job:
    """Change a stored event.

    The job raises:
        Refused: there is none.
    """

    def job(transaction: Transaction) -> None:
        found = _body(transaction.connection, event_id)
        stored = {} if found is None else json.loads(found)
        if "event_type" not in stored:  # other programs keep updates here whose event has not come
            raise Refused(404, f"event_id: there is no event {event_id}")
        _change(transaction.connection, event_id, with_update(stored, update))

    return job


def _replace(connection: sqlite3.Connection, bodies: dict[str, str]) -> None:
    for event_id, stored in connection.execute(_PRESENT, (json.dumps(list(bodies)),)).fetchall():
        body = bodies[event_id]
        if stored != body:
            fields = json.loads(stored)
            if "event_type" not in fields:
                body = encode(with_event(fields, json.loads(body)))
            connection.execute(_CHANGE, (body, event_id, body))


def _make_sessions(transaction: Transaction, rows: list[Row]) -> None:
    missing = {row.session_id for row in rows} - transaction.known
    connection = transaction.connection
    for session_id in missing:
        found = _body(connection, session_id)
        stored = None if found is None else json.loads(found)
        if stored is None or "event_type" not in stored:
            event = session_of(session_id, [row for row in rows if row.session_id == session_id])
            if stored is None:
                connection.execute(_INSERT, (session_id, encode(event)))
            else:
                _change(connection, session_id, with_session(stored, event))
    transaction.known.update(missing)


def _with_defaults(event: dict[str, Any]) -> dict[str, Any]:
    event.setdefault("event_name", "unknown")
    event.setdefault("source", "unknown")
    event.setdefault("inputs", {})
    event.setdefault("start_time", time.time() * 1000)
    return event


def _body(connection: sqlite3.Connection, event_id: str) -> str | None:
    row = connection.execute("SELECT body FROM events WHERE event_id = ?", (event_id,)).fetchone()
    return None if row is None else row[0]


def _change(connection: sqlite3.Connection, event_id: str, event: dict[str, Any]) -> None:
    body = encode(event)
    connection.execute(_CHANGE, (body, event_id, body))


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():  # whoever waited has left
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
