"""Tracing for programs that call language models: correct, cheap, and nothing is lost.

    import honeytrace

    honeytrace.init()

    @honeytrace.trace(event_type="tool")
    def search(query: str) -> list[str]: ...

Every finished call becomes one event and is delivered in the background. The map of the package:

    recording, in the caller's thread     _decorator → _doors → _span → _snapshot → _event
      the path of one call, as text       _door_source; off that path: _bookkeeping, _stream, _plan
      opened by hand                      _tracer, _blocks; what is current: _context, propagation
    delivery, in the background           exporters ← _delivery, _flusher ← _journal ← _pipelines
      what the journal consists of        _segment (a file), _records (the form of one record), _folders, _books
    wired together by                     _lifecycle
    client libraries                      integrations
    for people                            cli, _tree, exporters.console, exporters.local
    to extend                             protocols; to test with: testing; what is raised: exceptions
"""

from honeytrace._event import Event
from honeytrace._lifecycle import Tracer, default_tracer
from honeytrace._span import Span
from honeytrace.exceptions import ConfigError, ExportError, HoneytraceError, TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from honeytrace._flusher import FlushResult
    from honeytrace._pipelines import Stats
    from honeytrace.integrations import instrument, uninstrument, wrap
    from honeytrace.propagation import ThreadPoolExecutor, propagate
    from honeytrace.redaction import Hash, Omit, Redact, Truncate

__version__ = "0.1.0"

init = default_tracer.init
trace = default_tracer.trace
span = default_tracer.span
session = default_tracer.session
enrich_span = default_tracer.enrich_span
enrich_session = default_tracer.enrich_session
current_span = default_tracer.current_span
current_session = default_tracer.current_session
update_event = default_tracer.update_event
log_event = default_tracer.log_event
suppress = default_tracer.suppress
inject = default_tracer.inject
attach = default_tracer.attach
flush = default_tracer.flush
aflush = default_tracer.aflush
shutdown = default_tracer.shutdown
stats = default_tracer.stats

_ELSEWHERE = {
    "FlushResult": "honeytrace._flusher",
    "Hash": "honeytrace.redaction",
    "Omit": "honeytrace.redaction",
    "Redact": "honeytrace.redaction",
    "Stats": "honeytrace._pipelines",
    "ThreadPoolExecutor": "honeytrace.propagation",
    "Truncate": "honeytrace.redaction",
    "instrument": "honeytrace.integrations",
    "propagate": "honeytrace.propagation",
    "uninstrument": "honeytrace.integrations",
    "wrap": "honeytrace.integrations",
}
"""Names that are loaded when they are first used: importing and decorating is all that many programs do."""


def __getattr__(name: str) -> object:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ELSEWHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ELSEWHERE})


__all__ = [
    "ConfigError",
    "Event",
    "ExportError",
    "FlushResult",
    "Hash",
    "HoneytraceError",
    "Omit",
    "Redact",
    "Span",
    "Stats",
    "ThreadPoolExecutor",
    "TraceError",
    "Tracer",
    "Truncate",
    "aflush",
    "attach",
    "current_session",
    "current_span",
    "enrich_session",
    "enrich_span",
    "flush",
    "init",
    "inject",
    "instrument",
    "log_event",
    "propagate",
    "session",
    "shutdown",
    "span",
    "stats",
    "suppress",
    "trace",
    "uninstrument",
    "update_event",
    "wrap",
]
