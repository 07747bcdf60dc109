"""Writes to a server as a program would, over HTTP, and makes the traces the tests look at."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Iterable
from typing import Any

Event = dict[str, Any]


class ServerClient:
    """A server's address, and the few calls the tests need."""

    def __init__(self, address: str, key: str = "") -> None:
        self.address = address
        self._headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the answer's JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, self._headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def add(self, events: Iterable[Event]) -> None:
        """Store events."""
        events = list(events)
        for first in range(0, len(events), 2000):
            self.call("POST", "/v1/events/batch", {"events": events[first : first + 2000]})

    def event(self, event_id: str) -> Event:
        """An event as it is stored."""
        found: Event = self.call("GET", f"/v1/events/{event_id}")["event"]
        return found


def new_id() -> str:
    """An id as honeytrace makes them."""
    return str(uuid.uuid4())


def now() -> float:
    """Milliseconds since the epoch."""
    return time.time() * 1000


def session(name: str, *, start: float | None = None, duration: float | None = 1000.0, **fields: Any) -> Event:
    """A session event; without a duration it is running."""
    start = now() - 2000 if start is None else start
    session_id = new_id()
    ended = {} if duration is None else {"end_time": start + duration, "duration": duration}
    return {
        "event_id": session_id,
        "session_id": session_id,
        "event_type": "session",
        "event_name": name,
        "source": "tests",
        "inputs": {},
        "start_time": start,
        **ended,
        **fields,
    }


def event(
    parent: Event, name: str, *, kind: str = "tool", at: float = 0.0, duration: float = 100.0, **fields: Any
) -> Event:
    """An event below another, `at` milliseconds after its start."""
    start = parent["start_time"] + at
    return {
        "event_id": new_id(),
        "session_id": parent["session_id"],
        "parent_id": parent["event_id"],
        "event_type": kind,
        "event_name": name,
        "source": "tests",
        "inputs": {},
        "outputs": {},
        "start_time": start,
        "end_time": start + duration,
        "duration": duration,
        **fields,
    }


def agent_trace() -> dict[str, Event]:
    """A session with a failing tool and two model calls, by name."""
    root = session("support chat", duration=1000.0, user_properties={"user_id": "ana"}, metadata={"env": "prod"})
    answer = event(root, "answer", kind="chain", at=0, duration=800, inputs={"question": "why is the sky blue?"})
    plan = event(
        answer,
        "plan",
        kind="model",
        at=0,
        duration=200,
        config={"model": "small-model", "temperature": 0.2},
        inputs={"chat_history": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why blue?"}]},
        outputs={
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call_1", "function": {"name": "search", "arguments": '{"query": "rayleigh", "limit": 3}'}}
            ],
        },
        metadata={
            "prompt_tokens": 20,
            "completion_tokens": 7,
            "total_tokens": 27,
            "cost": 0.0012,
            "time_to_first_token_ms": 50,
        },
    )
    search = event(
        answer,
        "search",
        at=300,
        duration=100,
        inputs={"query": "rayleigh"},
        error="TimeoutError: no answer within 2 s",
        metadata={
            "traceback": "Traceback (most recent call last):\n"
            "  File 'search.py', line 7\nTimeoutError: no answer within 2 s"
        },
    )
    write = event(
        answer,
        "write",
        kind="model",
        at=400,
        duration=400,
        config={"model": "large-model"},
        inputs={"chat_history": [{"role": "user", "content": "Why blue?"}]},
        outputs={"role": "assistant", "content": "Because of Rayleigh scattering."},
        metadata={"total_tokens": 50, "cost": 0.004},
    )
    return {"root": root, "answer": answer, "plan": plan, "search": search, "write": write}
