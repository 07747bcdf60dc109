"""A total deadline for everything one thread does on the network, whatever the number of reads and writes.

httpx limits each operation, so an answer of one byte a second would never end. A stream that was adopted here gives
every operation what is left of the time of the request that its thread is in the middle of. No thread of its own is
needed, so it holds at the end of the interpreter too. Streams are used as httpcore's `NetworkStream` is documented.

An adopted stream also belongs to the process that adopted it: a fork shares the connection, and two processes that
write to one connection garble each other's requests.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["DeadlineReached", "Inherited", "Progress", "adopt", "in_progress", "limited"]

_PIECE = 16_384
"""Bytes per write: so many the system takes whole or not at all, so no write waits twice."""


class DeadlineReached(Exception):
    """The time of a request is over."""


class Inherited(Exception):
    """The connection is another process's."""


class Progress:
    """How far one request got: whether it made a connection or was sent over one, and the bytes of its answer."""

    __slots__ = ("connected", "deadline", "received", "sending")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.connected = False
        self.sending = False
        self.received = 0

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Watch a request: the value of httpcore's extension `trace`."""
        if name.endswith("send_request_headers.started"):
            self.sending = True
        elif name.endswith((".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")):
            self.connected = True
            adopt(info["return_value"])


class _Thread(threading.local):
    progress: Progress | None = None


_thread = _Thread()


def in_progress() -> bool:
    """Say whether this thread is in the middle of a request of ours."""
    return _thread.progress is not None


@contextmanager
def limited(progress: Progress) -> Iterator[None]:
    """Hold every operation of this thread on adopted streams to the deadline of `progress`."""
    # Kept and put back: a signal handler may flush on top of a request.
    outer, _thread.progress = _thread.progress, progress
    try:
        yield
    finally:
        _thread.progress = outer


def adopt(stream: Any) -> None:
    """Make a network stream keep to the deadline of whatever request uses it. A strange kind is left alone."""
    kind = type(stream)
    if not getattr(kind, "honeytrace_adopted", False):
        try:
            stream.__class__ = _kinds.get(kind) or _kinds.setdefault(kind, _adopted(kind))
            stream.honeytrace_process = os.getpid()
        except (AttributeError, TypeError):
            return


_kinds: dict[type[Any], type[Any]] = {}


def _adopted(kind: type[Any]) -> type[Any]:
    """The kind of stream with the deadline in it. A class: functions on the object would tie it into a cycle."""

    class Adopted(kind):  # type: ignore[misc]
        honeytrace_adopted = True

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            self._mine()
            data: bytes = super().read(max_bytes, _left(timeout))
            if _thread.progress is not None:
                _thread.progress.received += len(data)
            return data

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._mine()
            for start in range(0, len(buffer), _PIECE):
                super().write(buffer[start : start + _PIECE], _left(timeout))

        def start_tls(self, ssl_context: Any, server_hostname: Any = None, timeout: float | None = None) -> Any:
            self._mine()
            stream = super().start_tls(ssl_context, server_hostname, _left(timeout))
            adopt(stream)
            return stream

        def _mine(self) -> None:
            if self.honeytrace_process != os.getpid():
                raise Inherited

    Adopted.__name__ = Adopted.__qualname__ = kind.__name__
    return Adopted


def _left(timeout: float | None) -> float | None:
    progress = _thread.progress
    if progress is None:
        return timeout
    left = progress.deadline - time.monotonic()
    if left <= 0:
        raise DeadlineReached
    return left if timeout is None else min(timeout, left)
