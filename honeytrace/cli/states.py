"""What the journals of this machine look like from outside: read, never touched.

Live programs go on writing meanwhile, so numbers are those of a moment. What a live program counts by itself, such as
events it had no room for, is not on disk; its `stats()` has that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from honeytrace._dead_letters import DeadLetter, DeadLetters
from honeytrace._folders import DestinationFolder, WriterState, all_destinations
from honeytrace._records import count_others
from honeytrace._segment import peek

__all__ = ["Destination", "Waiting", "all_states", "name_of"]

_UNNAMED = ".new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What one process wrote and nobody has delivered yet. `others` counts session and update records."""

    process: str
    alive: bool
    """Whether a process holds it: the one that wrote it, or one that delivers what that one left."""
    path: Path
    files: int
    bytes: int
    events: int
    others: int
    damaged: int
    """Places that cannot be read; what is around them can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One destination with all that waits for it and all that it refused."""

    folder: DestinationFolder
    writers: list[Waiting]
    dead_letters: list[DeadLetter]

    @property
    def name(self) -> str:
        """For people: exporter and destination."""
        return name_of(self.folder)

    @property
    def last_error(self) -> tuple[str, float] | None:
        """Why delivery fails, or why the latest record was refused; and when."""
        refused = [(self.dead_letters[-1].reason, self.dead_letters[-1].time)] if self.dead_letters else []
        failed = self.folder.last_error()
        return max([*refused, *([failed] if failed else [])], key=lambda said: said[1], default=None)

    @property
    def live(self) -> list[Waiting]:
        """What processes that live hold."""
        return [one for one in self.writers if one.alive]

    @property
    def orphans(self) -> list[Waiting]:
        """What dead processes left behind."""
        return [one for one in self.writers if not one.alive]


def name_of(folder: DestinationFolder) -> str:
    """Name a destination for people: exporter and destination, or at least the folder."""
    about = folder.about()
    if not about:
        return f"unknown ({folder.path.name})"
    return f"{about.get('exporter', 'unknown')} {about.get('destination', '')}".rstrip()


def all_states(journals: Path) -> list[Destination]:
    """Look at every destination."""
    return [_state(folder) for folder in all_destinations(journals)]


def _state(folder: DestinationFolder) -> Destination:
    writers = [_waiting(WriterState(path)) for path in folder.writers() if not path.name.endswith(_UNNAMED)]
    try:
        letters = DeadLetters(folder.dead_letters).read()
    except OSError:
        letters = []
    return Destination(folder=folder, writers=writers, dead_letters=letters)


def _waiting(writer: WriterState) -> Waiting:
    events = others = damaged = size = files = 0
    for path, _ in writer.segments:
        try:
            parsed = peek(path)
            blocks = path.stat().st_size
        except OSError:  # delivered meanwhile
            continue
        records = count_others(parsed.records)
        events += len(parsed.records) - records
        others += records
        damaged += parsed.damaged
        size += blocks
        files += 1
    return Waiting(
        process=writer.process,
        alive=writer.alive,
        path=writer.path,
        files=files,
        bytes=size,
        events=events,
        others=others,
        damaged=damaged,
    )
