"""Ollama's protocol: lines of JSON. The model's name chooses how the server behaves, as in openai_protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from model_server import BrokenOff, ModelServer, Reply

WORDS = ["Hel", "lo ", "wor", "ld"]
COUNTS = {"total_duration": 9, "load_duration": 1_000_000, "prompt_eval_count": 11, "prompt_eval_duration": 2,
          "eval_count": 7, "eval_duration": 3}  # fmt: skip
TOOL_CALLS = [{"function": {"name": "weather", "arguments": {"city": "Bern"}}}]


def _parts(path: str, model: str) -> list[dict[str, Any]]:
    head = {"model": model, "created_at": "2026-01-01T00:00:00Z", "done": False}
    end = {**head, "done": True, "done_reason": "stop", **COUNTS}
    if path == "/api/generate":
        return [*({**head, "response": word} for word in WORDS), {**end, "response": ""}]
    messages = [{"role": "assistant", "content": word} for word in WORDS]
    if model == "tools":
        messages = [{"role": "assistant", "content": "", "tool_calls": TOOL_CALLS}]
    return [*({**head, "message": one} for one in messages), {**end, "message": {"role": "assistant", "content": ""}}]


def _whole(path: str, model: str) -> dict[str, Any]:
    *parts, end = _parts(path, model)
    if path == "/api/generate":
        return {**end, "response": "".join(part["response"] for part in parts)}
    return {**end, "message": {**parts[0]["message"], "content": "".join(p["message"]["content"] for p in parts)}}


def answer(server: ModelServer, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
    """Answer a request; None if the path is none of Ollama's."""
    if not path.startswith("/api/"):
        return None
    body = json.loads(raw)
    model = body["model"]
    if model == "error-400":
        return Reply(400, {"error": "bad request"})
    if model == "retry":
        return Reply(429, {"error": "slow down"})
    if path == "/api/embed":
        return Reply(body={"model": model, "embeddings": [[1.0, 2.0, 3.0]], "prompt_eval_count": 5})
    if body.get("stream"):
        return Reply(mime="application/x-ndjson", body=_streamed(server, model, _parts(path, model)))
    if model == "slow":
        server.release.wait(20)
    return Reply(body=_whole(path, model))


def _streamed(server: ModelServer, model: str, parts: list[dict[str, Any]]) -> Iterator[bytes]:
    for number, part in enumerate(parts):
        if number == 3 and model == "drop":
            raise BrokenOff
        if number == 3 and model == "midway":
            yield b'{"error": "overloaded"}\n'
        if number == 3 and model in ("endless", "slow"):
            while not server.release.wait(0.02):
                empty = {**part, "message": {"role": "assistant", "content": ""}}
                yield json.dumps(empty).encode() + b"\n"
        yield json.dumps(part).encode() + b"\n"
