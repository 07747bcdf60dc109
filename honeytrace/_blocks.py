"""Spans and sessions that a program opens itself: `with span(...)`, `with session(...)`, or start() and end().

A block is its own span. Used before init(), after shutdown() or under suppress() it does nothing at all, and all
its methods stay safe to call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson

from honeytrace._bookkeeping import announce, begin, finish_with, leave
from honeytrace._context import Current
from honeytrace._diagnostics import guard
from honeytrace._ids import is_id, new_id
from honeytrace._span import Plan, Recorder, Span, add, live, pieces, submit_update
from honeytrace._traceback import describe_error, format_traceback
from honeytrace.exceptions import ConfigError, TraceError

if TYPE_CHECKING:
    from typing_extensions import Self

    from honeytrace._tracer import RecordingTracer

__all__ = ["Session", "SpanBlock"]

F = TypeVar("F", bound=Callable[..., Any])


class SpanBlock(Span):
    """A span opened by hand: a context manager (also async), a decorator, or start() and end().

    It is current between start and end, in the context that started it. Reusable one time after the other, not
    nested in itself.
    """

    __slots__ = ("_inputs", "_tracer", "running")

    def __init__(self, tracer: RecordingTracer, plan: Plan, inputs: Mapping[str, object] | None) -> None:
        self._tracer = tracer
        self._inputs = inputs
        self.plan = plan
        self.running = False
        self.id = self.session = self.parent_id_bytes = b""
        self.token = None
        self.extra = None

    def start(self) -> Self:
        """Start the span now and make it current. Returns itself."""
        recorder = self._tracer.recorder
        if recorder is None or self.running:
            return self
        self.extra = None
        with guard("starting a span"):
            values = dict(self._inputs) if self._inputs is not None else {}
            inputs = recorder.snapshot(values) if values else b"{}"
            self._open(recorder, inputs)
        return self

    def _open(self, recorder: Recorder, inputs: bytes) -> None:
        span = begin(self.plan, recorder, None, inputs, self)
        self.running = span is not None

    def end(self, outputs: object = None, error: BaseException | str | None = None) -> None:
        """End the span. `outputs` are recorded as a function's result would be; a second end() does nothing."""
        if not self.running:
            return
        self.running = False
        with guard("finishing a span"):
            if outputs is not None:
                add(self, {"outputs": outputs if isinstance(outputs, Mapping) else {"result": outputs}})
            if isinstance(error, str):
                add(self, {"error": error})
        finish_with(self, None, error=error if isinstance(error, BaseException) else None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        elif self.running:
            self.running = False
            finish_with(self, None, error=error)

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Use as a decorator: every call of the function is a span of this name."""
        plan = self.plan
        return cast(
            F,
            self._tracer.decorate(
                function,
                event_type=plan.event_type,
                event_name=plan.event_name,
                config=plan.fixed.get("config"),
                metadata=plan.fixed.get("metadata"),
            ),
        )


class Session(SpanBlock):
    """A session opened by hand. Everything inside belongs to it; it is announced at once and completed at its end."""

    __slots__ = ("_announcement", "_given_id")

    def __init__(
        self,
        tracer: RecordingTracer,
        plan: Plan,
        inputs: Mapping[str, object] | None,
        session_id: str | None,
        announcement: Mapping[str, object],
    ) -> None:
        super().__init__(tracer, plan, inputs)
        if session_id is not None and not is_id(session_id):
            raise ConfigError(f"session_id must be a lower-case UUID such as str(uuid.uuid4()), not {session_id!r}")
        self._given_id = session_id
        self._announcement = announcement

    def __repr__(self) -> str:
        return f"<Session {self.event_name!r} {self.session_id}>"

    def enrich(self, **fields: object) -> Self:
        """Add to the session: metadata, metrics, feedback, config, user_properties, outputs. Written at once."""
        if self.id and self.context[2]:
            self._tracer.update_session(self.id, fields)
        return self

    def _open(self, recorder: Recorder, inputs: bytes) -> None:
        session = new_id() if self._given_id is None else self._given_id.encode()
        now = perf_counter_ns()
        kept = recorder.sampler is None or bool(recorder.sampler.keep(session.decode()))
        self.recorder = recorder
        self.id = self.session = self.parent_id_bytes = session
        self.clock = time_ns() - now
        self.started = now
        self.inputs = inputs
        self.extra = None
        self.announced = True
        self.running = True
        if kept:
            fields = {
                field: pieces(recorder, values) for field, values in self._announcement.items() if values is not None
            }
            live[session] = self
            announce(self, **fields)
        context: Current = (session, session, kept, self.clock)
        self.context = context
        self.token = recorder.set(context)

    def end(self, outputs: object = None, error: BaseException | str | None = None) -> None:
        """End the session; a second end() does nothing."""
        if not self.running:
            return
        self.running = False
        ended = perf_counter_ns()
        with guard("finishing a session"):
            leave(self)
            if live.pop(self.session, None) is None:
                return
            if outputs is not None:
                add(self, {"outputs": outputs if isinstance(outputs, Mapping) else {"result": outputs}})
            if error is not None:
                # The contract has no error field for sessions: neither the call that opens one nor the one that ends it.
                text = error if isinstance(error, str) else describe_error(error)
                add(self, {"metadata": {"error": text}})
                if isinstance(error, BaseException):
                    add(self, {"metadata": {"traceback": format_traceback(error)}})
            start = (self.started + self.clock) // 1000
            end = (ended + self.clock) // 1000
            update: dict[str, Any] = dict(self.extra or {})
            update["end_time"] = orjson.Fragment(b"%de-3" % end)
            update["duration"] = orjson.Fragment(b"%de-3" % (end - start))
            submit_update(self.recorder, self.session, {}, update)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error=error)

    def __call__(self, function: F) -> F:
        """Sessions are no decorators: use `with session(...)` inside the function, or `trace` around it."""
        raise TraceError("session(...) is a context manager, not a decorator; use @trace, or `with session(...):` inside")
