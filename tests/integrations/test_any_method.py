"""A door in front of any method: a library of our own, with every form that an answer can have."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pydantic
import pytest

from honeytrace._span import live
from honeytrace.integrations._calls import Library
from honeytrace.integrations._joins import Pieces
from honeytrace.integrations._messages import get, plain
from honeytrace.integrations._methods import method
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._patching import Patches, Target
from honeytrace.testing import Traces, capture


class Join:
    """Joins pieces of text."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def add(self, event: Any) -> bool:
        if event == "poison":
            raise ValueError(event)
        self.pieces.append(event)
        return True

    def result(self) -> Any:
        return "".join(self.pieces)


SAY = Operation(
    event_name="say",
    inputs={"words": lambda request: request.get("words")},
    content=frozenset({"words"}),
    outputs={"content": lambda answer: answer},
    join=Join,
)


class Stream:
    """A client's own stream: its class is what programs know it by."""

    def __init__(self, words: list[str]) -> None:
        self.words = iter(words)
        self.closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self.words)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *about: object) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


class Client:
    def value(self, *, words: list[str]) -> str:
        return "".join(words)

    def coroutine(self, *, words: list[str]) -> Any:
        async def wait() -> str:
            await asyncio.sleep(0)
            return "".join(words)

        return wait()

    def generator(self, *, words: list[str]) -> Iterator[str]:
        yield from words
        return "the end"  # noqa: B901

    def given_generator(self, *, words: list[str]) -> Iterator[str]:
        return (word for word in words)

    async def async_generator(self, *, words: list[str]) -> AsyncIterator[str]:
        for word in words:
            yield word

    async def awaited_generator(self, *, words: list[str]) -> AsyncIterator[str]:
        return self.async_generator.__wrapped__(words=words)  # type: ignore[attr-defined,no-any-return]

    def stream(self, *, words: list[str]) -> Stream:
        return Stream(words)


NAMES = [name for name in vars(Client) if not name.startswith("_")]
WORDS = ["a", "b", "c"]


@pytest.fixture
def traces() -> Iterator[Traces]:
    module: Any = ModuleType("a_library")
    module.Client = Client
    sys.modules["a_library"] = module
    door = method(Library("a-library"), SAY, provider=lambda client: "ours")
    patches = Patches(tuple(Target("a_library", "Client", name, door) for name in NAMES))
    with capture() as traces:
        patches.apply()
        yield traces
        patches.undo()
    del sys.modules["a_library"]


def _consume(answer: Any) -> Any:
    """Read an answer to its end, whatever it is."""

    async def read(inner: Any) -> Any:
        made = await inner if inspect.isawaitable(inner) else inner
        return [item async for item in made] if hasattr(made, "__anext__") else made

    if inspect.isawaitable(answer) or hasattr(answer, "__anext__"):
        return asyncio.run(read(answer))
    return answer if isinstance(answer, str) else list(answer)


@pytest.mark.parametrize("name", NAMES)
def test_every_form_of_an_answer_is_one_event_at_its_end(traces: Traces, name: str) -> None:
    answer = getattr(Client(), name)(words=WORDS)
    assert len(traces) == (1 if name == "value" else 0)
    assert "".join(_consume(answer)) == "abc"
    (event,) = [event for event in traces if event.outputs]
    assert (event.event_name, event.outputs["content"], event.error) == ("say", "abc", None)
    assert event.inputs == {"words": WORDS}
    assert (event.metadata.get("chunks") or 3) == 3
    assert not live


def test_the_value_that_a_generator_returns_gets_through(traces: Traces) -> None:
    def around() -> Iterator[str]:
        assert (yield from Client().generator(words=WORDS)) == "the end"

    assert list(around()) == WORDS
    assert len(traces) == 1


def test_a_stream_object_stays_what_it_is(traces: Traces) -> None:
    stream = Client().stream(words=WORDS)
    assert isinstance(stream, Stream)
    assert (type(stream).__name__, type(stream).__qualname__, type(stream).__module__) == (
        Stream.__name__, Stream.__qualname__, Stream.__module__,
    )  # fmt: skip
    with stream as entered:
        assert entered is stream
        assert next(stream) == "a"
    assert stream.closed
    (event,) = traces
    assert (event.outputs["content"], event.metadata["outcome"]) == ("a", "closed")
    assert next(stream) == "b"
    assert len(traces) == 1
    assert type(Client().stream(words=WORDS)) is type(stream)


def test_other_instances_of_a_stream_s_class_are_left_alone(traces: Traces) -> None:
    Client().stream(words=WORDS).close()
    assert type(Stream(WORDS)) is Stream
    assert list(Stream(WORDS)) == WORDS
    assert len(traces) == 1


@pytest.mark.internal_failure_expected
def test_a_chunk_that_cannot_be_read_disturbs_nobody(traces: Traces) -> None:
    words = ["a", "poison", "c"]
    assert list(Client().stream(words=words)) == words
    (event,) = traces
    assert (event.outputs["content"], event.metadata["chunks"]) == ("ac", 3)


@pytest.mark.internal_failure_expected
def test_a_question_that_cannot_be_read_lets_the_call_through(traces: Traces) -> None:
    def asked(client: Any, args: Any, kwargs: Any) -> Any:
        raise KeyError("other arguments than expected")

    door = method(Library("a-library"), asked)
    assert door(lambda **kwargs: "answer", None, (), {"words": WORDS}) == "answer"
    assert len(traces) == 0


def test_the_event_of_a_coroutine_begins_when_it_runs(traces: Traces) -> None:
    async def program() -> None:
        waiting = Client().awaited_generator(words=WORDS)
        assert not live
        async for _ in await waiting:
            assert len(live) == 1

    asyncio.run(program())
    assert len(traces) == 1


def test_a_coroutine_that_was_given_and_is_never_awaited_leaves_nothing_open(traces: Traces) -> None:
    Client().coroutine(words=WORDS).close()
    gc.collect()
    assert not live


@dataclass
class Unset:
    """A client's word for "not given"."""


class Answer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    text: str
    missing: Any = Unset()
    inner: Answer | None = None

    @property
    def all_text(self) -> str:
        raise AssertionError("a property ran")


def test_fields_of_objects_and_of_dicts_are_read_alike_and_no_property_runs() -> None:
    answer = Answer(text="a", inner=Answer(text="b", unknown=7))  # type: ignore[call-arg]
    for source in (answer, {"text": "a", "inner": {"text": "b", "unknown": 7}}):
        assert get(source, "text") == "a"
        assert get(source, "inner", "text") == "b"
        assert get(source, "inner", "unknown") == 7
        assert get(source, "missing") is None
        assert get(source, "all_text") is None
        assert get(source, "inner", "text", "deeper", 0) is None
    assert plain(answer) == {"text": "a", "inner": {"text": "b", "unknown": 7}}


def test_an_answer_is_read_by_its_fields_and_not_asked_for_them() -> None:
    from honeytrace.integrations._operation import read
    from honeytrace.integrations.openai import CHAT

    class Part(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")

        def __getitem__(self, name: Any) -> Any:
            raise AssertionError("code of the client's ran")

    message = {"role": "assistant", "content": "hi"}
    parts = Part(choices=[Part(message=Part(**message))])  # type: ignore[call-arg]
    for answer in (parts, {"choices": [{"message": Part(**message)}]}, {"choices": [{"message": message}]}):
        assert read(CHAT.outputs, answer, "openai") == message


def test_plain_values_are_given_back_and_not_copied() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert plain(messages) is messages


def test_pieces_of_a_stream_are_bounded() -> None:
    pieces = Pieces()
    for _ in range(400):
        assert pieces.add("text", "x" * 50_000)
    assert 8_000_000 <= len(pieces.text("text") or "") < 8_100_000
    assert not pieces.add("text", "")
    assert not pieces.add("text", None)
