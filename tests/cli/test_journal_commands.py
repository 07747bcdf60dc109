"""honeytrace status and flush: what programs left behind is seen, and delivered once."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from cli_processes import KEY, PROGRAM, environment, killed, program, run, to


def states(**environ):
    return {one["exporter"]: one for one in json.loads(run("status", "--json", **environ).stdout)}


def test_status_and_flush_of_a_fresh_home_find_nothing_and_make_nothing(private_home):
    for name, said in (("status", "Nothing is waiting"), ("flush", "Nothing was left behind")):
        done = run(name)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(said)
    assert run("status", "--json").stdout == "[]\n"
    assert not private_home.exists()


def test_status_shows_what_a_killed_program_left(server):
    server.mode("status", status=503)
    killed(7, **to(server))
    found = states()["honeyhive"]
    assert found["left_behind"] == found["waiting"] == {"events": 7, "others": 2}
    assert found["destination"].startswith(f"{server.url}#")
    (writer,) = found["writers"]
    assert (writer["alive"], writer["events"]) == (False, 7)
    text = run("status").stdout
    assert f"left behind   process {writer['process']}: 7 events and 2 other records  → honeytrace flush" in text


def test_a_program_that_lives_is_shown_as_live_and_keeps_what_it_has(server):
    server.mode("status", status=503)
    line = [sys.executable, "-c", PROGRAM + "calls(3); print('ready', flush=True); sys.stdin.read(); os._exit(0)"]
    environ = environment(**to(server))
    with subprocess.Popen(line, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, env=environ) as process:
        process.stdout.readline()
        (writer,) = states()["honeyhive"]["writers"]
        assert (writer["process"], writer["alive"], writer["events"]) == (str(process.pid), True, 3)
        done = run("flush", **to(server))
        assert done.returncode == 0
        assert done.stdout == "3 events and 2 other records in the hands of live processes, which deliver them.\n"
        process.stdin.close()
    assert states()["honeyhive"]["left_behind"]["events"] == 3


def test_flush_delivers_what_a_killed_program_left_and_delivers_it_once(server):
    server.mode("status", status=503)
    killed(30, **to(server))
    server.mode("ok")
    done = run("flush", **to(server))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"honeyhive http://\S+: 30 events and 2 other records delivered\n", done.stdout)
    assert sorted(server.event_ids().values()) == [1] * 30
    assert states()["honeyhive"]["writers"] == []
    assert run("flush", **to(server)).stdout.startswith("Nothing was left behind")
    assert len(server.event_ids()) == 30


def test_flush_delivers_for_more_dead_programs_than_are_taken_over_at_a_time(server):
    server.mode("status", status=503)
    program(
        """
        for n in range(20):
            if os.fork() == 0:
                calls(2)
                os._exit(0)
            os.wait()
        os._exit(0)
        """,
        **to(server),
    )
    assert len(states()["honeyhive"]["writers"]) == 20
    server.mode("ok")
    done = run("flush", **to(server))
    assert done.returncode == 0
    assert sorted(server.event_ids().values()) == [1] * 40


def test_what_was_recorded_under_another_key_is_delivered_only_when_told_so(server):
    killed(4, HH_API_KEY="hh_old_key", HH_API_URL=server.url)
    done = run("flush", **to(server))
    assert done.returncode == 1
    assert "4 events and 2 other records left: recorded with another key" in done.stdout
    assert not server.events
    done = run("flush", "--other-keys", **to(server))
    assert (done.returncode, len(server.event_ids())) == (0, 4)
    assert KEY not in done.stdout + done.stderr


def test_what_is_for_another_server_is_never_sent_to_this_one(server):
    killed(4, HH_API_KEY=KEY, HH_API_URL="http://127.0.0.1:9/elsewhere")
    done = run("flush", "--other-keys", **to(server))
    assert done.returncode == 1
    wanted = "left: no key for http://127.0.0.1:9/elsewhere: set HH_API_URL (or --server-url) to it and HH_API_KEY"
    assert f"{wanted} (or --api-key) to the key it was recorded with" in done.stdout
    assert not server.requests


def test_without_a_key_the_local_store_is_served_all_the_same(server):
    killed(4, HH_API_KEY=KEY, HH_API_URL=server.url)
    killed(5)
    done = run("flush")
    assert done.returncode == 1
    assert "5 events and 2 other records delivered" in done.stdout
    advice = f"no key for {server.url}: set HH_API_URL (or --server-url) to it and HH_API_KEY (or --api-key) to the key"
    assert f"4 events and 2 other records left: {advice} it was recorded with" in done.stdout
    assert json.loads(run("sessions", "--json").stdout)[0]["events"] == 5


def test_where_only_the_key_is_missing_only_the_key_is_asked_for(server):
    killed(4, **to(server))
    done = run("flush", HH_API_URL=server.url)
    assert done.returncode == 1
    said = f"left: no key for {server.url}: set HH_API_KEY (or --api-key) to the key it was recorded with\n"
    assert done.stdout.endswith(said)


def test_a_key_that_cannot_be_right_keeps_only_its_own_destination_waiting(server):
    killed(4, HH_API_KEY=KEY, HH_API_URL=server.url)
    killed(5)
    done = run("flush", HH_API_KEY="hh_key\n", HH_API_URL=server.url)
    assert done.returncode == 1
    assert "5 events and 2 other records delivered" in done.stdout
    assert "line breaks" in done.stdout


def test_flush_gives_up_in_time_and_loses_nothing(server):
    server.mode("status", status=503)
    killed(6, **to(server))
    done = run("flush", "--timeout", "3", **to(server))
    assert done.returncode == 1
    assert "0 events delivered, 6 events and 2 other records left (HTTP 503" in done.stdout
    server.mode("ok")
    assert run("flush", **to(server)).returncode == 0
    assert sorted(server.event_ids().values()) == [1] * 6


def test_flush_of_a_hanging_server_ends_at_its_timeout(server):
    server.mode("hang")
    killed(6, **to(server))
    done = run("flush", "--timeout", "0.5", **to(server))
    assert done.returncode == 1
    assert "6 events and 2 other records left (there was no time)" in done.stdout


def test_flush_tries_again_where_a_fault_passes(server):
    server.mode("status", status=503)
    killed(6, **to(server))
    server.mode("status", status=503, retry_after=1, first=2)
    done = run("flush", **to(server))
    assert (done.returncode, len(server.event_ids())) == (0, 6)


def test_a_refused_key_ends_flush_at_the_first_answer(server):
    wrong = to(server, "hh_wrong_key")
    server.mode("status", status=503)
    killed(6, **wrong)
    server.mode("ok")
    before = len(server.requests)
    done = run("flush", **wrong)
    assert done.returncode == 1
    assert "6 events and 2 other records left (HTTP 401: the API key is not known" in done.stdout
    assert len(server.requests) - before <= 2
    assert states()["honeyhive"]["left_behind"]["events"] == 6


def test_what_is_refused_for_good_during_a_flush_is_exit_code_1(server):
    server.mode("status", status=503)
    killed(6, **to(server))
    server.mode("poison", marker='"result":3')
    done = run("flush", **to(server))
    assert done.returncode == 1
    assert "5 events and 2 other records delivered, 1 refused (see: honeytrace dead-letters)" in done.stdout
    found = states()["honeyhive"]
    assert found["dead_letters"] == 1
    assert found["last_error"].startswith("HTTP 400 for POST /v1/events/batch")
    assert "dead letters  1  → honeytrace dead-letters" in run("status").stdout


def test_what_only_a_programs_own_exporter_can_deliver_is_named(tmp_path):
    program(
        """
        class Own:
            name, destination = "own", "somewhere"
            def export(self, batch, deadline): raise OSError
            def close(self): pass
        honeytrace.init(exporters=[Own()])
        calls(3)
        os._exit(0)
        """
    )
    done = run("flush")
    assert done.returncode == 1
    assert "own somewhere: 3 events" in done.stdout
    assert "delivered by the next program whose exporter has this name" in done.stdout


def test_another_folder_of_journals_can_be_named(tmp_path, server):
    server.mode("status", status=503)
    code = f"honeytrace.init(journal={str(tmp_path / 'other')!r}); calls(3); os._exit(0)"
    program(code, **to(server))
    server.mode("ok")
    assert run("flush", **to(server)).stdout.startswith("Nothing was left behind")
    assert run("flush", "--journal", tmp_path / "other", **to(server)).returncode == 0
    assert len(server.event_ids()) == 3


def test_a_damaged_journal_gives_what_is_whole(private_home, server):
    server.mode("status", status=503)
    killed(9, **to(server))
    (segment,) = private_home.glob("journal/*/*/*.seg")
    data = bytearray(segment.read_bytes())
    where = data.index(b'{"n":4')
    data[where : where + 8] = b"\0" * 8
    segment.write_bytes(data)
    assert "1 place cannot be read" in run("status").stdout
    server.mode("ok")
    run("flush", **to(server))
    assert len(server.event_ids()) == 8
    assert states()["honeyhive"]["writers"] == []


def test_a_folder_that_has_lost_its_description_is_known_by_its_name(private_home, server):
    server.mode("status", status=503)
    killed(3, **to(server))
    (about,) = private_home.glob("journal/*/destination.json")
    about.unlink()
    done = run("flush")
    assert (done.returncode, done.stdout.startswith("unknown (honeyhive-")) == (1, True)
    server.mode("ok")
    assert run("flush", **to(server)).returncode == 0
    assert len(server.event_ids()) == 3


def test_two_commands_at_once_deliver_everything_once(server):
    server.mode("status", status=503)
    killed(40, **to(server))
    server.mode("slow", seconds=0.5)
    line = [sys.executable, "-m", "honeytrace.cli", "flush"]
    several = [subprocess.Popen(line, stdout=subprocess.DEVNULL, env=environment(**to(server))) for _ in range(3)]
    assert [one.wait(60) for one in several] == [0, 0, 0]
    assert sorted(server.event_ids().values()) == [1] * 40


def test_a_flush_that_is_interrupted_or_killed_loses_nothing(server):
    server.mode("status", status=503)
    killed(5, **to(server))
    server.mode("hang")
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += "from honeytrace import cli; sys.exit(cli.main(['flush']))"
    for number, expected in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        before = len(server.requests)
        process = subprocess.Popen([sys.executable, "-c", code], env=environment(**to(server)))
        until = time.monotonic() + 30
        while len(server.requests) == before and time.monotonic() < until:  # the server says nothing while it hangs
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(20) == expected
        assert states()["honeyhive"]["left_behind"]["events"] == 5
    server.mode("ok")
    assert run("flush", **to(server)).returncode == 0
    assert set(server.event_ids().values()) == {1}


def test_a_terminal_sees_a_bar_and_no_bar_remains(server):
    server.mode("status", status=503)
    killed(50, **to(server))
    server.mode("slow", seconds=0.5)
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "honeytrace.cli", "flush"]
    environ = environment(TERM="xterm", **to(server))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=theirs, env=environ) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            drawn += piece
        said = process.stdout.read()
    os.close(ours)
    assert "░░  0 of 52 events  honeyhive http" in drawn.decode()
    assert drawn.endswith(b"\r\x1b[K")
    assert b"delivered" in said
    assert b"\r" not in said


@pytest.mark.parametrize("timeout", ["-1", "soon", "nan"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout):
    done = run("flush", "--timeout", timeout)
    assert done.returncode == 2
    assert "must be a number of seconds from 0 up" in done.stderr


def test_commands_without_a_home_end_with_one_line():
    for command in ("status", "flush", "dead-letters", "sessions", "export"):
        done = run(command, HONEYTRACE_HOME="~no-such-user/honeytrace")
        assert (done.returncode, done.stdout) == (2, ""), command
        (line,) = done.stderr.splitlines()
        assert line.startswith("honeytrace: HONEYTRACE_HOME")
