"""The chosen event: conversation, tool calls, errors, ratings and notes, large values, ids to copy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from page_looking import until
from page_server import Event, ServerClient, agent_trace, event, session

pytestmark = pytest.mark.browser


def show(page: Any, server: ServerClient, item: Event) -> None:
    """Open the page of an event and wait for its detail."""
    page.goto(f"{server.address}/s/{item['session_id']}#{item['event_id']}")
    page.wait_for_selector(f"[data-shown='{item['event_id']}']")


def test_a_model_event_reads_as_a_conversation_with_roles_and_tool_calls(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["plan"])
    turns = page.locator(".chat .turn")
    assert [turn.locator(".who bdi").first.inner_text() for turn in turns.all()] == ["system", "user", "assistant"]
    assert "Why blue?" in turns.nth(1).inner_text()
    call = turns.nth(2).locator(".call")
    assert "search" in call.locator(".call-name").inner_text()
    assert [key.inner_text() for key in call.locator(".json-key").all()] == ["query", "limit"]
    assert "rayleigh" in call.inner_text()
    facts = page.locator(".detail-head").inner_text()
    for wanted in ("small-model", "20 in", "7 out", "$0.0012", "50 ms", "200 ms"):
        assert wanted in facts
    page.get_by_role("button", name="Show as JSON").click()
    assert page.locator(".chat").count() == 0
    assert page.locator(".section-chat .json-key", has_text="chat_history").count() == 1


def test_an_error_is_shown_with_its_traceback_line_by_line(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["search"])
    block = page.locator(".errorblock")
    assert "TimeoutError: no answer within 2 s" in block.locator(".message").inner_text()
    assert "File 'search.py', line 7\n" in block.locator("pre").inner_text()


def test_ratings_and_notes_are_stored_and_can_be_taken_back(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    trace["write"]["feedback"] = {"ground_truth": "Rayleigh"}
    server.add(trace.values())
    show(page, server, trace["write"])
    page.locator("[data-rating='4']").click()
    page.locator("[data-thumb=up]").click()
    page.get_by_label("Note").fill("good, but short")
    page.get_by_role("button", name="Save note").click()
    wanted = {"ground_truth": "Rayleigh", "rating": 4, "thumb": "up", "note": "good, but short"}
    poll(lambda: server.event(trace["write"]["event_id"])["feedback"] == wanted)
    page.wait_for_selector(f"#event-{trace['write']['event_id']} .rated")
    page.reload()
    page.wait_for_selector("[data-rating='4'][aria-pressed=true]")
    assert page.get_by_label("Note").input_value() == "good, but short"
    page.locator("[data-rating='4']").click()
    poll(lambda: server.event(trace["write"]["event_id"])["feedback"]["rating"] is None)
    assert page.locator("[data-rating][aria-pressed=true]").count() == 0


def test_a_note_that_is_being_written_survives_what_others_change(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["write"])
    page.wait_for_selector("#live[data-state=on]")
    page.get_by_label("Note").fill("half a sen")
    server.call("PUT", f"/v1/events/{trace['write']['event_id']}", {"feedback": {"rating": 1}})
    page.wait_for_selector(f"#event-{trace['write']['event_id']} .rated")
    page.wait_for_timeout(500)  # the detail follows the tree; nothing else says that it has been looked at
    assert page.get_by_label("Note").input_value() == "half a sen"
    page.get_by_label("Note").fill("")
    page.locator("[role=tree]").focus()
    server.call("PUT", f"/v1/events/{trace['write']['event_id']}", {"feedback": {"rating": 2}})
    page.wait_for_selector("[data-rating='2'][aria-pressed=true]")


def test_feedback_that_cannot_be_stored_is_taken_back_and_said(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["write"])
    page.watch.expected = ["Failed to load resource", "ERR_FAILED"]
    page.route("**/v1/events/*", lambda route: route.abort())
    page.locator("[data-rating='2']").click()
    page.wait_for_selector("#toast:not([hidden])")
    assert "not saved" in page.locator("#toast").inner_text()
    assert page.locator("[data-rating='2']").get_attribute("aria-pressed") == "false"


def test_large_values_are_loaded_when_asked_for(page: Any, server: ServerClient) -> None:
    root = session("large")
    big = event(root, "big", inputs={"text": "a" * 300_000 + "END", "list": list(range(500))})
    server.add([root, big])
    show(page, server, big)
    assert len(page.locator(".section-inputs").inner_text()) < 20_000
    page.get_by_role("button", name="Load all 300 k characters").click()
    page.wait_for_selector("text=Show 100 k of 300 k characters more")
    page.get_by_role("button", name="Show 100 k of 300 k characters more").click()
    page.get_by_role("button", name="Show 100 k of 300 k characters more").click()
    page.get_by_role("button", name="Show all 300 k characters").click()
    text = page.locator(".section-inputs .json-string").first.text_content()
    assert len(text) == 300_003
    assert text.endswith("END")


def test_json_folds_and_long_lists_come_in_parts(page: Any, server: ServerClient) -> None:
    root = session("folds")
    item = event(
        root, "item", inputs={"a": {"b": {"c": {"d": 1}}}}, outputs={"many": list(range(90)), "result": "fine"}
    )
    server.add([root, item])
    show(page, server, item)
    inner = page.locator(".section-inputs details.json-branch")
    assert page.locator(".section-inputs .json-key", has_text="d").count() == 0
    inner.last.locator("> summary").click()
    page.wait_for_selector(".section-inputs .json-key >> text=d")
    page.locator(".section-inputs > summary").click()
    assert not page.locator(".section-inputs .json").is_visible()
    assert "fine" in page.locator(".section-outputs").inner_text()


def test_ids_can_be_copied(new_page: Any, server: ServerClient) -> None:
    page = new_page(permissions=["clipboard-read", "clipboard-write"])
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["plan"])
    page.get_by_role("button", name="Copy event_id").click()
    page.wait_for_selector("#toast:not([hidden])")
    assert page.evaluate("navigator.clipboard.readText()") == trace["plan"]["event_id"]
    page.locator(".section-config > summary").hover()
    page.get_by_role("button", name="Copy config as JSON").click()
    until(page, "navigator.clipboard.readText().then(text => text.includes('small-model'))")
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == trace["plan"]["config"]


def poll(true: Any, seconds: float = 20.0) -> None:
    """Wait until something about the server is true."""
    import time

    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
