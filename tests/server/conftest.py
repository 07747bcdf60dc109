"""One server for the tests of a module, and a fresh store for those that ask for one."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from server_process import ServeProcess

# The extra `server` is part of the extra `test`; without it there is nothing to test here.
collect_ignore_glob = [] if find_spec("starlette") and find_spec("uvicorn") else ["test_*.py"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("served") / "traces.db") as process:
        yield process


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"
