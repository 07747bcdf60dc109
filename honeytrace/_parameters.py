"""A function's parameters, read from its code object: no signature is computed, no annotation evaluated."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FunctionType
    from typing import NamedTuple

    class _Names(NamedTuple):
        positional_only: tuple[str, ...] = ()
        positional: tuple[str, ...] = ()
        varargs: str | None = None
        keyword_only: tuple[str, ...] = ()
        varkeywords: str | None = None
else:
    _Names = namedtuple(
        "_Names",
        ("positional_only", "positional", "varargs", "keyword_only", "varkeywords"),
        defaults=((), (), None, (), None),
    )

__all__ = ["Parameters", "parameters_of"]

_CO_VARARGS, _CO_VARKEYWORDS = 0x04, 0x08


class Parameters(_Names):
    """A function's parameters by kind, as its code object lists them."""

    __slots__ = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in the order people read them."""
        stars = [[self.varargs] if self.varargs else [], [self.varkeywords] if self.varkeywords else []]
        return (*self.positional_only, *self.positional, *stars[0], *self.keyword_only, *stars[1])

    @property
    def first(self) -> str | None:
        """The name that a bound receiver arrives under, if there is one."""
        return next(iter((*self.positional_only, *self.positional)), None)

    def definition(self) -> str:
        """What stands between the parentheses of the definition. Defaults are set on the function object."""
        parts = [*self.positional_only, *(["/"] if self.positional_only else []), *self.positional]
        if self.varargs or self.keyword_only:
            parts.append("*" + (self.varargs or ""))
        parts += self.keyword_only
        if self.varkeywords:
            parts.append("**" + self.varkeywords)
        return ", ".join(parts)

    def arguments(self) -> str:
        """What hands every parameter on as it came."""
        parts = [*self.positional_only, *self.positional]
        if self.varargs:
            parts.append("*" + self.varargs)
        parts += [f"{name}={name}" for name in self.keyword_only]
        if self.varkeywords:
            parts.append("**" + self.varkeywords)
        return ", ".join(parts)

    def as_tuple(self) -> str:
        """What makes a tuple of all positional arguments."""
        parts = [*self.positional_only, *self.positional, *(["*" + self.varargs] if self.varargs else [])]
        return "(" + "".join(f"{part}, " for part in parts) + ")"

    def as_dict(self) -> str:
        """What makes a dict of all keyword arguments."""
        parts = [f"{name!r}: {name}" for name in self.keyword_only]
        return "{" + ", ".join([*parts, *(["**" + self.varkeywords] if self.varkeywords else [])]) + "}"


def parameters_of(function: FunctionType) -> Parameters:
    """Read the parameters from the code object: no signature is computed, no annotation evaluated."""
    code = function.__code__
    names = code.co_varnames
    positional, keyword_only = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    stars = list(names[keyword_only : keyword_only + 2])
    return Parameters(
        positional_only=names[: code.co_posonlyargcount],
        positional=names[code.co_posonlyargcount : positional],
        keyword_only=names[positional:keyword_only],
        varargs=stars.pop(0) if code.co_flags & _CO_VARARGS else None,
        varkeywords=stars.pop(0) if code.co_flags & _CO_VARKEYWORDS else None,
    )
