"""Making the local store smaller: whole sessions are deleted, in one transaction, and the space is given back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from honeytrace.exporters._store import LAST_ACTIVE, StoreError, check_version, explain, identity

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Pruned", "prune"]

_PATIENCE = 2000
"""Milliseconds to wait for others before the file keeps its size."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was, or would be, deleted. `bytes` is how much smaller the file is; None: its pages will be used again."""

    sessions: int
    events: int
    bytes: int | None


def prune(path: Path, before: float, *, dry_run: bool = False) -> Pruned:
    """Delete the sessions whose last event is older than `before` (Unix milliseconds), and give the space back.

    Sessions without any time stay. Programs may go on writing; their exporters wait meanwhile.

    Raises:
        StoreError: the file cannot be read or written.
    """
    import sqlite3

    if identity(path) is None:
        return Pruned(sessions=0, events=0, bytes=0)
    try:
        connection = sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, timeout=30, isolation_level=None)
        try:
            if not check_version(connection, path):
                return Pruned(sessions=0, events=0, bytes=0)
            return _prune(connection, path, before, dry_run)
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise StoreError(explain(error, path)) from error


def _prune(connection: sqlite3.Connection, path: Path, before: float, dry_run: bool) -> Pruned:
    import sqlite3

    connection.execute("BEGIN" if dry_run else "BEGIN IMMEDIATE")
    # One transaction: a session that goes on at this moment is either too young or gone as a whole.
    connection.execute(
        "CREATE TEMP TABLE old AS SELECT session_id, count(event_type) AS events FROM events"
        f" WHERE session_id IS NOT NULL GROUP BY session_id HAVING {LAST_ACTIVE} > 0 AND {LAST_ACTIVE} < ?",
        (before,),
    )
    # Counted as `sessions` counts: without the session's own event.
    sessions, events = connection.execute(
        "SELECT count(*), coalesce(sum(events - (SELECT count(*) FROM main.events AS e"
        " WHERE e.event_id = old.session_id)), 0) FROM old"
    ).fetchone()
    if dry_run or not sessions:
        connection.execute("ROLLBACK")
        return Pruned(sessions=sessions, events=events, bytes=None if sessions else 0)
    connection.execute("DELETE FROM events WHERE session_id IN (SELECT session_id FROM old)")
    connection.execute("COMMIT")
    size = path.stat().st_size
    connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
    try:
        connection.execute("VACUUM")
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:  # others are at work, or there is no room for a copy
        busy = True
    if busy:
        return Pruned(sessions=sessions, events=events, bytes=None)
    return Pruned(sessions=sessions, events=events, bytes=max(0, size - path.stat().st_size))
