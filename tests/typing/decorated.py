"""A decorated callable keeps its parameters and its result. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from functools import cached_property
from typing_extensions import assert_type

import honeytrace


@honeytrace.trace
def bare(query: str, limit: int = 5) -> list[str]:
    return [query] * limit


@honeytrace.trace("tool")
def named_type(query: str, *, limit: int = 5) -> list[str]:
    return [query] * limit


@honeytrace.trace(event_type="tool", event_name="search", exclude=("limit",), reduce=lambda chunks: chunks)
def called(query: str, limit: int = 5) -> list[str]:
    return [query] * limit


@honeytrace.trace("tool", process_outputs=lambda result: {"length": len(result)}, process_inputs=lambda inputs: inputs)
def with_hooks(query: str) -> list[str]:
    return [query]


@honeytrace.trace
async def asynchronous(query: str) -> int:
    return len(query)


@honeytrace.trace("model")
async def asynchronous_called(query: str) -> int:
    return len(query)


@honeytrace.trace
def numbers(count: int) -> Generator[int, str, bool]:
    yield count
    return True


@honeytrace.trace(reduce=sum)
def numbers_called(count: int) -> Iterator[int]:
    yield count


@honeytrace.trace
async def asynchronous_numbers(count: int) -> AsyncGenerator[int, None]:
    yield count


@honeytrace.trace("model")
async def asynchronous_numbers_called(count: int) -> AsyncIterator[int]:
    yield count


class Agent:
    @honeytrace.trace
    def plan(self, goal: str) -> list[str]:
        return [goal]

    @honeytrace.trace("chain")
    async def run(self, goal: str) -> int:
        return len(goal)

    @honeytrace.trace
    @classmethod
    def make(cls, name: str) -> Agent:
        return cls()

    @classmethod
    @honeytrace.trace
    def make_below(cls, name: str) -> Agent:
        return cls()

    @honeytrace.trace
    @staticmethod
    def count(text: str) -> int:
        return len(text)

    @honeytrace.trace("tool")  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def name(self) -> str:
        return "agent"

    @property
    @honeytrace.trace
    def name_below(self) -> str:
        return "agent"

    @honeytrace.trace  # type: ignore[prop-decorator]
    @cached_property
    def index(self) -> dict[str, int]:
        return {}


@honeytrace.trace
class Tool:
    def use(self, text: str) -> int:
        return len(text)


@honeytrace.span("step")
def in_a_span(query: str) -> float:
    return 1.0


def check(agent: Agent, callback: Callable[[str], int]) -> None:
    assert_type(bare("q", limit=2), list[str])
    assert_type(named_type("q", limit=2), list[str])
    assert_type(called("q", 2), list[str])
    assert_type(with_hooks("q"), list[str])
    assert_type(numbers(1), Generator[int, str, bool])
    assert_type(numbers_called(1), Iterator[int])
    assert_type(asynchronous_numbers(1), AsyncGenerator[int, None])
    assert_type(asynchronous_numbers_called(1), AsyncIterator[int])
    assert_type(agent.plan("g"), list[str])
    assert_type(Agent.make("n"), Agent)
    assert_type(Agent.make_below("n"), Agent)
    assert_type(Agent.count("t"), int)
    assert_type(agent.name, str)
    assert_type(agent.name_below, str)
    assert_type(agent.index, dict[str, int])
    assert_type(Tool().use("t"), int)
    assert_type(in_a_span("q"), float)
    assert_type(honeytrace.trace(callback)("t"), int)
    assert_type(honeytrace.propagate(callback)("t"), int)

    bare(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare("q", size=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    called()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    agent.plan(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def check_asynchronous() -> None:
    assert_type(await asynchronous("q"), int)
    assert_type(await asynchronous_called("q"), int)
    assert_type(await Agent().run("g"), int)
    async for number in asynchronous_numbers(1):
        assert_type(number, int)
    async with honeytrace.span("block") as block:
        block.enrich(metadata={"a": 1})
    with honeytrace.session("chat", user_properties={"user_id": "u"}) as session:
        assert_type(session.session_id, str)
    assert_type((await honeytrace.aflush(1)).pending, int)
