"""What honeytrace raises on purpose.

    HoneytraceError
    ├── ConfigError      a setting or an argument that cannot be right (also a ValueError)
    ├── TraceError       a decorator or a span used in a way that cannot work (also a TypeError)
    └── ExportError      a batch that did not arrive; carries what the flusher should do next

User code sees ConfigError and TraceError only, where it uses honeytrace wrongly: in `init()`, where a decorator is
applied, or in a call such as `enrich_span(no_such_field=1)`. What goes wrong around a traced call stays inside.
"""

from __future__ import annotations

__all__ = ["ConfigError", "ExportError", "HoneytraceError", "TraceError"]


class HoneytraceError(Exception):
    """The root of everything honeytrace raises on purpose."""


class ConfigError(HoneytraceError, ValueError):
    """A setting or argument is wrong; the message names what was given and what was expected."""


class TraceError(HoneytraceError, TypeError):
    """A decorator or span was applied to something it cannot trace."""


class ExportError(HoneytraceError):
    """Raised by an exporter: the batch did not arrive.

    `retry_after` is in seconds; None leaves the pace to the flusher's backoff. `permanent` says that trying
    the same batch again cannot help. `partly` says that some of it arrived, and that the exporter remembers which:
    the same batch should be given to it again at once. `lasting` says that somebody must do something about it, such
    as a key that is refused: it is said even where another failure has been said before.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        permanent: bool = False,
        partly: bool = False,
        lasting: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent
        self.partly = partly
        self.lasting = lasting
