"""HoneyHive's own SDK with its default settings: spans in batches, as JSON; the queue's size is the environment's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from honeyhive import HoneyHiveTracer, trace


class Contender:
    packages = ("honeyhive",)

    def __init__(self, url: str) -> None:
        self.tracer = HoneyHiveTracer.init(api_key="hh_bench", server_url=url, session_name="bench", source="bench")

    def trace(self, function: Any) -> Any:
        return trace(event_type="tool", tracer=self.tracer)(function)

    def session(self) -> AbstractContextManager[object]:
        """Its session is the tracer's."""
        return nullcontext()

    def flush(self, seconds: float) -> None:
        self.tracer.flush(seconds * 1000)

    def end(self) -> None:
        self.tracer.shutdown()
