"""What all routes share: the writer, the index, the threads that read, and the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from honeytrace.server.index import Index
from honeytrace.server.live import Watcher
from honeytrace.server.writing import Writer

__all__ = ["Backend"]

_READERS = 4
_SEARCHERS = 2  # searches may take half a minute: the page does not wait behind them

_T = TypeVar("_T")


class Backend:
    """Belongs to one application, from its start to its end."""

    def __init__(self, store: Path, *, lenient: bool, key_needed: bool) -> None:
        self.store = store
        self.lenient = lenient
        self.key_needed = key_needed
        self.index = Index(store)
        self.watcher = Watcher(self.index)
        self._writer = Writer(store, committed=self.watcher.wake)
        self._started = False
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="honeytrace-reader")
        self._searchers = ThreadPoolExecutor(_SEARCHERS, thread_name_prefix="honeytrace-searcher")

    def start(self) -> None:
        """Open the store and begin to watch it.

        Raises:
            StoreError: it cannot be opened.
        """
        if self._started:
            return
        self._writer.start()
        self.watcher.start()
        self._started = True

    def stop(self) -> None:
        """Commit what was handed in and close everything."""
        self.index.stop()
        self._writer.stop()
        self.watcher.stop()
        for pool, threads in ((self._readers, _READERS), (self._searchers, _SEARCHERS)):
            for _ in range(threads):
                pool.submit(self.index.close)
            pool.shutdown(wait=True)

    async def write(self, job: Callable[..., Any]) -> Any:
        """Run a job of `writing` and wait until it is committed."""
        return await self._writer(job)

    async def run(self, read: Callable[..., _T], *arguments: Any) -> _T:
        """Run a function that reads in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, read, *arguments)

    async def search(self, read: Callable[..., _T], *arguments: Any) -> _T:
        """Run a function that may read for long, where only its like wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._searchers, read, *arguments)
