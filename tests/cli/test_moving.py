"""honeytrace push, export, import and prune: sessions move whole, keep their ids, and may move again."""

from __future__ import annotations

import json
import sqlite3
import time

import pytest
from cli_processes import killed, program, run, to

from honeytrace._event import FIELDS, Event
from honeytrace.exporters._store import Store
from honeytrace.exporters.local import LocalExporter

DAY = 86_400_000


def id_of(number):
    return f"{number:08x}-0000-4000-8000-000000000000"


def an_event(number, session, **fields):
    body = {"event_id": id_of(number), "session_id": id_of(session), "event_type": "tool", "inputs": {}}
    return body | {"event_name": f"step {number}", "start_time": 1000.5, "end_time": 1001.5, **fields}


def a_session(number, **fields):
    return an_event(number, number, event_type="session", event_name=f"chat {number}", **fields)


def store_of(path, *events):
    exporter = LocalExporter(path)
    records = [Event("event", one["event_id"].encode(), json.dumps(one).encode(), 0) for one in events]
    exporter.export(records, time.monotonic() + 20)
    exporter.close()
    return path


@pytest.fixture
def store(private_home):
    """The default store: two sessions of two events each, 1 older than 100."""
    return store_of(
        private_home / "traces.db",
        a_session(1, start_time=1000),
        an_event(2, 1),
        an_event(3, 1, error="KeyError: 'x'", metadata={"cost": 1.5}),
        a_session(100, start_time=2000),
        an_event(101, 100, start_time=2001, end_time=2002),
        an_event(102, 100, start_time=2002, end_time=2003),
    )


# push


def test_the_newest_session_is_pushed_with_the_same_ids_ahead_of_its_events(server, store):
    done = run("push", **to(server))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"1 session of 1 pushed to {server.url}, 2 events\n"
    assert server.order == [("session", id_of(100)), ("event", id_of(101)), ("event", id_of(102))]
    assert server.sessions[0]["session_name"] == "chat 100"
    assert [one["event_name"] for one in server.events] == ["step 101", "step 102"]
    assert server.events[0]["start_time"] == 2001


def test_sessions_can_be_named_by_the_beginning_of_their_ids(server, store):
    done = run("push", id_of(1)[:8], **to(server))
    assert done.returncode == 0
    assert set(server.event_ids()) == {id_of(2), id_of(3)}
    assert server.events[1]["error"] == "KeyError: 'x'"
    assert server.events[1]["metadata"] == {"cost": 1.5}


def test_all_are_pushed_and_pushing_again_sends_the_same(server, store):
    for times in (1, 2):
        assert run("push", "--all", **to(server)).returncode == 0
        assert set(server.event_ids().values()) == {times}
        assert len(server.event_ids()) == 4
        assert server.session_ids() == {id_of(1): times, id_of(100): times}
    # A slow server gets sessions as events: these are not counted here.
    bodies = {json.dumps(one, sort_keys=True) for one in server.events if one["event_type"] != "session"}
    assert len(bodies) == 4


def test_since_takes_sessions_that_were_active_lately(server, store):
    now = time.time() * 1000
    store_of(store, an_event(4, 1, start_time=now - 3_000_000, end_time=now - 2_900_000))
    assert run("push", "--since", "2h", **to(server)).returncode == 0
    assert set(server.session_ids()) == {id_of(1)}
    assert run("push", "--since", "1m", **to(server)).stdout.startswith("No sessions to push")


def test_what_a_session_cannot_carry_is_put_after_it_and_roll_ups_stay_here(server, private_home):
    fields = {"feedback": {"rating": 5}, "metrics": {"m": 1}, "metadata": {"cost": 9, "mine": 1}, "error": "E"}
    store_of(private_home / "traces.db", a_session(1, **fields), an_event(2, 1))
    assert run("push", **to(server)).returncode == 0
    assert server.sessions[0]["metadata"] == {"mine": 1, "error": "E"}
    assert server.updates == [(id_of(1), {"feedback": {"rating": 5}, "metrics": {"m": 1}})]


def test_a_push_is_cut_by_bytes_and_arrives_whole(server, private_home):
    events = [an_event(n, 1, inputs={"text": "x" * 60_000}) for n in range(2, 252)]
    store_of(private_home / "traces.db", a_session(1), *events)
    done = run("push", **to(server))
    assert done.returncode == 0
    assert sorted(server.event_ids().values()) == [1] * 250
    assert 4 <= len([one for one in server.requests if one.path == "/v1/events/batch"]) <= 12
    assert max(one.size for one in server.requests) < 3_600_000


def test_an_event_that_is_refused_is_named_and_its_neighbours_arrive(server, store):
    server.mode("poison", marker="step 2")
    done = run("push", "--all", **to(server))
    assert done.returncode == 1
    assert done.stderr.startswith(f"refused: event {id_of(2)}: HTTP 400")
    assert set(server.event_ids()) == {id_of(3), id_of(101), id_of(102)}


def test_a_server_that_is_down_is_exit_code_1_and_a_repeat_completes(server, store):
    server.mode("status", status=503)
    done = run("push", "--all", "--timeout", "3", **to(server))
    assert done.returncode == 1
    assert "0 sessions of 2 pushed" in done.stdout
    assert "not all of it arrived: HTTP 503" in done.stderr
    server.mode("ok")
    assert run("push", "--all", **to(server)).returncode == 0
    assert len(server.event_ids()) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("push",), "push needs the key of a HoneyHive project: HH_API_KEY or --api-key"),
        (("push", "zzz", "--api-key", "k"), "no session begins with 'zzz' in "),
        (("push", "zzz", "--all"), "give sessions, --all or --since, one of them"),
        (("export", "zzz"), "no session begins with 'zzz' in "),
        (("import", "/no/such/file"), "/no/such/file: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(store, arguments, message):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"honeytrace: {message}")
    assert len(done.stderr.splitlines()) == 1


# export and import

HARD = {
    "text": 'line\nbreaks, "quotes", é 漢 🎉, \u2028, \x00 and \ud800 alone',
    "numbers": [0.1, 1e300, -0.0, 2**63, 10**40, 1.0],
    "deep": {"a": [{"b": [[]]}]},
    "null": None,
}


def test_export_writes_one_event_per_line_in_the_fields_of_the_contract(store):
    done = run("export")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["event_id"] for one in events] == [id_of(n) for n in (1, 2, 3, 100, 101, 102)]
    for one in events:
        assert [field for field in FIELDS if field in one] == list(one)
    only = run("export", id_of(100)[:8]).stdout.splitlines()
    assert [json.loads(line)["event_id"] for line in only] == [id_of(n) for n in (100, 101, 102)]


def test_a_round_trip_is_exact_and_may_be_repeated(store, tmp_path):
    store_of(store, an_event(4, 1, inputs=HARD, outputs={"result": HARD}, children_ids=["x"], duration=0.25))
    file, copy = tmp_path / "all.jsonl", tmp_path / "copy.db"
    done = run("export", "-o", file)
    assert done.stdout == f"2 sessions exported to {file}, 7 lines.\n"
    assert file.stat().st_mode & 0o77 == 0
    for _ in range(2):
        done = run("import", file, "--store", copy)
        assert (done.returncode, done.stdout) == (0, f"7 events imported into {copy}.\n")
    assert run("export", "--store", copy, "-o", tmp_path / "again.jsonl").returncode == 0
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()
    with Store(store) as one, Store(copy) as other:
        assert one.session(id_of(1)) == other.session(id_of(1))
    assert run("show", id_of(1)[:8], "--store", copy, "--full").stdout == run("show", id_of(1)[:8], "--full").stdout


def test_export_pipes_into_import(store, tmp_path):
    exported = run("export").stdout
    done = run("import", "-", "--store", tmp_path / "copy.db", input=exported)
    assert done.returncode == 0
    assert run("export", "--store", tmp_path / "copy.db").stdout == exported


BAD = {
    "not json": "no JSON: Expecting value at column 1",
    "[]": "no JSON object",
    "[" * 100_000: "nested too deep",
    json.dumps(an_event(1, 1) | {"secret": 1}): "unknown field 'secret'",
    json.dumps(an_event(1, 1) | {"event_type": "llm"}): "event_type must be one of chain, model, tool, session",
    json.dumps(an_event(1, 1) | {"event_id": 7}): "event_id must be a lower-case UUID",
    json.dumps(an_event(1, 1) | {"session_id": ""}): "session_id must be a lower-case UUID",
    json.dumps(an_event(1, 1) | {"inputs": None}): "inputs is missing",
    json.dumps(an_event(1, 1) | {"outputs": []}): "outputs must be an object",
    json.dumps(an_event(1, 1) | {"start_time": "2026"}): "start_time must be a number",
    json.dumps(an_event(1, 1) | {"duration": True}): "duration must be a number",
    json.dumps(an_event(1, 1) | {"inputs": {"n": float("nan")}}): "NaN is no number in JSON",
}


def test_lines_that_are_no_events_are_reported_by_number_and_the_others_imported(tmp_path):
    deep = json.dumps(an_event(8, 7, inputs={"deep": 1})).replace('{"deep": 1}', '{"a":' * 5000 + "1" + "}" * 5000)
    lines = [json.dumps(an_event(8, 7)), *BAD, "", deep.replace(id_of(8), id_of(10)), json.dumps(an_event(9, 7))]
    done = run("import", "-", "--store", tmp_path / "t.db", input="\n".join(lines))
    assert done.returncode == 1
    complaints = done.stderr.splitlines()
    for number, (complaint, reason) in enumerate(zip(complaints, BAD.values()), 2):
        assert complaint.startswith(f"line {number}: {reason}"), complaint
    (last,) = complaints[len(BAD) :]
    assert last.startswith(f"line {len(BAD) + 3}: ")
    assert done.stdout == f"2 events imported into {tmp_path / 't.db'}, {len(BAD) + 1} lines skipped.\n"
    with Store(tmp_path / "t.db") as store:
        assert [one["event_id"] for one in store.session(id_of(7))] == [id_of(8), id_of(9)]


def test_an_empty_store_exports_nothing_and_says_so(private_home):
    done = run("export")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"No sessions in {private_home / 'traces.db'}.\n"


# prune


def test_prune_deletes_sessions_whose_last_event_is_old_and_frees_the_space(private_home):
    now, path = time.time() * 1000, private_home / "traces.db"
    old, edge, late = now - 40 * DAY, now - 31 * DAY, now - 29 * DAY
    times = {"start_time": old, "end_time": old}
    many = [an_event(n, 1, inputs={"text": "x" * 5000}, **times) for n in range(1000, 1200)]
    store_of(path, a_session(1, **times), *many)
    store_of(path, a_session(2, **times), an_event(3, 2, start_time=old, end_time=edge))
    store_of(path, a_session(4, **times), an_event(5, 4, start_time=old, end_time=late))
    store_of(path, a_session(6, start_time=0, end_time=0))
    size = path.stat().st_size
    said = run("prune", "--older-than", "30d", "--dry-run").stdout
    assert said == f"2 sessions with 201 events would be deleted from {path}.\n"
    assert len(json.loads(run("sessions", "--json").stdout)) == 4
    done = run("prune", "--older-than", "30d")
    assert done.returncode == 0
    assert done.stdout.startswith(f"2 sessions with 201 events deleted from {path}, ")
    assert path.stat().st_size < size / 4
    assert {one["session_id"] for one in json.loads(run("sessions", "--json").stdout)} == {id_of(4), id_of(6)}
    assert run("prune", "--older-than", "4w").stdout.startswith("1 session with 1 event deleted")
    assert run("prune", "--older-than", "1s").stdout == f"Nothing in {path} is that old.\n"


def test_prune_while_somebody_reads_deletes_all_the_same(private_home):
    path = store_of(private_home / "traces.db", a_session(1), an_event(2, 1))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    done = run("prune", "--older-than", "1d")
    reader.close()
    assert done.returncode == 0
    assert done.stdout.startswith("1 session with 1 event deleted")
    assert run("sessions", "--json").stdout == "[]\n"


def test_prune_leaves_journals_alone(private_home, server):
    killed(3, **to(server))
    store_of(private_home / "traces.db", a_session(1), an_event(2, 1))
    assert run("prune", "--older-than", "1d").returncode == 0
    assert run("flush", **to(server)).returncode == 0
    assert len(server.event_ids()) == 3


def test_prune_of_a_store_that_is_not_there_makes_none(private_home):
    done = run("prune", "--older-than", "30d")
    assert (done.returncode, private_home.exists()) == (0, False)


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1y", "1.5d", ""])
def test_an_age_that_is_none_is_refused(age):
    done = run("prune", "--older-than", age)
    assert done.returncode == 2
    assert "must be a number with s, m, h, d or w, like 30d" in done.stderr or "expected one argument" in done.stderr


# what killed programs left


@pytest.mark.parametrize("command", [("sessions",), ("show",), ("export",)])
def test_the_calls_of_a_killed_program_are_there(command):
    killed(3)
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "chat" in done.stdout


def test_the_calls_of_a_killed_program_are_pushed_too(server):
    killed(3)
    assert run("push", **to(server)).returncode == 0
    assert len(server.event_ids()) == 3


def test_the_calls_of_a_killed_program_reach_the_store_they_were_meant_for(tmp_path):
    path = tmp_path / "other.db"
    code = "from honeytrace.exporters.local import LocalExporter;"
    code += f"honeytrace.init(exporters=[LocalExporter({str(path)!r})]); calls(2, 'elsewhere'); os._exit(0)"
    program(code)
    assert run("sessions").stdout.startswith("No sessions")
    assert "elsewhere" in run("sessions", "--store", path).stdout
