"""The merging rules of the contract, one test per sentence, through exporter and store."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from honeytrace._event import Event
from honeytrace.exporters._store import Store
from honeytrace.exporters.local import LocalExporter

SESSION = "5e551011-0000-4000-8000-000000000001"
EVENT = "e0e0e0e0-0000-4000-8000-000000000001"


def event(event_id=EVENT, **fields):
    body = {
        "event_id": event_id,
        "session_id": SESSION,
        "event_type": "tool",
        "event_name": "search",
        "inputs": {"q": 1},
        "start_time": 1763940000123.123,
        **fields,
    }
    return Event("event", event_id.encode(), json.dumps(body).encode(), 0)


def session(**fields):
    return Event("session", SESSION.encode(), json.dumps({"session_id": SESSION, **fields}).encode(), 0)


def update(event_id=EVENT, **fields):
    return Event("update", event_id.encode(), json.dumps(fields).encode(), 0)


@pytest.fixture(params=["one batch", "a batch each"])
def stored(request, tmp_path: Path):
    """Export records and return the event of an id as the store has it."""
    path = tmp_path / "t.db"
    exporter = LocalExporter(path)

    def run(*records, event_id=EVENT):
        batches = [records] if request.param == "one batch" else [[record] for record in records]
        for batch in batches:
            exporter.export(batch, time.monotonic() + 5)
        with Store(path) as store:
            return next(one for one in store.session(SESSION) if one["event_id"] == event_id)

    yield run
    exporter.close()


def stored_session(stored, *records):
    return stored(*records, event_id=SESSION)


@pytest.mark.parametrize("field", ["metadata", "feedback", "metrics", "config", "user_properties"])
def test_an_update_merges_this_field_key_by_key(stored, field):
    found = stored(event(**{field: {"a": 1, "b": {"x": 1}}}), update(**{field: {"b": {"y": 2}, "c": 3}}))
    assert found[field] == {"a": 1, "b": {"y": 2}, "c": 3}


def test_an_update_replaces_outputs(stored):
    assert stored(event(outputs={"a": 1}), update(outputs={"b": 2}))["outputs"] == {"b": 2}


def test_null_outputs_keep_what_is_there(stored):
    assert stored(event(outputs={"a": 1}), update(outputs=None))["outputs"] == {"a": 1}


def test_an_update_sets_duration_end_time_and_children(stored):
    found = stored(event(duration=1), update(duration=2.5, end_time=7, children_ids=["x"]))
    assert (found["duration"], found["end_time"], found["children_ids"]) == (2.5, 7, ["x"])


@pytest.mark.parametrize(
    "field",
    ["inputs", "error", "event_name", "event_type", "start_time", "parent_id", "session_id", "source"],
)
def test_an_update_cannot_change_this_field(stored, field):
    before = json.loads(event().body).get(field)
    assert stored(event(), update(**{field: "changed"})).get(field) == before


def test_an_update_that_comes_first_waits_for_its_event(stored):
    found = stored(update(metadata={"a": 2}, outputs={"late": 1}), event(metadata={"a": 1, "b": 1}, outputs={}))
    assert found["metadata"] == {"a": 2, "b": 1}
    assert found["outputs"] == {"late": 1}
    assert found["inputs"] == {"q": 1}


def test_two_updates_that_come_first_are_both_kept(stored):
    found = stored(update(feedback={"rating": 1}), update(feedback={"rating": 5, "note": "x"}), event())
    assert found["feedback"] == {"rating": 5, "note": "x"}


def test_a_waiting_update_is_in_no_session_and_no_change(tmp_path):
    exporter = LocalExporter(tmp_path / "t.db")
    exporter.export([update(metadata={"a": 1})], time.monotonic() + 5)
    exporter.close()
    with Store(tmp_path / "t.db") as store:
        assert store.sessions() == []
        cursor, changes = store.changes_since(0)
        assert (cursor, changes) == (1, [])


def test_a_repeated_event_does_not_undo_its_update(stored):
    found = stored(event(metadata={"a": 1}), update(metadata={"a": 2}, outputs={"b": 1}), event(metadata={"a": 1}))
    assert found["metadata"] == {"a": 2}
    assert found["outputs"] == {"b": 1}


def test_records_sent_twice_leave_the_same_store_as_once(stored):
    records = [
        session(session_name="chat", start_time=1, metadata={"s": 1}),
        event(metadata={"a": 1}),
        update(metadata={"b": 2}),
        update(SESSION, metadata={"t": 1}, duration=5),
    ]
    once = stored(*records), stored_session(stored, *records)
    twice = stored(*records, *records), stored_session(stored, *records)
    assert once == twice


def test_a_session_becomes_an_event_of_type_session(stored):
    found = stored_session(stored, session(session_name="chat", source="dev", start_time=1.5, inputs={"a": 1}))
    assert found == {
        "event_id": SESSION,
        "session_id": SESSION,
        "event_type": "session",
        "event_name": "chat",
        "source": "dev",
        "start_time": 1.5,
        "inputs": {"a": 1},
    }


@pytest.mark.parametrize("field", ["metadata", "user_properties"])
def test_a_repeated_session_merges_this_field(stored, field):
    found = stored_session(stored, session(**{field: {"a": 1, "b": 1}}), session(**{field: {"b": 2}}))
    assert found[field] == {"a": 1, "b": 2}


def test_a_repeated_session_fills_and_updates_the_other_fields_it_gives(stored):
    found = stored_session(
        stored,
        session(session_name="old", source="dev", outputs={"a": 1}),
        session(session_name="new", duration=3),
    )
    assert (found["event_name"], found["source"], found["duration"]) == ("new", "dev", 3)
    assert found["outputs"] == {"a": 1}


def test_a_repeated_session_without_a_name_keeps_the_name(stored):
    assert stored_session(stored, session(session_name="chat"), session(duration=3))["event_name"] == "chat"


def test_a_session_is_updated_by_its_id(stored):
    found = stored_session(stored, session(session_name="chat"), update(SESSION, outputs={"x": 1}, duration=9))
    assert (found["outputs"], found["duration"], found["event_type"]) == ({"x": 1}, 9, "session")


def test_an_update_that_comes_before_its_session_stays_on_top(stored):
    found = stored_session(stored, update(SESSION, metadata={"a": 2}), session(metadata={"a": 1, "b": 1}))
    assert found["metadata"] == {"a": 2, "b": 1}


def test_numbers_beyond_64_bits_and_lone_surrogates_survive_a_merge(stored):
    huge = 2**80
    found = stored(event(metadata={"n": huge, "s": "\ud800"}), update(metadata={"m": 1}))
    assert found["metadata"] == {"n": huge, "s": "\ud800", "m": 1}
