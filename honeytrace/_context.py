"""What is current: the ids that new spans become children of, in one context variable per tracer.

The value is a tuple of ids, never a span: a context copied into a task or a thread that outlives its span keeps
nothing alive and can change nothing. No token outlives a yield. Only what it takes to announce a session that a root
call opened is shared by all below it, and emptied once that is done.
"""

from __future__ import annotations

import copyreg
from contextvars import ContextVar, Token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

__all__ = [
    "NOTHING_KEPT",
    "Current",
    "before",
    "disown",
    "gone",
    "leave",
    "new_variable",
    "note_gone",
    "restore",
    "settle",
    "variables",
]

Current: TypeAlias = "tuple[bytes, bytes, bool, int, list[Any] | None]"
"""Session id, event id of the parent, whether the session is kept, the session's clock, and its opening.

The clock is the difference in nanoseconds between the wall clock and the monotonic clock, taken once where the
session started: all times of a session lie on one line even if the wall clock is set in between.

The opening says what to announce where a root call opened the session and nobody has heard of it yet: a list of the
root's plan, start (wall clock, ns) and inputs. It is None or empty where there is nothing to announce. A root call that
has nothing below it, the usual case, is announced and completed by its own event.
"""

NOTHING_KEPT: Current = (b"", b"", False, 0, None)
"""Current under suppress(): nothing below is recorded."""


class _Gone(dict[bytes, "Current | None"]):
    __slots__ = ()

    def __reduce__(self) -> str:  # one per process, as the variables are
        return "gone"


gone: dict[bytes, Current | None] = _Gone()
"""Spans that may still be current somewhere though they ended, and what was current before them. See `settle`.

A span opened by hand, or by the callback of a framework, may end while another one is current, or in another context
than its own, where the variable of its own cannot be set back. Whoever reads the variable passes over these.
"""

_GONE_KEPT = 10_000

variables: list[ContextVar[Current | None]] = []
"""The variable of every tracer, for those who carry the context into a thread."""


def new_variable() -> ContextVar[Current | None]:
    """Make the variable of one tracer. Context variables live for ever, so do tracers."""
    variable: ContextVar[Current | None] = ContextVar("honeytrace", default=None)
    variables.append(variable)
    return variable


def _variable(index: int) -> ContextVar[Current | None]:
    return variables[index]


def _reduce_variable(variable: ContextVar[Any]) -> Any:
    """Pickle the variable of the default tracer by its place: a door that is pickled by value holds on to it."""
    if variables and variable is variables[0]:
        return _variable, (0,)
    if _reduce_others is not None:  # somebody else has an answer for all variables
        return _reduce_others(variable)
    raise TypeError(f"cannot pickle {type(variable).__module__ + '.' + type(variable).__qualname__!r} object")


_reduce_others = copyreg.dispatch_table.get(ContextVar)
copyreg.pickle(ContextVar, _reduce_variable)


def disown() -> None:
    """In a forked child: leave it to the parent to announce the sessions that it opened."""
    for variable in variables:
        current = variable.get()
        if current is not None and current[4]:
            current[4].clear()


def restore(
    variable: ContextVar[Current | None], token: Token[Current | None], session: bytes, event: bytes | None
) -> None:
    """Make current again what was current before this session and event, where the token is refused.

    A token is refused in another context than its own (a callback that an event loop runs elsewhere, a generator
    closed by the garbage collector), and when it was used before. Only a value that is ours is taken back.
    """
    current = variable.get()
    if current is not None and current[0] == session and current[1] in (event, session):
        variable.set(before(token))


def before(token: Token[Current | None]) -> Current | None:
    """What was current when the token was made."""
    value = token.old_value
    return None if value is Token.MISSING else value


def leave(variable: ContextVar[Current | None], token: Token[Current | None], mine: Current | None) -> None:
    """Make current again what was current before `mine`, wherever this runs."""
    try:
        variable.reset(token)
    except (ValueError, RuntimeError):
        if mine is not None:
            restore(variable, token, mine[0], mine[1])


def note_gone(event: bytes, earlier: Current | None) -> None:
    """Remember that a span has ended that may be, or become, current somewhere: it must not come back."""
    if len(gone) >= _GONE_KEPT:
        try:
            gone.pop(next(iter(gone)), None)
        except (RuntimeError, StopIteration):  # another thread is at it
            pass
    gone[event] = earlier


def settle(variable: ContextVar[Current | None]) -> Current | None:
    """Pass over spans that have ended: make current the nearest one around them that has not, and give it."""
    current = variable.get()
    while current is not None and current[1] in gone:
        current = gone.get(current[1])  # None if it was forgotten this very moment
        variable.set(current)
    return current
