"""A unit of work while it runs, and how it becomes an event.

A `Plan` is what is known before a call: one per decorated callable, or one per `span()`. A `Span` is one call.
While it runs it is found by its id in `live`; whoever takes it out of there finishes it, so the first outcome
wins, and a forked child (which empties `live`) never finishes a span of its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from time import time_ns
from typing import TYPE_CHECKING, Any

import orjson

from honeytrace._context import Current
from honeytrace._diagnostics import guard
from honeytrace._event import Event
from honeytrace._snapshot import Snapshotter
from honeytrace.exceptions import TraceError
from honeytrace.protocols import Sampler

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OBJECT_FIELDS", "Plan", "Recorder", "Span", "add", "encode", "encode_extra", "check_fields", "live", "pieces", "submit_update"]

OBJECT_FIELDS = ("metadata", "metrics", "feedback", "config", "user_properties")
"""The fields that enrichment merges into, key by key."""

ENRICHABLE = (*OBJECT_FIELDS, "outputs", "error")
"""What may be added to a span."""

Pieces = dict[str, dict[str, Any]]
"""Field -> key -> encoded value."""

live: dict[bytes, Span] = {}
"""Running spans by event id; the one that opened a session by session id as well."""


class Recorder:
    """What recording needs between init() and shutdown(): settings, and where finished events go.

    Made once and never changed; a span finishes with the recorder it started with.
    """

    __slots__ = (
        "fields",
        "get",
        "reset",
        "sampler",
        "session_name",
        "set",
        "snapshot",
        "snapshotter",
        "source",
        "source_name",
        "submit",
        "variable",
    )

    def __init__(
        self,
        *,
        variable: ContextVar[Current | None],
        snapshotter: Snapshotter,
        submit: Callable[[Event], object],
        source: str,
        session_name: str | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        self.variable = variable
        self.get = variable.get
        self.set = variable.set
        self.reset = variable.reset
        self.snapshotter = snapshotter
        self.snapshot: Callable[[object], bytes] = snapshotter.__call__
        self.fields = snapshotter.fields
        self.submit = submit
        self.source_name = source
        self.source = b'"source":%b,' % snapshotter(source)
        self.session_name = session_name
        self.sampler = sampler


class Plan:
    """What every span of one place in the program has in common.

    `head` opens the event's JSON, `tail` closes it in the usual case (nothing enriched, no error). `shape` and
    `shape_result`, where set, replace the plain snapshot of inputs and result: what a decorator was told to leave
    out, rewrite or hide. See _plan for the one that decorators make.
    """

    __slots__ = (
        "event_name",
        "event_type",
        "expected",
        "fixed",
        "head",
        "head_for",
        "reduce",
        "shape",
        "shape_result",
        "tail",
    )

    def __init__(
        self,
        event_name: str,
        event_type: str,
        fixed: Mapping[str, Mapping[str, object] | None],
        expected: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.event_name = event_name
        self.event_type = event_type
        self.fixed = {field: values for field, values in fixed.items() if values}
        self.expected = expected
        self.reduce: Callable[[list[Any]], object] | None = None
        self.shape: Callable[[Recorder, dict[str, object]], bytes] | None = None
        self.shape_result: Callable[[Recorder, object], dict[str, Any]] | None = None
        self.head = b""
        self.tail = b"}"
        self.head_for: Recorder | None = None

    def prepare(self, recorder: Recorder) -> None:
        """Encode what does not change from call to call. Runs at the first call under each recorder."""
        self.head = b'{"event_type":"%b","event_name":%b' % (
            self.event_type.encode(),
            recorder.snapshot(self.event_name),
        )
        if self.fixed:
            extra = {field: pieces(recorder, values) for field, values in self.fixed.items()}
            self.tail = b"," + orjson.dumps(extra)[1:]
        else:
            self.tail = b"}"
        self.head_for = recorder

    def outputs(self, recorder: Recorder, result: object) -> dict[str, Any]:
        """Encode a result key by key: a mapping's own keys, anything else under "result"."""
        if self.shape_result is not None:
            return self.shape_result(recorder, result)
        return pieces(recorder, result if isinstance(result, dict) else {"result": result})


class Span:
    """One running unit of work.

    What is public here is safe to call at any time from any thread: after the span has finished, and when
    tracing is off, it does nothing or becomes a later update of the event.
    """

    __slots__ = (
        "announced",
        "clock",
        "context",
        "extra",
        "id",
        "inputs",
        "parent_id_bytes",
        "plan",
        "recorder",
        "session",
        "started",
        "token",
    )

    plan: Plan
    recorder: Recorder
    id: bytes
    session: bytes
    parent_id_bytes: bytes
    started: int
    """Monotonic nanoseconds."""
    clock: int
    inputs: bytes
    context: Current
    token: Token[Current | None] | None
    extra: Pieces | None
    announced: bool | None
    """Whether the session this span opened has been announced; None if it opened none."""

    def __repr__(self) -> str:
        return f"<Span {self.event_name!r} {self.event_type} {self.event_id}>"

    def enrich(self, **fields: object) -> Self:
        """Add to the event: metadata, metrics, feedback, config, user_properties (objects, merged), outputs, error.

        After the span has finished this becomes a later update of the event. Returns itself.

        Raises:
            TraceError: a field with another name.
        """
        check_fields(fields)
        if self.id and self.context[2]:
            with guard("enriching a span"):
                if live.get(self.id) is self:
                    add(self, fields)
                else:
                    submit_update(self.recorder, self.id, fields)
        return self

    @property
    def event_id(self) -> str:
        """The event's id: lower-case UUIDv4."""
        return self.id.decode()

    @property
    def session_id(self) -> str:
        """The id of the session this span belongs to."""
        return self.session.decode()

    @property
    def parent_id(self) -> str:
        """The id of the parent event, or of the session for a top-level span."""
        return self.parent_id_bytes.decode()

    @property
    def event_name(self) -> str:
        """The name the event will have."""
        return self.plan.event_name

    @property
    def event_type(self) -> str:
        """chain, model, tool or session."""
        return self.plan.event_type


def check_fields(fields: Mapping[str, object], allowed: tuple[str, ...] = ENRICHABLE) -> None:
    """Raise TraceError for a field that cannot be enriched: a typo must not lose data silently."""
    for name in fields:
        if name not in allowed:
            raise TraceError(f"unknown field {name!r}: expected {', '.join(allowed)}")


def pieces(recorder: Recorder, values: object) -> dict[str, Any]:
    """Snapshot each value of a mapping on its own, secrets replaced; anything else goes under "value"."""
    if not isinstance(values, Mapping):
        values = {"value": values}
    snapshot, is_secret = recorder.snapshot, recorder.snapshotter.is_secret
    encoded: dict[str, Any] = {}
    for key, value in list(values.items()):
        name = key if type(key) is str else str(key)
        encoded[name] = "[redacted]" if is_secret(name) else orjson.Fragment(snapshot(value))
    return encoded


# Numbers are written in microseconds with an exponent: 1763940000123123e-3 is the JSON number of milliseconds
# 1763940000123.123. One integer costs half of the two that a decimal point needs.
_RESULT = (
    b'%b,"event_id":"%b","session_id":"%b","parent_id":"%b",%b"start_time":%de-3,"end_time":%de-3,'
    b'"duration":%de-3,"inputs":%b,"outputs":{"result":%b}%b'
)
_OBJECT = _RESULT.replace(b'{"result":%b}', b"%b")
_OPEN = _RESULT[: _RESULT.index(b',"outputs"')]


def encode(span: Span, ended: int, result: object) -> bytes:
    """Encode the event of a call that returned, with nothing else to say. The path nearly every call takes."""
    plan, recorder = span.plan, span.recorder
    start = (span.started + span.clock) // 1000
    end = (ended + span.clock) // 1000
    return (_OBJECT if isinstance(result, dict) else _RESULT) % (
        plan.head,
        span.id,
        span.session,
        span.parent_id_bytes,
        recorder.source,
        start,
        end,
        end - start,
        span.inputs,
        recorder.snapshot(result),
        plan.tail,
    )


def encode_extra(span: Span, ended: int, outputs: dict[str, Any] | None, error: str | None) -> bytes:
    """Encode an event with enrichment, an error, or outputs that are encoded already."""
    plan, recorder = span.plan, span.recorder
    start = (span.started + span.clock) // 1000
    end = (ended + span.clock) // 1000
    opened = _OPEN % (
        plan.head,
        span.id,
        span.session,
        span.parent_id_bytes,
        recorder.source,
        start,
        end,
        end - start,
        span.inputs,
    )
    rest: dict[str, Any] = {}
    extra = span.extra or {}
    enriched = extra.get("outputs")
    if outputs is not None or enriched is not None:
        rest["outputs"] = {**(outputs or {}), **(enriched or {})}
    if error is not None:
        rest["error"] = error
    elif "error" in extra:
        rest["error"] = extra["error"]["error"]
    for field in OBJECT_FIELDS:
        fixed = plan.fixed.get(field)
        merged = {**(pieces(recorder, fixed) if fixed else {}), **extra.get(field, {})}
        if merged:
            rest[field] = merged
    return opened + b"," + orjson.dumps(rest)[1:] if rest else opened + b"}"


def add(span: Span, fields: Mapping[str, object]) -> None:
    """Snapshot what a caller adds to a running span. Later values of a key win."""
    extra = span.extra
    if extra is None:
        extra = span.extra = {}
    for field, values in fields.items():
        if values is None:
            continue
        if field == "error":
            text = orjson.loads(span.recorder.snapshot(values))
            extra["error"] = {"error": text if isinstance(text, str) else str(text)}
        else:
            extra.setdefault(field, {}).update(pieces(span.recorder, values))


def submit_update(
    recorder: Recorder, event_id: bytes, fields: Mapping[str, object], encoded: Mapping[str, Any] | None = None
) -> None:
    """Submit a change of an event or session that has been submitted before.

    An error cannot be changed any more (contract: PUT ignores it), so it goes into the metadata.
    """
    changes: dict[str, Any] = dict(encoded or {})
    for field, values in fields.items():
        if values is not None:
            target, values = ("metadata", {"error": values}) if field == "error" else (field, values)
            changes.setdefault(target, {}).update(pieces(recorder, values))
    if changes:
        recorder.submit(Event("update", event_id, orjson.dumps(changes), time_ns()))
