"""What the page reads: lists with filters and pages, a session with outlines, an event with its long values cut."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from server_process import ServeProcess, event, uid

NOW = time.time() * 1000


@pytest.fixture(scope="module")
def sessions(server: ServeProcess) -> list[str]:
    """Six sessions, the first the oldest; each with two events."""
    ids = [uid() for _ in range(6)]
    for number, one in enumerate(ids):
        start = NOW - 100_000_000 + number * 1000
        session = {"session_id": one, "session_name": f"s{number}", "source": "prod" if number % 2 else "dev"}
        server.post("/v1/sessions", {**session, "start_time": start, "end_time": start + 100 * number})
        events = [
            event(
                session_id=one,
                event_type="model",
                event_name=f"ask {number}",
                config={"model": f"m{number % 3}"},
                inputs={"chat_history": [{"role": "user", "content": f"bees number{number} Österreich"}]},
                user_properties={"user_id": f"u{number % 2}"},
                metadata={"tenant": number, "flag": number == 1, "total_tokens": 5, "time_to_first_token_ms": 12},
                start_time=start + 1,
                end_time=start + 11,
                duration=10,
            ),
            event(session_id=one, start_time=start + 2, outputs={"result": "wax " * number}),
        ]
        if number == 4:
            events[1]["error"] = "ValueError: no"
        assert server.post("/v1/events/batch", {"events": events}).status_code == 200
    return ids


def listed(server: ServeProcess, sessions: list[str], **filters: Any) -> str:
    answer = server.get("/ui/api/sessions", params=filters)
    assert answer.status_code == 200, answer.text
    return "".join(str(sessions.index(one["session_id"])) for one in answer.json()["sessions"])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "543210"),
        ({"q": "bees"}, "543210"),
        ({"q": "bees number3 "}, "3"),
        ({"q": "numb"}, "543210"),
        ({"q": "osterreich number2 "}, "2"),
        ({"q": '"number2 österreich"'}, "2"),
        ({"q": '"österreich number2"'}, ""),
        ({"q": "wax"}, "54321"),
        ({"q": "nobody"}, ""),
        ({"q": '"*:^(-'}, ""),
        ({"q": "NEAR OR bees"}, ""),
        ({"type": "model"}, "543210"),
        ({"name": "ask 2"}, "2"),
        ({"name": "nobody"}, ""),
        ({"source": "prod"}, "531"),
        ({"user": "u0"}, "420"),
        ({"error": "1"}, "4"),
        ({"type": "model", "error": "1"}, ""),
        ({"type": "tool", "error": "1"}, "4"),
        ({"model": "m1"}, "41"),
        ({"meta.tenant": "3"}, "3"),
        ({"meta.flag": "true"}, "1"),
        ({"meta.nothing": "3"}, ""),
        ({"min_duration": "350"}, "54"),
        ({"max_duration": "150"}, "10"),
        ({"since": str(NOW - 100_000_000 + 2500)}, "543"),
        ({"until": str(NOW - 100_000_000 + 2500)}, "210"),
        ({"q": "wax", "source": "prod"}, "531"),
    ],
)
def test_filters_select_sessions_that_hold_a_matching_event(
    server: ServeProcess, sessions: list[str], filters: dict[str, str], expected: str
) -> None:
    assert listed(server, sessions, **filters) == expected


def test_pages_follow_each_other(server: ServeProcess, sessions: list[str]) -> None:
    for filters in ({}, {"type": "model"}):
        seen, cursor = [], None
        for _ in range(4):
            page = server.get("/ui/api/sessions", params={"limit": 2, "cursor": cursor or "", **filters}).json()
            seen += [one["session_id"] for one in page["sessions"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == list(reversed(sessions))


def test_user_source_and_metadata_of_a_session_are_those_of_its_events(server: ServeProcess) -> None:
    ids = {}
    for user in ("ada", "grace"):
        ids[user] = uid()
        about = {"user_properties": {"user_id": f"{user} of all"}, "metadata": {"env": f"{user}-env"}}
        session = {"session_id": ids[user], "source": f"{user}-source", **about}
        assert server.post("/v1/sessions", session).status_code == 200
        failed = event(session_id=ids[user], event_name="shared", error="ValueError: no", inputs={"q": "apiary"})
        fine = event(session_id=ids[user], event_name="alone", event_type="model")
        assert server.post("/v1/events/batch", {"events": [failed, fine]}).status_code == 200
    for mine in ({"user": "ada of all"}, {"source": "ada-source"}, {"meta.env": "ada-env"}):
        for other in ({"error": "1"}, {"name": "shared"}, {"type": "tool"}, {"q": "apiary "}, {"user": "ada of all"}):
            assert listed(server, [ids["ada"], ids["grace"]], **{**mine, **other}) == "0", (mine, other)
    both = {"user": "ada of all", "error": "1"}
    assert listed(server, [ids["ada"], ids["grace"]], **{**both, "type": "model"}) == ""  # of one event, all the same
    assert listed(server, [ids["ada"], ids["grace"]], **both, source="grace-source") == ""


def test_a_summary_says_what_the_list_shows(server: ServeProcess, sessions: list[str]) -> None:
    found = next(one for one in server.get("/ui/api/sessions").json()["sessions"] if one["session_id"] == sessions[4])
    start = NOW - 100_000_000 + 4000
    assert found == {
        "session_id": sessions[4],
        "name": "s4",
        "source": "dev",
        "user_id": None,
        "start_time": pytest.approx(start),
        "end_time": pytest.approx(start + 400),
        "duration": pytest.approx(400),
        "events": 2,
        "errors": 1,
        "tokens": 5,
        "cost": None,
        "inputs_preview": "bees number4 Österreich",
        "outputs_preview": "",
        "status": "error",
    }


@pytest.mark.parametrize(
    "query",
    [
        *("sessions?limit=x", "sessions?cursor=nonsense", "sessions?type=agent", "sessions?since=yesterday"),
        *("sessions?min_duration=long", "sessions?since=nan", "sessions?max_duration=inf", "sessions?cursor=nan_1"),
        *("sessions?cursor=1_99999999999999999999", "overview?buckets=x", "overview?since=nan"),
        *("overview?since=-inf&until=inf", "overview?until=1e308"),
    ],
)
def test_a_question_that_cannot_be_meant_is_400(server: ServeProcess, query: str) -> None:
    answer = server.get(f"/ui/api/{query}")
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert query.partition("?")[2].partition("=")[0] + ": expected" in answer.json()["message"]


def test_a_session_brings_outlines_and_later_only_what_is_new(server: ServeProcess, sessions: list[str]) -> None:
    found = server.get(f"/ui/api/sessions/{sessions[1]}").json()
    assert found["session"]["event_name"] == "s1"
    assert [one["event_type"] for one in found["events"]] == ["session", "model", "tool"]
    model = found["events"][1]
    assert (model["model"], model["tokens"], model["first_token_ms"], model["duration"]) == ("m1", 5, 12, 10)
    assert "inputs" not in model
    assert "bees number1" in model["inputs_preview"] or "role" in model["inputs_preview"]
    assert server.get(f"/ui/api/sessions/{sessions[1]}?after_seq={found['seq']}").json()["events"] == []
    new = server.post("/v1/events", event(session_id=sessions[1])).json()["event_id"]
    later = server.get(f"/ui/api/sessions/{sessions[1]}?after_seq={found['seq']}").json()
    assert [one["event_id"] for one in later["events"]] == [new]
    assert server.get(f"/ui/api/sessions/{uid()}").status_code == 404
    assert server.get(f"/ui/api/sessions/{sessions[1]}?after_seq=x").status_code == 400


def test_long_values_are_cut_and_can_be_had_whole(server: ServeProcess) -> None:
    inputs = {"text": "é" * 100_000, "list": list(range(5000)), "map": {f"k{n}": n for n in range(500)}, "short": "s"}
    event_id = server.post("/v1/events", event(inputs=inputs)).json()["event_id"]
    found = server.get(f"/ui/api/events/{event_id}").json()
    assert {(tuple(cut["path"]), cut["length"], cut["kind"]) for cut in found["cut"]} == {
        (("inputs", "text"), 100_000, "string"),
        (("inputs", "list"), 5000, "array"),
        (("inputs", "map"), 500, "object"),
    }
    assert found["event"]["inputs"]["short"] == "s"
    assert len(json.dumps(found)) < 100_000
    for name, whole in inputs.items():
        path = json.dumps(["inputs", name])
        assert server.get(f"/ui/api/events/{event_id}/value", params={"path": path}).json() == whole
    element = server.get(f"/ui/api/events/{event_id}/value", params={"path": '["inputs","list",7]'})
    assert element.json() == 7
    assert server.get(f"/ui/api/events/{event_id}/value", params={"path": '["inputs","none"]'}).status_code == 404
    assert server.get(f"/ui/api/events/{event_id}/value", params={"path": "x"}).status_code == 400
    assert server.get(f"/ui/api/events/{uid()}").status_code == 404


def test_a_session_is_downloaded_whole(server: ServeProcess) -> None:
    session_id, big = uid(), 123456789012345678901234567890
    server.post("/v1/events", event(session_id=session_id, inputs={"n": big, "t": "x" * 10_000}))
    answer = server.get(f"/ui/api/sessions/{session_id}/download")
    assert "attachment" in answer.headers["content-disposition"]
    found = answer.json()
    assert found["session_id"] == session_id
    assert [one["event_type"] for one in found["events"]] in (["session", "tool"], ["tool", "session"])
    assert {"n": big, "t": "x" * 10_000} in [one["inputs"] for one in found["events"]]


def test_a_download_in_many_pieces_is_in_order_and_whole(server: ServeProcess) -> None:
    session_id = uid()
    events = [event(session_id=session_id, start_time=1000 + number, inputs={"n": number}) for number in range(50)]
    server.post("/v1/sessions", {"session_id": session_id, "start_time": 999})
    assert server.post("/v1/events/batch", {"events": events[::-1]}).status_code == 200
    found = server.get(f"/ui/api/sessions/{session_id}/download").json()["events"]
    assert [one["inputs"].get("n") for one in found] == [None, *range(50)]
    assert server.get(f"/ui/api/sessions/{uid()}/download").status_code == 404


def test_facets_name_what_was_used(server: ServeProcess, sessions: list[str]) -> None:
    found = server.get("/ui/api/facets").json()
    assert {"m0", "m1", "m2"} <= set(found["models"])
    assert {"dev", "prod"} <= set(found["sources"])
    assert {"u0", "u1"} <= set(found["users"])
    assert {"session", "model", "tool"} <= set(found["types"])
    assert "ask 3" in found["names"]


def test_the_overview_sums_up_over_time(store: Path) -> None:
    with ServeProcess(store) as server:
        events = [
            event(
                event_name="even" if n % 2 == 0 else "odd", start_time=n * 1000 + 1, duration=n, metadata={"cost": 0.5}
            )
            for n in range(100)
        ]
        events[0]["error"] = "no"
        server.post("/v1/events/batch", {"events": events})
        found = server.get("/ui/api/overview?since=0&until=100000&buckets=10").json()
        assert [bucket["events"] for bucket in found["buckets"]] == [10] * 10
        assert [bucket["errors"] for bucket in found["buckets"]] == [1] + [0] * 9
        assert [bucket["p50"] for bucket in found["buckets"]] == [4 + 10 * n for n in range(10)]
        assert found["groups"][0] == {
            "key": "even", "events": 50, "errors": 1, "p50": 48, "p95": 94, "tokens": 0, "cost": 25.0,
        }  # fmt: skip
        assert server.get("/ui/api/overview?by=model").json()["groups"] == []
        assert server.get("/ui/api/overview?by=color").status_code == 400


def test_a_store_without_events_has_empty_answers(store: Path) -> None:
    with ServeProcess(store) as server:
        assert server.get("/ui/api/sessions").json() == {"sessions": [], "next": None}
        assert server.get("/ui/api/facets").json()["names"] == []
        assert server.get("/ui/api/overview").json()["groups"] == []
        assert server.search() == {"events": [], "count": 0}


def test_a_list_shows_what_a_session_was_asked_and_what_it_answered(server: ServeProcess) -> None:
    def summary_of(session_id: str) -> tuple[str, str]:
        found = server.get(f"/ui/api/sessions/{session_id}").json()["summary"]
        return found["inputs_preview"], found["outputs_preview"]

    own, mute = uid(), uid()
    asked = {"session_id": own, "inputs": {"question": "why?"}, "outputs": {"result": "because"}}
    assert server.post("/v1/sessions", asked).status_code == 200
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How late is it?"}]
    tool_call = {"id": "1", "function": {"name": "clock", "arguments": "{}"}}
    first = event(
        session_id=mute,
        start_time=5000,
        event_type="model",
        inputs={"chat_history": chat},
        outputs={"role": "assistant", "content": None, "tool_calls": [tool_call]},
    )
    later = event(session_id=mute, start_time=6000, inputs={"zone": "UTC"}, outputs={"result": "noon"})
    below = event(session_id=mute, start_time=4000, parent_id=uid(), inputs={"deep": "down"})
    for one in (later, below, first):
        assert server.post("/v1/events", one).status_code == 200
    assert summary_of(own) == ("why?", "because")
    assert summary_of(mute) == ("How late is it?", "clock()")
    server.put(f"/v1/events/{mute}", {"outputs": {"result": "late"}})
    assert summary_of(mute) == ("How late is it?", "late")


def test_the_files_of_the_page_are_kept_by_browsers_until_they_change(server: ServeProcess) -> None:
    document = server.get("/")
    assert document.headers["cache-control"] == "no-cache"
    names = set(re.findall(r'"(/static/[^"]+)"', document.text))
    assert len(names) > 20
    for name in names:
        assert re.match(r"/static/[0-9a-f]{16}/\w+\.\w+$", name)
        kept = server.get(name)
        assert kept.status_code == 200
        assert "immutable" in kept.headers["cache-control"]
        plain = server.get(re.sub("/[0-9a-f]{16}", "", name))
        assert plain.content == kept.content
        assert plain.headers["cache-control"] == "no-store"
