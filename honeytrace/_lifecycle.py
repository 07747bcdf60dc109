"""init, flush, shutdown, fork, exit: the one place where recording and delivery meet.

Recording hands finished events to a callable; here it is wired to one journal and one flusher per exporter, so that an
exporter that is down holds nobody else back.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterable, Mapping
from time import monotonic

from honeytrace import _ids
from honeytrace._bookkeeping import finish_late, late
from honeytrace._context import disown
from honeytrace._decorator import decorate
from honeytrace._diagnostics import guard, warn_once
from honeytrace._event import Kind, resolve_event_type
from honeytrace._span import Recorder, live
from honeytrace._tracer import RecordingTracer
from honeytrace.exceptions import TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence
    from functools import cached_property, partialmethod
    from typing import Any, Protocol, TypeVar, overload

    from honeytrace._flusher import FlushResult
    from honeytrace._pipelines import Pipelines, Stats
    from honeytrace.propagation import Attachment
    from honeytrace.protocols import Exporter, Redactor, Sampler

    F = TypeVar("F")
    C = TypeVar("C", bound=Callable[..., Any])
    D = TypeVar("D", bound="property | classmethod[Any, Any, Any] | cached_property[Any] | partialmethod[Any]")

    class Decorator(Protocol):
        """What `trace(...)` returns: gives back what it is given, type and all."""

        def __call__(self, target: F, /) -> F:
            """Apply it."""
            ...


__all__ = ["Tracer", "default_tracer"]

EXIT_SECONDS = 2.5
"""How long the end of the process may take, whatever the destination does."""

_running_tracers: set[Tracer] = set()
"""Tracers between init() and shutdown(): held, so that what they recorded is delivered if nobody else holds them."""

_ended_tracers: set[Tracer] = set()
"""Tracers after shutdown(): what was open then may still come, and must not come from a forked child."""


class Tracer(RecordingTracer):
    """One place where events go, and one tree of what is current. Does nothing until `init()`."""

    def __init__(self) -> None:
        super().__init__()
        self._running: Pipelines | None = None
        self._ended: Pipelines | None = None
        """What ran until shutdown(): takes what was open then."""
        self.held = False
        """Whether a capture holds the tracer: init() and shutdown() then change nothing. See honeytrace.testing."""

    def __repr__(self) -> str:
        if self.recorder is None:
            return "<Tracer, off>"
        return f"<Tracer, to {'a capture' if self.held else self._running}>"

    def __reduce__(self) -> Any:
        if self is not default_tracer:
            raise TypeError("a Tracer cannot be pickled; make one in the other process")
        return "default_tracer"

    def init(
        self,
        api_key: str | None = None,
        *,
        server_url: str | None = None,
        source: str | None = None,
        session_name: str | None = None,
        exporters: Sequence[Exporter | str] | None = None,
        sample_rate: float | None = None,
        sampler: Sampler | None = None,
        redact: bool | Iterable[str] | Redactor = True,
        max_event_bytes: int | None = None,
        journal: bool | str | os.PathLike[str] | None = None,
        journal_bytes: int | None = None,
        enabled: bool | None = None,
    ) -> Tracer:
        """Start recording. Does no network I/O; may be called again to change settings.

        A later call takes over what waits for the same destination; what waits for another one is given 2.5 s.
        With a key events go to HoneyHive, or to the server at `server_url`; without one to the local store under
        ~/.honeytrace (HONEYTRACE_HOME). `exporters` chooses instead: objects of `honeytrace.protocols.Exporter` or the
        names "honeyhive", "local" and "console". `redact` is True (secrets are replaced), False, further names, or a
        Redactor. `journal` is the folder that keeps events until they are delivered (default: under HONEYTRACE_HOME),
        or False: in memory, lost when the process is killed. `journal_bytes` bounds it; default 256 MiB for each
        exporter. Environment: HH_API_KEY, HH_API_URL, HH_SOURCE, HH_SESSION_NAME, HH_DISABLE_TRACING.

        Raises:
            ConfigError: a setting that cannot be right; the message names it.
        """
        # Delivery and the snapshot are loaded here: decorated functions in a program that never traces should cost that
        # program next to nothing.
        from honeytrace import _config
        from honeytrace._pipelines import Pipelines, open_exporters
        from honeytrace._snapshot import Limits, Snapshotter
        from honeytrace.exceptions import ConfigError
        from honeytrace.protocols import Sampler
        from honeytrace.redaction import redactor_from
        from honeytrace.sampling import RateSampler

        settings = _config.load(
            api_key=api_key,
            server_url=server_url,
            source=source,
            session_name=session_name,
            sample_rate=sample_rate,
            max_event_bytes=max_event_bytes,
            journal=journal,
            journal_bytes=journal_bytes,
            enabled=enabled,
        )
        if sampler is not None and not isinstance(sampler, Sampler):
            raise ConfigError(f"sampler must be an object with a keep(session_id) method, not {sampler!r}")
        if sampler is None and settings.sample_rate < 1:
            sampler = RateSampler(settings.sample_rate)
        limits = Limits(max_bytes=settings.max_event_bytes // 2)
        snapshotter = Snapshotter(redactor_from(redact), limits)
        chosen = open_exporters(exporters, settings)
        if self.held:
            return self
        if server_url is not None and settings.api_key is None and exporters is None:
            warn_once("no key", "a server_url without an api_key: events go to the local store, not to the server")
        elif api_key == "" and settings.api_key is None and exporters is None:
            warn_once("empty key", "api_key is empty: events go to the local store, not to HoneyHive")
        old_recorder, old = self.recorder, self._running
        if settings.enabled:
            self._running = Pipelines(chosen, settings)
            self.recorder = Recorder(
                variable=self.variable,
                snapshotter=snapshotter,
                submit=self._running.submitter(),
                source=settings.source,
                session_name=settings.session_name,
                sampler=sampler,
            )
            _running_tracers.add(self)
            _ended_tracers.discard(self)
            self._ended = None
            _flush_at_the_end_of_a_worker()
        else:
            self.recorder = self._running = None
            _running_tracers.discard(self)
        # Only then the old ones: nothing that is traced meanwhile falls between.
        if old_recorder is not None:
            old_recorder.submit = self._forward
        if old is not None:
            old.give_way(self._running, EXIT_SECONDS)
        return self

    if TYPE_CHECKING:

        @overload
        def trace(
            self,
            target: str,
            /,
            *,
            event_name: str | None = ...,
            config: Mapping[str, object] | None = ...,
            metadata: Mapping[str, object] | None = ...,
            exclude: Sequence[str] = ...,
            capture_inputs: bool | Sequence[str] = ...,
            capture_outputs: bool | Sequence[str] = ...,
            process_inputs: Callable[[dict[str, Any]], object] | None = ...,
            process_outputs: Callable[[Any], object] | None = ...,
            reduce: Callable[[list[Any]], object] | None = ...,
            expected: type[BaseException] | tuple[type[BaseException], ...] = ...,
        ) -> Decorator: ...

        @overload
        def trace(
            self,
            *,
            event_type: str = ...,
            event_name: str | None = ...,
            config: Mapping[str, object] | None = ...,
            metadata: Mapping[str, object] | None = ...,
            exclude: Sequence[str] = ...,
            capture_inputs: bool | Sequence[str] = ...,
            capture_outputs: bool | Sequence[str] = ...,
            process_inputs: Callable[[dict[str, Any]], object] | None = ...,
            process_outputs: Callable[[Any], object] | None = ...,
            reduce: Callable[[list[Any]], object] | None = ...,
            expected: type[BaseException] | tuple[type[BaseException], ...] = ...,
        ) -> Decorator: ...

        @overload
        def trace(self, target: C, /, **options: Any) -> C: ...

        @overload
        def trace(self, target: D, /, **options: Any) -> D: ...

        def trace(self, target: Any = None, /, **options: Any) -> Any: ...  # type: ignore[misc]  # named above

    else:

        def trace(self, target: Any = None, /, **options: Any) -> Any:
            """Record every call of a function, method, property, class or any other callable.

            Bare, with the event type first, or with keywords:

                @trace
                @trace("model")
                @trace(event_type="tool", event_name="search", exclude=("token",))

            `event_type`: chain, model, tool, session, or an alias (llm, agent, workflow, retriever, embedding,
            function). `event_name`: instead of the function's own. `config`, `metadata`: the same for every call.
            `exclude`: parameters left out. `capture_inputs`, `capture_outputs`: True, False, or the names to keep.
            `process_inputs(inputs)`, `process_outputs(result)`: return what is recorded instead; if one raises, its
            failure is recorded, not the data. `reduce(chunks)`: joins what a generator yielded. `expected`: exception
            types that are no failure.

            Raises:
                TraceError: the target cannot be called, or an option cannot be right.
            """
            if isinstance(target, str):
                if "event_type" in options:
                    raise TraceError("the event type was given twice")
                options["event_type"], target = target, None
            _check_options(options)
            if target is None:
                return lambda function: decorate(function, self, options)
            return decorate(target, self, options)

    def decorate(self, function: Any, **options: Any) -> Any:
        """Apply `trace` with these options."""
        return decorate(function, self, options)

    def flush(self, timeout: float | None = 30.0) -> FlushResult:
        """Wait until what was recorded so far is delivered, for at most `timeout` seconds; None sets no limit.

        Raises:
            ConfigError: the timeout is not a number of seconds.
        """
        finish_late()
        return self._pipelines().flush(timeout)

    async def aflush(self, timeout: float | None = 30.0) -> FlushResult:
        """Flush without holding up the event loop.

        Raises:
            ConfigError: the timeout is not a number of seconds.
        """
        from honeytrace._pipelines import in_a_thread  # with asyncio, which costs as much as the rest of honeytrace

        return await in_a_thread(lambda: self.flush(timeout))

    def shutdown(self, timeout: float = EXIT_SECONDS) -> FlushResult:
        """Flush and stop recording. Calling it again is harmless; `init()` starts anew.

        Raises:
            ConfigError: the timeout is not a number of seconds.
        """
        return self._stop(timeout)

    def _stop(self, timeout: float) -> FlushResult:
        """Stop recording, then deliver what there is."""
        if self.held:
            return self._pipelines().flush(timeout)
        finish_late()
        if self.recorder is not None:
            self.recorder.submit = self._forward
        self.recorder = None
        pipelines = self._pipelines()
        if self._running is not None:
            self._ended, self._running = pipelines, None
        _running_tracers.discard(self)
        _ended_tracers.add(self)
        return pipelines.stop(timeout)

    def stats(self) -> Stats:
        """The books of all exporters since `init()`; what `shutdown()` returns has those of its end."""
        return self._pipelines().stats()

    def _forward(self, kind: Kind, id: bytes, body: bytes, time_ns: int, took_ns: int = -1, /) -> None:
        """Stand in for delivery of a recorder that has been replaced: what is open finishes where events go now.

        After shutdown() they go into the journal of before, for the next process.
        """
        recorder = self.recorder
        if recorder is not None:
            recorder.submit(kind, id, body, time_ns, took_ns)
        elif self._ended is not None:
            self._ended.submit_late(kind, id, body, time_ns, took_ns)

    def _pipelines(self) -> Pipelines:
        """What is running; nothing at all before init() and after shutdown()."""
        if self._running is not None:
            return self._running
        from honeytrace._config import Settings
        from honeytrace._pipelines import Pipelines

        return Pipelines((), Settings())

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Write what is current into outgoing headers (traceparent and baggage); nothing current writes nothing."""
        from honeytrace.propagation import inject

        with guard("injecting headers"):
            inject(self, headers)

    def attach(self, headers: Mapping[str, str]) -> Attachment:
        """Continue another service's trace: `with attach(request.headers):`. Unusable headers change nothing."""
        from honeytrace.propagation import Attachment

        return Attachment(self, headers)

    def _at_exit(self, deadline: float) -> None:
        if self._running is not None:
            finish_late()
            self._running.end_of_process(max(0.0, deadline - monotonic()))

    def _after_fork(self) -> None:
        for pipelines in (self._running, self._ended):
            if pipelines is not None:
                pipelines.reset_after_fork()


def _check_options(options: dict[str, Any]) -> None:
    """Validate what trace() was given, in place, as early as it can be known."""
    known = {
        "event_type", "event_name", "config", "metadata", "exclude", "capture_inputs", "capture_outputs",
        "process_inputs", "process_outputs", "reduce", "expected",
    }  # fmt: skip
    for name in options:
        if name not in known:
            raise TraceError(f"trace() has no option {name!r}: expected {', '.join(sorted(known))}")
    if "event_type" in options:
        try:
            options["event_type"] = resolve_event_type(options["event_type"])
        except (ValueError, TypeError) as error:
            raise TraceError(str(error)) from None
    for name in ("process_inputs", "process_outputs", "reduce"):
        if options.get(name) is not None and not callable(options[name]):
            raise TraceError(f"{name} must be callable, not {type(options[name]).__name__}")
    for name in ("config", "metadata"):
        if options.get(name) is not None and not isinstance(options[name], Mapping):
            raise TraceError(f"{name} must be a mapping, not {type(options[name]).__name__}")
    for name in ("exclude", "capture_inputs", "capture_outputs"):
        if name in options:
            options[name] = _names(name, options[name])
    event_name = options.get("event_name")
    if event_name is not None and not isinstance(event_name, str):
        raise TraceError(f"event_name must be a string, not {type(event_name).__name__}")
    expected = options.get("expected", ())
    expected = tuple(expected) if isinstance(expected, (tuple, list)) else (expected,)
    if not all(isinstance(one, type) and issubclass(one, BaseException) for one in expected):
        raise TraceError(f"expected must be exception types, not {expected!r}")
    if "expected" in options:
        options["expected"] = expected


def _names(option: str, given: object) -> bool | tuple[str, ...]:
    """A choice of names as a tuple; a bool where the option takes one."""
    if isinstance(given, bool) and option != "exclude":
        return given
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(name, str) for name in names):
        wanted = "names" if option == "exclude" else "True, False or names"
        raise TraceError(f"{option} must be {wanted}, not {given!r} ({type(given).__name__})")
    return names


def _exit() -> None:
    deadline = monotonic() + EXIT_SECONDS
    for tracer in list(_running_tracers):
        with guard("flushing at exit"):
            tracer._at_exit(deadline)


def _fork() -> None:
    _ids.forget()
    live.clear()
    disown()
    late.clear()
    for tracer in {*_running_tracers, *_ended_tracers}:
        tracer._after_fork()
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _running_tracers:
        with guard("preparing a child process"):
            util.register_after_fork(default_tracer, lambda _: util.Finalize(None, _exit, exitpriority=0))


def _flush_at_the_end_of_a_worker() -> None:
    """Flush when a child of multiprocessing ends: by os._exit, with no exit handlers but multiprocessing's own."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        with guard("preparing a child process"):
            util.Finalize(None, _exit, exitpriority=0)


default_tracer = Tracer()
"""The tracer behind the functions of the package."""

# Registered when the package is imported, so early: handlers registered later run before this one.
atexit.register(_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fork)
