"""One server for the tests of a module, and a fresh store for those that ask for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra: pip install 'honeytrace[server]'")
pytest.importorskip("uvicorn", reason="needs the extra: pip install 'honeytrace[server]'")

from server_process import ServeProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("served") / "traces.db") as process:
        yield process


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"
