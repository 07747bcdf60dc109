"""Callables that are no Python functions: partials, callable objects, builtins, caches, other descriptors.

They are traced by a wrapt proxy, which keeps type, attributes and binding. wrapt's own proxies can neither be
pickled nor copied; these can.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import wrapt

from honeytrace._diagnostics import guard
from honeytrace._doors import build_for_proxy
from honeytrace._plan import CallPlan, Options

__all__ = ["TracedCallable", "proxy"]


class TracedCallable(wrapt.FunctionWrapper[Any, Any]):
    """A transparent stand-in for a callable that records its calls."""

    def __init__(self, wrapped: Any, wrapper: Any, tracer: Any, given: dict[str, Any]) -> None:
        super().__init__(wrapped, wrapper)
        self._self_tracer = tracer
        self._self_given = given

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (self.__wrapped__, self._self_tracer, self._self_given)

    def __copy__(self) -> Any:
        import copy

        return _rebuild(copy.copy(self.__wrapped__), self._self_tracer, self._self_given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        import copy

        return _rebuild(copy.deepcopy(self.__wrapped__, memo), self._self_tracer, self._self_given)


def _rebuild(wrapped: Any, tracer: Any, given: dict[str, Any]) -> Any:
    return proxy(wrapped, tracer, Options(**given), given)


def proxy(target: Any, tracer: Any, options: Options, given: dict[str, Any]) -> Any:
    """Wrap a callable that is no Python function."""
    if isinstance(target, TracedCallable):
        if not given:
            return target
        target = target.__wrapped__
    plan = _ProxyPlan(target, options)
    return TracedCallable(target, build_for_proxy(_flags_of(target), tracer=tracer, plan=plan), tracer, given)


class _ProxyPlan(CallPlan):
    """A plan that names arguments from a signature: slower than a door, for callables a door cannot imitate."""

    __slots__ = ("_captured", "_parameters", "_signature")

    def __init__(self, target: Any, options: Options) -> None:
        try:
            self._signature: inspect.Signature | None = inspect.signature(target)
        except (TypeError, ValueError):
            self._signature = None
        self._parameters = list(self._signature.parameters.values()) if self._signature is not None else []
        names = tuple(parameter.name for parameter in self._parameters) or ("args", "kwargs")
        super().__init__(_name_of(target), options, names, target)
        self._captured = frozenset(options.captured(names))

    def bind(self, instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Name the arguments; those of a call that does not fit are listed as they came."""
        values: dict[str, Any] = {"args": args, "kwargs": kwargs}
        with guard("naming arguments"):
            signature = self._signature
            if signature is not None:
                if instance is not None and not inspect.isclass(instance):
                    signature = signature.replace(parameters=self._parameters[1:])
                try:
                    bound = signature.bind(*args, **kwargs)
                except TypeError:
                    return values
                bound.apply_defaults()
                values = bound.arguments
        return {name: value for name, value in values.items() if name in self._captured}


def _flags_of(target: Any) -> int:
    """How a call of the target waits, as the flags of a code object."""
    for candidate in (target, getattr(type(target), "__call__", None)):
        while isinstance(candidate, functools.partial):
            candidate = candidate.func
        if inspect.iscoroutinefunction(candidate):
            return inspect.CO_COROUTINE
        if inspect.isasyncgenfunction(candidate):
            return inspect.CO_ASYNC_GENERATOR
        if inspect.isgeneratorfunction(candidate):
            return inspect.CO_GENERATOR
    return 0


def _name_of(target: Any) -> str:
    while isinstance(target, functools.partial):
        target = target.func
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else type(target).__name__
