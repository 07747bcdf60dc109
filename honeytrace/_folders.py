"""Where journals live on disk: a folder for each destination, in it one for each process that writes.

    HONEYTRACE_HOME/journal/
        honeyhive-3f9a0c21d4e5b678/         one destination: exporter, server, key (as a fingerprint)
            destination.json                what it is, for people; no secrets
            dead-letters                    records that were refused for good (_dead_letters)
            last-error.json                 why delivery fails, while it does
            4711-9c0b1a2d/                  one writer: a process, or one that delivers what another left
                lock                        held by flock while the writer lives
                000001.seg ...              its segments (_segment)

Invariant: whoever holds the lock of a writer's folder, and nobody else, writes and removes what is in it. The kernel
lets go of the lock when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from honeytrace._config import home
from honeytrace._diagnostics import warn_once
from honeytrace._segment import Segment, create, identity, open_existing

try:
    import fcntl
except ImportError:  # Windows: journals are in memory there
    fcntl = None  # type: ignore[assignment]

__all__ = ["DestinationFolder", "Writer", "WriterState", "all_destinations", "default_journals"]

_ABOUT, _LOCK, _DEAD_LETTERS, _LAST_ERROR = "destination.json", "lock", "dead-letters", "last-error.json"
_SEGMENT = ".seg"
_NEW = ".new"
_STALE = 60.0
"""Seconds after which a writer's folder that never got its name is taken for an accident."""


class DestinationFolder:
    """All that is waiting for one destination, from whatever process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, journals: Path, exporter: str, destination: str) -> DestinationFolder:
        """The folder of an exporter's destination. Nothing is made before there is something to keep."""
        digest = hashlib.sha256(f"{exporter}\0{destination}".encode()).hexdigest()[:16]
        # Absolute, for a program that changes its directory.
        folder = cls(journals.absolute() / f"{re.sub('[^A-Za-z0-9_.]', '_', exporter)[:40]}-{digest}")
        folder._about = {"exporter": exporter, "destination": destination}
        return folder

    _about: dict[str, Any] | None = None

    @property
    def dead_letters(self) -> Path:
        """The file of what was refused for good."""
        return self.path / _DEAD_LETTERS

    def about(self) -> dict[str, Any]:
        """What the destination is: `exporter` and `destination`, as the exporter names it."""
        if self._about is None:
            try:
                self._about = dict(json.loads((self.path / _ABOUT).read_bytes()))
            except (OSError, ValueError):
                self._about = {}
        return self._about

    def make(self) -> None:
        """Make the folder, private to the user, and say in it what it is.

        Raises:
            OSError: it cannot be made.
        """
        missing = [self.path, *(parent for parent in self.path.parents)]
        for path in reversed([path for path in missing if not path.exists()]):
            path.mkdir(mode=0o700, exist_ok=True)
        if self._about is not None and not (self.path / _ABOUT).exists():
            self._write(_ABOUT, self._about)

    def note_error(self, text: str | None) -> None:
        """Leave word of why delivery fails, for `honeytrace status`; None takes it back.

        Raises:
            OSError: it cannot be written.
        """
        if text is None:
            (self.path / _LAST_ERROR).unlink(missing_ok=True)
        elif self.path.exists():
            self._write(_LAST_ERROR, {"error": text, "time": time.time()})

    def last_error(self) -> tuple[str, float] | None:
        """Why delivery fails, and since when it is known (seconds since the epoch); None if nobody complained."""
        try:
            said = json.loads((self.path / _LAST_ERROR).read_bytes())
            return str(said["error"]), float(said["time"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, name: str, content: dict[str, Any]) -> None:
        """Write a file whole or not at all."""
        beside = self.path / f"{name}.{os.getpid()}-{os.urandom(4).hex()}"
        try:
            beside.touch(mode=0o600)
            beside.write_text(json.dumps(content))
            beside.replace(self.path / name)
        finally:
            beside.unlink(missing_ok=True)

    def new_writer(self) -> Writer:
        """Make a folder for this process and lock it.

        Raises:
            OSError: that cannot be done here.
        """
        if fcntl is None:
            raise OSError("no file locks on this platform")
        self.make()
        path = self.path / f"{os.getpid()}-{os.urandom(4).hex()}"
        # Locked under another name first: by its own name everybody takes it for left behind if it is not locked.
        unnamed = path.with_name(path.name + _NEW)
        unnamed.mkdir(mode=0o700)
        try:
            lock = _lock(unnamed / _LOCK, create=True)
            if lock is None:
                raise OSError("the lock of a new folder is held by another process")
            unnamed.rename(path)
        except BaseException:
            shutil.rmtree(unnamed, ignore_errors=True)
            raise
        return Writer(path, lock)

    def writers(self) -> Iterator[Path]:
        """The folders of all writers, dead or alive."""
        yield from _folders_in(self.path)

    def orphans(self, but: Collection[Path] = ()) -> Iterator[Writer]:
        """Take over the folders whose writers are dead, but for some. Each comes locked, and belongs to the caller."""
        for path in self.writers():
            if path in but:
                continue
            try:
                if path.name.endswith(_NEW):
                    if time.time() - path.stat().st_mtime > _STALE:
                        shutil.rmtree(path, ignore_errors=True)
                    continue
                # A folder without a lock can have no owner, so one may be made; but not where all has been removed.
                lock = _lock(path / _LOCK, create=bool(_segment_files(path)))
            except OSError:
                continue
            if lock is not None:
                yield Writer(path, lock)

    def used(self) -> bool:
        """Whether there is a writer, dead or alive."""
        return next(self.writers(), None) is not None

    def bytes_on_disk(self) -> int:
        """How much all segments of all writers take."""
        return sum(size for writer in self.writers() for _, size in _segment_files(writer))

    def bytes_left_behind(self) -> int:
        """How much the segments of dead writers take. Looks at every lock."""
        states = [WriterState(path) for path in self.writers()]
        return sum(size for state in states if not state.alive for _, size in state.segments)


class Writer:
    """A folder of segments that this process owns."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.segments: list[Segment] = []
        """Those that are open and not yet released."""
        self._lock = lock
        self._identity = identity(lock)
        self._number = 0

    def add(self, size: int) -> Segment:
        """Make the next segment.

        Raises:
            OSError: that cannot be done.
        """
        self._number += 1
        segment = create(self.path / f"{self._number:06d}{_SEGMENT}", size)
        self.segments.append(segment)
        return segment

    def open_all(self) -> list[Segment]:
        """Open what another process left here, oldest first. What cannot be read stays where it is."""
        for name, _ in _segment_files(self.path):
            try:
                segment = open_existing(self.path / name)
            except OSError as error:
                warn_once(f"orphan {self.path}", "cannot read a journal left by another process: %s", error.strerror)
                continue
            if segment is None:
                warn_once(f"orphan {self.path}", "a journal was left in %s by another version: kept", self.path)
            else:
                self.segments.append(segment)
        return self.segments

    def release(self, segment: Segment, *, remove: bool) -> None:
        """Give up a segment: its file is removed, or stays for whoever takes over the folder."""
        if segment in self.segments:
            self.segments.remove(segment)
        segment.release(remove=remove)

    def gone(self) -> bool:
        """Whether somebody removed the folder, or closed the lock, so that others may take it over."""
        return identity(self._lock) != self._identity or not (self.path / _LOCK).exists()

    def close(self) -> None:
        """Give up the folder; it is removed if it is empty. Segments that are open stay for others to deliver."""
        for segment in tuple(self.segments):
            self.release(segment, remove=False)
        if self._identity is None or identity(self._lock) != self._identity:
            return
        try:
            if not _segment_files(self.path):
                # The lock last: without it, and with it free, nobody takes the folder for an orphan's.
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        except OSError:
            pass  # somebody else put something in it, or removed it
        finally:
            _unlock(self._lock)

    def forget(self) -> None:
        """In a forked child: close what is inherited, so that the lock is the parent's alone."""
        for segment in self.segments:
            segment.forget()
        if self._identity is not None and identity(self._lock) == self._identity:
            os.close(self._lock)


class WriterState:
    """What can be seen of a writer's folder from outside: `alive`, and its segments as (path, bytes)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.alive = _is_locked(path / _LOCK)
        self.segments = [(path / name, size) for name, size in _segment_files(path)]

    @property
    def process(self) -> str:
        """The id of the process that made it."""
        return self.path.name.partition("-")[0]


def all_destinations(journals: Path | None = None) -> list[DestinationFolder]:
    """Every destination that has a folder; by default under HONEYTRACE_HOME."""
    return [DestinationFolder(path) for path in _folders_in(journals or default_journals())]


def default_journals() -> Path:
    """The folder of all journals, if `init()` is not told another."""
    return home() / "journal"


def _segment_files(path: Path) -> list[tuple[str, int]]:
    """Name and size of the segments in a folder, oldest first."""
    try:
        with os.scandir(path) as entries:
            return sorted((entry.name, entry.stat().st_size) for entry in entries if entry.name.endswith(_SEGMENT))
    except OSError:
        return []


def _folders_in(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _lock(path: Path, *, create: bool = False) -> int | None:
    """Lock a file; None if another process holds the lock, or has just removed it.

    Raises:
        OSError: there is no such file, or it cannot be locked at all.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink > 0:
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _unlock(fd: int) -> None:
    """Let go of a lock, even if a child that was forked in the meantime has inherited the descriptor."""
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _is_locked(path: Path) -> bool:
    try:
        fd = _lock(path)
    except OSError:
        return False
    if fd is None:
        return True
    _unlock(fd)
    return False
