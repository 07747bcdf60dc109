"""Shared by all tests: a private home, no settings from outside, and no internal failure that goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from honeytrace import _diagnostics, default_tracer


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep each test away from the user's store and environment."""
    home = tmp_path / "honeytrace-home"
    monkeypatch.setenv("HONEYTRACE_HOME", str(home))
    for name in (
        "HH_API_KEY",
        "HH_INGESTION_API_KEY",
        "HH_API_URL",
        "HH_SOURCE",
        "HH_SESSION_NAME",
        "HH_DISABLE_TRACING",
        "HH_VERBOSE",
        "NO_COLOR",
        "FORCE_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(autouse=True)
def internal_failures(request: pytest.FixtureRequest) -> Iterator[list[BaseException]]:
    """Fail the test that caused an internal failure, unless it is marked `internal_failure_expected`."""
    # A coroutine that another test stepped by hand and dropped may still be what is current here.
    default_tracer.variable.set(None)
    _diagnostics.reset_failures()
    _diagnostics.on_failure = seen = []
    yield seen
    _diagnostics.on_failure = None
    default_tracer.shutdown(2.5)
    if seen and request.node.get_closest_marker("internal_failure_expected") is None:
        pytest.fail(f"honeytrace failed inside: {seen!r}", pytrace=False)
