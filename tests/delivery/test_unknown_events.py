"""An update of an event that nobody has recorded is told to its author by id, whatever the destination."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_server import FaultServer

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from server_process import ServeProcess  # noqa: E402

KEY = "hh_right_key"
NOBODY = "aaaa0000-0000-4000-8000-00000000abcd"

PROGRAM = f"""
import honeytrace
honeytrace.init()

@honeytrace.trace
def call():
    pass

call()
honeytrace.update_event({NOBODY!r}, feedback={{"rating": 5}})
call()
honeytrace.flush(20)
"""


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONIOENCODING": "utf-8", **environ}
    return subprocess.run([sys.executable, *arguments], capture_output=True, encoding="utf-8", timeout=60, env=settings)


@pytest.fixture(params=["fault server", "honeytrace serve"])
def url(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    if request.param == "fault server":
        with FaultServer(key=KEY) as server:
            yield server.url
    else:
        with ServeProcess(tmp_path / "server.db", "--api-key", KEY) as process:
            yield process.url


def test_a_server_s_404_is_told_with_the_id_by_the_log_and_the_dead_letter(url: str) -> None:
    to = {"HH_API_KEY": KEY, "HH_API_URL": url}
    done = run("-c", PROGRAM, **to)
    said = f"no event {NOBODY} to update: the server does not know it (HTTP 404, 5 times)"
    (line,) = [line for line in done.stderr.splitlines() if "for good" in line]
    assert line.startswith(f"honeyhive refused a record for good: {said} (1 set aside")
    (letter,) = json.loads(run("-m", "honeytrace.cli", "dead-letters", "--json").stdout)
    assert (letter["id"], letter["reason"]) == (NOBODY, said)
    assert f"{NOBODY} to update: the server does not know it" in run("-m", "honeytrace.cli", "doctor", **to).stdout


def test_the_local_store_tells_it_by_the_log_and_the_doctor_until_the_event_comes() -> None:
    done = run("-c", PROGRAM)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"no event {NOBODY} to update in ")
    doctor = run("-m", "honeytrace.cli", "doctor")
    assert doctor.returncode == 0
    assert f"1 event updated that nobody has recorded: {NOBODY}" in doctor.stdout
    event = {"event_id": NOBODY, "session_id": NOBODY, "event_type": "session", "inputs": {}, "event_name": "late"}
    code = (
        "import sys, time; from honeytrace._event import Event; from honeytrace.exporters.local import LocalExporter;"
    )
    code += (
        "LocalExporter().export([Event('event', sys.argv[1].encode(), sys.argv[2].encode(), 0)], time.monotonic() + 9)"
    )
    assert run("-c", code, NOBODY, json.dumps(event)).returncode == 0
    assert "nobody has recorded" not in run("-m", "honeytrace.cli", "doctor").stdout
    assert '"rating": 5' in run("-m", "honeytrace.cli", "show", NOBODY, "--json").stdout
