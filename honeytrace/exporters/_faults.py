"""What an answer that is no 2xx means: whether to try again, when, and what to tell the user.

The words hold no key and no URL; of the server's own words only the message of a 400 is quoted, cut, for whoever
looks at what was set aside.
"""

from __future__ import annotations

import time

import orjson

from honeytrace.exceptions import ExportError
from honeytrace.exporters._http import Answer

__all__ = ["fault", "key_refused", "retry_after", "stored_ids"]

_QUOTED = 200
_PERMANENT = (400, 413, 422)
_REFUSED_MAX = 60.0


def fault(answer: Answer, call: str, *, secret: str) -> ExportError:
    """Say what to do about an answer to `call`, such as "POST /v1/events"."""
    status = answer.status
    text = f"HTTP {status} for {call}"
    if status in _PERMANENT:
        return ExportError(text + _quoted(answer.body, secret), permanent=True)
    if 300 <= status < 400:
        return ExportError(f"{text}: redirects are not followed; is server_url right?")
    if status in (404, 405):
        return ExportError(f"{text}: the server does not know this route; is server_url right?")
    return ExportError(text, retry_after=retry_after(answer.retry_after, time.time()))


def key_refused(status: int, times: int) -> ExportError:
    """Say that a 401 or 403 came so many times in a row, and wait longer each time."""
    reason = "is not known" if status == 401 else "may not do this"
    return ExportError(
        f"HTTP {status}: the API key {reason}: check HH_API_KEY or api_key",
        retry_after=min(_REFUSED_MAX, 2.0 ** min(times, 10)),
        lasting=True,
    )


def retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header, in seconds or as a date; None if there is none or it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def stored_ids(answer: Answer) -> frozenset[str]:
    """The ids that a server error says were stored all the same."""
    ids = _object(answer.body).get("event_ids")
    return frozenset(id for id in ids if isinstance(id, str)) if isinstance(ids, list) else frozenset()


def _quoted(body: bytes, secret: str) -> str:
    said = _object(body)
    message = next((said[name] for name in ("message", "error", "detail") if said.get(name)), None)
    if message is not None and not isinstance(message, str):
        message = orjson.dumps(message).decode()
    if message is None or secret in message:
        return ""
    return ": " + "".join(letter if letter.isprintable() else " " for letter in message[:_QUOTED])


def _object(body: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
