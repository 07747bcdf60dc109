"""A real `honeytrace serve` as a process of its own, on a free port of 127.0.0.1, and a client for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

_CODE = """
import argparse, sys
from honeytrace.exceptions import HoneytraceError
from honeytrace.server import command
parser = argparse.ArgumentParser()
parser.add_argument("--store")
command.add_arguments(parser)
try:
    sys.exit(command.run(parser.parse_args()))
except HoneytraceError as error:
    print(error, flush=True)
    sys.exit(2)
"""


class ServeProcess:
    """`with ServeProcess(store) as server: server.post("/v1/events", {...})`"""

    def __init__(self, store: Path, *arguments: str, port: int = 0, expect_start: bool = True) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HONEYTRACE_SERVER")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, "--store", str(store), "--port", str(port), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        if expect_start:
            self.port = int(self.first_line.rsplit(":", 1)[1])
            self.url = f"http://127.0.0.1:{self.port}"
            self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def __enter__(self) -> ServeProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def next_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def put(self, path: str, body: Any) -> httpx.Response:
        return self.client.put(path, json=body)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def event(self, event_id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/events/{event_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["event"]
        return found

    def search(self, *filters: tuple[Any, ...], **more: Any) -> dict[str, Any]:
        made = [dict(zip(("field", "operator", "value", "type"), one)) for one in filters]
        answer = self.post("/v1/events/search", {"filters": made, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        if hasattr(self, "client"):
            self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def uid() -> str:
    return str(uuid.uuid4())


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "tool", "inputs": {"q": "hi"}, **fields}


def until(condition: Any, seconds: float = 30.0) -> Any:
    """Ask again and again until there is an answer that counts as true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found
