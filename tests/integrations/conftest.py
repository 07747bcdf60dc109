"""Real clients of the libraries against servers of our own; without a library its tests are not collected."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

import honeytrace
from honeytrace.testing import Traces, capture

collect_ignore_glob = [] if find_spec("openai") else ["test_openai_*.py", "test_instrument.py"]


@pytest.fixture
def server() -> Iterator[Any]:
    from model_server import ModelServer

    server = ModelServer()
    yield server
    server.stop()


@pytest.fixture
def recorded() -> Iterator[Traces]:
    """Instrument openai, and capture what it records."""
    with capture() as traces:
        honeytrace.instrument("openai")
        yield traces
        honeytrace.uninstrument()


@pytest.fixture(params=["sync", "async"])
def surface(request: pytest.FixtureRequest, server: Any) -> Iterator[Any]:
    from openai_surface import Surface

    surface = Surface(request.param, server.url)
    yield surface
    surface.close()
