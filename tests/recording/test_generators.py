"""A traced generator runs as the plain one does, step by step; its span covers the iteration and nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_modes import FAILING, MODES, QUIET, Broken, Mode, plain

import honeytrace
from honeytrace._stream import KEPT
from honeytrace.testing import Traces, assert_tree, capture


class Failure(Exception):
    pass


class Other(Exception):
    pass


seen_by_consumer: contextvars.ContextVar[Any] = contextvars.ContextVar("seen_by_consumer", default=None)
Log = list[Any]


# A small zoo of bodies. Each writes down what happens to it, so that two of them can be compared.


def echoes(log: Log) -> Any:
    got = None
    for i in range(4):
        got = yield i, got
        log.append(("got", got))
    return "done"


def catches(log: Log) -> Any:
    for i in range(5):
        try:
            got = yield i
            log.append(("got", got))
        except Failure as error:
            log.append(("caught", str(error), error.__context__))
        finally:
            log.append("step")
    return 5


def translates(log: Log) -> Any:
    try:
        yield 1
        yield 2
    except Failure as error:
        raise Other("translated") from error
    finally:
        log.append("cleaned up")


def ignores_exit(log: Log) -> Any:
    for i in range(3):
        try:
            yield i
        except GeneratorExit:
            if "no" in log:
                raise
            log.append("no")
    return "stayed"


def returns_on_exit(log: Log) -> Any:
    try:
        yield 1
        yield 2
    except GeneratorExit:
        log.append("closing")
        return "closed"
    return "finished"


def fails(log: Log) -> Any:
    yield 1
    log.append("failing")
    raise Failure("own")


def raises_stop(log: Log) -> Any:
    yield 1
    raise StopIteration("early")


def delegates(log: Log) -> Any:
    log.append((yield from catches(log)))
    log.append((yield from echoes(log)))


def touches_context(log: Log) -> Any:
    for i in range(4):
        log.append(seen_by_consumer.get())
        seen_by_consumer.set(("body", i))
        yield seen_by_consumer.get()


def yields_nothing(log: Log) -> Any:
    log.append("ran")
    return
    yield


BODIES = [
    echoes,
    catches,
    translates,
    ignores_exit,
    returns_on_exit,
    fails,
    raises_stop,
    delegates,
    touches_context,
    yields_nothing,
]


def asynchronous(body: Callable[[Log], Any]) -> Callable[[Log], Any]:
    """The same body as an async generator, with an await before every step."""

    async def stream(log: Log) -> Any:
        inner = body(log)
        step, given = inner.send, None
        while True:
            await asyncio.sleep(0)
            try:
                item = step(given)
            except StopIteration:
                return
            try:
                given, step = (yield item), inner.send
            except BaseException as error:
                given, step = error, inner.throw

    return stream


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """An exception whose attributes cannot be set."""

    text: str = "frozen"


class Quit(BaseException):
    pass


OPERATIONS = st.lists(
    st.sampled_from(
        [
            "next",
            "next",
            "next",
            "send",
            "throw",
            "throw frozen",
            "throw class",
            "throw quit",
            "throw stop",
            "set",
            "close",
        ]
    ),
    max_size=9,
)


def apply(operation: str, log: Log) -> tuple[str, Any]:
    """The name of the method to use and what to give it."""
    if operation == "send":
        return "send", len(log)
    if operation.startswith("throw"):
        chosen = {
            "throw": Failure("thrown"), "throw frozen": Frozen(), "throw class": Failure, "throw quit": Quit(1),
            "throw stop": StopIteration(7),
        }  # fmt: skip
        return "throw", chosen[operation]
    return operation, None


def dialogue(trace: Callable[..., Any], body: Callable[[Log], Any], operations: list[str]) -> Log:
    """Carry out operations on a generator; the transcript has what both sides saw."""
    log: Log = []
    stream = trace(body)(log)
    for operation in operations:
        method, value = apply(operation, log)
        log.append(operation)
        try:
            if method == "set":
                seen_by_consumer.set(("consumer", len(log)))
            elif method == "next":
                log.append(next(stream))
            elif method == "close":
                log.append(stream.close())
            else:
                log.append(getattr(stream, method)(value))
        except StopIteration as stop:
            log.append(("stop", stop.value))
        except BaseException as error:
            log.append(
                (type(error).__name__, str(error), type(error.__cause__).__name__, type(error.__context__).__name__)
            )
        log.append(seen_by_consumer.get())
    for _ in range(2):  # one that ignores its end does so once
        try:
            stream.close()
        except BaseException:
            pass
    return log


def async_dialogue(trace: Callable[..., Any], body: Callable[[Log], Any], operations: list[str]) -> Log:
    log: Log = []

    async def main() -> None:
        stream = trace(asynchronous(body))(log)
        names = {"send": "asend", "throw": "athrow", "close": "aclose"}
        for operation in operations:
            method, value = apply(operation, log)
            log.append(operation)
            try:
                if method == "set":
                    seen_by_consumer.set(("consumer", len(log)))
                elif method == "next":
                    log.append(await anext(stream))
                elif method == "close":
                    log.append(await stream.aclose())
                else:
                    log.append(await getattr(stream, names[method])(value))
            except BaseException as error:
                log.append(
                    (type(error).__name__, str(error), type(error.__cause__).__name__, type(error.__context__).__name__)
                )
            log.append(seen_by_consumer.get())
        await stream.aclose()

    asyncio.run(main())
    return log


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@given(body=st.sampled_from(BODIES), operations=OPERATIONS)
@settings(max_examples=150, deadline=None)
def test_any_dialogue_with_a_traced_generator_is_the_dialogue_with_the_plain_one(
    body: Any, operations: list[str]
) -> None:
    if body is ignores_exit and "close" in operations:
        # Who goes on after that is out of bounds: a generator that delegates, as the door of a disabled one does,
        # has ended with the RuntimeError.
        operations = operations[: operations.index("close") + 1]
    expected = contextvars.copy_context().run(dialogue, plain, body, operations)
    for mode in QUIET:
        with mode.active():
            assert contextvars.copy_context().run(dialogue, mode.trace, body, operations) == expected, mode.name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@given(
    body=st.sampled_from([body for body in BODIES if body not in (raises_stop, ignores_exit)]), operations=OPERATIONS
)
@settings(max_examples=60, deadline=None)
def test_any_dialogue_with_a_traced_async_generator_is_the_dialogue_with_the_plain_one(
    body: Any, operations: list[str]
) -> None:
    expected = async_dialogue(plain, body, operations)
    for mode in QUIET:
        with mode.active():
            assert async_dialogue(mode.trace, body, operations) == expected, mode.name


@pytest.mark.internal_failure_expected
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "operations", [["next"] * 7, ["next", "throw", "next", "close"], ["next", "throw frozen"], ["close", "next"]]
)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.parametrize("mode", FAILING, ids=str)
def test_a_generator_never_sees_a_failure_inside_honeytrace(mode: Mode, body: Any, operations: list[str]) -> None:
    expected = contextvars.copy_context().run(dialogue, plain, body, operations)
    with mode.active():
        assert contextvars.copy_context().run(dialogue, mode.trace, body, operations) == expected


@pytest.mark.internal_failure_expected
def test_a_chunk_that_cannot_be_recorded_reaches_the_consumer(traces: Traces) -> None:
    recorder = honeytrace.default_tracer.recorder
    assert recorder is not None
    take = recorder.snapshot

    def picky(value: object) -> bytes:
        if type(value) is list:
            raise Broken
        return take(value)

    recorder.snapshot = picky

    @honeytrace.trace
    def stream() -> Any:
        yield [1]
        yield 2

    assert list(stream()) == [[1], 2]


def test_nothing_runs_and_nothing_is_recorded_before_the_first_step(traces: Traces) -> None:
    log: Log = []
    stream = honeytrace.trace(echoes)(log)
    unused = honeytrace.trace(asynchronous(echoes))(log)
    assert log == []
    stream.close()
    del stream, unused
    gc.collect()
    assert (log, traces.records, traces.open_spans()) == ([], [], [])


def test_the_return_value_comes_through_yield_from_and_is_recorded(traces: Traces) -> None:
    @honeytrace.trace
    def outer() -> Any:
        return (yield from honeytrace.trace(echoes)([]))

    stream = outer()
    items = []
    while True:
        try:
            items.append(next(stream))
        except StopIteration as stop:
            assert stop.value == "done"
            break
    assert traces.one("echoes").outputs == {"result": [[i, None] for i in range(4)], "return_value": "done"}
    assert_tree(traces, "outer\n    echoes")


@pytest.mark.parametrize("leave", ["break", "close", "drop"])
def test_an_iteration_that_is_left_is_closed_and_no_failure(leave: str, traces: Traces) -> None:
    @honeytrace.trace
    def count() -> Any:
        n = 0
        while True:
            yield n
            n += 1

    stream = count()
    for n in stream:
        if n == 2:
            break
    if leave == "close":
        stream.close()
    if leave == "break":
        stream.close()
    del stream
    gc.collect()
    event = traces.one("count")
    assert event.outputs == {"result": [0, 1, 2]}
    assert event.metadata["outcome"] == "closed"
    assert event.metadata["chunks"] == 3
    assert event.error is None
    assert "traceback" not in event.metadata


def test_a_broken_off_async_iteration_is_closed_and_no_failure(traces: Traces) -> None:
    @honeytrace.trace
    async def count() -> Any:
        for n in range(100):
            await asyncio.sleep(0)
            yield n

    async def main() -> None:
        async with aclosing(count()) as stream:
            async for n in stream:
                if n == 1:
                    break
        async for n in count():
            if n == 2:
                break
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert [(event.outputs["result"], event.error, event.metadata["outcome"]) for event in traces] == [
        ([0, 1], None, "closed"),
        ([0, 1, 2], None, "closed"),
    ]


def test_the_end_of_an_event_loop_closes_what_is_unfinished_without_a_word(
    traces: Traces, caplog: pytest.LogCaptureFixture
) -> None:
    cleaned: list[str] = []

    @honeytrace.trace
    async def count(name: str) -> Any:
        try:
            for n in range(100):
                yield n
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            cleaned.append(name)

    kept: list[Any] = []

    async def main() -> None:
        for name in ("a", "b"):
            stream = count(name)
            kept.append(stream)
            await anext(stream)
        await anext(count("dropped"))
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        kept.clear()
        gc.collect()
    assert sorted(cleaned) == ["a", "b", "dropped"]
    assert [str(one.message) for one in caught] == []
    assert caplog.records == []
    assert [event.metadata["outcome"] for event in traces] == ["closed"] * 3


def test_a_suspended_async_generator_without_a_loop_is_collected_as_the_plain_one(traces: Traces) -> None:
    async def count() -> Any:
        yield 1
        yield 2

    def noise(function: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            stream = function()
            with pytest.raises(StopIteration):
                stream.asend(None).send(None)
            del stream
            gc.collect()
        return [str(one.message) for one in caught]

    assert noise(honeytrace.trace(count)) == noise(count)


@pytest.mark.parametrize("mode", MODES)
def test_a_generator_that_ignores_its_end_is_told_so_as_the_plain_one(mode: Mode) -> None:
    with mode.active():
        stream = mode.trace(ignores_exit)([])
        next(stream)
        with pytest.raises(RuntimeError, match="^generator ignored GeneratorExit$"):
            stream.close()


@pytest.mark.parametrize("mode", MODES)
def test_an_async_generator_that_ignores_its_end_is_told_so_as_the_plain_one(mode: Mode) -> None:
    async def main() -> None:
        stream = mode.trace(asynchronous(ignores_exit))([])
        await anext(stream)
        with pytest.raises(RuntimeError, match="^async generator ignored GeneratorExit$"):
            await stream.aclose()
        assert [item async for item in stream] == [2]

    with mode.active():
        asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_a_generator_that_is_running_refuses_another_step(mode: Mode) -> None:
    @mode.trace
    def stream() -> Any:
        yield outcome_of(lambda: next(running))

    def outcome_of(call: Callable[[], Any]) -> str:
        with pytest.raises(ValueError) as caught:
            call()
        return str(caught.value)

    with mode.active():
        running = stream()
        assert list(running) == ["generator already executing"]


def test_an_error_in_the_body_is_recorded_with_what_came_before(traces: Traces) -> None:
    with pytest.raises(Failure):
        list(honeytrace.trace(fails)([]))
    event = traces.one("fails")
    assert event.error == "Failure: own"
    assert event.outputs["result"] == [1]
    assert "own" in event.metadata["traceback"]
    assert "outcome" not in event.metadata


def test_an_error_that_was_thrown_in_is_recorded_unless_the_body_catches_it(traces: Traces) -> None:
    stream = honeytrace.trace(catches)([])
    next(stream)
    stream.throw(Failure("caught"))
    list(stream)
    other = honeytrace.trace(echoes)([])
    next(other)
    with pytest.raises(Failure):
        other.throw(Failure("through"))
    assert traces.one("catches").error is None
    assert traces.one("echoes").error == "Failure: through"


def test_cancelling_the_consumer_is_recorded_on_the_span_that_saw_it(traces: Traces) -> None:
    @honeytrace.trace
    async def slow(started: asyncio.Event) -> Any:
        yield 1
        started.set()
        await asyncio.sleep(60)

    async def main() -> None:
        started = asyncio.Event()

        async def consume() -> None:
            async for _ in slow(started):
                pass

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    event = traces.one("slow")
    assert event.metadata["outcome"] == "cancelled"
    assert event.outputs["result"] == [1]


def test_a_consumer_is_never_a_child_of_the_generator(traces: Traces) -> None:
    @honeytrace.trace
    def inside(n: int) -> int:
        return n

    @honeytrace.trace
    def stream() -> Any:
        for n in range(2):
            yield inside(n)

    @honeytrace.trace
    def consume(n: int) -> None: ...

    @honeytrace.trace
    def root() -> None:
        for n in stream():
            consume(n)

    root()
    assert_tree(
        traces,
        """
        root
            stream
                inside
                inside
            consume
            consume
        """,
    )


def test_an_async_consumer_is_never_a_child_of_the_generator(traces: Traces) -> None:
    @honeytrace.trace
    async def inside(n: int) -> int:
        await asyncio.sleep(0)
        return n

    @honeytrace.trace
    async def stream() -> Any:
        for n in range(2):
            yield await inside(n)

    @honeytrace.trace
    async def consume(n: int) -> None:
        await asyncio.sleep(0)

    @honeytrace.trace
    async def root() -> None:
        async for n in stream():
            await consume(n)

    asyncio.run(root())
    assert_tree(traces, "root\n  stream\n    inside\n    inside\n  consume\n  consume")


def test_interleaved_generators_keep_their_own_children(traces: Traces) -> None:
    @honeytrace.trace
    def inside(name: str) -> str:
        return name

    @honeytrace.trace
    def stream(name: str) -> Any:
        for _ in range(2):
            yield inside(name)

    @honeytrace.trace
    def root() -> Any:
        return list(zip(stream("a"), stream("b"), strict=False))

    assert root() == [("a", "b"), ("a", "b")]
    (root_event,) = traces.named("root")
    by_name = {event.inputs["name"]: event.event_id for event in traces.named("stream")}
    assert {event.parent_id for event in traces.named("stream")} == {root_event.event_id}
    assert all(event.parent_id == by_name[event.inputs["name"]] for event in traces.named("inside"))


def test_a_span_that_is_open_around_a_yield_stays_inside_the_body(traces: Traces) -> None:
    @honeytrace.trace
    def inside() -> None: ...

    @honeytrace.trace
    def stream() -> Any:
        with honeytrace.span("around"):
            inside()
            yield 1
            inside()
        inside()
        yield 2

    @honeytrace.trace
    def consume() -> None: ...

    @honeytrace.trace
    def root() -> None:
        for _ in stream():
            consume()

    root()
    assert_tree(
        traces,
        """
        root
            stream
                around
                    inside
                    inside
                inside
            consume
            consume
        """,
    )


def test_what_is_current_is_left_alone_when_a_generator_ends_elsewhere(traces: Traces) -> None:
    @honeytrace.trace
    def stream() -> Any:
        yield 1
        yield 2

    @honeytrace.trace
    def after() -> None: ...

    with honeytrace.session("s") as session:
        with honeytrace.span("first"):
            running = stream()
            next(running)
        list(running)
        after()
        session_id = session.session_id
    assert traces.one("stream").parent_id == traces.one("first").event_id
    assert traces.one("after").parent_id == session_id


def test_what_is_current_is_left_alone_when_a_generator_ends_in_a_later_root(traces: Traces) -> None:
    @honeytrace.trace
    def stream() -> Any:
        yield 1
        yield 2

    @honeytrace.trace
    def after() -> None: ...

    running = stream()
    next(running)
    with honeytrace.span("later"):
        running.close()
        after()
    assert traces.one("after").parent_id == traces.one("later").event_id
    assert traces.one("stream").session_id != traces.one("later").session_id
    assert honeytrace.current_span() is None


def test_a_generator_may_be_stepped_in_several_threads(traces: Traces) -> None:
    @honeytrace.trace
    def inside() -> None: ...

    @honeytrace.trace
    def stream() -> Any:
        for n in range(3):
            inside()
            yield n

    running = stream()
    items: list[int] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: items.append(next(running)))
        thread.start()
        thread.join()
    assert list(running) == []
    assert items == [0, 1, 2]
    assert {event.parent_id for event in traces.named("inside")} == {traces.one("stream").event_id}


def test_spans_can_be_enriched_from_every_step(traces: Traces) -> None:
    @honeytrace.trace
    def stream() -> Any:
        honeytrace.enrich_span(metadata={"first": 1})
        yield 1
        honeytrace.enrich_span(metadata={"second": 2}, outputs={"extra": 3})

    list(stream())
    event = traces.one("stream")
    assert (event.metadata["first"], event.metadata["second"]) == (1, 2)
    assert event.outputs == {"result": [1], "extra": 3}


def test_chunks_are_joined_by_the_reducer(traces: Traces) -> None:
    @honeytrace.trace(reduce="".join)
    def words() -> Iterator[str]:
        yield from ("a", "b", "c")

    @honeytrace.trace(
        reduce=lambda chunks: {"content": "".join(chunk["text"] for chunk in chunks), "role": "assistant"}
    )
    async def chat() -> Any:
        for text in ("x", "y"):
            yield {"text": text}

    async def main() -> list[Any]:
        return [chunk async for chunk in chat()]

    assert list(words()) == ["a", "b", "c"]
    assert len(asyncio.run(main())) == 2
    assert traces.one("words").outputs == {"result": "abc"}
    assert traces.one("chat").outputs == {"content": "xy", "role": "assistant"}


def test_a_reducer_that_raises_costs_its_own_result_only(traces: Traces) -> None:
    @honeytrace.trace(reduce=lambda chunks: 1 / 0)
    def words() -> Any:
        yield "secret words"

    assert list(words()) == ["secret words"]
    assert "ZeroDivisionError" in str(traces.one("words").outputs)
    assert "secret words" not in str(traces.one("words").outputs)
    assert traces.one("words").error is None


@pytest.mark.parametrize("secret", [False, True], ids=["plain", "with a secret parameter"])
def test_head_and_tail_of_a_long_stream_are_kept_and_all_are_counted(secret: bool) -> None:
    def count(n: int) -> Any:
        yield from range(n)

    def count_with_secret(n: int, password: str = "p") -> Any:
        yield from range(n)

    count = honeytrace.trace(event_name="count")(count_with_secret if secret else count)

    for n in (KEPT, KEPT + 1, 2 * KEPT, 2 * KEPT + 1, 5 * KEPT):
        with capture() as traces:
            assert sum(1 for _ in count(n)) == n
        event = traces.one("count")
        result = event.outputs["result"]
        assert event.metadata["chunks"] == n
        assert result[:KEPT] == list(range(min(n, KEPT)))
        assert result[-1] == n - 1
        notes = [chunk for chunk in result if isinstance(chunk, str)]
        if n > 2 * KEPT:
            assert len(result) == 2 * KEPT + 1
            assert [note for note in notes if str(n - 2 * KEPT) in note] == notes != []
        else:
            assert result == list(range(n))


def test_long_text_starts_the_tail_early(traces: Traces) -> None:
    @honeytrace.trace
    def pages() -> Any:
        for n in range(2_000):
            yield f"{n}:" + "x" * 2_000

    for _ in pages():
        pass
    event = traces.one("pages")
    assert event.metadata["chunks"] == 2_000
    assert len(str(event.fields)) < 2_000_000


def test_chunks_that_change_later_are_recorded_as_they_were(traces: Traces) -> None:
    @honeytrace.trace
    def rows() -> Any:
        row = {"n": 0}
        for n in range(3):
            row["n"] = n
            yield row

    for row in rows():
        row["n"] = 99
    assert traces.one("rows").outputs["result"] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize("name", ["n", "password"])
def test_chunks_are_recorded_as_values_whatever_the_parameters_are_called(name: str, traces: Traces) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def rows({name}):\n    yield {{'n': 1}}\n    yield [2]\n    yield 'x'", namespace)
    list(honeytrace.trace(namespace["rows"])(1))
    assert traces.one("rows").outputs == {"result": [{"n": 1}, [2], "x"]}


def test_a_hook_for_outputs_gets_the_chunks_of_a_generator(traces: Traces) -> None:
    @honeytrace.trace(process_outputs=lambda chunks: [chunk["n"] for chunk in chunks])
    def rows() -> Any:
        yield {"n": 1}
        yield {"n": 2}

    list(rows())
    assert traces.one("rows").outputs == {"result": [1, 2]}


def test_chunks_can_be_left_out_of_the_record(traces: Traces) -> None:
    @honeytrace.trace(capture_outputs=False)
    def rows() -> Any:
        yield "private"
        return "private too"

    list(rows())
    assert "private" not in str(traces.one("rows").fields)


def test_times_of_producer_and_consumer_are_told_apart(traces: Traces) -> None:
    @honeytrace.trace
    def stream() -> Any:
        time.sleep(0.02)
        yield 1
        yield 2

    for _ in stream():
        time.sleep(0.04)
    event = traces.one("stream")
    assert event.metadata["chunks"] == 2
    consumer = 79  # two sleeps, less what a clock may round off
    assert 19 <= event.metadata["time_to_first_token_ms"] <= event.duration - consumer
    assert 19 <= event.metadata["active_ms"] <= event.duration - consumer


@honeytrace.trace(exclude=["chunks"])
def gives(chunks: list[Any]) -> Iterator[Any]:
    yield from chunks


def test_a_chunk_of_text_that_is_no_utf_8_costs_no_other_chunk(traces: Traces) -> None:
    chunks = ["one", "half a pair: \ud800", "three"]
    assert list(gives(chunks)) == chunks
    first, broken, third = traces.one("gives").outputs["result"]
    assert (first, third) == ("one", "three")
    assert broken.startswith("half a pair: ")


@pytest.mark.parametrize("wrap", [str, lambda text: {"delta": text}], ids=["text", "dicts"])
def test_short_chunks_that_are_long_in_json_stay_within_the_limit(wrap: Any) -> None:
    chunks = [wrap("\x00" * 100) for _ in range(100)]  # six bytes a character
    with capture(max_event_bytes=60_000) as traces:
        assert list(gives(chunks)) == chunks
    assert len(traces.records[-1].body) < 60_000
    event = traces.one("gives")
    assert event.metadata["chunks"] == 100
    result = event.outputs["result"]
    assert len(str(result)) > 1_000
    if wrap is not str:  # text is shortened piece by piece
        whole = result.count(chunks[0])
        assert whole == (30_000 - len("[]")) // len(',{"delta":""}' + r"\u0000" * 100)
        assert result[whole:] == [f"... {100 - whole} chunks left out ..."]


def test_a_generator_that_yields_nothing_has_no_first_token(traces: Traces) -> None:
    assert list(honeytrace.trace(yields_nothing)([])) == []
    metadata = traces.one("yields_nothing").metadata
    assert metadata["chunks"] == 0
    assert "time_to_first_token_ms" not in metadata


def test_a_session_that_begins_in_a_generator_has_its_name_and_inputs(traces: Traces) -> None:
    list(honeytrace.trace(event_name="answer")(echoes)([7]))
    (session,) = traces.sessions
    assert session.session_name == "answer"
    assert session.inputs == {"log": [7]}
    assert traces.one("answer").session_id == session.session_id
