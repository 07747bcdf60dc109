"""The functions that stand in front of traced functions: one bookkeeping path, four ways to wait.

A door is a real function with the parameters of the function behind it, in its module's globals: the interpreter
binds arguments and applies defaults (a wrong call fails where and as the plain one would, before anything starts),
and whoever inspects the door sees the function. What it does is written in _door_source; here it is compiled, once per
list of parameters, and given what it needs as closure cells.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, update_wrapper
from itertools import count
from time import perf_counter, perf_counter_ns
from types import FunctionType, SimpleNamespace

import orjson

from honeytrace._bookkeeping import announce, complete, fail, finish_enriched, finish_late, keeps, late, leave
from honeytrace._context import gone, settle
from honeytrace._diagnostics import DOOR_NAMES, failed, is_door_code
from honeytrace._door_source import begin_source, door_source, encode_by_plan, encode_parameters, factory_source
from honeytrace._event import PLAIN_SCALARS, SEPARATOR
from honeytrace._ids import new_id, take
from honeytrace._parameters import Parameters, parameters_of
from honeytrace._span import Call, Plan, Recorder, live
from honeytrace._stream import Stream, fail_stream, finish_stream, unhooked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["begin", "behind", "build", "build_for_proxy", "is_door"]

_CO_COROUTINE, _CO_ITERABLE_COROUTINE = 0x80, 0x100


class _Rare(SimpleNamespace):
    def __reduce__(self) -> str:
        return "_RARE"


_RARE = _Rare(
    Call=Call,
    Exception=Exception,
    IndexError=IndexError,
    RecursionError=RecursionError,
    RuntimeError=RuntimeError,
    StopAsyncIteration=StopAsyncIteration,
    StopIteration=StopIteration,
    Stream=Stream,
    ValueError=ValueError,
    announce=announce,
    complete=complete,
    dict=dict,
    exc_info=sys.exc_info,
    fail=fail,
    fail_stream=fail_stream,
    failed=failed,
    finish_enriched=finish_enriched,
    finish_late=finish_late,
    finish_stream=finish_stream,
    issubclass=issubclass,
    keeps=keeps,
    leave=leave,
    new_id=new_id,
    settle=settle,
    unhooked=unhooked,
)

_GIVEN: dict[str, object] = {
    "clock": perf_counter_ns,
    "dumps": orjson.dumps,
    "gone": gone,
    "join": SEPARATOR.join,
    "late": late,
    "len": len,
    "live": live,
    "rare": _RARE,
    "scalars": PLAIN_SCALARS,
    "seconds": perf_counter,
    "str": str,
    "take": take,
    "type": type,
}
"""What the doors reach without a global: their globals are those of the function they stand in front of.

Each is a cell that every call of a door takes and gives back: what a usual call does not need is together in `rare`.
"""

_BOUND = ("get", "set", "reset", "tracer", "plan", "wrapped", "receives", "kinds")
_NAMES = (*_GIVEN, *_BOUND)


def _bound(tracer: Any, *others: object) -> tuple[object, ...]:
    """The free names that differ from door to door, in the order of _BOUND."""
    variable = tracer.variable
    return (variable.get, variable.set, variable.reset, tracer, *others)


@lru_cache(maxsize=512)
def _factory(source: str) -> Callable[..., FunctionType]:
    """Compile a factory. Equal lists of parameters share the code."""
    # A frame of the import system is passed over where warnings count stack levels: so is one of ours, by this name.
    filename = f"<honeytrace door {next(_numbers)} (importlib._bootstrap)>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), namespace)
    factory: Callable[..., FunctionType] = namespace["make"]
    return factory


_numbers = count(1)


def build(
    function: FunctionType,
    *,
    tracer: object,
    plan: object,
    captured: Sequence[str],
    receives: Callable[[object], bool],
    kinds: dict[type, int],
    by_signature: bool = False,
) -> FunctionType:
    """Build the door in front of a Python function.

    `captured` are the parameters to record. `kinds` and `receives` tell whether the first argument is a bound
    receiver: by its type (0 no, 1 yes), or 2 where the object itself must be asked. With `by_signature` the plan names
    the arguments: for a function that takes `*args` on behalf of another.
    """
    parameters = parameters_of(function)
    prefix = DOOR_NAMES
    while any(name.startswith(prefix) for name in parameters.names):
        prefix += "_"
    shown = [name for name in parameters.names if name in captured]
    is_method = "." in function.__qualname__.rpartition("<locals>.")[2]
    if by_signature:
        arguments = f"{parameters.as_tuple()}, {parameters.as_dict()}"
        encode = encode_by_plan(f"$plan.bind({arguments}, $receives)")
    else:
        encode = encode_parameters(shown, parameters.first, is_method)
    flags = function.__code__.co_flags
    body = door_source(parameters, flags, encode, f"$wrapped({parameters.arguments()})")
    make = _factory(factory_source(body, _NAMES, prefix))
    made = make(*_GIVEN.values(), *_bound(tracer, plan, function, receives, kinds))
    code = made.__code__
    code = code.replace(co_name=function.__code__.co_name, co_flags=code.co_flags | flags & _CO_ITERABLE_COROUTINE)
    if sys.version_info >= (3, 11):
        code = code.replace(co_qualname=function.__code__.co_qualname)
    door = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, made.__closure__)
    door.__kwdefaults__ = function.__kwdefaults__
    update_wrapper(door, function)
    return door


def is_door(function: FunctionType) -> bool:
    """Say whether this is a door, made here or in another process."""
    return is_door_code(function.__code__)


def behind(door: FunctionType, name: str) -> Any:
    """What a door was built with, by its name in _BOUND: read from its cells."""
    names = (cell.lstrip("_").removeprefix("ht").lstrip("_") for cell in door.__code__.co_freevars)
    return dict(zip(names, door.__closure__ or (), strict=True))[name].cell_contents


def build_for_proxy(flags: int, *, tracer: object, plan: object) -> FunctionType:
    """Build a door with wrapt's calling convention, for a callable that waits as `flags` say.

    One that waits is called first, so that a wrong call fails at once, and the door drives what came of it.
    """
    parameters = Parameters(positional=("$wrapped", "$instance", "$args", "$kwargs"))
    called = "$instance" if flags else "$wrapped"
    encode = encode_by_plan(f"$plan.bind($args, $kwargs, None, {called})")
    call = "$wrapped" if flags else "$wrapped(*$args, **$kwargs)"
    if flags & _CO_COROUTINE:
        call = "$wrapped"
    body = door_source(parameters, flags, encode, call)
    door = _factory(factory_source(body, _NAMES, DOOR_NAMES))(*_GIVEN.values(), *_bound(tracer, plan, None, None, None))
    if not flags:
        return door

    def first(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return door(wrapped(*args, **kwargs), wrapped, args, kwargs)

    return first  # type: ignore[return-value]


@cache
def _compile_begin() -> Callable[[Plan, Recorder, bytes], Call | None]:
    """Make the function that starts a span whose inputs are encoded already, from the same text as the doors."""
    begin: Any = _factory(factory_source(begin_source(), _GIVEN, DOOR_NAMES))(*_GIVEN.values())
    return begin  # type: ignore[no-any-return]


def begin(plan: Plan, recorder: Recorder, inputs: bytes) -> Call | None:
    """Start a span and make it current; None if it is not to be recorded."""
    return _compile_begin()(plan, recorder, inputs)
