"""Nothing about a client changes: the same program, with and without, gives the same and sends the same."""

from __future__ import annotations

import asyncio
import inspect
import re
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from method_surfaces import QUIET, Surface
from model_server import OURS, ModelServer

import honeytrace
from honeytrace._span import live
from honeytrace.testing import Traces, capture

pytestmark = QUIET

_VARY = ("host", "amz-sdk-invocation-id", "amz-sdk-request", "x-amz-date", "authorization", "traceparent",
         "x-amz-user-agent")  # fmt: skip
_PASSING = re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|0x[0-9a-f]+|127\.0\.0\.1:\d+|'[\w-]{36}'")


def _shown(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__} {_PASSING.sub('~', repr(value))}"


def _plain(client: Surface) -> Any:
    return client.chat(temperature=0.5)


def _tools(client: Surface) -> Any:
    return client.chat("tools")


def _stream(client: Surface) -> Any:
    stream = client.stream()
    names = getattr(stream, "__name__", None), getattr(stream, "__qualname__", None)
    kinds = inspect.isgenerator(stream), inspect.isasyncgen(stream), type(stream).__name__, type(stream).__module__
    ways = sorted(name for name in dir(stream) if not name.startswith("_"))
    return [names, kinds, ways, client.take(stream), client.take(stream)]


def _half_a_stream(client: Surface) -> Any:
    stream = client.stream("endless")
    items = client.take(stream, 3)
    client.shut(stream)
    return items


def _broken_stream(client: Surface) -> Any:
    items: list[Any] = []
    stream = client.stream("drop")
    try:
        while True:
            (item,) = client.take(stream, 1)
            items.append(item)
    except Exception as error:
        return [items, type(error), _PASSING.sub("~", str(error))]


def _error(client: Surface) -> Any:
    try:
        client.chat("error-400")
    except Exception as error:
        return [type(error), str(error), type(error.__cause__), error.args]
    return None


def _embed(client: Surface) -> Any:
    return client.embed()


def _image(client: Surface) -> Any:
    return client.with_image()


def _retry(client: Surface) -> Any:
    return client.chat("retry") if client.retries else None


PROGRAMS = [_plain, _tools, _stream, _half_a_stream, _broken_stream, _error, _embed, _image, _retry]


def _run(program: Callable[[Surface], Any], client: Surface) -> tuple[str, Any]:
    """Run it with a server and a client of its own: what it gave, and what it sent over how many connections."""
    server = ModelServer()
    mine = type(client)("async" if client.is_async else "sync", server.origin)
    try:
        result = _shown(program(mine))
    finally:
        mine.close()
        server.stop()
    sent = [
        (path, {name: value for name, value in headers.items() if name not in _VARY}, body)
        for path, headers, body in server.requests
    ]
    return result, (sent, server.connections)


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.__name__.strip("_") for program in PROGRAMS])
def test_the_same_program_gives_and_sends_the_same(client: Surface, program: Callable[[Surface], Any]) -> None:
    plain = _run(program, client)
    with capture() as traces:
        honeytrace.instrument(client.library)
        recorded = _run(program, client)
        honeytrace.uninstrument()
        assert len(traces) == (0 if plain[0] == _shown(None) else 1)
    again = _run(program, client)
    assert recorded == plain
    assert again == plain
    assert not live, [getattr(s, "plan", s).event_name for s in live.values()]


def test_an_exception_comes_out_with_one_frame_more(client: Surface, traced: Traces) -> None:
    with pytest.raises(client.errors()) as caught:
        client.chat("error-400")
    frames = [frame.name for frame in traceback.extract_tb(caught.tb) if frame.filename.startswith(OURS)]
    assert len(frames) <= 1


def test_a_wrong_call_fails_as_ever(client: Surface, traced: Traces) -> None:
    if client.provider == "bedrock":
        pytest.skip("this client takes anything, and looks at it when it makes the request")
    with pytest.raises(TypeError):
        client.wait(_method(client)(nonsense=1))
    assert len(traced) == 0
    assert not live, [getattr(s, "plan", s).event_name for s in live.values()]


def _method(client: Surface) -> Any:
    """The public method behind client.chat()."""
    at = client.client
    name = client.chat_name + ("_async" if client.is_async and client.library == "mistralai" else "")
    for step in name.split("."):
        at = getattr(at, step)
    return at


def test_methods_look_as_they_did(client: Surface) -> None:
    def looks() -> Any:
        method = _method(client)
        waits = inspect.iscoroutinefunction(method), asyncio.iscoroutinefunction(method)
        return inspect.signature(method), method.__name__, method.__qualname__, method.__doc__, waits

    before = looks()
    with capture():
        honeytrace.instrument(client.library)
        during = looks()
        honeytrace.uninstrument()
    assert during == before
    assert looks() == before


def test_a_coroutine_that_is_never_awaited_is_no_event_and_one_warning(client: Surface, traced: Traces) -> None:
    if not client.is_async:
        pytest.skip("nothing to await")
    arguments = {"model": "plain", "contents" if client.provider == "google" else "messages": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        waiting = _method(client)(**arguments)
        name = waiting.__qualname__
        del waiting
        client.collect()
    said = [str(one.message) for one in caught if "never awaited" in str(one.message)]
    assert len(said) == 1
    assert name in said[0]
    assert "honeytrace" not in said[0]
    assert len(traced) == 0
    assert not live, [getattr(s, "plan", s).event_name for s in live.values()]
