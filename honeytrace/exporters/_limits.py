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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

__all__ = ["DeadlineReached", "Inherited", "Progress", "adopt", "in_progress", "limited"]

_PIECE = 16_384
"""Bytes per write: so many the system takes whole or not at all, so no write waits twice."""

_SENT_AT_ONCE = 1_048_576
"""Bytes per write where we wait ourselves. A tenth of what a large batch costs is in small pieces: each gives up the
interpreter to the program's threads, and asks for it again."""


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
    # What this one writes goes to its socket, with or without TLS. Of any other kind that is not known: TLS within TLS
    # has a socket too, and what is sent there is not encrypted for the right reader.
    is_plain = kind.__name__ == "SyncStream" and kind.__module__.startswith("httpcore.")

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
            if is_plain and len(buffer) > _PIECE and (there := self.get_extra_info("socket")) is not None:
                return _send(there, buffer, timeout)
            for start in range(0, len(buffer), _PIECE):
                super().write(buffer[start : start + _PIECE], _left(timeout))
            return None

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


def _send(there: socket.socket, buffer: bytes, timeout: float | None) -> None:
    """Send all of it; the deadline holds for every wait, however little the system takes at a time.

    Raises:
        httpcore.WriteError, httpcore.WriteTimeout: as the stream itself would.
    """
    import httpcore

    rest = memoryview(buffer)
    try:
        while rest:
            there.settimeout(_left(timeout))
            rest = rest[there.send(rest[:_SENT_AT_ONCE]) :]
    except TimeoutError as error:
        raise httpcore.WriteTimeout(str(error)) from error
    except OSError as error:
        raise httpcore.WriteError(str(error)) from error


def _left(timeout: float | None) -> float | None:
    progress = _thread.progress
    if progress is None:
        return timeout
    left = progress.deadline - time.monotonic()
    if left <= 0:
        raise DeadlineReached
    return left if timeout is None else min(timeout, left)
