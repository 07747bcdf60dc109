"""The local store: one SQLite file, one row per event with its JSON, read while other processes write it.

Columns are generated from the JSON, so they cannot disagree with it. `seq` grows with every write to the
file: whoever remembers the highest one it has seen can ask what changed since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from honeytrace import _config
from honeytrace.exceptions import HoneytraceError
from honeytrace.exporters._wanted import Wanted

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "LAST_ACTIVE",
    "SCHEMA",
    "VERSION",
    "SessionSummary",
    "Store",
    "StoreError",
    "check_version",
    "default_path",
    "explain",
    "identity",
]

VERSION = 1
"""PRAGMA user_version of the files this release reads and writes."""

SCHEMA = (
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        body TEXT NOT NULL,
        session_id TEXT AS (json_extract(body, '$.session_id')),
        parent_id TEXT AS (json_extract(body, '$.parent_id')),
        event_type TEXT AS (json_extract(body, '$.event_type')),
        event_name TEXT AS (json_extract(body, '$.event_name')),
        source TEXT AS (json_extract(body, '$.source')),
        user_id TEXT AS (json_extract(body, '$.user_properties.user_id')),
        start_time REAL AS (coalesce(CAST(json_extract(body, '$.start_time') AS REAL), 0)),
        end_time REAL AS (CAST(json_extract(body, '$.end_time') AS REAL)),
        duration REAL AS (CAST(json_extract(body, '$.duration') AS REAL)),
        has_error INTEGER AS (coalesce(json_extract(body, '$.error'), '') <> ''),
        tokens INTEGER AS (coalesce(
            json_extract(body, '$.metadata.total_tokens'),
            coalesce(json_extract(body, '$.metadata.prompt_tokens'), 0)
            + coalesce(json_extract(body, '$.metadata.completion_tokens'), 0)))
    )
    """,
    "CREATE INDEX events_of_session ON events (session_id)",
    "CREATE INDEX sessions_by_time ON events (start_time, event_id) WHERE event_type = 'session'",
    f"PRAGMA user_version = {VERSION}",
)
"""What makes an empty file a store. Virtual columns cost nothing to write unless an index holds them."""

_SESSIONS = """
    SELECT s.event_id, s.event_name, s.source, s.user_id, s.start_time,
           coalesce(s.end_time, max(e.end_time)), s.duration,
           count(e.seq), coalesce(sum(e.has_error), 0), total(e.tokens)
    FROM (SELECT * FROM events WHERE event_type = 'session' AND event_id = session_id {which}
          ORDER BY start_time DESC, event_id DESC LIMIT ?) AS s
    LEFT JOIN events AS e ON e.session_id = s.event_id AND e.event_id <> s.event_id
    GROUP BY s.event_id ORDER BY s.start_time DESC, s.event_id DESC
"""
_OLDER = "AND (start_time, event_id) < (SELECT start_time, event_id FROM events WHERE event_id = ?)"
_AMONG = "AND event_id IN (SELECT value FROM json_each(?))"

LAST_ACTIVE = "max(max(start_time, coalesce(end_time, 0)))"
"""Of a group of events; 0 if no time is known."""


class StoreError(HoneytraceError):
    """The store cannot answer: it is damaged, too new, or holds no such session."""


@dataclass(frozen=True, kw_only=True)
class SessionSummary:
    """A session and the roll-ups of its events, itself not counted. Times: milliseconds, or None."""

    session_id: str
    name: str
    source: str | None
    user: str | None
    start_time: float | None
    end_time: float | None
    duration: float | None
    events: int
    errors: int
    tokens: int


def default_path() -> Path:
    """The file used when none is named."""
    return _config.home() / "traces.db"


class Store:
    """Reads a store. A file that does not exist is a store without sessions, until it does."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else default_path()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def sessions(self, limit: int = 20, before: str | None = None) -> list[SessionSummary]:
        """Sum up sessions, newest first; `before` is the id of the last session of the page before.

        Raises:
            StoreError: the file cannot be read.
        """
        query = _SESSIONS.format(which=_OLDER if before is not None else "")
        rows = self._rows(query, (limit,) if before is None else (before, limit))
        return [_summary(row) for row in rows]

    def sessions_with(self, wanted: Wanted, limit: int = 20) -> list[SessionSummary]:
        """Sum up the newest sessions that pass, by looking through them from the newest on.

        Raises:
            StoreError: the file cannot be read.
        """
        sql, values = wanted.sessions()
        ids = [row[0] for row in islice((row for row in self._each(sql, values) if self._passes(wanted, row)), limit)]
        rows = self._rows(_SESSIONS.format(which=_AMONG), (json.dumps(ids), limit))
        return [_summary(row) for row in rows]

    def session(self, session: str) -> list[dict[str, Any]]:
        """Load the events of a session, itself included, by start time.

        `session` is an id or the beginning of one that no other session shares.

        Raises:
            StoreError: there is none or more than one, or the file cannot be read.
        """
        rows = self._rows(
            "SELECT event_id, body FROM events WHERE session_id = ? ORDER BY start_time, seq", (self.find(session),)
        )
        return [_event(*row) for row in rows]

    def newest(self) -> str | None:
        """The id of the session that started last."""
        rows = self._rows(
            "SELECT event_id FROM events WHERE event_type = 'session' AND event_id = session_id"
            " ORDER BY start_time DESC, event_id DESC LIMIT 1"
        )
        return rows[0][0] if rows else None

    def session_ids(self, since: float | None = None) -> list[str]:
        """The ids of all sessions, oldest first, those included whose session event has not come.

        `since`, in Unix milliseconds, leaves out sessions that were last active before.
        """
        rows = self._rows(
            "SELECT session_id FROM events WHERE session_id IS NOT NULL AND event_type IS NOT NULL GROUP BY session_id"
            f" HAVING {LAST_ACTIVE} >= ? ORDER BY min(start_time), session_id",
            (0.0 if since is None else since,),
        )
        return [row[0] for row in rows]

    def waiting(self) -> list[str]:
        """The ids of events that were updated and have not come: from another process they may, mistaken ones never."""
        return [row[0] for row in self._rows("SELECT event_id FROM events WHERE event_type IS NULL ORDER BY seq")]

    def cursor(self) -> int:
        """Where `changes_since` continues if only what comes from here on matters."""
        rows = self._rows("SELECT coalesce(max(seq), 0) FROM events")
        return int(rows[0][0]) if rows else 0

    def changes_since(self, cursor: int, limit: int = 1000) -> tuple[int, list[dict[str, Any]]]:
        """Load events written or changed after `cursor`, in the order of writing, and the next cursor.

        Updates whose event has not come are passed over: they return with their event.
        """
        rows = self._rows(
            "SELECT event_id, body, seq, event_type FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            (cursor, limit),
        )
        events = [_event(*row[:2]) for row in rows if row[3] is not None]
        if not rows and self.cursor() < cursor:  # another file has taken the place of the one it came from
            return 0, []
        return (rows[-1][2] if rows else cursor), events

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def find(self, session: str) -> str:
        """Complete the beginning of a session's id.

        Raises:
            StoreError: there is none or more than one, or the file cannot be read.
        """
        found = self._matching(session)
        if not found:
            raise StoreError(f"no session begins with {session!r} in {self.path}")
        if len(found) > 1 and found[0] != session:
            raise StoreError(f"{session!r} is ambiguous: it begins {', '.join(found)}")
        return found[0]

    def _passes(self, wanted: Wanted, session: tuple[str, str | None, str | None]) -> bool:
        sql, values = wanted.events(*session)
        if sql is None:
            return True
        return any(wanted.holds is None or wanted.holds(row[0]) for row in self._each(sql, values))

    def _matching(self, prefix: str, most: int = 5) -> list[str]:
        """Session ids that begin with a prefix: one index seek each, however many events they have."""
        found: list[str] = []
        after, seek = prefix, ">="
        while len(found) < most:
            rows = self._rows(
                f"SELECT session_id FROM events WHERE session_id {seek} ? ORDER BY session_id LIMIT 1",
                (after,),
            )
            if not rows or not rows[0][0].startswith(prefix):
                break
            after, seek = rows[0][0], ">"
            found.append(after)
        return found

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return list(self._each(query, values))

    def _each(self, query: str, values: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        import sqlite3

        try:
            connection = self._open()
            if connection is not None:
                yield from connection.execute(query, values)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(explain(error, self.path)) from error

    def _open(self) -> sqlite3.Connection | None:
        """Connect, or return None while there is no file or nobody has written to it."""
        import sqlite3

        if self._connection is not None and self._file != identity(self.path):
            self.close()
        if self._connection is None and (file := identity(self.path)) is not None:
            address = self.path.absolute().as_uri() + "?mode=rw"  # rw: recovers what a killed writer left
            connection = sqlite3.connect(address, uri=True, timeout=5, isolation_level=None)
            try:
                connection.execute("PRAGMA query_only = 1")
                if check_version(connection, self.path):
                    self._connection, self._file = connection, file
            finally:
                if self._connection is None:
                    connection.close()
        return self._connection


def identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to: whoever deletes the store while programs run gets a fresh one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_version(connection: sqlite3.Connection, path: Path) -> bool:
    """Say whether the file is a store; False if it is empty.

    Raises:
        StoreError: it was written by a newer release, or is something else.
    """
    # Tables first: they appear in one transaction with the version, perhaps between these two lines.
    used = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a newer honeytrace (format {version}, this one knows up to {VERSION}): "
            "upgrade honeytrace"
        )
    if version == 0 and used:
        raise StoreError(f"{path} is an SQLite file, but not a honeytrace store")
    return bool(version)


def explain(error: Exception, path: Path) -> str:
    """Say in people's words what SQLite could not do."""
    text = str(error)
    for sign, meaning in (
        ("locked", "is locked by another process"),
        ("disk is full", "cannot grow: the disk is full"),
        ("not a database", "is damaged, or no honeytrace store; move it away to start a fresh one"),
        ("disk image is malformed", "is damaged; move it away to start a fresh one"),
        ("unable to open", "cannot be opened"),
        ("readonly", "cannot be written"),
    ):
        if sign in text:
            return f"{path} {meaning} ({text})"
    return f"{path}: {text}"


def _event(event_id: str, body: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(body)
    except RecursionError as error:
        raise StoreError(f"event {event_id} is nested too deep to be read") from error
    event.setdefault("event_id", event_id)
    return event


def _summary(row: tuple[Any, ...]) -> SessionSummary:
    session_id, name, source, user, start, end, duration, events, errors, tokens = row
    start = start or None
    if duration is None and start is not None and end is not None:
        duration = max(0.0, end - start)
    return SessionSummary(
        session_id=session_id,
        name=name or "unknown",
        source=source,
        user=user,
        start_time=start,
        end_time=end,
        duration=duration,
        events=events,
        errors=errors,
        tokens=int(tokens) if tokens < 1e15 else 0,
    )
