"""Request bodies: read with a bound on bytes and time, unpacked, decoded; answers: JSON, errors in the contract's form.

Nothing is read of a body that says it is too large. Large ones are worked on one after the other in a thread: decoded,
a body can take twenty times its size.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from honeytrace.server.room import Share

__all__ = ["MOST_BYTES", "SHARE", "Refused", "answer", "encoded", "refusal", "take_in"]

_T = TypeVar("_T")

SHARE = "honeytrace.share"
"""Where in the scope of a request its share of the room for bodies stands."""

MOST_BYTES = 5 * 1024 * 1024
"""The contract's bound for a request body, packed or not."""

MOST_LEVELS = 200
"""How deep one event may be nested: far from what SQLite's and Python's JSON readers can take."""

_PATIENCE = 30.0  # seconds for a whole body
_LARGE = 512 * 1024  # decoding more than this would hold up everybody else
_large = ThreadPoolExecutor(1, thread_name_prefix="honeytrace-large")

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    500: "INTERNAL_ERROR",
    503: "UNAVAILABLE",
}
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(".") if byte in b"." else ord(" ") for byte in range(256))
_BIG_NUMBER = b"0" * 19


class Refused(Exception):
    """A request that is answered with an error. `close`: the connection cannot be used any more."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {"retry-after": str(retry_after)} if retry_after is not None else {}
        if close:
            self.headers["connection"] = "close"


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """The contract's error body."""
    body = {
        "success": False,
        "statusCode": status,
        "message": message.encode("utf-8", "replace").decode(),
        "errorCode": _CODES.get(status, "ERROR"),
    }
    return Response(orjson.dumps(body), status, headers, "application/json")


def answer(content: Any) -> Response:
    """A JSON answer."""
    return Response(encoded(content), 200, None, "application/json")


def encoded(content: Any) -> bytes:
    """JSON; integers that orjson does not know take the standard library's way."""
    try:
        return orjson.dumps(content)
    except TypeError:
        return json.dumps(content, separators=(",", ":")).encode()


async def take_in(request: Request, make: Callable[[Any], _T]) -> _T:
    """Read a body, decode it, and return what `make` makes of it: in a thread of its own if it is large.

    Raises:
        Refused: there is no body that can be taken, it is no JSON in UTF-8, or by `make`.
    """
    body = await _read(request)
    if len(body) <= _LARGE:
        return make(_decoded(body))
    return await asyncio.get_running_loop().run_in_executor(_large, lambda: make(_decoded(body)))


def _declared(request: Request) -> int | None:
    """The Content-Length, if one was sent."""
    given = request.headers.get("content-length")
    return int(given) if given is not None and given.isdigit() else None


async def _read(request: Request) -> bytes:
    """Read and unpack the body.

    Raises:
        Refused: it is too large, too slow, packed in an unknown way, or not said to be JSON.
    """
    _check_type(request)
    size = _declared(request)
    if size is not None and size > MOST_BYTES:
        raise _too_large()
    share: Share = request.scope[SHARE]
    chunks: list[bytes] = []
    total, kept = 0, True
    try:
        async with _Deadline(_PATIENCE):
            async for chunk in request.stream():
                total += len(chunk)
                kept = kept and total <= MOST_BYTES and share.take(len(chunk))
                if kept:
                    chunks.append(chunk)
                    continue
                chunks.clear()  # closing on unread bytes would destroy the answer: read on for a while, unheard
                share.give_back()
                if total > 4 * MOST_BYTES:
                    break
    except (asyncio.TimeoutError, TimeoutError):
        raise Refused(408, f"the body did not arrive within {_PATIENCE:.0f} s", close=True) from None
    except ClientDisconnect:
        raise Refused(400, "the client left before the body was complete", close=True) from None
    if total > MOST_BYTES:
        raise _too_large()
    if not kept:
        raise _no_room()
    body = b"".join(chunks)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding == "gzip":
        unpack = asyncio.get_running_loop().run_in_executor
        unpacked: bytes = await unpack(None, _unpacked, body) if len(body) > 64 * 1024 else _unpacked(body)
        if not share.take(len(unpacked)):
            raise _no_room()
        return unpacked
    raise Refused(415, f"content-encoding: expected gzip or identity, got {coding[:40]!r}")


def too_deep(text: str, value: object) -> bool:
    """Say whether an encoded value is nested deeper than `MOST_LEVELS`. Counting brackets settles nearly all."""
    if text.count("{") + text.count("[") <= MOST_LEVELS:
        return False
    level: list[object] = [value]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)  # type: ignore[attr-defined]
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _decoded(body: bytes) -> Any:
    if _has_big_integer(body):
        return _decoded_exactly(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from None


def _has_big_integer(body: bytes) -> bool:
    """Say whether there are so many digits in a row that they may be an integer beyond 64 bits, and no fraction."""
    digits = body.translate(_DIGITS)
    at = digits.find(_BIG_NUMBER)
    while at >= 0:
        if digits[at - 1 : at] != b".":
            return True
        while digits[at : at + 1] == b"0":
            at += 1
        at = digits.find(_BIG_NUMBER, at)
    return False


def _decoded_exactly(body: bytes) -> Any:
    """Keep integers that orjson would round to floats."""
    try:
        orjson.loads(body)  # it refuses what the standard library lets pass: odd escapes, bombs, NaN
        return json.loads(body, parse_float=_finite, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise _no_json(error) from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number that JSON can carry")
    return number


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _no_json(error: Exception) -> Refused:
    return Refused(400, f"the body is no JSON in UTF-8: {str(error)[:200]}")


def _check_type(request: Request) -> None:
    given = request.headers.get("content-type")
    if given is None:
        return
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Refused(415, f"content-type: expected application/json, got {kind[:80]!r}")
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.IGNORECASE)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Refused(415, f"content-type: expected charset utf-8, got {charset[1][:40]!r}")


def _unpacked(body: bytes) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        unpacker = zlib.decompressobj(31)
        try:
            part = unpacker.decompress(body, MOST_BYTES - total + 1)
        except zlib.error as error:
            raise Refused(400, f"the body is no gzip: {error}") from None
        total += len(part)
        if total > MOST_BYTES:
            raise _too_large()
        parts.append(part)
        if not unpacker.eof:
            raise Refused(400, "the body is no gzip: it ends too early")
        body = unpacker.unused_data
        if not body:
            return b"".join(parts)


def _too_large() -> Refused:
    return Refused(413, f"the body is larger than {MOST_BYTES} bytes: split it", close=True)


def _no_room() -> Refused:
    return Refused(503, "too many large requests at once, try again", retry_after=1, close=True)


class _Deadline:
    """Cancel what runs inside after some seconds, as asyncio.timeout does on newer Pythons."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._late = False

    async def __aenter__(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            self._late = True
            task.cancel()

        self._handle = loop.call_later(max(0.0, self._end - time.monotonic()), cancel)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handle.cancel()
        if self._late and kind is asyncio.CancelledError:
            raise asyncio.TimeoutError
