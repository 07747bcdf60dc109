"""Frameworks that report what they do by callbacks: chains, agents, tools, retrievers, models.

The start and the end of a step are two calls, which may come in any order, in other contexts, tasks and threads.
Between them the step is current, so that decorated functions, blocks, the calls of clients and the steps of other
frameworks become its children.

Invariant: a step ends once; the first end wins. A model's step that encloses the recorded call of a client, or
another model's step, is a chain without tokens and cost: the innermost counts.
"""

from __future__ import annotations

import atexit
from collections.abc import Hashable, Mapping
from functools import lru_cache
from time import perf_counter_ns

from honeytrace._bookkeeping import finish_with, leave_by_hand
from honeytrace._context import Current, before, settle
from honeytrace._diagnostics import guard
from honeytrace._doors import begin
from honeytrace._lifecycle import default_tracer
from honeytrace._span import Call, Extra, Plan, Recorder, add, live, pieces
from honeytrace.integrations._nesting import Layer, enclosing, enter, hand_down, leave
from honeytrace.integrations._pricing import Cost, price

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard

__all__ = ["Framework", "Step", "start_step"]

_OPEN = 10_000
"""So many steps are open at most; a framework that never says how its steps end must not fill the memory."""

_frameworks: list[Framework] = []


class Framework:
    """A framework: its package, what instrument() was told about it, and those of its steps that are open.

    `tells_roots` says that a step without a parent, by the framework's account, is indeed nobody's child. It matters
    only where a step may still be current though the program has the word: between two pieces of a stream.
    """

    __slots__ = ("active", "cost", "package", "steps", "tells_roots")

    def __init__(self, package: str, *, tells_roots: bool = False) -> None:
        self.package = package
        self.tells_roots = tells_roots
        self.cost: Cost | None = None
        self.active = False
        self.steps: dict[Hashable, Step] = {}
        _frameworks.append(self)

    def pass_over(self, key: Hashable, parent: Hashable | None) -> None:
        """Leave a step out: its children are those of its parent."""
        outer = self.steps.get(parent)
        if outer is not None:
            self.steps[key] = outer

    def open_step(self, key: Hashable) -> Step | None:
        """Give the step of this key; None if there is none, or it was passed over."""
        step = self.steps.get(key)
        return step if step is not None and step.key == key else None

    def ending_step(self, key: Hashable) -> Step | None:
        """Give the step of this key for the last time."""
        step = self.steps.pop(key, None)
        return step if step is not None and step.key == key else None


class Step(Layer):
    """One step while it runs."""

    __slots__ = (
        "_before",
        "_call",
        "_has_answered",
        "_recorder",
        "config",
        "current",
        "first",
        "framework",
        "handled",
        "is_aside",
        "key",
        "outer",
        "place",
        "told",
        "yields",
    )

    def __init__(
        self, framework: Framework, key: Hashable, recorder: Recorder, call: Call, around: Layer | None, yields: bool
    ) -> None:
        super().__init__(around, call.plan.event_type == "model")
        self.framework = framework
        self.key = key
        self._recorder = recorder
        self._call = call
        self._before = enclosing()
        self.id = call.id
        self.config: dict[str, Any] = {}
        self.current = recorder.get()
        """What makes it current."""
        self.place: Current | None = None
        """What it is the child of."""
        self.outer: Step | None = None
        """The step of its framework that it belongs to."""
        self.first: int | None = None
        """When the first piece of an answer came."""
        self.told: dict[str, Any] = {}
        """What a framework's file wants to remember until the end."""
        self.handled: BaseException | None = None
        """An exception that was being handled when it started, and so is none of its own."""
        self._has_answered = self.is_aside = False
        self.yields = yields

    @property
    def name(self) -> str:
        """The name its event has."""
        return self._call.plan.event_name

    def add(self, **fields: Mapping[str, object] | str | None) -> None:
        """Add to the event while it is open: config, metadata, outputs, error."""
        if self.id is not None:
            with guard("adding to a step"):
                add(self._recorder, self.id, {name: values for name, values in fields.items() if values})

    def piece(self, generated: bool) -> None:
        """Note that a piece of an answer has come: from here on the program may have the word in between."""
        if generated and self.first is None:
            self.first = perf_counter_ns()
        if not self._has_answered:
            self._has_answered = True
            with guard("leaving a step"):
                if self._recorder.get() is self.current:
                    self._recorder.set(before(self._call.token))
                    leave(self, self._before)

    def step_aside(self) -> None:
        """Be current no longer, and only wait for a call of the same model, which comes next if one is recorded.

        For a framework that has no end to report in the context where it started. Such a step is no event where a
        call has been recorded: that one is all there is to say.
        """
        self._has_answered = self.is_aside = True
        self._recorder.set(before(self._call.token))

    def hears(self, inner: Layer) -> bool:
        if self.is_aside and (self.heard or inner.model is None or inner.model != self.model):
            return False
        return super().hears(inner)

    def interrupt(self, error: BaseException) -> None:
        """End with an error that comes from inside, and all that is still open inside: frameworks forget to say so."""
        for step in list(self.framework.steps.values()):
            if step.outer is self and not step.over:
                step.interrupt(error)
        self.finish(error=error)

    def finish(
        self,
        outputs: Mapping[str, object] | None = None,
        error: BaseException | str | None = None,
        *,
        inputs: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        counted: Mapping[str, Any] | None = None,
        ended: float | None = None,
    ) -> None:
        """End the step. `counted` are tokens and cost, under the contract's names. Only once.

        `inputs` take the place of those given at the start, where the framework learns them late. `ended` is when it
        did, in seconds since the epoch, where that is heard of later.
        """
        if self.over:
            return
        self.over = True
        if _is_cancellation(error):
            self.interrupt(error)
        self.failed = error is not None and not isinstance(error, GeneratorExit)
        with guard("finishing a step"):
            if self.framework.steps.get(self.key) is self:
                del self.framework.steps[self.key]
            if not self.is_aside:
                leave_by_hand(self._call)
            leave(self, self._before)
            if inputs is not None:
                self._call = self._call._replace(inputs=self._recorder.fields(dict(inputs)))
            given = {name: value for name, value in (counted or {}).items() if value is not None}
            self._end(outputs, error, dict(metadata or {}), given, ended)
            self._call = self._call._replace(inputs=b"", opening=None)  # contexts may hold on to it

    def _end(
        self,
        outputs: Mapping[str, object] | None,
        error: BaseException | str | None,
        metadata: dict[str, Any],
        counted: dict[str, Any],
        ended: float | None,
    ) -> None:
        call, recorder = self._call, self._recorder
        if call.id is None or call.id not in live:  # not kept, or a forked parent's
            return
        if self.heard and self.is_aside:
            hand_down(recorder, self, counted)
            live.pop(call.id, None)
            return
        if self.heard:
            call = call._replace(plan=_prepared(call.plan.event_name, "chain", recorder))
            hand_down(recorder, self, counted)
        elif self.calls_model:
            counted = {**self.offered, **counted}
            self.known = frozenset(counted)
            metadata.update(counted)
            if self.first is not None:
                metadata.setdefault("time_to_first_token_ms", round((self.first - call.start) / 1e6, 3))
        if isinstance(error, GeneratorExit):  # the program stopped reading a stream
            metadata["outcome"], error = "closed", None
        if isinstance(error, str):
            self.add(error=error)
            error = None
        finish_with(
            call,
            None if outputs is None else pieces(recorder, outputs),
            error=error,
            metadata=pieces(recorder, {name: value for name, value in metadata.items() if value is not None}),
            left=True,
            ended=None if ended is None else max(call.start, min(int(ended * 1e9) - call.anchor, perf_counter_ns())),
        )
        self._price(counted)

    def _price(self, counted: Mapping[str, Any]) -> None:
        cost, id = self.framework.cost, self.id
        if cost is not None and id is not None and self.known and "cost" not in self.known:
            self.known |= {"cost"}
            provider, model = self.config.get("provider"), self.config.get("model")
            price(cost, str(provider or self.framework.package), model, dict(counted), self._recorder, id)


def start_step(
    framework: Framework,
    key: Hashable,
    event_name: str,
    event_type: str,
    inputs: Mapping[str, object],
    *,
    parent: Hashable | None = None,
    beside: Step | None = None,
    config: Mapping[str, object] | None = None,
    metadata: Mapping[str, object] | None = None,
    yields: bool = False,
) -> Step | None:
    """Start a step and make it current; None if it is not to be recorded.

    `parent` is the key of the step it belongs to, if the framework knows. `beside` is a step of a model that started
    with this one, as one call. `yields` says that the program may run between its start and its end.
    """
    recorder = default_tracer.recorder
    if recorder is None or not framework.active:
        return None
    with guard("starting a step"):
        encoded = recorder.fields(dict(inputs))
        place, around = _place(framework, recorder, parent) if beside is None else (beside.place, beside.around)
        token = recorder.set(place)
        call = begin(_prepared(event_name, event_type, recorder), recorder, encoded)
        if call is None:
            recorder.reset(token)
            framework.pass_over(key, parent)
            return None
        step = Step(framework, key, recorder, call._replace(token=token), around, yields)
        step.place = place
        step.outer = framework.steps.get(parent) if parent is not None else None
        if beside is not None:
            step.heard = beside.heard
        _describe(step, config, metadata)
        if beside is None and step.calls_model:
            step.tell_those_around()
        enter(step)
        if len(framework.steps) >= _OPEN:
            framework.steps.pop(next(iter(framework.steps))).finish(metadata={"outcome": "abandoned"})
        framework.steps[key] = step
        return step
    return None


def _describe(step: Step, config: Mapping[str, object] | None, metadata: Mapping[str, object] | None) -> None:
    if step.id is None:
        return
    extra: Extra | None = None
    for field, values in (("config", config), ("metadata", metadata)):
        given = {name: value for name, value in (values or {}).items() if value is not None}
        if given:
            extra = extra or Extra(step._call.plan)
            extra.fields[field] = pieces(step._recorder, given)
    if extra is not None:
        step.config = extra.fields.get("config", {})
        step.model = step.config.get("model")
        live[step.id] = extra


def _place(framework: Framework, recorder: Recorder, parent: Hashable | None) -> tuple[Current | None, Layer | None]:
    """Find where a step belongs: below what is current, except where the framework knows better."""
    here, inside = settle(recorder.variable), enclosing()
    outer = framework.steps.get(parent) if parent is not None else None
    if outer is None:
        while framework.tells_roots and _is_between(inside, here, framework):
            here, inside = inside.place, inside.around
        return here, inside
    layer = inside
    while layer is not None and layer is not outer:
        layer = None if _is_own(layer, framework) else layer.around
    if layer is None or here is None:
        return outer.current, outer
    return here, inside


def _is_between(inside: Layer | None, here: Current | None, framework: Framework) -> TypeGuard[Step]:
    """Say whether the program runs between two pieces of a stream: what is current is not around it."""
    return _is_own(inside, framework) and here is not None and here is inside.current


def _is_own(layer: Layer | None, framework: Framework) -> TypeGuard[Step]:
    """Say whether this is a step of the framework that lets the program run in between."""
    return isinstance(layer, Step) and layer.yields and layer.framework is framework


def _is_cancellation(error: object) -> TypeGuard[BaseException]:
    return isinstance(error, BaseException) and not isinstance(error, (Exception, GeneratorExit))


@lru_cache(maxsize=1024)
def _plan(event_name: str, event_type: str) -> Plan:
    return Plan(event_name, event_type, {})


def _prepared(event_name: str, event_type: str, recorder: Recorder) -> Plan:
    plan = _plan(event_name, event_type)
    if plan.prepared_for is not recorder:
        plan.prepare(recorder)
    return plan


def _end_all() -> None:
    """End what is still open when the process ends."""
    for framework in _frameworks:
        for step in reversed(list(framework.steps.values())):
            step.finish(metadata={"outcome": "abandoned"})


atexit.register(_end_all)
