"""Every sentence of the contract about writing and reading single events, over real sockets."""

from __future__ import annotations

import gzip
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from server_process import ServeProcess, event, uid

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
FULL = {
    "event_type": "model",
    "event_name": "ask",
    "source": "prod",
    "config": {"model": "gpt-4o"},
    "inputs": {"chat_history": [{"role": "user", "content": "grüß dich \u202e \U0001f41d"}]},
    "outputs": {"content": "hello"},
    "error": None,
    "metadata": {"total_tokens": 12, "big": 12345678901234567890123},
    "metrics": {"score": 0.5},
    "feedback": {"rating": 5},
    "user_properties": {"user_id": "ada"},
    "children_ids": [],
    "start_time": 1700000000000.25,
    "end_time": 1700000000100,
    "duration": 99.75,
}


def test_a_bare_event_is_answered_with_its_id_and_success(server: ServeProcess) -> None:
    event_id = uid()
    answer = server.post("/v1/events", event(event_id=event_id))
    assert (answer.status_code, answer.json()) == (200, {"event_id": event_id, "success": True})


def test_ids_are_generated_and_the_parent_is_the_session(server: ServeProcess) -> None:
    event_id = server.post("/v1/events", event()).json()["event_id"]
    stored = server.event(event_id)
    assert UUID4.match(event_id)
    assert UUID4.match(stored["session_id"])
    assert stored["parent_id"] == stored["session_id"] != event_id


def test_each_event_without_a_session_gets_one_of_its_own(server: ServeProcess) -> None:
    ids = server.post("/v1/events/batch", {"events": [event(), event()]}).json()["event_ids"]
    assert server.event(ids[0])["session_id"] != server.event(ids[1])["session_id"]


def test_name_and_source_default_to_unknown_and_nothing_else_appears(server: ServeProcess) -> None:
    stored = server.event(server.post("/v1/events", event()).json()["event_id"])
    assert (stored["event_name"], stored["source"]) == ("unknown", "unknown")
    assert set(stored) == {"event_id", "session_id", "parent_id", "event_type", "event_name", "source", "inputs"}


def test_every_field_comes_back_as_it_was_sent(server: ServeProcess) -> None:
    ids = {"event_id": uid(), "session_id": uid(), "parent_id": uid()}
    assert server.post("/v1/events", {**FULL, **ids}).status_code == 200
    assert server.event(ids["event_id"]) == {**FULL, **ids}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": {}}, "event_type: required"),
        ({"event_type": "tool"}, "inputs: required, an object was expected"),
        ({"event_type": "agent", "inputs": {}}, "event_type: expected one of 'chain', 'model', 'tool', 'session', got"),
        ({"event_type": "tool", "inputs": None}, "inputs: expected an object, got null"),
        ({"event_type": "tool", "inputs": {}, "outputs": None}, "outputs: expected an object, got null"),
        ({"event_type": "tool", "inputs": {}, "outputs": "x"}, "outputs: expected an object, got a string"),
        ({"event_type": "tool", "inputs": {}, "start_time": "2024"}, "start_time: expected a number, got a string"),
        ({"event_type": "tool", "inputs": {}, "duration": True}, "duration: expected a number, got a boolean"),
        ({"event_type": "tool", "inputs": {}, "session_id": "s1"}, "session_id: expected a UUID, got 's1'"),
        ({"event_type": "tool", "inputs": {}, "children_ids": [1]}, "children_ids[0]: expected a string"),
        ({"event_type": "tool", "inputs": {}, "project": "p"}, "project: unknown field"),
        ({"event": {"event_type": "tool", "inputs": {}}}, "event: unknown field"),
        ([], "the body: expected an object, got an array"),
        (None, "the body: expected an object, got null"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(server: ServeProcess, body: object, words: str) -> None:
    content = json.dumps(body).encode()
    answer = server.client.post("/v1/events", content=content, headers={"content-type": "application/json"})
    error = answer.json()
    assert answer.status_code == error["statusCode"] == 400
    assert error["success"] is False
    assert words in error["message"]


@pytest.mark.parametrize("text", ["{", "", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "\ufeff{}", "'a'"])
def test_what_is_no_json_is_400(server: ServeProcess, text: str) -> None:
    answer = server.client.post("/v1/events", content=text.encode(), headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert "JSON" in answer.json()["message"]


def test_error_may_be_null_and_nothing_else(server: ServeProcess) -> None:
    assert server.post("/v1/events", event(error=None)).status_code == 200
    assert server.post("/v1/events", event(metadata=None)).status_code == 400


def test_a_bad_event_of_a_batch_is_named_and_nothing_is_stored(server: ServeProcess) -> None:
    good = uid()
    answer = server.post("/v1/events/batch", {"events": [event(event_id=good), event(), {"event_type": "tool"}]})
    assert answer.status_code == 400
    assert "events[2].inputs: required" in answer.json()["message"]
    assert server.get(f"/v1/events/{good}").status_code == 404


def test_a_batch_of_several_sessions_answers_ids_in_order(server: ServeProcess) -> None:
    ids, sessions = [uid() for _ in range(5)], [uid(), uid()]
    sent = [event(event_id=one, session_id=sessions[number % 2]) for number, one in enumerate(ids)]
    answer = server.post("/v1/events/batch", {"events": sent})
    assert (answer.status_code, answer.json()) == (200, {"event_ids": ids, "success": True})
    assert [server.event(one)["session_id"] for one in ids] == [one["session_id"] for one in sent]


def test_single_session_makes_one_session_with_its_properties(server: ServeProcess) -> None:
    properties = {
        "session_name": "nightly",
        "start_time": 1700000000000,
        "user_properties": {"user_id": "ada"},
        "metadata": {"run": 7},
        "whatever": ["passes"],
    }
    body = {"events": [event(session_id=uid()), event()], "single_session": True, "session_properties": properties}
    answer = server.post("/v1/events/batch", body).json()
    assert {server.event(one)["session_id"] for one in answer["event_ids"]} == {answer["session_id"]}
    session = server.event(answer["session_id"])
    assert (session["event_type"], session["event_name"]) == ("session", "nightly")
    assert (session["metadata"], session["user_properties"]) == ({"run": 7}, {"user_id": "ada"})
    assert session["start_time"] == 1700000000000


def test_a_session_is_made_when_its_first_event_arrives_without_one(server: ServeProcess) -> None:
    session_id = uid()
    server.post("/v1/events", event(session_id=session_id, event_name="first", start_time=5.0))
    session = server.event(session_id)
    assert (session["event_type"], session["session_id"], session["inputs"]) == ("session", session_id, {})
    server.post("/v1/sessions", {"session_id": session_id, "session_name": "real", "inputs": {"a": 1}})
    assert server.event(session_id)["event_name"] == "real"
    assert server.event(session_id)["inputs"] == {"a": 1}
    server.post("/v1/events", event(session_id=session_id))
    assert server.event(session_id)["event_name"] == "real"


def test_a_repeated_event_id_is_one_row_and_the_last_write_wins(server: ServeProcess) -> None:
    event_id, session_id = uid(), uid()
    for outputs in ({"n": 1, "old": True}, {"n": 2}):
        server.post("/v1/events", event(event_id=event_id, session_id=session_id, outputs=outputs))
    again = [event(event_id=event_id, session_id=session_id, outputs={"n": n}) for n in (3, 4)]
    server.post("/v1/events/batch", {"events": again})
    assert server.event(event_id)["outputs"] == {"n": 4}
    assert server.search(("session_id", "is", session_id), ("event_type", "is", "tool"))["count"] == 1


def test_ids_are_the_same_in_upper_and_lower_case(server: ServeProcess) -> None:
    event_id = uid()
    assert server.post("/v1/events", event(event_id=event_id.upper())).json()["event_id"] == event_id
    assert server.event(event_id.upper())["event_id"] == event_id


def test_a_session_needs_nothing_and_answers_the_whole_event(server: ServeProcess) -> None:
    session = server.post("/v1/sessions", {}).json()
    assert UUID4.match(session["session_id"])
    assert session["event_id"] == session["session_id"]
    assert (session["event_type"], session["event_name"], session["source"]) == ("session", "unknown", "unknown")
    assert all(isinstance(session[name], str) for name in ("org_id", "workspace_id", "project_id"))


def test_a_session_posted_again_merges_metadata_and_user_properties(server: ServeProcess) -> None:
    session_id = uid()
    first = {"session_id": session_id, "session_name": "a", "metadata": {"x": 1, "y": 1}, "source": "prod"}
    server.post("/v1/sessions", first)
    server.post("/v1/sessions", first)
    second = {"session_id": session_id, "metadata": {"y": 2}, "user_properties": {"user_id": "ada"}}
    session = server.post("/v1/sessions", second).json()
    assert session["metadata"] == {"x": 1, "y": 2}
    assert session["user_properties"] == {"user_id": "ada"}
    assert (session["event_name"], session["source"]) == ("a", "prod")
    assert server.search(("session_id", "is", session_id))["count"] == 1


def test_a_session_id_that_is_no_uuid_is_replaced(server: ServeProcess) -> None:
    answer = server.post("/v1/sessions", {"session_id": "mine"})
    assert answer.status_code == 200
    assert UUID4.match(answer.json()["session_id"])


@pytest.mark.parametrize("field", ["feedback", "metrics", "error", "parent_id", "event_id", "event_type", "project"])
def test_a_session_takes_no_field_of_events_only(server: ServeProcess, field: str) -> None:
    answer = server.post("/v1/sessions", {field: {}})
    assert answer.status_code == 400
    assert f"{field}: unknown field" in answer.json()["message"]


def test_the_session_in_the_path_wins(server: ServeProcess) -> None:
    session_id, event_id = uid(), uid()
    body = {"events": [event(event_id=event_id, session_id=uid())]}
    answer = server.post(f"/v1/sessions/{session_id}/events/batch", body)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert server.event(event_id)["session_id"] == session_id
    assert server.post("/v1/sessions/mine/events/batch", body).status_code == 400


def test_an_update_merges_replaces_and_sets(server: ServeProcess) -> None:
    event_id = uid()
    maps = {name: {"a": 1, "b": 1} for name in ("metadata", "feedback", "metrics", "config", "user_properties")}
    server.post("/v1/events", event(event_id=event_id, outputs={"a": 1}, **maps))
    update = {name: {"b": 2} for name in maps}
    body = {**update, "outputs": {"b": 2}, "duration": 7, "end_time": 9, "children_ids": ["x"]}
    assert server.put(f"/v1/events/{event_id}", body).status_code == 200
    stored = server.event(event_id)
    assert all(stored[name] == {"a": 1, "b": 2} for name in maps)
    assert stored["outputs"] == {"b": 2}
    assert (stored["duration"], stored["end_time"], stored["children_ids"]) == (7, 9, ["x"])
    server.put(f"/v1/events/{event_id}", {"outputs": None})
    assert server.event(event_id)["outputs"] == {"b": 2}


def test_an_update_changes_nothing_else(server: ServeProcess) -> None:
    event_id = uid()
    server.post("/v1/events", {**FULL, "event_id": event_id})
    before = server.event(event_id)
    others = {
        "inputs": {"x": 1},
        "error": "no",
        "event_name": "x",
        "event_type": "tool",
        "start_time": 1,
        "parent_id": uid(),
        "session_id": uid(),
        "whatever": 1,
    }
    assert server.put(f"/v1/events/{event_id}", others).status_code == 200
    assert server.event(event_id) == before


def test_a_session_is_updated_with_its_id_as_event_id(server: ServeProcess) -> None:
    session_id = server.post("/v1/sessions", {"session_name": "s"}).json()["session_id"]
    server.put(f"/v1/events/{session_id}", {"outputs": {"done": True}, "feedback": {"rating": 1}})
    assert server.event(session_id)["outputs"] == {"done": True}


@pytest.mark.parametrize("outputs", [[], "x", 1])
def test_outputs_that_are_no_object_are_refused_in_an_update(server: ServeProcess, outputs: object) -> None:
    event_id = server.post("/v1/events", event()).json()["event_id"]
    answer = server.put(f"/v1/events/{event_id}", {"outputs": outputs})
    assert answer.status_code == 400
    assert "outputs: expected an object or null" in answer.json()["message"]


def test_an_event_that_is_not_there_is_404_and_a_malformed_id_400(server: ServeProcess) -> None:
    for answer in (server.get(f"/v1/events/{uid()}"), server.put(f"/v1/events/{uid()}", {})):
        assert (answer.status_code, answer.json()["success"]) == (404, False)
    for answer in (server.get("/v1/events/nonsense"), server.put("/v1/events/nonsense", {})):
        assert answer.status_code == 400
        assert "event_id: expected a UUID" in answer.json()["message"]


def test_a_session_event_is_nobodys_child(server: ServeProcess) -> None:
    event_id = uid()
    server.post("/v1/events", {"event_type": "session", "inputs": {}, "event_id": event_id})
    stored = server.event(event_id)
    assert stored["session_id"] == event_id
    assert "parent_id" not in stored


def test_gzip_bodies_are_read(server: ServeProcess) -> None:
    event_id = uid()
    body = gzip.compress(json.dumps(event(event_id=event_id)).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert server.client.post("/v1/events", content=body[:30] + body[30:], headers=headers).status_code == 200
    assert server.event(event_id)["event_id"] == event_id
    assert server.client.post("/v1/events", content=body[:-4], headers=headers).status_code == 400
    assert (
        server.client.post("/v1/events", content=b"x", headers={**headers, "content-encoding": "br"}).status_code == 415
    )


def test_a_hundred_levels_are_kept_and_a_thousand_refused(server: ServeProcess) -> None:
    def nested(levels: int) -> str:
        return '{"event_type": "tool", "inputs": {"a": ' + "[" * levels + "]" * levels + "}}"

    headers = {"content-type": "application/json"}
    for levels, status in ((100, 200), (195, 200), (300, 400), (1020, 400), (100_000, 400)):
        answer = server.client.post("/v1/events", content=nested(levels), headers=headers)
        assert (levels, answer.status_code) == (levels, status), answer.text


def test_unknown_paths_and_methods_have_the_errors_of_the_contract(server: ServeProcess) -> None:
    for answer, status in ((server.get("/v1/nothing"), 404), (server.get("/v1/events"), 405)):
        assert answer.status_code == answer.json()["statusCode"] == status
        assert answer.json()["success"] is False


def test_the_published_document_describes_the_routes(server: ServeProcess) -> None:
    document = server.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/v1/events",
        "/v1/events/batch",
        "/v1/events/search",
        "/v1/events/export",
        "/v1/events/{event_id}",
        "/v1/sessions",
        "/v1/sessions/{session_id}/events/batch",
    }


def test_lenient_stores_unknown_fields(store: Path) -> None:
    with ServeProcess(store, "--lenient") as server:
        event_id = server.post("/v1/events", event(project="p", extra={"a": 1})).json()["event_id"]
        assert server.event(event_id)["extra"] == {"a": 1}
        assert server.post("/v1/events", {"event_type": "tool"}).status_code == 400


def test_many_at_once_are_all_there(server: ServeProcess) -> None:
    session_id, ids = uid(), [[uid() for _ in range(20)] for _ in range(8)]

    def send(mine: list[str]) -> None:
        for one in mine:
            assert server.post("/v1/events", event(event_id=one, session_id=session_id)).status_code == 200

    threads = [threading.Thread(target=send, args=(mine,)) for mine in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = server.search(("session_id", "is", session_id), ("event_type", "is", "tool"))
    assert {one["event_id"] for one in found["events"]} == {one for mine in ids for one in mine}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"event_type": "llm"}, "events[1].event_type: expected one of"),
        ({"event_id": "no uuid"}, "events[1].event_id: expected a UUID"),
        ({"children_ids": [1]}, "events[1].children_ids[0]: expected a string"),
        ({"inputs": []}, "events[1].inputs: expected an object"),
        ({"colour": "red"}, "events[1].colour: unknown field"),
    ],
)
def test_a_wrong_event_is_refused_after_many_right_ones_of_its_kind(
    server: ServeProcess, wrong: dict[str, Any], words: str
) -> None:
    def right() -> dict[str, Any]:
        return event(event_id=uid(), children_ids=[uid()], error=None)

    assert server.post("/v1/events/batch", {"events": [right() for _ in range(3)]}).status_code == 200
    answer = server.post("/v1/events/batch", {"events": [right(), {**right(), **wrong}]})
    assert answer.status_code == 400
    assert words in answer.json()["message"]
