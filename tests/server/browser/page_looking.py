"""Waiting for what a page shows, without evaluating text inside the page, which its policy forbids."""

from __future__ import annotations

import time
from typing import Any


def until(page: Any, expression: str, arg: Any = None, *, seconds: float = 20.0) -> None:
    """Wait until a JavaScript expression, or a function of `arg`, is true."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"never became true: {expression}"
        page.wait_for_timeout(20)


def rows_by_place(page: Any, selector: str, text: str) -> list[str]:
    """The texts of virtual rows from above; their order in the document is not that on the screen."""
    found: list[str] = page.evaluate(
        "([selector, text]) => [...document.querySelectorAll(selector)]"
        ".sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))"
        ".map(row => row.querySelector(text).textContent)",
        [selector, text],
    )
    return found
