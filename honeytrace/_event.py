"""A finished event: frozen, already encoded, and the only thing recording and delivery share.

An `Event` is one record for a destination. Its body is a JSON object with the contract's field names
(HoneyHive Data Plane API v1); nobody serialises it again. The kind says which call carries it.
"""

from __future__ import annotations

from collections import namedtuple

import orjson

TYPE_CHECKING = False  # and not typing's: importing typing costs as much as all of honeytrace that is imported with it
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, NamedTuple, Protocol

    Kind = Literal["event", "session", "update", "root", "last"]
    """Which call carries a record.

    event:    one finished event (POST /v1/events, or in a batch)
    session:  announces or completes a session (POST /v1/sessions; a repeat merges)
    update:   changes a stored event or session (PUT /v1/events/{event_id})
    root:     an event that is a whole session by itself: a session record followed by the event
    last:     the event that ends an announced session: the event followed by an update of the session

    The last two exist so that a root call appends one record, not two; `expand` turns them into the first three
    in the background, and no exporter ever sees them.
    """

    class Submit(Protocol):
        """How recording hands an event to delivery: the fields of an `Event`, one by one.

        Making the tuple here would cost every traced call a tenth of its price; delivery makes it when it needs one.
        `took_ns` is not negative where the body is packed (see `unpack`) instead of being JSON: formatting that costs
        a tenth, too. Must not block and must not raise: what is refused is counted there.
        """

        def __call__(self, kind: Kind, id: bytes, body: bytes, time_ns: int, took_ns: int = -1, /) -> object: ...

    class _Fields(NamedTuple):
        kind: Kind
        id: bytes
        body: bytes
        time_ns: int
else:
    Kind = str
    Submit = object
    _Fields = namedtuple("_Fields", ("kind", "id", "body", "time_ns"))

__all__ = [
    "COMPOUND",
    "EVENT_TYPES",
    "FIELDS",
    "ID_SIZE",
    "KINDS",
    "OPEN",
    "PLAIN_SCALARS",
    "SEPARATOR",
    "Event",
    "Kind",
    "Submit",
    "compact_json",
    "expand",
    "packed_frame",
    "resolve_event_type",
    "unpack",
    "unpack_record",
]

KINDS: tuple[Kind, ...] = ("event", "session", "update", "root", "last")
"""All values of `Kind`."""

EVENT_TYPES = ("chain", "model", "tool", "session")
"""The closed set of the contract."""

_ALIASES = {
    "agent": "chain",
    "workflow": "chain",
    "function": "chain",
    "llm": "model",
    "retriever": "tool",
    "embedding": "tool",
    "reranker": "tool",
    "guardrail": "tool",
}

FIELDS = (
    "event_id",
    "session_id",
    "parent_id",
    "event_type",
    "event_name",
    "source",
    "config",
    "inputs",
    "outputs",
    "error",
    "metadata",
    "metrics",
    "feedback",
    "user_properties",
    "children_ids",
    "start_time",
    "end_time",
    "duration",
)
"""Every field an event may have on the wire, in the order people read them."""


class Event(_Fields):
    """One encoded record on its way to an exporter.

    `id` is the lower-case UUIDv4, as ASCII bytes, of the event or session it is about. `time_ns` is the wall
    clock, in nanoseconds since the epoch, when the user's call was made: it orders one client's records.
    """

    __slots__ = ()

    @property
    def event_id(self) -> str:
        """The id as text."""
        return self.id.decode()

    def fields(self) -> dict[str, Any]:
        """Decode the body. Costs a parse: for readers, never for the path to the wire."""
        decoded: dict[str, Any] = orjson.loads(self.body)
        return decoded


PLAIN_SCALARS: frozenset[type] = frozenset({int, float, bool, type(None)})
"""A value of exactly these types may be given to orjson at once (it refuses integers beyond 64 bits)."""


def resolve_event_type(event_type: str) -> str:
    """Map an alias to the contract's event type; raise ValueError naming the four for anything else."""
    if event_type in EVENT_TYPES:
        return event_type
    if isinstance(event_type, str) and event_type in _ALIASES:
        return _ALIASES[event_type]
    raise ValueError(
        f"event_type must be one of 'chain', 'model', 'tool', 'session' "
        f"(or an alias: {', '.join(sorted(_ALIASES))}), not {event_type!r}"
    )


ID_SIZE = 36
"""Bytes of an id."""

SEPARATOR = b"\xff"
"""Stands between the parts of a packed body: a byte that no UTF-8 text contains."""

# Numbers are written in microseconds with an exponent: 1763940000123123e-3 is the JSON number of milliseconds
# 1763940000123.123. One integer costs half of the two that a decimal point needs.
OPEN = (
    b',"event_id":"%b","session_id":"%b","parent_id":"%b"'
    b',"start_time":%de-3,"end_time":%de-3,"duration":%de-3,"inputs":%b'
)
"""Fields that every event has, to be filled in with %; times in microseconds."""

_OPENING = OPEN.removesuffix(b"%b")
_IS_RESULT, _IS_OBJECT = b"r", b"o"


def packed_frame(head: bytes, tail: bytes, *, is_object: bool) -> bytes:
    """Give the part of a packed body that is the same for all calls of one place: how its JSON opens and closes."""
    return head + SEPARATOR + (_IS_OBJECT if is_object else _IS_RESULT) + tail


def unpack(id: bytes, packed: bytes, time_ns: int, took_ns: int) -> bytes:
    """Make the JSON of an event of its parts: session id, parent id, frame, inputs and outputs.

    Raises:
        ValueError: these are not the parts of an event.
    """
    return unpack_record(id + packed, time_ns, took_ns)[1]


def unpack_record(record: bytes, time_ns: int, took_ns: int) -> tuple[bytes, bytes]:
    """Give id and JSON of an event whose id stands before its packed body, as in a journal.

    Raises:
        ValueError: these are not the parts of an event.
    """
    session, parent, head, tail, inputs, outputs = record.split(SEPARATOR)
    id, start, end = session[:ID_SIZE], time_ns // 1000, (time_ns + took_ns) // 1000
    opening = _OPENING % (id, session[ID_SIZE:], parent, start, end, end - start)
    # Joining copies the large parts once; to format them as well costs more.
    if tail[:1] == _IS_OBJECT:
        return id, b"".join((head, opening, inputs, b',"outputs":', outputs, tail[1:]))
    return id, b"".join((head, opening, inputs, b',"outputs":{"result":', outputs, b"}", tail[1:]))


_SESSION_FROM_ROOT = ("session_id", "source", "inputs", "outputs", "start_time", "end_time", "duration")
_END_FROM_ROOT = ("outputs", "end_time", "duration")


def _error_of_session(fields: dict[str, Any]) -> dict[str, Any]:
    """What a session says of the error of its root: in the metadata, since it has no field for one (contract)."""
    return {"metadata": {"error": fields["error"]}} if "error" in fields else {}


COMPOUND = frozenset({"root", "last"})
"""The kinds that `expand` makes more than one record of."""


def compact_json(fields: Mapping[str, Any]) -> bytes:
    """Encode into bytes that take no more memory than they are long: what orjson returns holds up to 16 KB each."""
    return bytes(memoryview(orjson.dumps(fields)))


def expand(record: Event) -> tuple[Event, ...]:
    """Turn a record into those that travel: event, session and update records, in the order to send them."""
    if record.kind == "root":
        fields = record.fields()
        session = {name: fields[name] for name in _SESSION_FROM_ROOT if name in fields}
        session["session_name"] = fields["event_name"]
        session.update(_error_of_session(fields))
        session_id = fields["session_id"].encode()
        return (
            Event("session", session_id, compact_json(session), record.time_ns),
            record._replace(kind="event"),
        )
    if record.kind == "last":
        fields = record.fields()
        update = {name: fields[name] for name in _END_FROM_ROOT if name in fields}
        update.update(_error_of_session(fields))
        session_id = fields["session_id"].encode()
        return (
            record._replace(kind="event"),
            Event("update", session_id, compact_json(update), record.time_ns),
        )
    return (record,)
