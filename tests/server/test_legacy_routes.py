"""The routes before /v1, as HoneyHive's own client uses them, and that client itself."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from server_process import ServeProcess, event, uid


def test_a_wrapped_event_is_stored_without_its_project_and_nulls(server: ServeProcess) -> None:
    event_id = uid()
    answer = server.post("/events", {"event": event(event_id=event_id, project="p", outputs=None)})
    assert answer.json() == {"event_id": event_id, "success": True}
    assert not {"project", "outputs"} & set(server.event(event_id))


def test_a_wrapped_event_that_is_wrong_is_named(server: ServeProcess) -> None:
    answer = server.post("/events", {"event": {"event_type": "tool"}})
    assert answer.status_code == 400
    assert "event.inputs: required" in answer.json()["message"]


def test_a_legacy_batch_knows_both_names_of_a_single_session(server: ServeProcess) -> None:
    for name in ("single_session", "is_single_session"):
        body = {"events": [event(), event()], name: True, "session_properties": {"session_name": "old"}}
        answer = server.post("/events/batch", body).json()
        assert len(answer["event_ids"]) == 2
        assert server.event(answer["session_id"])["event_name"] == "old"


def test_a_legacy_update_names_its_event_in_the_body(server: ServeProcess) -> None:
    event_id = server.post("/events", {"event": event(metadata={"a": 1})}).json()["event_id"]
    assert server.put("/events", {"event_id": event_id, "metadata": {"b": 2}}).json() == {"success": True}
    assert server.event(event_id)["metadata"] == {"a": 1, "b": 2}
    assert server.put("/events", {"event_id": uid()}).status_code == 404
    assert server.put("/events", {"metadata": {}}).status_code == 400


def test_a_wrapped_session_is_started(server: ServeProcess) -> None:
    session_id = uid()
    body = {"session": {"session_id": session_id, "session_name": "s", "project": "p", "source": "dev"}}
    answer = server.post("/session/start", body)
    assert answer.status_code == 200
    assert answer.json()["session_id"] == session_id
    assert server.event(session_id)["event_name"] == "s"


@pytest.fixture
def honeyhive(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("HH_DISABLE_TRACING", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("honeyhive", reason="HoneyHive's own client is not installed: pip install honeyhive")


@pytest.mark.filterwarnings("ignore")
def test_the_official_client_just_works(store: Path, honeyhive: object) -> None:
    from honeyhive import HoneyHive
    from honeyhive.models import PostEventBatchRequest, PostEventRequest, UpdateEventRequest

    with ServeProcess(store, "--api-key", "hh_test") as server:
        client = HoneyHive(api_key="hh_test", base_url=server.url)
        session = client.sessions.start({"session_name": "official", "source": "dev", "project": "p"})
        session_id = session.session_id
        made = client.events.create(PostEventRequest(event={**event(event_name="one"), "session_id": session_id}))
        assert made.success
        client.events.update(UpdateEventRequest(event_id=made.event_id, feedback={"rating": 5}))
        many = client.events.create_batch(
            PostEventBatchRequest(events=[event(event_name="two", session_id=session_id)])
        )
        assert len(many.event_ids) == 1
        filters = [{"field": "session_id", "operator": "is", "value": session_id, "type": "string"}]
        found = client.events.export(filters=filters, date_range={"$gte": "2020-01-01", "$lte": "2100-01-01"})
        assert {one.event_name for one in found.events} == {"official"}  # the others have no start_time
        found = client.events.export(filters=filters)
        assert found.total_events == 3
        assert {one.event_name for one in found.events} == {"official", "one", "two"}
        assert [one.feedback for one in found.events if one.event_name == "one"] == [{"rating": 5}]

        from honeyhive._generated.models import PostEventRequest as Bare
        from honeyhive._generated.models import SearchEventsRequest, StartSessionRequest
        from honeyhive._generated.services import Events_service, Sessions_service

        config = client.events._api_config
        started = Sessions_service.createSession(config, data=StartSessionRequest(session_name="v1"))
        posted = Events_service.createEvent(
            config, data=Bare(**event(event_name="three"), session_id=started.session_id)
        )
        page = Events_service.searchEvents(config, data=SearchEventsRequest(filters=[], limit=10))
        assert page.count == 5
        assert Events_service.getEvent(config, event_id=posted.event_id).event.event_name == "three"
