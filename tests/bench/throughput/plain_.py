"""The same program without tracing: what its CPU is, is taken off everybody's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


class Contender:
    """What measure.py asks of each: to trace a function, to open a session, to flush, to end."""

    packages = ()

    def __init__(self, url: str) -> None:
        """Set the library up as its users do, to send to `url`."""

    def trace(self, function: Any) -> Any:
        """The function, traced as its users trace it."""
        return function

    def session(self) -> AbstractContextManager[object]:
        """What the calls belong to, where the library has such a thing."""
        return nullcontext()

    def flush(self, seconds: float) -> None:
        """Wait until all is delivered, as its users do."""

    def end(self) -> None:
        """End as a program of its users does, and say aloud if something is wrong."""
