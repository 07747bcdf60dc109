"""One session: the tree, the timeline, folding, finding, growth, deep links and ten thousand events."""

from __future__ import annotations

from typing import Any

import pytest
from page_looking import rows_by_place, until
from page_server import ServerClient, agent_trace, event, new_id, now, session

pytestmark = pytest.mark.browser

ROW = "[role=treeitem]"


def labels(page: Any) -> list[str]:
    """The names of the events, from above."""
    return rows_by_place(page, ROW, ".label")


def show(page: Any, server: ServerClient, session_id: str, after: str = "") -> None:
    """Open a session and wait for its tree."""
    page.goto(f"{server.address}/s/{session_id}{after}")
    page.wait_for_selector(f"[data-ready=session] {ROW}")


def bar(page: Any, item: Any) -> dict[str, float]:
    """Where the bar of an event is, in pixels."""
    found: dict[str, float] = page.locator(f"#event-{item['event_id']} .bar").bounding_box()
    return found


def test_the_tree_shows_children_below_their_parents_in_order_of_time(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(reversed(trace.values()))
    show(page, server, trace["root"]["session_id"])
    assert labels(page) == ["support chat", "answer", "plan", "search", "write"]
    levels = [page.locator(f"#event-{item['event_id']}").get_attribute("aria-level") for item in trace.values()]
    assert levels == ["1", "2", "3", "3", "3"]
    assert page.locator(f"#event-{trace['answer']['event_id']}").get_attribute("aria-expanded") == "true"


def test_bars_lie_on_one_scale_with_their_gaps(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["root"]["session_id"])
    whole, plan, search, write = (bar(page, trace[name]) for name in ("root", "plan", "search", "write"))
    lane = page.locator(f"#event-{trace['root']['event_id']} .lane").bounding_box()
    assert (whole["x"], whole["width"]) == pytest.approx((lane["x"], lane["width"]), abs=1)
    per_ms = whole["width"] / 1000
    for box, start, length in ((plan, 0, 200), (search, 300, 100), (write, 400, 400)):
        assert box["x"] - whole["x"] == pytest.approx(start * per_ms, abs=2)
        assert box["width"] == pytest.approx(length * per_ms, abs=2)
    assert page.locator(f"#event-{trace['answer']['event_id']} .gap").count() == 1  # between 200 and 300 ms
    gap = page.locator(f"#event-{trace['answer']['event_id']} .gap").bounding_box()
    assert gap["x"] - whole["x"] == pytest.approx(200 * per_ms, abs=2)


def test_the_critical_path_leaves_out_what_nobody_waited_for(page: Any, server: ServerClient) -> None:
    root = session("parallel", duration=1000.0)
    slow, quick = event(root, "slow", duration=900), event(root, "quick", duration=300)
    server.add([root, slow, quick])
    show(page, server, root["session_id"])
    assert page.locator(f"#event-{slow['event_id']} .critical").count() == 1
    assert page.locator(f"#event-{quick['event_id']} .critical").count() == 0


def test_a_sibling_that_still_ran_when_the_next_began_is_not_on_the_critical_path(
    page: Any, server: ServerClient
) -> None:
    root = session("overlap", duration=1000.0)
    first, beside, last = (
        event(root, "first", duration=400),
        event(root, "beside", duration=600),
        event(root, "last", at=500, duration=400),
    )
    server.add([root, first, beside, last])
    show(page, server, root["session_id"])
    on_path = [page.locator(f"#event-{item['event_id']} .critical").count() for item in (first, beside, last)]
    assert on_path == [1, 0, 1]


def test_errors_are_told_by_a_sign_and_a_word_not_by_colour_alone(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["root"]["session_id"])
    row = page.locator(f"#event-{trace['search']['event_id']}")
    assert row.locator("use[href='#i-error']").count() == 1
    assert row.get_attribute("aria-label") == "tool search, 100 ms, error"
    assert "is-error" in row.locator(".bar").get_attribute("class")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("e")
    page.wait_for_selector(".errorblock >> text=TimeoutError: no answer within 2 s")


def test_branches_fold_and_unfold_with_pointer_and_keyboard(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["root"]["session_id"])
    page.locator(f"#event-{trace['answer']['event_id']} .twisty").click()
    assert labels(page) == ["support chat", "answer"]
    assert page.locator(f"#event-{trace['answer']['event_id']} .badge").inner_text() == "1"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert len(labels(page)) == 5
    page.keyboard.press("ArrowRight")
    tree = page.locator("[role=tree]")
    assert tree.get_attribute("aria-activedescendant") == f"event-{trace['plan']['event_id']}"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert labels(page) == ["support chat", "answer"]


def test_finding_shows_matches_and_what_is_above_them(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["root"]["session_id"])
    page.keyboard.press("/")
    page.keyboard.type("large-model")
    until(page, "document.querySelectorAll('[role=treeitem]').length === 3")
    assert labels(page) == ["support chat", "answer", "write"]
    page.keyboard.press("Enter")
    page.wait_for_selector(f"[data-shown='{trace['write']['event_id']}']")
    page.keyboard.press("Escape")
    assert len(labels(page)) == 5


def test_a_link_to_an_event_opens_it_and_choosing_changes_the_link(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["root"]["session_id"], f"#{trace['search']['event_id']}")
    page.wait_for_selector(f"[data-shown='{trace['search']['event_id']}']")
    assert page.locator(f"#event-{trace['search']['event_id']}").get_attribute("aria-selected") == "true"
    page.locator(f"#event-{trace['write']['event_id']} .label").click()
    page.wait_for_url(f"**/s/*#{trace['write']['event_id']}")
    page.reload()
    page.wait_for_selector(f"[data-shown='{trace['write']['event_id']}']")


def test_a_running_session_grows_while_the_chosen_event_stays(page: Any, server: ServerClient) -> None:
    root = session("long job", start=now() - 5000, duration=None)
    first = event(root, "first", inputs={"n": 1})
    server.add([root, first])
    show(page, server, root["session_id"])
    page.wait_for_selector("#live[data-state=on]")
    page.locator(f"#event-{first['event_id']} .label").click()
    page.wait_for_selector(f"[data-shown='{first['event_id']}']")
    page.evaluate("window.sameDocument = true")
    server.add([event(root, "second", at=200)])
    page.wait_for_selector(".label >> text=second")
    server.add([event(root, "third", at=400)])
    page.wait_for_selector(".label >> text=third")
    assert labels(page) == ["long job", "first", "second", "third"]
    assert page.locator(f"#event-{first['event_id']}").get_attribute("aria-selected") == "true"
    assert page.locator(".facts .status").first.inner_text() == "running"
    server.call("PUT", f"/v1/events/{root['session_id']}", {"end_time": now(), "duration": 5000})
    until(page, "document.querySelector('.facts .status').textContent === 'ok'")
    assert page.evaluate("window.sameDocument") is True


def test_the_timeline_zooms_to_an_event_and_back(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    show(page, server, trace["root"]["session_id"])
    lane = page.locator(f"#event-{trace['write']['event_id']} .lane").bounding_box()["width"]
    page.locator(f"#event-{trace['write']['event_id']} .label").click()
    page.keyboard.press("z")
    assert bar(page, trace["write"])["width"] == pytest.approx(lane, abs=2)
    assert page.locator(f"#event-{trace['plan']['event_id']} .outside.before").count() == 1
    page.keyboard.press("Escape")
    assert bar(page, trace["write"])["width"] == pytest.approx(lane * 0.4, abs=3)


def test_events_in_a_circle_are_shown_once(page: Any, server: ServerClient) -> None:
    root = session("odd")
    one, two = event(root, "one"), event(root, "two", at=10)
    one["parent_id"], two["parent_id"] = two["event_id"], one["event_id"]
    server.add([root, one, two])
    show(page, server, root["session_id"])
    assert sorted(labels(page)) == ["odd", "one", "two"]


def test_what_ran_below_a_call_that_never_finished_stands_below_a_row_that_says_so(
    page: Any, server: ServerClient
) -> None:
    root = session("killed")
    parent = {**event(root, "agent", kind="chain", duration=90), "event_id": new_id()}
    early, late = event(parent, "early", at=20), event(parent, "late", at=40)
    leaf = event(late, "leaf", at=41)
    server.add([root, leaf, late, early])
    show(page, server, root["session_id"])
    assert labels(page) == ["killed", "unfinished", "early", "late", "leaf"]
    row = page.locator(f"#event-{parent['event_id']}")
    assert "did not finish, or has not yet" in row.inner_text()
    assert "running" not in row.inner_text()
    assert page.locator(f"#event-{leaf['event_id']}").get_attribute("aria-level") == "4"
    row.click()
    page.wait_for_selector(f".detail-content[data-shown='{parent['event_id']}']")
    assert "This call did not finish, or has not yet" in page.locator(".detail").inner_text()
    server.add([parent])
    page.wait_for_selector(f"#event-{parent['event_id']} .label:text('agent')")
    assert labels(page) == ["killed", "agent", "early", "late", "leaf"]


def test_a_hundred_levels_stay_readable(page: Any, server: ServerClient) -> None:
    root = at = session("deep")
    made = [root]
    for level in range(100):
        at = event(at, f"level {level}", kind="chain")
        made.append(at)
    server.add(made)
    show(page, server, root["session_id"], f"#{at['event_id']}")
    row = page.locator(f"#event-{at['event_id']}")
    assert row.get_attribute("aria-level") == "101"
    label = row.locator(".label").bounding_box()
    column = row.locator(".t-name").bounding_box()
    assert label["width"] > 40
    assert label["x"] + label["width"] <= column["x"] + column["width"] + 1


def test_ten_thousand_events_are_painted_soon_and_few_rows_exist(page: Any, server: ServerClient) -> None:
    root = session("big", duration=20_000.0)
    parents = [event(root, f"part {number}", kind="chain", at=number * 200, duration=200) for number in range(100)]
    children = [event(parent, "step", at=number * 2, duration=2) for parent in parents for number in range(99)]
    server.add([root, *parents, *children])
    show(page, server, root["session_id"])
    assert page.locator(ROW).count() < 90
    assert "9,999" in page.locator(".facts").inner_text() or "10,000" in page.locator(".facts").inner_text()
    painted = page.evaluate("performance.now()")
    assert painted < 10_000, "a busy machine is given ten times what is promised"
    page.locator("[role=tree]").focus()
    page.keyboard.press("End")
    page.wait_for_selector(f"#event-{children[-1]['event_id']}[aria-selected=true]")
    assert page.locator(ROW).count() < 90


def test_a_session_that_is_not_there_is_said_to_be_missing(page: Any, server: ServerClient) -> None:
    page.watch.expected = ["404"]
    page.goto(f"{server.address}/s/{new_id()}")
    page.wait_for_selector("text=No such session")
    page.get_by_role("link", name="All sessions", exact=True).click()
    page.wait_for_url(f"{server.address}/")
