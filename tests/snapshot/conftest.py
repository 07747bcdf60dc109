from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from honeytrace import _diagnostics
from honeytrace._snapshot import Limits, Snapshotter
from honeytrace.redaction import SecretNames


@pytest.fixture(autouse=True)
def nothing_of_ours_fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """A failure inside honeytrace is swallowed in production; here it fails the test that caused it."""
    failures: list[BaseException] = []
    monkeypatch.setattr(_diagnostics, "on_failure", failures)
    yield failures
    assert not failures


def strictly(data: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(data.decode(), parse_constant=refuse)


@pytest.fixture
def seen() -> Callable[..., Any]:
    """Take a snapshot and read it back."""
    unhurried = Limits(seconds=5)

    def seen(value: object, *, limits: Limits = unhurried) -> Any:
        data = Snapshotter(SecretNames(), limits)(value)
        assert len(data) <= limits.max_bytes
        return strictly(data)

    return seen
