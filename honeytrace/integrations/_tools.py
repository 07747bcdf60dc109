"""One run of a tool while it lasts; when it has ended it is a tool event.

Invariant: whatever goes wrong here costs the event and nothing else. A run that is not to be recorded is None, and all
functions take it.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from honeytrace._bookkeeping import fail, finish_with
from honeytrace._diagnostics import guard
from honeytrace._doors import begin
from honeytrace._lifecycle import default_tracer
from honeytrace._span import Call, Extra, add, live, pieces
from honeytrace.integrations._calls import encoded, plan_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["fail_tool", "finish_tool", "start_tool"]


def start_tool(name: str, arguments: object, metadata: Mapping[str, Any]) -> Call | None:
    """Start a run and make it current; None if it is not recorded. `metadata` is all that is known beforehand."""
    recorder = default_tracer.recorder
    if recorder is None:
        return None
    with guard("starting a tool call"):
        plan = plan_for(name, "tool")
        if plan.prepared_for is not recorder:
            plan.prepare(recorder)
        # The names of the arguments are data here: each is checked for being a secret's.
        inputs = recorder.snapshot(arguments)
        if inputs[:1] != b"{":
            inputs = orjson.dumps(pieces(recorder, {} if arguments is None else arguments))
        call = begin(plan, recorder, inputs)
        if call is not None and call.id is not None:
            extra = live[call.id] = Extra(plan)
            extra.fields["metadata"] = encoded(recorder, metadata)
        return call
    return None


def finish_tool(call: Call | None, outputs: object, problem: str | None = None) -> None:
    """End a run with what came of it: a dict as it is, anything else under "result". `problem` is the tool's error."""
    if call is None:
        return
    given = None
    with guard("finishing a tool call"):
        if call.id is not None:
            if problem is not None:
                add(call.recorder, call.id, {"error": problem})
            given = pieces(call.recorder, outputs if isinstance(outputs, dict) else {"result": outputs})
    finish_with(call, given)


def fail_tool(call: Call | None, error: BaseException | None, **metadata: object) -> None:
    """End a run with what it raised."""
    if call is None:
        return
    with guard("finishing a tool call"):
        known = {name: value for name, value in metadata.items() if value is not None}
        if call.id is not None and known:
            add(call.recorder, call.id, {"metadata": known})
    fail(call, error, True)
