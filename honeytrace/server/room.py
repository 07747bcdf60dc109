"""The room for request bodies: nobody can make the server hold more than `_ROOM` bytes of them at once.

What counts are the bytes that have come, not those that were announced: announcing costs nothing.
"""

from __future__ import annotations

__all__ = ["Full", "Share"]

_ROOM = 96 * 1024 * 1024


class Full(Exception):
    """There is no room for more."""


class Share:
    """What one request takes of the room. Used on the event loop only."""

    _all_taken = 0

    def __init__(self) -> None:
        self._taken = 0

    def take(self, size: int) -> None:
        """Take so many bytes more.

        Raises:
            Full: there are not so many left.
        """
        if Share._all_taken + size > _ROOM:
            raise Full
        Share._all_taken += size
        self._taken += size

    def give_back(self) -> None:
        """Give all of it back; when the request has been answered."""
        Share._all_taken -= self._taken
        self._taken = 0
