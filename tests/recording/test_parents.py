"""Every event hangs below the span that was current where its call was made, whatever carried the call there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import honeytrace
from honeytrace.testing import Traces, assert_tree


@honeytrace.trace
def leaf(name: str = "") -> str:
    return name


@honeytrace.trace
async def aleaf(name: str = "") -> str:
    await asyncio.sleep(0)
    return name


def assert_below(traces: Traces, child: str, parent: str) -> None:
    above = traces.one(parent)
    below = traces.named(child)
    assert below
    assert {event.parent_id for event in below} == {above.event_id}
    assert {event.session_id for event in below} == {above.session_id}


def assert_alone(traces: Traces, name: str) -> None:
    for event in traces.named(name):
        assert event.parent_id == event.session_id
        assert [session.event_name for session in traces.sessions if session.session_id == event.session_id] == [name]


def assert_nothing_current() -> None:
    assert honeytrace.current_span() is None
    assert honeytrace.current_session() is None


def test_calls_nest_as_the_program_does(traces: Traces) -> None:
    @honeytrace.trace
    def outer() -> None:
        middle()
        leaf("after")

    @honeytrace.trace
    def middle() -> None:
        leaf("inside")

    outer()
    assert_tree(
        traces,
        """
        outer
        ├── middle
        │   └── leaf
        └── leaf
        """,
    )
    assert_nothing_current()


def test_tasks_are_children_of_the_span_that_made_them(traces: Traces) -> None:
    @honeytrace.trace
    async def parent() -> None:
        with honeytrace.span("block"):
            task = asyncio.create_task(aleaf("in the block"))
        await task

    asyncio.run(parent())
    assert_below(traces, "aleaf", "block")


def test_gathered_calls_are_siblings_and_their_own_calls_do_not_mix(traces: Traces) -> None:
    @honeytrace.trace
    async def branch(number: int) -> None:
        await asyncio.sleep(0)
        await aleaf(str(number))
        await asyncio.sleep(0)
        leaf(str(number))

    @honeytrace.trace
    async def parent() -> None:
        await asyncio.gather(*(branch(number) for number in range(20)))

    asyncio.run(parent())
    assert_below(traces, "branch", "parent")
    branches = {event.event_id: str(event.inputs["number"]) for event in traces.named("branch")}
    assert len(branches) == 20
    for event in traces.named("aleaf") + traces.named("leaf"):
        assert branches[event.parent_id] == event.inputs["name"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new in Python 3.11")
def test_a_task_group_s_tasks_are_children_and_a_failing_one_fails_alone(traces: Traces) -> None:
    @honeytrace.trace
    async def failing() -> None:
        raise ValueError("no")

    @honeytrace.trace
    async def waiting() -> None:
        await asyncio.Event().wait()

    @honeytrace.trace
    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waiting())
            group.create_task(aleaf())
            group.create_task(failing())

    with pytest.raises(BaseException) as caught:
        asyncio.run(parent())
    assert type(caught.value).__name__ == "ExceptionGroup"
    for name in ("failing", "waiting", "aleaf"):
        assert_below(traces, name, "parent")
    assert traces.one("failing").error == "ValueError: no"
    assert traces.one("waiting").metadata["outcome"] == "cancelled"
    assert traces.one("aleaf").error is None


def test_a_cancelled_task_is_recorded_below_its_parent_which_goes_on(traces: Traces) -> None:
    @honeytrace.trace
    async def child() -> None:
        await aleaf("before")
        await asyncio.Event().wait()

    @honeytrace.trace
    async def parent() -> str:
        task = asyncio.create_task(child())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        leaf("after")
        return "done"

    asyncio.run(parent())
    assert_tree(
        traces,
        """
        parent
            child !
                aleaf
            leaf
        """,
    )
    assert traces.one("parent").outputs == {"result": "done"}


def test_a_task_that_outlives_its_parent_keeps_it_as_parent(traces: Traces) -> None:
    async def main() -> None:
        go = asyncio.Event()

        @honeytrace.trace
        async def late() -> None:
            await go.wait()
            leaf("late")

        @honeytrace.trace
        async def parent() -> asyncio.Task[None]:
            return asyncio.create_task(late())

        task = await parent()
        assert [event.event_name for event in traces] == ["parent"]
        leaf("outside")
        go.set()
        await task

    asyncio.run(main())
    assert_below(traces, "late", "parent")
    inside, outside = sorted(traces.named("leaf"), key=lambda event: str(event.inputs["name"]))
    assert inside.parent_id == traces.one("late").event_id
    assert outside.session_id != inside.session_id
    assert len(traces.sessions) == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_eager_tasks_are_children_and_leave_the_caller_s_context_alone(traces: Traces) -> None:
    @honeytrace.trace
    async def parent() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        task = asyncio.create_task(aleaf("eager"))  # has run up to its first wait here
        leaf("beside")
        await task

    asyncio.run(parent())
    assert_below(traces, "aleaf", "parent")
    assert_below(traces, "leaf", "parent")


def test_work_sent_to_a_thread_by_asyncio_is_a_child(traces: Traces) -> None:
    @honeytrace.trace
    async def parent() -> None:
        await asyncio.to_thread(leaf, "to_thread")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, honeytrace.propagate(leaf), "executor")

    asyncio.run(parent())
    assert len(traces.named("leaf")) == 2
    assert_below(traces, "leaf", "parent")


def test_our_thread_pool_runs_work_below_where_it_was_submitted(traces: Traces) -> None:
    @honeytrace.trace
    def parent(pool: concurrent.futures.Executor, name: str) -> None:
        pool.submit(leaf, f"submit {name}").result()
        list(pool.map(leaf, [f"map {name}"] * 3))

    with honeytrace.ThreadPoolExecutor(max_workers=2) as pool:
        parent(pool, "a")
        parent(pool, "b")
        pool.submit(leaf, "outside").result()
    parents = {event.event_id: event.inputs["name"] for event in traces.named("parent")}
    leaves = traces.named("leaf")
    assert len(leaves) == 9
    for event in leaves:
        if event.inputs["name"] == "outside":
            assert event.parent_id == event.session_id
        else:
            assert event.inputs["name"].endswith(parents[event.parent_id])


def test_our_thread_pool_hands_on_results_arguments_and_exceptions() -> None:
    error = ValueError("mine")

    def fail(**given: object) -> None:
        assert given == {"fn": 1}
        raise error

    with honeytrace.ThreadPoolExecutor(max_workers=1) as pool:
        assert pool.submit(divmod, 7, 2).result() == (3, 1)
        assert pool.submit(fail, fn=1).exception() is error


def in_thread(target: Any) -> None:
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()


def test_a_thread_with_propagate_is_a_child_and_a_plain_one_has_a_session_of_its_own(traces: Traces) -> None:
    if getattr(sys.flags, "thread_inherit_context", False):
        pytest.skip("this interpreter hands the context to every thread")

    @honeytrace.trace
    def carried() -> None:
        leaf("carried")

    @honeytrace.trace
    def plain() -> None:
        leaf("plain")

    @honeytrace.trace
    def parent() -> None:
        in_thread(honeytrace.propagate(carried))
        in_thread(plain)

    parent()
    assert_tree(
        traces,
        """
        parent
            carried
                leaf
        plain
            leaf
        """,
    )
    assert_alone(traces, "plain")


@pytest.mark.parametrize("wrong", [None, 5, "leaf"])
def test_propagate_refuses_what_cannot_be_called(wrong: Any) -> None:
    with pytest.raises(honeytrace.TraceError, match=f"still to be called, not {type(wrong).__name__}"):
        honeytrace.propagate(wrong)


def test_propagate_carries_the_moment_it_was_called_not_the_moment_it_runs(traces: Traces) -> None:
    with honeytrace.span("here"):
        work = honeytrace.propagate(leaf)
    with honeytrace.span("elsewhere"):
        assert work("x") == "x"
        leaf("y")
    here, elsewhere = traces.one("here"), traces.one("elsewhere")
    parents = {event.inputs["name"]: event.parent_id for event in traces.named("leaf")}
    assert parents == {"x": here.event_id, "y": elsewhere.event_id}
    assert_nothing_current()


def test_propagate_carries_into_a_coroutine_that_another_event_loop_runs(traces: Traces) -> None:
    @honeytrace.trace
    async def work() -> str | None:
        await asyncio.sleep(0)
        session = honeytrace.current_session()
        return session and session.session_id

    @honeytrace.trace
    def root() -> object:
        carried = honeytrace.propagate(work)
        assert inspect.iscoroutinefunction(carried)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: (asyncio.run(carried()), honeytrace.current_session())).result()

    assert root() == (traces.one("root").session_id, None)
    assert traces.one("work").parent_id == traces.one("root").event_id


def test_propagate_leaves_the_application_s_context_variables_as_they_are_in_the_thread() -> None:
    variable = contextvars.ContextVar("application", default="thread")
    variable.set("caller")
    seen: list[str] = []
    in_thread(honeytrace.propagate(lambda: seen.append(variable.get())))
    assert seen == ["thread"]


def test_interleaved_generators_keep_their_own_children(traces: Traces) -> None:
    @honeytrace.trace
    def produce(name: str) -> Iterator[str]:
        for _ in range(3):
            yield leaf(name)

    @honeytrace.trace
    def consume() -> None:
        one, two = produce("one"), produce("two")
        for _ in range(3):
            next(one)
            leaf("consumer")
            next(two)
        assert list(one) == list(two) == []

    consume()
    names = {event.event_id: event.inputs["name"] for event in traces.named("produce")}
    names[traces.one("consume").event_id] = "consumer"
    leaves = traces.named("leaf")
    assert len(leaves) == 9
    assert all(names[event.parent_id] == event.inputs["name"] for event in leaves)
    assert_below(traces, "produce", "consume")


def test_a_span_opened_around_a_yield_is_current_in_the_generator_only(traces: Traces) -> None:
    @honeytrace.trace
    def produce() -> Iterator[int]:
        with honeytrace.span("around"):
            yield 1
            leaf("inside")
        leaf("behind")

    @honeytrace.trace
    def consume() -> None:
        for _ in produce():
            leaf("consumer")

    consume()
    parents = {event.inputs["name"]: event.parent_id for event in traces.named("leaf")}
    assert parents == {
        "inside": traces.one("around").event_id,
        "behind": traces.one("produce").event_id,
        "consumer": traces.one("consume").event_id,
    }
    assert_below(traces, "around", "produce")


def test_interleaved_async_generators_keep_their_own_children(traces: Traces) -> None:
    @honeytrace.trace
    async def produce(name: str) -> AsyncIterator[str]:
        for _ in range(3):
            yield await aleaf(name)

    @honeytrace.trace
    async def consume(name: str) -> None:
        async for _ in produce(name):
            await aleaf(f"consumer of {name}")

    async def main() -> None:
        await asyncio.gather(consume("one"), consume("two"))

    asyncio.run(main())
    names = {event.event_id: event.inputs["name"] for event in traces.named("produce")}
    names.update({event.event_id: f"consumer of {event.inputs['name']}" for event in traces.named("consume")})
    leaves = traces.named("aleaf")
    assert len(leaves) == 12
    assert all(names[event.parent_id] == event.inputs["name"] for event in leaves)
    assert len(traces.sessions) == 2


def test_an_async_generator_that_another_task_closes_disturbs_neither(
    traces: Traces, capfd: pytest.CaptureFixture[str]
) -> None:
    @honeytrace.trace
    async def produce() -> AsyncIterator[int]:
        with honeytrace.span("around"):
            yield 1

    async def main() -> None:
        @honeytrace.trace
        async def start() -> Any:
            stream = produce()
            await stream.__anext__()
            return stream

        @honeytrace.trace
        async def close(stream: Any) -> None:
            await stream.aclose()
            leaf("after closing")

        stream = await asyncio.create_task(start())
        await asyncio.create_task(close(stream))
        assert_nothing_current()

    asyncio.run(main())
    assert_below(traces, "produce", "start")
    assert_below(traces, "leaf", "close")
    assert traces.one("produce").metadata["outcome"] == "closed"
    assert capfd.readouterr() == ("", "")


def test_a_generator_that_is_collected_in_a_foreign_context_is_closed_there_silently(
    traces: Traces, capfd: pytest.CaptureFixture[str]
) -> None:
    @honeytrace.trace
    def produce() -> Iterator[int]:
        with honeytrace.span("around"):
            yield 1

    held: list[Iterator[int]] = []

    @honeytrace.trace
    def start() -> None:
        held.append(produce())
        next(held[0])

    @honeytrace.trace
    def drop() -> None:
        held.clear()
        gc.collect()
        leaf("after")

    contextvars.copy_context().run(start)
    contextvars.copy_context().run(drop)
    assert_below(traces, "produce", "start")
    assert_below(traces, "around", "produce")
    assert_below(traces, "leaf", "drop")
    assert capfd.readouterr() == ("", "")
    assert_nothing_current()


def test_callbacks_run_below_where_they_were_scheduled(traces: Traces) -> None:
    async def main() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        @honeytrace.trace
        def called_soon() -> None:
            leaf("soon")

        @honeytrace.trace
        def when_done(future: object) -> None:
            leaf("done")
            done.set()

        @honeytrace.trace
        async def parent() -> None:
            loop.call_soon(called_soon)
            future: asyncio.Future[None] = loop.create_future()
            future.add_done_callback(when_done)
            loop.call_later(0, future.set_result, None)

        await parent()
        await done.wait()

    asyncio.run(main())
    assert_below(traces, "called_soon", "parent")
    assert_below(traces, "when_done", "parent")
    assert len(traces.sessions) == 1


def test_the_inner_session_owns_what_is_inside_it_and_the_outer_one_the_rest(traces: Traces) -> None:
    with honeytrace.session("outer") as outer:
        leaf("first")
        with honeytrace.session("inner") as inner:
            leaf("second")
        leaf("third")
    sessions = {event.inputs["name"]: (event.session_id, event.parent_id) for event in traces}
    assert sessions == {
        "first": (outer.session_id,) * 2,
        "second": (inner.session_id,) * 2,
        "third": (outer.session_id,) * 2,
    }
    assert_nothing_current()


def test_a_session_inside_a_call_does_not_take_the_call_s_later_children(traces: Traces) -> None:
    @honeytrace.trace
    def handler() -> None:
        with honeytrace.session("other"):
            leaf("other")
        leaf("own")

    handler()
    own, other = (next(event for event in traces if event.inputs.get("name") == name) for name in ("own", "other"))
    assert own.parent_id == traces.one("handler").event_id
    assert other.session_id != own.session_id


def test_switching_contexts_by_hand_as_greenlets_do_keeps_parents_apart(traces: Traces) -> None:
    one, two = contextvars.copy_context(), contextvars.copy_context()
    first, second = honeytrace.span("one"), honeytrace.span("two")
    one.run(first.start)
    two.run(second.start)
    for _ in range(3):
        one.run(leaf, "one")
        two.run(leaf, "two")
        leaf("neither")
    two.run(second.end)
    one.run(leaf, "one")
    one.run(first.end)
    parents = {traces.one(name).event_id: name for name in ("one", "two")}
    for event in traces.named("leaf"):
        assert parents.get(event.parent_id, "neither") == event.inputs["name"]
    assert one.run(honeytrace.current_session) is two.run(honeytrace.current_session) is None


def test_a_span_ended_in_another_task_is_finished_silently_and_leaves_that_task_s_parents_alone(
    traces: Traces, capfd: pytest.CaptureFixture[str]
) -> None:
    block = honeytrace.span("shared")

    async def main() -> None:
        @honeytrace.trace
        async def opener() -> None:
            block.start()
            leaf("opener")

        @honeytrace.trace
        async def closer() -> None:
            block.end(outputs="ended")
            leaf("closer")

        await asyncio.create_task(opener())
        await asyncio.create_task(closer())

    asyncio.run(main())
    assert_below(traces, "shared", "opener")
    assert traces.one("shared").outputs == {"result": "ended"}
    parents = {event.inputs["name"]: event.parent_id for event in traces.named("leaf")}
    assert parents == {"opener": traces.one("shared").event_id, "closer": traces.one("closer").event_id}
    assert capfd.readouterr() == ("", "")


def test_a_span_that_another_thread_ends_is_not_current_there(traces: Traces) -> None:
    block = honeytrace.span("shared").start()
    in_thread(block.end)
    in_thread(leaf)
    assert traces.one("shared").parent_id == traces.one("shared").session_id
    assert_alone(traces, "leaf")


def test_a_span_left_open_by_a_call_does_not_bring_the_call_back_when_it_ends(traces: Traces) -> None:
    block = honeytrace.span("left open")

    @honeytrace.trace
    def call() -> None:
        block.start()

    call()
    assert honeytrace.current_span() is None
    block.end()
    leaf("later")
    assert_below(traces, "left open", "call")
    assert_alone(traces, "leaf")
    assert_nothing_current()


def test_spans_ended_in_the_order_they_were_started_leave_nothing_current(traces: Traces) -> None:
    first = honeytrace.span("first").start()
    second = honeytrace.span("second").start()
    first.end()
    leaf("between")
    second.end()
    leaf("after")
    assert_below(traces, "second", "first")
    parents = {event.inputs["name"]: event.parent_id for event in traces.named("leaf")}
    assert parents["between"] == second.event_id  # still running, and started last
    assert parents["after"] not in {first.event_id, second.event_id}
    assert_nothing_current()


def test_a_span_ended_inside_a_call_does_not_come_back_when_the_call_returns(traces: Traces) -> None:
    block = honeytrace.span("ended inside").start()

    @honeytrace.trace
    def call() -> None:
        block.end()
        leaf("inside")

    call()
    leaf("after")
    assert_below(traces, "call", "ended inside")
    parents = {event.inputs["name"]: event.parent_id for event in traces.named("leaf")}
    assert parents["inside"] == traces.one("call").event_id
    assert parents["after"] != block.event_id
    assert_nothing_current()


@pytest.mark.parametrize("depth", [1, 3])
def test_an_error_on_the_way_out_restores_what_was_current(traces: Traces, depth: int) -> None:
    @honeytrace.trace
    def fall(levels: int) -> None:
        if levels == 0:
            raise KeyError("bottom")
        fall(levels - 1)

    with honeytrace.span("around") as around:
        with pytest.raises(KeyError):
            fall(depth)
        leaf("after")
        current = honeytrace.current_span()
        assert current is not None
        assert current.event_id == around.event_id
    assert_below(traces, "leaf", "around")


def test_every_level_of_a_deep_recursion_is_the_child_of_the_level_above(traces: Traces) -> None:
    @honeytrace.trace
    def dig(levels: int) -> None:
        if levels:
            dig(levels - 1)

    dig(100)
    events = sorted(traces, key=lambda event: -int(event.inputs["levels"]))
    assert events[0].parent_id == events[0].session_id
    for above, below in zip(events, events[1:]):
        assert below.parent_id == above.event_id


def test_a_call_continues_the_trace_its_headers_name(traces: Traces) -> None:
    headers: dict[str, str] = {}
    with honeytrace.span("client"):
        honeytrace.inject(headers)
    with honeytrace.attach(headers):
        leaf("server")
    assert_below(traces, "leaf", "client")
    with honeytrace.attach({"baggage": "session_id=nonsense"}):
        leaf("unusable")
    assert traces.named("leaf")[1].parent_id == traces.named("leaf")[1].session_id
    assert_nothing_current()


@pytest.mark.internal_failure_expected
def test_a_sampler_that_raises_does_not_reach_who_attaches_headers() -> None:
    from honeytrace.testing import capture

    class Broken:
        def keep(self, session_id: str) -> bool:
            raise RuntimeError("sampler")

    headers: dict[str, str] = {}
    with capture(), honeytrace.span("client"):
        honeytrace.inject(headers)
    with capture(sampler=Broken()) as traces, honeytrace.attach(headers):
        leaf("server")
    assert traces.one("leaf").session_id in headers["baggage"]


def test_a_call_that_outlives_its_root_comes_after_the_session_and_does_not_repeat_it(traces: Traces) -> None:
    contexts: list[contextvars.Context] = []

    @honeytrace.trace
    def root(text: str) -> None:
        contexts.append(contextvars.copy_context())

    root("inputs")
    contexts[0].run(leaf)
    assert [record.kind for record in traces.records] == ["session", "event", "event"]
    assert_below(traces, "leaf", "root")
    # What was needed to announce the session, the inputs among it, is gone from the context that lives on.
    variable = honeytrace.default_tracer.variable
    assert contexts[0][variable][-1] == []


def test_a_session_that_is_passed_on_in_headers_is_announced_ahead_of_what_comes_back(traces: Traces) -> None:
    def server(headers: dict[str, str]) -> None:
        with honeytrace.attach(headers):
            leaf("server")

    @honeytrace.trace
    def client() -> None:
        headers: dict[str, str] = {}
        honeytrace.inject(headers)
        contextvars.Context().run(server, headers)

    client()
    assert [record.kind for record in traces.records] == ["session", "event", "event", "update"]
    assert_below(traces, "leaf", "client")


def test_current_session_can_be_enriched_from_where_nothing_is_current(traces: Traces) -> None:
    @honeytrace.trace
    def root() -> None:
        session = honeytrace.current_session()
        assert session is not None
        contextvars.Context().run(session.enrich, metadata={"user": "ada"})

    root()
    assert [record.kind for record in traces.records] == ["session", "update", "event", "update"]
    assert traces.sessions[0].metadata == {"user": "ada"}
