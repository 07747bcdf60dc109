"""Anthropic's protocol, direct and as Bedrock and Vertex carry it. The model's name chooses how the server behaves.

"plain", "tools", "thinking", "cited", "server" (tools that run over there), "refusal", "schema", "error-400", "leak",
"retry" (429 once), "slow", "drop" (breaks off), "midway" (an error inside the stream), "garbage" (no JSON inside the
stream), "endless", "gzip", "odd" (fields of other forms than usual).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from model_server import BrokenOff, ModelServer, Reply

USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 2,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 3},
    "service_tier": "standard",
}
WORDS = ["Hel", "lo ", "wor", "ld"]
CITATION = {"type": "char_location", "cited_text": "world", "document_index": 0, "document_title": "d",
            "start_char_index": 0, "end_char_index": 5}  # fmt: skip
_BREAK_AFTER = 5
"""The event after which a misbehaving stream misbehaves: three pieces of text have come."""


def _text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def _blocks(model: str) -> list[dict[str, Any]]:
    weather = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
    if model == "tools":
        return [_text("Let me see."), weather]
    if model == "thinking":
        hidden = {"type": "redacted_thinking", "data": "b3BhcXVl"}
        return [{"type": "thinking", "thinking": "Think.", "signature": "sig"}, hidden, _text("Hello world")]
    if model == "cited":
        return [_text("Hello "), _text("world", citations=[CITATION])]
    if model == "server":
        found = {"type": "web_search_result", "url": "https://x.test", "title": "t", "encrypted_content": "e",
                 "page_age": None}  # fmt: skip
        search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
        result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]}
        return [search, result, _text("Hello world")]
    if model == "schema":
        return [_text('{"city":"Bern"}')]
    return [_text("".join(WORDS))]


def message(model: str) -> dict[str, Any]:
    reason = {"tools": "tool_use", "refusal": "refusal", "cut": "max_tokens"}.get(model, "end_turn")
    made = {"id": "msg_1", "type": "message", "role": "assistant", "model": f"{model}-2026", "content": _blocks(model)}
    made.update(stop_reason=reason, stop_sequence=None, usage=USAGE)
    return made


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a block starts as, and what follows."""
    kind = block["type"]
    if kind == "text":
        words = WORDS if block["text"] == "".join(WORDS) else [block["text"]]
        deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in words]
        deltas += [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        return {**block, "text": "", **({"citations": []} if "citations" in block else {})}, deltas
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in ("Thi", "nk.")]
        return {**block, "thinking": "", "signature": ""}, [*deltas, {"type": "signature_delta", "signature": "sig"}]
    if kind.endswith("tool_use"):
        text = json.dumps(block["input"], separators=(",", ":"))
        parts = ["", text[:4], text[4:]]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block, []


def events(model: str) -> list[dict[str, Any]]:
    whole = message(model)
    begun = {**USAGE, "output_tokens": 1, "output_tokens_details": None}
    head = {**whole, "content": [], "stop_reason": None, "usage": begun}
    made: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(whole["content"]):
        empty, deltas = _pieces(block)
        made.append({"type": "content_block_start", "index": index, "content_block": empty})
        if index == 0:
            made.append({"type": "ping"})
        made += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        made.append({"type": "content_block_stop", "index": index})
    final = {"output_tokens": 7, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 3}}
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    return [*made, {"type": "message_delta", "delta": ended, "usage": final}, {"type": "message_stop"}]


def _key(headers: dict[str, str]) -> str:
    """The key of a request: versions send it in different headers."""
    return headers.get("x-api-key") or headers["authorization"].removeprefix("Bearer ")


def _failure(kind: str, text: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": text}}


_CARRIED = re.compile(r"/model/(?P<bedrock>[^/]+)/invoke(?P<framed>-with-response-stream)?$")
_CARRIED_BY_GOOGLE = re.compile(r"/publishers/anthropic/models/(?P<model>[^/:]+):(?P<verb>\w+)$")


def answer(server: ModelServer, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
    """Answer a request; None if the path is none of Anthropic's."""
    bedrock, google = _CARRIED.search(path), _CARRIED_BY_GOOGLE.search(path)
    known = ("/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches", "/v1/complete")
    if path not in known and not bedrock and not google:
        return None
    body = json.loads(raw)
    if bedrock and "anthropic_version" not in body:  # Amazon's own client, see bedrock_protocol
        return None
    if path == "/v1/messages/count_tokens":
        return Reply(body={"input_tokens": 5})
    if path == "/v1/messages/batches":
        return Reply(body=_batch(body))
    model = bedrock["bedrock"] if bedrock else google["model"] if google else body["model"]
    if path == "/v1/complete":
        return _complete(model, body)
    if model == "error-400":
        return Reply(400, _failure("invalid_request_error", "bad request"))
    if model == "leak":
        return Reply(401, _failure("authentication_error", f"the key {_key(headers)} is wrong"))
    if model == "retry" and headers.get("x-stainless-retry-count", server.retried) in ("0", None):
        server.retried = "1"
        return Reply(429, _failure("rate_limit_error", "slow down"), headers={"retry-after-ms": "1"})
    if bedrock and bedrock["framed"]:
        frames = iter([_frame(event) for event in events(model)])
        return Reply(mime="application/vnd.amazon.eventstream", body=frames)
    if body.get("stream"):
        return Reply(mime="text/event-stream; charset=utf-8", body=_streamed(server, model))
    if model == "slow":
        server.release.wait(20)
    if model == "odd":
        return Reply(body={**message("plain"), "content": [_text("still here"), 5], "usage": 7})
    return Reply(body=message(model))


def _complete(model: str, body: dict[str, Any]) -> Reply:
    made = {"type": "completion", "id": "compl_1", "model": model, "stop": None, "log_id": "l"}
    if not body.get("stream"):
        return Reply(body={**made, "completion": "Hello world", "stop_reason": "stop_sequence"})
    parts = [{**made, "completion": word, "stop_reason": None} for word in WORDS]
    parts.append({**made, "completion": "", "stop_reason": "stop_sequence"})
    return Reply(mime="text/event-stream", body=iter([_sse(part) for part in parts]))


def _batch(body: dict[str, Any]) -> dict[str, Any]:
    counts = {"processing": len(body["requests"]), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    made = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress", "request_counts": counts}
    never = dict.fromkeys(("ended_at", "archived_at", "cancel_initiated_at", "results_url"))
    return {**made, **never, "created_at": "2026-11-01T00:00:00Z", "expires_at": "2026-11-02T00:00:00Z"}


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _streamed(server: ModelServer, model: str) -> Iterator[bytes]:
    for number, event in enumerate(events(model)):
        yield _sse(event)
        if number != _BREAK_AFTER:
            continue
        if model == "drop":
            raise BrokenOff
        if model == "midway":
            yield _sse(_failure("overloaded_error", "overloaded"))
        if model == "garbage":
            yield b"event: content_block_delta\ndata: {no json\n\n"
        if model in ("endless", "slow"):
            while not server.release.wait(0.02):
                yield _sse({"type": "ping"})


def _frame(event: dict[str, Any]) -> bytes:
    """One message of an AWS event stream: lengths, checksum, headers, payload, checksum."""
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"}).encode()
    headers = b""
    for name, value in ((":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
    head = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    head += crc32(head).to_bytes(4, "big")
    whole = head + headers + payload
    return whole + crc32(whole).to_bytes(4, "big")
