"""honeytrace dead-letters: what was refused is seen, sent again or discarded, and is never in no place."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli_processes import environment, program, run, to


@pytest.fixture
def refused(server):
    """Two events of a program that a server refused for good: their ids."""
    server.mode("poison", marker="poison")
    program("call(1); call(2, 'poison one'); call(3, 'poison two'); honeytrace.shutdown()", **to(server))
    listed = json.loads(run("dead-letters", "--json").stdout)
    assert [letter["name"] for letter in listed].count("call") == len(listed) > 0
    return [letter["id"] for letter in listed]


def ids():
    return [letter["id"] for letter in json.loads(run("dead-letters", "list", "--json").stdout)]


def arrived(server):
    """Events and sessions with poison in them that the server has stored."""
    stored = [*server.events, *server.sessions]
    return {one.get("event_id", one.get("session_id")) for one in stored if "poison" in str(one)}


def test_without_any_the_list_says_so():
    done = run("dead-letters")
    assert (done.returncode, done.stdout) == (0, "No dead letters: nothing was refused for good.\n")
    assert run("dead-letters", "--json").stdout == "[]\n"
    assert run("dead-letters", "resend").stdout.startswith("No dead letters")


def test_the_list_has_destination_kind_name_reason_and_time(server, refused):
    lines = run("dead-letters", COLUMNS="100").stdout.splitlines()
    assert lines[0].startswith(f"honeyhive {server.url}#")
    assert lines[1].split() == ["ID", "REFUSED", "KIND", "NAME", "REASON"]
    assert lines[2].split()[0] == refused[0][:8]
    assert "call" in lines[2]
    assert "HTTP 400 for POST /v1" in lines[2]
    assert len(lines) == 2 + len(refused)
    one = json.loads(run("dead-letters", "--json").stdout)[0]
    assert set(one) == {"id", "exporter", "destination", "kind", "name", "reason", "time"}


def test_one_is_shown_with_all_its_data(refused):
    text = run("dead-letters", "show", refused[0]).stdout
    assert f"id           {refused[0]}\n" in text
    assert '"text": "poison one"' in text
    assert "reason       HTTP 400" in text


def test_resend_delivers_all_and_empties_the_file(server, refused):
    server.mode("ok")
    done = run("dead-letters", "resend", **to(server))
    assert done.returncode == 0
    assert f"{len(refused)} of {len(refused)} dead letters delivered" in done.stdout
    assert set(refused) <= arrived(server)
    assert ids() == []


def test_one_can_be_resent_by_the_beginning_of_its_id_and_the_others_stay(server, refused):
    server.mode("ok")
    done = run("dead-letters", "resend", refused[0][:8], **to(server))
    assert done.returncode == 0
    assert ids() == [one for one in refused if one != refused[0]]


def test_what_is_refused_again_is_there_again_once(server, refused):
    done = run("dead-letters", "resend", "--all", **to(server))
    assert done.returncode == 1
    assert f"{len(refused)} refused again" in done.stdout
    assert sorted(ids()) == sorted(refused)


def test_what_does_not_arrive_waits_in_the_journal_and_is_delivered_by_flush(server, refused):
    server.mode("status", status=503)
    done = run("dead-letters", "resend", "--timeout", "3", **to(server))
    assert done.returncode == 1
    assert "wait in the journal (HTTP 503" in done.stdout
    assert ids() == []
    server.mode("ok")
    assert run("flush", **to(server)).returncode == 0
    assert set(refused) <= arrived(server)


def test_without_the_key_nothing_is_removed(server, refused):
    done = run("dead-letters", "resend")
    assert done.returncode == 1
    assert f"left: no key for {server.url}: set HH_API_URL" in done.stdout
    assert ids() == refused


@pytest.mark.parametrize("mode", ["ok", "hang"])
def test_without_a_journal_on_disk_only_what_arrived_is_removed(server, refused, mode):
    code = "import sys; from honeytrace import _folders, cli;"
    code += "_folders.fcntl = None;"  # a platform without locks on files
    code += "sys.exit(cli.main(['dead-letters', 'resend', '--timeout', sys.argv[1]]))"
    server.mode(mode)
    line = [sys.executable, "-c", code, "20" if mode == "ok" else "0.3"]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", timeout=60, env=environment(**to(server)))
    assert done.returncode == (0 if mode == "ok" else 1)
    assert ids() == ([] if mode == "ok" else refused)
    assert arrived(server) >= set(refused) if mode == "ok" else not arrived(server)


def test_discard_removes_what_was_named_and_nothing_else(refused):
    done = run("dead-letters", "discard", refused[0])
    assert done.stdout.endswith(" discarded.\n")
    assert ids() == [one for one in refused if one != refused[0]]
    run("dead-letters", "discard", "--all")
    assert ids() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("discard",), "say which: dead-letters discard ID..., or --all"),
        (("show", "zzz"), "no dead letter begins with 'zzz'"),
        (("discard", ""), "no dead letter begins with ''"),
    ],
)
def test_ids_that_lead_nowhere_are_exit_code_2(refused, arguments, message):
    done = run("dead-letters", *arguments)
    assert (done.returncode, done.stderr) == (2, f"honeytrace: {message}\n")
    assert ids() == refused
