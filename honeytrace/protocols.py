"""Every way to extend honeytrace, on one page.

Write a class with the method below and pass an instance to `init()`; nothing needs to be subclassed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from honeytrace._event import Event

__all__ = ["Exporter", "Redactor", "Sampler"]


@runtime_checkable
class Sampler(Protocol):
    """Decides which sessions are kept."""

    def keep(self, session_id: str) -> bool:
        """Say whether the session is recorded. Called once, when it starts, in the caller's thread."""
        ...


@runtime_checkable
class Redactor(Protocol):
    """Decides which values are secret."""

    def is_secret(self, name: str) -> bool:
        """Say whether the value under this parameter name or dict key is replaced.

        Asked once per name, in the caller's thread; the answer is remembered. Raising counts as yes.
        """
        ...


@runtime_checkable
class Exporter(Protocol):
    """Delivers batches to one destination.

    An exporter may also have an attribute `destination`, a string that tells its destination from all others and holds
    no secret: a URL, a path. What was recorded for it then outlives the process, and is delivered by the next process
    whose exporter has the same name and destination. Without one its journal is in memory.
    """

    name: str
    """Short and stable, for people: `stats()`, log lines, the command line."""

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        """Deliver the batch, in order, and return when it has arrived.

        Kinds are event, session and update. Runs on one thread at a time, but not always the same one.
        `deadline` is a `time.monotonic()` value that no call may outlast. Delivery is at least once: a batch
        may come again after a failure, so writing the same id twice must be harmless.

        Raises:
            ExportError: the batch did not arrive; its attributes say what to do next. Any other exception is
                taken as an error that may pass.
        """
        ...

    def close(self) -> None:
        """Give up connections and files. Called once, last."""
        ...
