"""The functions that stand in front of traced functions: one bookkeeping path, four ways to wait.

A door is a real function with the parameters of the function behind it, in its module's globals: the interpreter
binds arguments and applies defaults (a wrong call fails where and as the plain one would, before anything starts),
and whoever inspects the door sees the function. Its code is written out here once per way to wait and compiled once
per list of parameters; `$` marks names of ours and becomes a prefix that no parameter has.
"""

from __future__ import annotations

import linecache
import sys
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, update_wrapper
from itertools import count
from time import perf_counter, perf_counter_ns
from types import FunctionType

import orjson

from honeytrace._bookkeeping import announce, fail, finish_late, finish_simple, keeps, late, leave
from honeytrace._context import gone, settle
from honeytrace._diagnostics import failed
from honeytrace._event import PLAIN_SCALARS
from honeytrace._ids import new_id, take
from honeytrace._span import Call, Plan, Recorder, live, unannounced
from honeytrace._stream import Stream, fail_stream, finish_stream, unhooked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

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

__all__ = ["Parameters", "begin", "build", "build_for_proxy", "parameters_of"]

# How a span starts. Two things decide the price of a traced call: what runs here and in _FINISH, and that it runs
# here, since a function called from here would cost more than most of these lines. `token` is set last: it says that
# the span has started. Nothing before may be left undone, and nothing after it may fail.
_START = """\
$token = None
if $recorder is not None:
    try:
        $current = $get()
        if $current is None:
            try:
                $session = $parent = $take()
            except $IndexError:
                $session = $parent = $new_id()
            $root = True
            $kept = $recorder.sampler is None or $keeps($recorder, $session)
        else:
            $session, $parent, $kept, $anchor = $current
            $root = False
        if $kept:
            try:
                $id = $take()
            except $IndexError:
                $id = $new_id()
            if $root:
                $anchor = $recorder.anchor if $clock() < $recorder.anchor_until else $recorder.new_anchor()
            {encode}
            $start = $clock()
            if $root:
                $unannounced[$session] = ($plan, $start + $anchor, $inputs)
            $token = $set(($session, $id, True, $anchor))
        elif $root:
            $id = None
            $start = $anchor = 0
            $inputs = b""
            $token = $set(($session, $session, False, 0))
    except $RecursionError:
        pass
    except $Exception as $error:
        $failed("starting a span", $error)
"""

# Inputs of plain values are encoded on the spot; the plan looks after all others. A type may refuse to be hashed.
_ENCODE = """\
try:
    $plain = $plan.simple_for is $recorder and {plain}
except $TypeError:
    $plain = False
if $plain:
    try:
        $inputs = $dumps({values})
    except $TypeError:
        $inputs = $plan.inputs($recorder, {values})
    $live[$id] = $plan
else:
    {receiver}
    $inputs = $plan.inputs($recorder, {given})
    $live[$id] = $plan.state($recorder)
"""

_RECEIVER = """\
try:
    $kind = $kinds[$type({first})]
    $bound = $kind == 1 or $kind == 2 and $receives({first})
except $TypeError:
    $bound = $receives({first})
"""

_CALL = """\
{async_}def door({parameters}):
    $recorder = $tracer.recorder
    {start}
    try:
        $result = {await_}{call}
    except:
        if $token is not None:
            $error = $exc_info()[1]
            $call = ($plan, $recorder, $session, $id, $parent, $anchor, $inputs, $token, $start, $root)
            try:
                $fail($Call(*$call), $error{closed})
            except $RecursionError:
                $late.append(($call, $error, $clock()))
            finally:
                $error = None
        raise
    if $token is not None:
        $state = $plan
        try:
            $end = $clock()
            try:
                $reset($token)
                if $gone:
                    $settle($recorder.variable)
            except ($ValueError, $RuntimeError):
                $leave($Call($plan, $recorder, $session, $id, $parent, $anchor, $inputs, $token, $start, $root))
            $state = $live.pop($id, None)
            try:
                $kind = $type($result)
                $plain = $state is $plan and ($kind is $str and $len($result) < 250 or $kind in $scalars)
            except $TypeError:
                $plain = False
            if $plain:
                try:
                    $out = $dumps($result)
                except $TypeError:
                    $out = $recorder.snapshot($result)
                $time = $start + $anchor
                $start = $time // 1000
                $end = ($end + $anchor) // 1000
                $out = $plan.form % ($id, $session, $parent, $start, $end, $end - $start, $inputs, $out)
                if $root:
                    if $recorder.session_name is None and $unannounced.pop($session, None):
                        $recorder.submit("root", $id, $out, $time)
                    else:
                        $announce($recorder, $session)
                        $recorder.submit("last", $id, $out, $time)
                else:
                    if $unannounced and $session in $unannounced:
                        $announce($recorder, $session)
                    $recorder.submit("event", $id, $out, $time)
                $state = None
                if $late:
                    $finish_late()
            elif $state is not None:
                $call = $Call($plan, $recorder, $session, $id, $parent, $anchor, $inputs, $token, $start, $root)
                $finish_simple($call, $end, $state, $result)
        except $RecursionError:
            if $state is not None and $id is not None:
                $live.setdefault($id, $plan)
                $call = ($plan, $recorder, $session, $id, $parent, $anchor, $inputs, $token, $start, $root)
                $late.append(($call, None, $clock()))
        except $Exception as $error:
            $failed("finishing a span", $error)
    return $result
"""

# A generator's span is current only while its own body runs: it is entered and left at every step. What the body
# itself made current (a span it opened around a yield) waits in `here` for the next step.
# What was yielded is not held while the generator waits, unless it is text: that is kept for the record anyway.
# Where the consumer throws an exception in, the entry of this frame is taken off its traceback again.
_STREAM = """\
{async_}def door({parameters}):
    $recorder = $tracer.recorder
    {start}
    if $token is None:
        {delegate}
        return
    $mark = $count = $active = 0
    $thrown = None
    $call = $Call($plan, $recorder, $session, $id, $parent, $anchor, $inputs, $token, $start, $root)
    $here = $get()
    $leave($call)
    $stream = $Stream($call)
    try:
        $inner = {call}
        $keep, $freeze = $stream.keep, $stream.freeze
        $step = {first}
        $sent = None
        while True:
            $token = $set($here)
            $began = $seconds()
            try:
                $item = {await_}$step($sent)
            finally:
                $now = $seconds()
                $active += $now - $began
                $here = $get()
                try:
                    $reset($token)
                except $ValueError:
                    $stream.leave($token)
            $sent = $thrown = None
            $text = $type($item) is $str
            try:
                if $count == $mark:
                    $mark, $keep = $stream.mark($count, $now)
                $count += 1
                $keep($item if $text else $freeze($item))
            except $RecursionError:
                pass
            try:
                $sent = yield ($item if $text else ($item, $item := None)[0])
                $step = $inner.{send}
            except:
                $sent = $thrown = $exc_info()[1]
                $sent.with_traceback($sent.__traceback__.tb_next)
                $step = $inner.{throw}
    except {stop} as $stop:
        try:
            $finish_stream($stream, $count, $active, {value}, $thrown)
        except $RecursionError:
            $late.append(($call, None, $clock()))
        $sent = $thrown = None
        {return_}
    except:
        try:
            $fail_stream($stream, $count, $active, $thrown, $exc_info()[1])
        except $RecursionError:
            $late.append(($call, None, $clock()))
        $sent = $thrown = None
        raise
"""

_DELEGATE = "return (yield from {call})"

_ASYNC_DELEGATE = """\
$inner = {call}
        $step = $unhooked($inner)
        $sent = None
        try:
            while True:
                $item = await $step($sent)
                $sent = None
                try:
                    $sent = yield ($item, $item := None)[0]
                    $step = $inner.asend
                except:
                    $sent = $exc_info()[1]
                    $sent.with_traceback($sent.__traceback__.tb_next)
                    $step = $inner.athrow
        except $StopAsyncIteration:
            pass
        finally:
            $sent = None"""

_CO_VARARGS, _CO_VARKEYWORDS = 0x04, 0x08
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200
_CO_ITERABLE_COROUTINE = 0x100

_GIVEN: dict[str, object] = {
    "Call": Call,
    "Exception": Exception,
    "IndexError": IndexError,
    "RecursionError": RecursionError,
    "RuntimeError": RuntimeError,
    "StopAsyncIteration": StopAsyncIteration,
    "StopIteration": StopIteration,
    "Stream": Stream,
    "TypeError": TypeError,
    "ValueError": ValueError,
    "announce": announce,
    "clock": perf_counter_ns,
    "dumps": orjson.dumps,
    "exc_info": sys.exc_info,
    "fail": fail,
    "fail_stream": fail_stream,
    "failed": failed,
    "finish_late": finish_late,
    "gone": gone,
    "settle": settle,
    "finish_simple": finish_simple,
    "finish_stream": finish_stream,
    "keeps": keeps,
    "late": late,
    "leave": leave,
    "len": len,
    "live": live,
    "new_id": new_id,
    "scalars": PLAIN_SCALARS,
    "seconds": perf_counter,
    "str": str,
    "take": take,
    "type": type,
    "unannounced": unannounced,
    "unhooked": unhooked,
}
"""What the doors reach without a global: their globals are those of the function they stand in front of."""


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


def _encode(names: Sequence[str], first: str | None, is_method: bool) -> str:
    """Write how the inputs are encoded: these parameters, the first one left out if it is a bound receiver."""
    rest = [name for name in names if name != first]
    if len(rest) == len(names):
        return _form(names, "", _values(names))
    receiver = _RECEIVER.format(first=first)
    if is_method:
        either = _form(rest, "", _values(rest)), _form(names, "", _values(names))
        return f"{receiver}if $bound:\n{_indent(either[0], 1)}\nelse:\n{_indent(either[1], 1)}"
    # Plain values are nobody's receiver: a function called with them need not ask.
    return _form(names, receiver, f"{_values(rest)} if $bound else {_values(names)}")


def _form(names: Sequence[str], receiver: str, given: str) -> str:
    indented = _indent(receiver or "pass", 1).lstrip()
    return _ENCODE.format(plain=_plain(names), values=_values(names), receiver=indented, given=given)


def _plain(names: Sequence[str]) -> str:
    """Write the test whether values may go to orjson as they are: no size, no secret, no type to think about."""
    tests = [f"($type({name}) is $str and $len({name}) < 250 or $type({name}) in $scalars)" for name in names]
    return " and ".join(tests) or "True"


def _values(names: Sequence[str]) -> str:
    return "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"


def _indent(text: str, levels: int) -> str:
    return "\n".join("    " * levels + line if line.strip() else line for line in text.rstrip().splitlines())


def _source(parameters: Parameters, flags: int, encode: str, call: str, prefix: str) -> str:
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
        words = {
            "async_": "async ",
            "await_": "await ",
            "send": "asend",
            "throw": "athrow",
            "first": "$unhooked($inner)",
        }
        words.update(stop="$StopAsyncIteration", value="None", return_="return")
    start = _START.format(encode=_indent(encode, 3).lstrip())
    body = template.format(
        parameters=parameters.definition(),
        call=call,
        closed=", True" if flags & _CO_COROUTINE else "",
        start=_indent(start, 1).lstrip(),
        delegate=delegate.format(call=call),
        **words,
    )
    given = ", ".join(f"${name}" for name in (*_GIVEN, *_BOUND))
    return f"def make({given}):\n{_indent(body, 1)}\n    return door\n".replace("$", prefix)


_BOUND = ("get", "set", "reset", "tracer", "plan", "wrapped", "receives", "kinds")


def _bound(tracer: Any, *others: object) -> tuple[object, ...]:
    """The free names that differ from door to door, in the order of _BOUND."""
    variable = tracer.variable
    return (variable.get, variable.set, variable.reset, tracer, *others)


@lru_cache(maxsize=512)
def _factory(source: str) -> Callable[..., FunctionType]:
    """Compile a factory. Equal lists of parameters share the code."""
    # A frame of the import system is passed over where warnings count stack levels: so is one of ours, by this name.
    filename = f"<honeytrace door {next(_numbers)}, passed over like importlib._bootstrap>"
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
    prefix = "_ht_"
    while any(name.startswith(prefix) for name in parameters.names):
        prefix += "_"
    shown = [name for name in parameters.names if name in captured]
    is_method = "." in function.__qualname__.rpartition("<locals>")[2]
    if by_signature:
        encode = _form_by_plan(f"$plan.bind({parameters.as_tuple()}, {parameters.as_dict()}, $receives)")
    else:
        encode = _encode(shown, parameters.first, is_method)
    flags = function.__code__.co_flags
    source = _source(parameters, flags, encode, f"$wrapped({parameters.arguments()})", prefix)
    made = _factory(source)(*_GIVEN.values(), *_bound(tracer, plan, function, receives, kinds))
    code = made.__code__
    code = code.replace(co_name=function.__code__.co_name, co_flags=code.co_flags | flags & _CO_ITERABLE_COROUTINE)
    if sys.version_info >= (3, 11):
        code = code.replace(co_qualname=function.__code__.co_qualname)
    door = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, made.__closure__)
    door.__kwdefaults__ = function.__kwdefaults__
    update_wrapper(door, function)
    return door


def _form_by_plan(values: str) -> str:
    return _ENCODE.format(plain="False", values="None", receiver="pass", given=values)


def build_for_proxy(flags: int, *, tracer: object, plan: object) -> FunctionType:
    """Build a door with wrapt's calling convention, for a callable that waits as `flags` say.

    One that waits is called first, so that a wrong call fails at once, and the door drives what came of it.
    """
    parameters = Parameters(positional=("$wrapped", "$instance", "$args", "$kwargs"))
    encode = _form_by_plan("$plan.bind($args, $kwargs, None, $instance)")
    call = "$wrapped" if flags else "$wrapped(*$args, **$kwargs)"
    if flags & _CO_COROUTINE:
        call = "$wrapped"
    source = _source(parameters, flags, encode, call, "_ht_")
    door = _factory(source)(*_GIVEN.values(), *_bound(tracer, plan, None, None, None))
    if not flags:
        return door

    def first(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return door(wrapped(*args, **kwargs), instance, args, kwargs)

    return first  # type: ignore[return-value]


@cache
def _compile_begin() -> Callable[[Plan, Recorder, bytes], Call | None]:
    """Make the function that starts a span whose inputs are encoded already, from the same text as the doors."""
    start = _START.format(encode="$live[$id] = $plan.state($recorder)")
    made = "$Call($plan, $recorder, $session, $id, $parent, $anchor, $inputs, $token, $start, $root)"
    variable = "$get, $set = $recorder.get, $recorder.set"
    end = f"return None if $token is None else {made}"
    body = f"def door($plan, $recorder, $inputs):\n    {variable}\n{_indent(start, 1)}\n    {end}\n"
    given = ", ".join(f"${name}" for name in _GIVEN)
    source = f"def make({given}):\n{_indent(body, 1)}\n    return door\n".replace("$", "_ht_")
    begin: Any = _factory(source)(*_GIVEN.values())
    return begin  # type: ignore[no-any-return]


def begin(plan: Plan, recorder: Recorder, inputs: bytes) -> Call | None:
    """Start a span and make it current; None if it is not to be recorded."""
    return _compile_begin()(plan, recorder, inputs)
