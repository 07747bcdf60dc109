"""@trace: put a door in front of any callable, and leave everything else about it as it is.

What comes back has the type that went in: a function for a function, a property for a property, the class itself
for a class. Only callables that Python code cannot imitate (partials, callable objects, builtins) come back as a
wrapt proxy, which is also loaded only then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, MethodType

from honeytrace._doors import behind, build, is_door
from honeytrace._parameters import parameters_of
from honeytrace._plan import CallPlan, Options, SignaturePlan, check_names
from honeytrace._receivers import Receivers
from honeytrace.exceptions import TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from typing import Any

__all__ = ["decorate"]


def decorate(target: Any, tracer: Any, given: dict[str, Any]) -> Any:
    """Return a traced form of `target`, of the same type where that is possible.

    Raises:
        TraceError: it is nothing that can be called.
    """
    if type(target) is FunctionType:  # and not isinstance: proxies lie about their class
        return _function(target, tracer, given)
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

        return proxy(target, tracer, given)
    raise TraceError(
        f"trace() takes a function, method, property, class or another callable, not {type(target).__name__}"
    )


def _function(function: FunctionType, tracer: Any, given: dict[str, Any]) -> FunctionType:
    carried: dict[str, Any] = {}
    if is_door(function) and behind(function, "tracer") is tracer:
        # Traced twice: recorded once, with the outer decorator's words where both speak.
        if not given:
            return function
        carried = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
        given = {**behind(function, "plan").given, **given}
        function = behind(function, "wrapped")
    options = Options(**given)
    parameters = parameters_of(function)
    speaks_for = _stands_for(function) if parameters.varargs or parameters.varkeywords else None
    receivers = Receivers(function)
    plan: CallPlan
    if speaks_for is not None:
        plan = SignaturePlan(function.__name__, options, speaks_for, function)
        names: tuple[str, ...] = tuple(speaks_for.parameters)
    else:
        names = parameters.names
        plan = CallPlan(function.__name__, options, names, function)
    check_names(options, names, function.__qualname__)
    _check_markers(function)
    door = build(
        function,
        tracer=tracer,
        plan=plan,
        captured=options.captured(names),
        receives=receivers.receives,
        kinds=receivers,
        by_signature=speaks_for is not None,
    )
    receivers.door = door
    vars(door).update(carried)
    plan.given = given
    return door


def _check_markers(function: FunctionType) -> None:
    """Find a marker that is used wrongly where that can be seen now: `Truncate` without its number.

    Raises:
        TraceError: there is one.
    """
    try:
        mentioned = "Truncate" in repr(getattr(function, "__annotations__", ""))
    except Exception:  # annotations that cannot be evaluated yet
        return
    if mentioned:
        from honeytrace.redaction import markers_of

        markers_of(function)


def _stands_for(function: FunctionType) -> inspect.Signature | None:
    """The signature of what a `*args, **kwargs` function stands for; also of a method that takes nothing else."""
    import inspect  # loaded by orjson

    if not hasattr(function, "__wrapped__") and (parameters_of(function).first or "." not in function.__qualname__):
        return None
    try:
        return inspect.signature(function)
    except Exception:  # annotations that cannot be evaluated, a __signature__ of another kind
        return None


def _class(cls: type, tracer: Any, given: dict[str, Any]) -> type:
    """Trace the public methods a class defines itself. It stays the same class."""
    if given.get("event_name") is not None:
        raise TraceError(
            f"event_name cannot be given for a whole class ({cls.__qualname__}): its methods keep their names"
        )
    names = _parameters_of_methods(cls)
    check_names(Options(**given), names, cls.__qualname__)
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__call__":
            continue
        inner = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        if type(inner) is FunctionType and not is_door(inner):
            setattr(cls, name, decorate(member, tracer, _for_method(given, inner)))
    return cls


def _for_method(given: dict[str, Any], method: FunctionType) -> dict[str, Any]:
    """The options of a class as far as this method has the parameters they name."""
    own = set(parameters_of(method).names)
    fitting = dict(given)
    for option in ("exclude", "capture_inputs"):
        if not isinstance(given.get(option, True), bool):
            fitting[option] = tuple(name for name in given[option] if name in own)
    return fitting


def _parameters_of_methods(cls: type) -> set[str]:
    members = (getattr(member, "__func__", member) for member in vars(cls).values())
    return {name for member in members if type(member) is FunctionType for name in parameters_of(member).names}


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
