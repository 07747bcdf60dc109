"""A server of model providers' protocols on 127.0.0.1: what it speaks is a file for each protocol beside this one.

A protocol is a module `NAME_protocol.py` with a function `answer(server, path, headers, body) -> Reply | None`; None
means that the path is not of this protocol. The model's name in the request chooses how a server behaves.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import honeytrace

OURS = (str(Path(honeytrace.__file__).parent), "<honeytrace door")
"""How the file names of our own frames begin, wherever the checkout and the environment are."""


class BrokenOff(Exception):
    """Raised by a streamed body: the connection is closed there."""


@dataclass(frozen=True)
class Reply:
    """An answer: `body` is JSON, or bytes, or an iterator of bytes that go out as they come."""

    status: int = 200
    body: Any = None
    mime: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self._send(Reply(body={"object": "list", "data": []}))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, raw))
        path = self.path.partition("?")[0]
        for answer in self.server.protocols:
            reply = answer(self.server, path, headers, raw)
            if reply is not None:
                return self._send(reply)
        return self._send(Reply(404, {"error": {"message": "no such path"}}))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("content-type", reply.mime)
        self.send_header("x-request-id", "req_1")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, Iterator):
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self._stream(reply.body)
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        if "gzip" in str(self.server.requests[-1:]) and reply.status == 200:
            data = gzip.compress(data)
            self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, pieces: Iterator[bytes]) -> None:
        try:
            for piece in pieces:
                self._chunk(piece)
            self._chunk(b"")
        except BrokenOff:
            self.connection.close()
            self.close_connection = True
        except OSError:
            self.close_connection = True
            self.server.gone.set()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()


class ModelServer(ThreadingHTTPServer):
    """`requests` are (path, headers, body) as they came; `release` lets slow answers go on; `gone`: a client left."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        here = sorted(Path(__file__).parent.glob("*_protocol.py"))
        self.protocols: list[Callable[..., Reply | None]] = [import_module(path.stem).answer for path in here]
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
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.origin}/v1"

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()
        self._thread.join(5)
