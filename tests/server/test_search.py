"""POST /v1/events/search and /v1/events/export: every operator, type, date range, paging; and what `count` counts."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from server_process import ServeProcess, event, uid

START = 1_700_000_000_000
ISO = "2023-11-14T22:13:{:02d}Z"  # START is second 20


@pytest.fixture(scope="module")
def session(server: ServeProcess) -> str:
    """Eight events, one second apart, named e0 to e7."""
    session_id = uid()
    sent = []
    for number in range(8):
        fields: dict[str, Any] = {
            "event_name": f"e{number}",
            "start_time": START + number * 1000,
            "duration": number * 10,
            "metadata": {"n": number, "text": f"n{number}", "even": number % 2 == 0, "at": ISO.format(20 + number)},
            "outputs": {"result": f"the result is {number}"},
        }
        if number == 3:
            fields.update(
                error="ValueError: no", metadata={"n": "3", "tags": ["red", "blue"], "deep": {"er": {"x": 1}}}
            )
        if number == 4:
            fields["metadata"]["dotted.name"] = {"y": "z"}
        sent.append(event(session_id=session_id, **fields))
    server.post("/v1/sessions", {"session_id": session_id, "session_name": "s", "start_time": START - 1})
    assert server.post("/v1/events/batch", {"events": sent}).status_code == 200
    return session_id


def names(found: dict[str, Any]) -> str:
    return "".join(one["event_name"].removeprefix("e") for one in reversed(found["events"]))


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (("event_name", "is", "e2"), "2"),
        (("event_name", "is", "nobody"), ""),
        (("event_name", "is not", "e2"), "0134567"),
        (("event_name", "is not", "nobody"), "01234567"),
        (("event_name", "contains", "e"), "01234567"),
        (("event_name", "contains", "7"), "7"),
        (("event_name", "not contains", "7"), "0123456"),
        (("event_type", "is", "tool"), "01234567"),
        (("event_type", "is not", "tool"), ""),
        (("error", "exists", None), "3"),
        (("error", "not exists", None), "0124567"),
        (("error", "contains", "Value"), "3"),
        (("error", "is", "ValueError: no"), "3"),
        (("metadata.n", "is", 2), "2"),
        (("metadata.n", "is", 2.0), "2"),
        (("metadata.n", "is", "2", "number"), "2"),
        (("metadata.n", "is", 3), ""),
        (("metadata.n", "is", "3"), "3"),
        (("metadata.n", "is", "5", "string"), "5"),
        (("metadata.n", "is not", 2), "0134567"),
        (("metadata.n", "greater than", 4), "567"),
        (("metadata.n", "less than", 2), "01"),
        (("metadata.n", "greater than", "4", "number"), "567"),
        (("metadata.text", "is", "n6"), "6"),
        (("metadata.text", "exists", None), "0124567"),
        (("metadata.text", "not exists", None), "3"),
        (("metadata.text", "contains", "n"), "0124567"),
        (("metadata.text", "not contains", "n6"), "0123457"),
        (("metadata.even", "is", True), "0246"),
        (("metadata.even", "is", "true", "boolean"), "0246"),
        (("metadata.even", "is not", True), "1357"),
        (("metadata.even", "is", False), "157"),
        (("metadata.tags", "contains", "red"), "3"),
        (("metadata.tags", "exists", None), "3"),
        (("metadata.deep.er.x", "is", 1), "3"),
        (("metadata.deep", "exists", None), "3"),
        (("metadata.dotted.name.y", "is", "z"), "4"),
        (("metadata", "exists", None), "01234567"),
        (("metadata.at", "after", ISO.format(25), "datetime"), "67"),
        (("metadata.at", "before", ISO.format(22), "datetime"), "01"),
        (("outputs.result", "contains", "result is 5"), "5"),
        (("outputs.result", "is", "the result is 5"), "5"),
        (("start_time", "after", ISO.format(25)), "67"),
        (("start_time", "before", ISO.format(22)), "01"),
        (("start_time", "greater than", START + 5000), "67"),
        (("start_time", "is", START + 5000), "5"),
        (("duration", "greater than", 55), "67"),
        (("duration", "less than", 15, "number"), "01"),
        (("nothing", "is", None), "01234567"),
        (("metadata.n", "is", "x", "number"), ""),
        (("metadata.n", "is not", "x", "number"), "01234567"),
        (("start_time", "after", "yesterday"), ""),
        (("metadata.even", "greater than", 1.5, "boolean"), ""),
    ],
)
def test_operators_and_types(server: ServeProcess, session: str, filter: tuple[Any, ...], expected: str) -> None:
    mine = (("session_id", "is", session), ("event_type", "is not", "session", "string"))
    found = server.search(*mine, filter)
    assert (names(found), found["count"]) == (expected, len(expected))


def test_newest_start_time_comes_first(server: ServeProcess, session: str) -> None:
    starts = [one["start_time"] for one in server.search(("session_id", "is", session))["events"]]
    assert starts == sorted(starts, reverse=True)


def test_pages_divide_what_matches_and_count_all_of_it(server: ServeProcess, session: str) -> None:
    mine = (("session_id", "is", session), ("event_type", "is", "tool"))
    pages = [server.search(*mine, limit=3, page=number) for number in (1, 2, 3, 4)]
    assert [names(page) for page in pages] == ["567", "234", "01", ""]
    assert [page["count"] for page in pages] == [8, 8, 8, 8]
    residual = [server.search(*mine, ("outputs.result", "contains", "is"), limit=3, page=n) for n in (1, 3)]
    assert [(names(page), page["count"]) for page in residual] == [("567", 8), ("01", 8)]


def test_a_date_range_includes_its_ends(server: ServeProcess, session: str) -> None:
    dates = {"start_time": ISO.format(22), "end_time": "2023-11-14T23:13:24+01:00"}
    assert names(server.search(("session_id", "is", session), dateRange=dates)) == "234"


def test_contains_finds_a_text_however_its_json_is_written(store: Path) -> None:
    inputs = (r'{"q":"in plain text"}', r'{ "q" : "in pl\u0061in text" , "n" : 1e3 }', '{"q":"in other words"}')
    with ServeProcess(store) as server:
        connection = sqlite3.connect(store, timeout=20)
        for one in inputs:
            body = f'{{"session_id":"{uid()}","event_type":"tool","inputs":{one}}}'
            connection.execute("INSERT INTO events (event_id, body) VALUES (?, ?)", (uid(), body))
        connection.commit()
        connection.close()
        for filter, count in (
            (("inputs.q", "contains", "plain text"), 2),
            (("inputs", "contains", '"q":"in plain text"'), 2),
            (("inputs.q", "is", "in plain text"), 2),
            (("inputs.q", "contains", "in"), 3),
            (("inputs.n", "contains", "1000"), 1),
            (("inputs", "contains", ',"n":1000.0'), 1),
            (("inputs.q", "contains", "Plain text"), 0),
            (("inputs.q", "not contains", "plain text"), 1),
            (("event_id", "contains", "-"), 3),
        ):
            assert server.search(filter)["count"] == count, filter


def test_what_was_answered_200_is_found_at_once(server: ServeProcess) -> None:
    for _ in range(6):
        event_id, secret = uid(), uid()
        server.post("/v1/events", event(event_id=event_id, metadata={"secret": secret}))
        assert server.search(("metadata.secret", "is", secret))["events"][0]["event_id"] == event_id
        server.put(f"/v1/events/{event_id}", {"metadata": {"secret": "other"}})
        assert server.search(("metadata.secret", "is", secret))["count"] == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"limit": 0}, "limit: expected an integer from 1 to 1000, got 0"),
        ({"limit": 1001}, "limit: expected"),
        ({"limit": 1.5}, "limit: expected"),
        ({"page": 0}, "page: expected"),
        ({"project": "p"}, "project: unknown field"),
        ({"filters": [{"field": "a", "operator": "is"}]}, "filters[0].value: required"),
        (
            {"filters": [{"field": "a", "operator": "like", "value": 1}]},
            "filters[0].operator: expected one of 'exists'",
        ),
        ({"dateRange": {"start_time": "2024-01-01T00:00:00Z"}}, "dateRange.end_time: required"),
        ({"dateRange": {"start_time": "yesterday", "end_time": "2024-01-01"}}, "dateRange.start_time: expected an ISO"),
    ],
)
def test_a_search_that_cannot_be_meant_is_400(server: ServeProcess, body: dict[str, Any], words: str) -> None:
    answer = server.post("/v1/events/search", body)
    assert answer.status_code == 400
    assert words in answer.json()["message"]


def test_a_page_in_many_pieces_is_in_order_and_whole(server: ServeProcess) -> None:
    session_id = uid()
    texts = [f"{number} " + "x" * 1_500_000 for number in range(20)]
    for number, text in enumerate(texts):
        one = event(session_id=session_id, start_time=1000 + number, inputs={"text": text})
        assert server.post("/v1/events", one).status_code == 200
    mine = {"field": "session_id", "operator": "is", "value": session_id}
    tools = {"field": "event_type", "operator": "is", "value": "tool"}
    for more in ([], [{"field": "inputs.text", "operator": "contains", "value": "x"}]):
        found = server.post("/v1/events/search", {"filters": [mine, tools, *more]}).json()
        assert [one["inputs"]["text"] for one in found["events"]] == texts[::-1]
        assert found["count"] == 20
    wanted = {"filters": [mine, tools], "projections": ["inputs"], "limit": 15}
    exported = server.post("/v1/events/export", wanted).json()
    assert exported == {"events": [{"inputs": {"text": text}} for text in texts[:4:-1]], "count": 20}


def test_any_number_of_filters_is_answered(server: ServeProcess, session: str) -> None:
    mine = {"field": "session_id", "operator": "is", "value": session}
    other = [{"field": "event_name", "operator": "is not", "value": f"nobody {number}"} for number in range(2000)]
    few = server.post("/v1/events/search", {"filters": [mine]}).json()
    assert server.post("/v1/events/search", {"filters": [mine, *other]}).json() == few
    assert few["count"] > 3


def test_export_takes_its_own_date_range_more_rows_and_projections(server: ServeProcess, session: str) -> None:
    body = {
        "filters": [{"field": "session_id", "operator": "is", "value": session, "type": "string"}],
        "dateRange": {"$gte": ISO.format(22), "$lte": ISO.format(23)},
        "projections": ["event_name"],
        "limit": 7500,
        "whatever": True,
    }
    assert server.post("/v1/events/export", body).json() == {
        "events": [{"event_name": "e3"}, {"event_name": "e2"}],
        "count": 2,
    }
