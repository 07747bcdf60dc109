"""The list of sessions: order, growth, search, filters in the address, the keyboard, and the first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from page_looking import rows_by_place, until
from page_server import ServerClient, agent_trace, event, new_id, now, session

pytestmark = pytest.mark.browser


def names(page: Any) -> list[str]:
    """The names of the rows, from above."""
    return rows_by_place(page, ".rows [role=row]", ".c-name bdi")


def test_sessions_are_listed_newest_first_with_their_sums(page: Any, start_server: Callable[..., ServerClient]) -> None:
    server = start_server()
    trace = agent_trace()
    older = session("older", start=now() - 60_000, duration=250)
    server.add([older, *trace.values()])
    page.goto(server.address)
    page.wait_for_selector("[data-ready=list] .rows [role=row]")
    assert names(page) == ["support chat", "older"]
    row = page.locator(f"[data-session='{trace['root']['session_id']}']")
    text = row.inner_text()
    for wanted in ("error", "1.00 s", "77", "$0.0052", "tests", "ana"):
        assert wanted in text
    assert row.locator(".c-events").inner_text().startswith("4")
    assert row.locator(".c-errors").inner_text().startswith("1")


def test_a_new_session_appears_and_a_running_one_ends_without_a_reload(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server()
    running = session("long job", duration=None)
    server.add([running])
    page.goto(server.address)
    page.wait_for_selector(".c-name >> text=long job")
    page.wait_for_selector("#live[data-state=on]")
    page.evaluate("window.sameDocument = true")
    server.add([session("just came")])
    page.wait_for_selector(".c-name >> text=just came")
    assert names(page) == ["just came", "long job"] or names(page) == ["long job", "just came"]
    assert page.locator(f"[data-session='{running['session_id']}'] .c-status").inner_text() == "running"
    server.call("PUT", f"/v1/events/{running['session_id']}", {"end_time": now(), "duration": 1234})
    until(
        page,
        "id => document.querySelector(`[data-session='${id}'] .c-status`).textContent === 'ok'",
        running["session_id"],
    )
    assert page.evaluate("window.sameDocument") is True


def test_what_is_new_waits_behind_a_bar_while_one_reads_further_down(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server()
    server.add([session(f"session {number}", start=now() - 1000 * (number + 60)) for number in range(80)])
    page.goto(server.address)
    page.wait_for_selector("#live[data-state=on]")
    page.wait_for_selector(".c-name >> text=session 3")
    page.evaluate("scrollTo(0, 900)")
    page.wait_for_selector(".c-name >> text=session 30")
    mark = page.locator(".row", has_text="session 30").first
    before = mark.bounding_box()["y"]
    server.add([session("fresh one"), session("fresh two")])
    news = page.locator(".news")
    until(page, "document.querySelector('.news').textContent === '2 new'")
    assert mark.bounding_box()["y"] == pytest.approx(before, abs=1)
    news.click()
    page.wait_for_selector(".c-name >> text=fresh two")
    assert page.evaluate("scrollY") == 0
    assert set(names(page)[:2]) == {"fresh one", "fresh two"}


def test_search_finds_words_of_inputs_and_the_address_shares_the_view(
    page: Any, new_page: Callable[..., Any], server: ServerClient
) -> None:
    wanted = session("needle")
    server.add([wanted, event(wanted, "lookup", inputs={"text": "a quokka in the haystack"}), session("other")])
    page.goto(server.address)
    page.wait_for_selector(".c-name >> text=other")
    page.keyboard.press("/")
    page.keyboard.type("quokka")
    page.wait_for_url("**/?q=quokka")
    until(page, "document.querySelectorAll('.rows [role=row]').length === 1")
    assert names(page) == ["needle"]
    shared = new_page()
    shared.goto(page.url)
    shared.wait_for_selector(".c-name >> text=needle")
    assert names(shared) == ["needle"]
    assert shared.locator("input[type=search]").input_value() == "quokka"
    page.locator(".chip button").click()
    page.wait_for_selector(".c-name >> text=other")
    assert "?" not in page.url


def test_filters_narrow_the_list_and_going_back_widens_it(page: Any, server: ServerClient) -> None:
    failing = session("fails", metadata={"env": "canary"})
    server.add(
        [failing, event(failing, "breaks", error="ValueError: no"), session("works", start=now() - 9000, duration=5000)]
    )
    page.goto(server.address)
    page.wait_for_selector(".c-name >> text=works")
    page.locator("button", has_text="Errors").click()
    page.wait_for_url("**/?error=1")
    until(page, "![...document.querySelectorAll('.c-name')].some(n => n.textContent.includes('works'))")
    assert "fails" in names(page)
    page.go_back()
    page.wait_for_selector(".c-name >> text=works")
    page.locator(".more summary").click()
    page.get_by_label("Longer than").fill("4 s")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**/?min_duration=4000")
    until(page, "![...document.querySelectorAll('.c-name')].some(n => n.textContent.includes('fails'))")
    assert names(page) == ["works"]
    page.goto(f"{server.address}/?meta.env=canary")
    until(page, "document.querySelectorAll('.rows [role=row]').length === 1")
    assert names(page) == ["fails"]


def test_nothing_found_says_so_and_offers_a_way_back(page: Any, server: ServerClient) -> None:
    server.add([session("something")])
    page.goto(f"{server.address}/?name=nobody-has-this-name")
    page.get_by_role("button", name="Clear the filters").click()
    page.wait_for_selector(".c-name >> text=something")


def test_a_wrong_duration_is_refused_where_it_was_typed(page: Any, server: ServerClient) -> None:
    page.goto(server.address)
    page.locator(".more summary").click()
    page.get_by_label("Longer than").fill("soon")
    page.get_by_role("button", name="Apply").click()
    assert page.get_by_label("Longer than").evaluate("input => input.validity.customError")
    assert "?" not in page.url


def test_many_sessions_are_read_page_by_page_and_few_rows_exist(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server()
    server.add([session(f"session {number:03}", start=now() - 1000 * (number + 1)) for number in range(450)])
    page.goto(server.address)
    page.wait_for_selector(".c-name >> text=session 000")
    for _ in range(60):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(20)
        if page.locator(".c-name >> text=session 449").count():
            break
    page.wait_for_selector(".c-name >> text=session 449")
    assert page.locator(".rows [role=row]").count() < 80
    assert "450 sessions" in page.locator(".foot").inner_text()


def test_the_list_can_be_walked_and_opened_with_the_keyboard(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server()
    made = [session(f"number {n}", start=now() - 1000 * (n + 1)) for n in range(3)]
    server.add(made)
    page.goto(server.address)
    page.wait_for_selector(".c-name >> text=number 2")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    grid = page.locator("[role=grid]")
    assert grid.get_attribute("aria-activedescendant") == f"row-{made[2]['session_id']}"
    page.keyboard.press("Home")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/s/{made[1]['session_id']}*")
    page.wait_for_selector("[role=tree]")
    page.keyboard.press("Escape")
    page.wait_for_url(f"{server.address}/")
    page.keyboard.press("?")
    assert page.locator("dialog[open] >> text=Keyboard").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_the_first_use_shows_three_lines_that_make_a_trace(
    page: Any, start_server: Callable[..., ServerClient], tmp_path: Any
) -> None:
    server = start_server()
    page.goto(server.address)
    snippet = page.locator(".snippet code").inner_text()
    assert len(snippet.strip().splitlines()) == 3
    page.wait_for_selector("#live[data-state=on]")
    store = server.call("GET", "/ui/api/info")["store"]
    run_program(snippet, store)
    page.wait_for_selector(".rows [role=row]")
    assert names(page) == ["sorted"]
    assert page.locator(".snippet").count() == 0


def run_program(source: str, store: str) -> None:
    """Run a program in a process of its own that writes into the store."""
    import os
    import subprocess
    import sys
    from pathlib import Path

    environment = {**os.environ, "HONEYTRACE_HOME": str(Path(store).parent)}
    subprocess.run([sys.executable, "-c", source], env=environment, check=True, timeout=60)


def test_a_server_with_a_key_asks_once_and_remembers_it_in_the_tab(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server(key="right-key")
    server.add([session(f"behind a key {new_id()[:4]}")])
    page.watch.expected = ["401"]
    page.goto(server.address)
    page.get_by_label("Key", exact=True).locator("visible=true").last.fill("wrong-key")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=That key was not accepted")
    page.locator("dialog input").fill("right-key")
    page.keyboard.press("Enter")
    page.wait_for_selector(".c-name >> text=behind a key")
    page.reload()
    page.wait_for_selector(".c-name >> text=behind a key")
    assert page.locator("dialog").count() == 0


def test_escape_goes_back_to_the_same_row_of_the_same_view(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server()
    made = [session(f"number {n:02}", start=now() - 1000 * (n + 1), source="a" if n else "b") for n in range(60)]
    server.add(made)
    page.goto(f"{server.address}/?source=a")
    page.wait_for_selector(".c-name >> text=number 01")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.wait_for_selector(".c-name >> text=number 59")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=tree]")
    page.keyboard.press("Escape")
    page.wait_for_url("**/?source=a")
    page.wait_for_selector(f"#row-{made[59]['session_id']}[aria-selected=true]")
    assert page.locator(f"#row-{made[59]['session_id']}").bounding_box()["y"] < 800
