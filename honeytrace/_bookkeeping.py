"""Start, make current, finish, submit: what happens around every traced call, whatever kind it is.

These functions run in the caller's thread, once at each end of a call. None of them raises an Exception: what goes
wrong is counted and the call goes on untraced. KeyboardInterrupt and SystemExit pass through.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from functools import partial
from time import perf_counter_ns, time_ns
from typing import Any

import orjson

from honeytrace._context import restore
from honeytrace._diagnostics import failed
from honeytrace._event import Event
from honeytrace._ids import new_id, take
from honeytrace._span import Plan, Recorder, Span, encode, encode_extra, live
from honeytrace._traceback import describe_error, format_traceback

__all__ = ["announce", "begin", "fail", "finish", "finish_with", "leave"]

# Half the cost of calling the class: this runs once per event.
_record = partial(tuple.__new__, Event)

_late: deque[tuple[Span, int, BaseException | None]] = deque()
"""Spans that could not be finished because the stack was full; the next one that finishes takes them along."""


def begin(
    plan: Plan,
    recorder: Recorder,
    values: dict[str, object] | None,
    inputs: bytes = b"{}",
    span: Span | None = None,
) -> Span | None:
    """Start a span below what is current and make it current; None if it is not to be recorded.

    `values` are the inputs by name; pass `inputs` instead where they are encoded already. `span` is the object to
    start, where there is one already.
    """
    try:
        current = recorder.get()
        if plan.head_for is not recorder:
            plan.prepare(recorder)
        if span is None:
            span = Span()
            span.extra = None
        if current is not None:
            session, parent, kept, clock = current
            if not kept:
                return None
            span.announced = None
        else:
            session = parent = new_id()
            clock = time_ns() - perf_counter_ns()
            if recorder.sampler is not None and not _keep(recorder, session):
                return _untraced(plan, recorder, span, session)
            span.announced = False
            live[session] = span
        try:
            span.id = event_id = take()
        except IndexError:
            span.id = event_id = new_id()
        span.plan = plan
        span.recorder = recorder
        span.session = session
        span.parent_id_bytes = parent
        span.clock = clock
        if values is None:
            span.inputs = inputs
        else:
            span.inputs = recorder.fields(values) if plan.shape is None else plan.shape(recorder, values)
        live[event_id] = span
        span.context = context = (session, event_id, True, clock)
        span.started = perf_counter_ns()
        span.token = recorder.set(context)
        return span
    except Exception as error:
        failed("starting a span", error)
        return None


def _keep(recorder: Recorder, session: bytes) -> bool:
    """Ask the sampler; a sampler that raises keeps the session."""
    try:
        return recorder.sampler is None or bool(recorder.sampler.keep(session.decode()))
    except Exception as error:
        failed("sampling", error)
        return True


def _untraced(plan: Plan, recorder: Recorder, span: Span, session: bytes) -> Span:
    """Make a session that is not kept current, so that nothing below opens one of its own."""
    span.plan, span.recorder = plan, recorder
    span.id = span.session = span.parent_id_bytes = session
    span.clock = span.started = 0
    span.inputs, span.announced = b"{}", None
    span.context = (session, session, False, 0)
    span.token = recorder.set(span.context)
    return span


def leave(span: Span) -> None:
    """Make current again what was current before this span."""
    token = span.token
    if token is not None:
        span.token = None
        try:
            span.recorder.reset(token)
        except (ValueError, RuntimeError):
            restore(span.recorder.variable, token, span.context)


def finish(span: Span, result: object) -> None:
    """Finish a span with what the call returned."""
    ended = perf_counter_ns()
    try:
        try:
            span.recorder.reset(span.token)  # type: ignore[arg-type]
        except (ValueError, RuntimeError):
            leave(span)
        if live.pop(span.id, None) is None:
            return
        plan = span.plan
        if span.extra is None and plan.shape_result is None:
            body = encode(span, ended, result)
        else:
            body = encode_extra(span, ended, plan.outputs(span.recorder, result), None)
        _submit(span, body)
        if _late:
            _finish_late()
    except RecursionError:
        _late.append((span, ended, None))
    except Exception as error:
        failed("finishing a span", error)


def fail(span: Span) -> None:
    """Finish a span with the exception that is being handled."""
    ended = perf_counter_ns()
    error = sys.exc_info()[1]
    try:
        leave(span)
        if live.pop(span.id, None) is None:
            return
        _submit(span, encode_extra(span, ended, None, _describe(span, error)))
        if _late:
            _finish_late()
    except RecursionError:
        _late.append((span, ended, error))
    except Exception as problem:
        failed("finishing a span", problem)


def finish_with(
    span: Span,
    outputs: dict[str, Any] | None,
    *,
    error: BaseException | None = None,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Finish a span with outputs that are encoded already, an error, and metadata of its own."""
    ended = perf_counter_ns()
    try:
        leave(span)
        if live.pop(span.id, None) is None:
            return
        if metadata:
            _metadata(span).update(metadata)
        text = None if error is None else _describe(span, error)
        _submit(span, encode_extra(span, ended, outputs, text))
    except Exception as problem:
        failed("finishing a span", problem)


def _metadata(span: Span) -> dict[str, Any]:
    """The span's own metadata, to add encoded or plain values to."""
    if span.extra is None:
        span.extra = {}
    return span.extra.setdefault("metadata", {})


def _describe(span: Span, error: BaseException | None) -> str | None:
    """Put the error's traceback into the metadata; return the text of the error, None for an expected one."""
    if error is None:
        return "unknown error"
    text = describe_error(error)
    metadata = _metadata(span)
    if span.plan.expected and isinstance(error, span.plan.expected):
        metadata["expected_error"] = text
        return None
    if type(error).__name__ == "CancelledError":
        metadata["outcome"] = "cancelled"
    metadata["traceback"] = format_traceback(error)
    return text


def _finish_late() -> None:
    while _late:
        try:
            span, ended, error = _late.popleft()
        except IndexError:
            return
        text = None if error is None else _describe(span, error)
        _submit(span, encode_extra(span, ended, None, text))


def _submit(span: Span, body: bytes) -> None:
    """Hand the event over, the session's announcement ahead of the first event below it."""
    recorder = span.recorder
    time = span.started + span.clock
    if span.announced is None:
        owner = live.get(span.session)
        if owner is not None and owner.announced is False:
            announce(owner)
        recorder.submit(_record(("event", span.id, body, time)))
        return
    live.pop(span.session, None)
    if span.announced is False and recorder.session_name is None:
        recorder.submit(_record(("root", span.id, body, time)))
    else:
        if span.announced is False:
            announce(span)
        recorder.submit(_record(("last", span.id, body, time)))


def announce(span: Span, **fields: object) -> None:
    """Submit the record that opens the session of this span."""
    recorder = span.recorder
    span.announced = True
    head = orjson.dumps(
        {
            "session_id": span.session.decode(),
            "session_name": orjson.Fragment(recorder.snapshot(recorder.session_name or span.event_name)),
            "source": orjson.Fragment(recorder.snapshot(recorder.source_name)),
            "start_time": orjson.Fragment(b"%de-3" % ((span.started + span.clock) // 1000)),
            "inputs": orjson.Fragment(span.inputs),
            **fields,
        }
    )
    recorder.submit(Event("session", span.session, head, span.started + span.clock))
