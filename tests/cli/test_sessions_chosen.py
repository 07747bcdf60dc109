"""honeytrace sessions with filters: the words and the meaning are those of the page's list."""

from __future__ import annotations

import datetime
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cli_processes import run
from stored import event, export, session

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from server_process import ServeProcess  # noqa: E402

NOW = time.time() * 1000
HOUR = 3_600_000
NAMES = ["today", "hours ago", "yesterday", "last week"]
IDS = [f"aaaa{number}000-0000-4000-8000-000000000001" for number in range(4)]
AGES = [HOUR / 2, 5 * HOUR, 30 * HOUR, 8 * 24 * HOUR]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "t.db"
    starts = [NOW - age for age in AGES]
    mine = {"source": "prod", "user_properties": {"user_id": "ada"}}
    opened = [session(id, name, start) for id, name, start in zip(IDS, NAMES, starts, strict=True)]
    opened[1] = session(IDS[1], NAMES[1], starts[1], **mine)
    found = {"inputs": {"query": "Où est le café du port?"}, "outputs": {"result": ["in the harbour", 42]}}
    export(
        path,
        *opened,
        event(IDS[0], "search", start_time=starts[0], **found),
        event(IDS[0], "answer", start_time=starts[0], error="KeyError: 'harbour_master'"),
        event(IDS[1], "search", start_time=starts[1], error="TimeoutError: too late"),
        event(IDS[2], "answer", start_time=starts[2], **mine),
        event(IDS[3], "search", start_time=starts[3], inputs={"query": "the harbours"}, error=""),
    )
    return path


@pytest.fixture(scope="module")
def page(store):
    with ServeProcess(store) as server:
        yield server


def ago(hours):
    """A moment as commands are told it here, where the local time is that of UTC."""
    return datetime.datetime.fromtimestamp((NOW - hours * HOUR) / 1000, datetime.timezone.utc).replace(tzinfo=None)


def names(store, *arguments):
    done = run("sessions", "--store", store, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [one["name"] for one in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "search"}, ["today", "hours ago", "last week"]),
        ({"name": "yesterday"}, ["yesterday"]),
        ({"name": "sear"}, []),
        ({"source": "prod"}, ["hours ago", "yesterday"]),
        ({"user": "ada"}, ["hours ago", "yesterday"]),
        ({"user": "nobody"}, []),
        ({"error": True}, ["today", "hours ago"]),
        ({"error": True, "name": "search"}, ["hours ago"]),
        ({"error": True, "user": "ada", "source": "prod", "name": "search"}, ["hours ago"]),
        ({"search": "harbour"}, ["today", "last week"]),
        ({"search": "HARBOUR the "}, ["today"]),
        ({"search": "the harb"}, ["today", "last week"]),
        ({"search": '"the harbour"'}, ["today"]),
        ({"search": '"harbour the"'}, []),
        ({"search": "arbour"}, []),
        ({"search": "ou cafe"}, ["today"]),
        ({"search": "42"}, ["today"]),
        ({"search": "master", "error": True}, ["today"]),
        ({"search": "harbour café"}, ["today"]),
        ({"search": "master café"}, []),
        ({"search": "?!"}, []),
        ({"search": "(.*"}, []),
        ({"search": "harbour", "name": "answer"}, ["today"]),
    ],
    ids=str,
)
def test_filters_find_what_the_page_finds(store, page, given, expected):
    arguments = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]
    assert names(store, *arguments) == expected
    words = {"search": "q"}
    asked = urlencode({words.get(name, name): "1" if value is True else value for name, value in given.items()})
    found = page.get(f"/ui/api/sessions?{asked}").json()["sessions"]
    assert [one["name"] for one in found] == expected


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2h", NAMES[:1]),
        ("3d", NAMES[:3]),
        ("4w", NAMES),
        (ago(0).strftime("%Y-%m-%dT%H:%M:%SZ"), []),
        (ago(2).isoformat(" ", "minutes"), NAMES[:1]),
        (ago(4 * 24).date().isoformat(), NAMES[:3]),
    ],
)
def test_since_is_an_age_or_a_date_of_the_start(store, since, expected):
    assert names(store, "--since", since) == expected


@pytest.mark.parametrize("since", ["yesterday", "2", "h", "2024-13-01", "-1d", "", "2024-01-01T25:00", "9" * 400 + "w"])
def test_a_since_that_is_none_is_refused_with_what_is_expected(store, since):
    done = run("sessions", "--store", store, f"--since={since}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument --since: must be an age like 2h or 3d, or a date like 2026-01-31" in done.stderr
    assert repr(since) in done.stderr


def test_the_limit_counts_what_passes(store):
    assert names(store, "--name", "search", "--limit", "2") == ["today", "hours ago"]


def test_a_filter_that_is_empty_asks_for_nothing_as_on_the_page(store):
    assert names(store, "--name", "", "--user=", "--source", "", "--search", " ") == NAMES


def test_nothing_that_passes_is_said_as_such(store, tmp_path):
    done = run("sessions", "--store", store, "--error", "--name", "nosuch")
    assert (done.returncode, done.stdout) == (0, f"No session in {store} passes these filters.\n")
    assert run("sessions", "--store", tmp_path / "none.db", "--error").stdout.startswith("No sessions in")
    assert json.loads(run("sessions", "--store", store, "--name", "nosuch", "--json").stdout) == []
