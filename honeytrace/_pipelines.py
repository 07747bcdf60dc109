"""Delivery as recording sees it: one callable to hand events to, whatever the number of exporters.

Each exporter has a journal and a flusher of its own, so that one that is down holds nobody else back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from threading import Thread
from time import monotonic

from honeytrace._books import Books
from honeytrace._config import Settings
from honeytrace._diagnostics import logger, warn_once
from honeytrace._event import Kind, Submit
from honeytrace._flusher import Flusher, FlushResult, check_timeout
from honeytrace._folders import DestinationFolder
from honeytrace._journal import Journal
from honeytrace.exceptions import ConfigError
from honeytrace.protocols import Exporter

__all__ = ["Pipelines", "Stats", "in_a_thread", "open_exporters"]

_LATE_SECONDS = 0.5
"""How long all calls together may take that are traced when the end of the process has been flushed already."""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """The books: recorded = delivered + pending + sum of dropped + set_aside, at every moment.

    Counted in events, added up over all exporters; `exporters` has the books of each one. `adopted` says how many of
    the recorded ones another process left behind.
    """

    recorded: int = 0
    delivered: int = 0
    pending: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    set_aside: int = 0
    adopted: int = 0
    exporters: Mapping[str, Books] = field(default_factory=dict)


class _Pipeline:
    """One exporter with its journal and flusher."""

    def __init__(self, exporter: Exporter, settings: Settings) -> None:
        self.exporter = exporter
        destination = getattr(exporter, "destination", None)
        folder = None
        if settings.journal is not None and isinstance(destination, str):
            folder = DestinationFolder.of(settings.journal, exporter.name, destination)
        elif settings.journal_missing and isinstance(destination, str):
            warn_once(
                "no home",
                "HONEYTRACE_HOME is not set and there is no home directory: the journal of %s is kept in memory: "
                "what is not delivered when the process ends is lost",
                exporter.name,
            )
        self.journal = Journal(exporter.name, settings.journal_bytes, folder)
        self.flusher = Flusher(self.journal, exporter)
        self.flusher.look_after_others()

    def stop(self, timeout: float | None) -> FlushResult:
        """Flush, end, and say what is left for others."""
        result = self.flusher.stop(timeout)
        self.say_what_is_left()
        return result

    def leave(self, timeout: float | None) -> FlushResult:
        """End without delivering: somebody else takes over what is left."""
        return self.flusher.stop(0.0)

    def say_what_is_left(self) -> None:
        """Log what becomes of records that are not delivered at the end."""
        refused = self.journal.books().dropped.get("full", 0)
        if refused > 1:
            logger.warning("the journal of %s was full: %d events refused in all", self.exporter.name, refused)
        events, others = self.journal.left_behind()
        if not events and not others:
            return
        lost = self.journal.in_memory()
        where = "" if self.journal.folder is None else str(self.journal.folder.path)
        kept = f"kept in {where}, delivered by the next process or by: honeytrace flush"
        all_lost = "it is lost" if lost == 1 else "they are lost"
        fate = all_lost if lost == events + others else f"{kept} ({lost} of them are lost)" if lost else kept
        logger.warning(
            "%d %s not delivered to %s (%s): %s",
            events or others,
            ("event is" if events == 1 else "events are")
            if events
            else ("update is" if others == 1 else "updates are"),
            self.exporter.name,
            self.flusher.why_not,
            fate,
        )


class Pipelines:
    """All pipelines of a tracer."""

    def __repr__(self) -> str:
        return ", ".join(_in_words(pipeline.exporter) for pipeline in self._all) or "nowhere"

    def __init__(self, exporters: Sequence[Exporter], settings: Settings) -> None:
        self._all = [_Pipeline(exporter, settings) for exporter in exporters]

    def submitter(self) -> Submit:
        """The callable that recording hands its events to."""
        appends = [pipeline.journal.append for pipeline in self._all]
        if len(appends) == 1:
            return appends[0]

        def submit(kind: Kind, id: bytes, body: bytes, time_ns: int, took_ns: int = -1, /) -> None:
            for append in appends:
                append(kind, id, body, time_ns, took_ns)

        return submit

    def submit_late(self, kind: Kind, id: bytes, body: bytes, time_ns: int, took_ns: int = -1, /) -> None:
        """Take a record after the end: the next process delivers it, unless the journal is in memory."""
        for pipeline in self._all:
            pipeline.journal.append(kind, id, body, time_ns, took_ns)
            if pipeline.journal.in_memory():
                warn_once("too late", "a span that was open at shutdown() ended after it: its event is lost")

    def flush(self, timeout: float | None) -> FlushResult:
        """Flush all under one deadline."""
        return _together([pipeline.flusher.flush for pipeline in self._all], timeout)

    def stop(self, timeout: float | None) -> FlushResult:
        """Flush and end all under one deadline."""
        return _together([pipeline.stop for pipeline in self._all], timeout)

    def give_way(self, heirs: Pipelines | None, timeout: float) -> None:
        """End in favour of others. What goes to the same destination is theirs at once, and nobody waits for it."""
        theirs = () if heirs is None else heirs._all
        ends: list[Callable[[float | None], FlushResult]] = []
        for pipeline in self._all:
            if any(pipeline.exporter is heir.exporter for heir in theirs):
                pipeline.flusher.leave_open()
            folder = pipeline.journal.folder
            same = folder is not None and any(
                heir.journal.folder is not None and heir.journal.folder.path == folder.path for heir in theirs
            )
            ends.append(pipeline.leave if same else pipeline.stop)
        _together(ends, timeout)
        for heir in theirs:
            heir.flusher.look_after_others()

    def end_of_process(self, timeout: float) -> None:
        """Flush, and from here on deliver each record on the spot: other exit handlers may still be traced."""
        began = monotonic()
        with suppress(KeyboardInterrupt):  # whoever is tired of waiting is told what is left, as everybody is
            self.flush(timeout)
        left = max(0.0, timeout - (monotonic() - began))
        for pipeline in self._all:
            pipeline.say_what_is_left()
            pipeline.flusher.deliver_late(min(left, _LATE_SECONDS))

    def reset_after_fork(self) -> None:
        """In a child process: start afresh; the parent delivers what it recorded."""
        for pipeline in self._all:
            pipeline.flusher.reset_after_fork()

    def stats(self) -> Stats:
        """The books of all exporters."""
        books = {pipeline.exporter.name: pipeline.journal.books() for pipeline in self._all}
        dropped: dict[str, int] = {}
        for one in books.values():
            for reason, count in one.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        return Stats(
            recorded=sum(one.recorded for one in books.values()),
            delivered=sum(one.delivered for one in books.values()),
            pending=sum(one.pending for one in books.values()),
            dropped=dropped,
            set_aside=sum(one.set_aside for one in books.values()),
            adopted=sum(one.adopted for one in books.values()),
            exporters=books,
        )


def _in_words(exporter: Exporter) -> str:
    """Name an exporter, and its destination without the fingerprint of a key."""
    where = getattr(exporter, "destination", None)
    return f"{exporter.name} ({where.partition('#')[0]})" if isinstance(where, str) else exporter.name


def open_exporters(given: Sequence[Exporter | str] | None, settings: Settings) -> list[Exporter]:
    """Make exporters of what `init(exporters=...)` was given; None chooses by the settings.

    Raises:
        ConfigError: it is none, or two have the same name.
    """
    if given is None:
        given = ["local"] if settings.api_key is None else ["honeyhive"]
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(f"exporters must be a list, not {type(given).__name__}")
    made = [_exporter(one, settings) for one in given]
    names = [one.name for one in made]
    if len(set(names)) < len(names):
        raise ConfigError(f"exporters must have different names, not {names}")
    return made


def _exporter(given: Exporter | str, settings: Settings) -> Exporter:
    if given == "honeyhive":
        if settings.api_key is None:
            raise ConfigError("exporter 'honeyhive' needs an API key: init(api_key=...) or HH_API_KEY")
        from honeytrace.exporters.honeyhive import HoneyHiveExporter

        return HoneyHiveExporter(settings.api_key, settings.server_url)
    if given == "local":
        from honeytrace.exporters.local import LocalExporter

        return LocalExporter()
    if given == "console":
        from honeytrace.exporters.console import ConsoleExporter

        return ConsoleExporter()
    if isinstance(given, str) or not isinstance(given, Exporter):
        raise ConfigError(
            "an exporter is 'honeyhive', 'local', 'console' or an object with name, export() and close(), "
            f"not {given!r}"
        )
    if iscoroutinefunction(given.export):
        raise ConfigError(f"export() of exporter {given.name!r} must be a plain function, not a coroutine function")
    return given


async def in_a_thread(call: Callable[[], FlushResult]) -> FlushResult:
    """Await a call that waits, in a thread of its own: those of the event loop may all be busy."""
    import asyncio

    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[FlushResult] = loop.create_future()

    def settle(result: FlushResult | None, error: Exception | None) -> None:
        if outcome.done():  # nobody waits any more
            return
        if error is not None:
            outcome.set_exception(error)
        elif result is not None:
            outcome.set_result(result)

    def run() -> None:
        try:
            result, error = call(), None
        except Exception as raised:
            result, error = None, raised
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle, result, error)

    try:
        Thread(target=run, name="honeytrace-aflush", daemon=True).start()
    except RuntimeError:  # no thread can be started: better here than not at all
        return call()
    return await outcome


def _together(calls: Sequence[Callable[[float | None], FlushResult]], timeout: float | None) -> FlushResult:
    """Flush or stop several exporters at the same time, under one deadline; add up what happened.

    All but the last run in threads of their own: one that hangs takes nothing from the others.
    """
    check_timeout(timeout)
    results: list[FlushResult] = []
    threads = [Thread(target=lambda call=call: results.append(call(timeout)), daemon=True) for call in calls[:-1]]
    for thread in threads:
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending and starts no thread
            results.append(calls[threads.index(thread)](timeout))
    started = monotonic()
    results += [call(timeout) for call in calls[-1:]]
    for thread in threads:
        if thread.ident is not None:
            thread.join(None if timeout is None else max(0.0, timeout + 0.1 - (monotonic() - started)))
    return FlushResult(
        ok=len(results) == len(calls) and all(result.ok for result in results),
        delivered=sum(result.delivered for result in results),
        pending=sum(result.pending for result in results),
        dropped=sum(result.dropped for result in results),
        set_aside=sum(result.set_aside for result in results),
        last_error=next((result.last_error for result in results if result.last_error), None),
    )
