"""What happens around a traced call off the beaten track: errors, enrichment, announcements, full stacks.

The common path is written out in the doors (_doors); everything here runs only when there is something to say beyond
inputs and a result. Nothing here raises an Exception into the caller: what goes wrong is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from time import perf_counter_ns, time_ns

import orjson

from honeytrace._context import before, gone, note_gone, restore, settle
from honeytrace._diagnostics import failed, failures, warn_once
from honeytrace._event import unpack
from honeytrace._span import Call, Extra, Plan, Recorder, encode_extra, live

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "announce",
    "announce_session",
    "complete",
    "fail",
    "finish_enriched",
    "finish_late",
    "finish_with",
    "keeps",
    "late",
    "leave",
    "leave_by_hand",
    "outputs_of_session",
    "submit",
]  # fmt: skip


class _Late(deque["tuple[tuple[Any, ...], BaseException | None, int] | None"]):
    __slots__ = ()

    def __reduce__(self) -> Any:  # one per process
        return "late"


late: deque[tuple[tuple[Any, ...], BaseException | None, int] | None] = _Late(maxlen=10_000)
"""Spans that could not be finished where they ended, mostly for lack of stack. The next one takes them along.

None stands for one that could not even start: it is only to be counted.
"""

session_outputs: dict[bytes, dict[str, Any]] = {}
"""What was given as outputs to sessions that a root call opened, until that call ends."""

_SESSIONS = 1_000


def keeps(recorder: Recorder, session: bytes) -> bool:
    """Ask the sampler; a sampler that raises keeps the session."""
    sampler = recorder.sampler
    if sampler is None:
        return True
    try:
        return bool(sampler.keep(session.decode()))
    except Exception as error:
        failed("sampling", error)
        return True


def leave(call: Call) -> None:
    """Make current again what was current before this span, in whatever context this runs."""
    try:
        call.recorder.reset(call.token)
    except (ValueError, RuntimeError):
        restore(call.recorder.variable, call.token, call.session, call.id)
    if gone:
        settle(call.recorder.variable)


def leave_by_hand(call: Call) -> None:
    """Leave a span that was opened by hand and may end in any order, in any context.

    Where another span is current, that one stays. This one is passed over when that one ends, and in the context that
    started it, which nobody else can set back.
    """
    variable = call.recorder.variable
    current = variable.get()
    mine = current is not None and current[0] == call.session and current[1] == (call.id or call.session)
    if mine:
        try:
            call.recorder.reset(call.token)
        except (ValueError, RuntimeError):
            restore(variable, call.token, call.session, call.id)
            mine = False
    if not mine and call.id is not None:
        note_gone(call.id, before(call.token))
    if gone:
        settle(variable)


def finish_enriched(call: Call, ended: int, extra: Extra, result: object) -> None:
    """Finish a call that returned and has left already, with what was added to it."""
    submit(call, encode_extra(call, ended, extra, call.plan.outputs(call.recorder, result)))


def fail(call: Call, error: BaseException | None, waits: bool = False) -> None:
    """Finish a call with the exception that ended it; one that `waits` is closed by GeneratorExit, and did not fail."""
    if waits and isinstance(error, GeneratorExit):
        finish_with(call, metadata={"outcome": "closed"})
    else:
        finish_with(call, error=error)


def finish_with(
    call: Call,
    outputs: dict[str, Any] | None = None,
    *,
    error: BaseException | None = None,
    metadata: dict[str, Any] | None = None,
    left: bool = False,
    by_hand: bool = False,
    ended: int | None = None,
) -> None:
    """Leave and finish a span, with outputs that are encoded already, an error, and metadata of its own.

    With `left` it has been left before: a generator's span, which is entered and left at every step. `by_hand` says
    that it was opened by hand, `ended` (monotonic ns) when it ended, if not at this moment.
    """
    ended = perf_counter_ns() if ended is None else ended
    state: Plan | Extra | None = None
    try:
        if by_hand:
            leave_by_hand(call)
        elif not left:
            leave(call)
        if call.id is None:
            return
        state = live.pop(call.id, None)
        if state is None:
            return
        extra = state if isinstance(state, Extra) else Extra(call.plan)
        own = metadata or {}
        text = None
        if error is not None:
            text, about = _describe(call.plan, call.recorder, error)
            own = {**own, **about}
        submit(call, encode_extra(call, ended, extra, outputs, text, own))
        state = None
        if late:
            finish_late()
    except RecursionError:
        if state is not None and call.id is not None:
            live[call.id] = state
        late.append((call, error, ended))
    except Exception as problem:
        failed("finishing a span", problem)


_CANCELLATIONS = ("CancelledError", "Cancelled")
"""What asyncio and concurrent.futures call it, and trio."""


def _describe(plan: Plan, recorder: Recorder, error: BaseException) -> tuple[str | None, dict[str, str]]:
    """The text of an error, None for an expected one, and what the metadata says about it."""
    from honeytrace._traceback import describe_error, format_traceback  # most programs start without an error

    scrub = recorder.snapshotter.scrub
    text = describe_error(error, scrub)
    if plan.expected and isinstance(error, plan.expected):
        return None, {"expected_error": text}
    about = {"traceback": format_traceback(error, scrub)}
    if type(error).__name__ in _CANCELLATIONS:
        about["outcome"] = "cancelled"
    return text, about


def finish_late() -> None:
    """Finish what could not be finished where it ended."""
    while late:
        try:
            waiting = late.popleft()
        except IndexError:
            return
        if waiting is None:
            try:
                warn_once("full stack", "a call on a full stack was not recorded (further ones are only counted)")
                failures["starting a span on a full stack"] += 1
            except RecursionError:  # it still is
                late.append(None)
                return
            continue
        fields, error, ended = waiting
        id, state = fields[3], None
        try:
            call = Call(*fields)
            state = None if id is None else live.pop(id, None)
            if state is not None:
                extra = state if isinstance(state, Extra) else Extra(call.plan)
                text, about = (None, {}) if error is None else _describe(call.plan, call.recorder, error)
                submit(call, encode_extra(call, ended, extra, None, text, about))
        except RecursionError:  # here, too
            if state is not None:
                live[id] = state
            late.append(waiting)
            return
        except Exception as problem:
            failed("finishing a span", problem)


def submit(call: Call, body: bytes) -> None:
    """Hand an event over, the session's announcement ahead of the first event below it."""
    recorder, session = call.recorder, call.session
    assert call.id is not None
    if not call.root:
        if call.opening:
            announce(recorder, session, call.opening)
        recorder.submit("event", call.id, body, call.start + call.anchor)
    elif call.opening and recorder.session_name is None:
        recorder.submit("root", call.id, body, call.start + call.anchor)
        call.opening.clear()
    else:
        complete(recorder, session, call.opening, call.id, body, call.start + call.anchor)


def complete(
    recorder: Recorder,
    session: bytes,
    opening: list[Any] | None,
    id: bytes,
    body: bytes,
    start: int,
    took: int = -1,
) -> None:
    """Submit the event of the root call that ends a session, and with it the session's end.

    Its outputs are those of the root; what the program gave to the session itself stands beside them, and wins.
    """
    announce(recorder, session, opening)
    recorder.submit("last", id, body, start, took)
    given = session_outputs.pop(session, None)
    if given is not None:
        own = orjson.loads(body if took < 0 else unpack(id, body, start, took)).get("outputs") or {}
        recorder.submit("update", session, orjson.dumps({"outputs": {**own, **given}}), time_ns())


def outputs_of_session(session: bytes, given: dict[str, Any]) -> dict[str, Any]:
    """Add to the outputs given to the session of a root call so far, and return all of them."""
    if session not in session_outputs and len(session_outputs) >= _SESSIONS:
        session_outputs.pop(next(iter(session_outputs)), None)  # of a root that is over, or will never end
    outputs = session_outputs.setdefault(session, {})
    outputs.update(given)
    return outputs


def announce(recorder: Recorder, session: bytes, opening: list[Any] | None) -> None:
    """Submit the record that opens the session of a root call, unless that has been done."""
    waiting = tuple(opening or ())  # in one step: another thread may empty it
    if opening is not None and waiting:
        plan, start, inputs = waiting
        announce_session(recorder, session, recorder.session_name or plan.event_name, start, inputs, {})
        # Only then: another thread's event must find it full or come behind the announcement. Twice does no harm.
        opening.clear()


def announce_session(
    recorder: Recorder,
    session: bytes,
    name: str,
    start: int,
    inputs: bytes,
    fields: Mapping[str, object],
    called: int | None = None,
) -> None:
    """Submit the record that opens a session; `start` is the wall clock in nanoseconds, `called` that of the call."""
    body = {
        "session_id": session.decode(),
        "session_name": orjson.Fragment(recorder.snapshot(name)),
        "source": orjson.Fragment(recorder.snapshot(recorder.source)),
        "start_time": orjson.Fragment(b"%de-3" % (start // 1000)),
        "inputs": orjson.Fragment(inputs),
        **fields,
    }
    recorder.submit("session", session, orjson.dumps(body), start if called is None else called)
