"""@trace: put a door in front of any callable, and leave everything else about it as it is.

What comes back has the type that went in: a function for a function, a property for a property, the class itself
for a class. Only callables that Python code cannot imitate (partials, callable objects, builtins) come back as a
wrapt proxy, which is also loaded only then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, MethodType
from weakref import WeakKeyDictionary

from honeytrace._doors import build, parameters_of
from honeytrace._plan import CallPlan, Options, Receivers
from honeytrace.exceptions import TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["decorate"]

_doors: WeakKeyDictionary[FunctionType, tuple[object, Options, FunctionType]] = WeakKeyDictionary()
"""Every door, with what it was made from: decorating a door again replaces it."""


def decorate(target: Any, tracer: Any, given: dict[str, Any]) -> Any:
    """Return a traced form of `target`, of the same type where that is possible.

    Raises:
        TraceError: it is nothing that can be called.
    """
    options = Options(**given)
    if isinstance(target, FunctionType):
        return _function(target, tracer, options, given)
    if isinstance(target, type):
        return _class(target, tracer, given)
    if isinstance(target, MethodType):
        return MethodType(decorate(target.__func__, tracer, given), target.__self__)
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(decorate(target.__func__, tracer, given))
    if isinstance(target, property):
        return _property(target, tracer, given)
    if isinstance(target, functools.cached_property):
        return _cached_property(target, tracer, given)
    if isinstance(target, functools.partialmethod):
        traced = decorate(target.func, tracer, given)
        return type(target)(traced, *target.args, **target.keywords)
    if callable(target) or isinstance(target, functools.singledispatchmethod):
        from honeytrace._proxy import proxy

        return proxy(target, tracer, options, given)
    raise TraceError(
        f"trace() takes a function, method, property, class or another callable, not {type(target).__name__}"
    )


def _function(function: FunctionType, tracer: Any, options: Options, given: dict[str, Any]) -> FunctionType:
    earlier = _doors.get(function)
    if earlier is not None and earlier[0] is tracer:
        # Traced twice: recorded once, with the outer decorator's words where both speak.
        if not given:
            return function
        _, inner, function = earlier
        options = Options(**{**_spoken(inner), **given})
    names = parameters_of(function).names
    _check_names(options, names, function.__qualname__)
    plan = CallPlan(function.__name__, options, names, function)
    receivers = Receivers(function)
    door = build(
        function,
        tracer=tracer,
        plan=plan,
        captured=options.captured(names),
        receives=receivers.receives,
        kinds=receivers,
    )
    receivers.door = door
    _doors[door] = (tracer, options, function)
    return door


def _spoken(options: Options) -> dict[str, Any]:
    """The options that differ from their defaults."""
    silent = Options()
    return {name: value for name, value in options._asdict().items() if value != getattr(silent, name)}


def _check_names(options: Options, names: tuple[str, ...], where: str) -> None:
    for option in ("exclude", "capture_inputs"):
        chosen = getattr(options, option)
        for name in chosen if not isinstance(chosen, bool) else ():
            if name not in names:
                raise TraceError(f"{option} names {name!r}, but {where}() has only: {', '.join(names) or 'no parameters'}")


def _class(cls: type, tracer: Any, given: dict[str, Any]) -> type:
    """Trace the public methods a class defines itself. It stays the same class."""
    if given.get("event_name") is not None:
        raise TraceError(f"event_name cannot be given for a whole class ({cls.__qualname__}): its methods keep their names")
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__call__":
            continue
        inner = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        if isinstance(inner, FunctionType) and inner not in _doors:
            setattr(cls, name, decorate(member, tracer, given))
    return cls


def _property(target: property, tracer: Any, given: dict[str, Any]) -> property:
    def traced(accessor: Callable[..., Any] | None) -> Any:
        return accessor if accessor is None else decorate(accessor, tracer, given)

    made = type(target)(traced(target.fget), traced(target.fset), traced(target.fdel))
    if target.__doc__ is not None and made.__doc__ != target.__doc__:
        made.__doc__ = target.__doc__
    return made


def _cached_property(target: functools.cached_property[Any], tracer: Any, given: dict[str, Any]) -> Any:
    made = type(target)(decorate(target.func, tracer, given))
    if target.attrname is not None:
        made.attrname = target.attrname
    return made
