"""What is current: the ids that new spans become children of, in one context variable per tracer.

The value is a tuple of ids, never an object: a context copied into a task or a thread that outlives its span
keeps nothing alive and can change nothing. No token outlives a yield.
"""

from __future__ import annotations

from contextvars import ContextVar, Token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["NOTHING_KEPT", "Current", "leave", "new_variable", "restore", "variables"]

Current: TypeAlias = "tuple[bytes, bytes, bool, int]"
"""Session id, event id of the parent, whether the session is kept, and the session's clock.

The clock is the difference in nanoseconds between the wall clock and the monotonic clock, taken once where the
session started: all times of a session lie on one line even if the wall clock is set in between.
"""

NOTHING_KEPT: Current = (b"", b"", False, 0)
"""Current under suppress(): nothing below is recorded."""

variables: list[ContextVar[Current | None]] = []
"""The variable of every tracer, for those who carry the context into a thread."""


def new_variable() -> ContextVar[Current | None]:
    """Make the variable of one tracer. Context variables live for ever, so do tracers."""
    variable: ContextVar[Current | None] = ContextVar("honeytrace", default=None)
    variables.append(variable)
    return variable


def restore(
    variable: ContextVar[Current | None], token: Token[Current | None], session: bytes, event: bytes | None
) -> None:
    """Make current again what was current before this session and event, where the token is refused.

    A token is refused in another context than its own (a callback that an event loop runs elsewhere, a generator
    closed by the garbage collector), and when it was used before. Only a value that is ours is taken back.
    """
    current = variable.get()
    if current is not None and current[0] == session and current[1] in (event, session):
        before = token.old_value
        variable.set(None if before is Token.MISSING else before)


def leave(variable: ContextVar[Current | None], token: Token[Current | None], mine: Current | None) -> None:
    """Make current again what was current before `mine`, wherever this runs."""
    try:
        variable.reset(token)
    except (ValueError, RuntimeError):
        if mine is not None:
            restore(variable, token, mine[0], mine[1])
