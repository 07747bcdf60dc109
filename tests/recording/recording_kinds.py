"""One program per kind of callable. Each takes a decorator and gives back a transcript of what a user can see.

A transcript of the plain program (a decorator that does nothing) must equal that of the traced one. `KINDS` maps a
name to the program and to how many spans it records.
"""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import enum
import functools
import operator
import types
from collections.abc import Callable
from typing import Any, NamedTuple

Trace = Callable[..., Any]
Transcript = list[Any]
KINDS: dict[str, tuple[Callable[[Trace], Transcript], int]] = {}


class Failure(Exception):
    """What the programs raise themselves."""


def kind(events: int) -> Callable[[Callable[[Trace], Transcript]], Callable[[Trace], Transcript]]:
    def register(program: Callable[[Trace], Transcript]) -> Callable[[Trace], Transcript]:
        KINDS[program.__name__] = program, events
        return program

    return register


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, Any]:
    """What a call gives, or the type and text of what it raises."""
    try:
        return "gave", call(*args, **kwargs)
    except BaseException as error:
        return type(error).__name__, str(error)


def awaited(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, Any]:
    """Like outcome, of a coroutine. A call that fails before it can be awaited says so."""
    try:
        coroutine = call(*args, **kwargs)
    except BaseException as error:
        return "refused: " + type(error).__name__, str(error)

    async def wait() -> Any:
        return await coroutine

    return outcome(lambda: asyncio.run(wait()))


def drained(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, Any]:
    """Like outcome, of all that a generator or async generator yields. A call that fails at once says so."""
    try:
        stream = call(*args, **kwargs)
    except BaseException as error:
        return "refused: " + type(error).__name__, str(error)
    if not hasattr(stream, "__anext__"):
        return outcome(list, stream)

    async def drain() -> list[Any]:
        return [item async for item in stream]

    return outcome(lambda: asyncio.run(drain()))


@kind(6)
def function(trace: Trace) -> Transcript:
    log: list[Any] = []
    marker = object()

    @trace
    def work(x: Any, y: int = 2, *rest: Any, key: Any = None, **more: Any) -> Any:
        log.append((x, y, rest, key, more))
        if key == "raise":
            raise Failure(x)
        return x

    return [
        outcome(work, 1),
        outcome(work, 1, 3, 4, key=5, other=6),
        outcome(work, x=1),
        work(marker) is marker,
        outcome(work, "a", key="raise"),
        outcome(work),
        outcome(work, 1, x=2),
        outcome(functools.partial(work, 7)),
        [entry for entry in log if entry[0] is not marker],
    ]


@kind(3)
def coroutine_function(trace: Trace) -> Transcript:
    log: list[Any] = []

    @trace
    async def work(x: Any, fail: bool = False) -> Any:
        log.append(x)
        await asyncio.sleep(0)
        if fail:
            raise Failure(x)
        return x

    return [
        awaited(work, 1),
        awaited(work, [2]),
        awaited(work, 3, fail=True),
        awaited(work),
        awaited(work, 1, 2, 3),
        awaited(work, nope=1),
        log,
    ]


@kind(2)
def generator_function(trace: Trace) -> Transcript:
    log: list[Any] = []

    @trace
    def count(n: int, fail: bool = False) -> Any:
        log.append(n)
        yield from range(n)
        if fail:
            raise Failure(n)

    return [drained(count, 3), drained(count, 1, fail=True), drained(count), drained(count, 1, nope=2), log]


@kind(2)
def async_generator_function(trace: Trace) -> Transcript:
    log: list[Any] = []

    @trace
    async def count(n: int, fail: bool = False) -> Any:
        for i in range(n):
            log.append(i)
            await asyncio.sleep(0)
            yield i
        if fail:
            raise Failure(n)

    return [drained(count, 3), drained(count, 1, fail=True), drained(count), drained(count, nope=2), log]


@kind(4)
def method(trace: Trace) -> Transcript:
    class Base:
        def __init__(self, n: int) -> None:
            self.n = n

        @trace
        def add(self, x: int) -> Any:
            return self.n + x

    class Child(Base):
        @trace
        def add(self, x: int) -> Any:
            return super().add(x) * 10

    bound = Base(1).add
    return [bound(2), Child(2).add(3), outcome(Base.add, Base(5), 1), outcome(bound), outcome(bound, 1, 2)]


@kind(6)
def classmethod_above_and_below(trace: Trace) -> Transcript:
    class Tool:
        @classmethod
        @trace
        def below(cls, x: int) -> Any:
            return cls.__name__, x

        @trace
        @classmethod
        def above(cls, x: int) -> Any:
            return cls.__name__, x

    class Child(Tool):
        pass

    return [
        Tool.below(1), Tool().below(2), Child.below(3), Tool.above(1), Tool().above(2), Child.above(3),
        outcome(Tool.above), outcome(Tool.below, 1, 2), type(vars(Tool)["above"]).__name__,
    ]  # fmt: skip


@kind(4)
def staticmethod_above_and_below(trace: Trace) -> Transcript:
    class Tool:
        @staticmethod
        @trace
        def below(self: int) -> Any:
            return self

        @trace
        @staticmethod
        def above(self: int) -> Any:
            return self

    return [Tool.below(1), Tool().below(2), Tool.above(1), Tool().above(2), type(vars(Tool)["above"]).__name__]


@kind(5)
def property_above_and_below(trace: Trace) -> Transcript:
    class Tool:
        hidden = 1

        @property
        @trace
        def below(self) -> int:
            """Below."""
            return self.hidden

        @trace
        @property
        def above(self) -> int:
            """Above."""
            return self.hidden

        @above.setter
        def above(self, value: int) -> None:
            self.hidden = value

        @trace
        @property
        def failing(self) -> int:
            raise Failure("no")

        described = trace(property(lambda self: 1, doc="Given by hand."))

    tool = Tool()
    seen = [tool.below, tool.above]
    tool.above = 5
    return [
        *seen, tool.below, tool.above, outcome(lambda: tool.failing), outcome(lambda: delattr(tool, "above"))[0],
        Tool.above.__doc__, Tool.below.__doc__, Tool.described.__doc__, type(Tool.above).__name__,
    ]  # fmt: skip


@kind(2)
def cached_property_above_and_below(trace: Trace) -> Transcript:
    class Tool:
        @functools.cached_property
        @trace
        def below(self) -> list[int]:
            return [1]

        @trace
        @functools.cached_property
        def above(self) -> list[int]:
            """Above."""
            return [2]

    tool = Tool()
    return [tool.below is tool.below, tool.above is tool.above, tool.__dict__, Tool.above.__doc__]


@kind(6)
def partials(trace: Trace) -> Transcript:
    def add(a: int, b: int, *, c: int = 0) -> int:
        return a + b + c

    async def later(a: int) -> int:
        return a

    def stream(a: int) -> Any:
        yield a

    async def astream(a: int) -> Any:
        yield a

    traced = trace(functools.partial(add, 1, c=3))
    return [
        traced(2), traced.func is add, traced.args, traced.keywords, isinstance(traced, functools.partial),
        outcome(traced), outcome(trace(functools.partial(later, 1)).func(1).close),
        awaited(trace(functools.partial(later, 1))), drained(trace(functools.partial(stream, 1))),
        drained(trace(functools.partial(astream, 1))), outcome(traced, 5, c=1),
    ]  # fmt: skip


@kind(0)
def partials_refuse_wrong_arguments_at_once(trace: Trace) -> Transcript:
    async def later(a: int) -> int:
        return a

    def stream(a: int) -> Any:
        yield a

    async def astream(a: int) -> Any:
        yield a

    return [
        awaited(trace(functools.partial(later, 1)), 2),
        drained(trace(functools.partial(stream, 1)), 2),
        drained(trace(functools.partial(astream, 1)), 2),
    ]


@kind(3)
def partialmethods(trace: Trace) -> Transcript:
    class Tool:
        def add(self, a: int, b: int) -> Any:
            return type(self).__name__, a + b

        above = trace(functools.partialmethod(add, 1))
        below = functools.partialmethod(trace(add), 2)

    return [Tool().above(2), Tool().below(3), outcome(Tool().below, b=3)]


@kind(4)
def callable_objects(trace: Trace) -> Transcript:
    class Sync:
        state = 1

        def __call__(self, x: Any) -> Any:
            return x

    class Async:
        async def __call__(self, x: Any) -> Any:
            return x

    class Stream:
        def __call__(self, x: Any) -> Any:
            yield x

    class AsyncStream:
        async def __call__(self, x: Any) -> Any:
            yield x

    one = object()
    original = Sync()
    traced = trace(original)
    traced.state = 2
    return [
        traced(one) is one, original.state, isinstance(traced, Sync), awaited(trace(Async()), 1),
        drained(trace(Stream()), 1), drained(trace(AsyncStream()), 1), traced == original,
    ]  # fmt: skip


@kind(3)
def traced_dunder_call(trace: Trace) -> Transcript:
    class Tool:
        @trace
        def __call__(self, x: int) -> int:
            return x

    @trace
    class Whole:
        def __call__(self, x: int) -> int:
            return x

    return [Tool()(1), Whole()(2), outcome(Tool()), Tool().__call__(3)]


@kind(2)
def lambdas(trace: Trace) -> Transcript:
    double = trace(lambda x: x * 2)
    return [double(2), double.__name__, outcome(double), (trace(lambda: None))()]


@kind(5)
def builtins(trace: Trace) -> Transcript:
    items: list[int] = []
    append = trace(items.append)
    append(3)
    return [
        trace(len)([1, 2]), trace(sorted)([2, 1], reverse=True), items, outcome(trace(len), 5),
        trace(operator.itemgetter(1))("abc"), trace(len).__name__,
    ]  # fmt: skip


@kind(7)
def lru_caches(trace: Trace) -> Transcript:
    runs: list[Any] = []

    @trace
    @functools.lru_cache
    def above(x: int) -> Any:
        runs.append(x)
        return x

    @functools.lru_cache
    @trace
    def below(x: int) -> Any:
        runs.append(x)
        return x

    class Tool:
        @trace
        @functools.lru_cache
        def above(self, x: int) -> Any:
            runs.append(x)
            return x

        @functools.lru_cache
        @trace
        def below(self, x: int) -> Any:
            runs.append(x)
            return x

    tool = Tool()
    seen = [above(1), above(1), below(2), below(2), tool.above(3), tool.above(3), tool.below(4), tool.below(4)]
    above.cache_clear()
    return [*seen, above(1), runs, above.cache_info().misses, below.cache_info().hits]


@kind(5)
def singledispatches(trace: Trace) -> Transcript:
    @trace
    @functools.singledispatch
    def above(x: Any) -> str:
        return "any"

    @above.register
    def _(x: int) -> str:
        return "int"

    @functools.singledispatch
    @trace
    def below(x: Any) -> str:
        return "any"

    @below.register
    @trace
    def _(x: int) -> str:
        return "int"

    below.register(list, trace(lambda x: "list"))
    return [above(1), above("a"), below(1), below("a"), below([]), above.dispatch(int)(1), list(above.registry)]


@kind(4)
def singledispatchmethods(trace: Trace) -> Transcript:
    class Tool:
        @trace
        @functools.singledispatchmethod
        def above(self, x: Any) -> Any:
            return self.__class__.__name__, "any"

        @above.register
        def _(self, x: int) -> Any:
            return self.__class__.__name__, "int"

        @functools.singledispatchmethod
        @trace
        def below(self, x: Any) -> Any:
            return self.__class__.__name__, "any"

        @below.register
        @trace
        def _(self, x: int) -> Any:
            return self.__class__.__name__, "int"

    tool = Tool()
    return [tool.above(1), tool.above("a"), tool.below(1), tool.below("a")]


@kind(2)
def abstract_methods(trace: Trace) -> Transcript:
    class Base(abc.ABC):
        @trace
        @abc.abstractmethod
        def above(self) -> int:
            return 1

        @abc.abstractmethod
        @trace
        def below(self) -> int:
            return 2

        @trace
        @property
        @abc.abstractmethod
        def attribute(self) -> int: ...

    class Child(Base):
        attribute = 1

        def above(self) -> int:
            return super().above() + 10

        def below(self) -> int:
            return super().below() + 10

    refused = outcome(Base)
    return [refused[0], sorted(Base.__abstractmethods__), Child().above(), Child().below()]


@kind(4)
def data_classes(trace: Trace) -> Transcript:
    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 2

        @trace
        def total(self) -> int:
            return self.x + self.y

    @dataclasses.dataclass(frozen=True)
    class Fixed:
        x: int

        @trace
        def moved(self) -> Any:
            return dataclasses.replace(self, x=self.x + 1)

    @trace
    @dataclasses.dataclass(slots=True)
    class Whole:
        x: int

        def get(self) -> int:
            return self.x

    return [
        Point(1).total(), Fixed(1).moved().x, Whole(4).get(), Fixed(1) == Fixed(1), dataclasses.asdict(Whole(1)),
        [field.name for field in dataclasses.fields(Whole)], Fixed(1).moved() == Fixed(2),
    ]  # fmt: skip


@kind(3)
def slotted_classes(trace: Trace) -> Transcript:
    class Tight:
        __slots__ = ("n",)

        def __init__(self, n: int) -> None:
            self.n = n

        @trace
        def get(self) -> int:
            return self.n

        @trace
        @property
        def double(self) -> int:
            return self.n * 2

    return [Tight(1).get(), Tight(2).double, outcome(setattr, Tight(1), "m", 1)[0], Tight.get(Tight(3))]


@kind(9)
def whole_class(trace: Trace) -> Transcript:
    class Base:
        def inherited(self) -> str:
            return "inherited"

        def overridden(self) -> str:
            return "base"

    @trace
    class Tool(Base):
        """A tool."""

        constant = 3

        class Nested:
            def run(self) -> str:
                return "nested"

        def overridden(self) -> str:
            return super().overridden() + "+" + __class__.__name__  # type: ignore[name-defined]

        def public(self, x: int = 1) -> int:
            return self._private(x)

        def _private(self, x: int) -> int:
            return x

        @classmethod
        def made(cls) -> Any:
            return cls()

        @staticmethod
        def fixed(self: int) -> int:
            return self

        async def later(self) -> int:
            return 4

        def stream(self) -> Any:
            yield self.constant

        @property
        def attribute(self) -> int:
            return self.constant

    class Child(Tool):
        def public(self, x: int = 1) -> int:
            return super().public(x) + 100

    tool = Tool()
    return [
        tool.overridden(), tool.public(), tool.public(x=2), type(Tool.made()).__name__, Tool.fixed(5), tool.fixed(6),
        awaited(tool.later), drained(tool.stream), tool.attribute, tool.inherited(), Child().public(),
        Tool.Nested().run(),
        Tool.__doc__, Tool.__name__, Tool.__mro__[1] is Base, type(vars(Tool)["fixed"]).__name__,
        type(vars(Tool)["made"]).__name__, outcome(tool.public, 1, 2)[1].replace("kinds", ""), isinstance(Tool, type),
    ]  # fmt: skip


@kind(4)
def named_tuples_and_enums(trace: Trace) -> Transcript:
    class Pair(NamedTuple):
        a: int
        b: int

        @trace
        def total(self) -> int:
            return self.a + self.b

    class Colour(str, enum.Enum):
        RED = "red"
        BLUE = "blue"

        @trace
        def shout(self) -> str:
            return self.value.upper()

    @trace
    class Level(enum.IntEnum):
        LOW = 1

        def next(self) -> int:
            return self + 1

    return [Pair(1, 2).total(), Pair(1, 2)._asdict(), Colour.RED.shout(), list(Colour), Level.LOW.next(), list(Level),
            Colour.shout(Colour.BLUE)]  # fmt: skip


@kind(8)
def dunders(trace: Trace) -> Transcript:
    class Tool:
        @trace
        def __new__(cls, n: int) -> Any:
            return super().__new__(cls)

        @trace
        def __init__(self, n: int) -> None:
            self.n = n

        @trace
        def __len__(self) -> int:
            return self.n

        @trace
        def __getitem__(self, key: Any) -> Any:
            return key

        @trace
        def __enter__(self) -> Any:
            return self

        @trace
        def __exit__(self, *error: object) -> bool:
            return True

        @trace
        def __init_subclass__(cls, tag: str = "") -> None:
            cls.tag = tag

        @trace
        def __class_getitem__(cls, key: Any) -> Any:
            return cls.__name__, key

    class Child(Tool, tag="x"):
        pass

    tool = Tool(3)
    with tool as entered:
        raise Failure("swallowed")
    return [len(tool), tool[5], entered is tool, Child.tag, Tool[int], outcome(Tool)[0]]


@kind(2)
def bound_methods(trace: Trace) -> Transcript:
    class Tool:
        def __init__(self, n: int) -> None:
            self.n = n

        def get(self, x: int) -> int:
            return self.n + x

        @classmethod
        def make(cls, x: int) -> Any:
            return cls.__name__, x

    tool = Tool(1)
    traced = trace(tool.get)
    return [traced(2), traced.__self__ is tool, type(traced).__name__, trace(Tool.make)(1), outcome(traced)]


@kind(6)
def every_kind_of_parameter(trace: Trace) -> Transcript:
    @trace
    def work(a: Any, b: Any = 2, /, c: Any = 3, *rest: Any, d: Any, e: Any = 5, **more: Any) -> Any:
        return a, b, c, rest, d, e, more

    @trace
    def bare(*, key: Any) -> Any:
        return key

    @trace
    def stars(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    return [
        work(1, d=4), work(1, 2, 3, 4, 5, d=6, e=7, f=8), work(1, a=2, b=3, d=4), outcome(work, 1),
        outcome(work, a=1, d=2), bare(key=1), outcome(bare, 1), stars(1, args=2, kwargs=3), stars(),
        outcome(work),
    ]  # fmt: skip


@kind(3)
def parameters_named_like_ours(trace: Trace) -> Transcript:
    @trace
    def work(
        _ht_span: Any, tracer: Any, recorder: Any, span: Any, self: Any, cls: Any, args: Any, kwargs: Any, result: Any,
        error: Any, _ht_result: Any, wrapped: Any, instance: Any, plan: Any, door: Any, make: Any, token: Any,
        event_type: Any, event_name: Any, target: Any, _ht__: Any, type: Any, len: Any, str: Any, exc_info: Any,
    ) -> Any:  # fmt: skip
        return list(locals().values())

    @trace
    async def later(_ht_token: Any, door: Any, wrapped: Any = 3) -> Any:
        return _ht_token, door, wrapped

    @trace
    def stream(_ht_stream: Any, _ht_item: Any, door: Any) -> Any:
        yield _ht_stream, _ht_item, door

    return [work(*range(25)), awaited(later, 1, door=2), drained(stream, 1, 2, 3)]


@kind(2)
def many_parameters(trace: Trace) -> Transcript:
    names = [f"p{i}" for i in range(300)]
    namespace: dict[str, Any] = {}
    exec(f"def work({', '.join(names)}, last=1): return sum([{', '.join(names)}]) + last", namespace)
    work = trace(namespace["work"])
    return [work(*range(300)), work(**dict.fromkeys(names, 1)), outcome(work, 1)]


@kind(3)
def mutable_defaults(trace: Trace) -> Transcript:
    @trace
    def collect(x: int, into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(x)
        return into

    collect(1)
    seen = collect(2)
    return [list(seen), collect.__defaults__[0] is seen, collect(3, [9])]


@kind(11)
def recursion(trace: Trace) -> Transcript:
    @trace
    def factorial(n: int) -> int:
        return 1 if n <= 1 else n * factorial(n - 1)

    @trace
    def walk(tree: Any) -> Any:
        for item in tree:
            if isinstance(item, list):
                yield from walk(item)
            else:
                yield item

    return [factorial(8), list(walk([1, [2, [3]], 4]))]


@kind(3)
def metaclass_methods(trace: Trace) -> Transcript:
    class Meta(type):
        @trace
        def describe(cls) -> str:
            return cls.__name__

        @trace
        def __call__(cls, *args: Any) -> Any:
            return super().__call__(*args)

    class Tool(metaclass=Meta):
        pass

    return [Tool.describe(), type(Tool()).__name__, type(Tool).describe(Tool)]


@kind(3)
def values_of_types_that_cannot_be_hashed(trace: Trace) -> Transcript:
    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            return cls is other

    class Odd(metaclass=Meta):
        @trace
        def get(self) -> Any:
            return self

    @trace
    def echo(x: Any) -> Any:
        return x

    @trace
    def stream() -> Any:
        yield odd

    odd = Odd()
    return [odd.get() is odd, echo(odd) is odd, outcome(lambda: list(stream())[0] is odd)]


@kind(1)
def generator_based_coroutines(trace: Trace) -> Transcript:
    @trace
    @types.coroutine
    def step(x: int) -> Any:
        yield
        return x

    async def main() -> Any:
        return await step(3)

    return [outcome(lambda: asyncio.run(main()))]


@kind(2)
def other_decorators_around(trace: Trace) -> Transcript:
    def noted(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return "noted", function(*args, **kwargs)

        return wrapper

    def tag(function: Any) -> Any:
        function.tag = "tagged"
        return function

    @noted
    @trace
    @noted
    def work(x: int) -> int:
        return x

    @trace("tool")
    @tag
    @trace
    def twice(x: int) -> int:
        return x

    return [work(1), work.__name__, outcome(getattr, twice, "tag"), twice(2)]


@kind(2)
def decorators_made_with_wrapt(trace: Trace) -> Transcript:
    import wrapt

    @wrapt.decorator
    def noted(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return type(instance).__name__, args, wrapped(*args, **kwargs)

    class Tool:
        @trace
        @noted
        def above(self, x: int) -> int:
            return x

        @noted
        @trace
        def below(self, x: int) -> int:
            return x

    return [Tool().above(1), Tool().below(2)]
