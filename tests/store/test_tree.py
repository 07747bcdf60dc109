"""Events as a tree and a tree as text: each event once, whatever its ids; no text breaks the drawing."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from honeytrace import _text, _tree
from honeytrace._text import Look

S = "session-1"


def event(event_id, parent=None, **fields):
    return {
        "event_id": event_id,
        "session_id": S,
        "parent_id": parent or S,
        "event_type": "tool",
        "event_name": event_id,
        "inputs": {},
        **fields,
    }


def session(**fields):
    return {"event_id": S, "session_id": S, "event_type": "session", "event_name": "chat", **fields}


def shape(nodes):
    return [(node.event["event_id"], shape(node.children)) for node in nodes]


def ids(nodes):
    found, waiting = [], list(nodes)
    while waiting:
        node = waiting.pop()
        if node.note != _tree.UNFINISHED:
            found.append(node.event["event_id"])
        waiting.extend(node.children)
    return sorted(found)


def drawn(*events, **options):
    return _tree.render(_tree.build(events), **options)


def test_children_hang_under_their_parents_and_siblings_follow_time():
    nodes = _tree.build(
        [
            event("late", "top", start_time=3),
            event("early", "top", start_time=2),
            event("leaf", "late", start_time=4),
            event("top", start_time=1),
            session(start_time=0),
        ]
    )
    assert shape(nodes) == [(S, [("top", [("early", []), ("late", [("leaf", [])])])])]


def test_a_parent_that_is_absent_is_made_up_under_the_session_and_said_to_be_unfinished():
    (root,) = _tree.build(
        [
            session(start_time=1),
            event("done", start_time=2),
            event("deep", "b", start_time=9),
            event("b", "killed", start_time=4),
            event("a", "killed", start_time=3),
            event("later", "another", start_time=5),
        ]
    )
    assert shape([root]) == [
        (S, [("done", []), ("killed", [("a", []), ("b", [("deep", [])])]), ("another", [("later", [])])])
    ]
    assert [node.note for node in root.children] == ["", _tree.UNFINISHED, _tree.UNFINISHED]
    assert root.children[1].children[0].note == ""


def test_a_parent_that_is_unfinished_is_drawn_as_such():
    lines = drawn(session(), event("a", "0123456789abcdef"), event("b", "0123456789abcdef"), event("c", "\x1b[31m"))
    assert [line.rstrip() for line in lines] == [
        f"chat  {S[:8]}",
        "├─ unfinished 01234567  (did not finish, or has not yet)",
        "│  ├─ tool  a",
        "│  └─ tool  b",
        "└─ unfinished \\x1b[31m  (did not finish, or has not yet)",
        "   └─ tool  c",
    ]


def test_two_sessions_may_speak_of_the_same_absent_parent():
    nodes = _tree.build([event("a", "x"), {**event("b", "x"), "session_id": "other"}])
    assert shape(nodes) == [(S, [("x", [("a", [])])]), ("other", [("x", [("b", [])])])]


def test_a_session_that_is_absent_is_made_up_and_marked():
    (root,) = _tree.build([event("a")])
    assert (root.event["event_id"], root.note) == (S, _tree.NO_SESSION)


def test_a_parent_in_another_session_is_no_parent():
    nodes = _tree.build([event("a"), {**event("b", "a"), "session_id": "other"}])
    assert shape(nodes) == [(S, [("a", [])]), ("other", [("b", [])])]
    assert nodes[1].children[0].note == _tree.ELSEWHERE


def test_a_circle_of_parents_is_cut_at_its_earliest_event():
    (root,) = _tree.build(
        [
            session(),
            event("below", "a", start_time=0),
            event("a", "b", start_time=2),
            event("b", "c", start_time=1),
            event("c", "a", start_time=3),
        ]
    )
    assert shape([root]) == [(S, [("b", [("a", [("below", []), ("c", [])])])])]
    assert root.children[0].note == _tree.CYCLE


def test_an_event_that_is_its_own_parent_is_drawn_once():
    assert ids(_tree.build([session(), event("a", "a")])) == sorted([S, "a"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9), st.integers(0, 2)), max_size=20))
def test_any_events_are_each_in_the_tree_once(links):
    events = {str(n): {**event(str(n), str(parent)), "session_id": f"s{which}"} for n, parent, which in links}
    found = [one for one in ids(_tree.build(list(events.values()))) if not one.startswith("s")]
    assert found == sorted(events)


def test_a_tree_10_000_deep_is_built_and_drawn_within_the_width():
    events = [session()] + [event(f"e{n}", f"e{n - 1}" if n else None, duration=1) for n in range(10_000)]
    lines = drawn(*events, width=80)
    assert len(lines) == 10_001
    assert max(len(line) for line in lines) <= 80


def test_a_tree_looks_like_this():
    lines = drawn(
        session(start_time=None, duration=3400),
        event(
            "answer",
            duration=3390.2,
            event_type="chain",
            start_time=1,
            inputs={"q": "why?"},
            outputs={"result": 42},
        ),
        event("search", "answer", duration=0.85, start_time=2, error="KeyError: 'x'\nsecond line"),
        event(
            "ask",
            "answer",
            event_type="model",
            duration=12.4,
            start_time=3,
            config={"model": "gpt"},
            metadata={
                "prompt_tokens": 1200,
                "completion_tokens": 30,
                "chunks": 4,
                "time_to_first_token_ms": 80,
            },
        ),
        event("part", "ask", start_time=5, end_time=65_005),
        width=76,
    )
    assert lines == [
        "chat  session-                                                         3.4 s",
        '└─ chain answer  "why?" → 42                                           3.4 s',
        "   ├─ tool  search ✗                                                  850 µs",
        "   │     KeyError: 'x'\\nsecond line",
        "   └─ model ask  gpt  1,200+30 tokens  4 chunks  first after 80 ms     12 ms",
        "      └─ tool  part                                               1 min 05 s",
    ]


def test_the_drawing_falls_back_to_ascii():
    lines = drawn(
        session(duration=0.5),
        event("a", error="bad", inputs={"a": "x" * 200}),
        event("b", "a"),
        width=60,
        ascii=True,
    )
    text = "\n".join(lines)
    assert text.isascii()
    assert "`- tool  a x" in text
    assert "500 us" in text


def test_wide_characters_are_counted_as_two_columns():
    lines = drawn(session(), event("包裹📦", duration=5), event("parcel", duration=5), width=60)
    assert [len(line) for line in lines[1:]] == [60 - 3, 60]


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b", "a\\u2066b"),
        ("a\u2028b", "a\\u2028b"),
        ("a\ud800b", "a\\ud800b"),
        ("a\x00\x07\x7fb", "a\\x00\\x07\\x7fb"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("a\u200db", "ab"),
    ],
)
def test_hostile_text_is_made_visible_wherever_it_stands(hostile, shown):
    everywhere = event(
        hostile,
        event_type=hostile,
        error=hostile,
        inputs={hostile: hostile},
        outputs={"a": [hostile], "b": {hostile: 1}},
        config={"model": hostile},
        metadata={"traceback": hostile},
    )
    named = session(event_name=hostile, user_properties={"user_id": hostile})
    for full in (False, True):
        lines = _tree.render(_tree.build([named, everywhere]), full=full)
        assert shown in lines[0]
        assert all(_text.visible(line) == line for line in lines)


@settings(max_examples=40, deadline=None)
@given(st.text(), st.integers(10, 40))
def test_any_text_is_cut_and_wrapped_to_its_columns_and_loses_nothing_when_wrapped(text, width):
    shown = _text.visible(text)
    assert _text.columns(_text.cut(shown, width, Look())) <= width
    lines = _text.wrap(shown, width)
    assert "".join(lines) == shown
    assert all(_text.columns(line) <= width for line in lines)


few = settings(max_examples=40, deadline=None)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@few
@given(
    st.dictionaries(st.sampled_from([*_tree._KEPT, "inputs", "outputs", "error", "metadata", "config"]), json_values)
)
def test_any_json_in_any_field_is_drawn_on_lines_of_the_width(fields):
    for full in (False, True):
        lines = drawn(fields, width=60, full=full)
        assert all(_text.columns(line) <= 60 for line in lines)


@few
@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "error", "metadata"]), json_values))
def test_a_compact_event_is_drawn_like_the_event(fields):
    whole = event("a", **fields)
    assert drawn(_tree.compact(whole), width=60) == drawn(whole, width=60)


def test_full_shows_everything_an_event_holds_as_it_was_written():
    lines = drawn(
        session(),
        event(
            "a",
            inputs={"text": "first\n    second", "list": [1, {"b": None}], "empty": {}},
            error="bad",
            metadata={"traceback": "Traceback:\n  File x"},
        ),
        full=True,
    )
    assert [line.strip() for line in lines[2:]] == [
        "inputs",
        "text:",
        "first",
        "second",
        "list:",
        "- 1",
        "- b: null",
        "empty: {}",
        "error",
        "bad",
        "metadata",
        "traceback:",
        "Traceback:",
        "File x",
        "",
    ]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 µs"),
        (0.85, "850 µs"),
        (0.9999, "1.0 ms"),
        (9.94, "9.9 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (59_900, "59.9 s"),
        (59_990, "1 min 00 s"),
        (125_000, "2 min 05 s"),
        (3_720_000, "1 h 02 min"),
        (100_000_000, "1 d 03 h"),
        (-1, ""),
        (float("nan"), ""),
        ("12", ""),
        (True, ""),
        (None, ""),
    ],
)
def test_a_duration_is_said_in_the_unit_that_fits(milliseconds, text):
    assert _text.duration(milliseconds, Look()) == text


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "color"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (None, {}, False),
    ],
)
def test_colour_follows_the_stream_and_its_environment(stream, environ, color):
    assert Look.of(stream, environ).color is color


def test_colours_end_on_the_line_where_they_begin():
    lines = drawn(session(duration=1), event("a", error="x", duration=1), color=True)
    assert all(line.count("\x1b[0m") == line.count("\x1b[") / 2 for line in lines)


def test_a_stream_in_ascii_gets_ascii_and_what_it_cannot_take_is_escaped():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert Look.of(stream, {}).ascii
    assert _text.encodable("包", stream) == "\\u5305"


def test_a_stream_that_its_consumer_closed_says_so():
    nodes = _tree.build([event("s", metadata={"chunks": 2, "outcome": "closed"})])
    line = _tree.render(nodes, color=False, width=100)[-1]
    assert "2 chunks" in line
    assert "closed" in line


@pytest.mark.parametrize(
    "events",
    [
        [("a", "a", "b"), ("b", "a", "a")],
        [("a", "b", "b"), ("b", "x", "a")],
        [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b")],
    ],
)
def test_ids_that_point_at_each_other_as_sessions_still_make_a_tree(events: list[tuple[str, str, str]]) -> None:
    made = _tree.build({"event_id": id, "parent_id": parent, "session_id": session} for id, parent, session in events)
    waiting = list(made)
    found: list[str] = []
    while waiting:
        node = waiting.pop()
        found.append(node.event["event_id"])
        assert len(found) < 20
        waiting.extend(node.children)
    assert {"a", "b"} <= set(found)
