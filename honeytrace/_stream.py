"""What a traced generator has yielded so far, and how its span ends.

Head and tail are kept, the middle of a long stream is counted. Chunks that can change later are snapshotted when
they pass; those that cannot are kept as they are and encoded once, at the end.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from contextvars import Token
from itertools import accumulate

import orjson

from honeytrace._bookkeeping import finish_with
from honeytrace._context import Current, restore
from honeytrace._diagnostics import failed, is_interruption, warn_once
from honeytrace._span import Call, Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["KEPT", "Stream", "fail_stream", "finish_stream", "unhooked"]

KEPT = 512
"""How many chunks are kept at the beginning, and how many at the end."""

_REDUCED = 50 * KEPT
"""The same where `reduce` joins them: what it is not given would be missing without a mark."""

_CHARACTERS = 200_000
"""How much text is kept at the beginning before the tail starts early."""

_TEXTS = frozenset({str, bytes})

_SHORT = 250
"""Shorter text has no size to think about and is no data URI."""


class Stream:
    """The running record of one iteration of a generator."""

    __slots__ = ("_looked", "_text", "call", "first", "freeze", "head", "keep", "tail")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.head: list[Any] = []
        self.tail: deque[Any] = deque(maxlen=KEPT)
        self.first: float | None = None
        self._looked = self._text = 0
        self.keep: Callable[[Any], object] = self.head.append
        # What a reducer or a hook is to see is kept as it came.
        raw = call.plan.reduce is not None or not call.plan.plain_outputs
        self.freeze: Callable[[Any], Any] = (lambda chunk: chunk) if raw else self._freeze

    def _freeze(self, chunk: Any) -> Any:
        try:
            kind = type(chunk)
            if kind is int or kind is float or kind is bool or chunk is None:
                return chunk
            # A copy, not what orjson returns, which holds a whole page; with the comma that is needed anyway.
            return b"," + self.call.recorder.snapshot(chunk)
        except Exception as problem:
            failed("recording a chunk", problem)
            return b',"<not recorded>"'

    def mark(self, count: int, now: float) -> tuple[int, Callable[[Any], object]]:
        """Look at the stream when `count` chunks have come before this one; say when to look again."""
        if count == 0:
            self.first = now
            return 1, self.keep
        # Once in a while: the number of looks grows with the logarithm of the number of chunks.
        fresh, self._looked = self.head[self._looked :], count
        if not _TEXTS.issuperset(map(type, fresh)):
            fresh = [chunk for chunk in fresh if isinstance(chunk, (str, bytes))]
        self._text += sum(map(len, fresh))
        limit = KEPT if self.call.plan.reduce is None else _REDUCED
        if count >= limit or self._text > _CHARACTERS * (limit // KEPT):
            self.keep = self.tail.append
            return -1, self.keep
        return min(count * 2, limit), self.keep

    def leave(self, token: Token[Current | None]) -> None:
        """Take back the context of a step where the token is refused."""
        restore(self.call.recorder.variable, token, self.call.session, self.call.id)


def finish_stream(stream: Stream, count: int, active: float, value: object, thrown: object) -> None:
    """Finish after the generator returned; `thrown` is what its consumer threw in last."""
    try:
        closed = isinstance(thrown, GeneratorExit)
        outputs = _outputs(stream, count, value)
        finish_with(stream.call, outputs, metadata=_metadata(stream, count, active, closed), left=True)
    except RecursionError:  # the door keeps it for later
        raise
    except Exception as problem:
        failed("finishing a generator's span", problem)


def fail_stream(stream: Stream, count: int, active: float, thrown: object, error: BaseException | None) -> None:
    """Finish with the exception that ended it: closed if its consumer went away while it waited to go on.

    An event loop that ends closes what was abandoned with a cancellation instead of a GeneratorExit.
    """
    try:
        away = isinstance(error, GeneratorExit) or type(error).__name__ == "CancelledError"
        closed = away and error is thrown
        finish_with(
            stream.call,
            _outputs(stream, count, None),
            error=None if closed else error,
            metadata=_metadata(stream, count, active, closed),
            left=True,
        )
    except RecursionError:  # the door keeps it for later
        raise
    except Exception as problem:
        failed("finishing a generator's span", problem)


def _metadata(stream: Stream, count: int, active: float, closed: bool) -> dict[str, object]:
    left_out = count - len(stream.head) - len(stream.tail)
    metadata: dict[str, object] = {"chunks": count, "active_ms": round(active * 1e3, 6)}
    if stream.first is not None:
        metadata["time_to_first_token_ms"] = round((stream.first - stream.call.start / 1e9) * 1e3, 6)
    if left_out > 0:
        metadata["chunks_left_out"] = left_out
    if closed:
        metadata["outcome"] = "closed"
    return metadata


def _outputs(stream: Stream, count: int, value: object) -> dict[str, Any]:
    """The chunks joined by the reducer, or as a list."""
    plan, recorder = stream.call.plan, stream.call.recorder
    head, tail = stream.head, list(stream.tail)
    left_out = count - len(head) - len(tail)
    note = [f"... {left_out} chunks left out ..."] if left_out > 0 else []
    if plan.reduce is not None:
        try:
            outputs = plan.outputs(recorder, plan.reduce([*head, *tail]))
        except BaseException as error:
            if is_interruption(error):
                raise
            warn_once("reduce", "a reduce= function raised %s (further failures are not logged)", type(error).__name__)
            outputs = {"result": f"reduce raised {type(error).__name__}; {count} chunks"}
    elif not plan.plain_outputs:
        outputs = plan.outputs(recorder, [*head, *note, *tail])
    else:
        outputs = {"result": _join([*head, *note, *tail], recorder)}
    if value is not None and plan.plain_outputs:
        returned = plan.outputs(recorder, {"result": value})
        outputs.update({"return_value": returned["result"]} if "result" in returned else {})
    return outputs


def _join(chunks: list[Any], recorder: Recorder) -> Any:
    """Encode a list whose mutable members are encoded already: those are bytes that begin with a comma."""
    kinds = {*map(type, chunks)}
    snapshot, limit = recorder.snapshot, recorder.snapshotter.limits.max_bytes
    if bytes not in kinds:
        if kinds == {str} and max(map(len, chunks)) < _SHORT and len(chunks) * _SHORT < limit:
            try:
                data = orjson.dumps(chunks)
                return orjson.Fragment(data if len(data) <= limit else snapshot(chunks))
            except TypeError:  # half a surrogate pair
                pass
        return orjson.Fragment(snapshot(chunks))
    parts = chunks if len(kinds) == 1 else [c if type(c) is bytes else b"," + snapshot(c) for c in chunks]
    if sum(map(len, parts)) + 2 > limit:
        ends = [*accumulate(map(len, parts), initial=2)]
        fits = bisect_right(ends, limit) - 1
        parts = [*parts[:fits], b',"... %d chunks left out ..."' % (len(parts) - fits)]
    return orjson.Fragment(b"[%b]" % b"".join(parts)[1:])


def unhooked(inner: Any) -> Callable[[object], Any]:
    """Take the first step of an async generator without the event loop's hooks.

    The loop knows the door in front of it and closes that; closing both at once is an error.
    """

    def first(_: object) -> Any:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            return inner.asend(None)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    return first
