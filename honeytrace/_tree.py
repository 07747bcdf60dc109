"""Events as a tree, and a tree as text: for the console, the command line and the assertions of tests.

Any list of dicts with the contract's field names becomes a tree that holds each event exactly once, whatever
its ids say; rendering never emits a control character of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from honeytrace import _text
from honeytrace._text import Look

__all__ = ["CYCLE", "ELSEWHERE", "NO_SESSION", "UNFINISHED", "Node", "build", "compact", "detail", "heading", "render"]

UNFINISHED = "did not finish, or has not yet"
ELSEWHERE = "its parent is in another session"
NO_SESSION = "session not recorded"
CYCLE = "its parents form a circle"

_STRING, _ITEMS, _DEPTH = 200, 8, 3
_PREVIEW = 16  # columns a preview needs to say anything
_SHOWN_METADATA = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost",
    "time_to_first_token_ms",
    "chunks",
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """An event and what ran below it, siblings by start time. `note` says what is odd about its place."""

    event: dict[str, Any]
    children: tuple[Node, ...] = ()
    note: str = ""


def build(events: Iterable[dict[str, Any]]) -> list[Node]:
    """Arrange events as trees, one per session, by start time.

    An event that repeats an id replaces the earlier one. A parent that is not among the events is made up, with its id
    and the note UNFINISHED, and hangs under the session: only what has finished is sent, so that nobody knows what it
    ran below. An event whose parent is in another session hangs under its own with the note ELSEWHERE; a session that
    is not among the events is made up with the note NO_SESSION; a circle of parents is cut at its earliest event,
    which gets the note CYCLE.
    """
    known: dict[str, dict[str, Any]] = {}
    for position, event in enumerate(events):
        known[_text_of(event, "event_id") or f"#{position}"] = event
    known = dict(sorted(known.items(), key=lambda item: _start(item[1])))
    below: dict[str, list[str]] = {}
    roots: list[str] = []
    notes: dict[str, str] = {}
    for key, event in list(known.items()):
        session = _text_of(event, "session_id")
        if session in ("", key):
            roots.append(key)
            continue
        if session not in known:
            known[session] = {"event_id": session, "session_id": session, "event_type": "session"}
            notes[session] = NO_SESSION
            roots.append(session)
        parent = _text_of(event, "parent_id") or session
        if parent not in known:
            parent = _unfinished(known, below, notes, event)
        elif _text_of(known[parent], "session_id") != session:
            parent, notes[key] = session, ELSEWHERE
        below.setdefault(parent, []).append(key)
    _cut_circles(known, below, roots, notes)
    return _assemble(known, below, roots, notes)


def _unfinished(
    known: dict[str, dict[str, Any]], below: dict[str, list[str]], notes: dict[str, str], child: dict[str, Any]
) -> str:
    """Make up the parent of an event, unless that has been done, and return its key."""
    session, parent = _text_of(child, "session_id"), _text_of(child, "parent_id")
    key = f"{session}\0{parent}"  # of no event: another session may speak of the same parent
    if key not in known:
        known[key] = {"event_id": parent, "session_id": session, "start_time": _start(child)}  # of the earliest
        notes[key] = UNFINISHED
        below.setdefault(session, []).append(key)
    return key


def _cut_circles(
    known: dict[str, dict[str, Any]], below: dict[str, list[str]], roots: list[str], notes: dict[str, str]
) -> None:
    """Move one event of each circle under its session, so that everything is reachable from the roots."""
    reached = set(_walk(below, roots))
    hung = {child: parent for parent, children in below.items() for child in children}
    for key in list(known):
        if key in reached:
            continue
        steps: dict[str, None] = {}
        while key not in steps:
            steps[key] = None
            key = hung[key]
        circle = list(steps)[list(steps).index(key) :]
        first = min(circle, key=lambda key: _start(known[key]))
        below[hung[first]].remove(first)
        session = _text_of(known[first], "session_id")
        if session in reached:
            below.setdefault(session, []).append(first)
        else:  # what it calls its session is in the circle, too
            roots.append(first)
        notes[first] = CYCLE
        reached.update(_walk(below, [first]))


def _walk(below: Mapping[str, list[str]], roots: Iterable[str]) -> list[str]:
    order, waiting = [], list(roots)
    while waiting:
        order.append(waiting.pop())
        waiting.extend(below.get(order[-1], ()))
    return order


def _assemble(
    known: dict[str, dict[str, Any]], below: dict[str, list[str]], roots: list[str], notes: dict[str, str]
) -> list[Node]:
    made: dict[str, Node] = {}
    for key in reversed(_walk(below, roots)):  # children first, without recursion: trees may be 10,000 deep
        children = sorted((made[child] for child in below.get(key, ())), key=lambda node: _start(node.event))
        made[key] = Node(event=known[key], children=tuple(children), note=notes.get(key, ""))
    return [made[key] for key in roots]


def render(
    nodes: Sequence[Node],
    *,
    color: bool = False,
    width: int = 100,
    ascii: bool = False,
    full: bool = False,
    indent: str = "",
) -> list[str]:
    """Draw trees, one line per event and one more for an error; `full` adds everything an event holds."""
    look = Look(color=color, ascii=ascii, width=width)
    tee, corner, bar = ("|- ", "`- ", "|  ") if ascii else ("├─ ", "└─ ", "│  ")
    lines: list[str] = []
    waiting = [(node, indent, indent) for node in reversed(nodes)]
    while waiting:
        node, lead, rest = waiting.pop()
        lines.append(_line(node, lead, look, preview=not full))
        beside = rest + (bar if node.children else "   ")
        lines.extend(_below(node.event, beside, look, full))
        for position, child in enumerate(reversed(node.children)):
            branch, trunk = (tee, bar) if position else (corner, "   ")
            waiting.append((child, _bounded(rest + branch, look), _bounded(rest + trunk, look)))
    return lines


def _bounded(lead: str, look: Look) -> str:
    """Keep the end of a lead that would take more than half of the line."""
    mark = "..." if look.ascii else "…"
    room = look.width // 2
    return lead if len(lead) <= room else mark + lead.lstrip(".…")[-(room - len(mark)) :]


def _line(node: Node, lead: str, look: Look, *, preview: bool) -> str:
    event = node.event
    took = _text.duration(_duration(event), look)
    room = look.width - len(lead) - (len(took) + 2 if took else 0)
    drawn, used = "", 0
    for gap, text, style in _parts(node, look):
        fits = _text.cut(text, room - used - gap, look)
        if not fits or (style == "preview" and (not preview or room - used < _PREVIEW)):
            break
        drawn += " " * gap + _text.paint(fits, style, look)
        used += gap + _text.columns(fits)
    ending = " " * (room - used + 2) + _text.paint(took, "dim", look) if took else ""
    return (_text.paint(lead, "dim", look) + drawn + ending).rstrip()


def _parts(node: Node, look: Look) -> list[tuple[int, str, str]]:
    """What stands on a line, most important first: columns before it, text, style."""
    event = node.event
    kind = _text.visible((_text_of(event, "event_type") or "event")[:20])
    name = _text.visible((_text_of(event, "event_name") or "unknown")[:_STRING])
    note = [(2, f"({node.note})", "note")] if node.note else []
    if kind == "session":
        return [(0, name, "bold"), (2, heading(event, look), "dim"), *note]
    if node.note == UNFINISHED:
        return [(0, "unfinished", "dim"), (1, _text.visible(_text_of(event, "event_id")[:8]), "dim"), *note]
    failed = bool(_text_of(event, "error"))
    parts = [(0, f"{kind:5}", kind), (1, name, "error" if failed else "")]
    if failed:
        parts.append((1, "x" if look.ascii else "✗", "error"))
    parts += note
    parts += [(2, fact, "dim") for fact in _facts(event, look)]
    preview = _preview(event, look)
    return [*parts, (2, preview, "preview")] if preview else parts


def heading(session: dict[str, Any], look: Look) -> str:
    """What stands beside the name of a session: short id, local time of its start, user."""
    user = session.get("user_properties")
    user_id = user.get("user_id") if isinstance(user, dict) else None
    parts = [
        _text.visible(_text_of(session, "session_id")[:8]),
        _text.clock(session.get("start_time")),
        _text.visible(str(user_id)[:40]) if user_id is not None else "",
    ]
    return (" - " if look.ascii else " · ").join(part for part in parts if part)


_OUTCOMES = ("closed", "cancelled")
"""How a span may have ended besides with a value or an error."""


def _facts(event: dict[str, Any], look: Look) -> list[str]:
    facts = []
    config, metadata = event.get("config"), event.get("metadata")
    if isinstance(config, dict) and isinstance(config.get("model"), str):
        facts.append(_text.visible(config["model"][:_STRING]))
    if not isinstance(metadata, dict):
        return facts
    prompt, completion, total, cost, first, chunks = (_number(metadata.get(key)) for key in _SHOWN_METADATA)
    if prompt is not None and completion is not None:
        facts.append(f"{_text.count(prompt)}+{_text.count(completion)} tokens")
    elif (some := next((n for n in (total, prompt, completion) if n is not None), None)) is not None:
        facts.append(f"{_text.count(some)} tokens")
    if cost:
        facts.append(f"${cost:.4f}")
    if chunks is not None:
        facts.append(f"{_text.count(chunks)} chunk{'' if chunks == 1 else 's'}")
    if first is not None:
        facts.append(f"first after {_text.duration(first, look)}")
    if metadata.get("outcome") in _OUTCOMES:
        facts.append(metadata["outcome"])
    return facts


def _preview(event: dict[str, Any], look: Look) -> str:
    """Inputs and outputs on one line, in short."""
    given, made = event.get("inputs"), event.get("outputs")
    before = _one_line(_subject(given)) if given else ""
    after = _one_line(_subject(made)) if made else ""
    arrow = "->" if look.ascii else "→"
    return f"{before} {arrow} {after}".strip() if after else before


def _subject(value: Any) -> Any:
    """The one thing worth seeing: a result, the content of a message, the only argument."""
    if not isinstance(value, dict):
        return value
    history = value.get("chat_history")
    if isinstance(history, list) and history and isinstance(history[-1], dict):
        return history[-1].get("content", history[-1])
    if isinstance(value.get("content"), str):
        return value["content"]
    return next(iter(value.values())) if len(value) == 1 else value


def _one_line(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        return f'"{_text.visible(value[:_STRING])}"'
    if isinstance(value, dict) and depth < _DEPTH:
        items = [
            f"{_text.visible(str(key)[:40])}={_one_line(item, depth + 1)}" for key, item in list(value.items())[:_ITEMS]
        ]
        return ", ".join(items) if depth == 0 else "{" + ", ".join(items) + "}"
    if isinstance(value, list) and depth < _DEPTH:
        return "[" + ", ".join(_one_line(item, depth + 1) for item in value[:_ITEMS]) + "]"
    if isinstance(value, (dict, list)):
        return "{..}" if isinstance(value, dict) else "[..]"
    return json.dumps(value, default=str)


def compact(event: dict[str, Any]) -> dict[str, Any]:
    """Copy what a line of the tree shows and nothing else, so that many events can be kept."""
    kept = {key: event[key] for key in _KEPT if key in event}
    kept["error"] = _text_of(event, "error")[:1000]
    for field in ("inputs", "outputs"):
        if event.get(field):
            kept[field] = {"": _shorter(_subject(event[field]))}
    for field, keys in _KEPT_KEYS:
        if isinstance(event.get(field), dict):
            kept[field] = {key: event[field][key] for key in keys if key in event[field]}
    return kept


_KEPT = (
    "event_id",
    "session_id",
    "parent_id",
    "event_type",
    "event_name",
    "start_time",
    "end_time",
    "duration",
)
_KEPT_KEYS = (("metadata", _SHOWN_METADATA), ("config", ("model",)), ("user_properties", ("user_id",)))
_DETAILED = ("inputs", "outputs", "error", "config", "metadata", "metrics", "feedback", "user_properties")


def _shorter(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return value[:_STRING]
    if isinstance(value, dict):
        items = list(value.items())[:_ITEMS] if depth < _DEPTH else []
        return {key: _shorter(item, depth + 1) for key, item in items}
    if isinstance(value, list):
        return [_shorter(item, depth + 1) for item in value[:_ITEMS]] if depth < _DEPTH else []
    return value


def _below(event: dict[str, Any], lead: str, look: Look, full: bool) -> list[str]:
    """The lines under an event: its error, or everything it holds."""
    room = max(20, look.width - len(lead))
    if full:
        lines = detail(event, room)
    elif error := _text_of(event, "error"):
        lines = [(_text.cut(_text.visible(error[: 4 * room].strip()), room, look), "error")]
    else:
        lines = []
    return [
        _text.paint(lead if text else lead.rstrip(), "dim", look) + _text.paint(text, style, look)
        for text, style in lines
    ]


def detail(event: dict[str, Any], width: int) -> list[tuple[str, str]]:
    """Everything an event holds, as lines with their styles."""
    lines: list[tuple[str, str]] = []
    for field in _DETAILED:
        value = event.get(field)
        if value in (None, "", {}):
            continue
        style = "error" if field == "error" else ""
        lines.append((field, "dim"))
        lines.extend((line, style) for line in _pretty(value, "  ", width))
    return [*lines, ("", "")] if lines else []


def _pretty(value: Any, indent: str, width: int) -> list[str]:
    """Lay a value out over lines: one per key, text as it was written."""
    room = max(20, width - len(indent))
    if isinstance(value, dict) and value and len(indent) < 40:
        lines: list[str] = []
        for key, item in value.items():
            lines.extend(_labelled(_text.visible(str(key)), item, indent, width))
        return lines
    if isinstance(value, list) and value and len(indent) < 40:
        return [line for item in value for line in _labelled("-", item, indent, width)]
    if isinstance(value, str):
        text = [line.expandtabs(4) for line in value.splitlines()] or [""]
    else:
        text = [json.dumps(value, ensure_ascii=False, default=str)]
    return [indent + part for line in text for part in _text.wrap(_text.visible(line), room)]


def _labelled(label: str, value: Any, indent: str, width: int) -> list[str]:
    lines = _pretty(value, indent + "  ", width)
    if label == "-":
        return [f"{indent}- {lines[0][len(indent) + 2 :]}", *lines[1:]]
    nested = isinstance(value, (dict, list)) and value
    label += ":"
    if len(lines) == 1 and not nested and _text.columns(label) + _text.columns(lines[0]) < width:
        return [f"{indent}{label} {lines[0].strip()}"]
    return [*(indent + part for part in _text.wrap(label, max(20, width - len(indent)))), *lines]


def _text_of(event: Mapping[str, Any], field: str) -> str:
    value = event.get(field)
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        return None
    return value


def _start(event: Mapping[str, Any]) -> float:
    return _number(event.get("start_time")) or 0.0


def _duration(event: Mapping[str, Any]) -> float | None:
    given, start, end = (_number(event.get(key)) for key in ("duration", "start_time", "end_time"))
    if given is None and start is not None and end is not None:
        return max(0.0, end - start)
    return given
