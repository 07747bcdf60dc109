"""honeytrace with its default settings."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import honeytrace


class Contender:
    packages = ("honeytrace",)

    def __init__(self, url: str) -> None:
        honeytrace.init(api_key="hh_bench", server_url=url)

    def trace(self, function: Any) -> Any:
        return honeytrace.trace(event_type="tool")(function)

    def session(self) -> AbstractContextManager[object]:
        return honeytrace.session("bench")

    def flush(self, seconds: float) -> None:
        honeytrace.flush(seconds)

    def end(self) -> None:
        """The books must close, whatever was lost."""
        stats = honeytrace.stats()
        booked = stats.delivered + stats.pending + sum(stats.dropped.values()) + stats.set_aside
        assert stats.recorded == booked, stats
        honeytrace.shutdown()
