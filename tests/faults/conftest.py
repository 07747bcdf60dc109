"""The fault suite: whole programs on one side, the fault server of the delivery tests on the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "delivery"))

from fault_server import FaultServer
from faults_programs import KEY, Stage


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that serves, until it is told otherwise."""
    with FaultServer(key=KEY) as one:
        yield one


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Where programs run: a folder of their own, and none of them outlives the test."""
    with Stage(tmp_path) as one:
        yield one
