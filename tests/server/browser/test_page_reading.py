"""What models write, read as they mean it; long texts and lists at a glance; where one looks first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from page_looking import until
from page_server import Event, ServerClient, agent_trace, event, now, session

pytestmark = pytest.mark.browser

WRITTEN = """# A title

Some *emphasis*, **strong**, `code` and [a link](javascript:window.owned=1) ![x](http://127.0.0.1:9/x.png).
A second line, 2 * 3 * 4, snake_case_name and <img src=x onerror="window.owned=1">

- one
  - below
- two

2. second
3. third

| a | b |
|---|---|
| 1 | **2** |

```python
def f(x):
    return x ** 2
```"""


def show(page: Any, server: ServerClient, item: Event) -> None:
    """Open the page of an event and wait for its detail."""
    page.goto(f"{server.address}/s/{item['session_id']}#{item['event_id']}")
    page.wait_for_selector(f"[data-shown='{item['event_id']}']")


def written(text: str, **fields: Any) -> list[Event]:
    """A session with a model event that has written something."""
    root = session("writes")
    chat = {"chat_history": [{"role": "user", "content": "Write **it**."}, {"role": "tool", "content": "**raw**"}]}
    answer = {"role": "assistant", "content": text}
    return [root, event(root, "write", kind="model", inputs=chat, outputs=answer, **fields)]


def test_what_a_model_wrote_is_read_as_it_was_meant(page: Any, server: ServerClient) -> None:
    made = written(WRITTEN)
    server.add(made)
    show(page, server, made[1])
    answer = page.locator(".turn.answer .md")
    found = {tag: answer.locator(tag).all_inner_texts() for tag in ("em", "strong", "p > code", "th", "td", "pre")}
    assert found == {
        "em": ["emphasis"],
        "strong": ["strong", "2"],
        "p > code": ["code"],
        "th": ["a", "b"],
        "td": ["1", "2"],
        "pre": ["def f(x):\n    return x ** 2"],
    }
    assert answer.locator(".md-h").inner_text() == "A title"
    assert answer.locator("li li").all_inner_texts() == ["below"]
    assert answer.locator("ol").get_attribute("start") == "2"
    for kept in ("A second line, 2 * 3 * 4, snake_case_name and <img src=x", "[a link](javascript:window.owned=1)"):
        assert kept in answer.inner_text()
    assert page.locator(".detail a, .detail img").count() == 0
    assert page.evaluate("window.owned") is None
    assert page.locator(".turn.role-tool").inner_text().endswith("**raw**")


def test_texts_can_be_seen_as_they_were_sent_for_event_after_event(page: Any, server: ServerClient) -> None:
    made = written("**one**")
    other = event(made[0], "again", kind="model", at=200, outputs={"role": "assistant", "content": "**two**"})
    server.add([*made, other])
    show(page, server, made[1])
    page.get_by_role("button", name="Show texts as they were sent").click()
    assert "**one**" in page.locator(".turn.answer").inner_text()
    page.locator("[role=treeitem]", has_text="again").click()
    page.wait_for_selector(f"[data-shown='{other['event_id']}']")
    assert "**two**" in page.locator(".turn.answer").inner_text()
    page.get_by_role("button", name="Show texts as they were sent").click()
    assert page.locator(".turn.answer strong").inner_text() == "two"


def test_what_a_model_thought_stands_before_what_it_said(page: Any, server: ServerClient) -> None:
    made = written("Sunny.")
    made[1]["outputs"]["reasoning"] = "They mean *Paris*."
    made[1]["inputs"]["chat_history"][1]["tool_call_id"] = "call_7"
    server.add(made)
    show(page, server, made[1])
    answer = page.locator(".turn.answer")
    assert [line for line in answer.inner_text().splitlines() if line][-3:] == [
        "Reasoning",
        "They mean Paris.",
        "Sunny.",
    ]
    answer.locator("summary").click()
    until(page, "!document.querySelector('.reasoning').open")
    assert page.locator(".turn.role-tool .who").inner_text().split() == ["tool", "call_7"]
    assert page.locator(".turn .json-key").count() == 0


def test_a_long_answer_is_prose_and_the_rest_comes_when_asked_for(page: Any, server: ServerClient) -> None:
    made = written("**Begin.** " + "word " * 4000 + "**End.**")
    server.add(made)
    show(page, server, made[1])
    answer = page.locator(".turn.answer")
    assert answer.locator("strong").all_inner_texts() == ["Begin."]
    answer.get_by_role("button", name="Load all 20 k characters").click()
    until(page, "document.querySelectorAll('.turn.answer strong').length === 2")


@pytest.mark.parametrize("piece", ["*", "`", "_a", "**a ", "~~a", "|", "- ", "> ", "# ", "a|b\n" + " " * 40_000])
def test_no_text_keeps_the_page_busy(page: Any, server: ServerClient, piece: str) -> None:
    page.goto(server.address)
    took = page.evaluate(
        "async (text) => { const { markdown } = await import('/static/markdown.js');"
        " const began = performance.now(); markdown(text); return performance.now() - began; }",
        piece * (50_000 // len(piece)) + "x",
    )
    assert took < 10_000, "a busy machine is given much more than it takes"


def test_the_list_says_what_a_session_was_asked_and_answered(
    page: Any, start_server: Callable[..., ServerClient]
) -> None:
    server = start_server()
    made = written("It is **late**.")
    server.add(made)
    page.goto(server.address)
    row = page.locator(f"[data-session='{made[0]['session_id']}']")
    assert row.locator(".gist").inner_text() == "Write **it**. → It is **late**."
    assert row.locator(".c-events").text_content() == "1 event"


def test_the_errors_of_one_user_can_be_asked_for(page: Any, start_server: Callable[..., ServerClient]) -> None:
    server = start_server()
    fails = session("fails", user_properties={"user_id": "ada"})
    works = session("works", user_properties={"user_id": "ada"})
    model = {"config": {"model": "large-model"}, "kind": "model"}
    server.add([fails, event(fails, "breaks", error="ValueError: no"), works, event(works, "asks", **model)])
    page.goto(server.address)
    page.wait_for_selector(".c-name >> text=works")
    page.get_by_label("User", exact=True).select_option("ada")
    page.wait_for_url("**/?user=ada")
    page.locator("button", has_text="Errors").click()
    page.wait_for_url("**/?user=ada&error=1")
    until(page, "document.querySelectorAll('.rows [role=row]').length === 1")
    assert page.locator(".c-name a").all_inner_texts() == ["fails"]
    page.get_by_role("button", name="Clear all").click()
    page.get_by_label("Model", exact=True).select_option("large-model")
    page.wait_for_url("**/?model=large-model")
    until(page, "[...document.querySelectorAll('.c-name a')].map(a => a.textContent).join() === 'works'")


def test_what_the_address_shows_is_asked_for_once_and_at_once(page: Any, server: ServerClient) -> None:
    trace = agent_trace()
    server.add(trace.values())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server.address)))
    for path, question in (
        (f"/s/{trace['root']['session_id']}", f"/ui/api/sessions/{trace['root']['session_id']}"),
        ("/", "/ui/api/sessions?limit=100"),
    ):
        asked.clear()
        page.goto(server.address + path)
        page.wait_for_selector("[data-ready] [role=row], [data-ready] [role=treeitem]")
        assert asked.count(question) == 1
        assert asked.index(question) < next(i for i, url in enumerate(asked) if url.endswith("/live"))


def test_comparing_begins_where_the_two_first_differ(page: Any, server: ServerClient) -> None:
    one, other = agent_trace(), agent_trace()
    other["write"]["outputs"] = {"role": "assistant", "content": "Ask a physicist."}
    server.add([*one.values(), *other.values()])
    page.goto(f"{server.address}/compare/{one['root']['session_id']}/{other['root']['session_id']}")
    page.wait_for_selector("[data-ready=compare] .pair h2")
    assert page.locator(".both[aria-selected=true] .label").inner_text() == "write"


def test_a_running_session_tells_how_long_it_has_run(page: Any, server: ServerClient) -> None:
    root = session("runs", start=now() - 90_000, duration=None)
    server.add([root, event(root, "step")])
    page.goto(f"{server.address}/s/{root['session_id']}")
    elapsed = page.locator(".facts .elapsed")
    first = elapsed.inner_text()
    assert first.startswith(("1 m", "2 m")) and first.endswith("so far")
    until(page, "before => document.querySelector('.facts .elapsed').textContent !== before", first)


@pytest.mark.parametrize("span", [1.0, 900.0, 7_000.0, 9_500.0, 120_000.0, 4_000_000.0])
def test_labels_of_the_time_axis_keep_apart(page: Any, server: ServerClient, span: float) -> None:
    root = session("axis", duration=span)
    server.add([root, event(root, "step", duration=span)])
    page.goto(f"{server.address}/s/{root['session_id']}")
    page.wait_for_selector("[data-ready=session] .axis span")
    for width in range(1000, 1700, 70):
        page.set_viewport_size({"width": width, "height": 800})
        until(page, "document.querySelectorAll('.axis span').length >= 2")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        boxes = page.evaluate(
            "[...document.querySelectorAll('.axis span')].map(node => node.getBoundingClientRect().toJSON())"
        )
        for before, after in zip(boxes, boxes[1:], strict=False):
            assert before["right"] <= after["left"], width
