"""Delivery on demand: the journal and the flusher of a program, run by a command that watches them.

Whoever delivers holds the locks of what it delivers, so a command beside a program, or beside another command, takes
nothing twice; what has not arrived when it gives up stays where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from honeytrace._config import Settings, home
from honeytrace._folders import DestinationFolder
from honeytrace.exceptions import ConfigError, ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from honeytrace._event import Event
    from honeytrace._journal import Journal
    from honeytrace.protocols import Exporter

__all__ = ["Courier", "Tidings", "Unreachable", "hush", "journals_of", "reach"]

_PATIENCE = 10.0
_HOPELESS = ("HTTP 401", "HTTP 403")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidings:
    """How far a delivery is. Events and other records (sessions, updates) are counted apart."""

    delivered: int
    delivered_others: int
    left: int
    left_others: int
    set_aside: int
    damaged: int
    error: str | None
    """What is in the way at the moment."""

    @property
    def done(self) -> int:
        """Records of all sorts that have left the journal."""
        return self.delivered + self.delivered_others + self.set_aside + self.damaged

    @property
    def ok(self) -> bool:
        """Whether all of it has arrived."""
        return not (self.left or self.left_others or self.set_aside)


class Courier:
    """Delivers a journal to an exporter, in the background, while a command looks on.

    With a folder, what dead processes left there is taken over; without, the journal is in memory.
    """

    def __init__(self, exporter: Exporter, folder: DestinationFolder | None = None, *, seconds: float = 30.0) -> None:
        from honeytrace._flusher import Flusher
        from honeytrace._journal import Journal

        self._watched = _Watched(exporter)
        self.journal: Journal = Journal(exporter.name, Settings.journal_bytes, folder)
        self._flusher = Flusher(self.journal, self._watched, export_timeout=seconds)
        # The command decides when delivery begins, not the first record.
        self.journal.wake_from(1 << 62)

    def deliver(self, timeout: float | None = None, show: Callable[[Tidings], None] | None = None) -> Tidings:
        """Deliver all there is, for at most `timeout` seconds, or until the key is refused.

        Without a timeout it gives up when nothing has arrived for ten seconds and the latest attempt has failed.
        """
        end = None if timeout is None else monotonic() + timeout
        moved, done = monotonic(), -1
        while True:
            self.journal.adopt()
            if self.journal.empty:
                return self.tidings()
            left = None if end is None else max(0.0, end - monotonic())
            flush = Thread(target=self._flusher.flush, args=(left,), daemon=True)
            flush.start()
            while flush.is_alive():
                flush.join(0.05)
                now, tidings = monotonic(), self.tidings()
                if show is not None:
                    show(tidings)
                if tidings.done != done:
                    moved, done = now, tidings.done
                elif tidings.error and (
                    tidings.error.startswith(_HOPELESS) or (end is None and now - moved > _PATIENCE)
                ):
                    return tidings
            if end is not None and monotonic() >= end:
                return self.tidings()

    def tidings(self) -> Tidings:
        """How things stand."""
        books = self.journal.books()
        return Tidings(
            delivered=books.delivered,
            delivered_others=books.others.delivered,
            left=books.pending,
            left_others=books.others.pending,
            set_aside=books.set_aside + books.others.set_aside,
            damaged=sum(books.dropped.values()) + sum(books.others.dropped.values()),
            error=self._watched.failing,
        )

    @property
    def refused(self) -> list[tuple[Event, str]]:
        """The latest records (at most 100) that were refused for good, each with the reason."""
        return self._flusher.set_aside

    def close(self) -> None:
        """Give up what has not arrived, and the exporter."""
        self._flusher.stop(0.2)


class _Watched:
    """An exporter, and whether its latest attempt failed in a way that may pass."""

    def __init__(self, exporter: Exporter) -> None:
        self.name = exporter.name
        self.failing: str | None = None
        self._exporter = exporter

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        try:
            self._exporter.export(batch, deadline)
        except ExportError as error:
            if not error.permanent and not error.partly:
                self.failing = str(error)
            raise
        self.failing = None

    def close(self) -> None:
        self._exporter.close()


class Unreachable(Exception):
    """This command cannot deliver to a destination; the text says what can."""


def reach(folder: DestinationFolder, journals: Path, settings: Settings, *, other_keys: bool = False) -> Exporter:
    """Make the exporter for what is in a folder.

    Raises:
        Unreachable: it takes a key that was not given, or a program's own exporter.
    """
    from honeytrace.exporters.local import LocalExporter

    name = folder.about().get("exporter")
    destination = str(folder.about().get("destination", ""))
    local = LocalExporter(destination if name == "local" else None)
    if name == "local" or _is_folder_of(folder, journals, local):
        return local
    if name not in ("honeyhive", None):
        raise Unreachable("delivered by the next program whose exporter has this name and destination")
    from honeytrace.exporters.honeyhive import HoneyHiveExporter

    server = destination.rpartition("#")[0]
    try:
        # Any key will do to see which server the settings mean.
        honeyhive = HoneyHiveExporter("none" if settings.api_key is None else settings.api_key, settings.server_url)
    except ConfigError as error:
        raise Unreachable(str(error)) from None
    if settings.api_key is not None and _is_folder_of(folder, journals, honeyhive):
        return honeyhive
    if not server:
        raise Unreachable("it is not known whose: set HH_API_URL and HH_API_KEY to those it was recorded with")
    here = server == honeyhive.destination.rpartition("#")[0]
    if settings.api_key is None or not here:
        address = "" if here else "HH_API_URL (or --server-url) to it and "
        key = "HH_API_KEY (or --api-key) to the key it was recorded with"
        raise Unreachable(f"no key for {server}: set {address}{key}")
    if not other_keys:
        raise Unreachable("recorded with another key: give that one, or deliver it with this one: --other-keys")
    return honeyhive


def _is_folder_of(folder: DestinationFolder, journals: Path, exporter: Exporter) -> bool:
    destination: str = exporter.destination  # type: ignore[attr-defined]
    return DestinationFolder.of(journals, exporter.name, destination).path.name == folder.path.name


def journals_of(given: str | None) -> Path:
    """The folder of all journals."""
    return home() / "journal" if given is None else Path(given).expanduser()


def hush() -> None:
    """Keep delivery from logging: the command says itself what happened."""
    import logging

    logger = logging.getLogger("honeytrace")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
