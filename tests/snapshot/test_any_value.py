"""Every kind of value becomes something a person can read, and its own code is not provoked."""

from __future__ import annotations

import array
import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import json
import logging
import pathlib
import re
import signal
import sqlite3
import sys
import threading
import types
import typing
import uuid
import warnings
import weakref
from typing import Any
from unittest.mock import MagicMock, Mock

import attr
import numpy
import pandas
import pydantic
import pytest

import honeytrace
from honeytrace._snapshot import Limits, Snapshotter
from honeytrace._traceback import describe_error
from honeytrace.redaction import SecretNames


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(typing.NamedTuple):
    x: int
    y: object


@dataclasses.dataclass
class Query:
    text: str
    limit: int = 5
    hidden: str = dataclasses.field(default="not shown", repr=False)


@dataclasses.dataclass
class Slotted:
    __slots__ = ("text",)
    text: str


@attr.define
class Chunk:
    text: str
    hidden: str = attr.field(default="not shown", repr=False)


class Message(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    role: str = "user"
    key: pydantic.SecretStr = pydantic.SecretStr("hush")
    hidden: str = pydantic.Field(default="not shown", repr=False)


class Agent:
    def __init__(self) -> None:
        self.name = "planner"
        self._private = "not shown"
        self.query = Query("why")


class Described:
    def __repr__(self) -> str:
        return f"Described(1) at 0x{id(self):x}"


class Offers:
    def __honeytrace__(self) -> object:
        return {"offered": [1, 2]}


class Text(str):
    def __str__(self) -> str:
        raise AssertionError("called")

    __repr__ = __len__ = __iter__ = __eq__ = __hash__ = __str__  # type: ignore[assignment]


def chunks() -> typing.Iterator[int]:
    yield 1


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        ("héllo", "héllo"),
        (float("nan"), None),
        ([float("inf"), -float("inf")], [None, None]),
        (2**64 - 1, 2**64 - 1),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        ({"n": [2**100]}, {"n": ["1267650600228229401496703205376"]}),
        (10**100_000, "<int of 332193 bits>"),
        ("a\ud800b", "a\\ud800b"),
        ({"\udfff": "\udfff"}, {"\\udfff": "\\udfff"}),
        ((1, (2, [3])), [1, [2, [3]]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset("ba"), ["a", "b"]),
        (collections.deque([1, 2], maxlen=5), [1, 2]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.UserDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.ChainMap({"a": 1}, {"a": 2, "password": "hunter2"}), {"a": 1, "password": "[redacted]"}),
        (array.array("d", [1, 2]), {"type": "array", "typecode": "d", "size": 2, "values": [1.0, 2.0]}),
        (array.array("B", bytes(100)), {"type": "array", "typecode": "B", "size": 100, "head": [0] * 16}),
        (logging.getLogger("a.b"), "<Logger a.b>"),
        (logging.NullHandler(), "<NullHandler>"),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.items(), [["a", 1]]),
        (Text("plain"), "plain"),
        ([Text("plain")], ["plain"]),
        (Point(1, {"a": Point(2, None)}), {"x": 1, "y": {"a": {"x": 2, "y": None}}}),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.Path("/a/b"), "/a/b"),
        (datetime.datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
        (datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc), "2024-01-02T00:00:00+00:00"),
        (
            [{"at": datetime.date(2024, 1, 2), "id": uuid.UUID(int=1)}],
            [{"at": "2024-01-02", "id": str(uuid.UUID(int=1))}],
        ),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.time(1, 2), "01:02:00"),
        (datetime.timedelta(days=1), "1 day, 0:00:00"),
        (1j, "1j"),
        (fractions.Fraction(1, 3), "1/3"),
        (range(3), "range(0, 3, 1)"),
        (slice(1, None), [1, None, None]),
        (re.compile("a+"), "re.compile('a+')"),
        (int, "<class int>"),
        (Query, f"<class {__name__}.Query>"),
        (chunks, "<function chunks>"),
        (len, "<builtin_function_or_method len>"),
        (sys, "<module sys>"),
        (ValueError("bad"), {"type": "ValueError", "message": "bad"}),
        (Query("why"), {"text": "why", "limit": 5}),
        (Slotted("why"), {"text": "why"}),
        (Chunk("c"), {"text": "c"}),
        (Message(more=[1]), {"role": "user", "key": "[redacted]", "more": [1]}),
        (Agent(), {"$type": "Agent", "name": "planner", "query": {"text": "why", "limit": 5}}),
        (types.SimpleNamespace(a=1), {"$type": "SimpleNamespace", "a": 1}),
        (object(), "<object>"),
        (Described(), "Described(1)"),
        (Offers(), {"offered": [1, 2]}),
        (threading.Lock(), "<unlocked _thread.lock object>"),
        (iter([1]), "<list_iterator>"),
        (Mock(), "<Mock>"),
        (MagicMock(spec=dict), "<MagicMock>"),
        (numpy.float32(1.5), 1.5),
        (numpy.float64("nan"), None),
        (numpy.int64(3), 3),
        (numpy.bool_(True), True),
        (numpy.arange(3), {"type": "ndarray", "shape": [3], "dtype": "int64", "values": [0, 1, 2]}),
        (
            numpy.array([(1, "hunter2")], dtype=[("id", "i8"), ("password", "U9")]),
            {
                "type": "ndarray",
                "shape": [1],
                "dtype": "[('id', '<i8'), ('password', '<U9')]",
                "values": [{"id": 1, "password": "[redacted]"}],
            },
        ),
        (
            numpy.array([(1, "hunter2")], dtype=[("id", "i8"), ("password", "U9")])[0],
            {"id": 1, "password": "[redacted]"},
        ),
        (
            numpy.zeros((100, 100)),
            {"type": "ndarray", "shape": [100, 100], "dtype": "float64", "head": [0.0] * 16},
        ),
        (
            pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
            {"type": "DataFrame", "shape": [2, 2], "columns": ["a", "b"], "head": [[1, "x"], [2, "y"]]},
        ),
        (
            pandas.Series([1, 2], name="n"),
            {"type": "Series", "shape": [2], "dtype": "int64", "name": "n", "head": {"n": {"0": 1, "1": 2}}},
        ),
        (pandas.Timestamp("2024-01-02"), "2024-01-02T00:00:00"),
        (pandas.NaT, None),
        (PNG, {"mime": "image/png", "bytes": 28, "sha256": hashlib.sha256(PNG).hexdigest()}),
        (
            bytearray(b"abc"),
            {"mime": "application/octet-stream", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
        ),
        (
            memoryview(b"abcdef")[::2],
            {"mime": "application/octet-stream", "bytes": 3, "sha256": hashlib.sha256(b"ace").hexdigest()},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_this_kind_is_readable(seen, value, expected):
    assert seen(value) == expected
    assert seen({"in": [value]}) == {"in": [expected]}


def test_keys_become_text_and_none_is_lost(seen):
    value = {
        1: "a",
        "1": "b",
        1.5: "c",
        None: "d",
        True and (1, "x"): "e",
        b"k": "f",
        Colour.RED: "g",
        uuid.UUID(int=0): "h",
    }
    assert seen(value) == {
        "1": "a",
        "1 (str)": "b",
        "1.5": "c",
        "None": "d",
        "(1, 'x')": "e",
        "k": "f",
        "red": "g",
        str(uuid.UUID(int=0)): "h",
    }


def test_a_cycle_is_named_and_a_shared_part_is_not_taken_for_one(seen):
    shared = [1]
    cycle: list[object] = [shared, shared]
    cycle.append(cycle)
    assert seen(cycle) == [[1], [1], "<cycle: list>"]


@pytest.mark.parametrize("where", ["top", "list", "field"])
def test_a_long_data_uri_becomes_what_it_holds(where):
    import base64

    data = PNG + bytes(range(256)) * 4
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    expected = {"mime": "image/png", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    import json

    snapshot = Snapshotter(SecretNames())
    if where == "top":
        assert json.loads(snapshot(uri)) == expected
    elif where == "list":
        assert json.loads(snapshot([{"url": uri, "n": 1}])) == [{"url": expected, "n": 1}]
    else:
        assert json.loads(snapshot.fields({"url": uri, "n": 1})) == {"url": expected, "n": 1}


def test_text_that_merely_starts_like_a_data_uri_stays_text(seen):
    stream = 'data: {"choices": []}\n\n' * 50
    assert seen([stream]) == [stream]


def test_a_generator_is_named_and_not_consumed(seen):
    generator = chunks()
    assert seen([generator]) == ["<generator chunks>"]
    assert list(generator) == [1]


def test_a_coroutine_and_a_task_are_named_and_not_awaited(seen):
    async def work() -> int:
        return 1

    async def main() -> None:
        coroutine, task = work(), asyncio.ensure_future(work())
        assert seen([coroutine]) == [f"<coroutine {work.__qualname__}>"]
        assert seen([task]) == ["<Task>"]
        assert await coroutine + await task == 2

    asyncio.run(main())


def test_an_open_file_is_named_and_not_read(seen, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    with path.open() as file:
        assert seen(file) == f"<TextIOWrapper {path}>"
        assert file.read() == "text"


class Provoked(BaseException):
    """Raised by what a snapshot has no business to call: what is recorded would name it."""


def provoke(*args: object) -> typing.Any:
    raise Provoked


class LazyRows:
    """Like a queryset: iterating, measuring, testing or printing it would load it."""

    def __init__(self) -> None:
        self.model = Query
        self._cache = None

    __iter__ = __len__ = __bool__ = __repr__ = __getitem__ = __contains__ = provoke


class LazyProxy:
    __slots__ = ("_wrapped",)
    __getattr__ = __repr__ = __eq__ = __hash__ = __call__ = provoke  # type: ignore[assignment]
    __class__ = property(provoke)  # type: ignore[assignment]


class Mapped:
    """Like an instance of a mapped class whose attributes have expired: its repr would load them."""

    __mapper__ = "the class's"
    __repr__ = provoke  # type: ignore[assignment]

    def __init__(self) -> None:
        self._sa_instance_state = "expired"


class Lying:
    __class__ = property(lambda self: dict)  # type: ignore[assignment]
    keys = items = __iter__ = __len__ = __getitem__ = provoke


class Properties:
    def __init__(self) -> None:
        self.plain = 1

    loaded = property(provoke)
    items = keys = values = property(provoke)
    __getattribute__ = provoke  # type: ignore[assignment]


class LyingDict(dict):  # type: ignore[type-arg]
    keys = items = values = __iter__ = __len__ = __getitem__ = __missing__ = __bool__ = copy = provoke


class LyingList(list):  # type: ignore[type-arg]
    __iter__ = __len__ = __getitem__ = __bool__ = __eq__ = copy = provoke  # type: ignore[assignment]


class OddMeta(type):
    __hash__ = provoke  # type: ignore[assignment]
    __eq__ = provoke  # type: ignore[assignment]
    __instancecheck__ = __subclasscheck__ = __getattribute__ = provoke  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (LazyRows(), "<LazyRows>"),
        (LazyProxy(), "<LazyProxy>"),
        (Mapped(), "<Mapped>"),
        (Lying(), "<Lying>"),
        (Properties(), {"$type": "Properties", "plain": 1}),
        (LyingDict(a=1), {"a": 1}),
        (LyingList([1]), [1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_code_of_the_value_that_could_load_or_lie_is_not_called(seen, value, expected):
    assert seen([value]) == [expected]


def test_rows_of_a_database_are_objects_of_their_columns(seen):
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    cursor = connection.execute("select 7 as id, 'hunter2' as password union all select 8, 'x'")
    assert seen(cursor.fetchone()) == {"id": 7, "password": "[redacted]"}
    assert seen(cursor) == "<Cursor>"
    assert len(cursor.fetchall()) == 1
    connection.close()


def test_objects_of_sqlalchemy_are_recorded_as_far_as_they_are_loaded(seen):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    base = orm.declarative_base()

    class User(base):
        __tablename__ = "users"
        id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
        name = sqlalchemy.Column(sqlalchemy.String)

        def __repr__(self) -> str:
            return f"User({self.name})"

    engine = sqlalchemy.create_engine("sqlite://")
    base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        user = User(name="ada")
        session.add(user)
        session.commit()
        statements: list[str] = []
        sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        assert seen([user, session.query(User)]) == ["<User>", "<Query>"]
        assert statements == []
        assert user.name == "ada"
        assert seen(user) == {"$type": "User", "id": 1, "name": "ada"}
        row = session.execute(sqlalchemy.select(User.id, User.name)).one()
        assert seen([row, row._mapping]) == [{"id": 1, "name": "ada"}] * 2
        session.commit()
    assert seen(user) == "<User>"
    engine.dispose()


class Raising:
    def __init__(self, error: type[BaseException]) -> None:
        object.__setattr__(self, "_error", error)

    def __repr__(self) -> str:
        raise object.__getattribute__(self, "_error")

    __str__ = __repr__


class RaisingKey:
    def __hash__(self) -> int:
        return hash("a")

    def __eq__(self, other: object) -> bool:
        raise ValueError

    def __repr__(self) -> str:
        return "key"


class RaisingError(Exception):
    def __str__(self) -> str:
        raise ValueError


class Endless:
    def __repr__(self) -> str:
        return repr(self)

    def __honeytrace__(self) -> object:
        return Endless()


class RaisingMeta(type):
    def __hash__(cls) -> int:
        raise ValueError

    def __eq__(cls, other: object) -> bool:
        return True


class OfRaisingMeta(metaclass=RaisingMeta):
    def __init__(self) -> None:
        self.a = 1


def test_what_raises_is_described_and_its_neighbours_are_recorded(seen):
    value = [Raising(ValueError), RaisingError(), OfRaisingMeta(), {RaisingKey(): 1}, {"a": 1}]
    assert seen(value) == [
        "<Raising: ValueError>",
        {"type": "RaisingError", "message": "<ValueError>"},
        {"$type": "OfRaisingMeta", "a": 1},
        {"key": 1},
        {"a": 1},
    ]


def test_an_endless_offer_ends(seen):
    data = seen([Endless(), 1])
    assert data[1] == 1
    assert data[0].startswith("<Endless: below")


@pytest.mark.parametrize("kind", [BaseException, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_raises_no_exception_but_something_else_is_described_too(seen, kind):
    described = f"<Raising: {kind.__name__}>"
    assert seen([Raising(kind), {Raising(kind): 1}, 2]) == [described, {described: 1}, 2]


def test_keyboard_interrupt_passes():
    with pytest.raises(KeyboardInterrupt):
        Snapshotter(None)([Raising(KeyboardInterrupt)])


class Terminated:
    """Is told to end while it describes itself."""

    def __repr__(self) -> str:
        signal.raise_signal(signal.SIGUSR1)
        return "went on"


class Handler:
    def __call__(self, number: int, frame: object) -> None:
        sys.exit(number)

    def method(self, number: int, frame: object) -> None:
        sys.exit(number)


@pytest.mark.parametrize(
    "handler",
    [Handler(), Handler().method, functools.partial(Handler().method), lambda number, frame: sys.exit(number)],
)
def test_what_a_signal_handler_raises_passes(handler):
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(SystemExit):
            Snapshotter(None)([Terminated()])
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_dead_weak_proxy_is_named(seen):
    agent = Agent()
    proxy = weakref.proxy(agent)
    del agent
    assert seen([proxy]) == ["<ProxyType>"]


def test_a_full_stack_costs_the_value_and_nothing_else():
    snapshot = Snapshotter(SecretNames())
    found: list[bytes] = []

    def down() -> None:
        found.append(snapshot({"a": [Agent()]}))
        down()

    with pytest.raises(RecursionError):
        down()
    assert b"the stack is full" in found[-1] or b"RecursionError" in found[-1]
    assert found[0] == snapshot({"a": [Agent()]})


def test_later_changes_do_not_reach_a_snapshot():
    snapshot = Snapshotter(SecretNames(), Limits(seconds=5))
    value = {"a": [1, Agent()]}
    data = snapshot(value)
    copy = bytes(bytearray(data))
    value["a"].append(2)
    value["a"][1].name = "other"
    assert data == copy


def test_a_model_of_pydantic_1_is_an_object_of_its_fields():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the old interface is old
        v1 = pytest.importorskip("pydantic.v1", reason="pydantic without the interface of version 1")

    class Turn(v1.BaseModel):
        role: str
        api_key: str = "sk-1"

        def dict(self, **_):
            raise RuntimeError("must not be asked")

    data = json.loads(Snapshotter(SecretNames())({"turn": Turn(role="user")}))
    assert data["turn"]["role"] == "user"
    assert data["turn"]["api_key"] == "[redacted]"


def test_nothing_stays_silenced_after_a_full_stack():
    tracers = [honeytrace.Tracer() for _ in range(20)]  # each has a variable of its own to put back
    snapshot, value, error = Snapshotter(SecretNames()), {"a": {1, 2}}, ValueError("why")

    def down(levels: int, work: Any) -> None:
        if levels:
            down(levels - 1, work)
        else:
            work()

    limit = sys.getrecursionlimit()
    for work in (lambda: snapshot(value), lambda: describe_error(error)):
        for levels in range(limit - 150, limit):
            try:
                down(levels, work)
            except RecursionError:
                pass
            assert not [tracer for tracer in tracers if tracer.variable.get() is not None]
