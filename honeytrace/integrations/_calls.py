"""One call of a client while it runs; when it has ended it is a model event.

Invariant: a call is recorded once. Where the span that is current is a decorated function, a model event that has not
been told of a call yet, the call is told to that one; otherwise it gets an event of its own, and a framework around it
that reports the same call counts nothing (see _nesting).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from time import perf_counter_ns

import orjson

from honeytrace._bookkeeping import finish_with, leave
from honeytrace._context import settle
from honeytrace._diagnostics import failed
from honeytrace._doors import begin
from honeytrace._lifecycle import default_tracer
from honeytrace._span import Call, Extra, Plan, Recorder, add, live, submit_update
from honeytrace._traceback import describe_error, format_traceback
from honeytrace.integrations._messages import get
from honeytrace.integrations._nesting import Layer, enclosing
from honeytrace.integrations._operation import Operation, read, read_one
from honeytrace.integrations._pricing import Cost, price

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Library", "ModelCall", "encoded", "plan_for", "start"]

_REDACTED = "[redacted]"
_SHORT, _EXACT = 250, 2**53
_KEY = 8
"""A key shorter than this is a stand-in, and its letters may be anywhere."""


class Library:
    """A client library: the name of its package and what instrument() was told about it."""

    __slots__ = ("cost", "package")

    def __init__(self, package: str) -> None:
        self.package = package
        self.cost: Cost | None = None


class ModelCall:
    """One call that is being recorded. `facts` collects metadata on the way, `hints` what the answer may say better."""

    __slots__ = ("_call", "_id", "_key", "_layer", "_recorder", "done", "facts", "hints", "library", "model",
                 "operation", "provider", "started")  # fmt: skip

    def __init__(
        self, library: Library, operation: Operation, recorder: Recorder, provider: str, model: str | None, key: object
    ) -> None:
        self.library = library
        self.operation = operation
        self.provider = provider
        self.model = model
        self.facts: dict[str, Any] = {}
        self.hints: dict[str, Any] = {}
        self.done = False
        self.started = perf_counter_ns()
        self._recorder = recorder
        self._key = key if isinstance(key, str) and len(key) >= _KEY else None
        self._call: Call | None = None
        self._id: bytes | None = None
        self._layer = Layer(enclosing(), operation.event_type == "model")

    def open(self, event_name: str, request: Mapping[str, Any]) -> None:
        """Begin the event, or find the one to tell."""
        self._open(event_name, request)
        self._layer.id, self._layer.model = self._id, self.model
        if self._id is not None:
            self._layer.tell_those_around()

    def _open(self, event_name: str, request: Mapping[str, Any]) -> None:
        recorder, operation, package = self._recorder, self.operation, self.library.package
        config: dict[str, Any] = {"model": self.model, "provider": self.provider}
        secret = recorder.snapshotter.is_secret
        for name, value in request.items():
            if name not in operation.content:
                config.setdefault(name, _REDACTED if secret(name) else value)
        current = settle(recorder.variable)
        around = None if current is None else live.get(current[1])
        is_model = operation.event_type == "model"
        if is_model and current is not None and around is not None and self._is_untold(current[1], around):
            self._id = current[1]
            add(recorder, current[1], {"config": {name: value for name, value in config.items() if value is not None}})
            return
        inputs = read(operation.inputs, request, package)
        plan = plan_for(event_name, operation.event_type)
        if plan.prepared_for is not recorder:
            plan.prepare(recorder)
        call = self._call = begin(plan, recorder, recorder.fields(inputs))
        if call is not None:
            self.started = call.start
            if call.id is not None:
                self._id = call.id
                extra = live[call.id] = Extra(plan)
                extra.fields["config"] = encoded(recorder, config)

    @property
    def is_recorded(self) -> bool:
        """Whether there is an event at the end of it."""
        return self._id is not None

    def leave(self) -> None:
        """The call has returned: what comes next is no part of it, even if its stream goes on."""
        if self._call is not None:
            leave(self._call)

    def discard(self) -> None:
        """There was no call after all: no event."""
        self.done = True
        self._layer.end((), failed=True)
        if self._call is not None and self._call.id is not None:
            live.pop(self._call.id, None)

    def finish(self, answer: Any, error: BaseException | None = None, **facts: Any) -> None:
        """End the event with an answer (None: there is none), an error, and further metadata. Only once."""
        if self.done:
            return
        self.done = True
        if self._id is None:
            return
        operation, package = self.operation, self.library.package
        outputs: dict[str, Any] = {}
        metadata: dict[str, Any] = {**self.hints, **self._layer.offered}
        usage: Mapping[str, Any] = {}
        problem = None
        if answer is not None:
            outputs = read(operation.outputs, answer, package)
            usage = read_one("usage", operation.usage, answer, package) or usage
            metadata.update(read(operation.metadata, answer, package))
            metadata.update(usage)
            problem = read_one("error", operation.error, answer, package)
        metadata.update(self.facts)
        metadata.update(facts)
        if error is not None and "status_code" not in metadata:
            metadata["status_code"] = read_one("the status of an error", _status_of, error, package)
        if "first_ns" in metadata:
            if error is None:
                metadata.update(_pace(metadata, usage))
            del metadata["first_ns"], metadata["last_ns"]
        try:
            self._end(outputs, metadata, error, problem)
        except Exception as trouble:
            failed("finishing a model call", trouble)
        priced = bool(usage) and "cost" not in metadata and self.library.cost is not None
        self._layer.end((*usage, "cost") if priced else usage, failed=error is not None)
        if error is not None and not isinstance(error, (Exception, GeneratorExit)):
            self._layer.interrupt_those_around(error)
        if priced and self.library.cost is not None:
            models = self.model, metadata.get("response_model")
            price(self.library.cost, self.provider, models, dict(usage), self._recorder, self._id)

    def _is_untold(self, id: bytes, state: Plan | Extra) -> bool:
        """Say whether this running span is a model event that nothing is known of: the step of a framework is none."""
        layer = self._layer.around
        while layer is not None and layer.id != id:
            layer = layer.around
        return layer is None and _is_untold_model(state)

    def _end(
        self, outputs: dict[str, Any], metadata: dict[str, Any], error: BaseException | None, problem: str | None
    ) -> None:
        recorder, call, id = self._recorder, self._call, self._id
        assert id is not None
        if call is None:  # told to the event around it, which says itself how it ended
            fields = {"metadata": {name: value for name, value in metadata.items() if value is not None}}
            if outputs:
                fields["outputs"] = outputs
            if not add(recorder, id, fields):
                submit_update(recorder, id, fields)
            return
        if error is not None and self._key is not None:
            text, traceback = describe_error(error), format_traceback(error)
            if self._key in text or self._key in traceback:  # a server that repeats the key in its answer
                problem, error = text.replace(self._key, _REDACTED), None
                metadata["traceback"] = traceback.replace(self._key, _REDACTED)
        if error is None and problem is not None:
            add(recorder, id, {"error": problem})
        given = encoded(recorder, outputs) if outputs else None
        finish_with(call, given, error=error, metadata=encoded(recorder, metadata), left=True)


def start(
    library: Library,
    operation: Operation,
    request: Mapping[str, Any],
    *,
    event_name: str,
    provider: Callable[[], str],
    key: object = None,
) -> ModelCall | None:
    """Start recording a call; None if it is not to be recorded. `key` must not be in anything that is recorded."""
    recorder = default_tracer.recorder
    if recorder is None:
        return None
    current = settle(recorder.variable)
    if current is not None and not current[2]:
        return None
    try:
        model = request.get("model")
        named = read_one("provider", lambda _: provider(), None, library.package) or library.package
        call = ModelCall(library, operation, recorder, named, None if model is None else str(model), key)
        call.open(event_name, request)
        return call
    except Exception as error:
        failed("starting a model call", error)
        return None


def _is_untold_model(state: Plan | Extra) -> bool:
    """Say whether this running span is a model event that no call has been told to."""
    plan = state.plan if isinstance(state, Extra) else state
    if plan.event_type != "model":
        return False
    return not (isinstance(state, Extra) and "provider" in state.fields.get("config", ()))


@lru_cache(maxsize=512)
def plan_for(event_name: str, event_type: str) -> Plan:
    """Give the plan of events of this name; the same as long as it is in use."""
    return Plan(event_name, event_type, {})


def _status_of(error: BaseException) -> int | None:
    """The status of the HTTP answer behind an error, under the names that clients have for it."""
    answer = getattr(error, "response", None)
    named = get(answer, "ResponseMetadata", "HTTPStatusCode") if isinstance(answer, dict) else None
    for status in (getattr(error, "status_code", None), getattr(error, "code", None), named):
        if isinstance(status, int) and 100 <= status < 600:
            return int(status)
    return None


def encoded(recorder: Recorder, values: Mapping[str, Any]) -> dict[str, Any]:
    """Snapshot value by value; what comes back goes into the event as it is."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        kind = type(value)
        # There is nothing to think about most values: they are short words and counts.
        if (
            (len(value) < _SHORT and value.isascii())
            if kind is str
            else (-_EXACT < value < _EXACT if kind is int else kind is float or kind is bool)
        ):
            made[name] = value
        elif value is not None:
            made[name] = orjson.Fragment(recorder.snapshot(value))
    return made


def _pace(timing: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, float]:
    """How fast a stream came after its first token."""
    tokens, nanoseconds = usage.get("completion_tokens"), timing["last_ns"] - timing["first_ns"]
    if not isinstance(tokens, (int, float)) or nanoseconds <= 0:
        return {}
    return {"tokens_per_second": round(tokens / (nanoseconds / 1e9), 3)}
