"""What a batch becomes on its way to HoneyHive: parcels, each one JSON object that travels whole.

Records of one id in the same batch are merged where the contract lets a request carry the result, so that most updates
cost no request. Events that need no merging are passed on as they are, never parsed and not wrapped. Nothing is merged
into a record that may have arrived before: a server is free to ignore the second coming of an id, and the update would
be lost.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson

from honeytrace._event import FIELDS, Event, compact_json
from honeytrace.exceptions import ExportError
from honeytrace.exporters._merge import session_event, with_session, with_update

__all__ = ["Load", "Parcel", "cut", "records_of"]

_NOT_IN_SESSIONS = ("feedback", "metrics", "error")
"""What POST /v1/sessions does not take, and an update may hold."""


_UPDATABLE = (
    "metadata",
    "feedback",
    "metrics",
    "config",
    "user_properties",
    "outputs",
    "duration",
    "end_time",
    "children_ids",
)
"""What a PUT can change (contract)."""


_MOST = 1000
"""Events per request: the answer lists their ids, and one beyond 64 KiB would cost the connection."""


class Made(NamedTuple):
    """A body that was made of records, which have arrived when it has; `time_ns` is that of the oldest."""

    id: bytes
    body: bytes
    time_ns: int
    records: Sequence[Event]


Parcel: TypeAlias = "Event | Made"
"""What travels whole: id, body and time. Most are events as they came; another object for each would be dear."""


def records_of(parcel: Parcel) -> Sequence[Event]:
    """The records that have arrived when the parcel has."""
    return parcel.records if isinstance(parcel, Made) else (parcel,)


def _made(id: bytes, body: bytes, records: Sequence[Event]) -> Made:
    return Made(id, body, min(record.time_ns for record in records), records)


class Load:
    """A batch, sorted: sessions go first, then events, then the updates that could not be merged."""

    def __init__(self, records: Iterable[Event], *, unmergeable: Container[bytes]) -> None:
        self._unmergeable = unmergeable
        self._sessions: dict[bytes, list[Event]] = {}
        self._updates: dict[bytes, list[Event]] = {}
        self._events: list[Event] = []
        for record in records:
            if record.kind == "event":
                self._events.append(record)
            else:
                of_kind = self._sessions if record.kind == "session" else self._updates
                of_kind.setdefault(record.id, []).append(record)
        self._left_over: list[Made] = []

    @property
    def sessions(self) -> list[bytes]:
        """The ids of the sessions, in order."""
        return list(self._sessions)

    def as_session(self, id: bytes) -> Made:
        """Write a session for POST /v1/sessions. What it cannot carry stays among the updates: see `sent`."""
        records = self._sessions[id]
        updates = self._mergeable(id)
        if len(records) == 1 and not updates:
            return _made(id, records[0].body, records)
        fields = _joined(records)
        for update in updates:
            given = _fields(update)
            fields = with_update(fields, {name: given[name] for name in given if name not in _NOT_IN_SESSIONS})
        return _made(id, compact_json(fields), [*records, *updates])

    def as_event(self, id: bytes) -> Parcel:
        """Write a session as the event it becomes, for POST /v1/events and /v1/events/batch."""
        records = self._sessions[id]
        updates = self._updates.pop(id, []) if self._mergeable(id) else []
        event = {"inputs": {}, **session_event(id.decode(), _joined(records))}
        for update in updates:
            event = with_update(event, _fields(update))
        body = compact_json({name: event[name] for name in FIELDS if name in event})
        return _made(id, body, [*records, *updates])

    def sent(self, session: Made) -> list[Event]:
        """Take over that a session has arrived in the form of `as_session`: the records that arrived whole."""
        updates = self._updates.pop(session.id, []) if len(session.records) > len(self._sessions[session.id]) else []
        rest: dict[str, Any] = {}
        for update in updates:
            given = _fields(update)
            rest = _with(rest, {name: given[name] for name in _NOT_IN_SESSIONS if name in given})
        if not rest:
            return list(session.records)
        self._left_over.append(_made(session.id, compact_json(rest), updates))
        return self._sessions[session.id]

    def events(self) -> list[Parcel]:
        """Write the events, with their updates in them."""
        if not self._updates:
            return [*self._events]
        return [self._event(event) for event in self._events]

    def updates(self) -> list[Parcel]:
        """Write what is left for PUT, one parcel per id."""
        left = [_made(id, _joined_updates(updates), updates) for id, updates in self._updates.items()]
        return [*self._left_over, *left]

    def _event(self, event: Event) -> Parcel:
        updates = self._mergeable(event.id)
        if not updates:
            return event
        del self._updates[event.id]
        fields = _fields(event)
        for update in updates:
            fields = with_update(fields, _fields(update))
        return _made(event.id, compact_json(fields), [event, *updates])

    def _mergeable(self, id: bytes) -> list[Event]:
        return [] if id in self._unmergeable else self._updates.get(id, [])


def cut(parcels: Sequence[Parcel], start: int, limit: int) -> list[Parcel]:
    """Take as many parcels as fit into so many bytes, at least one and at most a thousand."""
    part = parcels[start : start + _MOST]
    if sum([len(parcel.body) for parcel in part]) + len(part) <= limit:
        return list(part)
    size, end = len(parcels[start].body), start + 1
    while end < min(len(parcels), start + _MOST):
        size += len(parcels[end].body) + 1
        if size > limit:
            break
        end += 1
    return list(parcels[start:end])


def _fields(record: Event) -> dict[str, Any]:
    try:
        fields = orjson.loads(record.body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ExportError(f"{record.kind} {record.event_id} is no JSON object", permanent=True)
    return fields


def _joined(records: Sequence[Event]) -> dict[str, Any]:
    """A session that was announced more than once: later values win."""
    fields = _fields(records[0])
    for record in records[1:]:
        fields = with_session({"event_type": "session", **fields}, _fields(record))
        del fields["event_type"]
    return fields


def _joined_updates(updates: Sequence[Event]) -> bytes:
    if len(updates) == 1:
        return updates[0].body
    joined: dict[str, Any] = {}
    for update in updates:
        joined = _with(joined, _fields(update))
    return compact_json(joined)


def _with(update: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Put one update on top of another; fields that no update can change are passed on all the same."""
    merged = with_update(update, later)
    others = {name: value for name, value in later.items() if name not in _UPDATABLE}
    return {**merged, **others}
