"""Frameworks that report what they do by callbacks: chains, agents, tools, retrievers, models.

The start and the end of a step are two calls, which may come in any order, in other contexts, tasks and threads.
Between them the step is current, so that decorated functions, blocks, the calls of clients and the steps of other
frameworks become its children. Here is how a step starts and where it belongs; _steps.py says how it ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from honeytrace._context import Current, settle
from honeytrace._diagnostics import guard
from honeytrace._doors import begin
from honeytrace._lifecycle import default_tracer
from honeytrace._span import Call, Extra, Recorder, live, pieces
from honeytrace.integrations._nesting import Layer, enclosing, enter
from honeytrace.integrations._steps import Framework, Step, prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeGuard

__all__ = ["Framework", "Step", "start_step"]

_OPEN = 10_000
"""So many steps are open at most; a framework that never says how its steps end must not fill the memory."""


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
        plan = prepared(event_name, event_type, recorder)
        call = begin(plan, recorder, encoded)
        if call is None and place is not None and not place[2]:  # not kept, nor is anything inside, in any thread
            call = Call(plan, recorder, place[0], None, place[1], 0, b"", token, 0, False, None)
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
