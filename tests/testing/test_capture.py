"""What honeytrace ships for the tests of others: capture(), assert_tree() and the pytest fixture."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

import honeytrace
from honeytrace import Event
from honeytrace._event import FIELDS
from honeytrace.testing import Traces, assert_tree, capture, draw


@honeytrace.trace
def answer(query: str) -> str:
    search(query)
    write(query)
    return query


@honeytrace.trace(event_type="tool")
def search(query: str) -> list[str]:
    fetch(query)
    return [query]


@honeytrace.trace(event_type="tool")
def fetch(query: str) -> None:
    pass


@honeytrace.trace(event_type="model")
def write(query: str) -> str:
    return query


@honeytrace.trace
def fail() -> None:
    raise ValueError("no")


class Keeping:
    name = "keeping"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        self.events += batch

    def close(self) -> None:
        pass


def test_capture_records_into_memory_only_and_needs_no_init(private_home: Path) -> None:
    with capture() as traces:
        answer("why?")
    assert [event.event_name for event in traces] == ["fetch", "search", "write", "answer"]
    assert not private_home.exists()
    assert honeytrace.stats().recorded == 0


def test_capture_ends_with_its_block() -> None:
    with capture() as traces:
        fetch("in")
    fetch("out")
    assert len(traces) == 1


def test_capture_takes_the_place_of_what_init_set_up_and_gives_it_back() -> None:
    keeping = Keeping()
    honeytrace.init(exporters=[keeping])
    fetch("before")
    with capture() as traces:
        fetch("inside")
    fetch("after")
    honeytrace.flush()
    assert [event.inputs["query"] for event in traces] == ["inside"]
    delivered = [event.fields()["inputs"]["query"] for event in keeping.events if event.kind == "event"]
    assert delivered == ["before", "after"]


def test_capture_restores_what_was_current_and_starts_from_nothing() -> None:
    with capture() as outer, honeytrace.span("around") as around:
        with capture() as inner:
            assert honeytrace.current_span() is None
            fetch("inner")
        assert honeytrace.current_span().event_id == around.event_id  # type: ignore[union-attr]
        fetch("outer")
    assert inner.one("fetch").parent_id == inner.one("fetch").session_id
    assert outer.one("fetch").parent_id == around.event_id


def test_nested_captures_keep_their_own_events() -> None:
    with capture() as outer:
        fetch("1")
        with capture() as inner:
            fetch("2")
        fetch("3")
    assert [event.inputs["query"] for event in outer] == ["1", "3"]
    assert [event.inputs["query"] for event in inner] == ["2"]


def test_capture_restores_after_an_exception() -> None:
    with pytest.raises(ValueError):
        with capture() as traces:
            fail()
    fetch("out")
    assert [event.event_name for event in traces] == ["fail"]
    assert honeytrace.current_session() is None


def test_capture_takes_the_settings_of_a_recording() -> None:
    with capture(source="ci", redact=["query"]) as traces:
        fetch("hidden")
    assert traces[0].source == "ci"
    assert traces[0].inputs == {"query": "[redacted]"}
    with capture(redact=False) as traces:
        honeytrace.log_event("x", inputs={"password": "p"})
    assert traces[0].inputs == {"password": "p"}


def test_capture_of_another_tracer_leaves_the_default_one_alone() -> None:
    tracer = honeytrace.Tracer()

    @tracer.trace
    def theirs() -> None:
        fetch("mine")

    with capture(tracer) as other, capture() as default:
        theirs()
    assert [event.event_name for event in other] == ["theirs"]
    assert [event.event_name for event in default] == ["fetch"]


def test_capture_may_be_left_in_another_context_than_it_was_entered() -> None:
    block = capture()

    async def enter() -> Traces:
        return block.__enter__()

    async def leave() -> None:
        fetch("async")
        block.__exit__(None, None, None)

    async def main() -> Traces:
        traces = await asyncio.create_task(enter())
        await asyncio.create_task(leave())
        return traces

    traces = asyncio.run(main())
    fetch("out")
    assert [event.inputs["query"] for event in traces] == ["async"]


def test_every_field_of_the_contract_is_an_attribute_and_absent_ones_are_empty() -> None:
    with capture() as traces:
        fetch("x")
    (event,) = traces
    for name in FIELDS:
        value = getattr(event, name)
        if name in event.fields:
            assert value == event.fields[name] == event[name]
    assert (event.error, event.children_ids) == (None, None)
    assert event.config == event.metrics == event.feedback == event.metadata == event.user_properties == {}
    assert event.outputs == {"result": None}
    with pytest.raises(AttributeError, match="no field 'ouputs': expected one of event_id, "):
        event.ouputs
    assert repr(event) == "<tool 'fetch'>"


def test_traces_are_a_sequence_that_can_be_read_while_it_grows() -> None:
    with capture() as traces:
        assert (len(traces), list(traces), bool(traces)) == (0, [], False)
        answer("x")
        assert len(traces) == 4
        assert traces[-1].event_name == "answer"
        assert [event.event_name for event in traces[:2]] == ["fetch", "search"]
        assert repr(traces) == "<Traces: 4 events>"
        traces.clear()
        assert len(traces) == len(traces.sessions) == 0
        write("y")
    assert [event.event_name for event in traces] == ["write"]


def test_named_and_one_find_events_by_name_or_say_which_there_are() -> None:
    with capture() as traces:
        fetch("1")
        fetch("2")
        write("3")
    assert [event.inputs["query"] for event in traces.named("fetch")] == ["1", "2"]
    assert traces.named("nothing") == []
    assert traces.one("write").inputs == {"query": "3"}
    with pytest.raises(AssertionError, match="expected one event 'fetch', found 2; there are: fetch, write"):
        traces.one("fetch")
    with pytest.raises(AssertionError, match="expected one event 'nothing', found 0; there are: fetch, write"):
        traces.one("nothing")


def test_a_session_has_what_came_later() -> None:
    with capture() as traces:
        with honeytrace.session("chat", user_properties={"user_id": "u"}) as session:
            answer("x")
        session.enrich(feedback={"rating": 5})
    (captured,) = traces.sessions
    assert (captured.event_name, captured.event_type) == ("chat", "session")
    assert captured.event_id == captured.session_id == traces[0].session_id
    assert captured.user_properties == {"user_id": "u"}
    assert captured.feedback == {"rating": 5}
    assert captured.duration >= traces.one("answer").duration
    assert repr(captured) == "<session 'chat'>"


DRAWINGS = [
    """
    answer (chain)
    ├── search (tool)
    │   └── fetch (tool)
    └── write (model)
    fail (chain) !
    """,
    """
    answer
      search
        fetch
      write (model)
    fail !
    """,
    """
answer
|-- search
|   `-- fetch
`-- write
fail !""",
    "answer\n\tsearch\n\t\tfetch\n\twrite\n\nfail !\n",
]


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_a_drawing_matches_however_its_branches_are_drawn(drawing: str) -> None:
    with capture() as traces:
        answer("x")
        with pytest.raises(ValueError):
            fail()
    assert_tree(traces, drawing)
    assert_tree(traces, draw(traces))
    assert_tree(list(traces), drawing)


@pytest.mark.parametrize(
    "wrong",
    [
        "answer\n  search\n    fetch\n  writes\nfail !",  # a name
        "answer\n  search\n    fetch\n  write (tool)\nfail !",  # a type
        "answer\n  search\n    fetch\n  write\nfail",  # a failure left out
        "answer\n  search\n    fetch !\n  write\nfail !",  # a failure too many
        "answer\n  write\n  search\n    fetch\nfail !",  # the order of start
        "answer\n  search\n  fetch\n  write\nfail !",  # nesting too shallow
        "answer\n  search\n    fetch\n    write\nfail !",  # nesting too deep
        "answer\n  search\n    fetch\n  write",  # a line missing
        "answer\n  search\n    fetch\n  write\nfail !\nfetch",  # a line too many
        "",
    ],
)
def test_a_drawing_that_differs_is_refused_and_both_are_shown(wrong: str) -> None:
    with capture() as traces:
        answer("x")
        with pytest.raises(ValueError):
            fail()
    with pytest.raises(AssertionError) as caught:
        assert_tree(traces, wrong)
    assert wrong in str(caught.value)
    assert draw(traces) in str(caught.value)


def test_an_empty_trace_matches_an_empty_drawing() -> None:
    with capture() as traces:
        pass
    assert_tree(traces, "")


@pytest.mark.parametrize("name", ["a (b) c", "two words", "x-y", "f()", "Class.method", "é → ü", "<lambda>", "-dash"])
def test_unusual_names_can_be_drawn(name: str) -> None:
    with capture() as traces:
        with honeytrace.span(name):
            with honeytrace.span(name):
                pass
    assert_tree(traces, f"{name} (chain)\n    {name} (chain)")
    assert_tree(traces, draw(traces))


def test_hundreds_of_events_in_a_row_or_below_each_other_can_be_drawn() -> None:
    @honeytrace.trace
    def dig(levels: int) -> None:
        if levels:
            dig(levels - 1)

    with capture() as traces:
        with honeytrace.span("row"):
            for _ in range(300):
                fetch("x")
        dig(120)
    assert len(draw(traces).splitlines()) == 422


# The pytest plugin, in runs of their own


def run_pytest(folder: Path, source: str, *arguments: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(textwrap.dedent(source))
    (folder / "pytest.ini").write_text("[pytest]\n")
    loaded = [] if _is_installed() else ["-p", "honeytrace._pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *loaded, "-q", *arguments, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(honeytrace.__file__).parents[1]), *sys.path])},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def _is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(one.value == "honeytrace._pytest_plugin" for one in entry_points(group="pytest11"))


def test_the_fixture_captures_each_test_by_itself_and_fails_one_that_leaves_a_span_open(tmp_path: Path) -> None:
    code, output = run_pytest(
        tmp_path,
        """
        import honeytrace

        @honeytrace.trace
        def work(): pass

        def test_one(traces):
            work()
            assert len(traces) == 1

        def test_leaves_a_span_open(traces):
            honeytrace.span("forgotten").start()
            honeytrace.session("chat").start()

        def test_two(traces):
            work()
            assert len(traces) == 1
            assert traces[0].parent_id == traces[0].session_id

        def test_without():
            work()
            assert honeytrace.current_session() is None
        """,
    )
    assert code == 1
    assert "4 passed, 1 error" in output
    assert "ERROR at teardown of test_leaves_a_span_open" in output
    assert "the test left 2 span(s) open: 'forgotten', 'chat'" in output


def test_the_plugin_makes_no_thread_or_file_and_imports_nothing_heavy_until_it_is_used(
    tmp_path: Path, private_home: Path
) -> None:
    code, output = run_pytest(
        tmp_path,
        """
        import sys, threading

        def test_nothing_was_loaded():
            assert threading.active_count() == 1
            unwanted = {"httpx", "wrapt", "sqlite3", "honeytrace.cli", "honeytrace.exporters.local"}
            assert not unwanted & set(sys.modules)
        """,
        *[part for name in ("anyio", "hypothesispytest") for part in ("-p", f"no:{name}")],
    )
    assert code == 0, output
    assert not private_home.exists()


def test_a_run_of_pytest_that_traces_nothing_loads_neither_delivery_nor_the_snapshot(tmp_path: Path) -> None:
    code, output = run_pytest(
        tmp_path,
        """
        import sys

        def test_nothing_was_imported():
            heavy = {"_flusher", "_journal", "_snapshot", "testing", "exporters"}
            assert not {f"honeytrace.{name}" for name in heavy} & set(sys.modules)
            assert not {"httpx", "wrapt"} & set(sys.modules)
        """,
    )
    assert code == 0, output
