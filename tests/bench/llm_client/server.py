"""A server of OpenAI's chat completions on 127.0.0.1, in a process of its own: prints its port, ends with its input.

Answers are as long as those of the real one and encoded beforehand, except for their ids: each is given once, so that
what was recorded can be counted by them. The model's name says how many chunks a stream has.
"""

from __future__ import annotations

import json
import random
import re
import socket
import sys
import threading
from itertools import count
from typing import Any

PIECES = [" forager", " number", " seven", " danced", " at", " the", " eastern", " edge", ",", " twice"]
TEXT = "".join(PIECES) * 10
USAGE = {
    "prompt_tokens": 311,
    "completion_tokens": 107,
    "total_tokens": 418,
    "prompt_tokens_details": {"cached_tokens": 128, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 64,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
HEAD = {
    "id": "chatcmpl-XXXXXXXX",
    "created": 1763940000,
    "model": "bee-4-2026-08-01",
    "service_tier": "default",
    "system_fingerprint": "fp_50cad350e4",
}
ID = b"XXXXXXXX"
_ids = count()


Reply = tuple[str, list[bytes]]
"""A media type, and the pieces of a body."""


def whole() -> Reply:
    """The answer that is not streamed."""
    message = {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}
    return "application/json", [json.dumps(body).encode()]


def streamed(chunks: int) -> Reply:
    """A stream: every event is a chunk of HTTP of its own, and ends with noise of its own, as the real ones do."""
    deltas = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": PIECES[number % len(PIECES)]} for number in range(chunks - 3)]
    rest = {**HEAD, "object": "chat.completion.chunk"}
    events: list[dict[str, Any]] = [
        {**rest, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]} for delta in deltas
    ]
    events.append({**rest, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]})
    events.append({**rest, "choices": []})
    for event in events:
        noise = "".join(random.choices("abcdefghijklmnopqrstuvwxyzABC0123456789", k=random.randint(2, 14)))
        event.update(usage=None if event["choices"] else USAGE, obfuscation=noise)
    lines = [f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode() for event in events]
    return "text/event-stream; charset=utf-8", [*lines, b"data: [DONE]\n\n"]


REPLIES = {b"whole": whole()}


def reply(body: bytes) -> Reply:
    """Give the answer to a request: model "whole", or "stream-N"."""
    found = re.search(rb'"model":\s*"([^"]+)"', body)
    assert found is not None, body
    model = found[1]
    if model not in REPLIES:
        REPLIES[model] = streamed(int(model.partition(b"-")[2]))
    mime, pieces = REPLIES[model]
    number = b"%08d" % next(_ids)
    return mime, [piece.replace(ID, number) for piece in pieces]


def answer(body: bytes) -> bytes:
    """The same as it travels."""
    mime, pieces = reply(body)
    head = (
        f"HTTP/1.1 200 OK\r\nx-request-id: req_{next(_ids):08}\r\nopenai-processing-ms: 412\r\ncontent-type: {mime}\r\n"
    )
    if mime == "application/json":
        return f"{head}content-length: {len(pieces[0])}\r\n\r\n".encode() + pieces[0]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks


def serve(connection: socket.socket) -> None:
    """Answer the requests of one connection until the client goes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waiting = b""
    while True:
        while b"\r\n\r\n" not in waiting:
            data = connection.recv(65536)
            if not data:
                return
            waiting += data
        head, _, waiting = waiting.partition(b"\r\n\r\n")
        size = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]
        while len(waiting) < size:
            waiting += connection.recv(65536)
        body, waiting = waiting[:size], waiting[size:]
        connection.sendall(answer(body))


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
