"""Streams read in pieces, however they are cut: the join is told what it would be told if every event were parsed."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from honeytrace.integrations._events import EventStream
from honeytrace.integrations._joins import JoinChat
from honeytrace.integrations._wire import Events

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "bee"}
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ['"', "\\", "\n", 'a"}', '"},"logprobs":null', '","obfuscation":"', "é", "🐝", "data: ", "\n\n", "?"]
    ),
)

BEFORE = st.sampled_from([""] * 5 + ["event: chunk\n", ": still there\n\n", "data: \n"])


class Parsing(JoinChat):
    """The same join, of which every event is parsed."""

    repeats = None  # type: ignore[assignment]


def chunk(delta: dict[str, Any], *, index: int = 0, reason: str | None = None, **rest: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {**HEAD, "model": rest.pop("model", "bee"), "choices": [choice], "usage": None, **rest}


@st.composite
def runs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Some events of one form."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=6))
    index, kind = draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from(["content"] * 4 + ["other", "both", "call"]))
    counted = draw(st.sampled_from([None] * 6 + [{"prompt_tokens": 3}]))
    reason = draw(st.sampled_from([None] * 6 + ["stop"]))
    noisy = draw(st.booleans())
    made = []
    for text in texts:
        deltas: dict[str, dict[str, Any]] = {
            "content": {"content": text},
            "other": {"reasoning_content": text},
            "both": {"content": "same", "refusal": text},
            "call": {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": text}}]},
        }
        rest: dict[str, Any] = {"obfuscation": draw(st.text("abc123", max_size=5))} if noisy else {}
        rest["model"] = draw(st.sampled_from(["bee", "bee", "wasp"]))
        made.append(chunk(deltas[kind], index=index, reason=reason, usage=counted, **rest))
    return made


def read(join: Any, data: bytes, cuts: list[int]) -> tuple[Any, int, bool, bool]:
    stream, start = EventStream(Events(), join, "openai"), 0
    for cut in [*sorted(cuts), len(data)]:
        stream.feed(data[start : max(cut, start)])
        start = max(cut, start)
    return join.result(), stream.chunks, stream.done, stream.begun


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(runs(), BEFORE), min_size=2, max_size=8),
    st.booleans(),
    st.sampled_from(["\n"] * 4 + ["\r\n"]),
    st.data(),
)
def test_any_stream_cut_anywhere_is_read_as_if_every_event_were_parsed(
    given_runs: list[tuple[list[dict[str, Any]], str]], ascii: bool, newline: str, data: st.DataObject
) -> None:
    lines = [
        f"{before}data: {json.dumps(event, ensure_ascii=ascii, separators=(',', ':'))}\n\n"
        for events, before in given_runs
        for event in events
    ]
    pieces = [line.replace("\n", newline).encode() for line in [*lines, "data: [DONE]\n\n"]]
    body, ends = b"".join(pieces), list(accumulate(map(len, pieces)))
    step = data.draw(st.sampled_from([1, 2, 3, 5]))
    cuts = ends[data.draw(st.sampled_from([0, 1])) :: step] + data.draw(st.lists(st.integers(0, len(body)), max_size=3))
    mine, reference = read(JoinChat(), body, cuts), read(Parsing(), body, [])
    for result in mine[0], reference[0]:
        result.pop("obfuscation", None)  # letters of no meaning
    assert mine == reference


def test_repeated_chunks_are_not_parsed() -> None:
    added: list[Any] = []

    class Counting(JoinChat):
        def add(self, event: Any) -> bool:
            added.append(event)
            return super().add(event)

    made = [chunk({"content": f" word{number}"}, obfuscation="x" * (number % 7)) for number in range(500)]
    lines = [f"data: {json.dumps(event, separators=(',', ':'))}\n\n" for event in made]
    body = "".join(lines).encode()
    answer, chunks, _, begun = read(Counting(), body, [len(lines[0])])
    assert answer["choices"][0]["message"]["content"] == "".join(f" word{number}" for number in range(500))
    assert (chunks, begun) == (500, True)
    assert len(added) == 1


def as_event(made: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(made, separators=(',', ':'))}\n\n".encode()


def test_a_text_that_is_also_another_value_is_not_mistaken_for_it() -> None:
    first, second = as_event(chunk({"content": "bee"})), as_event(chunk({"content": "bee"}, model="wasp"))
    answer = read(JoinChat(), first + second, [len(first)])[0]
    assert answer["choices"][0]["message"]["content"] == "beebee"
    assert answer["model"] == "wasp"


def test_an_event_that_goes_on_is_not_taken_for_a_whole_one() -> None:
    first, begun, second = as_event(chunk({"content": "a"})), b'data: {"a":\n', as_event(chunk({"content": "b"}))
    cuts = [len(first), len(first + begun)]
    mine, reference = (read(join, first + begun + second, cuts) for join in (JoinChat(), Parsing()))
    assert mine == reference
    assert mine[0]["choices"][0]["message"]["content"] == "a"


def test_nothing_is_a_repetition_of_what_was_before_another_event() -> None:
    events = [chunk({"content": "a"}), chunk({"content": ""}, model="wasp"), chunk({"content": "b"})]
    pieces = [as_event(event) for event in events]
    answer = read(JoinChat(), b"".join(pieces), [len(pieces[0]), len(pieces[0] + pieces[1])])[0]
    assert answer["model"] == "bee"
