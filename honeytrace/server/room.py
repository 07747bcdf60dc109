"""The room for request bodies: nobody can make the server hold more than `_ROOM` bytes of large ones at once.

What counts are the bytes that have come, not those that were announced: announcing costs nothing. For small bodies
there is always room: the number of connections bounds them.
"""

from __future__ import annotations

__all__ = ["Share"]

_ROOM = 96 * 1024 * 1024
_SMALL = 64 * 1024


class Share:
    """What one request takes of the room. Used on the event loop only."""

    _all_taken = 0

    def __init__(self) -> None:
        self._taken = 0

    def take(self, size: int) -> bool:
        """Take so many bytes more; False: there are not so many left, and none are taken."""
        if self._taken + size > _SMALL and Share._all_taken + size > _ROOM:
            return False
        Share._all_taken += size
        self._taken += size
        return True

    def give_back(self) -> None:
        """Give all of it back: the request has been answered, or its body is not kept."""
        Share._all_taken -= self._taken
        self._taken = 0
