"""Spans and sessions that a program opens itself: `with span(...)`, `with session(...)`, or start() and end().

A block is its own span. Used before init(), after shutdown() or under suppress() it does nothing at all, and all
its methods stay safe to call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns, time_ns
from types import TracebackType

import orjson

from honeytrace._bookkeeping import announce_session, finish_with, keeps, leave_by_hand
from honeytrace._context import NOTHING_KEPT, gone
from honeytrace._diagnostics import guard
from honeytrace._doors import begin
from honeytrace._ids import is_id, new_id
from honeytrace._span import Call, Extra, Plan, Recorder, Span, add, check_fields, live, pieces, submit_update
from honeytrace.exceptions import ConfigError, TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from typing_extensions import Self

    from honeytrace._tracer import RecordingTracer

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Session", "SpanBlock"]


class SpanBlock(Span):
    """A span opened by hand: a context manager (also async), a decorator, or start() and end().

    It is current between start and end, in the context that started it. It can be used again after its end.
    """

    __slots__ = ("_call", "_inputs", "_tracer", "_waiting")

    def __init__(self, tracer: RecordingTracer, plan: Plan, inputs: Mapping[str, object] | None) -> None:
        super().__init__(None, plan, b"", b"")
        self._tracer = tracer
        self._inputs = inputs
        self._call: Call | None = None
        self._waiting: list[dict[str, object]] = []

    def start(self) -> Self:
        """Start the span now and make it current. Returns itself."""
        recorder = self._tracer.recorder
        if recorder is None:
            self._waiting.clear()
        if recorder is not None and self._call is None:
            self._recorder, self._id, self._session = recorder, b"", b""
            with guard("starting a span"):
                self._open(recorder, pieces(recorder, self._inputs) if self._inputs is not None else {})
                waiting, self._waiting = self._waiting, []
                for fields in waiting:
                    self.enrich(**fields)
        return self

    def _open(self, recorder: Recorder, inputs: dict[str, Any]) -> None:
        if self._plan.prepared_for is not recorder:
            self._plan.prepare(recorder)
        call = begin(self._plan, recorder, orjson.dumps(inputs))
        if call is not None:
            self._call = call
            self._session, self._id = call.session, call.id or b""

    def end(self, outputs: object = None, error: BaseException | str | None = None) -> None:
        """End the span. `outputs` are recorded as a function's result would be; a second end() does nothing."""
        call, self._call = self._call, None
        if call is None:
            self._waiting.clear()
            return
        encoded = None
        with guard("finishing a span"):
            if outputs is not None:
                encoded = _outputs(call.recorder, outputs)
            if isinstance(error, str) and call.id is not None:
                add(call.recorder, call.id, {"error": error})
        self._finish(call, encoded, error if isinstance(error, BaseException) else None)

    def _finish(self, call: Call, outputs: dict[str, Any] | None, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit):  # the generator around this block was closed: it did not fail
            finish_with(call, outputs, metadata={"outcome": "closed"}, by_hand=True)
        else:
            finish_with(call, outputs, error=error, by_hand=True)

    def enrich(self, **fields: object) -> Self:
        """Add to the event: metadata, metrics, feedback, config, user_properties (objects, merged), outputs, error.

        Before start() it waits for the start; after the end it becomes a later update. Returns the span itself.

        Raises:
            TraceError: a field with another name.
        """
        check_fields(fields)
        if not self._id and self._call is None:
            self._waiting.append(fields)
            return self
        return super().enrich(**fields)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error=error)

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error=error)

    def __call__(self, function: F) -> F:
        """Use as a decorator: every call of the function is a span of this name, with the function's own inputs."""
        plan = self._plan
        traced: F = self._tracer.decorate(
            function,
            event_type=plan.event_type,
            event_name=plan.event_name,
            config=plan.fixed.get("config"),
            metadata=plan.fixed.get("metadata"),
        )
        return traced


def _outputs(recorder: Recorder, outputs: object) -> dict[str, Any]:
    return pieces(recorder, outputs if isinstance(outputs, Mapping) else {"result": outputs})


class Session(SpanBlock):
    """A session opened by hand. Everything inside belongs to it; it is announced at once and completed at its end."""

    __slots__ = ("_announcement", "_given_id")

    def __init__(
        self,
        tracer: RecordingTracer,
        plan: Plan,
        inputs: Mapping[str, object] | None,
        session_id: str | None,
        announcement: Mapping[str, Mapping[str, object] | None],
    ) -> None:
        super().__init__(tracer, plan, inputs)
        if session_id is not None and not is_id(session_id):
            raise ConfigError(f"session_id must be a lower-case UUID such as str(uuid.uuid4()), not {session_id!r}")
        self._given_id = session_id
        self._announcement = {field: values for field, values in announcement.items() if values is not None}

    def enrich(self, **fields: object) -> Self:
        """Add to the session: metadata, metrics, feedback, config, user_properties, outputs. Written at once.

        Raises:
            TraceError: a field with another name.
        """
        check_fields(fields)
        if not self._id and self._call is None:
            self._waiting.append(fields)
        elif self._recorder is not None and self._id:
            self._tracer.update_session(self._recorder, self._id, fields)
        return self

    def _open(self, recorder: Recorder, inputs: dict[str, Any]) -> None:
        if recorder.get() is NOTHING_KEPT:
            return
        session = new_id() if self._given_id is None else self._given_id.encode()
        gone.pop(session, None)  # one that goes on
        start = perf_counter_ns()
        anchor = time_ns() - start
        kept = keeps(recorder, session)
        encoded = orjson.dumps(inputs)
        if kept:
            fields = {field: pieces(recorder, values) for field, values in self._announcement.items()}
            announce_session(recorder, session, self._plan.event_name, start + anchor, encoded, fields)
            live[session] = Extra(self._plan)
            self._session = self._id = session
        token = recorder.set((session, session, kept, anchor, None))
        own = session if kept else None
        self._call = Call(self._plan, recorder, session, own, session, anchor, encoded, token, start, True, None)

    def _finish(self, call: Call, outputs: dict[str, Any] | None, error: BaseException | None) -> None:
        ended = perf_counter_ns()
        leave_by_hand(call)
        with guard("finishing a session"):
            state = live.pop(call.session, None) if call.id is not None else None
            if state is None:
                return
            start, end = (call.start + call.anchor) // 1000, (ended + call.anchor) // 1000
            update: dict[str, Any] = {
                "end_time": orjson.Fragment(b"%de-3" % end),
                "duration": orjson.Fragment(b"%de-3" % (end - start)),
            }
            if outputs is not None:
                update["outputs"] = outputs
            # Neither the call that opens a session nor the one that ends it has a field for an error.
            text = state.error if isinstance(state, Extra) else None
            if error is not None and not isinstance(error, GeneratorExit):
                from honeytrace._traceback import describe_error, format_traceback

                scrub = call.recorder.snapshotter.scrub
                about = {"error": describe_error(error, scrub), "traceback": format_traceback(error, scrub)}
                update["metadata"] = about
            elif text is not None:
                update["metadata"] = {"error": text}
            submit_update(call.recorder, call.session, {}, update)

    def __call__(self, function: F) -> F:
        """Sessions are no decorators.

        Raises:
            TraceError: always; it says what to use instead.
        """
        raise TraceError(
            "session(...) is a context manager, not a decorator: use @trace, or `with session(...):` inside"
        )
