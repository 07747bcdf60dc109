"""Cohere's protocol, version 2. The model's name chooses how the server behaves, as in openai_protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from model_server import BrokenOff, ModelServer, Reply

WORDS = ["Hel", "lo ", "wor", "ld"]
USAGE = {"billed_units": {"input_tokens": 9, "output_tokens": 7}, "tokens": {"input_tokens": 11, "output_tokens": 7}}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}


def _whole(model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": [{"type": "text", "text": "".join(WORDS)}]}
    if model == "tools":
        message = {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [TOOL_CALL]}
    reason = "TOOL_CALL" if model == "tools" else "COMPLETE"
    return {"id": "chat_1", "finish_reason": reason, "message": message, "usage": USAGE}


def _events(model: str) -> list[dict[str, Any]]:
    head = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events: list[dict[str, Any]] = [{"type": "message-start", "id": "chat_1", "delta": {"message": head}}]
    if model == "tools":
        start = {**TOOL_CALL, "function": {"name": "weather", "arguments": ""}}
        events.append({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will look."}}})
        events.append({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": start}}})
        for piece in ('{"ci', 'ty":"B', 'ern"}'):
            delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            events.append({"type": "tool-call-delta", "index": 0, "delta": delta})
        events.append({"type": "tool-call-end", "index": 0})
    else:
        content = {"type": "text", "text": ""}
        events.append({"type": "content-start", "index": 0, "delta": {"message": {"content": content}}})
        for word in WORDS:
            events.append({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}})
        events.append({"type": "content-end", "index": 0})
    reason = "TOOL_CALL" if model == "tools" else "COMPLETE"
    return [*events, {"type": "message-end", "delta": {"finish_reason": reason, "usage": USAGE}}]


def answer(server: ModelServer, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
    """Answer a request; None if the path is none of Cohere's."""
    if not path.startswith("/v2/"):
        return None
    body = json.loads(raw)
    model = body["model"]
    if model == "error-400":
        return Reply(400, {"message": "bad request"})
    if model == "leak":
        return Reply(401, {"message": f"the key {headers['authorization'].removeprefix('Bearer ')} is wrong"})
    if model == "retry" and server.retried is None:
        server.retried = "1"
        return Reply(429, {"message": "slow down"}, headers={"retry-after-ms": "1", "retry-after": "0"})
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 5}}
    if path == "/v2/embed":
        return Reply(body={"id": "emb_1", "embeddings": {"float": [[1.0, 2.0, 3.0]]}, "texts": ["a"], "meta": meta})
    if path == "/v2/rerank":
        return Reply(body={"id": "rr_1", "results": [{"index": 1, "relevance_score": 0.9}], "meta": meta})
    if body.get("stream"):
        return Reply(mime="text/event-stream", body=_streamed(server, model))
    if model == "slow":
        server.release.wait(20)
    return Reply(body=_whole(model))


def _streamed(server: ModelServer, model: str) -> Iterator[bytes]:
    for number, event in enumerate(_events(model)):
        if number == 4 and model == "drop":
            raise BrokenOff
        if number == 4 and model in ("endless", "slow"):
            while not server.release.wait(0.02):
                yield b'event: debug\ndata: {"type": "debug", "prompt": ""}\n\n'
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
