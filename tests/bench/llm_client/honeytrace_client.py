"""Honeytrace with its default settings, in front of an exporter that does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import honeytrace


class NoExport:
    name = "nowhere"
    events = 0

    def export(self, batch: Sequence[honeytrace.Event], deadline: float) -> None:
        self.events += sum(event.kind == "event" for event in batch)

    def close(self) -> None:
        pass


class Contender:
    packages = ("honeytrace", "openai")

    def __init__(self) -> None:
        self.exporter = NoExport()
        honeytrace.init(exporters=[self.exporter])

    def wrap(self, client: Any) -> Any:
        return client

    def on(self) -> None:
        honeytrace.instrument("openai")

    def off(self) -> None:
        honeytrace.uninstrument("openai")

    def session(self) -> AbstractContextManager[object]:
        return honeytrace.session("bench")

    def recorded(self) -> int:
        """Deliver everything; say how many calls have arrived so far."""
        flushed, stats = honeytrace.flush(30), honeytrace.stats()
        assert flushed and not stats.pending and not stats.dropped and not stats.set_aside, stats
        return self.exporter.events
