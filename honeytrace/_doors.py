"""The functions that stand in front of traced functions: one bookkeeping path, four ways to wait.

A door is a real function with the parameters of the function behind it, in its module's globals: the interpreter
binds arguments and applies defaults (a wrong call fails where and as the plain one would, before anything starts),
and whoever inspects the door sees the function. Its code is written out here once per way to wait and compiled once
per list of parameters; `$` marks names of ours and becomes a prefix that no parameter has.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, update_wrapper
from time import perf_counter_ns
from types import FunctionType
from typing import Any

from honeytrace._bookkeeping import begin, fail, finish
from honeytrace._stream import begin_stream, fail_stream, finish_stream, unhooked

__all__ = ["Parameters", "build", "build_for_proxy", "parameters_of"]

_CALL = """\
{async_}def door({parameters}):
    $recorder = $tracer.recorder
    $span = None if $recorder is None else $begin($plan, $recorder, {values})
    try:
        $result = {await_}$wrapped({arguments})
    except:
        if $span is not None:
            $fail($span)
        raise
    if $span is not None:
        $finish($span, $result)
    return $result
"""

# A generator's span is current only while its own body runs: it is entered and left at every step. What the body
# itself made current (a span it opened around a yield) waits in `here` for the next step.
# Where the consumer throws an exception in, the entry of this frame is taken off its traceback again.
_STREAM = """\
{async_}def door({parameters}):
    $recorder = $tracer.recorder
    $stream = None if $recorder is None else $begin_stream($plan, $recorder, {values})
    if $stream is None:
        {delegate}
        return
    $mark = $count = $active = 0
    $thrown = None
    try:
        $inner = $wrapped({arguments})
        $enter, $current, $leave = $recorder.set, $recorder.get, $recorder.reset
        $keep, $atoms, $freeze = $stream.keep, $stream.atoms, $stream.freeze
        $here = $stream.span.context
        $step = {first}
        $sent = None
        while True:
            $token = $enter($here)
            $began = $clock()
            try:
                $item = {await_}$step($sent)
            finally:
                $now = $clock()
                $active += $now - $began
                $here = $current()
                try:
                    $leave($token)
                except $ValueError:
                    $stream.leave($token, $here)
            if $count == $mark:
                $mark, $keep = $stream.mark($count, $now)
            $count += 1
            $keep($item if $type($item) in $atoms else $freeze($item))
            try:
                $sent = yield $item
                $step = $inner.{send}
                $thrown = None
            except:
                $sent = $thrown = $exc_info()[1]
                $sent.__traceback__ = $sent.__traceback__.tb_next
                $step = $inner.{throw}
    except {stop} as $stop:
        $finish_stream($stream, $count, $active, {value}, $thrown)
        $sent = $thrown = None
        {return_}
    except:
        $fail_stream($stream, $count, $active, $thrown)
        $sent = $thrown = None
        raise
"""

_DELEGATE = "return (yield from $wrapped({arguments}))"

_ASYNC_DELEGATE = """\
$inner = $wrapped({arguments})
        $step = $unhooked($inner)
        $sent = None
        try:
            while True:
                $item = await $step($sent)
                try:
                    $sent = yield $item
                    $step = $inner.asend
                except:
                    $sent = $exc_info()[1]
                    $sent.__traceback__ = $sent.__traceback__.tb_next
                    $step = $inner.athrow
        except $StopAsyncIteration:
            pass
        finally:
            $sent = None"""

_CO_VARARGS, _CO_VARKEYWORDS = 0x04, 0x08
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200

_GIVEN = {
    "StopAsyncIteration": StopAsyncIteration,
    "StopIteration": StopIteration,
    "ValueError": ValueError,
    "begin": begin,
    "begin_stream": begin_stream,
    "clock": perf_counter_ns,
    "exc_info": sys.exc_info,
    "fail": fail,
    "fail_stream": fail_stream,
    "finish": finish,
    "finish_stream": finish_stream,
    "type": type,
    "unhooked": unhooked,
}


@dataclass(frozen=True)
class Parameters:
    """A function's parameters by kind, as its code object lists them."""

    positional_only: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    varargs: str | None = None
    keyword_only: tuple[str, ...] = ()
    varkeywords: str | None = None

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


def _source(parameters: Parameters, flags: int, values: str, arguments: str, prefix: str) -> str:
    """Write the source of a factory whose arguments are the free names of the door."""
    words = {"async_": "", "await_": "", "send": "send", "throw": "throw", "first": "$inner.send"}
    words.update(stop="$StopIteration", value="$stop.value", return_="return $stop.value")
    delegate, template = _DELEGATE, _STREAM
    if flags & _CO_COROUTINE or not flags & (_CO_GENERATOR | _CO_ASYNC_GENERATOR):
        template = _CALL
        if flags & _CO_COROUTINE:
            words.update(async_="async ", await_="await ")
    elif flags & _CO_ASYNC_GENERATOR:
        delegate = _ASYNC_DELEGATE
        words = {"async_": "async ", "await_": "await ", "send": "asend", "throw": "athrow", "first": "$unhooked($inner)"}
        words.update(stop="$StopAsyncIteration", value="None", return_="return")
    body = template.format(
        parameters=parameters.definition(),
        arguments=arguments,
        values=values,
        delegate=delegate.format(arguments=arguments),
        **words,
    )
    given = ", ".join(f"${name}" for name in (*_GIVEN, "tracer", "plan", "wrapped", "receives", "kinds"))
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    return f"def make({given}):\n{indented}    return door\n".replace("$", prefix)


@lru_cache(maxsize=512)
def _factory(source: str) -> Callable[..., FunctionType]:
    """Compile a factory. Equal lists of parameters share the code."""
    filename = f"<honeytrace door {len(_sources)}>"
    _sources.append(source)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), namespace)
    factory: Callable[..., FunctionType] = namespace["make"]
    return factory


_sources: list[str] = []


def build(
    function: FunctionType,
    *,
    tracer: object,
    plan: object,
    captured: Sequence[str],
    receives: Callable[[object], bool],
    kinds: dict[type, int],
) -> FunctionType:
    """Build the door in front of a Python function.

    `captured` are the parameters to record. `kinds` and `receives` tell whether the first argument is a bound
    receiver: by its type (0 no, 1 yes), or 2 where the object itself must be asked.
    """
    parameters = parameters_of(function)
    prefix = "_ht_"
    while any(name.startswith(prefix) for name in parameters.names):
        prefix += "_"
    shown = [name for name in parameters.names if name in captured]
    values = "{" + ", ".join(f"{name!r}: {name}" for name in shown) + "}"
    if parameters.first in shown:
        bound = "{" + ", ".join(f"{name!r}: {name}" for name in shown[1:]) + "}"
        kind = f"($kind := $kinds[$type({parameters.first})])"
        values = f"{bound} if {kind} == 1 or $kind and $receives({parameters.first}) else {values}"
    source = _source(parameters, function.__code__.co_flags, values, parameters.arguments(), prefix)
    given = {**_GIVEN, "tracer": tracer, "plan": plan, "wrapped": function, "receives": receives, "kinds": kinds}
    made = _factory(source)(*given.values())
    code = made.__code__.replace(co_name=function.__code__.co_name)
    if sys.version_info >= (3, 11):
        code = code.replace(co_qualname=function.__code__.co_qualname)
    door = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, made.__closure__)
    door.__kwdefaults__ = function.__kwdefaults__
    update_wrapper(door, function)
    return door


def build_for_proxy(flags: int, *, tracer: object, plan: object) -> FunctionType:
    """Build a door with wrapt's calling convention, for a callable that waits as `flags` say."""
    parameters = Parameters(positional=("$wrapped", "$instance", "$args", "$kwargs"))
    values = "$plan.bind($instance, $args, $kwargs)"
    source = _source(parameters, flags, values, "*$args, **$kwargs", "_ht_")
    given = {**_GIVEN, "tracer": tracer, "plan": plan, "wrapped": None, "receives": None, "kinds": None}
    return _factory(source)(*given.values())
