"""honeytrace doctor: what hinders delivery is found and named, and the key is never shown."""

from __future__ import annotations

import email.utils
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cli_processes import killed, program, run, to

KEY = "hh_9876543210fedcba"


class Server(ThreadingHTTPServer):
    """Answers every GET with one status, and lives in another time."""

    status, skew = 404, 0.0
    body = b'{"statusCode":404,"message":"no such event","success":false}'

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(time.time() + self.server.skew, usegmt=True)

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def doctor(*arguments, **environ):
    """Exit code, and (level, what) -> text of every line."""
    done = run("doctor", *arguments, **environ)
    assert done.stderr == ""
    assert KEY not in done.stdout
    assert KEY[-8:] not in done.stdout
    found, key = {}, None
    for line in done.stdout.splitlines():
        if line.startswith(" "):
            found[key] += " " + line.strip()
        else:
            key = line[:4].strip(), line[6:15].strip()
            found[key] = found.get(key, "") + line[15:]
    return done.returncode, found


def levels(found):
    return {level for level, _ in found}


def test_all_is_well_on_a_fresh_machine_without_a_key(private_home):
    code, found = doctor()
    assert (code, levels(found)) == (0, {"ok"})
    assert "none: programs write to the local store" in found["ok", "key"]
    assert not private_home.exists()


def test_a_key_that_the_server_accepts_is_found_good_with_one_harmless_request(web):
    code, found = doctor(HH_API_KEY=KEY, HH_API_URL=web.url)
    assert (code, levels(found)) == (0, {"ok"})
    assert "a project key from HH_API_KEY" in found["ok", "key"]
    assert "accepted by the server" in found["ok", "key"]
    assert "agrees with the server's" in found["ok", "clock"]
    ((path, authorization),) = web.asked
    assert path.startswith("/v1/events/")
    assert authorization == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>not here</html>"),
        (200, b"<html>log in first</html>"),
        (404, b'{"detail":"Not Found"}'),
        (200, b""),
    ],
)
def test_what_answers_but_is_no_server_of_the_contract_is_found_out(web, status, body):
    web.status, web.body = status, body
    code, found = doctor(HH_API_KEY=KEY, HH_API_URL=web.url)
    assert code == 1
    assert f"not as the contract says (HTTP {status})" in found["fail", "server"]
    assert ("ok", "key") not in found or "accepted" not in found["ok", "key"]


@pytest.mark.parametrize(
    ("status", "key", "level", "said"),
    [
        (401, KEY, "fail", "refused by the server (HTTP 401)"),
        (403, KEY, "fail", "may not do this (HTTP 403)"),
        (403, "hh_ingst_1", "ok", "an ingestion key may write and not read"),
        (401, "hh_ingst_1", "fail", "refused by the server"),
        (503, KEY, "warn", "the server is in trouble (HTTP 503)"),
        (302, KEY, "warn", "cannot be checked: HTTP 302"),
    ],
)
def test_the_servers_word_about_the_key_decides(web, status, key, level, said):
    web.status = status
    code, found = doctor(HH_API_KEY=key, HH_API_URL=web.url)
    assert said in found[level, "key"]
    assert code == (1 if level == "fail" else 0)


def test_a_server_that_cannot_be_reached_is_a_failure_with_advice(server):
    server.mode("refuse")
    code, found = doctor(**to(server))
    assert code == 1
    assert "gives no answer: ConnectError: Connection refused" in found["fail", "server"]
    assert "is the address right" in found["fail", "server"]


def test_an_address_that_is_none_is_a_failure_and_its_password_is_not_shown():
    code, found = doctor(HH_API_KEY=KEY, HH_API_URL="ftp://me:hunter2@host")
    assert code == 1
    assert "server_url must be like https://host" in found["fail", "server"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(("skew", "said"), [(90, "(8|9)[0-9] s behind"), (-3600, r"3,6\d\d s ahead of")])
def test_a_clock_that_is_wrong_is_a_warning(web, skew, said):
    web.skew = skew
    code, found = doctor(HH_API_KEY=KEY, HH_API_URL=web.url)
    assert code == 0
    assert re.search(said, found["warn", "clock"])
    assert "set this machine's clock" in found["warn", "clock"]


def test_proxies_are_named_without_their_passwords(web):
    environ = {"HTTPS_PROXY": "http://me:hunter2@127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    _, found = doctor(HH_API_KEY=KEY, HH_API_URL=web.url, **environ)
    assert found["ok", "proxy"].split(": ")[1] == "HTTPS_PROXY, NO_PROXY"
    assert "hunter2" not in str(found)


def test_a_home_that_cannot_be_written_is_a_failure_with_advice(tmp_path):
    (tmp_path / "file").write_text("")
    code, found = doctor(HONEYTRACE_HOME=tmp_path / "file" / "home")
    assert code == 1
    assert "cannot be written" in found["fail", "journal"]
    assert "set HONEYTRACE_HOME" in found["fail", "journal"]


def test_a_home_that_is_no_folder_fails_the_store_as_well_and_the_remedy_is_named():
    code, found = doctor(HOME="/dev/null", HONEYTRACE_HOME=None)
    assert code == 1
    assert "store" not in {what for level, what in found if level == "ok"}
    assert "/dev/null/.honeytrace/traces.db cannot be made: Not a directory" in found["fail", "store"]
    assert "set HONEYTRACE_HOME to a folder that this user may write to" in found["fail", "store"]


def test_a_home_that_cannot_even_be_looked_at_is_a_failure_with_advice(tmp_path):
    code, found = doctor(HONEYTRACE_HOME=tmp_path / ("x" * 300))
    assert code == 1
    assert {("fail", "journal"), ("fail", "store")} <= found.keys()


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("/dev/null", "/dev/null is no file"),
        (".", "is no file"),
        ("/dev/null/t.db", "/dev/null/t.db cannot be made: Not a directory"),
        ("/proc/t.db", "/proc/t.db cannot be made"),
    ],
)
def test_a_store_that_cannot_be_written_is_a_failure_with_advice(store, said):
    code, found = doctor("--store", store)
    assert code == 1
    assert said in found["fail", "store"]
    assert "name another file with --store" in found["fail", "store"]


def test_a_home_that_is_nowhere_is_a_failure_with_advice():
    code, found = doctor(HONEYTRACE_HOME="~no-such-user/honeytrace")
    assert code == 1
    assert "set HONEYTRACE_HOME" in found["fail", "home"]


def test_a_store_of_a_later_release_is_a_failure(private_home):
    program("calls(1); honeytrace.shutdown()")
    import sqlite3

    with sqlite3.connect(private_home / "traces.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    code, found = doctor()
    assert code == 1
    assert "written by a newer honeytrace" in found["fail", "store"]


def test_what_was_left_behind_or_refused_is_a_warning(server):
    server.mode("poison", marker='"result":1')
    program("calls(3); honeytrace.shutdown()", **to(server))
    server.mode("status", status=503)
    killed(4, **to(server))
    code, found = doctor()
    assert code == 0
    assert "6 records left behind for honeyhive" in found["warn", "journal"]
    assert "1 dead letter of honeyhive" in found["warn", "journal"]
    assert "honeytrace flush" in found["warn", "journal"]


def test_recording_that_is_turned_off_is_a_warning():
    _, found = doctor(HH_DISABLE_TRACING="1")
    assert "HH_DISABLE_TRACING turns it off" in found["warn", "recording"]


def test_the_key_that_wins_is_named():
    _, found = doctor("--server-url", "http://127.0.0.1:9", HH_API_KEY=KEY, HH_INGESTION_API_KEY="hh_ingst_1")
    said = found["ok", "key"]
    assert "an ingestion key from HH_INGESTION_API_KEY, which wins over HH_API_KEY" in said
    assert os.linesep not in said
