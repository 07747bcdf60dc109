"""schemathesis against the served OpenAPI document: whatever the document allows, the server does as it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import ServeProcess


@pytest.mark.slow
def test_schemathesis_finds_nothing(store: Path, tmp_path: Path) -> None:
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("schemathesis is not installed: pip install schemathesis")
    with ServeProcess(store, "--api-key", "hh_test") as server:
        command = [
            *(program, "run", f"{server.url}/openapi.json", "--header", "Authorization: Bearer hh_test"),
            *("--max-examples", "40", "--no-color", "--seed", "4", "--generation-database", "none"),
        ]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
