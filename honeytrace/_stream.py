"""What a traced generator has yielded so far, and how its span ends.

Head and tail are kept, the middle of a long stream is counted. Chunks that can change later are snapshotted when
they pass; those that cannot are kept as they are and encoded once, at the end.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextvars import Token

import orjson

from honeytrace._bookkeeping import finish_with, leave
from honeytrace._context import Current, restore
from honeytrace._diagnostics import failed
from honeytrace._span import Call, Recorder, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["KEPT", "Stream", "fail_stream", "finish_stream", "unhooked"]

KEPT = 512
"""How many chunks are kept at the beginning, and how many at the end."""

_CHARACTERS = 200_000
"""How much text is kept at the beginning before the tail starts early."""

_ATOMS = frozenset({str, int, float, bool, type(None)})


class _Everything:
    """Contains every type: chunks for a reducer are kept as they came."""

    def __contains__(self, kind: type) -> bool:
        return True


class _Frozen(bytes):
    """A chunk that is encoded already."""


class Stream:
    """The running record of one iteration of a generator."""

    __slots__ = ("atoms", "call", "first", "freeze", "head", "keep", "tail")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.head: list[Any] = []
        self.tail: deque[Any] = deque(maxlen=KEPT)
        self.first: int | None = None
        self.keep: Callable[[Any], object] = self.head.append
        self.atoms: Any = _ATOMS if call.plan.reduce is None else _Everything()
        snapshot = call.recorder.snapshot
        self.freeze: Callable[[object], _Frozen] = lambda chunk: _Frozen(snapshot(chunk))

    def mark(self, count: int, now: int) -> tuple[int, Callable[[Any], object]]:
        """Look at the stream when `count` chunks have come before this one; say when to look again."""
        if count == 0:
            self.first = now
            return 1, self.keep
        text = sum(len(chunk) for chunk in self.head if isinstance(chunk, (str, bytes)))
        if count >= KEPT or text > _CHARACTERS:
            self.keep = self.tail.append
            return -1, self.keep
        return min(count * 2, KEPT), self.keep

    def context(self) -> Current | None:
        """What is current inside the body, taken while the span's start still holds; leaves the span."""
        here = self.call.recorder.get()
        leave(self.call)
        return here

    def leave(self, token: Token[Current | None]) -> None:
        """Take back the context of a step where the token is refused."""
        restore(self.call.recorder.variable, token, self.call.session, self.call.id)


def finish_stream(stream: Stream, count: int, active: int, value: object, thrown: object) -> None:
    """Finish after the generator returned; `thrown` is what its consumer threw in last."""
    try:
        closed = isinstance(thrown, GeneratorExit)
        finish_with(stream.call, _outputs(stream, count, value), metadata=_metadata(stream, count, active, closed))
    except Exception as problem:
        failed("finishing a generator's span", problem)


def fail_stream(
    stream: Stream, count: int, active: int, thrown: object, error: BaseException | None
) -> None:
    """Finish with the exception that ended it: closed if that is the consumer's own GeneratorExit."""
    try:
        closed = isinstance(error, GeneratorExit) and error is thrown
        finish_with(
            stream.call,
            _outputs(stream, count, None),
            error=None if closed else error,
            metadata=_metadata(stream, count, active, closed),
        )
    except Exception as problem:
        failed("finishing a generator's span", problem)


def _metadata(stream: Stream, count: int, active: int, closed: bool) -> dict[str, object]:
    metadata: dict[str, object] = {"chunks": count, "active_ms": active / 1e6}
    if stream.first is not None:
        metadata["time_to_first_token_ms"] = (stream.first - stream.call.start) / 1e6
    if closed:
        metadata["outcome"] = "closed"
    return metadata


def _outputs(stream: Stream, count: int, value: object) -> dict[str, Any]:
    """The chunks joined by the reducer, or as a list."""
    plan, recorder = stream.call.plan, stream.call.recorder
    head, tail = stream.head, list(stream.tail)
    left_out = count - len(head) - len(tail)
    outputs: dict[str, Any] | None = None
    if plan.reduce is not None:
        try:
            outputs = plan.outputs(recorder, plan.reduce([*head, *tail]))
        except Exception as error:
            outputs = {"result": f"reduce raised {type(error).__name__}; {count} chunks"}
    elif plan.simple_for is not recorder:
        outputs = plan.outputs(recorder, [*head, *tail])
    else:
        note = [f"... {left_out} chunks left out ..."] if left_out > 0 else []
        outputs = {"result": _join([*head, *note, *tail], recorder)}
    if value is not None:
        outputs.update(pieces(recorder, {"return_value": value}))
    return outputs


def _join(chunks: list[Any], recorder: Recorder) -> Any:
    """Encode a list whose mutable members are encoded already."""
    if not any(type(chunk) is _Frozen for chunk in chunks):
        return orjson.Fragment(recorder.snapshot(chunks))
    snapshot, limit = recorder.snapshot, recorder.snapshotter.limits.max_bytes
    parts: list[bytes] = []
    size = 2
    for chunk in chunks:
        part = chunk if type(chunk) is _Frozen else snapshot(chunk)
        size += len(part) + 1
        if size > limit:
            parts.append(b'"... %d chunks left out ..."' % (len(chunks) - len(parts)))
            break
        parts.append(part)
    return orjson.Fragment(b"[%b]" % b",".join(parts))


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
