"""No value costs more than it should, and a result is never larger than it may be."""

from __future__ import annotations

import datetime
import gc
import hashlib
import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from honeytrace._snapshot import Limits, Snapshotter
from honeytrace._traceback import describe_error, format_traceback
from honeytrace.exceptions import ConfigError
from honeytrace.redaction import SecretNames


def nested(levels: int, make: Callable[[object], object]) -> object:
    value: object = 1
    for _ in range(levels):
        value = make(value)
    return value


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number
        self.text = "x" * 20


class Sleeping:
    def __repr__(self) -> str:
        time.sleep(0.02)
        return "slept"


class Long:
    def __repr__(self) -> str:
        return LONG


class Dotted:
    def __repr__(self) -> str:
        return "a." * 2_000 + "="


LONG = "x" * 5_000_000

HOSTILE: dict[str, Callable[[], object]] = {
    "lists nested 10,000 deep": lambda: nested(10_000, lambda value: [value]),
    "dicts nested 10,000 deep": lambda: nested(10_000, lambda value: {"a": value}),
    "shared parts, 2**40 nodes": lambda: nested(40, lambda value: [value, value]),
    "shared dicts, 2**40 nodes": lambda: nested(40, lambda value: {"a": value, "b": value}),
    "half a million integers": lambda: list(range(500_000)),
    "a dict of 200,000": lambda: {str(number): number for number in range(200_000)},
    "a dict of 200,000 integers": lambda: dict.fromkeys(range(200_000)),
    "a set of 200,000": lambda: set(range(200_000)),
    "a string of 20 MB": lambda: "x" * 20_000_000,
    "a nested string of 20 MB": lambda: {"a": ["ü" * 10_000_000]},
    "one long string 10,000 times": lambda: ["x" * 1_000_000] * 10_000,
    "keys of 300 KB": lambda: {f"k{number}" * 100_000: 1 for number in range(10)},
    "bytes of 20 MB": lambda: b"x" * 20_000_000,
    "100 data URIs of 1 MB": lambda: ["data:image/png;base64," + "A" * 1_000_000] * 100,
    "10,000 objects": lambda: [Thing(number) for number in range(10_000)],
    "objects in a wide tree": lambda: [[[[Thing(1)] * 10 for _ in range(10)] for _ in range(20)] for _ in range(10)],
    "1,000 rows with dates": lambda: [{"a": n, "t": datetime.datetime(2024, 1, 1)} for n in range(1_000)],
    "10,000 rows": lambda: [{"id": number, "text": "x" * 150} for number in range(10_000)],
    "20,000 different keys": lambda: {f"key {number * 7919}": 1 for number in range(20_000)},
    "characters of four bytes": lambda: ["é中😀\0" * 1_000] * 300,
    "lone surrogates": lambda: ["\ud800" * 1_000] * 1_000,
    "huge integers": lambda: [10**100_000] * 1_000,
    "a repr of 5 MB": lambda: [Long()] * 100,
    "a text of 10 KB 10,000 times": lambda: ["x" * 10_000] * 10_000,
    "reprs full of dots": lambda: [Dotted() for _ in range(100)],
    "an error of 5 MB": lambda: ValueError(LONG),
    "100 slow reprs": lambda: [Sleeping() for _ in range(100)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_costs_little_of_our_time(name):
    """The promise is 5 ms beyond the value's own code; the bound here leaves room for a busy machine."""
    value = HOSTILE[name]()
    snapshot = Snapshotter(SecretNames())
    took = []
    gc.disable()
    try:
        for take in (snapshot, lambda value: snapshot.fields({"value": value})) * 2:
            start = time.thread_time()
            data = take(value)
            took.append(time.thread_time() - start)
            assert len(data) <= 500_000
            json.loads(data)
    finally:
        gc.enable()
    print(f"{name}: {min(took) * 1e3:.1f} ms")
    assert min(took) < 0.05


def test_slow_reprs_are_not_called_without_end():
    start = time.perf_counter()
    data = Snapshotter(None)([Sleeping() for _ in range(100)])
    assert time.perf_counter() - start < 1
    assert 2 <= data.count(b"slept") <= 4
    assert b"no time left to ask" in data


def test_a_pause_does_not_cost_a_small_value_its_content(seen):
    """A garbage collection, or another program on the core, may use up all the time there is."""
    exhausted = Limits(seconds=0, max_bytes=2_000)
    value = {"a": [Thing(number) for number in range(10)], "b": {1: 2}}
    assert seen(value, limits=exhausted) == seen(value)
    assert len(seen({"a": ["x" * 10_000] * 5}, limits=exhausted)["a"]) == 5


def test_many_long_reprs_are_kept_at_their_beginning(seen):
    data = seen([Long() for _ in range(100)])
    assert data[0] == f"{'x' * 4_000} … [5000000 characters]"
    assert data[-1] == f"{'x' * 400} … [5000000 characters]"


SMALL = Limits(max_bytes=2_000, max_string=1_000, seconds=5)


def test_what_fits_is_left_alone(seen):
    value = {"text": "x" * 400_000, "n": [1, 2]}
    assert seen(value) == value
    assert seen({**value, "o": Thing(1)})["text"] == value["text"]


def test_a_long_string_keeps_head_and_tail_with_length_and_hash(seen):
    text = "head" + "x" * 5_000 + "tail"
    shown = seen(text, limits=SMALL)
    assert shown.startswith("headxxx") and shown.endswith("xxxtail")
    assert f" … [5008 characters, sha256 {hashlib.sha256(text.encode()).hexdigest()}] … " in shown
    assert len(shown) == 1_000 + len(" … [5008 characters, sha256 ] … ") + 64


def test_a_long_list_keeps_head_and_tail_and_counts_the_rest(seen):
    shown = seen([f"item {number}" for number in range(10_000)], limits=SMALL)
    assert shown[0] == "item 0" and shown[-1] == "item 9999"
    (marker,) = [item for item in shown if "left out" in item]
    assert marker == f"… {10_000 - len(shown) + 1} items left out …"


def test_a_large_object_keeps_head_and_tail_and_counts_the_rest(seen):
    shown = seen({f"key {number}": "v" for number in range(10_000)}, limits=SMALL)
    assert list(shown)[0] == "key 0" and list(shown)[-1] == "key 9999"
    assert shown["…"] == f"… {10_000 - len(shown) + 1} entries left out …"


def test_what_is_small_stays_whole_beside_what_is_large(seen):
    shown = seen({"question": "why?", "document": "x" * 100_000, "n": list(range(20))}, limits=SMALL)
    assert shown["question"] == "why?" and shown["n"] == list(range(20))
    assert len(shown["document"]) > 900


def test_large_parts_share_the_room(seen):
    shown = seen({"a": "x" * 100_000, "b": ["y" * 100_000], "c": {"d": "z" * 100_000}}, limits=SMALL)
    sizes = [len(shown["a"]), len(shown["b"][0]), len(shown["c"]["d"])]
    assert min(sizes) > 0.8 * max(sizes) > 300


def test_a_heavy_part_leaves_room_for_those_after_it(seen):
    heavy = [Thing(number) for number in range(20_000)]
    shown = seen([heavy, Thing(1), {"a": Thing(2)}])
    assert shown[1]["number"] == 1 and shown[2]["a"]["number"] == 2
    assert len(shown[0]) > 500


def test_levels_below_the_limit_are_named(seen):
    assert seen([[[[1]]]], limits=Limits(max_depth=3)) == [[["<list: below 3 levels>"]]]


def test_limits_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="max_bytes must be at least 256, not 5"):
        Limits(max_bytes=5)


def test_fields_is_an_object_however_small_the_room():
    data = Snapshotter(None, Limits(max_bytes=256)).fields({"a" * 1000: object(), "b": "x" * 1000, "c": [1] * 1000})
    assert len(data) <= 256
    assert isinstance(json.loads(data), dict)


def test_dicts_changed_by_other_threads_never_raise():
    shared: dict[Any, Any] = {f"key {number}": number for number in range(50)}
    shared["inner"] = inner = {}
    shared["list"] = items = []
    shared["object"] = thing = Thing(1)
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            shared[f"more {number % 97}"] = number
            inner[number % 89] = [number]
            items.append(number)
            thing.__dict__[f"a{number % 53}"] = number
            shared.pop(f"more {number % 31}", None)
            inner.pop(number % 43, None)
            thing.__dict__.pop(f"a{number % 17}", None)
            if len(items) > 100:
                items.clear()

    snapshot = Snapshotter(SecretNames())
    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for round in range(2_000):
            data = snapshot(shared) if round % 2 else snapshot({"plain": inner, "items": items})
            assert data[:1] == b"{" and b"RuntimeError" not in data
            if round % 50 == 0:
                json.loads(data)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    raise ValueError("at the bottom")


def test_a_traceback_keeps_the_first_and_last_frames():
    with pytest.raises(ValueError) as caught:
        deep(300)
    text = format_traceback(caught.value)
    assert "test_a_traceback_keeps" in text.splitlines()[0]
    assert "frames left out" in text
    assert text.splitlines()[-1] == "ValueError: at the bottom"
    assert 'raise ValueError("at the bottom")' in text
    assert len(text) < 8_200


def test_a_traceback_shows_causes_and_ends_when_they_are_a_circle():
    try:
        try:
            deep(1)
        except ValueError as error:
            raise KeyError("k") from error
    except KeyError as caught:
        text = format_traceback(caught)
        assert "caused by:\n" in text and "KeyError: 'k'" in text and "ValueError: at the bottom" in text
        caught.__cause__.__context__ = caught
        assert format_traceback(caught).count("KeyError: 'k'") == 1


def test_the_traceback_of_a_full_stack_is_cheap():
    def down() -> None:
        down()

    with pytest.raises(RecursionError) as caught:
        down()
    format_traceback(caught.value)
    start = time.thread_time()
    text = format_traceback(caught.value)
    assert time.thread_time() - start < 0.02
    assert len(text) < 8_200


def test_an_error_is_described_whatever_its_str_does():
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe_error(ValueError("bad")) == "ValueError: bad"
    assert describe_error(ValueError()) == "ValueError"
    assert describe_error(Mute()) == "Mute: <its __str__ raised RuntimeError>"
    assert describe_error(ValueError("\ud800")) == "ValueError: \\ud800"
    assert len(describe_error(ValueError("x" * 10**6))) < 2_100
    assert describe_error(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_small_media_are_hashed_however_late_it_is() -> None:
    snapshot = Snapshotter(SecretNames(), Limits(seconds=0))
    small, large = b"\x89PNG\r\n\x1a\n" + bytes(500), bytes(100_000)
    for value in (small, f"data:image/png;base64,{b64encode(small).decode()}"):
        assert json.loads(snapshot([value]))[0]["sha256"] == hashlib.sha256(small).hexdigest()
    assert "sha256" not in json.loads(snapshot([large]))[0]
