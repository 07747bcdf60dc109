"""Amazon Bedrock's protocol, its event streams framed as AWS does. The model's id chooses how the server behaves."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from model_server import BrokenOff, ModelServer, Reply

WORDS = ["Hel", "lo ", "wor", "ld"]
USAGE = {"inputTokens": 7, "outputTokens": 7, "totalTokens": 18, "cacheReadInputTokens": 4}
TOOL_USE = {"toolUseId": "call_1", "name": "weather"}


def frame(kind: str, payload: dict[str, Any], message: str = "event") -> bytes:
    """One message of an AWS event stream: lengths, checksums, headers, a JSON payload."""
    named = {":message-type": message, ":content-type": "application/json"}
    named[":event-type" if message == "event" else ":exception-type"] = kind
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in named.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 12 + len(headers) + len(body) + 4, len(headers))
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return whole + struct.pack("!I", zlib.crc32(whole))


def _conversation(model: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"text": "".join(WORDS)}]
    if model == "tools":
        content = [{"toolUse": {**TOOL_USE, "input": {"city": "Bern"}}}]
    message = {"role": "assistant", "content": content}
    reason = "tool_use" if model == "tools" else "end_turn"
    return {"output": {"message": message}, "stopReason": reason, "usage": USAGE, "metrics": {"latencyMs": 5}}


def _conversation_events(model: str) -> list[tuple[str, dict[str, Any]]]:
    events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
    if model == "tools":
        events.append(("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": TOOL_USE}}))
        deltas: list[dict[str, Any]] = [{"toolUse": {"input": piece}} for piece in ('{"ci', 'ty":"B', 'ern"}')]
    else:
        deltas = [{"text": word} for word in WORDS]
    events += [("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta}) for delta in deltas]
    events.append(("contentBlockStop", {"contentBlockIndex": 0}))
    events.append(("messageStop", {"stopReason": "tool_use" if model == "tools" else "end_turn"}))
    return [*events, ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 5}})]


def _invoked(model: str) -> dict[str, Any]:
    if model == "embed":
        return {"embedding": [1.0, 2.0, 3.0], "inputTextTokenCount": 5}
    if model == "titan":
        return {"inputTextTokenCount": 11, "results": [{"tokenCount": 7, "outputText": "Hello world",
                                                       "completionReason": "FINISH"}]}  # fmt: skip
    content: list[dict[str, Any]] = [{"type": "text", "text": "".join(WORDS)}]
    if model == "tools":
        content = [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}}]
    usage = {"input_tokens": 7, "output_tokens": 7, "cache_read_input_tokens": 4}
    reason = "tool_use" if model == "tools" else "end_turn"
    return {"id": "msg_1", "role": "assistant", "content": content, "stop_reason": reason, "usage": usage}


def _invoked_events(model: str) -> list[tuple[str, dict[str, Any]]]:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 4, "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg_1", "usage": usage}}]
    if model == "tools":
        block: dict[str, Any] = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"ci', 'ty":"B', 'ern"}')]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in WORDS]
    events.append({"type": "content_block_start", "index": 0, "content_block": block})
    events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    reason = "tool_use" if model == "tools" else "end_turn"
    events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}})
    metrics = {"inputTokenCount": 7, "outputTokenCount": 7}
    events.append({"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics})
    return [("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}) for event in events]


def answer(server: ModelServer, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
    """Answer a request; None if the path is none of Bedrock's."""
    if not path.startswith("/model/"):
        return None
    model, _, operation = unquote(path).removeprefix("/model/").rpartition("/")
    if model == "error-400":
        return Reply(400, {"message": "bad request"}, headers={"x-amzn-errortype": "ValidationException"})
    if model == "retry" and server.retried is None:
        server.retried = "1"
        return Reply(429, {"message": "slow down"}, headers={"x-amzn-errortype": "ThrottlingException"})
    if operation == "converse-stream":
        events = _conversation_events(model)
        return Reply(mime="application/vnd.amazon.eventstream", body=_streamed(server, model, events))
    if operation == "invoke-with-response-stream":
        events = _invoked_events(model)
        return Reply(mime="application/vnd.amazon.eventstream", body=_streamed(server, model, events))
    if model == "slow":
        server.release.wait(20)
    if operation == "invoke":
        counts = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-bedrock-output-token-count": "7"}
        return Reply(body=_invoked(model), headers={**counts, "x-amzn-requestid": "req_1"})
    return Reply(body=_conversation(model), headers={"x-amzn-requestid": "req_1"})


def _streamed(server: ModelServer, model: str, events: list[tuple[str, dict[str, Any]]]) -> Iterator[bytes]:
    for number, (kind, payload) in enumerate(events):
        if number == 3 and model == "drop":
            raise BrokenOff
        if number == 3 and model == "midway":
            yield frame("throttlingException", {"message": "overloaded"}, "exception")
        if number == 3 and model in ("endless", "slow"):
            while not server.release.wait(0.02):
                yield frame("messageStart", {"role": "assistant"})
        yield frame(kind, payload)
