"""Server-sent events on their way into a join; those that differ from the last one in a piece of text only, as text.

Most of a stream is one event again and again with another piece of text in it. Once such an event has been parsed, the
bytes before and after its text are known, and what follows is cut at them instead of being parsed: ten times as fast.
Invariant: what a join knows in the end is the same as if every event were parsed. What does not fit exactly is parsed,
and then nothing is taken for a repetition of what was before it.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from honeytrace._diagnostics import failed
from honeytrace.integrations._operation import Join
from honeytrace.integrations._wire import Events, Frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class Form(NamedTuple):
        """An event but for its text: `start` TEXT `middle` [noise] `end`."""

        start: bytes
        """With the lines before the data."""
        middle: bytes
        end: bytes
        take: Callable[[str], object]
else:
    from collections import namedtuple

    Form = namedtuple("Form", "start middle end take")

__all__ = ["EventStream"]

_KEPT = 8_000_000
"""So many bytes of a stream are kept for the record; after that only events that count tokens are looked at."""

_NOISE = b',"obfuscation":"'
"""Some servers end every event with letters of no meaning, against those who guess from its length."""


class EventStream:
    """The events of one stream."""

    __slots__ = ("_events", "_form", "_join", "_package", "_repeats", "_total", "begun", "chunks", "done")

    def __init__(self, events: Events | Frames, join: Join, package: str) -> None:
        self._events = events
        self._join = join
        self._repeats: Callable[[Any], tuple[str, Callable[[str], object]] | None] | None
        self._repeats = getattr(join, "repeats", None) if isinstance(events, Events) else None
        self._package = package
        self._form: Form | None = None
        self._total = 0
        self.chunks = 0
        self.begun = False
        """Whether something that was generated has come."""
        self.done = False
        """Whether the stream has said that it is whole."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        form, events = self._form, self._events
        self._total += len(data)
        if form is not None and isinstance(events, Events) and self._total <= _KEPT and not events.pending:
            data, events.rest = events.rest + data, b""
            end = data.rfind(b"\n\n")
            if end >= 0 and data.startswith(form.start):
                self._cut(form, data[len(form.start) : end])
                data = data[end + 2 :]
        self._parse(data)

    def _cut(self, form: Form, data: bytes) -> None:
        """Take complete events, the first of which has this form, its start left out."""
        middle, end, between = form.middle, form.end, b"\n\n" + form.start
        texts: list[bytes] = []
        parts = data.split(between)
        for number, part in enumerate(parts):
            text, found, rest = part.partition(middle)
            if _is_rest(rest, end) if end else (found and not rest):
                texts.append(text)
                continue
            rest, _, others = rest.partition(b"\n\n")  # another event may have come behind it
            if _is_rest(rest, end) if end else (found and not rest):
                texts.append(text)
            else:
                others = form.start + part
            self._repeat(form, texts)
            texts = []
            self._parse(others + b"\n\n")
            if self._form != form:
                behind = parts[number + 1 :]
                self._parse(form.start + between.join(behind) + b"\n\n" if behind else b"")
                return
        self._repeat(form, texts)

    def _repeat(self, form: Form, texts: list[bytes]) -> None:
        """Take events of this form with these texts, as they travel."""
        if not texts:
            return
        try:
            # A text with a quote of its own is no text of this form, and this no string.
            text = orjson.loads(b'"%b"' % b"".join(texts))
        except orjson.JSONDecodeError:
            behind = form.middle + form.end + b"\n\n"
            for each in texts:
                self._parse(form.start + each + behind)
            return
        form.take(text)
        self.chunks += len(texts)

    def _parse(self, data: bytes) -> None:
        """Take the next bytes event by event."""
        for event in self._events.feed(data):
            if self._total > _KEPT and b'"usage":{' not in event:
                continue
            if event.startswith(b"[DONE]"):
                self.done = True
                continue
            self.chunks += 1
            self._form = None
            try:
                parsed = orjson.loads(event)
                if self._join.add(parsed):
                    self.begun = True
                    if self._repeats is not None:
                        self._form = self._learned(parsed, event, data)
            except orjson.JSONDecodeError:  # the client will have something to say about it
                continue
            except Exception as error:
                failed(f"reading a chunk of {self._package}", error)

    def _learned(self, parsed: Any, event: bytes, data: bytes) -> Form | None:
        """Learn the form of an event: where its text is, a question mark put there must be found to be the text."""
        assert self._repeats is not None
        found = self._repeats(parsed)
        if found is None:
            return None
        start, quoted, middle = event.partition(b'"%b"' % found[0].encode())
        before, here, _ = data.partition(event)
        if not quoted or not here:
            return None
        lead = before.rpartition(b"\n\n")[2]
        probe = self._repeats(orjson.loads(b'%b"?"%b' % (start, middle)))
        if probe is None or probe[0] != "?":
            return None
        known, noise, behind = middle.partition(_NOISE)
        if noise and behind.find(b'"') + 2 == len(behind):
            return Form(lead + start + b'"', b'"' + known + noise, behind[-2:], found[1])
        return Form(lead + start + b'"', b'"' + middle, b"", found[1])


def _is_rest(rest: bytes, end: bytes) -> bool:
    """Say whether this is noise and the end of the event: noise has no quote in it, and there is one behind it."""
    return rest.find(b'"') + 2 == len(rest) and rest.endswith(end)
