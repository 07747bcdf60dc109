"""Google's protocol of Gemini. The model's name chooses how the server behaves, as in openai_protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from model_server import BrokenOff, ModelServer, Reply

WORDS = ["Hel", "lo ", "wor", "ld"]
USAGE = {"promptTokenCount": 11, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 18,
         "cachedContentTokenCount": 4}  # fmt: skip


def _answer(parts: list[dict[str, Any]], reason: str | None = "STOP") -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-2026", "responseId": "resp_1"}


def _parts(model: str) -> list[dict[str, Any]]:
    if model == "tools":
        return [{"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Bern"}}}]
    return [{"text": "Think.", "thought": True}, *({"text": word} for word in WORDS)]


def answer(server: ModelServer, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
    """Answer a request; None if the path is none of Gemini's."""
    version, found, rest = path.partition("/models/")
    if not found or version not in ("/v1", "/v1beta"):
        return None
    model, _, method = rest.partition(":")
    if model == "error-400":
        return Reply(400, {"error": {"code": 400, "message": "bad request", "status": "INVALID_ARGUMENT"}})
    if model == "leak":
        return Reply(401, {"error": {"code": 401, "message": f"the key {headers['x-goog-api-key']} is wrong"}})
    if model == "retry" and server.retried is None:
        server.retried = "1"
        return Reply(429, {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}})
    if method == "batchEmbedContents":
        return Reply(body={"embeddings": [{"values": [1.0, 2.0, 3.0]}]})
    if method == "streamGenerateContent":
        return Reply(mime="text/event-stream", body=_streamed(server, model))
    if model == "slow":
        server.release.wait(20)
    if model == "calls" and b"functionResponse" not in raw:
        return Reply(body=_answer(_parts("tools")))
    return Reply(body=_answer(_parts(model)))


def _streamed(server: ModelServer, model: str) -> Iterator[bytes]:
    parts = _parts(model)
    for number, part in enumerate(parts):
        if number == 3 and model == "drop":
            raise BrokenOff
        if number == 3 and model == "midway":
            yield b'data: {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}\r\n\r\n'
        if number == 3 and model in ("endless", "slow"):
            while not server.release.wait(0.02):
                yield b'data: {"candidates": []}\r\n\r\n'
        event = _answer([part], "STOP" if number == len(parts) - 1 else None)
        yield f"data: {json.dumps(event)}\r\n\r\n".encode()
