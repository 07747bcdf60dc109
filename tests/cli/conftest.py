"""The server of the delivery tests is at hand here too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "delivery"))

from fault_server import FaultServer  # noqa: E402


@pytest.fixture
def server():
    """A server that knows one key."""
    with FaultServer(key="hh_right_key") as server:
        yield server
