"""The local store's exporter: events go into one SQLite file that several processes share.

A batch is one transaction, so it arrives whole or not at all. No SQLite call is under way while the process
forks and no connection is open: a child that opened the file beside its parent's connection would share
SQLite's bookkeeping of locks without having the locks.
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from honeytrace._diagnostics import warn_once
from honeytrace._event import Event
from honeytrace.exceptions import ExportError
from honeytrace.exporters._merge import session_event, with_event, with_session, with_update
from honeytrace.exporters._store import SCHEMA, StoreError, check_version, default_path, explain, identity

if TYPE_CHECKING:
    import sqlite3

__all__ = ["LocalExporter"]

_WAIT = 0.05  # seconds SQLite may wait for another process in one go: a fork waits that long at most
_FORK_WAIT = 1.0
_CACHE_KIB = 8192  # ids are random: an index page that has left the cache is a read per event

_INSERT = "INSERT INTO events (event_id, body) VALUES (?, ?) ON CONFLICT (event_id) DO NOTHING"
_CHANGE = "UPDATE events SET body = ?, seq = (SELECT max(seq) + 1 FROM events) WHERE event_id = ?"
_PRESENT = "SELECT event_id, body FROM events WHERE event_id IN (SELECT value FROM json_each(?))"


class LocalExporter:
    """Delivers to the local store: `path`, or traces.db under HONEYTRACE_HOME. Opened by the first export."""

    name = "local"

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._pid = os.getpid()
        self._exporting = False
        self._stranded = False
        self._lock = threading.RLock()
        _living.add(self)

    @property
    def destination(self) -> str:
        """The file, which is the same for all processes that write to it."""
        return str((self.path or default_path()).absolute())

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        """Write the batch in one transaction; wait for other writers until the deadline.

        Raises:
            ExportError: nothing of the batch was written. Permanent if a body is not a JSON object.
        """
        if self._stranded:
            raise ExportError("this process was forked in the middle of a write to the local store")
        with self._lock:  # forking in the middle of an import leaves the child its lock, held for ever
            import sqlite3
        path = self.path or default_path()
        rows, updates = _fold(batch)
        while True:
            while _forks.wanted:  # a lock is not fair: without this, a fork might wait for many exports
                time.sleep(0.001)
            try:
                with self._lock:
                    self._exporting = True
                    try:
                        return self._write(path, rows, updates)
                    finally:
                        self._exporting = False
            except RecursionError as error:
                raise ExportError("an event is nested too deep to be merged", permanent=True) from error
            except (sqlite3.Error, OSError, StoreError) as error:
                busy = "locked" in str(error)
                if not busy:
                    self.close()
                if not busy or time.monotonic() + _WAIT >= deadline:
                    raise _export_error(error, path) from error
            time.sleep(0.001)

    def close(self) -> None:
        """Close the file. A later export opens it again."""
        with self._lock:
            connection, self._connection, self._file = self._connection, None, None
            if connection is not None:
                if self._pid == os.getpid():
                    connection.close()
                else:
                    # Closing what the parent opened would drop locks and files under the parent.
                    _inherited.append(connection)

    def _write(self, path: Path, rows: dict[str, _Row], updates: list[tuple[str, dict[str, Any]]]) -> None:
        connection = self._open(path)
        unknown: list[str] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            texts = [(event_id, row.text) for event_id, row in rows.items()]
            inserted = connection.executemany(_INSERT, texts).rowcount if texts else 0
            if inserted < len(texts):
                _merge_present(connection, rows)
            for event_id, update in updates:
                if not _update(connection, event_id, update):
                    unknown.append(event_id)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if unknown:  # it may come from another process; if it never does, somebody has the wrong id
            warn_once(
                f"unknown event in {path}",
                "no event %s to update in %s: the update waits there for it (all such: honeytrace doctor)",
                unknown[0],
                path,
            )

    def _open(self, path: Path) -> sqlite3.Connection:
        if self._connection is not None and (self._pid != os.getpid() or self._file != identity(path)):
            self.close()
        if self._connection is None:
            self._connection = _connect(path)
            self._pid, self._file = os.getpid(), identity(path)
        return self._connection


class _Row:
    """A record on its way into the table: as text while nothing was merged into it."""

    __slots__ = ("_fields", "_text", "is_session")

    def __init__(self, *, text: str | None = None, fields: dict[str, Any] | None = None) -> None:
        self._text = text
        self._fields = fields
        self.is_session = fields is not None

    @property
    def text(self) -> str:
        if self._text is None:
            self._text = json.dumps(self._fields, separators=(",", ":"))
        return self._text

    @property
    def fields(self) -> dict[str, Any]:
        if self._fields is None:
            self._fields = json.loads(self._text or "{}")
        return self._fields

    @fields.setter
    def fields(self, fields: dict[str, Any]) -> None:
        self._fields, self._text = fields, None

    def onto(self, stored: dict[str, Any]) -> dict[str, Any]:
        """What the record makes of an event that is there."""
        return (with_session if self.is_session else with_event)(stored, self.fields)


def _fold(batch: Sequence[Event]) -> tuple[dict[str, _Row], list[tuple[str, dict[str, Any]]]]:
    """Merge what a batch says about one id, and leave over the updates of events that are not in it."""
    rows: dict[str, _Row] = {}
    updates: list[tuple[str, dict[str, Any]]] = []
    for record in batch:
        event_id = record.event_id
        try:
            here = rows.get(event_id)
            if record.kind == "update":
                update = _decoded(record.body)
                if here is None:
                    updates.append((event_id, update))
                else:
                    here.fields = with_update(here.fields, update)
                continue
            if record.kind == "session":
                row = _Row(fields=session_event(event_id, _decoded(record.body)))
            else:
                row = _Row(text=_text(record.body))
            if here is None:
                rows[event_id] = row
            else:
                here.fields = row.onto(here.fields)
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{record.kind} {event_id} is no JSON object", permanent=True) from error
    return rows, updates


def _decoded(body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(_text(body))
    return fields


def _text(body: bytes) -> str:
    """The body as text; that it is valid JSON is left to SQLite, which parses it anyway."""
    if not body.startswith(b"{"):
        raise ValueError("no JSON object")
    return body.decode()


def _merge_present(connection: sqlite3.Connection, rows: dict[str, _Row]) -> None:
    """Merge those rows that were there before; a row that is the same costs no write."""
    for event_id, body in connection.execute(_PRESENT, (json.dumps(list(rows)),)).fetchall():
        if body != rows[event_id].text:
            _change(connection, event_id, body, rows[event_id].onto(json.loads(body)))


def _update(connection: sqlite3.Connection, event_id: str, update: dict[str, Any]) -> bool:
    """Apply an update; False if it waits for its event, as a row without event_type."""
    found = connection.execute("SELECT body FROM events WHERE event_id = ?", (event_id,)).fetchone()
    if found is not None:
        stored = json.loads(found[0])
        _change(connection, event_id, found[0], with_update(stored, update))
        return "event_type" in stored
    fields = with_update({"event_id": event_id}, update)
    connection.execute(_INSERT, (event_id, _Row(fields=fields).text))
    return False


def _change(connection: sqlite3.Connection, event_id: str, body: str, fields: dict[str, Any]) -> None:
    text = _Row(fields=fields).text
    if text != body:
        connection.execute(_CHANGE, (text, event_id))


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, and make it a store if it is empty."""
    import sqlite3

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if not check_version(connection, path):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            if not check_version(connection, path):  # another process may have been faster
                for statement in SCHEMA:
                    connection.execute(statement)
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _export_error(error: Exception, path: Path) -> ExportError:
    if "malformed JSON" in str(error):
        return ExportError("an event of the batch is no JSON that SQLite can read", permanent=True)
    return ExportError(str(error) if isinstance(error, StoreError) else explain(error, path))


_living: weakref.WeakSet[LocalExporter] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []


class _Forks(threading.local):
    """What the thread that forks has locked, and whether any thread wants to fork."""

    wanted = 0

    def __init__(self) -> None:
        self.locked: list[LocalExporter] = []


def _before_fork() -> None:
    _Forks.wanted += 1
    for exporter in sorted(_living, key=id):  # one order for all threads
        if exporter._lock.acquire(timeout=_FORK_WAIT):
            _forks.locked.append(exporter)
            if not exporter._exporting:  # a signal may interrupt an export and fork in the same thread
                exporter.close()


def _after_fork() -> None:
    while _forks.locked:
        _forks.locked.pop()._lock.release()
    _Forks.wanted = max(0, _Forks.wanted - 1)


def _after_fork_in_child() -> None:
    for exporter in list(_living):
        # SQLite may have been at work when the lock was not to be had: its own locks are held for ever.
        exporter._stranded = exporter._exporting or exporter not in _forks.locked
        exporter._exporting = False
        exporter._lock = threading.RLock()
    _forks.locked.clear()
    _Forks.wanted = 0


_forks = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
