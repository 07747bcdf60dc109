"""A server of OpenAI's protocol on 127.0.0.1. The model's name in the request chooses how it behaves.

"plain", "tools", "refusal", "schema", "error-400", "retry" (429 once), "slow", "drop" (breaks off), "midway" (an error
inside the stream), "garbage" (no JSON inside the stream), "endless", "gzip", "odd" (fields of other forms than usual).
"""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSE_USAGE = {
    "input_tokens": 11,
    "output_tokens": 7,
    "total_tokens": 18,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 3},
}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
WORDS = ["Hel", "lo ", "wor", "ld"]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 500


def _message(model: str) -> dict[str, Any]:
    if model == "tools":
        return {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    if model == "refusal":
        return {"role": "assistant", "content": None, "refusal": "I will not."}
    if model == "schema":
        return {"role": "assistant", "content": '{"city":"Bern"}'}
    return {"role": "assistant", "content": "".join(WORDS), "refusal": None}


def chat(model: str, body: dict[str, Any]) -> dict[str, Any]:
    reason = "tool_calls" if model == "tools" else "length" if model == "cut" else "stop"
    choices = [
        {"index": index, "message": _message(model), "finish_reason": reason, "logprobs": None}
        for index in range(body.get("n") or 1)
    ]
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": f"{model}-2026"}
    return {**answer, "choices": choices, "usage": USAGE}


def chat_events(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if model == "tools":
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        deltas.append({"tool_calls": [call]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in ('{"ci', 'ty":"B', 'ern"}')]
    elif model == "refusal":
        deltas += [{"refusal": piece} for piece in ("I will", " not.")]
    else:
        deltas += [{"content": word} for word in WORDS]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": f"{model}-2026"}
    events = [{**head, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    reason = "tool_calls" if model == "tools" else "stop"
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append({**head, "choices": [], "usage": USAGE})
    return events


def response(model: str, body: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "output_text", "text": '{"city":"Bern"}' if model == "schema" else "Hello world", "annotations": []}
    output: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Think."}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]},
    ]
    if model == "tools":
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather"}
        output[2] = {**call, "arguments": '{"city":"Bern"}', "status": "completed"}
    made = {"id": "resp_1", "object": "response", "created_at": 1, "model": f"{model}-2026", "output": output}
    made.update(parallel_tool_calls=True, tool_choice="auto", tools=[], error=None, instructions=None, metadata={})
    if model == "failed":
        failure = {"code": "server_error", "message": "it broke"}
        return {**made, "status": "failed", "output": [], "error": failure, "usage": None}
    return {**made, "status": "completed", "usage": RESPONSE_USAGE}


def response_events(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    whole = response(model, body)
    empty = {**whole, "status": "in_progress", "output": [], "usage": None}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": empty},
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "item_id": "msg_1",
         "part": {"type": "output_text", "text": "", "annotations": []}},
    ]  # fmt: skip
    where = {"output_index": 0, "content_index": 0, "item_id": "msg_1", "logprobs": []}
    events += [{"type": "response.output_text.delta", "delta": word, **where} for word in WORDS]
    events.append({"type": "response.output_text.done", "text": "".join(WORDS), **where})
    events.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def transcript_events(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    pieces = [{"type": "transcript.text.delta", "delta": word} for word in WORDS]
    return [*pieces, {"type": "transcript.text.done", "text": "".join(WORDS)}]


def embeddings(model: str, body: dict[str, Any]) -> dict[str, Any]:
    given = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vector: Any = "AACAPwAAAEAAAEBA" if body.get("encoding_format") == "base64" else [1.0, 2.0, 3.0]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(given))]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 5, "total_tokens": 5}}


def images(model: str, body: dict[str, Any]) -> dict[str, Any]:
    import base64

    return {"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]}


def moderations(model: str, body: dict[str, Any]) -> dict[str, Any]:
    result = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}}
    return {"id": "modr-1", "model": model, "results": [{**result, "category_applied_input_types": {}}]}


ANSWERS: dict[str, tuple[Any, Any]] = {
    "/chat/completions": (chat, chat_events),
    "/responses": (response, response_events),
    "/embeddings": (embeddings, None),
    "/images/generations": (images, None),
    "/moderations": (moderations, None),
    "/audio/transcriptions": (lambda model, body: {"text": "spoken words"}, transcript_events),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OpenAIServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self._json(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, raw))
        body = json.loads(raw) if raw[:1] == b"{" else {"model": "plain", "stream": b'name="stream"' in raw}
        model = body.get("model", "plain")
        path = next((path for path in ANSWERS if self.path.partition("?")[0].endswith(path)), None)
        if self.path.endswith("/audio/speech"):
            self._send(200, "audio/mpeg", b"ID3" + b"\x01" * 1000)
        elif path is None:
            self._json(404, {"error": {"message": "no such path"}})
        elif model == "error-400":
            self._json(400, {"error": {"message": "bad request", "type": "invalid", "code": "bad"}})
        elif model == "leak":
            key = headers["authorization"].removeprefix("Bearer ")
            self._json(401, {"error": {"message": f"the key {key} is wrong"}})
        elif model == "retry" and headers.get("x-stainless-retry-count", self.server.retried) in ("0", None):
            self.server.retried = "1"
            self._json(429, {"error": {"message": "slow down"}}, {"retry-after-ms": "1"})
        elif model == "slow" and not body.get("stream"):
            self.server.release.wait(20)
            self._json(200, ANSWERS[path][0](model, body))
        elif model == "odd":
            self._json(200, {"id": 1, "model": "odd", "choices": [{"index": 0, "message": {"role": "assistant",
                       "content": "still here", "tool_calls": 5}, "finish_reason": "stop"}]})  # fmt: skip
        elif body.get("stream"):
            self._stream(model, ANSWERS[path][1](model, body))
        else:
            answer = ANSWERS[path][0](model, body)
            if model == "paid":
                answer["usage"] = {**USAGE, "cost": 0.0125}
            self._json(200, answer)

    def _json(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(answer).encode(), headers)

    def _send(self, status: int, mime: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", mime)
        self.send_header("x-request-id", "req_1")
        if "gzip" in str(self.server.requests[-1:]) and status == 200:
            data = gzip.compress(data)
            self.send_header("content-encoding", "gzip")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, model: str, events: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("x-request-id", "req_1")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for number, event in enumerate(events):
                kind = f"event: {event['type']}\n" if "type" in event else ""
                self._chunk(f"{kind}data: {json.dumps(event)}\n\n".encode())
                if number == 3 and model == "drop":
                    self.connection.close()
                    self.close_connection = True
                    return
                if number == 3 and model == "midway":
                    self._chunk(b'data: {"error": {"message": "overloaded", "code": "busy"}}\n\n')
                if number == 3 and model == "garbage":
                    self._chunk(b"data: {no json\n\n")
                if number == 3 and model in ("endless", "slow"):
                    while not self.server.release.wait(0.02):
                        self._chunk(b": still there\n\n")
            if "choices" in events[0]:
                self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        except OSError:
            self.close_connection = True
            self.server.gone.set()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()


class OpenAIServer(ThreadingHTTPServer):
    """`requests` are (path, headers, body) as they came; `release` lets slow answers go on; `gone`: a client left."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.retried: str | None = None
        self.release = threading.Event()
        self.gone = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()
        self._thread.join(5)
