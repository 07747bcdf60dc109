"""One HTTP request under one total deadline, over one kept-alive connection.

`Http.send` returns an answer that arrived whole, or whose rest does not matter, or raises `NoAnswer` in words that
hold no key, no URL and no text of others. Redirects are not followed, nothing is unpacked, at most 64 KiB are kept.
httpx is imported by the first request and never while the process forks: a fork in the middle of an import leaves the
child the import lock, held for ever.

What no deadline can stop is the system's name lookup, and a name with several addresses that all hang.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from honeytrace.exporters._limits import DeadlineReached, Inherited, Progress, adopt, in_progress, limited

if TYPE_CHECKING:
    import logging

    import httpx

__all__ = ["Answer", "Http", "NoAnswer"]

_ANSWER_BYTES = 64 * 1024
_STALE = 20
"""How many connections may be found broken in a row: a pool that others use too may hold several."""
_KEEP_ALIVE = 60.0
_FORK_WAIT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said. `body` is as it came, and cut at 64 KiB."""

    status: int
    retry_after: str | None
    body: bytes


class NoAnswer(Exception):
    """The request may have arrived or not; `timed_out` says that its time was over."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class _Stale(Exception):
    """A connection kept alive broke before the answer began: the server had closed it, as servers do."""


class Http:
    """Sends requests with the client or transport that was given, or one of its own; one thread at a time.

    A client that was given is not closed. After a fork the child does not touch what it inherited.
    """

    def __init__(self, *, client: httpx.Client | None, transport: httpx.BaseTransport | None, verify: bool) -> None:
        self._given = client
        self._transport = transport
        self._verify = verify
        self._client: httpx.Client | httpx.BaseTransport | None = None
        self._process = 0
        self._url: tuple[str, Any] = "", None

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, deadline: float) -> Answer:
        """Send one request and read its answer by this `time.monotonic()`.

        Raises:
            NoAnswer: there was none, or it was a 2xx cut short.
        """
        for _ in range(_STALE):
            progress = Progress(deadline)
            if time.monotonic() >= deadline:
                raise NoAnswer("no answer in time", timed_out=True)
            try:
                with limited(progress):
                    return self._exchange(self._open(), method, url, headers, body, progress)
            except _Stale:
                continue
            except Exception as error:
                raise _no_answer(error) from None  # the chain may hold the request, and so the key
        raise NoAnswer("the connection is closed every time before an answer")

    def close(self) -> None:
        """Close the client or transport, if it is our own and this process's. A later request opens another."""
        client, self._client = self._client, None
        if client is not None and client is not self._given:
            if self._process == os.getpid():
                client.close()
            else:
                _inherited.append(client)

    def _open(self) -> Callable[[httpx.Request], httpx.Response]:
        if self._client is not None and self._process != os.getpid():
            self.close()
        if self._client is None:
            with _lock:
                self._client = self._given or _make(self._transport, self._verify)
            self._process = os.getpid()
        if hasattr(self._client, "handle_request"):
            return self._client.handle_request
        return partial(self._client.send, stream=True, follow_redirects=False, auth=None)

    def _exchange(
        self,
        call: Callable[[httpx.Request], httpx.Response],
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        progress: Progress,
    ) -> Answer:
        import httpx

        _keep_quiet()
        known, target = self._url
        if known != url:
            target = httpx.URL(url)
            self._url = url, target
        timeout = httpx.Timeout(max(0.001, min(progress.deadline - time.monotonic(), 1e6)))
        # Not client.build_request: the client's own headers, cookies and base_url are for others.
        request = httpx.Request(
            method,
            target,
            headers=headers,
            content=body,
            extensions={"timeout": timeout.as_dict(), "trace": progress.trace},
        )
        try:
            response = call(request)
        except (httpx.TransportError, Inherited) as error:
            reused = progress.sending and not progress.connected
            if reused and not progress.received and not isinstance(error, httpx.TimeoutException):
                raise _Stale from error
            raise
        try:
            adopt(response.extensions.get("network_stream"))
            answer = _read(response, progress)
        finally:
            response.close()
        return Answer(status=response.status_code, retry_after=response.headers.get("retry-after"), body=answer)


def _read(response: httpx.Response, progress: Progress) -> bytes:
    """Read the answer: all of it, or as much as is kept. Of a fault the status is enough."""
    if response.is_stream_consumed:  # a transport that answers from memory
        return response.content[:_ANSWER_BYTES]
    read = bytearray()
    try:
        for piece in response.iter_raw():
            read += piece
            if len(read) >= _ANSWER_BYTES:
                break
            if time.monotonic() >= progress.deadline:
                raise DeadlineReached
    except Exception:
        if 200 <= response.status_code < 300:
            raise
    return bytes(read[:_ANSWER_BYTES])


def _no_answer(error: Exception) -> NoAnswer:
    """Say what happened by type and by the system's words; what libraries say may quote a header."""
    import httpx

    if isinstance(error, (DeadlineReached, httpx.TimeoutException)):
        return NoAnswer("no answer in time", timed_out=True)
    cause: BaseException | None = error
    for _ in range(10):
        if isinstance(cause, OSError) and isinstance(cause.strerror, str):
            return NoAnswer(f"{type(error).__name__}: {cause.strerror}")
        cause = cause.__cause__ or cause.__context__ if cause is not None else None
    return NoAnswer(type(error).__name__)


def _make(transport: httpx.BaseTransport | None, verify: bool) -> httpx.Client | httpx.BaseTransport:
    """Open what sends requests, and import what it would import later.

    A request through a transport costs 0.8 ms of CPU time in the middle of a program's work, 1.3 ms with a client
    around it: authentication, redirects, cookies and a log are for others. But only a client finds its way past and
    through the proxies of an environment. Without verification there are no certificates to load.
    """
    import encodings.idna  # noqa: F401
    from urllib.request import getproxies

    import httpx

    if transport is not None:
        return transport
    limits = httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=_KEEP_ALIVE)
    proxies = getproxies()
    if any(proxies.get(scheme) for scheme in ("http", "https", "all")):
        return httpx.Client(verify=verify, limits=limits)
    return httpx.HTTPTransport(verify=verify, limits=limits)


# The log of httpx


def _not_ours(record: logging.LogRecord) -> bool:
    """Drop what httpx says of our requests, which would drown an application's log and quote the URL."""
    return not in_progress()


def _keep_quiet() -> None:
    import logging

    log = logging.getLogger("httpx")
    if _not_ours not in log.filters:
        log.addFilter(_not_ours)


# Forks

_lock = threading.RLock()
_inherited: list[Any] = []
"""Clients of the parent: collecting one would end connections that are not ours."""


def _before_fork() -> None:
    _held.taken = _lock.acquire(timeout=_FORK_WAIT)


def _after_fork() -> None:
    if _held.taken:
        _held.taken = False
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _held.taken = False


class _Held(threading.local):
    taken = False


_held = _Held()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
