"""A server for the wire contract over the local store, and a page to look at traces. Needs the extra `server`.

What comes in passes guarding (who asks), routes and legacy (what is asked), bodies and contract (is it well formed),
intake (ids and defaults) and writing (one transaction for many requests). What goes out comes from index (kept up to
date by live, filled by digesting) through searching (the contract's search) and reading and overview (the page).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from honeytrace.server.app import make_app
    from honeytrace.server.serving import serve

__all__ = ["make_app", "serve"]


def __getattr__(name: str) -> object:
    """Import on first use, so that what the page and the tests need of this package does not need the extra."""
    if name == "make_app":
        from honeytrace.server.app import make_app

        return make_app
    if name == "serve":
        from honeytrace.server.serving import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
