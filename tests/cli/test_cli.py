"""The honeytrace command, run as users run it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_processes import killed, program

import honeytrace
from honeytrace._event import FIELDS, Event
from honeytrace.exporters.local import LocalExporter

ONE = "aaaa0000-0000-4000-8000-000000000001"
TWO = "aaaa1111-0000-4000-8000-000000000002"


def event(session, event_id, parent=None, **fields):
    body = {"event_id": event_id, "session_id": session, "parent_id": parent or session, "event_type": "tool"}
    body |= {"event_name": event_id, "inputs": {}, "start_time": 1763940000123.5, "duration": 12, **fields}
    return Event("event", event_id.encode(), json.dumps(body).encode(), 0)


def session(session_id, name, start):
    body = {"session_id": session_id, "session_name": name, "start_time": start, "duration": 3400}
    return Event("session", session_id.encode(), json.dumps(body).encode(), 0)


def export(path, *records):
    exporter = LocalExporter(path)
    exporter.export(records, time.monotonic() + 5)
    exporter.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "t.db"
    export(
        path,
        session(ONE, "older chat", 1763940000000),
        session(TWO, "newer chat", 1763940001000),
        event(ONE, "search", error="KeyError: 'x'"),
        event(TWO, "answer", event_type="chain", outputs={"result": "yes"}),
        event(
            TWO,
            "ask",
            "answer",
            event_type="model",
            metadata={"total_tokens": 1234, "traceback": "Trace\n  b"},
        ),
    )
    return path


def command(*arguments, **environ):
    settings = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    settings |= {"TZ": "UTC", "PYTHONIOENCODING": "utf-8", **environ}
    return [sys.executable, "-m", "honeytrace.cli", *map(str, arguments)], settings


def start(*arguments, stderr=None, **environ):
    """Start the command as a terminal would: with Ctrl-C in force, also where this run was started to ignore it."""
    _, settings = command(**environ)
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += "from honeytrace import cli; sys.exit(cli.main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8", env=settings)


def run(*arguments, **environ):
    line, settings = command(*arguments, **environ)
    return subprocess.run(line, capture_output=True, encoding="utf-8", timeout=20, env=settings)


def test_sessions_are_listed_newest_first(store):
    done = run("sessions", "--store", store)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ID        STARTED              DURATION  EVENTS  ERRORS  TOKENS  NAME",
        "aaaa1111  2025-11-23 23:20:01     3.4 s       2       -   1,234  newer chat",
        "aaaa0000  2025-11-23 23:20:00     3.4 s       1       1       -  older chat",
    ]


def test_the_list_of_sessions_can_be_limited_and_read_by_programs(store):
    done = run("sessions", "--store", store, "--limit", "1", "--json")
    (found,) = json.loads(done.stdout)
    assert (found["session_id"], found["name"], found["events"], found["tokens"]) == (
        TWO,
        "newer chat",
        2,
        1234,
    )


def test_show_draws_the_newest_session(store):
    done = run("show", "--store", store, COLUMNS="60")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "newer chat  aaaa1111 · 23:20:01                        3.4 s",
        '└─ chain answer  → "yes"                               12 ms',
        "   └─ model ask  1,234 tokens                          12 ms",
    ]


def test_show_finds_a_session_by_the_beginning_of_its_id(store):
    assert "KeyError: 'x'" in run("show", "aaaa0", "--store", store).stdout


def test_show_json_is_one_document_in_the_form_of_the_contract(store):
    document = json.loads(run("show", TWO, "--json", "--store", store).stdout)
    assert document["session_id"] == TWO
    assert {one["event_id"] for one in document["events"]} == {TWO, "answer", "ask"}
    for one in document["events"]:
        assert [field for field in FIELDS if field in one] == list(one)


def test_show_full_includes_data_and_traceback(store):
    text = run("show", "--full", "--store", store).stdout
    assert "result: yes" in text
    assert "traceback:\n" in text
    assert "total_tokens: 1234" in text


@pytest.mark.parametrize(
    ("wanted", "message"), [("zzz", "no session begins with 'zzz'"), ("aaaa", "'aaaa' is ambiguous")]
)
def test_a_bad_session_id_is_exit_code_2_and_said_on_stderr(store, wanted, message):
    done = run("show", wanted, "--store", store)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"honeytrace: {message}")


@pytest.mark.parametrize("name", ["sessions", "show"])
def test_an_empty_store_says_how_to_make_a_first_trace(tmp_path, name):
    done = run(name, HONEYTRACE_HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"No sessions in {tmp_path}/traces.db yet.")
    assert "honeytrace.init()" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_exit_code_2(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"nothing of the kind" * 100)
    done = run("sessions", "--store", path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"honeytrace: {path} is damaged, or no honeytrace store")
    assert len(done.stderr.splitlines()) == 1


def test_without_a_command_there_is_help_with_examples():
    done = run()
    assert done.returncode == 0
    assert "honeytrace show 3f2a --full" in done.stdout


def test_the_version_is_printed():
    assert run("--version").stdout.startswith("honeytrace ")


@pytest.mark.parametrize("arguments", [("sessions", "--limit", "0"), ("nonsense",)])
def test_wrong_arguments_are_exit_code_2(arguments):
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize("arguments", [("show",), ("show", "--json"), ("sessions",), ("tail",)])
def test_a_reader_that_has_left_causes_no_complaint(store, arguments):
    line, settings = command(*arguments, "--store", store)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, env=settings, timeout=10)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_colour_is_used_when_forced_and_only_then(store):
    assert "\x1b[" not in run("show", "--store", store).stdout
    assert "\x1b[" in run("show", "--store", store, FORCE_COLOR="1").stdout
    assert "\x1b[" not in run("show", "--store", store, FORCE_COLOR="1", NO_COLOR="1").stdout


def test_a_terminal_without_unicode_gets_ascii(store):
    text = run("show", "--store", store, PYTHONIOENCODING="ascii").stdout
    assert "`- chain answer" in text


def test_hostile_names_cannot_reach_the_terminal(tmp_path):
    path, hostile = tmp_path / "t.db", "a\x1b[2J\u202e\nb"
    export(path, session(ONE, hostile, 1), event(ONE, hostile, inputs={hostile: hostile}))
    for arguments in (["sessions"], ["show"], ["show", "--full"]):
        text = run(*arguments, "--store", path).stdout
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "a\\x1b[2J\\u202e\\nb" in text


def test_tail_prints_trees_of_other_processes_as_they_finish_and_ctrl_c_ends_it_well(store):
    process = start("tail", "--store", store)
    assert process.stdout is not None
    assert process.stdout.readline() == f"waiting for calls to finish in {store} (Ctrl-C ends)\n"
    export(store, session(ONE, "older chat", 1763940000000), event(ONE, "leaf", "top"))
    export(store, event(ONE, "top"))
    seen = [process.stdout.readline() for _ in range(3)]
    assert [part.split()[:3] for part in seen] == [
        ["session", "aaaa0000"],
        ["tool", "top", "12"],
        ["└─", "tool", "leaf"],
    ]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=10)
    assert (rest, process.returncode) == ("", 0)


def test_tail_as_json_is_one_event_a_line_with_the_fields_of_the_contract(tmp_path):
    path = tmp_path / "t.db"
    process = start("tail", "--store", path, "--json", "--for", "10", stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stderr.readline() == f"waiting for calls to finish in {path} (Ctrl-C ends)\n"
    export(path, session(ONE, "chat", 1763940000000), event(ONE, "leaf", "top"))
    assert process.stdout is not None
    lines = [json.loads(line) for line in (process.stdout.readline(), process.stdout.readline())]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert (rest, process.returncode) == ("", 0)
    assert [line["event_name"] for line in lines] == ["chat", "leaf"]
    assert set(lines[1]) <= set(FIELDS)


def test_tail_ends_by_itself_after_the_time_it_was_given_and_prints_what_is_unfinished(store):
    process = start("tail", "--store", store, "--for", "0.5")
    assert process.stdout is not None
    process.stdout.readline()
    export(store, event(ONE, "leaf", "top"))
    rest, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "leaf  (its caller has not finished)" in rest


def test_tail_waits_for_a_store_that_does_not_exist_yet(tmp_path):
    process = start("tail", HONEYTRACE_HOME=str(tmp_path / "home"))
    assert process.stdout is not None
    process.stdout.readline()
    export(tmp_path / "home" / "traces.db", session(ONE, "first", 1), event(ONE, "top"))
    assert process.stdout.readline().startswith("first")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_command_runs_as_a_module_too(store):
    line, settings = command("sessions", "--store", store)
    (expected, found) = (
        subprocess.run([sys.executable, "-m", module, *line[3:]], capture_output=True, timeout=20, env=settings)
        for module in ("honeytrace.cli", "honeytrace")
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, expected.stdout, b"")


@pytest.mark.parametrize("port", ["65536", "-1", "web", "\N{SUPERSCRIPT TWO}"])
def test_a_port_that_is_none_is_refused_with_what_is_expected(store, port):
    done = run("serve", "--store", store, f"--port={port}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"argument --port: must be a number from 0 to 65535, not {port!r}" in done.stderr


def test_commands_import_neither_httpx_nor_asyncio(store):
    code = (
        "import sys; from honeytrace import cli; cli.main(['show', '--store', sys.argv[1]]);"
        "print([name for name in ('httpx', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store)], capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "[]"


@honeytrace.trace("session")
def decorated():
    pass


def in_a_span():
    with honeytrace.span("in_a_span", "session"):
        pass


def logged():
    honeytrace.log_event("logged", event_type="session")


def below_a_session():
    with honeytrace.session("below_a_session"), honeytrace.span("a step", "session"):
        decorated()


@pytest.mark.parametrize("record", [decorated, in_a_span, logged, below_a_session], ids=lambda one: one.__name__)
def test_an_event_of_type_session_is_listed_once_and_shown(record, private_home):
    honeytrace.init(exporters=["local"])
    record()
    honeytrace.shutdown()
    (listed,) = json.loads(run("sessions", "--json").stdout)
    assert listed["name"] == record.__name__
    shown = run("show")
    assert (shown.returncode, shown.stderr) == (0, "")
    names = [line.lstrip(" └─").split("  ")[0] for line in shown.stdout.splitlines()]
    drawn = ["below_a_session", "a step", "decorated"] if record is below_a_session else [record.__name__] * 2
    assert names == drawn
    assert run("show", listed["session_id"]).stdout == shown.stdout


def test_an_empty_session_id_is_not_the_newest_session(store):
    done = run("show", "", "--store", store)
    assert (done.returncode, done.stdout) == (2, "")


def test_show_draws_what_ran_below_calls_that_a_kill_cut_short(private_home):
    nested = "\n".join(f"{'    ' * level}with honeytrace.span('level {level}'):" for level in range(4))
    program(f"{nested}\n{'    ' * 4}call(1)\n{'    ' * 4}call(2)\n{'    ' * 4}os.kill(os.getpid(), 9)")
    done = run("show")
    heading, *drawn = done.stdout.splitlines()
    assert heading.startswith("level 0")
    assert drawn[0].startswith("└─ unfinished ")
    assert drawn[0].endswith("  (did not finish, or has not yet)")
    assert [line.strip(" ├└─").split("  ")[0] for line in drawn[1:]] == ["chain call", "chain call"]


def test_tail_prints_what_a_program_left_that_was_killed_meanwhile(private_home):
    process = start("tail")
    assert process.stdout is not None
    process.stdout.readline()
    killed(2)
    assert process.stdout.readline().startswith("chat")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
