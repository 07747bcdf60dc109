"""A traced callable cannot be told from the plain one, whatever honeytrace does behind it."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import sys
import traceback
import typing
import unittest.mock
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recording_kinds import KINDS, Failure, awaited, drained, outcome
from recording_modes import DISABLED, ENABLED, MODES, QUIET, Mode, plain

import honeytrace
from honeytrace.testing import Traces

FORMS = ("function", "coroutine function", "generator", "async generator")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_traced_program_does_what_the_plain_one_does(mode: Mode, name: str) -> None:
    program, _ = KINDS[name]
    expected = program(plain)
    with mode.active():
        assert program(mode.trace) == expected


@pytest.mark.parametrize("name", KINDS)
def test_every_call_of_a_program_is_one_event(name: str, traces: Traces) -> None:
    program, events = KINDS[name]
    program(honeytrace.trace)
    assert len(traces) == events, [event.event_name for event in traces]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("mode", [mode for mode in QUIET if not mode.records], ids=str)
def test_a_program_that_is_not_recorded_leaves_nothing(mode: Mode, name: str) -> None:
    with mode.active() as traces:
        KINDS[name][0](mode.trace)
    assert traces.records == []


def forms(trace: Callable[..., Any]) -> dict[str, Callable[[Callable[[], Any]], Any]]:
    """Each way to wait, running a body that a test gives."""

    @trace
    def function(body: Any) -> Any:
        return body()

    @trace
    async def coroutine(body: Any) -> Any:
        return body()

    @trace
    def generator(body: Any) -> Any:
        yield body()

    @trace
    async def async_generator(body: Any) -> Any:
        yield body()

    def run(coroutine: Any) -> Any:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value

    async def first(stream: Any) -> Any:
        async for item in stream:
            return item

    return {
        "function": function,
        "coroutine function": lambda body: run(coroutine(body)),
        "generator": lambda body: next(generator(body)),
        "async generator": lambda body: run(first(async_generator(body))),
    }


def failing(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_the_result_is_the_same_object(mode: Mode, form: str) -> None:
    result = object()
    with mode.active():
        assert forms(mode.trace)[form](lambda: result) is result


@pytest.mark.parametrize(
    "kind", [Failure, KeyboardInterrupt, SystemExit, asyncio.CancelledError, MemoryError, StopIteration, GeneratorExit,
             StopAsyncIteration, RecursionError, AssertionError]
)  # fmt: skip
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_the_exception_is_the_same_object(mode: Mode, form: str, kind: type[BaseException]) -> None:
    def seen(trace: Callable[..., Any]) -> Any:
        error = kind("why")
        error.__cause__ = cause = KeyError("cause")
        try:
            forms(trace)[form](failing(error))
        except BaseException as raised:
            chain = raised if raised is error else raised.__cause__
            return (
                raised is error,
                type(raised),
                str(raised),
                chain is error and chain.__cause__ is cause,
                raised.__context__ is None,
            )
        return "swallowed"

    expected = seen(plain)
    with mode.active():
        assert seen(mode.trace) == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_the_traceback_has_one_frame_of_ours_at_most(mode: Mode, form: str) -> None:
    def frames(trace: Callable[..., Any]) -> list[traceback.FrameSummary]:
        try:
            forms(trace)[form](failing(Failure("why")))
        except Failure as error:
            return list(traceback.extract_tb(error.__traceback__))
        raise AssertionError

    expected = frames(plain)
    with mode.active():
        found = frames(mode.trace)
    ours = [
        frame
        for frame in found
        if frame.filename.startswith((str(Path(honeytrace.__file__).parent), "<honeytrace door"))
    ]
    assert len(ours) <= 1
    assert [frame.name for frame in found if frame not in ours] == [frame.name for frame in expected]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_thrown_into_a_generator_gets_one_frame_of_ours_at_most(mode: Mode) -> None:
    def frames(trace: Callable[..., Any]) -> list[str]:
        @trace
        def stream() -> Any:
            yield 1

        stream_ = stream()
        next(stream_)
        try:
            stream_.throw(Failure("thrown"))
        except Failure as error:
            return [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
        raise AssertionError

    expected = frames(plain)
    with mode.active():
        found = frames(mode.trace)
    assert [name for name in found if not name.startswith("<honeytrace")] == expected
    assert len(found) <= len(expected) + 1


@pytest.mark.parametrize("mode", MODES)
def test_what_is_thrown_into_an_async_generator_gets_one_frame_of_ours_at_most(mode: Mode) -> None:
    def frames(trace: Callable[..., Any]) -> list[str]:
        @trace
        async def stream() -> Any:
            yield 1

        async def main() -> list[str]:
            stream_ = stream()
            await stream_.asend(None)
            try:
                await stream_.athrow(Failure("thrown"))
            except Failure as error:
                return [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
            raise AssertionError

        return asyncio.run(main())

    expected = frames(plain)
    with mode.active():
        found = frames(mode.trace)
    assert [name for name in found if not name.startswith("<honeytrace")] == expected
    assert len(found) <= len(expected) + 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_sys_exc_info_is_what_the_caller_handles(mode: Mode, form: str) -> None:
    with mode.active():
        run = forms(mode.trace)[form]
        assert run(lambda: sys.exc_info()) == (None, None, None)
        try:
            raise Failure("outer")
        except Failure as outer:
            assert run(lambda: sys.exc_info()[1]) is outer
            with pytest.raises(KeyError) as caught:
                run(failing(KeyError("inner")))
            assert caught.value.__context__ is outer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_a_chain_of_causes_stays_what_it_is(mode: Mode, form: str) -> None:
    cause = ValueError("cause")

    def body() -> None:
        try:
            raise KeyError("context")
        except KeyError:
            raise Failure("effect") from cause

    with mode.active():
        with pytest.raises(Failure) as caught:
            forms(mode.trace)[form](body)
    assert caught.value.__cause__ is cause
    assert isinstance(caught.value.__context__, KeyError)
    assert caught.value.__context__.__context__ is None


class Thing:
    """Can be watched by a weak reference."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", QUIET, ids=str)
def test_a_result_dies_when_the_caller_drops_it(mode: Mode, form: str) -> None:
    gc.disable()
    try:
        with mode.active():
            result = forms(mode.trace)[form](Thing)
            watch = weakref.ref(result)
            del result
            assert watch() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("mode", QUIET, ids=str)
def test_what_a_generator_yielded_dies_while_it_is_suspended(mode: Mode) -> None:
    @mode.trace
    def stream() -> Any:
        yield Thing()
        yield 2

    with mode.active():
        running = stream()
        watch = weakref.ref(next(running))
        alive = watch()
        list(running)
    assert alive is None


@pytest.mark.parametrize("mode", QUIET, ids=str)
def test_what_was_thrown_in_and_caught_dies_while_the_generator_is_suspended(mode: Mode) -> None:
    @mode.trace
    def stream() -> Any:
        try:
            yield 1
        except Failure:
            pass
        yield 2

    gc.disable()
    try:
        with mode.active():
            running = stream()
            next(running)
            error = Failure()
            watch = weakref.ref(error)
            running.throw(error)
            error.__traceback__ = None
            del error
            alive = watch()
            list(running)
    finally:
        gc.enable()
    assert alive is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", QUIET, ids=str)
def test_an_exception_dies_with_its_handler(mode: Mode, form: str) -> None:
    gc.disable()
    try:
        with mode.active():
            run = forms(mode.trace)[form]

            def body() -> None:
                raise Failure("why")

            try:
                run(body)
            except Failure as error:
                watch = weakref.ref(error)
            assert watch() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("mode", QUIET, ids=str)
def test_an_argument_is_kept_alive_by_nobody(mode: Mode) -> None:
    @mode.trace
    def work(thing: Thing) -> None: ...

    with mode.active():
        thing = Thing()
        watch = weakref.ref(thing)
        work(thing)
        del thing
        assert watch() is None


def annotated_function(a: Local, /, b: int = 1, *rest: str, c: bool = True, d: float, **more: bytes) -> list[Local]:
    """Do nothing.

    At length.
    """
    return []


async def annotated_coroutine(a: Local, b: int = 1) -> Local:
    """Do nothing, later."""
    raise NotImplementedError


def annotated_generator(a: Local, b: int = 1) -> typing.Iterator[Local]:
    """Yield nothing."""
    yield from ()


async def annotated_async_generator(a: Local, b: int = 1) -> typing.AsyncIterator[Local]:
    """Yield nothing, later."""
    for nothing in ():
        yield nothing


class Local:
    """Known in this module only, and after the functions above."""

    def method(self, x: Local, *, y: int = 1) -> Local:
        """Do nothing."""
        return x

    @classmethod
    def made(cls, x: Local) -> Local:
        """Do nothing."""
        return x


ANNOTATED = [annotated_function, annotated_coroutine, annotated_generator, annotated_async_generator, Local.method]


@pytest.mark.parametrize(
    "ask",
    [
        inspect.signature, inspect.getfullargspec, inspect.iscoroutinefunction, inspect.isgeneratorfunction,
        inspect.isasyncgenfunction, inspect.isfunction, inspect.isroutine, inspect.getsource, inspect.getdoc,
        inspect.getmodule, typing.get_type_hints, callable, type,
        lambda f: f.__name__, lambda f: f.__qualname__, lambda f: f.__module__, lambda f: f.__doc__,
        lambda f: f.__annotations__, lambda f: f.__defaults__, lambda f: f.__kwdefaults__,
        lambda f: f.__globals__ is globals(), lambda f: f.__code__.co_name,
        lambda f: f.__code__.co_varnames[: f.__code__.co_argcount + f.__code__.co_kwonlyargcount],
        lambda f: (f.__code__.co_argcount, f.__code__.co_posonlyargcount, f.__code__.co_kwonlyargcount),
        lambda f: f.__code__.co_flags & 0x3FF & ~0x50,
        lambda f: f.__type_params__ if sys.version_info >= (3, 12) else (),
        lambda f: str(inspect.signature(f)), lambda f: str(f).partition(" at ")[0],
    ],
)  # fmt: skip
@pytest.mark.parametrize("function", ANNOTATED, ids=lambda function: function.__name__)
def test_who_asks_a_traced_function_gets_the_answer_of_the_plain_one(function: Any, ask: Callable[[Any], Any]) -> None:
    assert ask(honeytrace.trace(function)) == ask(function)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("function", ANNOTATED, ids=lambda function: function.__name__)
def test_asyncio_takes_a_traced_function_for_what_it_is(function: Any) -> None:
    assert asyncio.iscoroutinefunction(honeytrace.trace(function)) == asyncio.iscoroutinefunction(function)


def test_wrapped_leads_to_the_function_and_attributes_come_along() -> None:
    def work() -> None: ...

    work.tag = ["a"]  # type: ignore[attr-defined]
    traced = honeytrace.trace(work)
    assert traced.__wrapped__ is work
    assert inspect.unwrap(traced) is work
    assert traced.tag is work.tag
    traced.own = 1
    assert not hasattr(work, "own")
    assert {**work.__dict__, "__wrapped__": work, "own": 1} == traced.__dict__


def test_a_proxy_answers_like_the_callable_behind_it() -> None:
    def work(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    for target in (functools.partial(work, 1), functools.lru_cache(work), len, Callable_()):
        traced = honeytrace.trace(target)
        assert isinstance(traced, type(target))
        assert traced == target
        assert hash(traced) == hash(target)
        assert traced.__doc__ == target.__doc__
        assert traced.__module__ == target.__module__
        assert repr(traced) == repr(target)
        assert inspect.signature(traced) == inspect.signature(target)
        assert inspect.iscoroutinefunction(traced) == inspect.iscoroutinefunction(target)


class Waits:
    async def __call__(self, x: int) -> int:
        await asyncio.sleep(0)
        return x


def test_frameworks_that_look_at_the_call_of_an_object_find_what_it_is(traces: Traces) -> None:
    """As Starlette and FastAPI do, to know whether to await it."""
    for made in (Waits(), functools.partial(Waits())):
        traced = honeytrace.trace(made)
        assert inspect.iscoroutinefunction(traced.__call__) == inspect.iscoroutinefunction(made.__call__)
        assert inspect.isroutine(traced.__call__) == inspect.isroutine(made.__call__)
    waits = honeytrace.trace(Waits())
    assert asyncio.run(waits(1)) == 1
    assert asyncio.run(waits.__call__(2)) == 2
    assert [(event.event_name, event.inputs) for event in traces] == [("Waits", {"x": 1}), ("Waits", {"x": 2})]


class Callable_:
    """Counts."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, n: int = 1) -> int:
        self.calls.append(n)
        return len(self.calls)


@honeytrace.trace
def module_function(x: int) -> int:
    return x


@honeytrace.trace
@functools.lru_cache
def module_cached(x: int) -> int:
    return x


module_partial = honeytrace.trace(functools.partial(module_function, 5))
module_callable = honeytrace.trace(Callable_(), event_name="counter")


class Shape:
    def __init__(self, n: int) -> None:
        self.n = n

    @honeytrace.trace
    def area(self) -> int:
        return self.n

    @honeytrace.trace
    @classmethod
    def unit(cls) -> Shape:
        return cls(1)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_functions_and_methods_are_pickled_by_name(protocol: int) -> None:
    def back(value: Any) -> Any:
        return pickle.loads(pickle.dumps(value, protocol))

    assert back(module_function) is module_function
    assert back(Shape.area) is Shape.area
    assert back(Shape(3).area)() == 3
    assert back(Shape.unit)().n == 1
    assert back(Shape(4)).area() == 4


def test_a_cached_function_of_a_module_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(module_cached)) is module_cached


def test_partials_and_callable_objects_are_still_traced_after_pickling_and_copying(traces: Traces) -> None:
    for again in (lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy):
        assert again(module_partial)() == 5
        again(module_callable)(2)
    assert [event.event_name for event in traces].count("counter") == 3
    assert len(traces) == 3 + 3 + 3


def test_a_copied_callable_object_is_as_separate_as_a_copy_of_the_plain_one() -> None:
    original = Callable_()
    traced = honeytrace.trace(original)
    assert copy.copy(traced).calls is original.calls
    assert copy.deepcopy(traced).calls is not original.calls
    assert copy.copy(module_function) is module_function
    assert copy.deepcopy(module_function) is module_function


def test_traced_functions_can_be_hashed_compared_and_watched() -> None:
    def work() -> None: ...

    traced = honeytrace.trace(work)
    assert traced == traced
    assert {traced: 1}[traced] == 1
    assert weakref.ref(traced)() is traced
    assert weakref.WeakKeyDictionary({honeytrace.trace(Callable_()): 1}) is not None


def test_a_function_that_is_thrown_away_is_collected_with_its_door() -> None:
    def make() -> Any:
        @honeytrace.trace
        def work() -> None: ...

        return weakref.ref(work), weakref.ref(work.__wrapped__)

    refs = make()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_a_function_that_refers_to_itself_is_collected_all_the_same() -> None:
    def recursive() -> Any:
        @honeytrace.trace
        def factorial(n: int) -> int:
            return 1 if n < 2 else n * factorial(n - 1)

        assert factorial(3) == 6
        return factorial

    def local_class() -> Any:
        @honeytrace.trace
        class Local:
            def own_class(self) -> type:
                return __class__  # type: ignore[name-defined]  # noqa: F821

        assert Local().own_class() is Local
        return Local

    refs = [weakref.ref(recursive()), weakref.ref(local_class())]
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_methods_can_be_overridden_and_patched(monkeypatch: pytest.MonkeyPatch, traces: Traces) -> None:
    class Square(Shape):
        def area(self) -> int:
            return super().area() ** 2

    assert Square(3).area() == 9
    monkeypatch.setattr(Shape, "area", lambda self: 7)
    assert Square(3).area() == 49
    monkeypatch.undo()
    assert Square(3).area() == 9
    assert len(traces) == 2


def test_mocks_take_a_traced_function_for_the_plain_one() -> None:
    with unittest.mock.patch(f"{__name__}.module_function", autospec=True) as mocked:
        mocked.return_value = 9
        assert module_function(1) == 9
        with pytest.raises(TypeError, match="missing a required argument"):
            module_function()
    spec = unittest.mock.create_autospec(Shape)
    with pytest.raises(TypeError):
        spec(1).area(1)
    assert module_function(2) == 2


def test_wrapping_a_traced_function_keeps_its_signature() -> None:
    @functools.wraps(module_function)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return module_function(*args, **kwargs)

    assert inspect.signature(outer) == inspect.signature(module_function.__wrapped__)
    assert outer(3) == 3


@pytest.mark.parametrize("mode", [DISABLED, ENABLED], ids=str)
def test_a_warning_from_inside_is_attributed_to_the_function(mode: Mode) -> None:
    def warn() -> None:
        warnings.warn("look", UserWarning, stacklevel=1)

    with mode.active(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn()
        honeytrace.trace(warn)()
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, warn.__code__.co_firstlineno + 1)] * 2


@pytest.mark.parametrize("mode", [DISABLED, ENABLED], ids=str)
def test_a_warning_with_stacklevel_two_is_attributed_to_the_caller(mode: Mode) -> None:
    def warn() -> None:
        warnings.warn("look", UserWarning, stacklevel=2)

    traced = honeytrace.trace(warn)
    with mode.active(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in (warn, traced):
            call()
    assert caught[0].filename == caught[1].filename == __file__
    assert caught[0].lineno == caught[1].lineno


@pytest.mark.parametrize("mode", MODES)
def test_arguments_arrive_as_the_objects_they_are(mode: Mode) -> None:
    @mode.trace
    def work(a: Any, b: Any, *rest: Any, c: Any, **more: Any) -> Any:
        return a, b, rest, c, more

    given = [object() for _ in range(5)]
    with mode.active():
        a, b, rest, c, more = work(given[0], given[1], given[2], c=given[3], d=given[4])
    assert all(one is two for one, two in zip([a, b, *rest, c, more["d"]], given, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_call_fails_like_the_plain_one_before_anything_starts(mode: Mode) -> None:
    def work(a: int, *, b: int) -> Any: ...
    async def later(a: int, *, b: int) -> Any: ...
    def stream(a: int, *, b: int) -> Any:
        yield

    async def astream(a: int, *, b: int) -> Any:
        yield

    with mode.active() as traces:
        for function, ask in ((work, outcome), (later, awaited), (stream, drained), (astream, drained)):
            for args, kwargs in (
                ((), {}),
                ((1,), {}),
                ((1, 2), {"b": 3}),
                ((1,), {"b": 1, "c": 2}),
                ((1,), {"a": 1, "b": 2}),
            ):
                assert ask(mode.trace(function), *args, **kwargs) == ask(function, *args, **kwargs)
        assert traces.records == []


def test_a_coroutine_that_is_never_awaited_warns_once_and_leaves_no_event(traces: Traces) -> None:
    @honeytrace.trace
    async def work() -> None: ...

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
        gc.collect()
    assert [str(one.message).partition(".")[0] for one in caught] == [
        "coroutine 'test_a_coroutine_that_is_never_awaited_warns_once_and_leaves_no_event"
    ]
    assert list(traces) == []


def test_a_coroutine_that_is_closed_is_no_failure(traces: Traces) -> None:
    @honeytrace.trace
    async def work() -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        coroutine = work()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    (event,) = traces
    assert (event.error, event.metadata.get("outcome")) == (None, "closed")


class Lazy:
    """Like a lazy proxy whose target cannot be had: even to ask for its class is an error."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise Failure("nothing behind this")


def test_a_result_that_lies_about_its_class_is_recorded(traces: Traces) -> None:
    @honeytrace.trace
    def work(x: Any) -> Any:
        return x

    lazy = Lazy()
    assert work(lazy) is lazy
    assert len(traces) == 1


def test_a_dict_whose_methods_raise_is_recorded(traces: Traces) -> None:
    class Evil(dict[str, int]):
        def items(self) -> Any:
            raise Failure

        keys = __iter__ = __contains__ = __getitem__ = items

    @honeytrace.trace
    def work() -> Any:
        return evil

    @honeytrace.trace
    def enriched() -> Any:
        honeytrace.enrich_span(metadata={"a": 1})
        return evil

    @honeytrace.trace(capture_outputs=("a",))
    def chosen() -> Any:
        return evil

    evil = Evil(a=1)
    assert work() is enriched() is chosen() is evil
    assert [event.event_name for event in traces] == ["work", "enriched", "chosen"]


def test_looking_at_arguments_makes_no_events(traces: Traces) -> None:
    class Tool:
        __slots__ = ()

        @honeytrace.trace
        def __repr__(self) -> str:
            return "a tool"

    @honeytrace.trace
    def work(tool: Tool) -> None: ...

    work(Tool())
    assert [event.event_name for event in traces] == ["work"]


@pytest.mark.parametrize("mode", MODES)
def test_the_context_is_as_before_after_every_kind_of_end(mode: Mode) -> None:
    with mode.active():
        before = honeytrace.default_tracer.variable.get()
        for form in forms(mode.trace).values():
            form(lambda: 1)
            with pytest.raises(Failure):
                form(failing(Failure()))
            assert honeytrace.default_tracer.variable.get() == before
