"""Says in one line why the browser tests do not run where they cannot."""

from __future__ import annotations

import os

import pytest


@pytest.mark.browser
def test_what_the_browser_tests_need_is_here(missing_for_browser: str | None) -> None:
    if missing_for_browser is None:
        return
    reason = f"the browser tests need {missing_for_browser}"
    if os.environ.get("HONEYTRACE_BROWSER_TESTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
