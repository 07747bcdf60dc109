"""A server that speaks the wire contract and misbehaves on demand: the other end of the delivery tests.

In the test's own process, on 127.0.0.1 and a free port:

    with FaultServer() as server:
        exporter = HoneyHiveExporter("key", server.url)
        server.mode("status", status=503, retry_after=1, first=2)   # two requests get 503, later ones are served
        ...
        assert server.event_ids() == {"...": 1}                     # event id -> how often it was stored

As a process of its own, for programs that are killed, or whose memory or CPU time is measured:

    with ServerProcess("--mode", "slow", "--seconds", "3", log=path) as server:    # a small client, below
        server.mode("ok"); server.event_ids(); server.stored()
    python fault_server.py --mode status --status 503 --first 2 --log stored.jsonl

The process prints one JSON line, {"port", "url", "control", "pid"}, and ends when its stdin ends. `control` is a
second port that always works: POST /mode with {"mode": "hang", ...} (or a list of such), GET /stored, GET /counts.
With a log, everything stored is a JSON line {"kind", "id", "body"}, written before the answer is sent;
`read_log(path)` gives a `Stored` of it.

What is stored
    events        bodies of POST /v1/events and /v1/events/batch in order of arrival, repeats included
    sessions      bodies of POST /v1/sessions; updates: (id, body) of PUT /v1/events/{id}
    order         (kind, id) of all of these in order of arrival
    requests      every request read to its end: method, path, headers (lower-case names), size, connection, status
    connections   how many were accepted
`wait_for(condition)` blocks until condition(server) is true, looking again after every request.

The contract is checked: unknown fields, a wrong event_type, inputs that are no object, a session_id that is no
UUID: 400, nothing of the request stored. A PUT of an id that was never stored is 404 unless `any_update=True`.
With `key="..."` any other key is 401.

Modes. `mode(name, **options)` replaces all, `also(name, **options)` adds one; the first that has an answer decides.
Options of every mode: `routes` (of "batch", "events", "sessions", "update"; default all), `first` (how many requests
it applies to; default all). "Stored": whether what was sent counts as received.

    ok            serve
    refuse        close the port and all connections until the next mode() call               not stored
    unread        accept, never read a byte (a big body hangs in the send)                    not stored
    reset         read the request, then RST                                                  not stored
    close         read the request, then close without an answer                              not stored
    close_reused  close, without an answer, a connection on which a request was answered      not stored
    hang          read the request, never answer                                              not stored
    lost          store, then close without an answer                                         stored
    status        answer `status`, with `retry_after` and the body `text` if given           not stored
    missing       404 (or `status`) for `routes`                                              not stored
    redirect      307 (or `status`) to `to`                                                   not stored
    poison        400 (or `status`) for a request that holds the bytes of `marker`            not stored
    limit         413 for a body above `bytes`                                                not stored
    partial       store the first `stored` events of a batch, answer 500 with their event_ids partly stored
    slow          wait `seconds`, then go on with the next mode                               -
    html, garbage, empty    200 with a web page, broken JSON, nothing                         stored
    drip_headers, drip_body 200, one byte every `seconds` (1.0), `length` bytes of body       stored
    endless       200, chunked, for as long as it is read                                     stored
    huge          200 with `bytes` (300 MB) of body                                           stored
    gzip          200, a bomb of `bytes` (300 MB) packed with gzip                            stored
    cut_length, cut_chunk   200, then closed before the promised end                          stored

Between answers the connection is kept alive; `server.drop_idle()` closes all of them, as servers do.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

__all__ = ["FaultServer", "Request", "ServerProcess", "Stored", "read_log"]

EVENT_FIELDS = frozenset(
    "event_id session_id parent_id event_type event_name source config inputs outputs error metadata metrics feedback"
    " user_properties children_ids start_time end_time duration project_id".split()
)
SESSION_FIELDS = frozenset(
    "session_id session_name event_name source start_time end_time duration config inputs outputs metadata"
    " user_properties children_ids".split()
)
MODES = frozenset(
    "ok refuse unread reset close close_reused hang lost status missing redirect poison limit partial slow html garbage"
    " empty drip_headers drip_body endless huge gzip cut_length cut_chunk".split()
)
OPTIONS = frozenset("routes first status retry_after text to marker bytes stored seconds length".split())  # of modes


@dataclass
class Request:
    """One request, read to its end; `status` is what was answered, 0 if nothing whole was."""

    method: str
    path: str
    headers: dict[str, str]
    size: int
    connection: int
    status: int = 0
    at: float = field(default_factory=time.monotonic)


@dataclass
class Stored:
    """What a server has received, in order of arrival."""

    events: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    updates: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    order: list[tuple[str, str]] = field(default_factory=list)

    def add(self, kind: str, id: str, body: dict[str, Any]) -> None:
        self.order.append((kind, id))
        if kind == "update":
            self.updates.append((id, body))
        else:
            (self.sessions if kind == "session" else self.events).append(body)

    def event_ids(self) -> Counter[str]:
        """How often each event arrived; session-type events count as sessions, see `session_ids`."""
        return Counter(event["event_id"] for event in self.events if event["event_type"] != "session")

    def session_ids(self) -> Counter[str]:
        """How often each session arrived, whichever way."""
        as_events = (event["event_id"] for event in self.events if event["event_type"] == "session")
        return Counter(session["session_id"] for session in self.sessions) + Counter(as_events)


def read_log(path: str | Path) -> Stored:
    """Read what a server process wrote; a last line cut short by a kill is left out."""
    stored = Stored()
    for line in Path(path).read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            one = orjson.loads(line)
            stored.add(one["kind"], one["id"], one["body"])
    return stored


@dataclass
class _Mode:
    name: str
    options: dict[str, Any]
    routes: tuple[str, ...] | None
    left: float

    def applies(self, route: str) -> bool:
        """Say whether the mode is for this request, and count it."""
        if self.left <= 0 or (self.routes is not None and route not in self.routes):
            return False
        self.left -= 1
        return True


def _mode(name: str, options: dict[str, Any]) -> _Mode:
    if name not in MODES or not options.keys() <= OPTIONS:
        raise ValueError(f"no such mode or option: {name} {options}")
    routes, first = options.pop("routes", None), options.pop("first", None)
    if name == "missing" and routes is None:
        raise ValueError("missing needs routes")
    return _Mode(name, options, tuple(routes) if routes else None, float("inf") if first is None else first)


class _Gone(Exception):
    """The connection is at its end."""


class FaultServer(Stored):
    """See the module's docstring. Every method may be called from any thread."""

    def __init__(
        self,
        *,
        key: str | None = None,
        any_update: bool = False,
        log: str | Path | None = None,
        tls: ssl.SSLContext | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.connections = 0
        self._key, self._any_update, self._tls, self._prefix = key, any_update, tls, prefix
        self._log = open(log, "ab", buffering=0) if log else None
        self._known: set[str] = set()
        self._modes: list[_Mode] = []
        self._changed = threading.Condition(threading.RLock())
        self._era = 0  # counts mode changes: what hangs gives up at the next
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._closed = False
        self._port = 0
        self._listen()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}{self._prefix}"

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def mode(self, name: str, **options: Any) -> None:
        """Behave like this from the next request on; whatever hangs is let go."""
        self._set([_mode(name, options)])

    def also(self, name: str, **options: Any) -> None:
        """Behave like this too, where the modes before it have no answer."""
        with self._changed:
            self._set([*self._modes, _mode(name, options)])

    def modes(self, several: list[dict[str, Any]]) -> None:
        """Set several at once, each {"mode": name, **options}."""
        self._set([_mode(one["mode"], {k: v for k, v in one.items() if k != "mode"}) for one in several])

    def _set(self, modes: list[_Mode]) -> None:
        with self._changed:
            self._modes, self._era = modes, self._era + 1
            self._changed.notify_all()
        if any(mode.name == "refuse" for mode in modes):
            self._stop_listening()
        elif self._listener is None:
            self._listen()

    def wait_for(self, condition: Callable[[FaultServer], object], timeout: float = 20.0) -> None:
        """Block until the condition holds; AssertionError after `timeout` seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), timeout), "the server waited in vain"

    def counts(self) -> dict[str, int]:
        """The sizes of everything stored; `ids` counts different events."""
        with self._changed:
            return {
                "events": len(self.events),
                "ids": len(self.event_ids()),
                "sessions": len(self.session_ids()),
                "updates": len(self.updates),
                "requests": len(self.requests),
                "connections": self.connections,
            }

    def statuses(self) -> Counter[int]:
        """How many requests got which answer."""
        with self._changed:
            return Counter(request.status for request in self.requests)

    def drop_idle(self) -> None:
        """Close every connection from this side."""
        with self._changed:
            for connection in list(self._open):
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            assert self._changed.wait_for(lambda: not self._open, 10), "a connection did not close"

    def close(self) -> None:
        """Stop: close the port and every connection."""
        self._closed = True
        self._set([])
        self._stop_listening()

    # Connections

    def _listen(self) -> None:
        if self._closed:
            return
        self._listener = listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(128)
        self._port = listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name="fault-server").start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.drop_idle()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                if listener is not self._listener:
                    connection.close()
                    return
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._open.add(connection)
                number = self.connections
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        connection = raw
        try:
            if any(mode.name == "unread" for mode in self._modes):
                self._hang()
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(raw, server_side=True)
                with self._changed:
                    self._open.discard(raw)
                    self._open.add(connection)
            _Conversation(self, connection, number).run()
        except (OSError, _Gone):
            pass
        finally:
            with self._changed:
                self._open -= {raw, connection}
                self._changed.notify_all()
            connection.close()

    def _hang(self) -> None:
        with self._changed:
            era = self._era
            self._changed.wait_for(lambda: self._era != era)

    def _choose(self, route: str) -> Iterator[_Mode]:
        with self._changed:
            return iter([mode for mode in self._modes if mode.applies(route)])

    # Storing

    def receive(self, records: list[tuple[str, str, dict[str, Any]]]) -> None:
        """Store (kind, id, body) records, all or none."""
        with self._changed:
            if self._log is not None:
                lines = (
                    orjson.dumps({"kind": k, "id": i, "body": b}, option=orjson.OPT_APPEND_NEWLINE)
                    for k, i, b in records
                )
                self._log.write(b"".join(lines))
            for kind, id, body in records:
                self.add(kind, id, body)
                self._known.add(id)

    def knows(self, id: str) -> bool:
        return self._any_update or id in self._known


@dataclass
class _Answer:
    status: int
    body: bytes = b""
    headers: tuple[str, ...] = ()

    def head(self, length: int | None = None, *more: str) -> bytes:
        reasons = {200: "OK", 307: "Temporary Redirect", 404: "Not Found"}
        lines = [f"HTTP/1.1 {self.status} {reasons.get(self.status, 'Fault')}", *self.headers, *more]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode()

    @property
    def whole(self) -> bytes:
        return self.head(len(self.body)) + self.body


class _Conversation:
    """One connection: reads requests, answers as the modes say."""

    def __init__(self, server: FaultServer, connection: socket.socket, number: int) -> None:
        self.server, self.connection, self.number = server, connection, number
        self._input = connection.makefile("rb", buffering=256 * 1024)
        self._answered = 0

    def run(self) -> None:
        try:
            while True:
                request, body = self._read()
                with self.server._changed:
                    self.server.requests.append(request)
                try:
                    self._react(request, body)
                finally:
                    with self.server._changed:
                        self.server._changed.notify_all()
                self._answered += 1
        finally:
            self._input.close()

    def _read(self) -> tuple[Request, bytes]:
        line = self._input.readline(65536).split()
        if len(line) != 3:
            raise _Gone
        headers: dict[str, str] = {}
        while (header := self._input.readline(65536)) not in (b"\r\n", b""):
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        size = int(headers.get("content-length", 0))
        body = self._input.read(size)
        if len(body) < size:
            raise _Gone
        return Request(line[0].decode(), line[1].decode(), headers, size, self.number), body

    def _react(self, request: Request, body: bytes) -> None:
        route = _route(request, self.server._prefix)
        for mode in self.server._choose(route):
            react = getattr(self, f"_{mode.name}", None)
            answer = react(request, route, body, **mode.options) if react else None
            if answer is not None:
                self._say(request, answer)
                return
            if mode.name in _AFTER_STORING:
                self._after_storing(request, route, body, mode)
                return
        self._say(request, self._store(request, route, body))

    def _say(self, request: Request, answer: _Answer) -> None:
        request.status = answer.status
        with self.server._changed:
            self.server._changed.notify_all()
        self.connection.sendall(answer.whole)

    def _store(self, request: Request, route: str, body: bytes, at_most: int | None = None) -> _Answer:
        server = self.server
        if server._key is not None and request.headers.get("authorization") != f"Bearer {server._key}":
            return _error(401, "unknown key")
        try:
            records = _records(request, route, body)
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"{type(error).__name__}: {error}")
        if route == "":
            return _error(404, "no such route")
        if route == "update" and not server.knows(records[0][1]):
            return _error(404, "no such event")
        if at_most is not None:
            records = records[:at_most]
        server.receive(records)
        ids = [id for _, id, _ in records]
        if at_most is not None:
            return _json(500, {"event_ids": ids, "errors": ["some were not stored"], "success": True})
        if route == "batch":
            return _json(200, {"event_ids": ids, "success": True})
        if route == "sessions":
            return _json(200, {"event_id": ids[0], "event_type": "session", **records[0][2]})
        return _json(200, {"event_id": ids[0], "success": True})

    # Modes that decide before anything is stored: None means the next mode decides

    def _slow(self, request: Request, route: str, body: bytes, *, seconds: float) -> None:
        time.sleep(seconds)

    def _reset(self, request: Request, route: str, body: bytes) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Gone

    def _close(self, request: Request, route: str, body: bytes) -> None:
        raise _Gone

    def _close_reused(self, request: Request, route: str, body: bytes) -> None:
        if self._answered:
            raise _Gone

    def _hang(self, request: Request, route: str, body: bytes) -> None:
        self.server._hang()
        raise _Gone

    def _unread(self, request: Request, route: str, body: bytes) -> None:
        self.server._hang()
        raise _Gone

    def _status(
        self,
        request: Request,
        route: str,
        body: bytes,
        *,
        status: int,
        retry_after: object = None,
        text: str | None = None,
    ) -> _Answer:
        headers = () if retry_after is None else (f"Retry-After: {retry_after}",)
        return _Answer(status, _error(status, "on demand").body if text is None else text.encode(), headers)

    def _missing(self, request: Request, route: str, body: bytes, *, status: int = 404) -> _Answer:
        return _error(status, "no such route")

    def _redirect(self, request: Request, route: str, body: bytes, *, to: str, status: int = 307) -> _Answer:
        return _Answer(status, b"", (f"Location: {to}",))

    def _poison(self, request: Request, route: str, body: bytes, *, marker: str, status: int = 400) -> _Answer | None:
        return _error(status, "an event is invalid") if marker.encode() in body else None

    def _limit(self, request: Request, route: str, body: bytes, *, bytes: int) -> _Answer | None:
        return _error(413, "too large") if len(body) > bytes else None

    def _partial(self, request: Request, route: str, body: bytes, *, stored: int) -> _Answer | None:
        return self._store(request, route, body, stored) if route == "batch" else None

    # Modes that store, and then answer in their own way

    def _after_storing(self, request: Request, route: str, body: bytes, mode: _Mode) -> None:
        refused = self._store(request, route, body)
        if refused.status != 200:
            self._say(request, refused)
            return
        with self.server._changed:
            self.server._changed.notify_all()
        getattr(self, f"_answer_{mode.name}")(request, **mode.options)
        if mode.name not in ("html", "garbage", "empty", "gzip", "huge"):
            raise _Gone

    def _answer_lost(self, request: Request) -> None:
        pass

    def _answer_html(self, request: Request) -> None:
        page = b"<!DOCTYPE html><html><body>Welcome to the gateway</body></html>"
        self._say(request, _Answer(200, page, ("Content-Type: text/html",)))

    def _answer_garbage(self, request: Request) -> None:
        self._say(request, _Answer(200, b'{"event_ids": [\xff\x00', ("Content-Type: application/json",)))

    def _answer_empty(self, request: Request) -> None:
        self._say(request, _Answer(200))

    def _answer_drip_headers(self, request: Request, *, seconds: float = 1.0, length: int = 2) -> None:
        self._drip(_Answer(200, b"x" * length, ("X-Padding: " + "x" * 60,)).whole, seconds)

    def _answer_drip_body(self, request: Request, *, seconds: float = 1.0, length: int = 1000) -> None:
        self.connection.sendall(_Answer(200).head(length))
        self._drip(b"x" * length, seconds)

    def _drip(self, data: bytes, seconds: float) -> None:
        for at in range(len(data)):
            self.connection.sendall(data[at : at + 1])
            time.sleep(seconds)

    def _answer_endless(self, request: Request) -> None:
        request.status = 200
        self.connection.sendall(_Answer(200).head(None, "Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while not self.server._closed:
            self.connection.sendall(chunk)

    def _answer_huge(self, request: Request, *, bytes: int = 300_000_000) -> None:
        request.status = 200
        self.connection.sendall(_Answer(200).head(bytes))
        piece = b"x" * 65536
        for sent in range(0, bytes, len(piece)):
            self.connection.sendall(piece[: bytes - sent])

    def _answer_gzip(self, request: Request, *, bytes: int = 300_000_000) -> None:
        headers = ("Content-Encoding: gzip", "Content-Type: application/json")
        self._say(request, _Answer(200, _bomb(bytes), headers))

    def _answer_cut_length(self, request: Request) -> None:
        self.connection.sendall(_Answer(200).head(100) + b'{"success": true}')

    def _answer_cut_chunk(self, request: Request) -> None:
        head = _Answer(200).head(None, "Transfer-Encoding: chunked")
        self.connection.sendall(head + b'11\r\n{"success": true}\r\n')


_AFTER_STORING = frozenset(name[len("_answer_") :] for name in vars(_Conversation) if name.startswith("_answer_"))


def _route(request: Request, prefix: str) -> str:
    path = request.path.partition("?")[0]
    if not path.startswith(prefix):
        return ""
    path = path[len(prefix) :]
    if request.method == "POST":
        return {"/v1/events/batch": "batch", "/v1/events": "events", "/v1/sessions": "sessions"}.get(path, "")
    return "update" if request.method == "PUT" and path.startswith("/v1/events/") else ""


def _records(request: Request, route: str, body: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """Check a request against the contract; what it holds, as (kind, id, body)."""
    given = orjson.loads(body)
    if not isinstance(given, dict):
        raise ValueError("not an object")
    if route == "update":
        if not isinstance(given.get("outputs"), (dict, type(None))):
            raise ValueError("outputs")
        return [("update", request.path.partition("?")[0].rpartition("/")[2], given)]
    if route == "sessions":
        if not given.keys() <= SESSION_FIELDS:
            raise ValueError(f"unknown fields {given.keys() - SESSION_FIELDS}")
        UUID(given["session_id"])
        return [("session", given["session_id"], given)]
    if route == "batch" and not given.keys() <= {"events", "single_session", "session_properties"}:
        raise ValueError("unknown fields beside events")
    events = given["events"] if route == "batch" else [given] if route == "events" else []
    for event in events:
        if not event.keys() <= EVENT_FIELDS:
            raise ValueError(f"unknown fields {event.keys() - EVENT_FIELDS}")
        if event["event_type"] not in ("chain", "model", "tool", "session") or not isinstance(event["inputs"], dict):
            raise ValueError("event_type or inputs")
    return [("event", event["event_id"], event) for event in events]


def _json(status: int, body: dict[str, Any]) -> _Answer:
    return _Answer(status, orjson.dumps(body), ("Content-Type: application/json",))


def _error(status: int, message: str) -> _Answer:
    return _json(status, {"statusCode": status, "message": message, "success": False})


_bombs: dict[int, bytes] = {}


def _bomb(size: int) -> bytes:
    if size not in _bombs:
        packer = zlib.compressobj(9, wbits=31)
        block = bytes(1 << 20)
        packed = [packer.compress(block[: size - at]) for at in range(0, size, len(block))]
        _bombs[size] = b"".join([*packed, packer.flush()])
    return _bombs[size]


# As a process of its own


class _Control:
    """The port that always works: modes in, what is stored out."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError, _Gone):
                request, body = _Conversation(self._server, connection, 0)._read()
                connection.sendall(self._answer(request, body).whole)

    def _answer(self, request: Request, body: bytes) -> _Answer:
        server = self._server
        if request.path == "/mode":
            try:
                given = orjson.loads(body)
                server.modes(given if isinstance(given, list) else [given])
            except (ValueError, KeyError, TypeError) as error:
                return _error(400, str(error))
            return _json(200, {})
        if request.path == "/counts":
            return _json(200, dict(server.counts()))
        with server._changed:
            return _json(200, {"records": list(_pairs(server)), "counts": server.counts()})


def _pairs(stored: Stored) -> Iterator[tuple[str, str, dict[str, Any]]]:
    events, sessions, updates = iter(stored.events), iter(stored.sessions), iter(stored.updates)
    for kind, id in stored.order:
        yield kind, id, next(updates)[1] if kind == "update" else next(sessions if kind == "session" else events)


class ServerProcess:
    """A fault server in a process of its own; arguments as on its command line."""

    def __init__(self, *arguments: str, log: str | Path | None = None) -> None:
        more = ["--log", str(log)] if log else []
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.url: str = said["url"]
        self.port: int = said["port"]
        self.pid: int = said["pid"]
        self._control: str = said["control"]

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def mode(self, name: str, **options: Any) -> None:
        """As `FaultServer.mode`."""
        self.modes([{"mode": name, **options}])

    def modes(self, several: list[dict[str, Any]]) -> None:
        """As `FaultServer.modes`."""
        self._ask("/mode", orjson.dumps(several))

    def counts(self) -> dict[str, int]:
        """As `FaultServer.counts`."""
        found: dict[str, int] = self._ask("/counts")
        return found

    def stored(self) -> Stored:
        """Everything stored so far."""
        stored = Stored()
        for kind, id, body in self._ask("/stored")["records"]:
            stored.add(kind, id, body)
        return stored

    def event_ids(self) -> Counter[str]:
        """As `FaultServer.event_ids`."""
        return self.stored().event_ids()

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self._control + path, data=body), timeout=30) as answer:
            return orjson.loads(answer.read())


def main() -> None:
    """Run until stdin ends."""
    parser = argparse.ArgumentParser(description="A server for tests that misbehaves on demand.")
    parser.add_argument("--mode", default="ok", choices=sorted(MODES))
    for name, kind in (("status", int), ("first", int), ("bytes", int), ("stored", int), ("length", int)):
        parser.add_argument(f"--{name}", type=kind)
    for name in ("retry-after", "text", "to", "marker"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--routes", nargs="*")
    parser.add_argument("--log")
    parser.add_argument("--key")
    parser.add_argument("--any-update", action="store_true")
    given = vars(parser.parse_args())
    options = {name: value for name, value in given.items() if name in OPTIONS and value is not None}
    with FaultServer(key=given["key"], any_update=given["any_update"], log=given["log"]) as server:
        server.mode(given["mode"], **options)
        control = _Control(server)
        said = {"port": server.port, "url": server.url, "control": control.url, "pid": os.getpid()}
        print(json.dumps(said), flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
