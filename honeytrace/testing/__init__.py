"""For tests of programs that use honeytrace: capture what was recorded, compare a trace with a drawing of it.

    from honeytrace.testing import assert_tree, capture

    with capture() as traces:
        answer("why?")
    assert_tree(traces, '''
        answer (chain)
        ├── search (tool)
        └── write (model)
    ''')
    assert traces.events[0].inputs == {"query": "why?"}

With pytest the fixture `traces` does the same around a test, and fails it if a span is left open. Nothing leaves
the process: events are kept in memory, exactly as they would have been sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, overload

from honeytrace._event import FIELDS, Event, Kind, expand, unpack
from honeytrace._lifecycle import Tracer, default_tracer
from honeytrace._snapshot import Limits, Snapshotter
from honeytrace._span import OBJECT_FIELDS, Extra, Plan, Recorder, live
from honeytrace.protocols import Redactor, Sampler
from honeytrace.redaction import redactor_from

__all__ = ["CapturedEvent", "Traces", "assert_tree", "capture", "draw"]

_OBJECTS = (*OBJECT_FIELDS, "inputs")


class CapturedEvent:
    """A finished event or a session, the contract's fields as attributes.

    A field that is absent on the wire reads as {} if it is an object (None for outputs), else as None; `fields` is
    what goes over the wire.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        if name in FIELDS or name == "session_name":
            return self.fields.get(name, {} if name in _OBJECTS else None)
        raise AttributeError(f"an event has no field {name!r}: expected one of {', '.join(FIELDS)}")

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __repr__(self) -> str:
        name = self.fields.get("event_name") or self.fields.get("session_name")
        error = f" error={self.error!r}" if self.error else ""
        return f"<{self.event_type} {name!r}{error}>"

    def _update(self, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            if name in OBJECT_FIELDS:
                self.fields[name] = {**self.fields.get(name, {}), **value}
            else:
                self.fields[name] = value


class Traces(Sequence[CapturedEvent]):
    """What was captured: a sequence of the finished events in the order they finished; `sessions` beside them."""

    def __init__(self) -> None:
        self._records: list[Event] = []
        self._open = frozenset(live)

    @property
    def records(self) -> list[Event]:
        """The encoded records, session and update records among them, in the order they were submitted."""
        return [one for record in list(self._records) for one in expand(record)]

    @property
    def events(self) -> list[CapturedEvent]:
        """Finished events in the order they finished, later updates applied."""
        return self._read()[0]

    @property
    def sessions(self) -> list[CapturedEvent]:
        """Sessions in the order they started, what came later applied."""
        return self._read()[1]

    def _read(self) -> tuple[list[CapturedEvent], list[CapturedEvent]]:
        events: dict[bytes, CapturedEvent] = {}
        sessions: dict[bytes, CapturedEvent] = {}
        for record in self.records:
            fields = record.fields()
            if record.kind == "event":
                events[record.id] = CapturedEvent(fields)
            elif record.kind == "session":
                fields = {**fields, "event_id": fields["session_id"], "event_type": "session"}
                fields["event_name"] = fields.get("session_name")
                sessions.setdefault(record.id, CapturedEvent({}))._update(fields)
            else:
                target = events.get(record.id) or sessions.get(record.id)
                if target is not None:
                    target._update(fields)
        return list(events.values()), list(sessions.values())

    @overload
    def __getitem__(self, index: int) -> CapturedEvent: ...

    @overload
    def __getitem__(self, index: slice) -> list[CapturedEvent]: ...

    def __getitem__(self, index: int | slice) -> CapturedEvent | list[CapturedEvent]:
        return self.events[index]

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[CapturedEvent]:
        return iter(self.events)

    def __repr__(self) -> str:
        return f"<Traces: {len(self)} events>"

    def named(self, name: str) -> list[CapturedEvent]:
        """The events of this name, in the order they finished."""
        return [event for event in self.events if event.event_name == name]

    def one(self, name: str) -> CapturedEvent:
        """The only event of this name; AssertionError if there are none or several."""
        found = self.named(name)
        if len(found) != 1:
            names = sorted({str(event.event_name) for event in self.events})
            raise AssertionError(f"expected one event {name!r}, found {len(found)}; there are: {', '.join(names)}")
        return found[0]

    def clear(self) -> None:
        """Forget what was captured so far."""
        self._records.clear()

    def open_spans(self) -> list[Plan]:
        """Spans that were started since the capture began and have not finished."""
        return [state.plan if isinstance(state, Extra) else state for id, state in live.items() if id not in self._open]

    def _submit(self, kind: Kind, id: bytes, body: bytes, time_ns: int, took_ns: int = -1, /) -> None:
        self._records.append(Event(kind, id, body if took_ns < 0 else unpack(id, body, time_ns, took_ns), time_ns))


class capture:
    """Record into memory for the length of a `with` block, whatever the tracer did before; gives `Traces`.

    A program that calls `init()` or `shutdown()` meanwhile changes nothing: its settings are checked, no more.
    """

    def __init__(
        self,
        tracer: Tracer | None = None,
        *,
        source: str = "test",
        session_name: str | None = None,
        redact: bool | Iterable[str] | Redactor = True,
        sampler: Sampler | None = None,
        max_event_bytes: int = 1_000_000,
    ) -> None:
        self.tracer = tracer or default_tracer
        self.traces = Traces()
        self._recorder = Recorder(
            variable=self.tracer.variable,
            snapshotter=Snapshotter(redactor_from(redact), Limits(max_bytes=max_event_bytes // 2)),
            submit=self.traces._submit,
            source=source,
            session_name=session_name,
            sampler=sampler,
        )

    def __enter__(self) -> Traces:
        self._before = self.tracer.recorder, self.tracer.held, self.tracer.variable.set(None)
        self.tracer.recorder, self.tracer.held = self._recorder, True
        return self.traces

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.tracer.recorder, self.tracer.held, token = self._before
        try:
            self.tracer.variable.reset(token)
        except ValueError:  # left in another context than entered, as async fixtures are
            self.tracer.variable.set(None)


def draw(events: Iterable[CapturedEvent]) -> str:
    """Draw a trace as assert_tree expects it: one line per event, children indented below their parent."""
    ordered = sorted(events, key=lambda event: event.start_time)
    ids = {event.event_id for event in ordered}
    lines: list[str] = []

    def below(parent: str | None, depth: int) -> None:
        for event in ordered:
            is_root = event.parent_id not in ids
            if (parent is None and is_root) or (parent is not None and event.parent_id == parent):
                failed = " !" if event.error else ""
                lines.append(f"{'    ' * depth}{event.event_name} ({event.event_type}){failed}")
                below(event.event_id, depth + 1)

    below(None, 0)
    return "\n".join(lines)


_LINE = re.compile(r"^(?P<lead>[\s│├└─|`+\-]*)(?P<name>.*?)(?:\s+\((?P<type>\w+)\))?(?P<error>\s+!)?\s*$")


def assert_tree(traces: Iterable[CapturedEvent], drawing: str) -> None:
    """Compare a trace with a drawing of it: names, nesting, order of start, and where given types and failures.

    One event per line, children further to the right (with branches drawn or not): `name`, `name (type)`,
    `name (type) !` for a failed one.

    Raises:
        AssertionError: they differ; the message shows both.
    """
    actual = draw(traces)
    wanted = _parse(drawing)
    found = _parse(actual)
    same = len(wanted) == len(found) and all(
        one[:2] == two[:2] and one[2] in (None, two[2]) and one[3] == two[3]
        for one, two in zip(wanted, found, strict=True)
    )
    if not same:
        raise AssertionError(f"the trace differs from its drawing\n\nexpected:\n{drawing}\n\nrecorded:\n{actual}")


def _parse(drawing: str) -> list[tuple[int, str, str | None, bool]]:
    """Depth, name, type and failure of each line. Depth is relative: how many enclosing columns are open."""
    parsed: list[tuple[int, str, str | None, bool]] = []
    columns: list[int] = []
    for line in drawing.splitlines():
        match = _LINE.match(line)
        if match is None or not match["name"]:
            continue
        column = len(match["lead"])
        while columns and columns[-1] >= column:
            columns.pop()
        parsed.append((len(columns), match["name"], match["type"], match["error"] is not None))
        columns.append(column)
    return parsed
