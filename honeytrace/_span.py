"""A unit of work while it runs, and how it becomes an event.

A `Plan` is what is known before a call: one per decorated callable, or one per `span()`. A `Call` is what is known
once it has started; it never changes. What does change, enrichment, waits in `live` under the event's id: the plan
itself while there is none, else an `Extra`. Whoever takes the entry out of `live` finishes the span, so the first
outcome wins, and a forked child (which empties `live`) never finishes a span of its parent.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from time import perf_counter_ns, time_ns

import orjson

from honeytrace._context import Current
from honeytrace._diagnostics import guard
from honeytrace._event import OPEN, Submit, packed_frame
from honeytrace.exceptions import TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from typing_extensions import Self

    from honeytrace._snapshot import Snapshotter
    from honeytrace.protocols import Sampler

__all__ = [
    "OBJECT_FIELDS",
    "Call",
    "Extra",
    "Plan",
    "Recorder",
    "Span",
    "add",
    "check_fields",
    "encode_extra",
    "live",
    "pieces",
    "submit_update",
]

OBJECT_FIELDS = ("metadata", "metrics", "feedback", "config", "user_properties")
"""The fields that enrichment merges into, key by key."""

ENRICHABLE = (*OBJECT_FIELDS, "outputs", "error")
"""What may be added to a span."""


class _Live(dict[bytes, "Plan | Extra"]):
    __slots__ = ()

    def __reduce__(self) -> str:  # one per process: what is pickled with a door in it finds that of its own process
        return "live"


live: dict[bytes, Plan | Extra] = _Live()
"""Running spans, and sessions opened by hand, by event id."""


class Recorder:
    """What recording needs between init() and shutdown(): settings, and where finished events go.

    Made once and never changed; a span finishes with the recorder it started with.
    """

    __slots__ = (
        "anchor",
        "anchor_until",
        "fields",
        "get",
        "reset",
        "sampler",
        "session_name",
        "set",
        "snapshot",
        "snapshotter",
        "source",
        "submit",
        "variable",
    )

    def __init__(
        self,
        *,
        variable: ContextVar[Current | None],
        snapshotter: Snapshotter,
        submit: Submit,
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
        self.source = source
        self.session_name = session_name
        self.sampler = sampler
        self.anchor = self.anchor_until = 0

    def new_anchor(self) -> int:
        """Compare wall clock and monotonic clock again: at most once a second, where a session starts."""
        now = perf_counter_ns()
        self.anchor = time_ns() - now
        self.anchor_until = now + 1_000_000_000
        return self.anchor


class Plan:
    """What every span of one place in the program has in common.

    `head` opens the event's JSON, `tail` closes it in the usual case (nothing enriched, no error), and `frame` is both
    as they go into a packed body; `object_frame` where the result is a dict. A subclass may reshape inputs
    and results: what a decorator was told to leave out, rewrite or hide (see _plan).
    """

    __slots__ = (
        "encoded",
        "event_name",
        "event_type",
        "expected",
        "fixed",
        "frame",
        "head",
        "object_frame",
        "plain_outputs",
        "prepared_for",
        "reduce",
        "simple_for",
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
        self.fixed = {field: values for field, values in fixed.items() if values is not None and len(values)}
        self.expected = expected
        self.reduce: Callable[[list[Any]], object] | None = None
        self.plain_outputs = True
        """Whether a snapshot of the result is all there is to do."""
        self.head = self.frame = self.object_frame = b""
        self.encoded: dict[str, dict[str, Any]] = {}
        self.tail = b"}"
        self.prepared_for: Recorder | None = None
        self.simple_for: Recorder | None = None
        """The recorder under which a snapshot of plain inputs and results is all there is to do."""

    def prepare(self, recorder: Recorder) -> None:
        """Encode what does not change from call to call. Runs at the first call under each recorder."""
        self._publish(recorder, True)

    def _publish(self, recorder: Recorder, simple: bool) -> None:
        """Encode head and tail; then, and only then, let calls use them."""
        self.head = b'{"event_type":"%b","event_name":%b,"source":%b' % (
            self.event_type.encode(),
            recorder.snapshot(self.event_name),
            recorder.snapshot(recorder.source),
        )
        tail = b"}"
        self.encoded = {field: pieces(recorder, values) for field, values in self.fixed.items()}
        if self.encoded:
            tail = b"," + orjson.dumps(self.encoded)[1:]
        self.object_frame = packed_frame(self.head, tail, is_object=True)
        self.frame = packed_frame(self.head, tail, is_object=False)
        self.tail = tail
        self.simple_for = recorder if simple else None
        self.prepared_for = recorder

    def inputs(self, recorder: Recorder, values: dict[str, object]) -> bytes:
        """Encode the inputs of a call, whatever they are."""
        if self.prepared_for is not recorder:
            self.prepare(recorder)
        return recorder.fields(values)

    def state(self, recorder: Recorder) -> Plan | Extra:
        """What `live` holds of a span that starts: the plan if it is a simple one."""
        return self if self.simple_for is recorder else Extra(self)

    def outputs(self, recorder: Recorder, result: object) -> dict[str, Any]:
        """Encode a result key by key: a dict's own keys, anything else under "result"."""
        return pieces(recorder, result if issubclass(type(result), dict) else {"result": result})


class Extra:
    """What was added to a running span, snapshotted: by field and key, and the error by itself."""

    __slots__ = ("error", "fields", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.error: str | None = None
        self.fields: dict[str, dict[str, Any]] = {}


if TYPE_CHECKING:

    class Call(NamedTuple):
        """One span that has started."""

        plan: Plan
        recorder: Recorder
        session: bytes
        id: bytes | None
        """None: the session is not kept, and this was only to be made current."""
        parent: bytes
        anchor: int
        """Wall clock minus monotonic clock, in ns; the same for all spans of a session."""
        inputs: bytes
        token: Token[Current | None]
        start: int
        """Monotonic nanoseconds."""
        root: bool
        """Whether it opened its own session."""
        opening: list[Any] | None
        """What is needed to announce that session, as in the context."""
else:
    Call = namedtuple(
        "Call", ("plan", "recorder", "session", "id", "parent", "anchor", "inputs", "token", "start", "root", "opening")
    )


class Span:
    """A running or finished span, by its ids.

    Safe to use at any time and from any thread: after the span has finished, what is added becomes a later update of
    its event.
    """

    __slots__ = ("_id", "_plan", "_recorder", "_session")

    def __init__(self, recorder: Recorder | None, plan: Plan, session: bytes, id: bytes) -> None:
        self._recorder = recorder
        self._plan = plan
        self._session = session
        self._id = id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.event_name!r} {self.event_type} {self.event_id or '(not recorded)'}>"

    @property
    def event_id(self) -> str:
        """The event's id, a lower-case UUIDv4; empty if the span is not recorded."""
        return self._id.decode()

    @property
    def session_id(self) -> str:
        """The id of the session this span belongs to; empty if the span is not recorded."""
        return self._session.decode()

    @property
    def event_name(self) -> str:
        """The name the event has."""
        return self._plan.event_name

    @property
    def event_type(self) -> str:
        """chain, model, tool or session."""
        return self._plan.event_type

    def enrich(self, **fields: object) -> Self:
        """Add to the event: metadata, metrics, feedback, config, user_properties (objects, merged), outputs, error.

        Returns the span itself.

        Raises:
            TraceError: a field with another name.
        """
        check_fields(fields)
        if self._recorder is not None and self._id:
            with guard("enriching a span"):
                if not add(self._recorder, self._id, fields):
                    submit_update(self._recorder, self._id, fields)
        return self


def check_fields(fields: Mapping[str, object], allowed: tuple[str, ...] = ENRICHABLE) -> None:
    """Raise TraceError for a field that cannot be enriched: a typo must not lose data silently."""
    for name in fields:
        if name not in allowed:
            raise TraceError(f"unknown field {name!r}: expected {', '.join(allowed)}")


def pieces(recorder: Recorder, values: object) -> dict[str, Any]:
    """Snapshot a mapping as a whole, bounded and with secrets replaced; anything else goes under "value".

    What comes back is private and plain: dicts, lists, strings and numbers.
    """
    try:
        mapping = values if issubclass(type(values), dict) else dict(values)  # type: ignore[call-overload]
    except Exception:  # no mapping, or one that cannot be read
        mapping = {"value": values}
    decoded = orjson.loads(recorder.snapshot(mapping))
    return decoded if isinstance(decoded, dict) else {"value": decoded}


def encode_extra(
    call: Call,
    ended: int,
    extra: Extra,
    outputs: dict[str, Any] | None = None,
    error: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Encode an event with enrichment, an error, or metadata of its own. Outputs and metadata are encoded already."""
    plan = call.plan
    start, end = (call.start + call.anchor) // 1000, (ended + call.anchor) // 1000
    opened = plan.head + OPEN % (call.id, call.session, call.parent, start, end, end - start, call.inputs)
    rest: dict[str, Any] = {}
    enriched = extra.fields.get("outputs")
    if outputs is not None or enriched is not None:
        rest["outputs"] = {**(outputs or {}), **(enriched or {})}
    error = error if error is not None else extra.error
    if error is not None:
        rest["error"] = error
    for field in OBJECT_FIELDS:
        fixed, added = plan.encoded.get(field), extra.fields.get(field)
        own = metadata if field == "metadata" else None
        if fixed or added or own:
            rest[field] = {**(fixed or {}), **(own or {}), **(added or {})}
    return opened + b"," + call.recorder.snapshotter.bounded(orjson.dumps(rest))[1:] if rest else opened + b"}"


def add(recorder: Recorder, id: bytes, fields: Mapping[str, object]) -> bool:
    """Snapshot what a caller adds to a running span; False if it is not running. Later values of a key win."""
    state = live.get(id)
    if state is None:
        return False
    if isinstance(state, Plan):
        state = live[id] = Extra(state)
    for field, values in fields.items():
        if field == "error" and values is not None:
            text = orjson.loads(recorder.snapshot(values))
            state.error = recorder.snapshotter.scrub(text if isinstance(text, str) else str(text))
        elif values is not None:
            state.fields.setdefault(field, {}).update(pieces(recorder, values))
    return True


def submit_update(
    recorder: Recorder, id: bytes, fields: Mapping[str, object], encoded: Mapping[str, Any] | None = None
) -> None:
    """Submit a change of an event or session that has been submitted before.

    An error cannot be changed any more (contract: PUT ignores it), so it goes into the metadata.
    """
    changes: dict[str, Any] = dict(encoded or {})
    for field, values in fields.items():
        if values is not None:
            target, content = ("metadata", {"error": values}) if field == "error" else (field, values)
            changes.setdefault(target, {}).update(pieces(recorder, content))
    if changes:
        recorder.submit("update", id, recorder.snapshotter.bounded(orjson.dumps(changes)), time_ns())
