"""The live tree: printed when the top has finished, each event once, never in the way of the program."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from honeytrace._event import Event
from honeytrace.exporters import console
from honeytrace.exporters.console import ConsoleExporter, LiveTree
from honeytrace.protocols import Exporter

S = "session-1"


def event(event_id, parent=S, session=S, **fields):
    body = {
        "event_id": event_id,
        "session_id": session,
        "parent_id": parent,
        "event_type": "tool",
        "inputs": {},
    }
    body |= {"event_name": event_id, **fields}
    return Event("event", event_id.encode(), json.dumps(body).encode(), 0)


def session(session_id=S, **fields):
    return Event("session", session_id.encode(), json.dumps({"session_id": session_id, **fields}).encode(), 0)


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def exporter(stream):
    return ConsoleExporter(stream)


def new_lines(stream):
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return [line.rstrip() for line in text.splitlines()]


def test_the_exporter_is_one(exporter):
    assert isinstance(exporter, Exporter)


def test_nothing_is_printed_before_the_top_of_a_tree_has_finished(exporter, stream):
    exporter.export([session(session_name="chat"), event("leaf", "mid"), event("mid", "top")], 0)
    assert new_lines(stream) == []
    exporter.export([event("top")], 0)
    assert new_lines(stream) == ["chat  session-", "  tool  top", "  └─ tool  mid", "     └─ tool  leaf"]


def test_a_session_is_headed_once_while_nothing_else_comes_between(exporter, stream):
    exporter.export([session(session_name="chat"), event("a"), event("b")], 0)
    assert new_lines(stream) == ["chat  session-", "  tool  a", "  tool  b"]


def test_trees_of_two_sessions_are_told_apart_by_headings(exporter, stream):
    exporter.export([session(session_name="one"), session("other", session_name="two")], 0)
    exporter.export([event("a"), event("b", "other", "other"), event("c")], 0)
    assert new_lines(stream) == [
        "one  session-",
        "  tool  a",
        "",
        "two  other",
        "  tool  b",
        "",
        "one  session-",
        "  tool  c",
    ]


def test_a_session_that_changes_its_name_is_headed_again(exporter, stream):
    exporter.export([session(session_name="old"), event("a"), session(session_name="new"), event("b")], 0)
    assert new_lines(stream)[-2:] == ["new  session-", "  tool  b"]


def test_a_child_that_comes_late_is_printed_under_the_names_of_its_parents(exporter, stream):
    exporter.export([event("mid", "top"), event("top")], 0)
    new_lines(stream)
    exporter.export([event("leaf", "late"), event("late", "mid")], 0)
    assert new_lines(stream) == ["  top › mid ›", "    tool  late", "    └─ tool  leaf"]


def test_an_event_that_comes_twice_is_printed_once(exporter, stream):
    batch = [event("leaf", "top"), event("top")]
    exporter.export(batch + batch, 0)
    exporter.export(batch, 0)
    assert sum("leaf" in line for line in new_lines(stream)) == 1


def test_an_update_reaches_an_event_that_is_held(exporter, stream):
    update = Event("update", b"leaf", b'{"outputs": {"result": "late"}}', 0)
    exporter.export([event("leaf", "top"), update, event("top")], 0)
    assert new_lines(stream)[-1] == '  └─ tool  leaf  → "late"'


def test_close_prints_what_is_held_and_marks_it(exporter, stream):
    exporter.export([event("leaf", "mid"), event("mid", "top")], 0)
    exporter.close()
    assert new_lines(stream)[1:] == ["  tool  mid  (its caller has not finished)", "  └─ tool  leaf"]
    exporter.close()
    assert new_lines(stream) == []


def test_a_circle_of_parents_is_printed_by_close(exporter, stream):
    exporter.export([event("a", "b"), event("b", "a")], 0)
    exporter.close()
    assert sum(name in line for line in new_lines(stream) for name in ("tool  a", "tool  b")) == 2


def test_what_is_held_is_bounded_in_number_and_size():
    live = LiveTree()
    for n in range(console._MOST_HELD + 100):
        live.add({**event(f"e{n}", "never").fields(), "inputs": {"a": "x" * 10_000}}, console.Look())
    assert len(live._held) == console._MOST_HELD
    assert len(json.dumps(list(live._held.values()))) < 1000 * console._MOST_HELD
    for n in range(console._MOST_REMEMBERED + 100):
        live.add(event(f"p{n}").fields(), console.Look())
    assert len(live._printed) == console._MOST_REMEMBERED
    assert len(live._below) == 1


def test_it_writes_to_stderr_as_it_is_at_the_time(monkeypatch, stream):
    exporter = ConsoleExporter()
    monkeypatch.setattr(sys, "stderr", stream)
    exporter.export([event("a")], 0)
    assert "tool  a" in stream.getvalue()


def test_a_missing_closed_or_broken_stream_counts_as_delivered(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", None)
    ConsoleExporter().export([event("a")], 0)
    closed = io.StringIO()
    closed.close()
    ConsoleExporter(closed).export([event("a")], 0)
    read, write = os.pipe()
    os.close(read)
    broken = os.fdopen(write, "w")
    exporter = ConsoleExporter(broken)
    exporter.export([event("a")], 0)
    exporter.export([event("b")], 0)
    exporter.close()
    with pytest.raises(BrokenPipeError):
        broken.close()
    assert len([one for one in caplog.records if "console" in one.message]) <= 1


def test_colour_can_be_forced(stream):
    ConsoleExporter(stream, color=True).export([event("a")], 0)
    assert "\x1b[" in stream.getvalue()


def test_a_stream_in_another_encoding_gets_what_it_can_take():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    ConsoleExporter(stream).export([event("包", error="é")], 0)
    assert b"\\u5305" in raw.getvalue()
    assert b"\xe9" in raw.getvalue()


@pytest.mark.internal_failure_expected
def test_a_body_that_cannot_be_read_does_not_keep_others_from_being_printed(exporter, stream):
    exporter.export([Event("event", b"x", b"{", 0), event("a")], 0)
    assert new_lines(stream)[-1] == "  tool  a"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_does_not_print_what_its_parent_held(exporter, stream):
    exporter.export([event("leaf", "top")], 0)
    pid = os.fork()
    if pid == 0:
        exporter.close()
        os._exit(len(stream.getvalue()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
