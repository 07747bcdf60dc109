"""Which sessions of the local store are wanted: the filters of the page's list, asked of the store's own columns.

A session passes if it holds one event, itself included, that passes all filters about events. Who the user is, and
the source, may be said by that event or by the session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Wanted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filters, all of which must be passed; None and False ask for nothing."""

    name: str | None = None
    source: str | None = None
    user: str | None = None
    error: bool = False
    """Only what failed."""
    since: float | None = None
    """Unix milliseconds: the session started then or later."""
    holds: Callable[[str], bool] | None = None
    """Says whether the JSON of an event is wanted. Asked last, of what has passed the rest."""

    def __bool__(self) -> bool:
        return self != Wanted()

    def sessions(self) -> tuple[str, tuple[object, ...]]:
        """SQL for what may pass, newest first: id, source and user of each session."""
        about, values = ("AND start_time >= ? ", (self.since,)) if self.since is not None else ("", ())
        return (
            "SELECT event_id, source, user_id FROM events WHERE event_type = 'session' AND event_id = session_id "
            f"{about}ORDER BY start_time DESC, event_id DESC",
            values,
        )

    def events(self, session_id: str, source: str | None, user: str | None) -> tuple[str | None, tuple[object, ...]]:
        """SQL for the JSON of a session's events that may pass, None if nothing is asked of them."""
        asked: list[tuple[str, object]] = [("event_name = ?", self.name)] if self.name is not None else []
        if self.source is not None and source != self.source:
            asked.append(("source = ?", self.source))
        if self.user is not None and user != self.user:
            asked.append(("user_id = ?", self.user))
        if self.error:
            asked.append(("has_error = ?", 1))
        if not asked and self.holds is None:
            return None, ()
        where = " AND ".join(["session_id = ?", "event_type IS NOT NULL", *(sql for sql, _ in asked)])
        body = "body" if self.holds is not None else "NULL"
        return f"SELECT {body} FROM events WHERE {where}", (session_id, *(value for _, value in asked))
