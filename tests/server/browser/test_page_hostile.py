"""Hostile content: whatever a trace holds is text. Nothing runs, nothing is fetched, nothing escapes its place."""

from __future__ import annotations

from typing import Any

import pytest
from page_looking import until
from page_server import ServerClient, event, session

pytestmark = pytest.mark.browser

SCRIPT = "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'>"
LINK = "javascript:window.owned = 3"
RTL = "\u202eevil مرحبا بالعالم שלום"
CONTROL = "a\x1b[31mred\x07\x7f"
BEES = "👩‍👩‍👧‍👦 🐝 ｆｕｌｌ é"


def hostile() -> list[dict[str, Any]]:
    """A session with everything bad in every field."""
    root = session(SCRIPT, user_properties={"user_id": SCRIPT, LINK: LINK}, metadata={SCRIPT: SCRIPT})
    root["source"] = LINK
    nested: Any = "the bottom"
    for _ in range(100):
        nested = {"level": nested}
    tool = event(
        root,
        SCRIPT + RTL,
        inputs={
            "html": SCRIPT,
            "link": LINK,
            "rtl": RTL,
            "control": CONTROL,
            "bees": BEES,
            "deep": nested,
            "__proto__": {"polluted": True},
        },
        outputs={"markdown": f"[click]({LINK}) ![x](http://192.0.2.1/x.png)", "data": "data:text/html," + SCRIPT},
        error=SCRIPT + "\n" + RTL,
        metadata={"traceback": SCRIPT},
        config={"constructor": "c", "toString": "t", "hasOwnProperty": 1},
    )
    chat = event(
        root,
        "chat",
        kind="model",
        at=200,
        config={"model": SCRIPT},
        inputs={
            "chat_history": [
                {"role": SCRIPT, "content": SCRIPT},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "http://192.0.2.1/tracker.png"}},
                        {"text": RTL},
                        None,
                        7,
                    ],
                },
                None,
                "bare",
                {
                    "role": 5,
                    "content": {"a": LINK},
                    "tool_calls": [None, {"function": {"name": SCRIPT, "arguments": "{not json"}}],
                },
            ]
        },
        outputs={"role": "assistant", "content": LINK, "tool_calls": "not a list"},
    )
    odd = event(
        root,
        "odd",
        kind="model",
        at=300,
        inputs={"chat_history": "no list"},
        outputs={"role": "x", "content": 5},
        feedback={"rating": SCRIPT, "note": 7},
    )
    return [root, tool, chat, odd]


def test_hostile_text_is_shown_as_text_everywhere(page: Any, server: ServerClient) -> None:
    made = hostile()
    server.add(made)
    page.goto(server.address)
    page.wait_for_selector(".c-name bdi")
    assert page.locator(".c-name bdi").first.inner_text() == SCRIPT
    for item in made:
        page.goto(f"{server.address}/s/{item['session_id']}#{item['event_id']}")
        page.wait_for_selector(f"[data-shown='{item['event_id']}']")
        for branch in page.locator(".detail details:not([open]) > summary").all():
            branch.click()
    page.goto(f"{server.address}/s/{made[1]['session_id']}#{made[1]['event_id']}")
    page.wait_for_selector(f"[data-shown='{made[1]['event_id']}']")
    detail = page.locator(".detail").inner_text()
    assert SCRIPT in detail
    assert LINK in detail
    assert "polluted" in detail
    assert BEES in detail
    assert "␛[31mred␇␡" in detail
    page.goto(f"{server.address}/compare/{made[0]['session_id']}/{made[0]['session_id']}")
    page.wait_for_selector(".pair h2")
    page.goto(f"{server.address}/overview")
    page.wait_for_selector(".groups")
    assert page.evaluate("window.owned") is None
    assert page.evaluate("({}).polluted") is None


def test_no_link_is_made_of_what_was_traced(page: Any, server: ServerClient) -> None:
    made = hostile()
    server.add(made)
    page.goto(f"{server.address}/s/{made[2]['session_id']}#{made[2]['event_id']}")
    page.wait_for_selector(f"[data-shown='{made[2]['event_id']}']")
    links = page.evaluate(
        "[...document.querySelectorAll('a, img, iframe, form, object, embed')]"
        ".map(node => node.getAttribute('href') ?? node.tagName)"
    )
    assert all(link.startswith(("/", "#")) for link in links), links


def test_right_to_left_text_does_not_turn_its_neighbours(page: Any, server: ServerClient) -> None:
    root = session(RTL)
    server.add([root, event(root, RTL, inputs={"a": RTL})])
    page.goto(f"{server.address}/s/{root['session_id']}")
    page.wait_for_selector("[role=treeitem]")
    loose = page.evaluate(
        """marker => {
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const loose = [];
          while (walker.nextNode()) {
            const node = walker.currentNode;
            if (!node.data.includes(marker) || node.parentElement.closest('option')) continue;
            const style = getComputedStyle(node.parentElement);
            if (['isolate', 'isolate-override', 'plaintext'].includes(style.unicodeBidi)) continue;
            loose.push(node.parentElement.outerHTML.slice(0, 80));
          }
          return loose;
        }""",
        "\u202e",
    )
    assert loose == []


def test_five_megabytes_in_one_string_leave_the_page_usable(page: Any, server: ServerClient) -> None:
    root = session("heavy")
    item = event(root, "heavy", inputs={"text": "<b>" + "x" * 4_900_000})
    server.add([root])
    server.add([item])
    page.goto(f"{server.address}/s/{root['session_id']}#{item['event_id']}")
    page.wait_for_selector(f"[data-shown='{item['event_id']}']")
    page.get_by_role("button", name="Load all 4.9 M characters").click()
    page.wait_for_selector("text=Show 100 k of 4.9 M characters more")
    assert page.evaluate("document.querySelector('.section-inputs').textContent.length") < 150_000
    page.keyboard.press("t")
    until(page, "document.documentElement.dataset.theme === 'dark'")


def test_a_hundred_levels_of_json_open_one_by_one(page: Any, server: ServerClient) -> None:
    made = hostile()
    server.add(made)
    page.goto(f"{server.address}/s/{made[1]['session_id']}#{made[1]['event_id']}")
    page.wait_for_selector(f"[data-shown='{made[1]['event_id']}']")
    assert page.locator(".section-inputs >> text=the bottom").count() == 0
    opened = page.evaluate(
        """async () => {
          for (let n = 0; n < 120; n++) {
            const shut = [...document.querySelectorAll('.section-inputs details.json-branch:not([open])')];
            if (!shut.length) return n;
            for (const one of shut) one.open = true;
            await new Promise(done => setTimeout(done));
          }
        }"""
    )
    assert opened > 90
    assert page.locator(".section-inputs >> text=the bottom").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
