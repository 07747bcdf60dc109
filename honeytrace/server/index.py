"""The index beside a store: what lists and searches need, kept up to date by reading what was written since.

It holds nothing that the store does not say better, so it is rebuilt whenever it is missing, damaged or does not
fit. It follows `seq`, which every write to the store moves, whoever writes. An event that changes gets a new seq;
words and facts of the old one stay behind and are recognised by having no event any more.

Two cursors: events and roll-ups come first and cheaply, words and facts (`deep`) follow when there is time.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from honeytrace.exporters._store import identity
from honeytrace.server.digesting import Digest, add_events, sum_up
from honeytrace.server.facts import add_words
from honeytrace.server.index_file import FORMAT, make_tables, name_of, open_index, open_store, remember

__all__ = ["Index", "NotReady", "TooSlow"]

_log = logging.getLogger("honeytrace.server")

_CHUNK_ROWS = 5000
_DEEP_ROWS = 2000  # takes a fifth of a second, and whoever wants the newest events waits for it
_CHUNK_BYTES = 16 * 1024 * 1024
_MOST_SECONDS = 30.0  # for one question: there are few threads that read
_COUNTED_EVERY = 60.0  # seconds between two looks for events that were deleted


class TooSlow(Exception):
    """A question took too long and was given up."""


class NotReady(Exception):
    """The index is being built; `done` of 1."""

    def __init__(self, done: float) -> None:
        super().__init__(f"the index is being built ({done:.0%})")
        self.done = done


class Index:
    """Safe to use from several threads, beside other processes that use the same file."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.path = store.with_name(store.stem + ".index.db")
        self._turn = threading.Lock()
        self._local = threading.local()
        self._counted = 0.0
        self._stopping = False
        self._watched: tuple[int, int] | None = None

    # -- reading --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(
        self, *, deep: bool = False, patience: float = 2.0, whole: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """A connection to the index, at least as new as the store was at this moment.

        After `patience` seconds it is as new as it could be made, unless `whole`.

        Raises:
            NotReady: there is nothing yet, or it is not `whole`.
        """
        try:
            self.catch_up(deep=deep, patience=patience)
        except NotReady:
            if whole or not self.cursor():
                raise
        connection = self._connection()
        end = time.monotonic() + _MOST_SECONDS
        connection.set_progress_handler(lambda: int(self._stopping or time.monotonic() > end), 20_000)
        connection.execute("BEGIN")
        try:
            yield connection
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            raise TooSlow("this takes too long: ask for less, by session, time or name") from error
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def stop(self) -> None:
        """Give up the questions that are being answered."""
        self._stopping = True

    def bodies(self) -> sqlite3.Connection:
        """This thread's connection to the store, for reading."""
        return self._opened("store", self.store)

    def newest(self) -> int:
        """The seq of the last write to the store."""
        (seq,) = self.bodies().execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        return int(seq)

    # -- keeping up -----------------------------------------------------------------------------------------------

    def catch_up(self, *, deep: bool = False, patience: float = 5.0) -> None:
        """Index what the store holds at this moment.

        Raises:
            NotReady: there was not enough time.
        """
        target, end = self.newest(), time.monotonic() + patience
        while True:
            done = self.cursor(deep=deep)
            if done >= target and self._fits():
                return
            if time.monotonic() >= end:
                raise NotReady(done / max(1, target))
            self.step(deep=deep)

    def lag(self) -> tuple[int, int]:
        """How many writes the events and the words are behind."""
        newest = self.newest()
        return newest - self.cursor(), newest - self.cursor(deep=True)

    def cursor(self, *, deep: bool = False) -> int:
        """How far the index is; 0 if there is none."""
        try:
            row = (
                self._connection()
                .execute("SELECT value FROM state WHERE key = ?", ("deep" if deep else "events",))
                .fetchone()
            )
        except sqlite3.Error:
            return 0
        return 0 if row is None else int(row[0])

    def step(self, *, deep: bool = False) -> None:
        """Index one chunk: events first, words if `deep` and all events are there."""
        with self._turn:
            try:
                self._step(deep)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                    if "locked" not in str(error):
                        raise
                    return
                _log.warning("rebuilding %s: %s", self.path, error)
                self._forget()
                for name in (self.path.name, self.path.name + "-wal", self.path.name + "-shm"):
                    self.path.with_name(name).unlink(missing_ok=True)

    def look_for_deleted(self) -> None:
        """Drop events that are gone from the store, at most once a minute unless there are fewer than indexed."""
        now = time.monotonic()
        if not self.cursor():
            return
        (version,) = self.bodies().execute("PRAGMA data_version").fetchone()
        if now - self._counted < _COUNTED_EVERY or self._watched == (version, id(self.bodies())):
            return
        self._counted, self._watched = now, (version, id(self.bodies()))
        (there,) = self.bodies().execute("SELECT count(*) FROM events").fetchone()
        (here,) = self._connection().execute("SELECT count(*) FROM events").fetchone()
        if there < here:
            self.drop_deleted()

    def drop_deleted(self) -> None:
        """Drop events that are gone from the store."""
        with self._turn:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                there = iter(self.bodies().execute("SELECT seq FROM events ORDER BY seq"))
                gone, seen = [], 0
                for seq, session in connection.execute("SELECT seq, session FROM events ORDER BY seq").fetchall():
                    while seen < seq:
                        seen = next(there, (2**63,))[0]
                    if seen != seq:
                        gone.append((seq, session))
                connection.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in gone])
                remember(connection, "stale", 1)
                remember(connection, "dropped", time.time_ns())
                sum_up(connection, {session for _, session in gone})
                connection.execute(
                    "DELETE FROM sessions WHERE NOT EXISTS (SELECT 1 FROM events WHERE session = sessions.no)"
                )
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close this thread's connections."""
        self._forget()
        store = getattr(self._local, "store", None)
        if store is not None:
            store[0].close()
            self._local.store = None

    # -- inside ---------------------------------------------------------------------------------------------------

    def _step(self, deep: bool) -> None:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._fits():
                make_tables(connection, self.store)
            done, deeply = self.cursor(), self.cursor(deep=True)
            rows = self._read(done)
            if rows:
                add_events(connection, [Digest.of(*row) for row in rows])
                remember(connection, "events", rows[-1][0])
                remember(connection, "last_id", rows[-1][1])
            elif deep and (rows := self._read(deeply, done, _DEEP_ROWS)):
                add_words(connection, rows)
                remember(connection, "deep", rows[-1][0])
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _read(self, after: int, until: int = 2**62, rows_at_most: int = _CHUNK_ROWS) -> list[tuple[int, str, str]]:
        """The next chunk of (seq, event_id, body), bounded in rows and bytes."""
        rows, size = [], 0
        found = self.bodies().execute(
            "SELECT seq, event_id, body FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (after, until, rows_at_most),
        )
        for row in found:
            rows.append(row)
            size += len(row[2])
            if size > _CHUNK_BYTES:
                break
        found.close()
        return rows

    def _fits(self) -> bool:
        """Say whether the index is of this store, and the store still what it was."""
        state = dict(self._connection().execute("SELECT key, value FROM state").fetchall())
        if state.get("format") != FORMAT or state.get("store") != name_of(self.store):
            return False
        done = state.get("events", 0)
        (newest,) = self.bodies().execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        row = self.bodies().execute("SELECT event_id FROM events WHERE seq = ?", (done,)).fetchone()
        return done <= newest and (row is None or row[0] == state.get("last_id"))

    def _connection(self) -> sqlite3.Connection:
        return self._opened("index", self.path)

    def _opened(self, name: str, path: Path) -> sqlite3.Connection:
        """This thread's connection to a file, opened again if another file has taken its place."""
        opened = getattr(self._local, name, None)
        if opened is not None and opened[1] == identity(path):
            connection: sqlite3.Connection = opened[0]
            return connection
        if opened is not None:
            opened[0].close()
        connection = open_store(path) if name == "store" else open_index(path)
        setattr(self._local, name, (connection, identity(path)))
        return connection

    def _forget(self) -> None:
        opened = getattr(self._local, "index", None)
        if opened is not None:
            opened[0].close()
            self._local.index = None
