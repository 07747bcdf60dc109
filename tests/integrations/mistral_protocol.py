"""Mistral's protocol, below /mistral (it is OpenAI's otherwise). The model's name chooses how the server behaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from model_server import BrokenOff, ModelServer, Reply

WORDS = ["Hel", "lo ", "wor", "ld"]
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
TOOL_CALL = {"id": "call_1", "type": "function", "index": 0,
             "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}  # fmt: skip


def _whole(model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS)}
    if model == "tools":
        message = {"role": "assistant", "content": "", "tool_calls": [TOOL_CALL]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if model == "tools" else "stop"}
    head = {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": f"{model}-2026"}
    return {**head, "choices": [choice], "usage": USAGE}


def _chunks(model: str) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"tool_calls": [TOOL_CALL], "content": ""}] if model == "tools" else [{"content": w} for w in WORDS]
    head = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1, "model": f"{model}-2026"}
    made = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = "tool_calls" if model == "tools" else "stop"
    end = {"index": 0, "delta": {"content": ""}, "finish_reason": reason}
    return [*made, {**head, "choices": [end], "usage": USAGE}]


def answer(server: ModelServer, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
    """Answer a request; None if the path is none of Mistral's."""
    if not path.startswith("/mistral/"):
        return None
    body = json.loads(raw)
    model = body.get("model") or body.get("agent_id")
    if model == "error-400":
        return Reply(400, {"message": "bad request", "type": "invalid"})
    if model == "leak":
        return Reply(401, {"message": f"the key {headers['authorization'].removeprefix('Bearer ')} is wrong"})
    if model == "retry" and server.retried is None:
        server.retried = "1"
        return Reply(429, {"message": "slow down"})
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [1.0, 2.0, 3.0]}]
        usage = {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}
        return Reply(body={"id": "emb-1", "object": "list", "model": model, "data": data, "usage": usage})
    if body.get("stream"):
        return Reply(mime="text/event-stream", body=_streamed(server, model))
    if model == "slow":
        server.release.wait(20)
    return Reply(body=_whole(model))


def _streamed(server: ModelServer, model: str) -> Iterator[bytes]:
    for number, chunk in enumerate(_chunks(model)):
        if number == 3 and model == "drop":
            raise BrokenOff
        if number == 3 and model == "midway":
            yield b'data: {"object": "error"}\n\n'
        if number == 3 and model in ("endless", "slow"):
            while not server.release.wait(0.02):
                empty = {**chunk, "choices": []}
                yield f"data: {json.dumps(empty)}\n\n".encode()
        yield f"data: {json.dumps(chunk)}\n\n".encode()
    yield b"data: [DONE]\n\n"
