"""What happens in the store, as it happens: one thread watches, indexes, and tells the pages that listen.

The store is looked at after every commit of this server, and several times a second for the writes of others.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator

import orjson

from honeytrace.exporters._store import StoreError
from honeytrace.server import reading
from honeytrace.server.index import Index, NotReady, TooSlow

__all__ = ["LIVE_PATH", "Watcher"]

LIVE_PATH = "/ui/api/live"

_log = logging.getLogger("honeytrace.server")

_POLL = 0.25
_QUIET = 0.3  # seconds without a write after which words are indexed without a break
_SHARE = 0.1  # of the time, for events and for words each, while there are writes: writers come first
_REST = 2.0  # seconds between two stretches of words, at least
_MOST_LAG = 100_000  # writes: a question brings in as many in a few seconds
_HEARTBEAT = 15.0
_MOST_LISTENERS = 100


class Watcher:
    """Keeps the index up to date and remembers who listens."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Queue[bytes | None]]] = set()
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="honeytrace-index", daemon=True)

    def start(self) -> None:
        """Begin to watch: who listens from here on hears of every later write, however late the thread comes to it."""
        try:
            self._told = self._index.newest()
            self._index.close()  # the thread has connections of its own
        except (sqlite3.Error, OSError, StoreError):  # there is nothing yet
            pass
        self._thread.start()

    def stop(self) -> None:
        """End it, and all listening."""
        self._stopped.set()
        self._wake.set()
        self._tell(None)
        if self._thread.is_alive():
            self._thread.join(30)

    def hang_up(self) -> None:
        """Let all listeners go, so that nobody waits for them."""
        self._tell(None)

    def wake(self) -> None:
        """Say that something was written."""
        self._wake.set()

    @property
    def is_full(self) -> bool:
        """Whether so many listen that nobody else may."""
        return len(self._listeners) >= _MOST_LISTENERS

    async def listen(self) -> AsyncIterator[bytes]:
        """Server-sent events: changes, and a comment now and then so that a dead connection is noticed."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(100)
        listener = (asyncio.get_running_loop(), queue)
        self._listeners.add(listener)
        try:
            yield b": listening\n\n"
            while not self._stopped.is_set():
                try:
                    message = await asyncio.wait_for(queue.get(), _HEARTBEAT)
                except (asyncio.TimeoutError, TimeoutError):
                    message = b": still here\n\n"
                if message is None:
                    return
                yield message
        finally:
            self._listeners.discard(listener)

    def _run(self) -> None:
        told, active, rested, took = self._told, 0.0, 0.0, 0.0
        seen, written = 0, 0.0
        while not self._stopped.is_set():
            self._wake.wait(_POLL)
            self._wake.clear()
            try:
                newest = self._index.newest()
                if told > newest:  # another store is there
                    told = newest
                if newest != seen:
                    seen, written = newest, time.monotonic()
                events, words = self._index.lag()
                if events:
                    active = time.monotonic()
                    self._index.step()
                    took = time.monotonic() - active
                if told < self._index.cursor():
                    told = self._tell_changes(told)
                now = time.monotonic()
                if words and (now - active > _QUIET or now > rested):
                    self._index.step(deep=True)
                    rested = time.monotonic() + max(_REST, (time.monotonic() - now) / _SHARE)
                    self._wake.set()
                elif events:
                    # A question brings the index up to date by itself, and what is written meanwhile is cheaper
                    # to index together.
                    if active - written < _QUIET:
                        rest = took if events > _MOST_LAG else took / _SHARE
                        self._stopped.wait(max(0.1, min(_REST, rest)))
                    self._wake.set()
                elif not words:
                    self._index.look_for_deleted()
            except (sqlite3.Error, OSError, StoreError, NotReady, TooSlow) as error:
                if "no such table" not in str(error) and not self._stopped.is_set():
                    _log.warning("cannot bring the index up to date: %s", error)
                self._stopped.wait(1.0)
            except Exception:  # whatever it was, the next change must not go unnoticed
                _log.exception("cannot bring the index up to date")
                self._stopped.wait(1.0)
        self._index.close()

    def _tell_changes(self, since: int) -> int:
        seq, sessions = reading.changed(self._index, since)
        if sessions:
            data = orjson.dumps({"seq": seq, "sessions": sessions}).decode()
            self._tell(f"event: change\ndata: {data}\n\n".encode())
        return seq

    def _tell(self, message: bytes | None) -> None:
        for loop, queue in list(self._listeners):
            try:
                loop.call_soon_threadsafe(_put, queue, message)
            except RuntimeError:  # that loop is closed
                pass


def _put(queue: asyncio.Queue[bytes | None], message: bytes | None) -> None:
    if message is None:
        while not queue.empty():
            queue.get_nowait()
    if not queue.full():  # who cannot keep up is told later changes; the page asks for what it shows anyway
        queue.put_nowait(message)
