"""The server that all contenders send to: it answers at once and reads nothing.

Bodies go to a file as they are, and are looked into when the contender has ended (arrivals.py): so the sink costs
little, and every contender the same. Its own process; ends when its standard input does.

The first line of its output is its port. Each line of its input, {"spool": path, "delay": seconds}, says where bodies
go from then on and how long each answer waits; a line of output says that it is so.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from io import BufferedReader
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any, BinaryIO

_SESSION = "7c4a8d09-ca37-4c1a-9d3b-0f6d5a1b2c3e"
SESSION = {
    "session_id": _SESSION,
    "event_id": _SESSION,
    "org_id": "bench",
    "workspace_id": "bench",
    "project_id": "bench",
    "success": True,
}
"""What a client that asks HoneyHive for a session is given; its SDK insists on all of it."""

LANGSMITH_INFO = {
    "version": "0.10.0",
    "instance_flags": {"zstd_compression_enabled": True},
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_nthreads_limit": 16,
        "scale_up_qsize_trigger": 1000,
        "scale_down_nempty_trigger": 4,
    },
}
"""What LangSmith's client asks its server before it sends."""


def answer(status: str, kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def answered(status: str, value: Any) -> bytes:
    return answer(status, "application/json", json.dumps(value).encode())


ANSWERS = (
    (re.compile(r"GET .*/info$"), answered("200 OK", LANGSMITH_INFO)),
    (re.compile(r"POST .*/runs/(multipart|batch)$"), answered("202 Accepted", {"message": "Runs batch ingested"})),
    (re.compile(r"POST .*/opentelemetry/v1/traces$"), answered("200 OK", {})),
    (re.compile(r"POST .*/v1/traces$"), answer("200 OK", "application/x-protobuf", b"")),
    (re.compile(r"POST .*/(session/start|v1/sessions)$"), answered("200 OK", SESSION)),
    (re.compile(r"(POST|PUT) .*/events.*$"), answered("200 OK", {"success": True})),
)
"""The routes of all contenders; anything else is answered with 404."""

UNKNOWN = answered("404 Not Found", {"message": "no such route", "success": False})


class Sink:
    """Where bodies go. Shared by the threads of all connections."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.spool: BinaryIO | None = None
        self.delay = 0.0

    def switch(self, spool: str, delay: float) -> None:
        """Close the file, and go on with another."""
        with self.lock:
            if self.spool is not None:
                self.spool.close()
            self.spool, self.delay = Path(spool).open("wb"), delay

    def keep(self, route: str, encoding: str, body: bytes) -> None:
        """Write it down, with the time when it will have been answered."""
        head = {"at": monotonic() + self.delay, "route": route, "encoding": encoding, "size": len(body)}
        with self.lock:
            if self.spool is not None:
                self.spool.write(json.dumps(head).encode() + b"\n")
                self.spool.write(body)

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until the client closes it."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as stream:
            try:
                while line := stream.readline():
                    method, path, _ = line.decode("latin-1").split()
                    route = f"{method} {path.partition('?')[0]}"
                    headers = read_headers(stream)
                    self.keep(route, headers.get("content-encoding", ""), read_body(stream, headers))
                    sleep(self.delay)
                    connection.sendall(next((said for known, said in ANSWERS if known.match(route)), UNKNOWN))
            except OSError:  # the client went away
                pass


def read_headers(stream: BufferedReader) -> dict[str, str]:
    headers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return headers


def read_body(stream: BufferedReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return stream.read(int(headers.get("content-length", 0)))
    chunks = []
    while size := int(stream.readline().partition(b";")[0], 16):
        chunks.append(stream.read(size))
        stream.readline()
    read_headers(stream)
    return b"".join(chunks)


def main() -> None:
    sink, server = Sink(), socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            Thread(target=sink.serve, args=(connection,), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    print(server.getsockname()[1], flush=True)
    for line in sys.stdin:
        sink.switch(**json.loads(line))
        print("ready", flush=True)


if __name__ == "__main__":
    main()
