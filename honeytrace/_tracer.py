"""Recording by name: span(), session(), enrichment, what is current, and events logged after the fact.

A tracer is one place where events go and one tree of what is current. It records while it has a `recorder`: between
init() and shutdown(), which live in _lifecycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from time import time_ns

import orjson

from honeytrace._blocks import Session, SpanBlock
from honeytrace._bookkeeping import announce, announce_session, keeps, outputs_of_session
from honeytrace._context import NOTHING_KEPT, Current, leave, new_variable, settle
from honeytrace._diagnostics import guard, warn_once
from honeytrace._event import Kind, resolve_event_type
from honeytrace._ids import is_id, new_id
from honeytrace._span import OBJECT_FIELDS, Extra, Plan, Recorder, Span, add, check_fields, live, pieces, submit_update
from honeytrace.exceptions import ConfigError, TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType
    from typing import Any

__all__ = ["CurrentSession", "RecordingTracer", "Suppression"]


class Suppression:
    """Nothing inside the block is recorded: `with suppress():`. Also async."""

    __slots__ = ("_tokens", "_tracer")

    def __init__(self, tracer: RecordingTracer) -> None:
        self._tracer = tracer
        self._tokens: list[Token[Current | None]] = []

    def __enter__(self) -> None:
        self._tokens.append(self._tracer.variable.set(NOTHING_KEPT))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave(self._tracer.variable, self._tokens.pop(), NOTHING_KEPT)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class CurrentSession:
    """The session that new spans belong to; made elsewhere, perhaps in another process."""

    __slots__ = ("_opening", "_tracer", "session_id")

    def __init__(self, tracer: RecordingTracer, session_id: str, opening: list[Any] | None) -> None:
        self._tracer = tracer
        self._opening = opening
        self.session_id = session_id

    def __repr__(self) -> str:
        return f"<CurrentSession {self.session_id}>"

    def enrich(self, **fields: object) -> None:
        """Add to the session; see enrich_session."""
        recorder = self._tracer.recorder
        if recorder is not None:
            self._tracer.update_session(recorder, self.session_id.encode(), fields, self._opening)


class RecordingTracer:
    """What records. `recorder` is None while tracing is off."""

    def __init__(self) -> None:
        self.variable = new_variable()
        self.recorder: Recorder | None = None

    def decorate(self, function: Any, **options: Any) -> Any:
        """Apply `trace` of this tracer. Provided by the layer above."""
        raise NotImplementedError

    def span(
        self,
        name: str,
        event_type: str = "chain",
        *,
        inputs: Mapping[str, object] | None = None,
        config: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> SpanBlock:
        """Open a span around a block: `with`, `async with`, `@span(...)`, or `.start()` and `.end()`.

        Raises:
            TraceError: the event type is none of the contract's.
        """
        plan = Plan(str(name), _event_type(event_type), {"config": config, "metadata": metadata})
        return SpanBlock(self, plan, inputs)

    def session(
        self,
        name: str | None = None,
        *,
        session_id: str | None = None,
        inputs: Mapping[str, object] | None = None,
        user_properties: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> Session:
        """Open a session: everything inside the block belongs to it.

        `session_id` joins a session that exists (a lower-case UUID); by default a new one is made.

        Raises:
            ConfigError: the session id is no UUID. The server would silently replace it.
        """
        recorder = self.recorder
        title = name or (recorder.session_name if recorder else None) or "session"
        announcement = {"user_properties": user_properties, "metadata": metadata, "config": config}
        return Session(self, Plan(str(title), "session", {}), inputs, session_id, announcement)

    def current_span(self) -> Span | None:
        """The running span that new spans become children of, if there is one in this context."""
        current = settle(self.variable)
        if current is None or not current[2] or current[0] == current[1]:
            return None
        state = live.get(current[1])
        if state is None:
            return None
        return Span(self.recorder, state.plan if isinstance(state, Extra) else state, current[0], current[1])

    def current_session(self) -> CurrentSession | None:
        """The current session, if there is one in this context."""
        current = settle(self.variable)
        if current is None or not current[2]:
            return None
        return CurrentSession(self, current[0].decode(), current[4])

    def enrich_span(self, **fields: object) -> None:
        """Add to the current span: metadata, metrics, feedback, config, user_properties, outputs, error.

        Objects are merged key by key; `outputs` adds to what the function returns; `error` is a text that marks the
        event as failed. Outside any span this does nothing but say so once.

        Raises:
            TraceError: a field with another name.
        """
        check_fields(fields)
        recorder, current = self.recorder, settle(self.variable)
        if recorder is None or (current is not None and not current[2]):
            return
        with guard("enriching a span"):
            if current is None:
                warn_once("enrich_span", "enrich_span() was called outside any span; nothing was recorded")
                return
            if current[0] == current[1] and current[1] in live:
                self.update_session(recorder, current[0], fields, current[4])
            elif not add(recorder, current[1], fields):
                submit_update(recorder, current[1], fields)

    def enrich_session(self, **fields: object) -> None:
        """Add to the current session: metadata, metrics, feedback, config, user_properties, outputs.

        Written at once, so that it survives whatever happens to the rest of the session.

        Raises:
            TraceError: a field with another name.
        """
        check_fields(fields)
        recorder, current = self.recorder, settle(self.variable)
        if recorder is None or (current is not None and not current[2]):
            return
        with guard("enriching a session"):
            if current is None:
                warn_once("enrich_session", "enrich_session() was called outside any session; nothing was recorded")
                return
            self.update_session(recorder, current[0], fields, current[4])

    def update_session(
        self, recorder: Recorder, session: bytes, fields: Mapping[str, object], opening: list[Any] | None = None
    ) -> None:
        """Submit a change of a session, its announcement first if that is still to come."""
        check_fields(fields)
        with guard("enriching a session"):
            announce(recorder, session, opening)
            encoded = None
            if opening is not None and fields.get("outputs") is not None:
                encoded = {"outputs": dict(outputs_of_session(session, pieces(recorder, fields["outputs"])))}
                fields = {**fields, "outputs": None}
            submit_update(recorder, session, fields, encoded)

    def update_event(self, event_id: str, **fields: object) -> None:
        """Change an event that has been recorded, from anywhere: feedback that comes later, for example.

        The same fields as enrich_span except `error`, which can never change once an event is stored. The event may be
        another process's; a span that still runs takes the change along when it finishes. An id that its destination
        does not know is told by the log and `honeytrace dead-letters`, for the local store by `honeytrace doctor`.

        Raises:
            ConfigError: the id is no UUID.
            TraceError: a field with another name.
        """
        check_fields(fields, (*OBJECT_FIELDS, "outputs"))
        if event_id == "":  # of a span that was not recorded: tracing was off, or its session is not kept
            return
        if not is_id(event_id):
            raise ConfigError(f"event_id must be a lower-case UUID, not {event_id!r}")
        recorder = self.recorder
        if recorder is not None:
            with guard("updating an event"):
                id = event_id.encode()
                # An update must not overtake its event; a session's has been announced.
                if not (_is_running_span(id) and add(recorder, id, fields)):
                    submit_update(recorder, id, fields)

    def log_event(
        self,
        name: str,
        event_type: str = "tool",
        *,
        inputs: Mapping[str, object] | None = None,
        outputs: object = None,
        error: str | None = None,
        config: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
        feedback: Mapping[str, object] | None = None,
        user_properties: Mapping[str, object] | None = None,
        start_time: float | datetime | None = None,
        end_time: float | datetime | None = None,
    ) -> str | None:
        """Record something that has happened already; returns its event id, None while tracing is off.

        Times are seconds since the epoch or datetimes. Without an end it ends now, and without a start it took no
        time. An end before the start counts as the start, and the log tells it once: a clock may be set back in
        between. It becomes a child of what is current, or a session of its own.

        Raises:
            TraceError: the event type is none of the contract's.
            ConfigError: a time is no number of seconds since the epoch.
        """
        resolved = _event_type(event_type)
        times = [None if moment is None else _microseconds(moment) for moment in (start_time, end_time)]
        recorder, current = self.recorder, settle(self.variable)
        if recorder is None or (current is not None and not current[2]):
            return None
        with guard("logging an event"):
            called = time_ns()
            end = called // 1000 if times[1] is None else times[1]
            start = end if times[0] is None else times[0]
            if end < start:
                said = "log_event(%r): end_time %s is before start_time %r; recorded as if it took no time"
                warn_once(
                    "end before start", said, str(name), "now" if end_time is None else repr(end_time), start_time
                )
                end = start
            event_id = new_id()
            if current is None:
                session = new_id()
                if not keeps(recorder, session):
                    return None
                current = (session, session, True, 0, None)
                alone = True
            else:
                alone = False
            session, parent = current[0], current[1]
            rest: dict[str, Any] = {
                "event_type": resolved,
                "event_name": orjson.Fragment(recorder.snapshot(str(name))),
                "source": orjson.Fragment(recorder.snapshot(recorder.source)),
                "event_id": event_id.decode(),
                "session_id": session.decode(),
                "parent_id": parent.decode(),
                "start_time": orjson.Fragment(b"%de-3" % start),
                "end_time": orjson.Fragment(b"%de-3" % end),
                "duration": orjson.Fragment(b"%de-3" % (end - start)),
                "inputs": pieces(recorder, {} if inputs is None else inputs),
            }
            if outputs is not None:
                rest["outputs"] = pieces(recorder, outputs if isinstance(outputs, Mapping) else {"result": outputs})
            if error is not None:
                rest["error"] = orjson.Fragment(recorder.snapshot(recorder.snapshotter.scrub(str(error))))
            given = zip(OBJECT_FIELDS, (metadata, metrics, feedback, config, user_properties), strict=True)
            rest.update({field: pieces(recorder, values) for field, values in given if values is not None})
            kind: Kind = "event"
            if alone and recorder.session_name is not None:
                announce_session(recorder, session, recorder.session_name, start * 1000, b"{}", {}, called)
                kind = "last"
            elif alone:
                kind = "root"
            else:
                announce(recorder, session, current[4])
            recorder.submit(kind, event_id, orjson.dumps(rest), called)
            return event_id.decode()
        return None

    def suppress(self) -> Suppression:
        """Record nothing inside the block, and nothing that is started from it."""
        return Suppression(self)


def _is_running_span(id: bytes) -> bool:
    state = live.get(id)
    return state is not None and (state.plan if isinstance(state, Extra) else state).event_type != "session"


def _event_type(given: str) -> str:
    try:
        return resolve_event_type(given)
    except ValueError as error:
        raise TraceError(str(error)) from None


def _microseconds(moment: float | datetime) -> int:
    try:
        seconds = moment if isinstance(moment, (int, float)) else moment.timestamp()
        if not isinstance(moment, bool) and 0 <= seconds < 1e11:  # beyond that it is milliseconds
            return int(seconds * 1_000_000)
    except (AttributeError, OverflowError, ValueError):
        pass
    raise ConfigError(f"a time must be a datetime or a number of seconds since the epoch, not {moment!r}")
