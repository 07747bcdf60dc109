"""How a call ended is in its event, whatever ended it; and whatever ended it reaches the caller as it was."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import honeytrace
from honeytrace.testing import Traces, capture


class Odd(Exception):
    """Its text is whatever `text` returns or raises."""

    text: object = ""

    def __str__(self) -> str:
        if isinstance(self.text, BaseException):
            raise self.text
        return self.text  # type: ignore[return-value]


class Base(BaseException):
    pass


ENDINGS = [
    ValueError("no such city"),
    KeyError("city"),
    OSError(2, "No such file or directory"),
    StopIteration("early"),
    RuntimeError(),
    AssertionError("1 != 2"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    Base("not an Exception"),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError("stop"),
    concurrent.futures.CancelledError(),
    MemoryError("no room"),
]


@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: type(error).__name__)
def test_every_exception_is_recorded_and_passes_through_as_the_same_object(
    traces: Traces, error: BaseException
) -> None:
    @honeytrace.trace
    def fail(city: str) -> None:
        raise error  # the failing line

    with pytest.raises(BaseException) as caught:
        fail("Atlantis")
    assert caught.value is error
    event = traces.one("fail")
    message = str(error)
    assert event.error == (f"{type(error).__name__}: {message}" if message else type(error).__name__)
    assert "raise error  # the failing line" in event.metadata["traceback"]
    assert f"{__file__}" in event.metadata["traceback"]
    assert event.inputs == {"city": "Atlantis"}
    assert event.outputs is None
    assert event.metadata.get("outcome") == ("cancelled" if "Cancelled" in type(error).__name__ else None)


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_exceptions_of_coroutines_generators_and_blocks_are_recorded_alike(
    traces: Traces, error: BaseException
) -> None:
    @honeytrace.trace
    async def coroutine() -> None:
        raise error

    @honeytrace.trace
    def generator() -> Iterator[int]:
        yield 1
        raise error

    @honeytrace.trace
    async def stream() -> AsyncIterator[int]:
        yield 1
        raise error

    async def drain() -> None:
        async for _ in stream():
            pass

    def block() -> None:
        with honeytrace.span("block"):
            raise error

    async def async_block() -> None:
        async with honeytrace.span("async block"):
            raise error

    def step_through(steps: object) -> None:
        with pytest.raises(BaseException) as caught:
            steps.send(None)  # type: ignore[attr-defined]  # no event loop: nothing in these waits
        assert caught.value is error

    step_through(coroutine())
    step_through(drain())
    step_through(async_block())
    for plain in (block, lambda: list(generator())):
        with pytest.raises(BaseException) as caught:
            plain()
        assert caught.value is error
    assert [event.event_name for event in traces] == ["coroutine", "stream", "async block", "block", "generator"]
    texts = {event.error for event in traces}
    assert texts == {f"{type(error).__name__}: {error}" if str(error) else type(error).__name__}
    assert all("raise error" in event.metadata["traceback"] for event in traces)


def test_a_cancelled_task_is_recorded_on_the_spans_that_saw_it(traces: Traces) -> None:
    @honeytrace.trace
    async def inner() -> None:
        await asyncio.Event().wait()

    @honeytrace.trace
    async def outer() -> str:
        try:
            await inner()
        except asyncio.CancelledError:
            return "cleaned up"
        return "not reached"

    async def main() -> None:
        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(main())
    assert traces.one("inner").error == "CancelledError"
    assert traces.one("inner").metadata["outcome"] == "cancelled"
    assert traces.one("outer").error is None
    assert traces.one("outer").outputs == {"result": "cleaned up"}


def test_a_cancellation_of_trio_is_one_as_well(traces: Traces) -> None:
    trio = pytest.importorskip("trio")

    @honeytrace.trace
    async def wait() -> None:
        await trio.sleep(60)

    @honeytrace.trace
    async def chunks() -> Any:
        yield 1
        await trio.sleep(60)

    async def main() -> None:
        with trio.move_on_after(0.001):
            await wait()
        with trio.move_on_after(0.001):
            async for _ in chunks():
                pass

    trio.run(main)
    assert [event.metadata["outcome"] for event in traces] == ["cancelled", "cancelled"]
    assert all(str(event.error).startswith("Cancelled") for event in traces)


def test_a_timeout_is_a_cancellation_inside_and_an_error_outside(traces: Traces) -> None:
    @honeytrace.trace
    async def slow() -> None:
        await asyncio.Event().wait()

    @honeytrace.trace
    async def impatient() -> None:
        await asyncio.wait_for(slow(), 0.01)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(impatient())
    assert traces.one("slow").metadata["outcome"] == "cancelled"
    assert traces.one("impatient").error.startswith("TimeoutError")
    assert "outcome" not in traces.one("impatient").metadata


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are new in Python 3.11")
def test_an_exception_group_is_recorded_with_its_message(traces: Traces) -> None:
    group = ExceptionGroup("two of three failed", [ValueError("a"), KeyError("b")])  # noqa: F821

    @honeytrace.trace
    def fail() -> None:
        raise group

    with pytest.raises(BaseException) as caught:
        fail()
    assert caught.value is group
    assert traces.one("fail").error == "ExceptionGroup: two of three failed (2 sub-exceptions)"


@pytest.mark.parametrize(
    ("text", "recorded"),
    [
        (ValueError("inside __str__"), "Odd: <its __str__ raised ValueError>"),
        (RecursionError(), "Odd: <its __str__ raised RecursionError>"),
        (SystemExit(), "Odd: <its __str__ raised SystemExit>"),
        (7, "Odd: <its __str__ raised TypeError>"),
        ("\ud800 alone", "Odd: \\ud800 alone"),
        ("", "Odd"),
    ],
)
def test_an_exception_with_an_odd_text_is_recorded_all_the_same(traces: Traces, text: object, recorded: str) -> None:
    error = Odd()
    error.text = text

    @honeytrace.trace
    def fail() -> None:
        raise error

    with pytest.raises(Odd) as caught:
        fail()
    assert caught.value is error
    assert traces.one("fail").error == recorded


def test_a_huge_message_is_cut_and_says_how_long_it_was(traces: Traces) -> None:
    @honeytrace.trace
    def fail() -> None:
        raise ValueError("x" * 1_000_000)

    with pytest.raises(ValueError):
        fail()
    event = traces.one("fail")
    assert event.error.startswith("ValueError: xxx")
    assert "1000000 characters" in event.error
    assert len(event.error) < 3_000
    assert len(event.metadata["traceback"]) < 10_000


def test_a_deep_traceback_is_bounded_and_keeps_both_ends(traces: Traces) -> None:
    def dig(levels: int) -> None:
        if not levels:
            raise ValueError("the bottom")
        dig(levels - 1)

    @honeytrace.trace
    def fail() -> None:
        dig(600)  # where it began

    with pytest.raises(ValueError):
        fail()
    text = traces.one("fail").metadata["traceback"]
    assert len(text) < 10_000
    assert "dig(600)  # where it began" in text
    assert 'raise ValueError("the bottom")' in text
    assert "frames left out" in text


def test_the_cause_of_an_exception_is_in_its_traceback(traces: Traces) -> None:
    @honeytrace.trace
    def fail() -> None:
        try:
            {}["key"]  # type: ignore[index]  # noqa: B018
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError):
        fail()
    event = traces.one("fail")
    assert event.error == "ValueError: outer"
    assert "caused by" in event.metadata["traceback"]
    assert '{}["key"]' in event.metadata["traceback"]


def test_causes_that_form_a_ring_end(traces: Traces) -> None:
    @honeytrace.trace
    def fail() -> None:
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        raise one

    with pytest.raises(ValueError, match="one"):
        fail()
    assert traces.one("fail").metadata["traceback"].count("ValueError: two") == 1


@pytest.mark.parametrize("expected", [LookupError, (LookupError, OSError)])
def test_an_expected_exception_is_no_error_and_still_reaches_the_caller(traces: Traces, expected: object) -> None:
    error = KeyError("not cached")

    @honeytrace.trace(expected=expected)
    def look_up() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        look_up()
    assert caught.value is error
    event = traces.one("look_up")
    assert event.error is None
    assert "error" not in event.fields
    assert event.metadata == {"expected_error": "KeyError: 'not cached'"}


def test_an_exception_that_was_not_declared_is_an_error_beside_expected_ones(traces: Traces) -> None:
    @honeytrace.trace(expected=LookupError)
    def look_up() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError):
        look_up()
    assert traces.one("look_up").error == "ValueError: broken"


def test_the_first_outcome_wins_for_a_span_ended_by_hand(traces: Traces) -> None:
    block = honeytrace.span("block").start()
    block.end(outputs="first")
    block.end(outputs="second", error=ValueError("late"))
    event = traces.one("block")
    assert event.outputs == {"result": "first"}
    assert event.error is None
    assert [record.kind for record in traces.records] == ["session", "event"]


def test_a_with_block_that_was_ended_inside_keeps_that_outcome_when_it_raises_later(traces: Traces) -> None:
    with pytest.raises(ValueError):
        with honeytrace.span("block") as block:
            block.end(outputs="done")
            raise ValueError("later")
    assert traces.one("block").outputs == {"result": "done"}
    assert traces.one("block").error is None


def test_an_error_enriched_by_hand_marks_a_call_that_returns(traces: Traces) -> None:
    @honeytrace.trace
    def soft() -> str:
        honeytrace.enrich_span(error="gave a poor answer")
        return "hm"

    assert soft() == "hm"
    assert traces.one("soft").error == "gave a poor answer"
    assert traces.one("soft").outputs == {"result": "hm"}


def test_an_exception_outranks_an_error_enriched_by_hand(traces: Traces) -> None:
    with pytest.raises(ValueError):
        with honeytrace.span("block", inputs={"a": 1}) as block:
            block.enrich(error="suspicion", metadata={"k": "v"}, outputs={"partial": 1})
            raise ValueError("fact")
    event = traces.one("block")
    assert event.error == "ValueError: fact"
    assert event.metadata["k"] == "v"
    assert event.outputs == {"partial": 1}


def test_an_exception_is_not_kept_alive_by_having_been_recorded(traces: Traces) -> None:
    class Heavy:
        pass

    @honeytrace.trace
    def fail() -> None:
        heavy = Heavy()
        seen.append(weakref.ref(heavy))
        raise ValueError("x")

    seen: list[weakref.ref[Heavy]] = []
    try:
        fail()
    except ValueError:
        pass
    gc.collect()
    assert seen[0]() is None


def test_the_caller_s_traceback_has_one_frame_more_than_without_tracing() -> None:
    def frames(function: object) -> list[str]:
        names = []
        try:
            function()  # type: ignore[operator]
        except ValueError as error:
            step = error.__traceback__
            while step is not None:
                names.append(step.tb_frame.f_code.co_name)
                step = step.tb_next
        return names

    def fail() -> None:
        raise ValueError

    with capture():
        traced = frames(honeytrace.trace(fail))
    assert frames(fail) == ["frames", "fail"]
    assert traced == ["frames", "fail", "fail"]


def test_a_context_of_exceptions_handled_around_a_call_stays_the_user_s(traces: Traces) -> None:
    inner = KeyError("first")

    @honeytrace.trace
    def fail() -> None:
        raise ValueError("second")

    try:
        try:
            raise inner
        except KeyError:
            fail()
    except ValueError as error:
        assert error.__context__ is inner
        assert error.__cause__ is None
    assert "raised while handling" in traces.one("fail").metadata["traceback"]


@pytest.mark.parametrize(
    ("text", "recorded"),
    [
        ("password=hunter2 was refused", "password=[redacted] was refused"),
        ("in {'api_key': 'hunter2', 'port': 3}", "in {'api_key': [redacted], 'port': 3}"),
        ("GET https://ada:hunter2@example.com/a failed", "GET https://ada:[redacted]@example.com/a failed"),
        ("cannot reach redis://:hunter2@cache:6379/0", "cannot reach redis://:[redacted]@cache:6379/0"),
        ("sent Authorization: Bearer hunter2\nHost: x", "sent Authorization: [redacted]\nHost: x"),
        ("x-api-key: hunter2", "x-api-key: [redacted]"),
        ("the header was 'Bearer hunter2hunter2'", "the header was 'Bearer [redacted]'"),
        ("Incorrect API key provided: sk-proj-hunter2hunter2hunter2.", "Incorrect API key provided: [redacted]."),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2-hunter2", "[redacted]"),
        ("bad query ?a=1&token=hunter2&b=2", "bad query ?a=1&token=[redacted]&b=2"),
    ],
)
def test_a_secret_in_the_text_of_an_error_is_replaced_where_it_can_be_told(
    text: str, recorded: str, traces: Traces
) -> None:
    @honeytrace.trace
    def fail() -> None:
        raise ValueError(text)

    @honeytrace.trace
    def pass_on(error: Exception) -> None:
        honeytrace.enrich_span(error=text)

    with pytest.raises(ValueError) as caught:
        fail()
    assert str(caught.value) == text
    pass_on(caught.value)
    with pytest.raises(ValueError):
        with honeytrace.session("s"):
            fail()
    honeytrace.log_event("seen", error=text)
    assert traces.one("pass_on").inputs["error"]["message"] == recorded
    assert traces.one("pass_on").error == recorded
    assert traces.one("seen").error == recorded
    assert traces.named("fail")[0].error == f"ValueError: {recorded}"
    assert not any(b"hunter2" in record.body for record in traces.records)


@pytest.mark.parametrize(
    "text",
    [
        "Unexpected token: foo",
        "max_tokens=5 is too few",
        "got an unexpected keyword argument 'password'",
        "http://host:8080/a@b is no address",
        "basic research and bearer bonds",
        "sk-learn is not installed",
        "password must not be empty",
    ],
)
def test_a_text_that_only_speaks_of_secrets_stays_as_it_is(text: str, traces: Traces) -> None:
    @honeytrace.trace
    def fail() -> None:
        raise ValueError(text)

    with pytest.raises(ValueError):
        fail()
    assert traces.one("fail").error == f"ValueError: {text}"


def test_the_text_of_an_error_is_left_alone_where_nothing_is_redacted() -> None:
    @honeytrace.trace
    def fail() -> None:
        raise ValueError("password=hunter2, Bearer hunter2hunter2")

    with capture(redact=False) as traces:
        with pytest.raises(ValueError):
            fail()
    assert traces.one("fail").error == "ValueError: password=hunter2, Bearer hunter2hunter2"


def test_lines_of_code_in_a_traceback_lose_literal_secrets_only(traces: Traces) -> None:
    @honeytrace.trace
    def fail(word: object) -> None:
        dict(password=word, token="hunter2")[word]  # type: ignore[index]  # noqa: ISC001

    with pytest.raises(KeyError):
        fail(word="w")
    traceback = traces.one("fail").metadata["traceback"]
    assert "password=word" in traceback
    assert "hunter" not in traceback
