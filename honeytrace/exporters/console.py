"""The live tree: each call made directly in a session is printed, with all below it, when it has finished.

Events arrive when they finish, so children come before their parents and are held until the top of their tree
arrives. What is held is bounded in number and in size; nothing is printed twice.
"""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TextIO

from honeytrace import _text, _tree
from honeytrace._diagnostics import guard, warn_once
from honeytrace._event import Event
from honeytrace._text import Look
from honeytrace.exporters._merge import session_event, with_update

__all__ = ["ConsoleExporter", "LiveTree"]

_MOST_HELD = 5_000
_MOST_REMEMBERED = 20_000
_MOST_SESSIONS = 1_000
_INDENT = "  "


class ConsoleExporter:
    """Prints to `stream`, or to sys.stderr as it is at the time. `color` None: when the stream is a terminal.

    A stream that is gone counts as delivered: nobody reads it, and trying again cannot help.
    """

    name = "console"

    def __init__(self, stream: TextIO | None = None, *, color: bool | None = None) -> None:
        self._stream = stream
        self._color = color
        self._live = LiveTree()
        self._pid = os.getpid()

    def export(self, batch: Sequence[Event], deadline: float) -> None:
        """Print what the batch completes."""
        if self._pid != os.getpid():  # what the parent held is the parent's to print
            self._live, self._pid = LiveTree(), os.getpid()
        look = self._look()
        lines: list[str] = []
        for record in batch:
            with guard("reading an event for the console"):
                lines += self._take(record, look)
        self._write(lines)

    def close(self) -> None:
        """Print what is still held, marked as unfinished."""
        if self._pid == os.getpid():
            self._write(self._live.rest(self._look()))

    def _take(self, record: Event, look: Look) -> list[str]:
        fields = json.loads(record.body)
        if record.kind == "session":
            self._live.add_session(session_event(record.event_id, fields))
            return []
        if record.kind == "update":
            self._live.update(record.event_id, fields)
            return []
        fields.setdefault("event_id", record.event_id)
        return self._live.add(fields, look)

    def _look(self) -> Look:
        return Look.of(self._output(), os.environ, color=self._color)

    def _output(self) -> TextIO | None:
        return self._stream if self._stream is not None else sys.stderr

    def _write(self, lines: list[str]) -> None:
        stream = self._output()
        if not lines or stream is None:
            return
        try:
            stream.write(_text.encodable("".join(f"{line}\n" for line in lines), stream))
            stream.flush()
        except (OSError, ValueError):
            warn_once("console", "the console cannot be written to; traces are not shown there")


class LiveTree:
    """Turns finished events, in any order, into the lines to print next."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._held: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._below: dict[str, list[str]] = {}
        self._printed: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._heading: tuple[str, str] | None = None

    def add_session(self, session: dict[str, Any]) -> None:
        """Remember the name of a session for its heading."""
        session_id = str(session["session_id"])
        known = self._sessions.pop(session_id, {})
        self._sessions[session_id] = {**known, **_tree.compact(session)}
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def update(self, event_id: str, update: dict[str, Any]) -> None:
        """Change an event that is held. What is printed stays."""
        if event_id in self._held:
            self._held[event_id] = _tree.compact(with_update(self._held[event_id], update))

    def add(self, event: dict[str, Any], look: Look) -> list[str]:
        """Take a finished event; return the lines of the tree it completes, if it does."""
        event_id, parent = str(event["event_id"]), _parent(event)
        if event_id in self._printed:
            return []
        if event_id not in self._held:
            self._below.setdefault(parent, []).append(event_id)
        self._held[event_id] = _tree.compact(event)
        if parent == _session(event) or parent in self._printed:
            return self._print(event_id, look)
        if len(self._held) > _MOST_HELD:
            return self._print_oldest(look)
        return []

    def rest(self, look: Look) -> list[str]:
        """Return the lines of everything that is held."""
        lines: list[str] = []
        while self._held:
            lines += self._print_oldest(look)
        return lines

    def _print_oldest(self, look: Look) -> list[str]:
        """Print the tree of the event held longest, from the highest ancestor that has finished."""
        top = next(iter(self._held))
        seen = {top}
        while (parent := _parent(self._held[top])) in self._held and parent not in seen:
            top = parent
            seen.add(top)
        return self._print(top, look, note="its caller has not finished")

    def _print(self, top: str, look: Look, note: str = "") -> list[str]:
        events, waiting = [], [top]
        while waiting:
            event_id = waiting.pop()
            if event_id in self._held:
                events.append(self._held.pop(event_id))
                waiting += self._below.pop(event_id, ())
        parent, session = _parent(events[0]), _session(events[0])
        siblings = self._below.get(parent, [])
        if top in siblings:
            siblings.remove(top)
            if not siblings:
                del self._below[parent]
        path = "" if parent == session else self._path(parent, look)
        lines = self._headed(session, look)
        if path:
            lines.append(_INDENT + _text.paint(_text.cut(path, look.width - 2, look), "dim", look))
        node = _alone(events, note)
        drawn = _tree.render(
            [node], color=look.color, width=look.width, ascii=look.ascii, indent=_INDENT * (2 if path else 1)
        )
        self._remember(events)
        return lines + drawn

    def _headed(self, session_id: str, look: Look) -> list[str]:
        """The heading of a session, unless the line above belongs to it too."""
        session = self._sessions.get(session_id, {"session_id": session_id})
        name = _text.visible(str(session.get("event_name") or "session")[:200])
        if self._heading == (session_id, name):
            return []
        between = [""] if self._heading else []
        self._heading = (session_id, name)
        name = _text.cut(name, look.width - 30, look)
        title = _text.paint(name, "session", look)
        return [*between, f"{title}  {_text.paint(_tree.heading(session, look), 'dim', look)}"]

    def _path(self, event_id: str, look: Look) -> str:
        """The names that lead to an event that is printed."""
        names: list[str] = []
        while event_id in self._printed and len(names) < 8:
            name, event_id = self._printed[event_id]
            names.insert(0, name)
        between = " > " if look.ascii else " › "
        return between.join([*names, ""]).rstrip()

    def _remember(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            name = _text.visible(str(event.get("event_name") or "unknown")[:60])
            self._printed[str(event["event_id"])] = (name, _parent(event))
        while len(self._printed) > _MOST_REMEMBERED:
            self._printed.popitem(last=False)


def _alone(events: list[dict[str, Any]], note: str) -> _tree.Node:
    """Build the tree of an event and its descendants, apart from their session."""
    top = {**events[0], "session_id": str(events[0]["event_id"]), "parent_id": ""}
    below = [{**event, "session_id": top["session_id"]} for event in events[1:]]
    (node,) = _tree.build([top, *below])
    return _tree.Node(event=node.event, children=node.children, note=note)


def _session(event: dict[str, Any]) -> str:
    return str(event.get("session_id") or "")


def _parent(event: dict[str, Any]) -> str:
    return str(event.get("parent_id") or _session(event))
