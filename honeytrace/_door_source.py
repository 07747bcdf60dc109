"""What the doors are made of: the source text of a door, one for each way to wait.

This is the path that nearly every traced call takes, start to finish; read it before anything else here. It is text
because the parameters of the function go into it. `$` marks names of ours, {braces} what differs from door to door.
Everything off this path is an ordinary function of _bookkeeping and _stream, called by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from honeytrace._parameters import Parameters

__all__ = ["begin_source", "door_source", "encode_by_plan", "encode_parameters", "factory_source"]

# How a span starts. Two things decide the price of a traced call: what runs here and in _FINISH, and that it runs
# here, since a function called from here would cost more than most of these lines. `token` is set last: it says that
# the span has started. Nothing before may be left undone, and nothing after it may fail.
_START = """\
$token = None
if $recorder is not None:
    try:
        $current = $get() if not $gone else $rare.settle($recorder.variable)
        if $current is None:
            try:
                $session = $parent = $take()
            except $rare.IndexError:
                $session = $parent = $rare.new_id()
            $root = True
            $opening = None
            $kept = $recorder.sampler is None or $rare.keeps($recorder, $session)
        else:
            $session, $parent, $kept, $anchor, $opening = $current
            $root = False
        if $kept:
            try:
                $id = $take()
            except $rare.IndexError:
                $id = $rare.new_id()
            {encode}
            $start = $clock()
            if $root:
                $anchor = $recorder.anchor if $start < $recorder.anchor_until else $recorder.new_anchor()
                $opening = [$plan, $start + $anchor, $inputs]
            $live[$id] = $state
            $token = $set(($session, $id, True, $anchor, $opening))
        elif $root:
            $id = None
            $start = $anchor = 0
            $inputs = b""
            $token = $set(($session, $session, False, 0, None))
    except $rare.RecursionError:
        $late.append(None)
    except $rare.Exception as $error:
        $rare.failed("starting a span", $error)
"""

# Inputs of plain values are encoded on the spot; the plan looks after all others. A type may refuse to be hashed, in
# words of its own, and orjson an integer.
_ENCODE = """\
try:
    $inputs = $dumps({values}) if $plan.simple_for is $recorder and {plain} else None
except $rare.Exception:
    $inputs = None
$state = $plan
if $inputs is None:
    {receiver}
    $inputs = $recorder.fields({given}) if $plan.simple_for is $recorder else $plan.inputs($recorder, {given})
    $state = $plan.state($recorder)
"""

_RECEIVER = """\
try:
    $kind = $kinds[$type({first})]
    $bound = $kind == 1 or $kind == 2 and $receives({first})
except $rare.Exception:
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
            $error = $rare.exc_info()[1]
            $call = {call_fields}
            try:
                $rare.fail($rare.Call(*$call), $error{closed})
            except $rare.RecursionError:
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
                    $rare.settle($recorder.variable)
            except ($rare.ValueError, $rare.RuntimeError):
                $rare.leave($rare.Call({call_fields}))
            $state = $live.pop($id, None)
            if $state is $plan:
                $frame = $plan.frame
                $kind = $type($result)
                try:
                    $out = $dumps($result) if $kind is $str and $len($result) < 250 or $kind in $scalars else None
                except $rare.Exception:
                    $out = None
                if $out is None:
                    $out = $recorder.snapshot($result)
                    if $out[:1] == b"{{" and $rare.issubclass($kind, $rare.dict):
                        $frame = $plan.object_frame
                $submit = $recorder.submit
                $time = $start + $anchor
                $out = $join(($session, $parent, $frame, $inputs, $out))
                if $root:
                    if $opening and $recorder.session_name is None:
                        $submit("root", $id, $out, $time, $end - $start)
                        $opening.clear()
                    else:
                        $rare.complete($recorder, $session, $opening, $id, $out, $time, $end - $start)
                else:
                    if $opening:
                        $rare.announce($recorder, $session, $opening)
                    $submit("event", $id, $out, $time, $end - $start)
                $state = None
                if $late:
                    $rare.finish_late()
            elif $state is not None:
                $rare.finish_enriched($rare.Call({call_fields}), $end, $state, $result)
        except $rare.RecursionError:
            if $state is not None and $id is not None:
                $live.setdefault($id, $state)
                $call = {call_fields}
                $late.append(($call, None, $clock()))
        except $rare.Exception as $error:
            $rare.failed("finishing a span", $error)
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
    $here = $get()
    try:
        $call = $rare.Call({call_fields})
        $stream = $rare.Stream($call)
    except:
        $live.pop($id, None)
        raise
    finally:
        $reset($token)
    try:
        $inner = {call}
        $keep, $freeze = $stream.keep, $stream.freeze
        $send = $inner.{send}
        $step = {first}
        $sent = None
        while True:
            $token = $set($here)
            $began = $seconds()
            try:
                $item = {await_}$step($sent)
            finally:
                $active += $seconds() - $began
                $here = $get()
                try:
                    $reset($token)
                except $rare.ValueError:
                    $stream.leave($token)
            $sent = $thrown = None
            $text = $type($item) is $str
            try:
                if $count == $mark:
                    $mark, $keep = $stream.mark($count, $began + $active)
                $count += 1
                $keep($item if $text else $freeze($item))
            except $rare.RecursionError:
                pass
            try:
                $sent = yield ($item if $text else ($item, $item := None)[0])
                $step = $send
            except:
                $sent = $thrown = $rare.exc_info()[1]
                $sent.with_traceback($sent.__traceback__.tb_next)
                $step = $inner.{throw}
    except {stop} as $stop:
        try:
            $rare.finish_stream($stream, $count, $active, {value}, $thrown)
        except $rare.RecursionError:
            $late.append(($call, None, $clock()))
        $sent = $thrown = None
        {return_}
    except:
        $error = $rare.exc_info()[1]
        try:
            $rare.fail_stream($stream, $count, $active, $thrown, $error)
        except $rare.RecursionError:
            $late.append(($call, $error, $clock()))
        $sent = $thrown = $error = None
        raise
"""

# The fields of a Call.
_CALL_FIELDS = "$plan, $recorder, $session, $id, $parent, $anchor, $inputs, $token, $start, $root, $opening"

_DELEGATE = "return (yield from {call})"

# What `yield from` does not do: for async generators at all, and since 3.13 for what a generator returns to close().
_DELEGATE_BY_HAND = """\
$inner = {call}
        $send = $inner.{send}
        $step = {first}
        $sent = None
        try:
            while True:
                $item = {await_}$step($sent)
                $sent = None
                try:
                    $sent = yield ($item, $item := None)[0]
                    $step = $send
                except:
                    $sent = $rare.exc_info()[1]
                    $sent.with_traceback($sent.__traceback__.tb_next)
                    $step = $inner.{throw}
        except {stop} as $stop:
            {return_}
        finally:
            $sent = None"""

_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


def encode_parameters(names: Sequence[str], first: str | None, is_method: bool) -> str:
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


def door_source(parameters: Parameters, flags: int, encode: str, call: str) -> str:
    """Write the source of a door that waits as the flags of a code object say, around a call."""
    words = {"async_": "", "await_": "", "send": "send", "throw": "throw", "first": "$send"}
    words.update(stop="$rare.StopIteration", value="$stop.value", return_="return $stop.value")
    delegate, template = _DELEGATE if sys.version_info < (3, 13) else _DELEGATE_BY_HAND, _STREAM
    if flags & _CO_COROUTINE or not flags & (_CO_GENERATOR | _CO_ASYNC_GENERATOR):
        template = _CALL
        if flags & _CO_COROUTINE:
            words.update(async_="async ", await_="await ")
    elif flags & _CO_ASYNC_GENERATOR:
        delegate = _DELEGATE_BY_HAND
        words = {
            "async_": "async ",
            "await_": "await ",
            "send": "asend",
            "throw": "athrow",
            "first": "$rare.unhooked($inner)",
        }
        words.update(stop="$rare.StopAsyncIteration", value="None", return_="return")
    start = _START.format(encode=_indent(encode, 3).lstrip())
    return template.format(
        parameters=parameters.definition(),
        call=call,
        call_fields=_CALL_FIELDS,
        closed=", True" if flags & _CO_COROUTINE else "",
        start=_indent(start, 1).lstrip(),
        delegate=delegate.format(call=call, **words),
        **words,
    )


def factory_source(body: str, given: Iterable[str], prefix: str) -> str:
    """Write a function that makes the door: its arguments are the names of ours that the door uses."""
    names = ", ".join(f"${name}" for name in given)
    return f"def make({names}):\n{_indent(body, 1)}\n    return door\n".replace("$", prefix)


def encode_by_plan(values: str) -> str:
    return f"$inputs = $plan.inputs($recorder, {values})\n$state = $plan.state($recorder)"


def begin_source() -> str:
    """Write the source of a function that starts a span whose inputs are encoded already: the start of every door."""
    start = _START.format(encode="$state = $plan.state($recorder)")
    made = f"$rare.Call({_CALL_FIELDS})"
    return (
        "def door($plan, $recorder, $inputs):\n"
        "    $get, $set = $recorder.get, $recorder.set\n"
        f"{_indent(start, 1)}\n"
        f"    return None if $token is None else {made}\n"
    )
