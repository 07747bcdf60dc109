"""Compare, download and open again, the overview, themes, and the page for eyes and hands of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_looking import rows_by_place, until
from page_server import ServerClient, agent_trace, event, now, session

pytestmark = pytest.mark.browser


def test_two_sessions_lie_side_by_side_with_their_differences(page: Any, server: ServerClient) -> None:
    one, other = agent_trace(), agent_trace()
    del other["search"]
    other["write"]["outputs"] = {"role": "assistant", "content": "Ask a physicist."}
    other["write"].update(duration=600.0, end_time=other["write"]["start_time"] + 600)
    server.add([*one.values(), *other.values()])
    page.goto(server.address)
    for trace in (one, other):
        row = page.locator(f"[data-session='{trace['root']['session_id']}']")
        row.hover()
        row.locator("input[type=checkbox]").check()
    page.get_by_role("link", name="Compare", exact=True).click()
    page.wait_for_selector("[data-ready=compare] .pair h2")
    rows = rows_by_place(page, "[role=grid] .both", ".t-name")
    assert [row.replace("output differs", "") for row in rows] == [
        "support chat",
        "answer",
        "plan",
        "searchleft only",
        "write",
    ]
    sums = page.locator(".sums .delta").inner_text()
    assert "−1" in sums
    assert "same" in sums
    page.locator(".both", has_text="write").click()
    page.wait_for_selector(".pair .part-title >> text=differs")
    marked = page.locator(".pair .json-row.differs")
    assert {text.split()[0] for text in marked.all_inner_texts()} == {"content"}
    assert marked.count() == 2


def test_a_session_is_downloaded_and_opened_again_without_the_server(
    page: Any, new_page: Callable[..., Any], server: ServerClient, downloads: Path
) -> None:
    trace = agent_trace()
    trace["plan"]["inputs"]["long"] = "y" * 50_000
    server.add(trace.values())
    page.goto(f"{server.address}/s/{trace['root']['session_id']}")
    page.wait_for_selector("[role=treeitem]")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download this session as JSON").click()
    saved = downloads / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    assert {item["event_id"] for item in json.loads(saved.read_text())["events"]} == {
        item["event_id"] for item in trace.values()
    }

    other = new_page()
    other.goto(server.address)
    other.wait_for_selector("[data-ready=list]")
    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    other.set_input_files("#file", saved)
    other.wait_for_url("**/s/*?file=1*")
    other.wait_for_selector("[role=treeitem]")
    assert rows_by_place(other, "[role=treeitem]", ".label") == ["support chat", "answer", "plan", "search", "write"]
    other.locator(f"#event-{trace['plan']['event_id']} .label").click()
    other.wait_for_selector(f"[data-shown='{trace['plan']['event_id']}'] .chat")
    other.get_by_role("button", name="Load all 50 k characters").click()
    until(other, "document.querySelector('.section-chat').textContent.length > 50000")
    assert other.locator(".feedback").count() == 0
    assert [url for url in asked if "/ui/api/sessions/" in url or "/ui/api/events/" in url] == []
    other.reload()
    other.wait_for_selector("text=This file is no longer open")


def test_a_file_can_be_dropped_anywhere_and_a_wrong_one_is_refused(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    page.goto(server.address)
    page.wait_for_selector("[data-ready=list]")
    drop = """([name, text]) => {
      const data = new DataTransfer();
      data.items.add(new File([text], name, {type: 'application/json'}));
      document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    page.evaluate(drop, ["notes.json", '{"hello": 1}'])
    page.wait_for_selector("#toast >> text=notes.json could not be opened: it has no list of events")
    page.evaluate(
        drop, ["session.json", json.dumps({"session_id": trace["root"]["session_id"], "events": list(trace.values())})]
    )
    page.wait_for_selector("text=from a file")
    page.wait_for_selector(".label >> text=write")


def test_the_overview_draws_each_measure_with_axes_and_a_tooltip(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server()
    trace = agent_trace()
    early = session("early", start=now() - 7_000_000, duration=500)
    server.add([*trace.values(), early, event(early, "answer", kind="chain", duration=400)])
    page.goto(f"{server.address}/overview")
    page.wait_for_selector(".chart svg")
    titles = page.locator(".chart h3").all_inner_texts()
    assert titles == ["Events", "Errors", "Latency", "Tokens", "Cost"]
    plots = page.locator(".chart svg")
    assert "1" in plots.nth(1).get_attribute("aria-label")
    assert plots.first.locator(".label").count() >= 5
    assert plots.first.locator(".bars").get_attribute("d").count("M") == 2
    plots.first.focus()
    page.keyboard.press("End")
    tip = page.locator(".tip:not([hidden])").inner_text()
    assert "events" in tip
    rows = page.locator(".groups tbody tr")
    assert rows.filter(has_text="answer").locator("td").first.inner_text() == "2"
    page.get_by_role("button", name="By model").click()
    page.wait_for_url("**/overview?by=model")
    page.wait_for_selector(".groups >> text=large-model")
    page.get_by_role("button", name="Cost").click()
    assert page.locator(".groups tbody th").first.inner_text().strip() == "large-model"
    page.keyboard.press("Tab")
    page.locator(".chart svg").first.focus()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?since=*until=*")
    page.wait_for_selector(".c-name >> text=support chat")
    until(page, "document.querySelectorAll('.rows [role=row]').length === 1")


def test_dark_follows_the_system_and_the_switch_is_remembered(
    new_page: Callable[..., Any], server: ServerClient
) -> None:
    page = new_page(color_scheme="dark")
    page.goto(server.address)
    page.wait_for_selector("[data-ready]")
    assert luminance(page) < 0.05
    page.emulate_media(color_scheme="light")
    until(page, "document.documentElement.dataset.theme === 'light'")
    assert luminance(page) > 0.9
    page.get_by_role("button", name="Switch between light and dark").click()
    assert luminance(page) < 0.05
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert luminance(page) < 0.05
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.themeChoice") == "auto"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(new_page: Callable[..., Any], server: ServerClient, scheme: str) -> None:
    page = new_page(color_scheme=scheme)
    page.goto(server.address)
    page.wait_for_selector("[data-ready]")
    fronts = (
        "--text",
        "--muted",
        "--faint",
        "--accent",
        "--error",
        "--ok",
        "--session",
        "--chain",
        "--model",
        "--tool",
    )
    colours = page.evaluate(
        """names => {
          const style = getComputedStyle(document.documentElement);
          return Object.fromEntries(names.map(name => [name, style.getPropertyValue(name)]));
        }""",
        [*fronts, "--bg", "--panel", "--tint", "--error-tint"],
    )
    for front in fronts:
        for back in ("--bg", "--panel"):
            assert contrast(colours[front], colours[back]) >= 4.5, (front, back)
    assert contrast(colours["--accent"], colours["--tint"]) >= 4.5
    assert contrast(colours["--error"], colours["--error-tint"]) >= 4.5


@pytest.mark.parametrize("place", ["list", "session", "compare", "overview"])
def test_at_four_hundred_percent_nothing_is_cut_off_sideways(
    new_page: Callable[..., Any], server: ServerClient, place: str
) -> None:
    trace = agent_trace()
    server.add(trace.values())
    session_id = trace["root"]["session_id"]
    paths = {
        "list": "/",
        "session": f"/s/{session_id}",
        "compare": f"/compare/{session_id}/{session_id}",
        "overview": "/overview",
    }
    page = new_page(viewport={"width": 320, "height": 256})
    page.goto(server.address + paths[place])
    page.wait_for_selector(f"[data-ready={place}]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    if place == "session":
        page.locator(f"#event-{trace['plan']['event_id']} .label").click()
        page.wait_for_selector(".detail-open .chat")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert page.locator(".detail").bounding_box()["width"] <= 320
        page.get_by_role("button", name="Back to the tree").click()
        assert not page.locator(".detail").is_visible()


def test_everything_that_can_be_used_has_a_name(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    for place in ("/", f"/s/{trace['root']['session_id']}#{trace['plan']['event_id']}", "/overview"):
        page.goto(server.address + place)
        page.wait_for_selector("[data-ready]")
        page.wait_for_selector(".chat" if "#" in place else ".chart, .rows")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll(
                'button, a, input, select, textarea, [role=tree], [role=grid], [role=img], [role=separator]')]
              .filter(n => !n.hidden && n.type !== 'file' && n.checkVisibility())
              .filter(n => !(n.getAttribute('aria-label') || n.textContent.trim() || n.closest('label')))
              .map(n => n.outerHTML.slice(0, 100))"""
        )
        assert nameless == []
        assert page.locator("h1").count() == 1
        assert page.locator("[aria-live=polite]").count() == 1


def test_nothing_moves_when_the_detail_of_another_event_comes(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    page.goto(f"{server.address}/s/{trace['root']['session_id']}")
    page.wait_for_selector("[data-shown]")
    page.evaluate(
        "window.moved = 0; new PerformanceObserver(list => {"
        " for (const shift of list.getEntries()) if (!shift.hadRecentInput) window.moved += shift.value; })"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    page.locator("[role=tree]").focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.wait_for_selector(f"[data-shown='{trace['write']['event_id']}']")
    assert page.evaluate("window.moved") < 0.1


def luminance(page: Any) -> float:
    """How light the page's ground is, 0 to 1."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return relative([int(part) for part in colour[4:-1].split(",")[:3]])


def relative(rgb: list[int]) -> float:
    linear = [(c / 255 / 12.92) if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG for two colours written as #rrggbb."""
    light, dark = sorted(
        (relative([int(c.strip()[i : i + 2], 16) for i in (1, 3, 5)]) for c in (one, other)), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)
