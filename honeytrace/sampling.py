"""Which sessions are kept. The decision is made once per session, so a trace is whole or absent."""

from __future__ import annotations

__all__ = ["RateSampler"]


class RateSampler:
    """Keep a share of all sessions, chosen by the session id.

    The same id gives the same answer in every process and service, so a distributed trace is whole or absent too.
    """

    def __init__(self, rate: float) -> None:
        self._below = round(rate * 2**32)

    def __repr__(self) -> str:
        return f"RateSampler({self._below / 2**32:g})"

    def keep(self, session_id: str) -> bool:
        """Say whether the session is recorded."""
        return int(session_id[:8], 16) < self._below
