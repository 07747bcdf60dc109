"""The receiver of a call is left out of its inputs because it is bound, not because of what it is called."""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import operator
import types
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import pytest

import honeytrace
from honeytrace import trace
from honeytrace.testing import Traces

T = TypeVar("T")


class Box:
    """Stands for any object that may come as an argument or as a receiver."""


@pytest.mark.parametrize("name", ["self", "this", "me", "_", "instance", "password"])
@pytest.mark.parametrize("form", ["def", "async def"])
def test_the_first_parameter_of_a_method_is_left_out_whatever_its_name(name: str, form: str, traces: Traces) -> None:
    namespace: dict[str, Any] = {"trace": trace}
    exec(f"class Tool:\n    @trace\n    {form} use({name}, x, self_=2):\n        return x", namespace)
    result = namespace["Tool"]().use(1)
    if form == "async def":
        with pytest.raises(StopIteration):
            result.send(None)
    assert traces.one("use").inputs == {"x": 1, "self_": 2}


@pytest.mark.parametrize("name", ["self", "cls", "this"])
@pytest.mark.parametrize("value", [1, "text", None, [1], Box(), Box, dict])
def test_a_function_of_a_module_keeps_every_parameter(name: str, value: Any, traces: Traces) -> None:
    namespace: dict[str, Any] = {"trace": trace}
    exec(f"@trace\ndef use({name}, x): return x", namespace)
    namespace["use"](value, 1)
    assert list(traces.one("use").inputs) == [name, "x"]


def test_a_static_method_keeps_every_parameter(traces: Traces) -> None:
    class Tool:
        @staticmethod
        @trace
        def below(self: Any, x: int) -> None: ...

        @trace
        @staticmethod
        def above(cls: Any, x: int) -> None: ...

    Tool.below(Tool(), 1)
    Tool().below(Tool, 2)
    Tool.above(Tool(), 3)
    Tool().above(Tool, 4)
    assert [sorted(event.inputs) for event in traces] == [["self", "x"]] * 2 + [["cls", "x"]] * 2


def test_a_class_method_loses_its_class_and_nothing_else(traces: Traces) -> None:
    class Tool:
        @classmethod
        @trace
        def below(klass, x: Any) -> None: ...

        @trace
        @classmethod
        def above(klass, x: Any) -> None: ...

    class Child(Tool):
        pass

    for receiver in (Tool, Tool(), Child, Child()):
        receiver.below(Tool)
        receiver.above(Box())
    assert [list(event.inputs) for event in traces] == [["x"]] * 8


def test_a_method_that_is_called_through_its_class_is_bound_all_the_same(traces: Traces) -> None:
    class Tool:
        @trace
        def use(this, x: Any) -> None: ...

    class Child(Tool):
        @trace
        def use(this, x: Any) -> None:
            super().use(x)

    Tool.use(Tool(), 1)
    Tool.use(Child(), 2)
    Child.use(Child(), Tool())
    assert [list(event.inputs) for event in traces] == [["x"]] * 4


def test_a_function_that_is_assigned_to_a_class_later_becomes_a_method(traces: Traces) -> None:
    @trace
    def use(this: Any, x: int) -> None: ...

    class Late:
        pass

    Late.use = use  # type: ignore[attr-defined]
    Late().use(1)  # type: ignore[attr-defined]
    use(Box(), 2)
    assert [list(event.inputs) for event in traces] == [["x"], ["this", "x"]]


def test_a_function_on_an_instance_is_not_bound(traces: Traces) -> None:
    @trace
    def use(this: Any) -> None: ...

    box = Box()
    box.use = use  # type: ignore[attr-defined]
    box.use(box)  # type: ignore[attr-defined]
    assert list(traces.one("use").inputs) == ["this"]


def test_a_method_bound_by_hand_loses_its_receiver(traces: Traces) -> None:
    class Tool:
        def use(this, x: int) -> None: ...

    trace(Tool().use)(1)
    types.MethodType(trace(Tool.use), Tool())(2)
    assert [event.inputs for event in traces] == [{"x": 1}, {"x": 2}]


def test_a_method_that_takes_everything_with_a_star_loses_its_receiver(traces: Traces) -> None:
    class Tool:
        @trace
        def use(*args: Any) -> None: ...

    Tool().use(1)
    assert traces.one("use").inputs == {"args": [1]}


def test_construction_is_recorded_without_the_class_or_the_instance(traces: Traces) -> None:
    class Tool:
        @trace
        def __new__(klass, n: int) -> Any:
            return super().__new__(klass)

        @trace
        def __init__(this, n: int) -> None: ...

        @trace
        def __init_subclass__(klass, tag: int = 0) -> None: ...

        @trace
        def __class_getitem__(klass, key: Any) -> Any: ...

    class Child(Tool, tag=3):
        pass

    Child(1)
    Tool["x"]
    assert [(event.event_name, event.inputs) for event in traces] == [
        ("__init_subclass__", {"tag": 3}),
        ("__new__", {"n": 1}),
        ("__init__", {"n": 1}),
        ("__class_getitem__", {"key": "x"}),
    ]


def test_a_method_of_a_metaclass_loses_the_class_it_is_bound_to(traces: Traces) -> None:
    class Meta(type):
        @trace
        def describe(klass, x: int) -> None: ...

        @classmethod
        @trace
        def made(meta, x: int) -> None: ...

    class Tool(metaclass=Meta):
        pass

    Tool.describe(1)
    Meta.made(2)
    assert [event.inputs for event in traces] == [{"x": 1}, {"x": 2}]


def test_descriptors_lose_their_receiver(traces: Traces) -> None:
    class Tool:
        @trace
        @property
        def above(this) -> int:
            return 1

        @above.setter
        @trace
        def above(this, value: int) -> None: ...

        @property
        @trace
        def below(this) -> int:
            return 1

        @trace
        @functools.cached_property
        def cached(this) -> int:
            return 1

        @functools.cached_property
        @trace
        def cached_below(this) -> int:
            return 1

    tool = Tool()
    _ = tool.above, tool.below, tool.cached, tool.cached_below
    tool.above = 5
    assert [event.inputs for event in traces] == [{}, {}, {}, {}, {"value": 5}]


def test_partial_methods_lose_their_receiver(traces: Traces) -> None:
    class Tool:
        def plain(this, a: int, b: int) -> None: ...

        @trace
        def traced(this, a: int, b: int) -> None: ...

        @classmethod
        def made(klass, a: int, b: int) -> None: ...

        above = trace(functools.partialmethod(plain, 1))
        below = functools.partialmethod(traced, 1)
        of_class = trace(functools.partialmethod(made, 1))

    Tool().above(2)
    Tool().below(2)
    Tool.of_class(2)
    assert [event.inputs for event in traces] == [{"a": 1, "b": 2}] * 3


def test_cached_methods_lose_their_receiver(traces: Traces) -> None:
    class Tool:
        @trace
        @functools.lru_cache
        def above(this, x: int) -> None: ...

        @functools.lru_cache
        @trace
        def below(this, x: int) -> None: ...

    tool = Tool()
    tool.above(1)
    tool.below(2)
    Tool.above(tool, 3)
    assert [event.inputs for event in traces] == [{"x": 1}, {"x": 2}, {"x": 3}]


def test_overloaded_methods_have_their_name_and_lose_their_receiver(traces: Traces) -> None:
    class Tool:
        @trace
        @functools.singledispatchmethod
        def above(this, x: Any) -> None: ...

        @functools.singledispatchmethod
        @trace
        def below(this, x: Any) -> None: ...

        @below.register
        @trace
        def below_int(this, x: int) -> None: ...

    Tool().above(1)
    Tool().below("a")
    Tool().below(2)
    assert [(event.event_name, event.inputs) for event in traces] == [
        ("above", {"x": 1}),
        ("below", {"x": "a"}),
        ("below_int", {"x": 2}),
    ]


def without_a_trail(function: Any) -> Any:
    """A decorator that forgets functools.wraps."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def with_a_trail(function: Any) -> Any:
    return functools.wraps(function)(without_a_trail(function))


@pytest.mark.parametrize("decorator", [without_a_trail, with_a_trail])
def test_another_decorator_in_between_changes_nothing(decorator: Any, traces: Traces) -> None:
    class Tool:
        @decorator
        @trace
        def method(this, x: int) -> None: ...

        @classmethod
        @decorator
        @trace
        def of_class(klass, x: int) -> None: ...

        @staticmethod
        @decorator
        @trace
        def static(this: Any, x: int) -> None: ...

        @trace
        @with_a_trail
        def under(this, x: int) -> None: ...

    Tool().method(1)
    Tool.of_class(2)
    Tool.static(Tool(), 3)
    Tool().under(4)
    assert [list(event.inputs) for event in traces] == [["x"], ["x"], ["this", "x"], ["x"]]


def test_a_class_may_hold_a_method_under_another_name(traces: Traces) -> None:
    class Tool:
        @trace
        def _hidden(this, x: int) -> None: ...

        public = _hidden
        inline = trace(lambda this, x: x)

    class Other:
        borrowed = Tool._hidden

    Tool().public(1)
    Tool().inline(2)
    Other().borrowed(3)
    assert [event.inputs for event in traces] == [{"x": 1}, {"x": 2}, {"x": 3}]


def test_every_kind_of_class_binds(traces: Traces) -> None:
    @dataclasses.dataclass(slots=True)
    class Slotted:
        n: int

        @trace
        def use(this, x: int) -> None: ...

    class Colour(str, enum.Enum):
        RED = "red"

        @trace
        def use(this, x: int) -> None: ...

    class Pair(NamedTuple):
        a: int

        @trace
        def use(this, x: int) -> None: ...

    class Words(dict[str, int]):
        @trace
        def use(this, x: int) -> None: ...

    class Typed(Generic[T]):
        @trace
        def use(this, x: int) -> None: ...

    class Base(abc.ABC):
        @trace
        @abc.abstractmethod
        def use(this, x: int) -> None: ...

    class Concrete(Base):
        def use(this, x: int) -> None:
            super().use(x)

    for receiver in (Slotted(1), Colour.RED, Pair(1), Words(), Typed[int](), Concrete()):
        receiver.use(1)
    assert [event.inputs for event in traces] == [{"x": 1}] * 6


def test_every_method_of_a_traced_class_loses_its_receiver(traces: Traces) -> None:
    @honeytrace.trace("tool")
    class Tool:
        def method(this, x: int) -> None: ...

        @classmethod
        def of_class(klass, x: int) -> None: ...

        @staticmethod
        def static(this: Any, x: int) -> None: ...

        def __call__(this, x: int) -> None: ...

        class Inner:
            def method(this, x: int) -> None: ...

    class Child(Tool):
        pass

    for tool in (Tool(), Child()):
        tool.method(1)
        tool.of_class(1)
        tool.static(1, 1)
        tool(1)
        Tool.Inner().method(1)
    assert [list(event.inputs) for event in traces] == [["x"], ["x"], ["this", "x"], ["x"]] * 2
    assert {event.event_type for event in traces} == {"tool"}


def test_other_instances_of_the_same_class_stay_arguments(traces: Traces) -> None:
    class Node:
        @trace
        def join(this, other: Any) -> None: ...

        @staticmethod
        @trace
        def pair(one: Any, two: Any) -> None: ...

    Node().join(Node())
    Node.pair(Node(), Node())
    assert [list(event.inputs) for event in traces] == [["other"], ["one", "two"]]


def test_a_class_that_cannot_be_hashed_or_asked_is_a_receiver_like_any_other(traces: Traces) -> None:
    class Meta(type):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(cls, other: object) -> bool:
            raise ValueError

        def __getattribute__(cls, name: str) -> Any:
            if name in ("__mro__", "__dict__", "__qualname__"):
                raise ValueError(name)
            return super().__getattribute__(name)

    class Odd(metaclass=Meta):
        @trace
        def use(this, x: int) -> int:
            return x

    assert Odd().use(1) == 1
    assert traces.one("use").inputs == {"x": 1}


class Refusing(type):
    def __hash__(cls) -> int:
        raise RuntimeError("not hashed")


class Unhashable(metaclass=Refusing):
    @honeytrace.trace
    def method(self, x: int) -> int:
        return x


def test_a_class_that_raises_another_error_when_it_is_hashed_costs_no_event(traces: Traces) -> None:
    @honeytrace.trace
    def work(x: Any) -> Any:
        return x

    thing = Unhashable()
    assert work(thing) is thing
    assert thing.method(7) == 7
    assert traces.one("work").inputs == {"x": "<Unhashable>"}
    assert traces.one("work").outputs == {"result": "<Unhashable>"}
    assert traces.one("method").inputs == {"x": 7}


class Lazy:
    """Stands for something that must not be loaded: whoever asks for anything has touched it."""

    touched: ClassVar[list[str]] = []

    def __getattribute__(self, name: str) -> Any:
        Lazy.touched.append(name)
        raise RuntimeError("loaded")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        Lazy.touched.append("__dict__")
        raise RuntimeError("loaded")


def test_other_members_of_the_class_are_not_touched_by_looking_for_the_receiver(traces: Traces) -> None:
    class Page:
        lazy = Lazy()

        def method(self, x: int) -> int:
            return x

    Page.method = honeytrace.trace(Page.method)  # type: ignore[method-assign]
    Lazy.touched.clear()
    assert Page().method(1) == 1
    assert traces.one("method").inputs == {"x": 1}
    assert Lazy.touched == []


def test_a_class_may_hold_traced_builtins_beside_a_traced_method(traces: Traces) -> None:
    class Tool:
        count = trace(len)
        first = trace(operator.itemgetter(0))

        def method(self, x: int) -> int:
            return x

    Tool.method = trace(Tool.method)  # type: ignore[method-assign]
    assert Tool().method(1) == 1
    assert traces.one("method").inputs == {"x": 1}
