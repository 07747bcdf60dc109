"""Spans and sessions opened by hand, what is added to them, and which sessions are kept."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import honeytrace
from honeytrace import ConfigError, Event, TraceError
from honeytrace.sampling import RateSampler
from honeytrace.testing import Traces, assert_tree, capture

FIELDS = "metadata, metrics, feedback, config, user_properties, outputs, error"


@honeytrace.trace
def leaf(name: str = "") -> str:
    return name


@honeytrace.trace(event_type="tool")
def root(question: str) -> str:
    leaf("inside")
    return question.upper()


def kinds(traces: Traces) -> list[tuple[str, str]]:
    """Kind, and name or id, of every record in the order submitted."""
    return [(record.kind, record.fields().get("event_name", record.event_id)) for record in traces.records]


# Spans


def test_a_span_records_what_it_was_given(traces: Traces) -> None:
    with honeytrace.span(
        "plan", event_type="llm", inputs={"goal": "tea"}, config={"model": "m"}, metadata={"k": [1, 2]}
    ) as span:
        assert (span.event_name, span.event_type) == ("plan", "model")
        span.enrich(outputs={"steps": 3}, metrics={"score": 0.5})
    (event,) = traces
    assert event.event_id == span.event_id
    assert event.session_id == span.session_id
    assert event.event_type == "model"
    assert event.inputs == {"goal": "tea"}
    assert event.config == {"model": "m"}
    assert event.metadata == {"k": [1, 2]}
    assert event.outputs == {"steps": 3}
    assert event.metrics == {"score": 0.5}
    assert event.source == "test"


def test_a_span_around_async_code_is_current_in_it(traces: Traces) -> None:
    async def main() -> None:
        async with honeytrace.span("block") as span:
            await asyncio.sleep(0)
            assert honeytrace.current_span().event_id == span.event_id  # type: ignore[union-attr]
            leaf()

    asyncio.run(main())
    assert_tree(traces, "block\n    leaf")


def test_a_span_as_a_decorator_records_every_call_with_the_function_s_own_inputs(traces: Traces) -> None:
    @honeytrace.span("add", event_type="tool", metadata={"version": 2})
    def plus(a: int, b: int = 1) -> int:
        return a + b

    @honeytrace.span("later")
    async def wait(value: int) -> int:
        await asyncio.sleep(0)
        return value

    assert plus(1) == 2
    assert plus(2, b=3) == 5
    assert asyncio.run(wait(4)) == 4
    assert asyncio.iscoroutinefunction(wait)
    first, second = traces.named("add")
    assert (first.inputs, second.inputs) == ({"a": 1, "b": 1}, {"a": 2, "b": 3})
    assert first.event_type == "tool"
    assert first.metadata == {"version": 2}
    assert traces.one("later").outputs == {"result": 4}


def test_a_span_by_hand_is_current_between_start_and_end(traces: Traces) -> None:
    span = honeytrace.span("manual")
    assert span.event_id == ""
    assert span.start() is span
    leaf()
    span.end(outputs=[1, 2])
    leaf()
    assert_tree(traces, "manual\n    leaf\nleaf")
    assert traces.one("manual").outputs == {"result": [1, 2]}


def test_starting_a_running_span_again_changes_nothing(traces: Traces) -> None:
    span = honeytrace.span("twice").start()
    first = span.event_id
    span.start()
    span.end()
    assert traces.one("twice").event_id == first == span.event_id


def test_end_takes_a_text_or_an_exception_as_error(traces: Traces) -> None:
    honeytrace.span("text").start().end(error="ran dry")
    honeytrace.span("exception").start().end(outputs={"partial": 1}, error=ValueError("broke"))
    assert traces.one("text").error == "ran dry"
    assert traces.one("exception").error == "ValueError: broke"
    assert traces.one("exception").outputs == {"partial": 1}


def test_a_span_used_again_after_its_end_is_another_event(traces: Traces) -> None:
    span = honeytrace.span("again", inputs={"a": 1})
    for number in (1, 2):
        with span:
            span.enrich(metadata={"number": number})
    first, second = traces.named("again")
    assert first.event_id != second.event_id
    assert (first.metadata, second.metadata) == ({"number": 1}, {"number": 2})


def test_enriching_while_a_span_runs_merges_key_by_key_and_the_last_value_wins(traces: Traces) -> None:
    with honeytrace.span("block", metadata={"a": 0, "b": 0}) as span:
        span.enrich(metadata={"b": 1, "c": 1}).enrich(metadata={"c": 2}, feedback={"rating": 5})
        honeytrace.enrich_span(user_properties={"user_id": "u"}, config={"temperature": 0})
    (event,) = traces
    assert event.metadata == {"a": 0, "b": 1, "c": 2}
    assert event.feedback == {"rating": 5}
    assert event.user_properties == {"user_id": "u"}
    assert event.config == {"temperature": 0}
    assert [record.kind for record in traces.records] == ["session", "event"]


def test_what_is_added_is_a_snapshot(traces: Traces) -> None:
    values = {"list": [1]}
    with honeytrace.span("block", inputs=values) as span:
        span.enrich(metadata=values)
        values["list"].append(2)
    assert traces[0].inputs == traces[0].metadata == {"list": [1]}


def test_enriching_a_finished_span_is_an_update_of_its_event(traces: Traces) -> None:
    with honeytrace.span("block", metadata={"a": 1}) as span:
        pass
    span.enrich(feedback={"rating": 1}, metadata={"b": 2}, error="wrong after all")
    assert kinds(traces)[-1] == ("update", span.event_id)
    assert traces.records[-1].fields() == {
        "feedback": {"rating": 1},
        "metadata": {"b": 2, "error": "wrong after all"},  # the contract: error itself can never change
    }
    assert traces.one("block").metadata == {"a": 1, "b": 2, "error": "wrong after all"}


def test_enriching_a_span_that_was_never_started_raises_nothing(traces: Traces) -> None:
    honeytrace.span("unused").enrich(metadata={"a": 1}).end()
    assert traces.records == []


def test_enrichment_goes_to_the_innermost_span(traces: Traces) -> None:
    with honeytrace.span("outer"):
        honeytrace.enrich_span(metadata={"at": "outer"})
        with honeytrace.span("inner"):
            honeytrace.enrich_span(metadata={"at": "inner"})
        honeytrace.enrich_span(metrics={"after": 1})
    assert traces.one("outer").fields["metadata"] == {"at": "outer"}
    assert traces.one("outer").metrics == {"after": 1}
    assert traces.one("inner").metadata == {"at": "inner"}
    assert "metrics" not in traces.one("inner").fields


def test_outputs_added_to_a_call_stand_beside_its_result(traces: Traces) -> None:
    @honeytrace.trace
    def answer() -> str:
        honeytrace.enrich_span(outputs={"role": "assistant"})
        return "yes"

    answer()
    assert traces[0].outputs == {"result": "yes", "role": "assistant"}


@pytest.mark.parametrize("event_type", ["chain", "model", "tool", "session"])
def test_a_call_of_any_type_keeps_what_is_added_while_it_runs(traces: Traces, event_type: str) -> None:
    @honeytrace.trace(event_type=event_type)
    def typed() -> None:
        honeytrace.enrich_span(metadata={"a": 1})

    typed()
    assert traces.one("typed").metadata == {"a": 1}
    assert "update" not in {record.kind for record in traces.records}


def test_metadata_that_is_no_object_is_kept_under_value(traces: Traces) -> None:
    with honeytrace.span("block") as span:
        span.enrich(metadata="a note", metrics=0.7)
    assert traces[0].metadata == {"value": "a note"}
    assert traces[0].metrics == {"value": 0.7}


@pytest.mark.parametrize(
    "enrich",
    [
        lambda span: span.enrich(metdata={}),
        lambda span: honeytrace.enrich_span(metdata={}),
        lambda span: honeytrace.enrich_session(metdata={}),
        lambda span: honeytrace.current_session().enrich(metdata={}),  # type: ignore[union-attr]
    ],
)
def test_a_field_with_another_name_is_refused_and_the_right_ones_are_named(traces: Traces, enrich: Any) -> None:
    with honeytrace.span("block") as span:
        with pytest.raises(TraceError) as caught:
            enrich(span)
    assert str(caught.value) == f"unknown field 'metdata': expected {FIELDS}"
    assert len(traces) == 1


def test_an_unknown_event_type_is_refused_naming_the_four() -> None:
    for use in (honeytrace.span, lambda *given: honeytrace.log_event(given[0], event_type=given[1])):
        with pytest.raises(TraceError, match="'chain', 'model', 'tool', 'session'.*not 'agnt'"):
            use("x", "agnt")  # type: ignore[operator]


def test_secrets_given_to_spans_and_sessions_are_replaced(traces: Traces) -> None:
    with honeytrace.session("s", inputs={"password": "hunter2"}, user_properties={"api_key": "hunter2"}) as session:
        session.enrich(metadata={"deep": {"secret": "hunter2"}})
        with honeytrace.span("block", inputs={"token": "hunter2"}) as span:
            span.enrich(metadata={"authorization": "hunter2", "prompt_tokens": 3})
        span.enrich(feedback={"password": "hunter2"})
        honeytrace.log_event("l", inputs={"cookie": "hunter2"}, outputs={"secret": "hunter2"})
    assert b"hunter2" not in b"".join(record.body for record in traces.records)
    assert traces.one("block").metadata["prompt_tokens"] == 3


def test_enriching_outside_any_span_says_so_once_and_raises_nothing(
    traces: Traces, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="honeytrace"):
        for _ in range(3):
            honeytrace.enrich_span(metadata={"a": 1})
            honeytrace.enrich_session(metadata={"a": 1})
    assert [message.partition("(")[0] for message in caplog.messages] == ["enrich_span", "enrich_session"]
    assert "outside any span" in caplog.messages[0]
    assert traces.records == []


def test_current_span_is_the_innermost_running_one(traces: Traces) -> None:
    @honeytrace.trace("tool")
    def call() -> None:
        current = honeytrace.current_span()
        assert current is not None
        assert (current.event_name, current.event_type) == ("call", "tool")
        current.enrich(metadata={"id": current.event_id, "session": current.session_id})

    assert honeytrace.current_span() is None
    call()
    event = traces.one("call")
    assert event.metadata == {"id": event.event_id, "session": event.session_id}
    assert honeytrace.current_span() is None


def test_a_span_object_kept_from_inside_a_call_works_from_another_thread_and_after_it(traces: Traces) -> None:
    kept: list[honeytrace.Span] = []

    @honeytrace.trace
    def call() -> None:
        current = honeytrace.current_span()
        assert current is not None
        kept.append(current)
        thread = threading.Thread(target=lambda: current.enrich(metadata={"from": "thread"}))
        thread.start()
        thread.join()

    call()
    kept[0].enrich(feedback={"rating": 4})
    assert traces.one("call").metadata == {"from": "thread"}
    assert traces.one("call").feedback == {"rating": 4}


def test_a_running_span_that_is_updated_by_its_id_takes_it_along(traces: Traces) -> None:
    with honeytrace.span("block") as span:
        honeytrace.update_event(span.event_id, metadata={"a": 1}, outputs={"x": 1})
        assert traces.records == []
    assert (traces.one("block").metadata, traces.one("block").outputs) == ({"a": 1}, {"x": 1})


def test_a_running_session_that_is_updated_by_its_id_is_so_at_once(traces: Traces) -> None:
    with honeytrace.session("s") as session:
        honeytrace.update_event(session.session_id, metadata={"a": 1})
        assert traces.sessions[0].metadata == {"a": 1}


def test_an_event_can_be_updated_from_anywhere_by_its_id(traces: Traces) -> None:
    leaf()
    event_id = traces[0].event_id
    thread = threading.Thread(target=lambda: honeytrace.update_event(event_id, feedback={"rating": 5}))
    thread.start()
    thread.join()
    assert traces[0].feedback == {"rating": 5}
    with pytest.raises(ConfigError, match="event_id must be a lower-case UUID, not 'x'"):
        honeytrace.update_event("x", feedback={})
    with pytest.raises(TraceError, match="unknown field 'error'"):
        honeytrace.update_event(event_id, error="no")


# Sessions


def test_a_root_call_is_a_session_named_after_it_with_its_inputs_and_outputs(traces: Traces) -> None:
    @honeytrace.trace(event_type="tool")
    def alone(question: str) -> str:
        return question.upper()

    alone("why?")
    (event,), (session,) = traces, traces.sessions
    assert kinds(traces) == [("session", session.session_id), ("event", "alone")]
    assert (session.event_name, session.event_type) == ("alone", "session")
    assert session.session_id == event.session_id == event.parent_id != event.event_id
    assert session.inputs == event.inputs == {"question": "why?"}
    assert session.outputs == event.outputs == {"result": "WHY?"}
    assert (session.start_time, session.end_time) == (event.start_time, event.end_time)
    assert session.duration == event.duration
    assert session.source == "test"


def test_a_root_call_with_children_is_announced_before_the_first_of_them_and_completed_at_its_end(
    traces: Traces,
) -> None:
    root("why?")
    (session,) = traces.sessions
    assert kinds(traces) == [
        ("session", session.session_id),
        ("event", "leaf"),
        ("event", "root"),
        ("update", session.session_id),
    ]
    announced = traces.records[0].fields()
    assert announced["session_name"] == "root"
    assert announced["inputs"] == {"question": "why?"}
    assert "outputs" not in announced
    assert "end_time" not in announced
    assert session.outputs == traces.one("root").outputs == {"result": "WHY?"}
    assert session.end_time == traces.one("root").end_time


def test_a_root_call_that_fails_completes_its_session(traces: Traces) -> None:
    @honeytrace.trace
    def fail() -> None:
        leaf()
        raise ValueError

    with pytest.raises(ValueError):
        fail()
    (session,) = traces.sessions
    assert session.end_time == traces.one("fail").end_time


def test_a_session_is_announced_when_it_starts_and_completed_when_it_ends(traces: Traces) -> None:
    with honeytrace.session(
        "support chat", inputs={"topic": "tea"}, user_properties={"user_id": "u1"}, metadata={"k": 1}, config={"c": 2}
    ) as session:
        assert [record.kind for record in traces.records] == ["session"]
        announced = traces.records[0].fields()
        leaf("one")
        session.end(outputs={"solved": True})
    assert announced == {
        "session_id": session.session_id,
        "session_name": "support chat",
        "source": "test",
        "start_time": announced["start_time"],
        "inputs": {"topic": "tea"},
        "user_properties": {"user_id": "u1"},
        "metadata": {"k": 1},
        "config": {"c": 2},
    }
    assert kinds(traces) == [("session", session.session_id), ("event", "leaf"), ("update", session.session_id)]
    update = traces.records[-1].fields()
    assert set(update) == {"end_time", "duration", "outputs"}
    assert update["outputs"] == {"solved": True}
    (captured,) = traces.sessions
    assert captured.start_time <= traces[0].start_time <= traces[0].end_time <= captured.end_time
    assert traces[0].parent_id == traces[0].session_id == session.session_id == session.event_id


def test_the_session_s_record_comes_before_everything_in_it(traces: Traces) -> None:
    root("a")
    with honeytrace.session("s"):
        root("b")
    honeytrace.log_event("logged")

    @honeytrace.trace
    def early() -> None:
        honeytrace.enrich_session(metadata={"a": 1})
        honeytrace.log_event("child")

    early()
    announced: set[str] = set()
    for record in traces.records:
        fields = record.fields()
        if record.kind == "session":
            announced.add(fields["session_id"])
        elif record.kind == "event":
            assert fields["session_id"] in announced
    assert len(announced) == 4


def test_a_session_takes_enrichment_from_its_object_and_from_deep_inside(traces: Traces) -> None:
    @honeytrace.trace
    def deep(levels: int) -> None:
        if levels:
            return deep(levels - 1)
        honeytrace.enrich_session(metadata={"deep": True}, feedback={"rating": 4})
        session = honeytrace.current_session()
        assert session is not None
        session.enrich(metrics={"score": 1})

    with honeytrace.session("s", metadata={"a": 1}) as session:
        session.enrich(user_properties={"user_id": "u"}, outputs={"answer": 42})
        deep(3)
        honeytrace.enrich_span(metadata={"direct": 1})  # no span here: the session itself
    session.enrich(feedback={"ground_truth": "x"})
    (captured,) = traces.sessions
    assert captured.metadata == {"a": 1, "deep": True, "direct": 1}
    assert captured.feedback == {"rating": 4, "ground_truth": "x"}
    assert captured.metrics == {"score": 1}
    assert captured.user_properties == {"user_id": "u"}
    assert captured.outputs == {"answer": 42}
    assert all(event.metadata == {} for event in traces)


@pytest.mark.parametrize("end", ["returns", "returns a dict", "is enriched", "fails", "yields"])
def test_outputs_given_to_the_session_of_a_root_call_outlast_its_result(end: str, traces: Traces) -> None:
    @honeytrace.trace
    def root() -> Any:
        honeytrace.enrich_session(outputs={"answer": 42, "note": "first"})
        honeytrace.enrich_session(outputs={"note": "second"})
        if end == "is enriched":
            honeytrace.enrich_span(metadata={"a": 1})
        if end == "fails":
            raise ValueError("no result")
        return {"rows": 3} if end == "returns a dict" else 7

    @honeytrace.trace
    def stream() -> Any:
        honeytrace.enrich_session(outputs={"answer": 42, "note": "second"})
        yield 1

    if end == "yields":
        list(stream())
    elif end == "fails":
        with pytest.raises(ValueError):
            root()
    else:
        root()
    given = {"answer": 42, "note": "second"}
    result = {"fails": {}, "yields": {"result": [1]}, "returns a dict": {"rows": 3}}.get(end, {"result": 7})
    assert traces.sessions[0].outputs == {**result, **given}
    assert traces[0].outputs == (None if end == "fails" else result)


def test_outputs_given_to_one_session_stay_out_of_the_next(traces: Traces) -> None:
    @honeytrace.trace
    def child() -> None: ...

    @honeytrace.trace
    def root(say: bool) -> int:
        child()
        if say:
            honeytrace.current_session().enrich(outputs={"said": True})  # type: ignore[union-attr]
        return 7

    root(True)
    root(False)
    assert [session.outputs for session in traces.sessions] == [{"result": 7, "said": True}, {"result": 7}]


def test_enriching_the_session_of_a_root_call_announces_it_first(traces: Traces) -> None:
    @honeytrace.trace
    def call() -> str:
        honeytrace.enrich_session(user_properties={"user_id": "u"})
        return "done"

    call()
    (session,) = traces.sessions
    assert [record.kind for record in traces.records] == ["session", "update", "event", "update"]
    assert session.user_properties == {"user_id": "u"}
    assert session.outputs == {"result": "done"}


@pytest.mark.parametrize("wrong", ["chat-1", "", str(uuid.uuid4()).upper(), uuid.uuid4().hex, uuid.uuid4(), 7])
def test_a_session_id_that_is_no_lower_case_uuid_is_refused(traces: Traces, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="session_id must be a lower-case UUID"):
        honeytrace.session("s", session_id=wrong)
    assert traces.records == []


def test_a_session_that_exists_is_joined_by_its_id(traces: Traces) -> None:
    chosen = str(uuid.uuid4())
    for number in (1, 2):
        with honeytrace.session("chat", session_id=chosen, metadata={f"turn{number}": True}) as session:
            assert session.session_id == chosen
            leaf(str(number))
    assert [event.session_id for event in traces] == [chosen] * 2
    (captured,) = traces.sessions
    assert captured.metadata == {"turn1": True, "turn2": True}


def test_the_session_name_setting_names_root_calls_sessions_and_logged_events() -> None:
    with capture(session_name="nightly") as traces:
        leaf("alone")
        root("with children")
        with honeytrace.session():
            pass
        with honeytrace.session("own name"):
            pass
        honeytrace.log_event("logged")
    names = [session.event_name for session in traces.sessions]
    assert names == ["nightly", "nightly", "nightly", "own name", "nightly"]
    assert [event.event_name for event in traces] == ["leaf", "leaf", "root", "logged"]
    assert all(session.end_time for session in traces.sessions)


def test_an_exception_inside_a_session_is_in_its_metadata_and_passes_through(traces: Traces) -> None:
    error = ValueError("broke")
    with pytest.raises(ValueError) as caught:
        with honeytrace.session("s"):
            leaf()
            raise error
    assert caught.value is error
    (session,) = traces.sessions
    assert session.metadata["error"] == "ValueError: broke"
    assert "raise error" in session.metadata["traceback"]
    assert session.end_time >= traces[0].end_time


def test_an_async_session_covers_the_tasks_started_in_it(traces: Traces) -> None:
    async def work() -> None:
        leaf()

    async def main() -> str:
        async with honeytrace.session("s") as session:
            await asyncio.gather(work(), work())
        return session.session_id

    session_id = asyncio.run(main())
    assert [event.parent_id for event in traces] == [session_id] * 2


def test_a_session_is_no_decorator() -> None:
    with pytest.raises(TraceError, match="not a decorator"):
        honeytrace.session("s")(leaf)


# Sampling


class Only:
    """Keeps what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def keep(self, session_id: str) -> bool:
        self.asked.append(session_id)
        return self.answers[len(self.asked) - 1]


def test_sampling_keeps_or_drops_whole_sessions_and_asks_once_for_each() -> None:
    sampler = Only(False, True, False, True)
    with capture(sampler=sampler) as traces:
        root("dropped")
        root("kept")
        with honeytrace.session("dropped") as dropped:
            root("dropped")
            dropped.enrich(metadata={"a": 1})
            honeytrace.enrich_span(metadata={"a": 1})
            honeytrace.enrich_session(metadata={"a": 1})
            assert honeytrace.log_event("dropped") is None
            assert honeytrace.current_span() is None
        with honeytrace.session("kept"):
            root("kept")
    assert [event.event_name for event in traces] == ["leaf", "root"] * 2
    assert {session.event_name for session in traces.sessions} == {"root", "kept"}
    assert len(traces.sessions) == 2
    assert len(sampler.asked) == 4
    assert [session.session_id for session in traces.sessions] == [sampler.asked[1], sampler.asked[3]]


def test_a_logged_event_outside_any_session_is_sampled_like_any_other() -> None:
    with capture(sampler=Only(False, True)) as traces:
        assert honeytrace.log_event("dropped") is None
        assert honeytrace.log_event("kept") is not None
    assert [event.event_name for event in traces] == ["kept"]


def test_the_rate_sampler_decides_by_the_id_alone_and_keeps_about_its_share() -> None:
    ids = [str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)) for number in range(2000)]
    kept = {name for name in ids if RateSampler(0.25).keep(name)}
    assert kept == {name for name in ids if RateSampler(0.25).keep(name)}
    assert kept < {name for name in ids if RateSampler(0.5).keep(name)}
    assert 400 < len(kept) < 600
    assert not any(RateSampler(0).keep(name) for name in ids)
    assert all(RateSampler(1).keep(name) for name in [*ids, "f" * 8])


@pytest.mark.internal_failure_expected
def test_a_sampler_that_raises_keeps_the_session() -> None:
    class Broken:
        def keep(self, session_id: str) -> bool:
            raise RuntimeError("sampler")

    with capture(sampler=Broken()) as traces:
        root("kept")
        with honeytrace.session("s"):
            leaf()
    assert [event.event_name for event in traces] == ["leaf", "root", "leaf"]


# Events logged after the fact


def test_a_logged_event_has_the_times_it_was_given(traces: Traces) -> None:
    start = datetime(2025, 1, 2, 3, 4, 5, 123457, tzinfo=timezone.utc)
    end = start + timedelta(seconds=1, microseconds=1)
    honeytrace.log_event("datetimes", start_time=start, end_time=end)
    honeytrace.log_event("seconds", start_time=start.timestamp(), end_time=end.timestamp())
    for event in traces:
        assert event.start_time == 1735787045123.457
        assert event.end_time == 1735787046123.458
        assert event.duration == 1000.001


@pytest.mark.parametrize("session_name", [None, "imported"])
def test_an_event_of_a_far_future_is_delivered(session_name: str | None) -> None:
    class Keeping:
        name = "keeping"

        def export(self, batch: Sequence[Event], deadline: float) -> None:
            kept.extend(batch)

        def close(self) -> None:
            pass

    kept: list[Event] = []
    honeytrace.init(exporters=[Keeping()], session_name=session_name)
    event_id = honeytrace.log_event("far", start_time=99_999_999_999)  # seconds: more nanoseconds than 63 bits hold
    assert honeytrace.flush(10)
    assert [event.event_id for event in kept if event.kind == "event"] == [event_id]
    assert {event.fields().get("start_time") for event in kept} - {None} == {99_999_999_999_000}


def test_a_logged_event_that_names_one_time_takes_none(traces: Traces) -> None:
    honeytrace.log_event("now")
    honeytrace.log_event("ended", end_time=1000.0)
    honeytrace.log_event("starts later", start_time=4e9)
    honeytrace.log_event("point", start_time=1000.0, end_time=1000.0)
    for event in traces:
        assert event.duration == event.end_time - event.start_time == 0


def test_a_logged_event_is_the_child_of_what_is_current(traces: Traces) -> None:
    with honeytrace.session("s"):
        with honeytrace.span("block"):
            given = honeytrace.log_event(
                "retrieval",
                event_type="retriever",
                inputs={"query": "tea"},
                outputs=["a", "b"],
                error="half of it",
                config={"k": 2},
                metadata={"index": "main"},
                metrics={"recall": 0.5},
                feedback={"rating": 3},
                user_properties={"user_id": "u"},
            )
    event = traces.one("retrieval")
    assert event.event_id == given
    assert event.parent_id == traces.one("block").event_id
    assert event.event_type == "tool"
    assert event.outputs == {"result": ["a", "b"]}
    assert event.error == "half of it"
    assert (event.config, event.metadata, event.metrics) == ({"k": 2}, {"index": "main"}, {"recall": 0.5})
    assert (event.feedback, event.user_properties) == ({"rating": 3}, {"user_id": "u"})


def test_a_logged_event_outside_any_session_is_a_session(traces: Traces) -> None:
    honeytrace.log_event("alone", inputs={"a": 1}, outputs={"b": 2})
    (session,) = traces.sessions
    assert session.event_name == "alone"
    assert (session.inputs, session.outputs) == ({"a": 1}, {"b": 2})
    assert traces[0].parent_id == traces[0].session_id == session.session_id


# Suppression


def test_nothing_is_recorded_under_suppress_and_everything_after_it(traces: Traces) -> None:
    with honeytrace.span("block"):
        with honeytrace.suppress():
            root("no")
            with honeytrace.span("no") as span:
                span.enrich(metadata={"a": 1})
                leaf("no")
            with honeytrace.suppress():
                leaf("no")
            leaf("no")
            honeytrace.enrich_span(metadata={"no": 1})
            honeytrace.enrich_session(metadata={"no": 1})
            assert honeytrace.log_event("no") is None
            assert honeytrace.current_span() is None
            assert honeytrace.current_session() is None
            assert span.event_id == ""
        leaf("yes")
    assert_tree(traces, "block\n    leaf")
    assert traces.one("block").metadata == {}
    assert traces.one("leaf").inputs == {"name": "yes"}


def test_a_session_opened_under_suppress_is_suppressed(traces: Traces) -> None:
    with honeytrace.suppress():
        with honeytrace.session("no") as session:
            leaf("no")
            session.enrich(metadata={"a": 1})
    assert traces.records == []


def test_headers_attached_under_suppress_do_not_end_it(traces: Traces) -> None:
    headers: dict[str, str] = {}
    with honeytrace.span("client"):
        honeytrace.inject(headers)
    with honeytrace.suppress():
        with honeytrace.attach(headers):
            leaf("no")
    assert [event.event_name for event in traces] == ["client"]


def test_suppress_covers_async_code_and_the_tasks_started_in_it(traces: Traces) -> None:
    @honeytrace.trace
    async def work() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        async with honeytrace.suppress():
            await asyncio.gather(work(), work())
            task = asyncio.create_task(work())
        await task
        await work()

    asyncio.run(main())
    assert len(traces) == 1


def test_a_generator_started_under_suppress_stays_suppressed_and_others_are_not_touched(traces: Traces) -> None:
    @honeytrace.trace
    def produce(name: str) -> Iterator[int]:
        yield 1
        leaf(name)
        yield 2

    with honeytrace.suppress():
        quiet = produce("quiet")
        next(quiet)
    loud = produce("loud")
    next(loud)
    with honeytrace.suppress():
        list(loud)
    assert_tree(traces, "produce\n    leaf")
    assert traces.one("produce").inputs == {"name": "loud"}
    quiet.close()


def test_one_suppression_can_be_entered_more_than_once(traces: Traces) -> None:
    quiet = honeytrace.suppress()
    with quiet:
        with quiet:
            leaf("no")
        leaf("no")
    leaf("yes")
    assert [event.inputs["name"] for event in traces] == ["yes"]


def test_all_methods_of_spans_and_sessions_are_safe_while_tracing_is_off() -> None:
    with honeytrace.span("off", inputs={"a": 1}) as span:
        span.enrich(metadata={"a": 1}).start().end(outputs=1)
    with honeytrace.session("off", metadata={"a": 1}) as session:
        session.enrich(metadata={"a": 1})
        assert session.session_id == session.event_id == ""
    assert honeytrace.log_event("off") is None
    assert honeytrace.span("off")(leaf)("x") == "x"
    honeytrace.update_event(str(uuid.uuid4()), feedback={"rating": 1})
    assert "not recorded" in repr(span)
