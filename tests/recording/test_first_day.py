"""What a first user trips over: tracing that is off, headers of any kind, odd settings, and starting again midway."""

from __future__ import annotations

import asyncio
import builtins
import logging
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import honeytrace
from honeytrace import ConfigError, Event
from honeytrace.exporters._store import Store
from honeytrace.testing import Traces, capture

CHECKOUT = Path(honeytrace.__file__).parents[1]


class Keeping:
    def __init__(self, name: str = "keeping") -> None:
        self.name = name
        self.events: list[Event] = []

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        self.events += batch

    def close(self) -> None:
        pass

    def fields(self, name: str) -> dict[str, Any]:
        """The fields of the only event of this name."""
        every = [event.fields() for event in self.events if event.kind == "event"]
        (found,) = [fields for fields in every if fields["event_name"] == name]
        return found


class Never:
    def keep(self, session_id: str) -> bool:
        return False


@honeytrace.trace
def leaf(value: object = None) -> object:
    return value


def run(script: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a file, or the text of a program, in a process of its own."""
    given = [str(script)] if isinstance(script, Path) else ["-c", textwrap.dedent(script)]
    return subprocess.run(
        [sys.executable, "-X", "utf8", *given],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environ},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


# The id of a span that is not recorded

UNRECORDED: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "off": nullcontext,
    "suppressed": honeytrace.suppress,
    "sampled out": lambda: capture(sampler=Never()),
}


@pytest.mark.parametrize("how", UNRECORDED)
def test_feedback_for_a_span_that_was_not_recorded_does_nothing(how: str) -> None:
    keeping = Keeping()
    if how != "off":
        honeytrace.init(exporters=[keeping])
    with UNRECORDED[how]() as block:
        with honeytrace.span("block") as span:
            pass
        assert span.event_id == ""
        honeytrace.update_event(span.event_id, feedback={"rating": 5})
    honeytrace.flush()
    assert keeping.events == []
    assert not isinstance(block, Traces) or block.records == []


def test_the_id_of_an_unrecorded_span_makes_no_update_while_tracing_is_on(traces: Traces) -> None:
    honeytrace.update_event("", feedback={"rating": 5})
    assert traces.records == []


@pytest.mark.parametrize("wrong", ["x", " ", None, "AAAA0000-0000-4000-8000-000000000001"])
def test_a_wrong_event_id_is_refused_whether_tracing_is_on_or_off(wrong: Any) -> None:
    for block in (nullcontext(), capture()):
        with block, pytest.raises(ConfigError, match="event_id must be a lower-case UUID"):
            honeytrace.update_event(wrong, feedback={"rating": 5})


def test_the_example_of_blocks_runs_with_tracing_disabled() -> None:
    example = CHECKOUT / "examples" / "context_blocks.py"
    if not example.exists():
        pytest.skip("the examples are not beside this installation")
    done = run(example, HH_DISABLE_TRACING="1")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


# Starting and stopping while something is open


def test_a_span_open_across_init_is_delivered_to_the_new_exporter_below_its_parent() -> None:
    old, new = Keeping("old"), Keeping("new")
    honeytrace.init(exporters=[old])
    with honeytrace.span("outer") as outer:
        with honeytrace.span("open") as span:
            honeytrace.init(exporters=[new])
            leaf()
    honeytrace.flush()
    assert [event for event in old.events if event.kind == "event"] == []
    assert new.fields("leaf")["parent_id"] == span.event_id
    assert new.fields("open")["parent_id"] == outer.event_id
    assert new.fields("outer")["parent_id"] == new.fields("leaf")["session_id"] == outer.session_id


def test_a_span_open_across_several_inits_is_delivered_to_the_last_exporter() -> None:
    keeping = [Keeping("first"), Keeping("second"), Keeping("third")]
    honeytrace.init(exporters=keeping[:1])
    with honeytrace.span("open") as span:
        honeytrace.init(exporters=keeping[1:2])
        honeytrace.init(exporters=keeping[2:])
    honeytrace.flush()
    assert keeping[2].fields("open")["event_id"] == span.event_id


def test_a_session_open_across_init_is_completed_at_the_new_exporter() -> None:
    old, new = Keeping("old"), Keeping("new")
    honeytrace.init(exporters=[old])
    with honeytrace.session("open") as session:
        honeytrace.init(exporters=[new])
        leaf()
    honeytrace.flush()
    assert new.fields("leaf")["parent_id"] == new.fields("leaf")["session_id"] == session.session_id
    (update,) = [event for event in new.events if event.kind == "update"]
    assert update.event_id == session.session_id
    assert update.fields()["duration"] >= 0


def test_spans_open_across_shutdown_are_kept_for_the_next_process() -> None:
    for kill in ("", "os._exit(0)"):
        done = run(f"""
            import os, honeytrace
            honeytrace.init(session_name="open {kill}")
            with honeytrace.session("outermost"), honeytrace.span("outer"), honeytrace.span("inner"):
                honeytrace.shutdown()
            {kill}
        """)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    honeytrace.init()
    assert honeytrace.flush(10)
    with Store() as store:
        for summary in store.sessions(10):
            names = [event["event_name"] for event in store.session(summary.session_id)]
            assert {"outer", "inner"} < set(names)
        assert len(store.sessions(10)) == 2


def test_spans_open_across_shutdown_without_files_are_lost_with_one_warning_and_no_exception(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeping = Keeping()
    honeytrace.init(exporters=[keeping])
    with caplog.at_level(logging.WARNING, logger="honeytrace"):
        with honeytrace.session("outermost"), honeytrace.span("outer"), honeytrace.span("inner"):
            honeytrace.shutdown()
    assert caplog.messages == ["a span that was open at shutdown() ended after it: its event is lost"]
    assert [event for event in keeping.events if event.kind == "event"] == []


def test_a_span_open_across_init_and_shutdown_is_lost_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    honeytrace.init(exporters=[Keeping("old")])
    with caplog.at_level(logging.WARNING, logger="honeytrace"), honeytrace.span("open"):
        honeytrace.init(exporters=[Keeping("new")])
        honeytrace.shutdown()
    assert caplog.messages == ["a span that was open at shutdown() ended after it: its event is lost"]


# A program under test that sets itself up


def test_a_captured_program_that_calls_init_is_captured_and_writes_no_file(traces: Traces, private_home: Path) -> None:
    honeytrace.init(exporters=["local"])
    leaf("captured")
    honeytrace.flush()
    assert traces.one("leaf").inputs == {"value": "captured"}
    assert not private_home.exists()


def test_a_captured_program_that_calls_shutdown_is_captured_to_its_end(traces: Traces) -> None:
    honeytrace.shutdown()
    leaf("captured")
    assert traces.one("leaf").inputs == {"value": "captured"}


def test_what_init_had_set_up_goes_on_after_a_captured_program_called_init_and_shutdown() -> None:
    keeping, theirs = Keeping(), Keeping("theirs")
    honeytrace.init(exporters=[keeping])
    with capture() as traces:
        honeytrace.init(exporters=[theirs])
        leaf("inside")
        honeytrace.shutdown()
        with capture():
            honeytrace.shutdown()
        honeytrace.shutdown()
        leaf("inside")
    with honeytrace.span("around"):
        leaf("after")
    honeytrace.flush()
    assert [event.inputs["value"] for event in traces] == ["inside", "inside"]
    assert keeping.fields("leaf")["inputs"] == {"value": "after"}
    assert theirs.events == []


@pytest.mark.parametrize(
    "wrong",
    [{"sample_rate": 2}, {"enabled": "no"}, {"exporters": ["nowhere"]}, {"sampler": 1}, {"max_event_bytes": 1}],
    ids=str,
)
def test_wrong_settings_of_a_captured_program_are_refused(traces: Traces, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        honeytrace.init(**wrong)


# Warnings


def test_warnings_reach_stderr_once_per_kind_where_logging_is_not_configured() -> None:
    done = run("""
        import honeytrace
        honeytrace.init()
        for _ in range(3):
            honeytrace.enrich_span(metadata={"a": 1})
            honeytrace.enrich_session(metadata={"a": 1})
            with honeytrace.attach(7):
                pass
    """)
    assert (done.returncode, done.stdout) == (0, "")
    said = done.stderr.splitlines()
    assert [line.split()[0] for line in said] == ["enrich_span()", "enrich_session()", "failed"]
    assert said[2].startswith("failed while reading headers: TypeError")


# Blocks in generators that are closed


def stream() -> Iterator[int]:
    with honeytrace.span("block"):
        yield 1
        yield 2


async def astream() -> AsyncIterator[int]:
    async with honeytrace.span("block"):
        yield 1
        yield 2


@pytest.mark.parametrize("decorated", [True, False])
def test_a_block_in_a_generator_that_is_closed_ends_as_closed(decorated: bool, traces: Traces) -> None:
    steps: Any = (honeytrace.trace(stream) if decorated else stream)()
    assert next(steps) == 1
    steps.close()
    assert len(traces) == 1 + decorated
    assert [(event.metadata.get("outcome"), event.error) for event in traces] == [("closed", None)] * len(traces)
    assert "traceback" not in traces.one("block").metadata


@pytest.mark.parametrize("decorated", [True, False])
def test_a_block_in_an_async_generator_that_is_closed_ends_as_closed(decorated: bool, traces: Traces) -> None:
    async def main() -> None:
        steps: Any = (honeytrace.trace(astream) if decorated else astream)()
        assert await steps.__anext__() == 1
        await steps.aclose()

    asyncio.run(main())
    assert len(traces) == 1 + decorated
    assert [(event.metadata.get("outcome"), event.error) for event in traces] == [("closed", None)] * len(traces)
    assert "traceback" not in traces.one("block").metadata


def test_a_session_in_a_generator_that_is_closed_has_no_error(traces: Traces) -> None:
    def steps() -> Iterator[int]:
        with honeytrace.session("s"):
            yield 1

    running = steps()
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert traces.sessions[0].metadata == {}
    assert traces.sessions[0].duration >= 0


def test_a_generator_exit_that_a_plain_function_raises_is_its_error(traces: Traces) -> None:
    @honeytrace.trace
    def raises() -> None:
        raise GeneratorExit("by hand")

    with pytest.raises(GeneratorExit):
        raises()
    assert traces.one("raises").error == "GeneratorExit: by hand"
    assert "outcome" not in traces.one("raises").metadata


# Headers


@pytest.mark.internal_failure_expected
@pytest.mark.parametrize("headers", [None, "x", 7, [1], [("a",)], object()], ids=repr)
def test_headers_that_are_none_at_all_change_nothing_and_raise_nothing(traces: Traces, headers: Any) -> None:
    with honeytrace.attach(headers):
        leaf()
    assert traces.one("leaf").parent_id == traces.one("leaf").session_id


@pytest.mark.parametrize("names", [("Baggage", "Traceparent"), ("BAGGAGE", "traceparent")])
def test_headers_that_are_there_in_other_letters_are_written_to_not_beside(
    traces: Traces, names: tuple[str, str]
) -> None:
    headers = {names[0]: "tenant=acme", names[1]: "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    with honeytrace.session("s") as session:
        honeytrace.inject(headers)
    assert set(headers) == set(names)
    assert headers[names[0]].startswith("tenant=acme,session_id=")
    with honeytrace.attach(headers), honeytrace.span("there"):
        pass
    assert traces.one("there").session_id == session.session_id


def test_several_lines_of_baggage_are_read_as_one(traces: Traces) -> None:
    session = str(uuid.uuid4())
    headers = [(b"baggage", b"tenant=acme"), (b"Baggage", f"session_id={session}".encode())]
    with honeytrace.attach(headers), honeytrace.span("there"):  # type: ignore[arg-type]
        pass
    assert traces.one("there").session_id == session


def test_enrichment_bit_by_bit_is_bounded_as_a_whole(traces: Traces) -> None:
    with honeytrace.span("greedy") as span:
        for number in range(60):
            span.enrich(metadata={f"page_{number}": f"{number}" * 48_000}, error="still said")
    honeytrace.update_event(
        span.event_id,
        **{field: {f"{n}": "x" * 90_000 for n in range(6)} for field in ("metadata", "metrics", "feedback", "outputs")},
    )
    event = traces.one("greedy")
    assert len(event.metadata) == 66
    assert "characters" in event.metadata["page_7"]
    assert event.error == "still said"
    sizes = {record.kind: len(record.body) for record in traces.records}
    assert max(sizes["root"] if "root" in sizes else sizes["event"], sizes["update"]) < 1_100_000, sizes


@pytest.mark.parametrize("baggage", ["", "session_id", "session_id=", "session_id=x,parent_id=y", "=,;,", "\xff\x00"])
def test_headers_with_wrong_ids_change_nothing(traces: Traces, baggage: str) -> None:
    with honeytrace.attach({"baggage": baggage}):
        leaf()
    session = traces.one("leaf").session_id
    assert traces.one("leaf").parent_id == session == str(uuid.UUID(session))


def test_a_wrong_parent_id_leaves_the_session(traces: Traces) -> None:
    session = str(uuid.uuid4())
    with honeytrace.attach({"baggage": f"session_id={session},parent_id=nonsense"}):
        leaf()
    assert traces.one("leaf").parent_id == traces.one("leaf").session_id == session


FORMS: dict[str, Callable[[dict[str, str]], Any]] = {
    "mapping": dict,
    "letter case": lambda headers: {name.title(): value for name, value in headers.items()},
    "pairs": lambda headers: [("accept", "*/*"), *headers.items()],
    "tuples": lambda headers: tuple(headers.items()),
    "bytes": lambda headers: {name.encode(): value.encode() for name, value in headers.items()},
    "ASGI": lambda headers: [(name.encode(), value.encode()) for name, value in headers.items()],
    "ASGI lists": lambda headers: [[name.upper().encode(), value.encode()] for name, value in headers.items()],
}


@pytest.mark.parametrize("form", FORMS)
def test_headers_are_read_in_every_form_servers_give_them_in(traces: Traces, form: str) -> None:
    headers: dict[str, str] = {}
    with honeytrace.span("client") as client:
        honeytrace.inject(headers)
    with honeytrace.attach(FORMS[form](headers)):
        leaf()
    assert traces.one("leaf").parent_id == client.event_id
    assert traces.one("leaf").session_id == client.session_id


def test_a_session_that_is_not_kept_is_handed_on_and_not_recorded_by_the_next_service() -> None:
    headers: dict[str, str] = {}
    with capture(sampler=Never()), honeytrace.span("client"):
        honeytrace.inject(headers)
    assert headers["traceparent"].endswith("-00")
    onward: dict[str, str] = {}
    with capture() as traces:
        with honeytrace.attach(headers), honeytrace.span("server"):
            leaf()
            honeytrace.inject(onward)
        assert traces.records == []
        leaf("after")
    assert len(traces) == 1
    assert onward["traceparent"].endswith("-00")
    assert onward["traceparent"][:35] == headers["traceparent"][:35]


def test_a_session_that_is_kept_is_handed_on_as_kept(traces: Traces) -> None:
    headers: dict[str, str] = {}
    with honeytrace.span("client"):
        honeytrace.inject(headers)
    assert headers["traceparent"].endswith("-01")


def test_nothing_is_written_into_headers_under_suppress(traces: Traces) -> None:
    headers = {"accept": "*/*", "baggage": "theirs=1"}
    with honeytrace.span("client"), honeytrace.suppress():
        honeytrace.inject(headers)
    assert headers == {"accept": "*/*", "baggage": "theirs=1"}


# Tracebacks


def members_fail() -> None:
    found: list[Exception] = []
    for kind in (KeyError, OSError):
        try:
            raise kind(f"member {kind.__name__}")
        except Exception as error:
            found.append(error)
    raise vars(builtins)["ExceptionGroup"]("both", found)  # Python 3.10 has none


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_the_members_of_an_exception_group_are_in_the_traceback(traces: Traces) -> None:
    with pytest.raises(Exception, match="both"):
        honeytrace.trace(members_fail)()
    (event,) = traces
    assert event.error == "ExceptionGroup: both (2 sub-exceptions)"
    text = event.metadata["traceback"]
    assert "exception 1 of the group" in text
    assert "KeyError: 'member KeyError'" in text
    assert "OSError: member OSError" in text
    assert text.count('raise kind(f"member {kind.__name__}")') == 2


@honeytrace.trace
def inner_fails() -> None:
    raise ValueError("deep")  # the line that fails


@honeytrace.trace
def outer_fails() -> None:
    inner_fails()  # the line that calls


@honeytrace.trace
async def awaits_what_fails() -> None:
    outer_fails()  # the line that awaits


@honeytrace.trace
def yields_and_fails() -> Iterator[int]:
    yield 1
    outer_fails()  # the line that goes on


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (outer_fails, "# the line that calls"),
        (lambda: asyncio.run(awaits_what_fails()), "# the line that awaits"),
        (lambda: list(yields_and_fails()), "# the line that goes on"),
    ],
    ids=["call", "coroutine", "generator"],
)
def test_recorded_tracebacks_show_the_users_lines_and_no_frame_of_ours(
    call: Callable[[], object], line: str, traces: Traces
) -> None:
    with pytest.raises(ValueError, match="deep"):
        call()
    assert len(traces) >= 2
    for event in traces:
        text = event.metadata["traceback"]
        assert "# the line that fails" in text
        assert "<honeytrace" not in text
        assert f"{os.sep}honeytrace{os.sep}_" not in text
    assert line in traces[-1].metadata["traceback"]


# Settings and arguments


@pytest.mark.parametrize("wrong", ["no", "", 0, 1])
def test_enabled_that_is_no_bool_is_refused_with_its_name(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=f"enabled must be True or False, not {wrong!r}"):
        honeytrace.init(exporters=[Keeping()], enabled=wrong)


def test_a_tracer_says_where_its_events_go_and_keeps_the_key_to_itself(private_home: Path) -> None:
    assert repr(honeytrace.Tracer()) == "<Tracer, off>"
    assert repr(honeytrace.init()) == f"<Tracer, to local ({private_home / 'traces.db'})>"
    tracer = honeytrace.init("hh_key", server_url="http://me:hunter2@127.0.0.1:9/", exporters=["honeyhive", "console"])
    assert repr(tracer) == "<Tracer, to honeyhive (http://127.0.0.1:9), console>"
    assert repr(honeytrace.init(exporters=[])) == "<Tracer, to nowhere>"
    honeytrace.shutdown()
    assert repr(tracer) == "<Tracer, off>"
    honeytrace.init(exporters=["local"])
    with capture():
        assert repr(tracer) == "<Tracer, to a capture>"


@pytest.mark.parametrize("url", ["localhost:8310", "127.0.0.1:8310", "api.example.com", "//host", "user:hunter2@host"])
def test_a_server_url_without_a_scheme_is_refused_with_what_is_missing(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        honeytrace.init("hh_key", server_url=url)
    assert str(caught.value) == (
        "server_url must be like https://host or http://host:port/path; it does not begin with http:// or https://"
    )


@pytest.mark.parametrize("field", ["start_time", "end_time"])
@pytest.mark.parametrize(
    "wrong", ["yesterday", float("nan"), float("inf"), 1_763_940_000_123, -1.0, True, b"1"], ids=repr
)
def test_a_time_that_is_no_number_of_seconds_is_refused_and_shown(traces: Traces, field: str, wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        honeytrace.log_event("x", **{field: wrong})
    assert str(caught.value) == f"a time must be a datetime or a number of seconds since the epoch, not {wrong!r}"
    assert traces.records == []


BEFORE = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (1000.0, 999.0),
        (1000.000002, 1000.000001),
        (4e9, BEFORE),
        (BEFORE, 0),
        (BEFORE, BEFORE - timedelta(minutes=1)),
        (4e9, None),
    ],
    ids=repr,
)
def test_an_end_before_the_start_is_recorded_and_told_once(
    traces: Traces, caplog: pytest.LogCaptureFixture, start: Any, end: Any
) -> None:
    with caplog.at_level(logging.WARNING, logger="honeytrace"):
        for _ in range(3):
            honeytrace.log_event("x", start_time=start, end_time=end)
    assert [event.duration for event in traces.named("x")] == [0, 0, 0]
    ended = "now" if end is None else repr(end)
    told = f"log_event('x'): end_time {ended} is before start_time {start!r}; recorded as if it took no time"
    assert caplog.messages == [told]


def test_a_wrong_time_is_refused_while_tracing_is_off_too() -> None:
    with pytest.raises(ConfigError, match="'yesterday'"):
        honeytrace.log_event("x", start_time="yesterday")  # type: ignore[arg-type]


def test_the_event_type_of_a_logged_event_may_come_second(traces: Traces) -> None:
    honeytrace.log_event("x", "llm")
    assert traces.one("x").event_type == "model"


@pytest.mark.parametrize("expected", [[KeyError], (KeyError,), KeyError, [OSError, KeyError]], ids=repr)
def test_expected_exceptions_may_be_a_list(traces: Traces, expected: Any) -> None:
    @honeytrace.trace(expected=expected)
    def lookup() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError):
        lookup()
    assert traces.one("lookup").error is None


def test_an_exporter_whose_export_is_a_coroutine_function_is_refused_by_name() -> None:
    class Waiting:
        name = "waiting"

        async def export(self, batch: Sequence[Event], deadline: float) -> None:
            pass

        def close(self) -> None:
            pass

    with pytest.raises(ConfigError, match=r"export\(\) of exporter 'waiting' must be a plain function"):
        honeytrace.init(exporters=[Waiting()])  # type: ignore[list-item]
