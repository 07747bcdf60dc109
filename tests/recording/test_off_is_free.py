"""Off means off: no event, no output, no thread, no file; on means what init() was told, or an error that names it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import honeytrace
from honeytrace import ConfigError, Event
from honeytrace._diagnostics import reset_failures


@honeytrace.trace
def leaf(name: str = "") -> str:
    return name


@honeytrace.trace
async def aleaf() -> int:
    return 1


class Keeping:
    """An exporter that keeps what it gets; `refuse` makes it fail so often."""

    def __init__(self, name: str = "keeping", refuse: int = 0) -> None:
        self.name = name
        self.refuse = refuse
        self.events: list[Event] = []
        self.closed = 0

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        if self.refuse:
            self.refuse -= 1
            raise honeytrace.ExportError("not now")
        self.events += batch

    def close(self) -> None:
        self.closed += 1

    def names(self) -> list[str]:
        return [event.fields()["event_name"] for event in self.events if event.kind == "event"]


def use_everything() -> None:
    leaf("x")
    asyncio.run(aleaf())
    with honeytrace.session("s") as session, honeytrace.span("b") as span:
        span.enrich(metadata={"a": 1})
        session.enrich(metadata={"a": 1})
        honeytrace.enrich_span(metadata={"a": 1})
        honeytrace.enrich_session(metadata={"a": 1})
    honeytrace.log_event("l")
    honeytrace.inject({})
    with honeytrace.attach({"baggage": "session_id=x"}), honeytrace.suppress():
        leaf("y")


def never_initialised() -> None:
    pass


def shut_down() -> None:
    honeytrace.init(exporters=[Keeping()])
    honeytrace.shutdown()


def disabled_by_argument() -> None:
    honeytrace.init(enabled=False)


def disabled_by_environment() -> None:
    honeytrace.init()


@pytest.mark.parametrize(
    "setup", [never_initialised, shut_down, disabled_by_argument, disabled_by_environment], ids=lambda f: f.__name__
)
def test_off_makes_no_event_output_thread_or_file(
    setup: Callable[[], None],
    private_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    if setup is disabled_by_environment:
        monkeypatch.setenv("HH_DISABLE_TRACING", "true")
    threads = set(threading.enumerate())
    with caplog.at_level(logging.DEBUG, logger="honeytrace"):
        setup()
        use_everything()
        assert honeytrace.current_span() is honeytrace.current_session() is None
        assert honeytrace.flush()
        assert honeytrace.stats() == honeytrace.Stats()
        assert honeytrace.shutdown()
    assert set(threading.enumerate()) <= threads
    assert not private_home.exists()
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_a_program_that_never_calls_init_is_silent_and_imports_no_delivery_dependencies(private_home: Path) -> None:
    script = """
        import sys, threading
        import honeytrace
        @honeytrace.trace
        def f(a): return a
        f(1)
        with honeytrace.span("s"): f(2)
        honeytrace.flush()
        assert threading.active_count() == 1
        heavy = {"httpx", "sqlite3", "wrapt", "asyncio", "pytest", "rich"} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(script)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(honeytrace.__file__).parents[1])},
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not private_home.exists()


def test_no_thread_is_started_and_no_file_made_before_the_first_event(private_home: Path) -> None:
    threads = set(threading.enumerate())
    honeytrace.init()
    with honeytrace.suppress():
        leaf()
    assert honeytrace.flush()
    assert set(threading.enumerate()) <= threads
    assert not private_home.exists()
    leaf()
    assert len(set(threading.enumerate()) - threads) == 1
    honeytrace.shutdown()
    assert set(threading.enumerate()) <= threads


def test_the_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HH_DISABLE_TRACING", "1")
    monkeypatch.setenv("HH_SOURCE", "environment")
    monkeypatch.setenv("HH_SESSION_NAME", "from the environment")
    keeping = Keeping()
    honeytrace.init(exporters=[keeping], enabled=True, session_name="from the argument")
    leaf()
    honeytrace.flush()
    session, event, _ = (record.fields() for record in keeping.events)
    assert event["source"] == session["source"] == "environment"
    assert session["session_name"] == "from the argument"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 2}, "sample_rate must be a number between 0 and 1, not 2"),
        ({"journal": ""}, "journal must be a folder, or False for memory only, not ''"),
        ({"sample_rate": "all"}, "sample_rate .* not 'all'"),
        ({"sample_rate": True}, "sample_rate .* not True"),
        ({"sample_rate": float("nan")}, "sample_rate .* not nan"),
        ({"max_event_bytes": 10}, "max_event_bytes .* not 10"),
        ({"max_event_bytes": 1e6}, "max_event_bytes .* not 1000000.0"),
        ({"source": 3}, "source must be a string, not int"),
        ({"session_name": b"x"}, "session_name must be a string, not bytes"),
        ({"api_key": 7}, "api_key must be a string, not int"),
        ({"exporters": "local"}, "exporters must be a list, not str"),
        ({"exporters": ["nowhere"]}, "'local', 'console' or an object .* not 'nowhere'"),
        ({"exporters": [object()]}, "an exporter is .* not <object"),
        ({"exporters": [Keeping("a"), Keeping("a")]}, r"different names, not \['a', 'a'\]"),
        ({"redact": 5}, "redact"),
        ({"sampler": object()}, "sampler"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_by_name_and_changes_nothing(settings: dict[str, Any], message: str) -> None:
    keeping = Keeping("before")
    honeytrace.init(exporters=[keeping])
    with pytest.raises(ConfigError, match=message):
        honeytrace.init(**settings)
    leaf()
    assert honeytrace.flush()
    assert keeping.names() == ["leaf"]


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")])
def test_a_wrong_timeout_is_refused_by_name(timeout: Any) -> None:
    for exporters in ([], [Keeping()]):
        honeytrace.init(exporters=exporters)
        for wait in (honeytrace.flush, honeytrace.shutdown):
            with pytest.raises(ConfigError, match="timeout must be"):
                wait(timeout)
        honeytrace.shutdown()


def test_a_key_never_appears_in_what_init_says(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="honeytrace"):
        tracer = honeytrace.init("hh_secret_key", exporters=[Keeping()])
        leaf()
        honeytrace.flush()
    assert "hh_secret" not in caplog.text + repr(tracer) + repr(honeytrace.stats())


def test_init_again_delivers_what_was_recorded_before_and_then_takes_the_new_settings() -> None:
    first, second = Keeping("first"), Keeping("second")
    honeytrace.init(exporters=[first], source="one")
    leaf()
    honeytrace.init(exporters=[second], source="two")
    aleaf_loop()
    honeytrace.flush()
    assert first.names() == ["leaf"]
    assert first.closed == 1
    assert second.names() == ["aleaf"]
    assert second.closed == 0
    assert second.events[-1].fields()["source"] == "two"


def aleaf_loop() -> None:
    asyncio.run(aleaf())


def test_an_exporter_given_to_init_twice_is_not_closed_in_between() -> None:
    keeping = Keeping()
    honeytrace.init(exporters=[keeping], source="one")
    leaf("a")
    honeytrace.init(exporters=[keeping], source="two")
    assert keeping.closed == 0  # "called once, last"
    leaf("b")
    honeytrace.shutdown()
    assert keeping.names() == ["leaf", "leaf"]
    assert keeping.closed == 1


def test_every_exporter_gets_everything_and_a_failing_one_holds_nobody_back() -> None:
    one, two, broken = Keeping("one"), Keeping("two"), Keeping("broken", refuse=1_000)
    honeytrace.init(exporters=[broken, one, two])
    with honeytrace.session("s"):
        leaf("a")
        leaf("b")
    result = honeytrace.flush(0.3)
    broken.refuse = 0
    assert not result.ok
    assert result.pending == 2
    assert one.events == two.events
    assert [event.kind for event in one.events] == ["session", "event", "event", "update"]
    stats = honeytrace.stats()
    assert (stats.recorded, stats.delivered, stats.pending) == (6, 4, 2)
    assert stats.exporters["broken"].pending == 2
    assert stats.exporters["one"].delivered == stats.exporters["two"].delivered == 2
    assert honeytrace.flush(5)
    assert broken.events == one.events


class Hanging(Keeping):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        self.entered.set()
        self.go_on.wait()
        super().export(batch, deadline)


@pytest.mark.parametrize("end", [honeytrace.flush, honeytrace.shutdown])
def test_an_exporter_that_hangs_takes_no_other_s_share_of_the_time(end: Callable[[float], object]) -> None:
    hanging, keeping = Hanging("hanging"), Keeping()
    honeytrace.init(exporters=[hanging, keeping])
    leaf()
    end(2)  # what hangs takes all of it, and on a busy machine the other one needs some
    try:
        assert keeping.names() == ["leaf"]
    finally:
        hanging.go_on.set()


def test_what_is_recorded_while_shutdown_waits_is_delivered_or_was_never_taken() -> None:
    hanging = Hanging("hanging")
    honeytrace.init(exporters=[hanging])
    leaf()
    ending = threading.Thread(target=honeytrace.shutdown, args=(60,))
    ending.start()
    assert hanging.entered.wait(60)
    meanwhile = honeytrace.log_event("meanwhile")
    hanging.go_on.set()
    ending.join()
    assert hanging.names() == (["leaf"] if meanwhile is None else ["leaf", "meanwhile"])


def test_the_books_close_at_every_moment() -> None:
    keeping = Keeping()
    honeytrace.init(exporters=[keeping])
    for _ in range(10):
        leaf()
        with honeytrace.span("b"):
            pass
    stats = honeytrace.stats()
    assert stats.recorded == 20 == stats.delivered + stats.pending
    assert honeytrace.flush()
    stats = honeytrace.stats()
    assert (stats.recorded, stats.delivered, stats.pending) == (20, 20, 0)
    assert (dict(stats.dropped), stats.set_aside) == ({}, 0)


def test_flushing_nothing_is_done_at_once() -> None:
    nothing = honeytrace.FlushResult(ok=True, delivered=0, pending=0, dropped=0, set_aside=0, last_error=None)
    assert honeytrace.flush() == nothing
    honeytrace.init(exporters=[Keeping()])
    assert honeytrace.flush(None) == honeytrace.flush(0) == nothing


def test_aflush_delivers_and_lets_the_loop_run() -> None:
    hanging = Hanging("hanging")
    honeytrace.init(exporters=[hanging])

    async def main() -> honeytrace.FlushResult:
        await aleaf()
        flushing = asyncio.create_task(honeytrace.aflush(5))
        while not hanging.entered.is_set():
            await asyncio.sleep(0.001)
        hanging.go_on.set()
        return await flushing

    result = asyncio.run(main())
    assert (result.ok, result.delivered) == (True, 1)
    assert hanging.names() == ["aleaf"]


def test_shutdown_delivers_closes_and_can_be_called_again() -> None:
    keeping = Keeping()
    honeytrace.init(exporters=[keeping])
    leaf()
    assert honeytrace.shutdown().delivered == 1
    assert honeytrace.shutdown().delivered == 0
    leaf()
    assert keeping.names() == ["leaf"]
    assert keeping.closed == 1
    honeytrace.init(exporters=[again := Keeping()])
    leaf()
    honeytrace.shutdown()
    assert again.names() == ["leaf"]


def test_two_tracers_keep_their_events_and_trees_apart() -> None:
    mine, other = Keeping("mine"), honeytrace.Tracer()
    theirs = Keeping("theirs")
    honeytrace.init(exporters=[mine])
    other.init(exporters=[theirs])
    try:

        @other.trace
        def second() -> None:
            leaf()

        with honeytrace.span("first"):
            second()
    finally:
        other.shutdown()
    honeytrace.flush()
    assert mine.names() == ["leaf", "first"]
    assert theirs.names() == ["second"]
    leaf_event, first = (record.fields() for record in mine.events if record.kind == "event")
    assert leaf_event["parent_id"] == first["event_id"]


def test_by_default_events_are_in_the_local_store_where_the_command_line_finds_them(private_home: Path) -> None:
    honeytrace.init()
    with honeytrace.session("chat", user_properties={"user_id": "u"}):
        with honeytrace.span("block"):
            leaf("ä")
    assert honeytrace.flush()
    shown = subprocess.run(
        [sys.executable, "-m", "honeytrace.cli", "show", "--json"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(honeytrace.__file__).parents[1])},
        timeout=120,
        check=True,
    )
    events = {event["event_name"]: event for event in json.loads(shown.stdout)["events"]}
    assert set(events) == {"chat", "block", "leaf"}
    assert events["leaf"]["inputs"] == {"name": "ä"}
    assert events["leaf"]["parent_id"] == events["block"]["event_id"]
    assert events["block"]["parent_id"] == events["chat"]["event_id"]
    assert events["chat"]["user_properties"] == {"user_id": "u"}
    assert events["chat"]["end_time"] >= events["block"]["end_time"]


def test_exporters_are_chosen_by_name(private_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    honeytrace.init(exporters=["console", "local"])
    leaf()
    assert honeytrace.shutdown()
    assert "leaf" in "".join(capfd.readouterr())
    assert (private_home / "traces.db").exists()


def test_a_server_that_is_named_without_a_key_is_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HONEYTRACE_HOME", str(tmp_path))
    monkeypatch.delenv("HH_API_KEY", raising=False)
    reset_failures()
    honeytrace.init(server_url="http://127.0.0.1:9")
    assert "a server_url without an api_key: events go to the local store" in caplog.text


def test_an_empty_key_is_said_to_be_one(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    with caplog.at_level(logging.WARNING, "honeytrace"):
        honeytrace.init("")
        assert caplog.messages == ["api_key is empty: events go to the local store, not to HoneyHive"]
        caplog.clear()
        monkeypatch.setenv("HH_API_KEY", "hh_from_the_environment")
        honeytrace.init("", exporters=["local"])
        monkeypatch.delenv("HH_API_KEY")
        honeytrace.init(None)
        assert caplog.messages == []
