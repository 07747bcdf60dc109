"""A step of a framework while it runs, and the steps that are open.

Invariant: a step ends once; the first end wins. A model's step that encloses the recorded call of a client, or
another model's step, is a chain without tokens and cost: the innermost counts.
"""

from __future__ import annotations

import atexit
from collections.abc import Hashable, Mapping
from functools import lru_cache
from time import perf_counter_ns

from honeytrace._bookkeeping import finish_with, leave_by_hand
from honeytrace._context import Current, before
from honeytrace._diagnostics import guard
from honeytrace._span import Call, Plan, Recorder, add, live, pieces
from honeytrace.integrations._nesting import Layer, enclosing, hand_down, leave
from honeytrace.integrations._pricing import Cost, price

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard

__all__ = ["Framework", "Step", "frameworks", "prepared"]

frameworks: list[Framework] = []
"""All of them."""


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
        frameworks.append(self)

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
            call = call._replace(plan=prepared(call.plan.event_name, "chain", recorder))
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
        self._price(counted, metadata.get("response_model"))

    def _price(self, counted: Mapping[str, Any], answered: Any) -> None:
        cost, id = self.framework.cost, self.id
        if cost is not None and id is not None and self.known and "cost" not in self.known:
            self.known |= {"cost"}
            provider, model = self.config.get("provider"), self.config.get("model")
            price(cost, str(provider or self.framework.package), (model, answered), dict(counted), self._recorder, id)


def _is_cancellation(error: object) -> TypeGuard[BaseException]:
    return isinstance(error, BaseException) and not isinstance(error, (Exception, GeneratorExit))


@lru_cache(maxsize=1024)
def _plan(event_name: str, event_type: str) -> Plan:
    return Plan(event_name, event_type, {})


def prepared(event_name: str, event_type: str, recorder: Recorder) -> Plan:
    """Give the plan of all steps of this name and type."""
    plan = _plan(event_name, event_type)
    if plan.prepared_for is not recorder:
        plan.prepare(recorder)
    return plan


def _end_all() -> None:
    """End what is still open when the process ends."""
    for framework in frameworks:
        for step in reversed(list(framework.steps.values())):
            step.finish(metadata={"outcome": "abandoned"})


atexit.register(_end_all)
