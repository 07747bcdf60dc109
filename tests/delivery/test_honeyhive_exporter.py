"""Everything given to the HoneyHive exporter is stored by the server, in order, or the error says what to do next."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import count
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from fault_server import FaultServer, ServerProcess

from honeytrace import __version__
from honeytrace._event import Event
from honeytrace._flusher import Flusher
from honeytrace._journal import Journal
from honeytrace.exceptions import ConfigError, ExportError
from honeytrace.exporters._faults import retry_after
from honeytrace.exporters.honeyhive import HoneyHiveExporter
from honeytrace.protocols import Exporter

KEY = "hh_secret_key"
_clock = count(1)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture()
def server() -> Iterator[FaultServer]:
    with FaultServer(key=KEY) as server:
        yield server


Make = Callable[..., HoneyHiveExporter]


@pytest.fixture()
def make() -> Iterator[Make]:
    """Makes exporters that are closed at the end."""
    made: list[HoneyHiveExporter] = []

    def make(*arguments: Any, **settings: Any) -> HoneyHiveExporter:
        made.append(HoneyHiveExporter(*arguments, **settings))
        return made[-1]

    yield make
    for exporter in made:
        exporter.close()


@pytest.fixture()
def exporter(make: Make, server: FaultServer) -> HoneyHiveExporter:
    return make(KEY, server.url)


def event(text: str = "x", **fields: Any) -> Event:
    id = str(uuid4())
    body = {"event_id": id, "session_id": id, "event_type": "tool", "inputs": {"text": text}, **fields}
    return Event("event", id.encode(), orjson.dumps(body), next(_clock))


def session(**fields: Any) -> Event:
    id = str(uuid4())
    body = {"session_id": id, "session_name": "chat", "start_time": 1.0, **fields}
    return Event("session", id.encode(), orjson.dumps(body), next(_clock))


def update(of: Event, **fields: Any) -> Event:
    return Event("update", of.id, orjson.dumps(fields), next(_clock))


def export(exporter: Exporter, *batch: Event, within: float = 20.0) -> None:
    exporter.export(batch, time.monotonic() + within)


def refused(exporter: Exporter, *batch: Event, within: float = 20.0) -> ExportError:
    with pytest.raises(ExportError) as caught:
        export(exporter, *batch, within=within)
    assert KEY not in str(caught.value)
    return caught.value


def calls(server: FaultServer) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in server.requests]


BATCH = ("POST", "/v1/events/batch")
ALONE = ("POST", "/v1/events")
SESSION = ("POST", "/v1/sessions")


# What it is given


@pytest.mark.parametrize("key", ["", "two words", "secret\n", "schlüssel€", "\x00", 5, None, b"bytes"])
def test_a_key_that_cannot_be_a_header_is_refused_unquoted(key: Any) -> None:
    with pytest.raises(ConfigError, match="api_key") as caught:
        HoneyHiveExporter(key)
    assert not key or str(key).strip() not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://u:hidden@host",
        "https://",
        "http://u:hidden@host:port",
        "http://u:hidden@h/#x",
        5,
        "http://[x",
        "http://h\n",
    ],
)
def test_a_url_that_cannot_be_right_is_refused_unquoted(url: Any) -> None:
    with pytest.raises(ConfigError, match="server_url") as caught:
        HoneyHiveExporter(KEY, url)
    assert "hidden" not in str(caught.value)


def test_contradicting_arguments_are_refused() -> None:
    with httpx.Client() as client, httpx.HTTPTransport() as transport:
        with pytest.raises(ConfigError, match="client or transport"):
            HoneyHiveExporter(KEY, client=client, transport=transport)
    for timeout in (0, -1, math.nan, True, "5"):
        with pytest.raises(ConfigError, match="timeout"):
            HoneyHiveExporter(KEY, timeout=timeout)  # type: ignore[arg-type]


def test_it_is_an_exporter_whose_names_hold_no_secret() -> None:
    exporter = HoneyHiveExporter(KEY, "https://user:hidden@host:8443/base/?token=hidden")
    assert isinstance(exporter, Exporter)
    for text in (repr(exporter), exporter.destination):
        assert "https://host:8443/base" in text
        assert "hidden" not in text
        assert KEY not in text


def test_the_destination_tells_keys_and_servers_apart_and_stays_the_same() -> None:
    same = [HoneyHiveExporter(KEY, url).destination for url in ("http://h/p", "http://h/p/")]
    others = [HoneyHiveExporter("other", "http://h/p").destination, HoneyHiveExporter(KEY, "http://h").destination]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 3
    rotating = [HoneyHiveExporter(ask, "http://h").destination for ask in [lambda: next(iter("ab"))] * 2]
    assert len(set(rotating)) == 1


# Order and form


def test_sessions_go_first_then_events_then_updates(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    stored, first, second = event(), session(), event()
    export(exporter, stored)
    export(exporter, update(stored, metadata={"a": 1}), second, first)
    assert calls(server)[1:] == [SESSION, BATCH, ("PUT", f"/v1/events/{stored.event_id}")]
    assert [kind for kind, _ in server.order] == ["event", "session", "event", "update"]


def test_bodies_travel_as_they_are(make: Make, server: FaultServer) -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200)

    odd = [Event("event", b"1", b'{ "a" : 1.0}', 1), Event("event", b"2", b"{ }", 2)]
    export(make(KEY, "http://h", transport=httpx.MockTransport(answer)), *odd)
    assert sent == [b'{"events":[{ "a" : 1.0},{ }]}']


def test_requests_carry_the_headers_of_the_contract_and_repeat_them(
    exporter: HoneyHiveExporter, server: FaultServer
) -> None:
    batch = [event(), event()]
    server.mode("status", status=500, first=1)
    refused(exporter, *batch)
    export(exporter, *batch)
    first, second = (request.headers for request in server.requests)
    assert first == second
    assert first["authorization"] == f"Bearer {KEY}"
    assert first["hh-client-timestamp"] == str(batch[0].time_ns)
    assert first["user-agent"] == f"honeytrace/{__version__}"
    assert first["content-type"] == "application/json"
    assert first["accept-encoding"] == "identity"


def test_a_path_and_a_query_in_the_url_are_kept(make: Make) -> None:
    with FaultServer(key=KEY, prefix="/base") as server:
        url = f"{server.url}/?via=x".replace("http://", "http://user:hidden@")
        export(make(KEY, url), session(), event())
        assert [path for _, path in calls(server)] == ["/base/v1/sessions?via=x", "/base/v1/events/batch?via=x"]
        assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


def test_requests_are_cut_by_bytes_and_by_count(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    export(exporter, *[event("x" * 1_000_000) for _ in range(7)])
    assert [request.size < 3_500_100 for request in server.requests] == [True] * 3
    export(exporter, *[event() for _ in range(2001)])
    assert len(server.requests) == 6
    assert server.connections == 1


def test_updates_of_what_is_in_the_batch_cost_no_request(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    one, chat = event(outputs={"a": 1}, metadata={"keep": 1, "change": 1}), session()
    export(
        exporter,
        chat,
        one,
        update(one, outputs={"b": 2}, metadata={"change": 2}, feedback={"rating": 1}),
        update(one, feedback={"rating": 5, "why": "x"}, inputs={"never": "changes"}),
        update(chat, outputs={"done": True}, end_time=9.0, metadata={"m": 1}),
    )
    assert calls(server) == [SESSION, BATCH]
    [stored] = server.events
    assert stored["outputs"] == {"b": 2}
    assert stored["metadata"] == {"keep": 1, "change": 2}
    assert stored["feedback"] == {"rating": 5, "why": "x"}
    assert stored["inputs"] == {"text": "x"}
    assert server.sessions[0]["outputs"] == {"done": True}
    assert server.sessions[0]["end_time"] == 9.0


def test_what_a_session_cannot_take_is_put(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    chat = session()
    export(exporter, chat, update(chat, feedback={"rating": 1}, metadata={"a": 1}), update(chat, metrics={"m": 2}))
    assert calls(server) == [SESSION, ("PUT", f"/v1/events/{chat.event_id}")]
    assert server.sessions[0]["metadata"] == {"a": 1}
    assert server.updates == [(chat.event_id, {"feedback": {"rating": 1}, "metrics": {"m": 2}})]


def test_several_updates_of_one_id_are_one_request(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    stored = event()
    export(exporter, stored)
    export(exporter, update(stored, metadata={"a": 1, "b": 1}, outputs={"x": 1}), update(stored, metadata={"a": 2}))
    assert server.updates == [(stored.event_id, {"metadata": {"a": 2, "b": 1}, "outputs": {"x": 1}})]


def test_nothing_is_merged_into_what_may_have_arrived(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    one, chat = event(), session()
    server.mode("lost", routes=["batch"], first=2)  # the second: tried at once on a fresh connection
    refused(exporter, chat, one)
    export(exporter, chat, one, update(one, metadata={"late": 1}), update(chat, outputs={"late": 1}))
    assert dict(server.updates) == {
        one.event_id: {"metadata": {"late": 1}},
        chat.event_id: {"outputs": {"late": 1}},
    }
    assert server.session_ids() == {chat.event_id: 1}


# Many sessions


def test_many_sessions_travel_as_events_ahead_of_theirs(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    chats = [session(metadata={"n": number}) for number in range(300)]
    batch = [record for chat in chats for record in (chat, event(session_id=chat.event_id))]
    ends = [update(chat, outputs={"done": 1}, feedback={"rating": 1}) for chat in chats]
    export(exporter, *batch, *ends)
    assert calls(server) == [BATCH]
    assert server.events[0] == {
        "event_id": chats[0].event_id,
        "session_id": chats[0].event_id,
        "event_type": "session",
        "event_name": "chat",
        "inputs": {},
        "start_time": 1.0,
        "metadata": {"n": 0},
        "outputs": {"done": 1},
        "feedback": {"rating": 1},
    }
    assert len(server.session_ids()) == len(server.event_ids()) == 300
    assert all(one["event_type"] == "session" for one in server.events[:300])


def test_a_few_sessions_are_posted(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    export(exporter, *[session() for _ in range(20)])
    assert len(server.sessions) == 20


def test_a_slow_server_gets_sessions_as_events(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    server.mode("slow", seconds=0.4)
    export(exporter, *[session() for _ in range(20)])
    assert len(server.session_ids()) == 20
    assert 2 <= len(server.requests) <= 5
    server.mode("ok")
    export(exporter, event())
    export(exporter, session())
    assert calls(server)[-1] == SESSION


# Servers that know less


def test_without_the_batch_route_events_go_one_by_one(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    server.mode("missing", routes=["batch"], status=405)
    batch = [event() for _ in range(30)]
    export(exporter, *batch)
    export(exporter, event())
    assert calls(server) == [BATCH] + [ALONE] * 31
    assert [one["event_id"] for one in server.events[:30]] == [one.event_id for one in batch]
    assert server.connections == 1


def test_without_the_session_route_sessions_are_events(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    server.mode("missing", routes=["sessions", "batch"])
    chat = session()
    export(exporter, chat, event())
    export(exporter, session())
    assert calls(server) == [SESSION, BATCH, ALONE, ALONE, ALONE]
    assert server.session_ids()[chat.event_id] == 1


def test_a_server_that_knows_nothing_is_a_fault_and_nothing_is_learnt(
    exporter: HoneyHiveExporter, server: FaultServer
) -> None:
    server.mode("missing", routes=["batch", "events"])
    error = refused(exporter, event())
    assert "server_url" in str(error)
    assert not error.permanent
    server.mode("ok")
    export(exporter, event())
    assert calls(server) == [BATCH, ALONE, BATCH]


# Faults


@pytest.mark.parametrize("mode", ["reset", "close", "lost", "cut_length", "cut_chunk", "refuse"])
def test_no_whole_answer_is_a_fault_that_may_pass(exporter: HoneyHiveExporter, server: FaultServer, mode: str) -> None:
    one = event()
    server.mode(mode)
    error = refused(exporter, one)
    assert not error.permanent
    server.mode("ok")
    export(exporter, one)
    assert 1 <= server.event_ids()[one.event_id] <= 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_when_it_says(
    exporter: HoneyHiveExporter, server: FaultServer, status: int
) -> None:
    server.mode("status", status=status, retry_after=7)
    error = refused(exporter, event())
    assert (error.retry_after, error.permanent) == (7.0, False)
    assert str(status) in str(error)


def test_retry_after_is_seconds_or_a_date_or_nothing() -> None:
    now = 1_000_000_000.0
    assert retry_after("12", now) == 12
    assert retry_after(formatdate(now + 30, usegmt=True), now) == pytest.approx(30, abs=1)
    assert retry_after(formatdate(now - 30, usegmt=True), now) == 0
    assert [retry_after(text, now) for text in ("", "soon", "-1", "1e999", "inf", None)] == [None] * 6


def test_a_redirect_is_a_fault_and_the_key_goes_nowhere_else(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    with FaultServer() as other:
        server.mode("redirect", to=f"{other.url}/v1/events/batch")
        error = refused(exporter, event())
        assert "307" in str(error)
        assert not error.permanent
        assert other.url not in str(error)
        assert other.connections == 0


@pytest.mark.parametrize("status", [400, 422])
def test_an_invalid_request_is_permanent_and_says_why(
    exporter: HoneyHiveExporter, server: FaultServer, status: int
) -> None:
    server.mode("poison", marker="POISON", status=status)
    error = refused(exporter, event("POISON"))
    assert error.permanent
    assert "an event is invalid" in str(error)


def test_a_server_that_repeats_the_key_is_not_quoted(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    server.mode("status", status=400, text='{"message": "who is %s?"}' % KEY)
    assert str(refused(exporter, event())) == "HTTP 400 for POST /v1/events/batch"


def test_any_other_4xx_is_kept(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    server.mode("status", status=418)
    error = refused(exporter, event())
    assert not error.permanent
    assert "418" in str(error)


def test_too_large_is_halved_and_remembered(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    server.mode("limit", bytes=1_000_000)
    export(exporter, *[event("x" * 50_000) for _ in range(60)])
    assert len(server.event_ids()) == 60
    assert server.statuses()[413] <= 3
    before = server.statuses()[413]
    export(exporter, *[event("x" * 50_000) for _ in range(60)])
    assert server.statuses()[413] == before


def test_a_single_event_too_large_is_permanent(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    server.mode("limit", bytes=10_000)
    assert refused(exporter, event("x" * 20_000)).permanent


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_said_in_one_line_and_asked_for_less_and_less(
    exporter: HoneyHiveExporter, server: FaultServer, status: int
) -> None:
    server.mode("status", status=status)
    errors = [refused(exporter, event()) for _ in range(7)]
    assert [error.retry_after for error in errors] == [2, 4, 8, 16, 32, 60, 60]
    assert not any(error.permanent for error in errors)
    assert "key" in str(errors[0])
    assert "\n" not in str(errors[0])
    assert len(set(map(str, errors))) == 1
    server.mode("ok")
    export(exporter, event())
    server.mode("status", status=status)
    assert refused(exporter, event()).retry_after == 2


def test_a_rotated_key_continues(make: Make, server: FaultServer) -> None:
    keys = iter(["old", KEY])
    exporter = make(lambda: next(keys), server.url)
    one = event()
    assert "401" in str(refused(exporter, one))
    export(exporter, one)
    assert server.event_ids() == {one.event_id: 1}


def test_a_callable_key_that_fails_is_a_fault_without_its_words(make: Make, server: FaultServer) -> None:
    def fails() -> str:
        raise RuntimeError(KEY)

    assert "RuntimeError" in str(refused(make(fails, server.url), event()))
    assert "api_key" in str(refused(make(lambda: f"{KEY}\n", server.url), event()))
    assert server.requests == []


def test_an_update_that_finds_nothing_is_tried_five_times(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    lost = update(event(), metadata={"a": 1})
    errors = [refused(exporter, lost) for _ in range(6)]
    assert [error.permanent for error in errors] == [False] * 4 + [True] * 2
    waits = [error.retry_after for error in errors[:4]]
    assert waits == sorted(waits) and len(set(waits)) == 4
    assert {str(error) for error in errors[:4]} == {f"no event {lost.event_id} to update yet (HTTP 404)"}
    said = f"no event {lost.event_id} to update: the server does not know it (HTTP 404, 5 times)"
    assert {str(error) for error in errors[4:]} == {said}
    assert len(server.requests) == 5


def test_an_update_whose_event_appears_late_arrives_and_holds_no_other_back(
    exporter: HoneyHiveExporter, server: FaultServer
) -> None:
    late, there = event(), event()
    export(exporter, there)
    batch = [update(late, metadata={"a": 1}), update(there, metadata={"b": 1})]
    assert not refused(exporter, *batch).permanent
    assert [id for id, _ in server.updates] == [there.event_id]
    export(exporter, late)
    export(exporter, *batch)
    assert [id for id, _ in server.updates] == [there.event_id, late.event_id]


def test_of_a_batch_stored_in_part_only_the_rest_is_sent_again(
    exporter: HoneyHiveExporter, server: FaultServer
) -> None:
    server.mode("partial", stored=40, first=1)
    batch = [event() for _ in range(100)]
    assert not refused(exporter, *batch).permanent
    export(exporter, *batch)
    assert server.event_ids() == {one.event_id: 1 for one in batch}


def test_what_arrived_of_a_failed_batch_is_not_sent_again_in_parts_of_it(
    exporter: HoneyHiveExporter, server: FaultServer
) -> None:
    server.mode("poison", marker="POISON")
    chat, good, bad = session(), event("x" * 3_400_000), event("POISON" + "x" * 200_000)
    assert refused(exporter, chat, good, bad).permanent
    before = len(server.requests)
    export(exporter, chat, good)
    assert len(server.requests) == before
    assert refused(exporter, bad).permanent
    export(exporter, chat, good)  # done with: whoever sends them again means it
    assert server.event_ids() == {good.event_id: 2}


def test_the_deadline_is_kept_and_progress_is_said(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    export(exporter, event())
    server.mode("slow", seconds=0.2)
    batch = [event("x" * 2_000_000) for _ in range(8)]
    began, tries = time.monotonic(), 0
    while tries < 20:
        tries += 1
        try:
            export(exporter, *batch, within=0.7)
            break
        except ExportError as error:
            assert error.partly
            assert not error.permanent
    assert 1 < tries < 8
    assert time.monotonic() - began < tries * 0.9
    assert {server.event_ids()[one.event_id] for one in batch} <= {1, 2}
    server.mode("hang")
    assert not refused(exporter, event(), within=0.2).partly


def test_the_timeout_of_a_request_is_no_progress(make: Make, server: FaultServer) -> None:
    exporter = make(KEY, server.url, timeout=0.3)
    server.mode("hang", routes=["batch"])
    error = refused(exporter, session(), event(), within=10)
    assert not error.partly
    assert "time" in str(error)


def test_a_body_that_cannot_be_merged_is_permanent(exporter: HoneyHiveExporter, server: FaultServer) -> None:
    one = event()
    assert refused(exporter, one, Event("update", one.id, b"[1]", 1)).permanent
    assert server.requests == []


def test_the_key_is_never_logged(
    exporter: HoneyHiveExporter, server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        export(exporter, event())
        server.mode("status", status=401)
        refused(exporter, event())
    assert KEY not in caplog.text


# With the flusher


class Line:
    """A journal and a flusher in front of an exporter."""

    def __init__(self, exporter: Exporter, **settings: Any) -> None:
        self.journal = Journal("line", 1 << 30)
        self.flusher = Flusher(self.journal, exporter, **settings)

    def submit(self, *records: Event) -> None:
        for record in records:
            self.journal.append(*record)


@pytest.fixture()
def line(exporter: HoneyHiveExporter) -> Iterator[Line]:
    line = Line(exporter, interval=3600)
    yield line
    line.flusher.stop(0)


def test_one_poisoned_event_among_a_hundred_is_set_aside_alone(line: Line, server: FaultServer) -> None:
    server.mode("poison", marker="POISON")
    batch = [event("POISON" if number == 37 else "fine") for number in range(100)]
    line.submit(*batch)
    result = line.flusher.flush(20)
    assert (result.set_aside, result.pending) == (1, 0)
    assert server.event_ids() == {one.event_id: 1 for number, one in enumerate(batch) if number != 37}


def test_one_event_beyond_the_limit_is_set_aside_alone(line: Line, server: FaultServer) -> None:
    server.mode("limit", bytes=1_000_000)
    batch = [event("x" * (3_000_000 if number == 20 else 50_000)) for number in range(61)]
    line.submit(*batch)
    result = line.flusher.flush(20)
    assert (result.set_aside, result.pending) == (1, 0)
    assert len(server.event_ids()) == 60


def test_an_update_of_nothing_is_set_aside_and_its_neighbours_arrive(line: Line, server: FaultServer) -> None:
    batch = [event(), update(event(), metadata={"a": 1}), event()]
    line.submit(*batch)
    for _ in range(20):
        if not line.flusher.flush(5).pending:
            break
    assert len(server.event_ids()) == 2
    assert line.flusher.flush(0).set_aside <= 1
    assert line.journal.empty


def test_roots_arrive_as_sessions_with_their_events(line: Line, server: FaultServer) -> None:
    roots = [event(event_name="root", session_id=str(uuid4()))._replace(kind="root") for _ in range(200)]
    line.submit(*roots)
    assert line.flusher.flush(20)
    assert len(server.session_ids()) == len(server.event_ids()) == 200
    assert calls(server) == [BATCH]


def test_faults_of_every_kind_in_a_row_lose_nothing(line: Line, server: FaultServer) -> None:
    batch = []
    for mode in ("reset", "close", "lost", "cut_chunk", "partial", "slow", "html", "garbage", "gzip"):
        options: dict[str, Any] = {"partial": {"stored": 3}, "slow": {"seconds": 0.05}, "gzip": {"bytes": 1000}}.get(
            mode, {}
        )
        server.mode(mode, first=1, **options)
        sent = [event() for _ in range(10)]
        batch += sent
        line.submit(*sent)
        assert line.flusher.flush(20).pending == 0, mode
    assert server.event_ids().keys() == {one.event_id for one in batch}
    assert max(server.event_ids().values()) <= 2


def test_events_cost_little(make: Make) -> None:
    """50,000 events in well under half a second of CPU time; the bound leaves room for a noisy machine."""
    events = [event("x" * 350) for _ in range(20_000)]
    with ServerProcess() as server:
        exporter = make(KEY, server.url)
        export(exporter, event())
        began = time.process_time()
        for start in range(0, len(events), 1000):
            export(exporter, *events[start : start + 1000])
        assert time.process_time() - began < 0.6
        assert server.counts()["ids"] == 20_001
        exporter.close()
