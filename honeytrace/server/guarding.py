"""Who may ask: the key, and the checks that keep pages of other sites away from a developer's traces.

A page elsewhere can make a browser send requests to a loopback address, and can make its own host name lead there
(DNS rebinding). So every request must name a host that is ours, and one that comes from a page must come from ours.
There are no CORS headers: no other page can read an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from honeytrace.server.bodies import MOST_BYTES, SHARE, refusal
from honeytrace.server.room import Share

__all__ = ["Guard", "is_loopback"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_GUARDED = ("/v1/", "/ui/api/", "/events", "/session/", "/openapi.json")
_SEND_PATIENCE = 60.0
_DRAINED = 4 * MOST_BYTES
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def is_loopback(host: str) -> bool:
    """Say whether this address can only be reached from this machine."""
    return host.lower() == "localhost" or host.startswith("127.") or host.strip("[]") == "::1"


class Guard:
    """Wraps the application. `hosts` are the names that may stand in Host; None lets all pass."""

    def __init__(self, app: ASGIApp, *, key: str | None, hosts: Iterable[str] | None) -> None:
        self._app = app
        self._digest = None if key is None else _digest(key.encode())
        self._hosts = None if hosts is None else _LOOPBACK | {host.strip("[]").lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        refused = self._refused(scope["method"], scope["path"], headers)
        patient = _Patient(send)
        if refused is not None:
            status, message = refused
            challenge = {"www-authenticate": "Bearer"} if status == 401 else {}
            response = refusal(status, message, {**challenge, "connection": "close"})
            await patient.begin_and_drain(response.raw_headers, status, bytes(response.body), receive)
            return
        length = next((value for name, value in headers if name == b"content-length"), b"")
        if length.isdigit() and int(length[:20]) > MOST_BYTES:
            response = refusal(413, f"the body is larger than {MOST_BYTES} bytes: split it", {"connection": "close"})
            await patient.begin_and_drain(response.raw_headers, 413, bytes(response.body), receive)
            return
        scope[SHARE] = share = Share()
        try:
            await self._app(scope, receive, patient)
        finally:
            share.give_back()

    def _refused(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        given: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in given and name in (b"host", b"origin", b"authorization", b"content-length"):
                return 400, f"{name.decode()}: sent twice"
            given[name] = value
        host = given.get(b"host", b"").decode("latin-1").lower()
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return 403, f"host: {host[:100]!r} is not what this server answers for (see --allow-host)"
        origin = given.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in (f"http://{host}", f"https://{host}"):
            return 403, "origin: requests from pages of other sites are refused"
        if given.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and not (
            method == "GET" and given.get(b"sec-fetch-mode") == b"navigate" and not _is_guarded(path)
        ):
            return 403, "requests from pages of other sites are refused"
        if self._digest is not None and _is_guarded(path):
            scheme, _, key = given.get(b"authorization", b"").partition(b" ")
            # The digests are compared, so that not even the length of the key can be measured.
            right = hmac.compare_digest(_digest(key.strip()), self._digest)
            if scheme.lower() != b"bearer" or not right:
                return 401, "authorization: expected 'Bearer KEY' with the key this server was started with"
        return None


class _Patient:
    """Sends, but does not wait for ever for a client that does not read; adds the headers every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": _with_ours(list(message.get("headers", ())))}
        await asyncio.wait_for(self._send(message), _SEND_PATIENCE)

    async def begin_and_drain(
        self, headers: list[tuple[bytes, bytes]], status: int, body: bytes, receive: Receive
    ) -> None:
        """Answer at once; then read on for a moment, unheard: closing on unread bytes would destroy the answer."""
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body, "more_body": True})
        try:
            await asyncio.wait_for(_drain(receive), 2.0)
        except (asyncio.TimeoutError, TimeoutError):
            pass
        await self({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    taken = 0
    while taken <= _DRAINED:
        message = await receive()
        taken += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def _with_ours(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in headers}
    added = [pair for pair in _HEADERS if pair[0] not in names]
    if b"content-security-policy" not in names:
        added.append((b"content-security-policy", _POLICY))
    if b"cache-control" not in names:
        added.append((b"cache-control", b"no-store"))
    return headers + added


def _is_guarded(path: str) -> bool:
    return path.startswith(_GUARDED) and path != "/ui/api/info"


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
