"""Real clients of the libraries against servers of our own.

A file `test_LIBRARY_*.py` is collected where that library is installed; `test_stainless_*.py` run each claim with every
library made by Stainless that is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from libraries import INSTALLED
from method_surfaces import NAMES, SURFACES

import honeytrace
from honeytrace.integrations import _PROVIDERS
from honeytrace.testing import Traces, capture

_OF_OPENAI = ("test_instrument.py",)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    name = collection_path.name
    if name.startswith("test_stainless_"):
        return None if INSTALLED else True
    library = "openai" if name in _OF_OPENAI else name.removesuffix(".py").split("_")[1] if "test_" in name else ""
    return True if library in _PROVIDERS and find_spec(library) is None else None


@pytest.fixture
def server() -> Iterator[Any]:
    from model_server import ModelServer

    server = ModelServer()
    yield server
    server.stop()


@pytest.fixture
def recorded() -> Iterator[Traces]:
    """Instrument what is installed, and capture what it records."""
    with capture() as traces:
        honeytrace.instrument()
        yield traces
        honeytrace.uninstrument()


@pytest.fixture
def library(request: pytest.FixtureRequest) -> str:
    """The library of a test: what it is parametrised with, else LIBRARY of its module."""
    return str(getattr(request.module, "LIBRARY", "openai"))


@pytest.fixture(params=["sync", "async"])
def surface(request: pytest.FixtureRequest, server: Any, library: str) -> Iterator[Any]:
    surface = import_module(f"{library}_surface").Surface(request.param, server)
    yield surface
    surface.close()


@pytest.fixture(scope="module")
def collected() -> Iterator[None]:
    """Collect what clients have left behind where their warnings are known and passed over, not later."""
    yield
    for _ in range(2):
        gc.collect()


@pytest.fixture(params=SURFACES, ids=NAMES)
def client(request: pytest.FixtureRequest, server: Any, collected: None) -> Iterator[Any]:
    """A client of each library whose methods have doors, made before anything is patched."""
    kind, mode = request.param
    surface = kind(mode, server.origin)
    yield surface
    surface.close()


@pytest.fixture
def traced(client: Any) -> Iterator[Traces]:
    """Instrument that client's library, and capture what it records."""
    with capture() as traces:
        honeytrace.instrument(client.library)
        if not client.early:
            client.client = client.make()
        yield traces
        honeytrace.uninstrument()
