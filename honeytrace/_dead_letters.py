"""What a destination refused for good: kept in a file of records until somebody resends or discards it.

Each dead letter is two records (_segment): a note that says why and when, and the record that was refused. Several
processes append; whoever rewrites the file holds its lock.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from honeytrace._event import KINDS, Event
from honeytrace._records import frame, parse

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

__all__ = ["DeadLetter", "DeadLetters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that was refused, why, and when (seconds since the epoch)."""

    event: Event
    reason: str
    time: float


class DeadLetters:
    """The dead letters of one destination, in one file. May be used by any number of processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, event: Event, reason: str) -> None:
        """Append one, and bring it to the disk.

        Raises:
            OSError: it cannot be written.
        """
        data = _encode(DeadLetter(event=event, reason=reason, time=time.time()))
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked() as fd:
            os.lseek(fd, 0, os.SEEK_END)
            while data:
                data = data[os.write(fd, data) :]
            getattr(os, "fdatasync", os.fsync)(fd)  # macOS has only the other

    def read(self) -> list[DeadLetter]:
        """All there are, oldest first; what is damaged is left out."""
        try:
            return _letters(self.path.read_bytes())
        except FileNotFoundError:
            return []

    def remove(self, letters: Collection[DeadLetter]) -> int:
        """Remove these; say how many there were. What others add meanwhile stays.

        Raises:
            OSError: the file cannot be written.
        """
        if not self.path.exists():
            return 0
        gone = set(letters)
        with self._locked() as fd:
            before = _letters(os.pread(fd, os.fstat(fd).st_size, 0))
            kept = [letter for letter in before if letter not in gone]
            beside = self.path.with_suffix(".new")
            beside.touch(mode=0o600)
            beside.write_bytes(b"".join(_encode(letter) for letter in kept))
            beside.replace(self.path)
        return len(before) - len(kept)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
            try:
                if fcntl is not None:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                # Who waited for the lock may hold that of a file that has been replaced meanwhile.
                if self.path.exists() and os.path.samestat(os.fstat(fd), self.path.stat()):
                    yield fd
                    return
            finally:
                with contextlib.suppress(OSError):
                    if fcntl is not None:  # said aloud: a child forked meanwhile has inherited the descriptor
                        fcntl.flock(fd, fcntl.LOCK_UN)
                os.close(fd)


def _encode(letter: DeadLetter) -> bytes:
    event, note = letter.event, orjson.dumps({"reason": letter.reason, "time": letter.time})
    return frame("note", event.id, note, event.time_ns) + frame(*event)


def _letters(data: bytes) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    note: dict[str, object] = {}
    noted = b""
    for record in parse(data).records:
        if record.kind not in KINDS:
            note, noted = record.fields(), record.id
        else:
            if noted != record.id:  # its own note is damaged
                note = {}
            reason, when = str(note.get("reason", "unknown")), note.get("time")
            when = float(when) if isinstance(when, (int, float)) else 0.0
            letters.append(DeadLetter(event=record, reason=reason, time=when))
    return letters
