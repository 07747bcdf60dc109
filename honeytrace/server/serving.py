"""Run the application under uvicorn: address, key, and patience with slow connections.

On a loopback address no key is needed; on any other there is always one, made and printed if none was given.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from honeytrace.exceptions import HoneytraceError
from honeytrace.exporters._store import default_path
from honeytrace.server.app import make_app
from honeytrace.server.guarding import is_loopback
from honeytrace.server.live import LIVE_PATH, Watcher

__all__ = ["ServeError", "serve"]

_IDLE = 20.0  # seconds a connection may take to say what it wants
_MOST_CONNECTIONS = 800


class ServeError(HoneytraceError):
    """The server cannot start."""


def serve(
    store_path: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8310,
    api_key: str | None = None,
    lenient: bool = False,
    allow_hosts: Iterable[str] = (),
) -> None:
    """Serve until SIGINT or SIGTERM; say on standard output where.

    Raises:
        ServeError: the address cannot be had, or it is not a loopback one and the key is empty.
        StoreError: the store cannot be opened.
    """
    if api_key is not None and not api_key.strip():
        raise ServeError("the key must not be empty")
    local = is_loopback(host)
    made = api_key is None and not local
    key = secrets.token_urlsafe(24) if made else api_key
    allowed = tuple(allow_hosts)
    hosts = (host, *allowed) if local or allowed else None
    app = make_app(store_path, api_key=key, lenient=lenient, hosts=hosts)
    bound = _bind(host, port)
    app.state.backend.start()
    address = _address(host, bound.getsockname()[1])
    _say(f"honeytrace: serving {Path(store_path) if store_path else default_path()} at {address}")
    if made:
        _say(f"honeytrace: other machines can reach this address, so it needs a key: {key}")
    config = uvicorn.Config(
        app,
        http=_PatientProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        backlog=512,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=64 * 1024,
    )
    # Requests make many small objects and no cycles: looking for garbage so often costs a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        _Server(config, app.state.backend.watcher).run(sockets=[bound])
    finally:
        bound.close()


class _Server(uvicorn.Server):
    """Does not wait for pages that listen when it is told to stop."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher) -> None:
        super().__init__(config)
        self._watcher = watcher

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._watcher.hang_up()
        super().handle_exit(sig, frame)


class _PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Closes a connection that has sent no whole request for some time; bodies and answers have limits of their own."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._asked: object = None
        self._patience = asyncio.get_running_loop().call_later(_IDLE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """Answer a client that has sent everything and only listens; a stream without end would never be closed."""
        cycle = self.cycle
        waits = cycle is not None and not cycle.response_complete and not cycle.more_body
        if waits and cycle.scope["path"] != LIVE_PATH:
            cycle.keep_alive = False
            return True
        return False

    def _look(self) -> None:
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete
        if idle and cycle is self._asked:
            self.transport.close()
            return
        self._asked = cycle
        self._patience = asyncio.get_running_loop().call_later(_IDLE, self._look)


def _bind(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only where it reads that this is TCP
    except OSError as error:
        raise ServeError(f"cannot listen on {host}: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(512)  # whoever reads the line below may connect at once
    except OSError as error:
        bound.close()
        raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}; --port 0 takes any free port") from error
    bound.set_inheritable(True)
    return bound


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
