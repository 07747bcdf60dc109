"""The HoneyHive exporter: batches go to HoneyHive, or any server that speaks the contract, over HTTP.

Sessions go first (POST /v1/sessions), then events (POST /v1/events/batch, at most 3.5 MB and 1000 events a request),
then the updates that could not be merged into either (PUT /v1/events/{id}). A server without the batch route gets its
events one by one.

A program whose root calls are sessions of their own makes hundreds of sessions per batch, and a request for each
would take longer than all else together (and half a millisecond of CPU time). So sessions are posted one by one only
where that is cheap: in a batch of at most 100, and for about a second at the server's latest pace. The others travel as
what they become on the server, events of type session whose event_id is the session's id, at the head of the requests
that carry their events.

An export that fails remembers what of its batch has arrived, so that the batch, or parts of it, can come again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, urlsplit

from honeytrace._config import DEFAULT_SERVER_URL
from honeytrace._event import Event
from honeytrace.exceptions import ConfigError, ExportError
from honeytrace.exporters._faults import fault, key_refused, stored_ids
from honeytrace.exporters._http import Answer, Http, NoAnswer
from honeytrace.exporters._parcels import Load, Parcel, cut, records_of
from honeytrace.exporters._remembered import FailedBatch, KnownServer

if TYPE_CHECKING:
    import httpx

__all__ = ["HoneyHiveExporter"]

_BATCH, _EVENTS, _SESSIONS = "/v1/events/batch", "/v1/events", "/v1/sessions"
_SESSIONS_ALONE = 100
_SESSIONS_SECONDS = 1.0
_UPDATE_TRIES = 5
_MISSING = (404, 405)


class HoneyHiveExporter:
    """Delivers to HoneyHive.

    `api_key` may be a callable, which is asked before every export: a key that changes. Proxies, certificates and the
    like come with `client`, which is not closed, or `transport`. `timeout` is what one request may take in all, in
    seconds. `name` tells two of them apart. A user name and password in `server_url` are not sent: the key takes their
    header.

    Raises:
        ConfigError: an argument cannot be right.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str],
        server_url: str = DEFAULT_SERVER_URL,
        *,
        client: httpx.Client | None = None,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        name: str = "honeyhive",
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"name must be a text, not {name!r}")
        self.name = name
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            raise ConfigError(f"timeout must be a number of seconds above 0, not {timeout!r}")
        if client is not None and transport is not None:
            raise ConfigError("give either client or transport, not both: a client has a transport")
        if not callable(api_key) and (wrong := _what_is_wrong(api_key)):
            raise ConfigError(f"api_key {wrong}")
        url = _checked(server_url)
        self._api_key = api_key
        self._host = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}"
        self._query = f"?{url.query}" if url.query else ""
        self._timeout = timeout
        self._fingerprint = _fingerprint(api_key, self._query)
        self._http = Http(client=client, transport=transport, verify=url.scheme == "https")
        self._server = KnownServer()
        self._failed = FailedBatch()

    def __repr__(self) -> str:
        return f"HoneyHiveExporter({self._host!r})"

    @property
    def destination(self) -> str:
        """Where events go, as a name: the URL and a fingerprint of the key, nothing secret."""
        return f"{self._host}#{self._fingerprint}"

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        """Deliver the batch: sessions, events, updates.

        Raises:
            ExportError: not all of it arrived; what did is remembered until the rest has.
        """
        trip = _Trip(self._key(), deadline)
        load = Load(self._failed.missing(batch), unmergeable=self._failed.uncertain)
        try:
            first = self._announce(load, trip)
            self._post(first + load.events(), trip)
            self._put(load.updates(), trip)
        except BaseException:
            self._failed.note_arrived(trip.arrived)
            raise
        self._failed.forget(batch)

    def close(self) -> None:
        """Close the connection, unless it is a client's that was given."""
        self._http.close()

    def _announce(self, load: Load, trip: _Trip) -> list[Parcel]:
        """Post sessions while that is cheap; return the others, as events."""
        server, sessions, began = self._server, load.sessions, time.monotonic()
        many = len(sessions) > _SESSIONS_ALONE
        for posted, id in enumerate(sessions):
            spent = time.monotonic() - began
            if many or spent + server.latency > _SESSIONS_SECONDS or server.lacks(_SESSIONS):
                return [load.as_event(other) for other in sessions[posted:]]
            parcel = load.as_session(id)
            answer = self._send(trip, "POST", _SESSIONS, parcel.body, [parcel])
            if answer.status in _MISSING:
                server.note_lacking(_SESSIONS)
                return [load.as_event(other) for other in sessions[posted:]]
            self._check(trip, answer, f"POST {_SESSIONS}", [parcel])
            trip.note_arrived(load.sent(parcel))
        return []

    def _post(self, parcels: Sequence[Parcel], trip: _Trip) -> None:
        """Post events, as many per request as the server takes."""
        server, start = self._server, 0
        while start < len(parcels) and not server.lacks(_BATCH):
            part = cut(parcels, start, server.limit)
            body = _batch(part)
            answer = self._send(trip, "POST", _BATCH, body, part)
            if answer.status in _MISSING:
                server.note_lacking(_BATCH)
            elif answer.status == 413 and len(part) > 1:
                server.note_too_large(len(body))
            else:
                self._check(trip, answer, f"POST {_BATCH}", part)
                trip.note_arrived(part)
                start += len(part)
        for parcel in parcels[start:]:
            answer = self._send(trip, "POST", _EVENTS, parcel.body, [parcel])
            if answer.status in _MISSING:
                server.forget_lacking()  # this is no server of ours: nothing was learnt
            self._check(trip, answer, f"POST {_EVENTS}", [parcel])
            trip.note_arrived([parcel])

    def _put(self, updates: Sequence[Parcel], trip: _Trip) -> None:
        """Send updates. An event may not be visible yet, so one that is not found is tried again, five times."""
        waiting = 0
        late: list[str] = []
        unknown: list[str] = []
        for parcel in updates:
            tries = self._failed.not_found(records_of(parcel))
            if tries < _UPDATE_TRIES:
                route = f"{_EVENTS}/{quote(parcel.id.decode(), safe='')}"
                answer = self._send(trip, "PUT", route, parcel.body, [parcel])
                if answer.status not in _MISSING:
                    self._check(trip, answer, f"PUT {_EVENTS}/{{id}}", [parcel])
                    trip.note_arrived([parcel])
                    continue
                tries = self._failed.note_not_found(records_of(parcel))
            waiting = max(waiting, tries if tries < _UPDATE_TRIES else 0)
            (late if tries < _UPDATE_TRIES else unknown).append(parcel.id.decode())
        if late:
            raise ExportError(f"no event {late[0]} to update yet (HTTP 404)", retry_after=0.1 * 2**waiting)
        if unknown:
            said = f"the server does not know it (HTTP 404, {_UPDATE_TRIES} times)"
            raise ExportError(f"no event {unknown[0]} to update: {said}", permanent=True)

    def _send(self, trip: _Trip, method: str, route: str, body: bytes, parcels: Sequence[Parcel]) -> Answer:
        """Make one request about these parcels."""
        began = time.monotonic()
        headers = {
            "Authorization": f"Bearer {trip.key}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": _user_agent(),
            # That of the oldest record: the same when the request is repeated.
            "hh-client-timestamp": str(min([parcel.time_ns for parcel in parcels])),
        }
        url = f"{self._host}{route}{self._query}"
        deadline = min(trip.deadline, began + self._timeout)
        try:
            answer = self._http.send(method, url, headers, body, deadline=deadline)
        except NoAnswer as error:
            if method == "POST":
                self._failed.note_uncertain(parcel.id for parcel in parcels)
            late = error.timed_out and deadline == trip.deadline
            raise ExportError(str(error), partly=late and bool(trip.arrived)) from None
        finally:
            self._server.latency = time.monotonic() - began
        return answer

    def _check(self, trip: _Trip, answer: Answer, call: str, parcels: Sequence[Parcel]) -> None:
        """Raise what an answer that is no 2xx means for these parcels."""
        if 200 <= answer.status < 300:
            self._server.refusals = 0
            return
        if answer.status in (401, 403):
            self._server.refusals += 1
            raise key_refused(answer.status, self._server.refusals)
        self._server.refusals = 0
        if answer.status >= 500 and (stored := stored_ids(answer)):
            trip.note_arrived([parcel for parcel in parcels if parcel.id.decode() in stored])
        self._failed.note_uncertain(parcel.id for parcel in parcels)
        raise fault(answer, call, secret=trip.key)

    def _key(self) -> str:
        if not callable(self._api_key):
            return self._api_key
        try:
            key = self._api_key()
        except Exception as error:
            raise ExportError(f"the callable api_key raised {type(error).__name__}") from None
        if wrong := _what_is_wrong(key):
            raise ExportError(f"what the callable api_key returned {wrong}")
        return key


class _Trip:
    """One export on its way: its key, its deadline, and the records that have arrived."""

    def __init__(self, key: str, deadline: float) -> None:
        self.key = key
        self.deadline = deadline
        self._arrived: list[Sequence[Parcel]] = []

    def note_arrived(self, parcels: Sequence[Parcel]) -> None:
        """The records of these have arrived."""
        self._arrived.append(parcels)  # which ones is asked only when the rest fails

    @property
    def arrived(self) -> list[Event]:
        """All records that have arrived."""
        return [record for parcels in self._arrived for parcel in parcels for record in records_of(parcel)]


def _batch(parcels: Sequence[Parcel]) -> bytes:
    """Write the body of a batch. What stands around the events is joined with them: megabytes are copied once."""
    bodies = [parcel.body for parcel in parcels]
    bodies[0] = b'{"events":[' + bodies[0]
    bodies[-1] += b"]}"
    return b",".join(bodies)


def _what_is_wrong(key: object) -> str | None:
    """Say why this cannot be a key, without quoting it."""
    if not isinstance(key, str):
        return f"must be a string or a callable that returns one, not {type(key).__name__}"
    if not key:
        return "must not be empty"
    if not all("!" <= letter <= "~" or "\xa1" <= letter <= "\xff" for letter in key):
        return "must be printable Latin-1 text without spaces or line breaks: is there one at its end?"
    return None


def _checked(server_url: object) -> SplitResult:
    """Split a URL that can be right. The URL is never quoted: it may hold a password."""
    if not isinstance(server_url, str):
        raise ConfigError(f"server_url must be a string, not {type(server_url).__name__}")
    expected = "server_url must be like https://host or http://host:port/path"
    try:
        url = urlsplit(server_url)
        host, _ = url.hostname, url.port
    except ValueError:
        raise ConfigError(f"{expected}; its host or port cannot be read") from None
    if "://" not in server_url:  # localhost:8310 would have the scheme localhost
        raise ConfigError(f"{expected}; it does not begin with http:// or https://")
    if url.scheme not in ("http", "https"):
        raise ConfigError(f"{expected}, not with the scheme {url.scheme!r}")
    if not host:
        raise ConfigError(f"{expected}; it has no host")
    if not server_url.isprintable() or " " in server_url or url.fragment:
        raise ConfigError(f"{expected}, without spaces, line breaks or #")
    return url


def _fingerprint(api_key: str | Callable[[], str], query: str) -> str:
    """Tell keys apart. One that changes is known by who returns it: what is queued must not be left behind."""
    if not callable(api_key):
        known_by = api_key
    else:
        source = api_key if hasattr(api_key, "__qualname__") else type(api_key)
        known_by = f"callable {source.__module__}.{source.__qualname__}"
    return blake2b(f"{known_by}{query}".encode(), digest_size=6, person=b"honeytrace key").hexdigest()


def _user_agent() -> str:
    package = sys.modules.get("honeytrace")  # importing it from here would point upwards
    return f"honeytrace/{getattr(package, '__version__', '0')}"
