"""What is claimed of any value, for values nobody thought of."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict, deque
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from honeytrace._snapshot import Limits, Snapshotter
from honeytrace.redaction import SecretNames, Truncate, apply

from .conftest import strictly


@dataclasses.dataclass
class Record:
    a: Any
    password: Any


class Plain:
    def __init__(self, a: Any) -> None:
        self.a = a


class Raising:
    def __repr__(self) -> str:
        raise ValueError

    __eq__ = __hash__ = None  # type: ignore[assignment]


text = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
keys = st.one_of(
    text,
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.binary(max_size=8),
    st.tuples(text, st.integers()),
    st.uuids(),
    st.dates(),
    st.decimals(allow_nan=False),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**60, max_value=2**80),
    st.floats(),
    text,
    st.text('ab\ud800é\0"\\', max_size=3_000),
    st.binary(max_size=50),
    st.decimals(),
    st.uuids(),
    st.datetimes(),
    st.timedeltas(),
    st.complex_numbers(),
    st.builds(object),
    st.builds(Raising),
    st.builds(ValueError, text),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=8),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(deque),
        st.dictionaries(text, inner, max_size=8),
        st.dictionaries(keys, inner, max_size=8),
        st.dictionaries(text, inner, max_size=4).map(OrderedDict),
        st.dictionaries(text, st.integers(), max_size=4).map(Counter),
        st.sets(st.one_of(st.integers(), text), max_size=5),
        st.builds(Record, inner, inner),
        st.builds(Plain, inner),
    )


values = st.recursive(leaves, containers, max_leaves=40)
check = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@check
@given(values, st.integers(256, 3_000))
def test_any_value_becomes_strict_json_within_its_limit(value, max_bytes):
    small = Snapshotter(SecretNames(), Limits(max_bytes=max_bytes, max_string=200))
    assert len(data := small(value)) <= max_bytes
    strictly(data)
    assert len(data := small.fields({"a": value, "b": value})) <= max_bytes
    assert isinstance(strictly(data), dict)
    strictly(Snapshotter(None)(value))


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=300),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=5)),
    max_leaves=30,
)


@check
@given(json_values)
def test_json_comes_back_as_it_was_on_either_path(value):
    snapshot = Snapshotter(None, Limits(seconds=5))
    assert strictly(snapshot(value)) == value
    assert strictly(snapshot([value, {1, 2}])) == [value, [1, 2]]
    assert strictly(snapshot([value, object()]))[0] == value


SECRET = "5ecre7"
secret_keys = st.sampled_from(["password", "apiKey", "X-Auth-Token", "client_secret", b"cookie", ("a", "password")])


def hidden(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    held = st.one_of(st.just(SECRET), st.lists(st.just(SECRET), max_size=3), inner)
    under = st.dictionaries(secret_keys, held, min_size=1, max_size=3)
    return st.one_of(
        st.lists(under, min_size=1, max_size=4),
        st.dictionaries(st.text(max_size=5), under, max_size=4),
        st.builds(Record, st.one_of(under, st.none(), leaves), held),
        st.builds(Plain, under),
        st.tuples(under, leaves),
    )


@check
@given(
    st.recursive(st.dictionaries(secret_keys, st.just(SECRET), min_size=1), hidden, max_leaves=20),
    st.sampled_from([256, 1_000, 500_000]),
)
def test_a_secret_is_nowhere_in_the_bytes(value, max_bytes):
    snapshot = Snapshotter(SecretNames(), Limits(max_bytes=max_bytes))
    for data in (snapshot(value), snapshot(value), snapshot.fields({"value": value})):
        assert SECRET.encode() not in data
    assert SECRET.encode() not in snapshot(apply(Truncate(2_000), value))


@check
@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_name_is_decided(name):
    assert SecretNames().is_secret(name) in (True, False)
    # "my" first: a name that begins as a question, is_password, names an answer and no password.
    assert SecretNames().is_secret(f"my_{name}_password")


@check
@given(st.lists(st.one_of(st.dates(), st.uuids(), st.datetimes(), st.integers()), min_size=1, max_size=5))
def test_rows_read_the_same_whole_and_one_by_one(row):
    """Databases' rows have a way of their own; it must not show."""
    snapshot = Snapshotter(SecretNames(), Limits(seconds=5))
    cells = {str(index): cell for index, cell in enumerate(row)}
    assert strictly(snapshot([cells])) == [strictly(snapshot(cells))] == [strictly(snapshot.fields(cells))]
