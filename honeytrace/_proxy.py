"""Callables that are no Python functions: partials, callable objects, builtins, caches, other descriptors.

They are traced by a wrapt proxy, which keeps type, attributes and binding. wrapt's own proxies can neither be
pickled nor copied; these can.
"""

from __future__ import annotations

import functools
import inspect
import sys
from types import MethodType
from typing import TYPE_CHECKING, Any

import wrapt

from honeytrace._doors import build_for_proxy
from honeytrace._plan import Options, SignaturePlan, check_names

__all__ = ["TracedCallable", "proxy"]


if TYPE_CHECKING:
    _Wrapper = wrapt.FunctionWrapper[Any, Any]
else:
    _Wrapper = wrapt.FunctionWrapper  # older versions of wrapt take no parameters here


class TracedCallable(_Wrapper):
    """A transparent stand-in for a callable that records its calls."""

    def __init__(self, wrapped: Any, wrapper: Any, tracer: Any, given: dict[str, Any]) -> None:
        super().__init__(wrapped, wrapper)
        self._self_tracer = tracer
        self._self_given = given

    def __getattribute__(self, name: str) -> Any:
        # Frameworks look at `__call__` of an object to know whether a call of it is to be awaited; wrapt's own is a
        # slot that does not say. Calls of the object do not come by here.
        if name == "__call__":
            method: Any = getattr(self.__wrapped__, "__call__")  # noqa: B004, B009 - the method itself is wanted
            if isinstance(method, MethodType):
                named = {"event_name": _name_of(self.__wrapped__), **self._self_given}
                return MethodType(self._self_tracer.decorate(method.__func__, **named), method.__self__)
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        wrapped = self.__wrapped__
        name = getattr(wrapped, "__qualname__", None)
        found: Any = sys.modules.get(getattr(wrapped, "__module__", None) or "")
        for part in name.split(".") if isinstance(name, str) else ["<none>"]:
            found = getattr(found, part, None)
        if found is self:  # a global: pickled by its name, as what it wraps would be
            return name
        return _rebuild, (wrapped, self._self_tracer, self._self_given)

    def __copy__(self) -> Any:
        import copy

        return _rebuild(copy.copy(self.__wrapped__), self._self_tracer, self._self_given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        import copy

        return _rebuild(copy.deepcopy(self.__wrapped__, memo), self._self_tracer, self._self_given)


def _rebuild(wrapped: Any, tracer: Any, given: dict[str, Any]) -> Any:
    return proxy(wrapped, tracer, given)


def proxy(target: Any, tracer: Any, given: dict[str, Any]) -> Any:
    """Wrap a callable that is no Python function.

    Raises:
        TraceError: an option names a parameter that there is not.
    """
    if type(target) is TracedCallable:
        if not given:
            return target
        given = {**target._self_given, **given}
        target = target.__wrapped__
    options = Options(**given)
    signature = _signature_of(target)
    if signature is not None:
        check_names(options, signature.parameters, _name_of(target))
    plan = SignaturePlan(_name_of(target), options, signature, _annotated(target), target)
    return TracedCallable(target, build_for_proxy(_flags_of(target), tracer=tracer, plan=plan), tracer, given)


def _signature_of(target: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(getattr(target, "func", target) if _is_descriptor(target) else target)
    except (TypeError, ValueError):
        return None


def _is_descriptor(target: Any) -> bool:
    return isinstance(target, functools.singledispatchmethod)


def _annotated(target: Any) -> Any:
    """The function whose annotations hold for the call."""
    while isinstance(target, (functools.partial, functools.singledispatchmethod)):
        target = target.func
    target = inspect.unwrap(target) if callable(target) else target
    if inspect.isroutine(target) or isinstance(target, type):
        return target
    return getattr(type(target), "__call__", target)  # noqa: B004 - the method itself is wanted


def _flags_of(target: Any) -> int:
    """How a call of the target waits, as the flags of a code object."""
    method = getattr(type(target), "__call__", None)  # noqa: B004 - the method itself is wanted
    for candidate in (target, method):
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
    while isinstance(target, (functools.partial, functools.singledispatchmethod)):
        target = target.func
    name = getattr(target, "__name__", None)
    return name if isinstance(name, str) else type(target).__name__
