"""Carry what is current to where context variables do not go: threads, pools, other services.

Only honeytrace's own variables are carried into threads; the application's stay as they are there.
"""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, TypeVar

from honeytrace._bookkeeping import announce, keeps
from honeytrace._context import NOTHING_KEPT, Current, gone, leave, settle, variables
from honeytrace._diagnostics import guard
from honeytrace._ids import is_id
from honeytrace.exceptions import TraceError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import ParamSpec

    from honeytrace._tracer import RecordingTracer

    P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["Attachment", "ThreadPoolExecutor", "inject", "propagate"]


def propagate(function: Callable[P, R]) -> Callable[P, R]:
    """Return a callable that runs `function` below what is current at this moment, in any thread.

    For `threading.Thread(target=propagate(work))`, `loop.run_in_executor(None, propagate(work))` and pools; a coroutine
    function for another thread's event loop.

    Raises:
        TraceError: it cannot be called; perhaps it was called already: `propagate(work)`, not `propagate(work())`.
    """
    if not callable(function):
        raise TraceError(f"propagate() takes a function that is still to be called, not {type(function).__name__}")
    carried = [(variable, settle(variable)) for variable in variables]
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def carrying_on(*args: P.args, **kwargs: P.kwargs) -> Any:
            tokens = _enter(carried)
            try:
                return await function(*args, **kwargs)
            finally:
                _leave(tokens)

        return carrying_on  # type: ignore[return-value]

    @functools.wraps(function)
    def carrying(*args: P.args, **kwargs: P.kwargs) -> R:
        tokens = _enter(carried)
        try:
            return function(*args, **kwargs)
        finally:
            _leave(tokens)

    return carrying


def _enter(carried: list[tuple[ContextVar[Current | None], Current | None]]) -> list[Any]:
    return [(variable, variable.set(current), current) for variable, current in carried]


def _leave(tokens: list[Any]) -> None:
    for variable, token, current in reversed(tokens):
        leave(variable, token, current)


class ThreadPoolExecutor(concurrent.futures.ThreadPoolExecutor):
    """A concurrent.futures.ThreadPoolExecutor whose work runs below what is current where it was submitted."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[R]:
        """Schedule a call; see concurrent.futures."""
        return super().submit(propagate(fn), *args, **kwargs)


def inject(tracer: RecordingTracer, headers: MutableMapping[str, str]) -> None:
    """Write what is current into outgoing headers: W3C traceparent and baggage.

    The baggage carries session_id, parent_id (the event's id) and source, as HoneyHive's own clients do; other
    members that are there already are kept. A session that is not kept is passed on as such (trace flag 00).
    """
    current, recorder = settle(tracer.variable), tracer.recorder
    if current is None or recorder is None or current is NOTHING_KEPT:
        return
    with guard("announcing a session"):  # ahead of what others will send for it
        announce(recorder, current[0], current[4])
    session, event = current[0].decode(), current[1].decode()
    names = {name.lower(): name for name in headers}  # as the program writes them: a second one beside it is not read
    baggage = names.get("baggage", "baggage")
    members = [part for part in headers.get(baggage, "").split(",") if part.strip()]
    ours = {"session_id": session, "parent_id": event, "source": _quote(recorder.source)}
    kept = [part for part in members if part.partition("=")[0].strip() not in ours]
    headers[baggage] = ",".join([*kept, *(f"{name}={value}" for name, value in ours.items())])
    flag = "01" if current[2] else "00"
    traceparent = names.get("traceparent", "traceparent")
    headers[traceparent] = f"00-{session.replace('-', '')}-{event.replace('-', '')[16:]}-{flag}"


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def extract(headers: object) -> tuple[bytes, bytes, bool] | None:
    """Read session id, parent id and whether the session is kept; None where there are none, or they are no UUIDs.

    Takes a mapping or a list of pairs, of text or bytes, names in any letter case.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found: dict[str, str] = {}
    for name, value in pairs:  # type: ignore[attr-defined]
        name, value = _text(name).lower(), _text(value)
        if name == "baggage" and name in found:  # W3C: several lines are one list
            found[name] += f",{value}"
        else:
            found.setdefault(name, value)
    members: dict[str, str] = {}
    for part in found.get("baggage", "").split(","):
        name, _, value = part.partition("=")
        members.setdefault(name.strip(), value.partition(";")[0].strip())
    session = members.get("session_id", "").lower()
    parent = members.get("parent_id", "").lower()
    if not is_id(session):
        return None
    kept = not found.get("traceparent", "").strip().endswith("-00")
    return session.encode(), (parent if is_id(parent) else session).encode(), kept


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


class Attachment:
    """Spans inside the block belong to the session and parent named in the headers: `with attach(headers):`."""

    __slots__ = ("_current", "_tokens", "_tracer")

    def __init__(self, tracer: RecordingTracer, headers: Mapping[str, str]) -> None:
        from time import perf_counter_ns, time_ns

        self._tracer = tracer
        found = None
        with guard("reading headers"):
            found = extract(headers)
        self._current: Current | None = None
        recorder = tracer.recorder
        if found is not None and recorder is not None and recorder.get() is not NOTHING_KEPT:
            kept = found[2] and keeps(recorder, found[0])
            self._current = (found[0], found[1], kept, time_ns() - perf_counter_ns(), None)
        self._tokens: list[Token[Current | None]] = []

    def __enter__(self) -> None:
        if self._current is not None:
            gone.pop(self._current[1], None)  # a session or span that goes on
            self._tokens.append(self._tracer.variable.set(self._current))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._current is not None:
            leave(self._tracer.variable, self._tokens.pop(), self._current)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
