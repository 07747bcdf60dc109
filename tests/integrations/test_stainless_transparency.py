"""Nothing about the client changes: the same program, with and without, gives the same and sends the same."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import traceback
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from libraries import EVERY_LIBRARY
from model_server import OURS, ModelServer
from surface import MESSAGES
from surface import StainlessSurface as Surface

import honeytrace
from honeytrace.testing import Traces, capture

pytestmark = EVERY_LIBRARY

_VARY = ("host", "x-stainless-runtime-version", "idempotency-key", "content-type")


def _frames(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(OURS)]


def _plain(surface: Surface) -> Any:
    return surface.chat(extra_body={"seed": 3})


def _tools(surface: Surface) -> Any:
    return surface.chat("tools")


def _from_a_generator(surface: Surface) -> Any:
    return surface.chat(messages=(message for message in MESSAGES))


def _from_a_generator_that_raises(surface: Surface) -> Any:
    def messages() -> Any:
        yield MESSAGES[0]
        raise KeyError("mine")

    try:
        return surface.chat(messages=messages())
    except KeyError as error:
        return [error.args, error.__cause__, error.__context__]


def _stream(surface: Surface) -> Any:
    stream = surface.stream(**surface.with_usage)
    described = [type(stream), stream.response.status_code]
    items = surface.take(stream)
    return [*described, items, type(stream.response.stream).__name__ != "", stream.response.is_closed]


def _stream_by_next(surface: Surface) -> Any:
    stream = surface.stream()

    async def one() -> Any:
        return await stream.__anext__()

    items = [surface.wait(one()) if surface.is_async else next(stream) for _ in range(4)]
    surface.wait(stream.close())
    return [items, stream.response.is_closed]


def _broken_stream(surface: Surface) -> Any:
    stream = surface.stream("midway")
    items: list[Any] = []
    try:
        items = surface.take(stream)
    except surface.package.APIError as error:
        return [items, type(error), str(error), error.body]
    return items


def _helper(surface: Surface) -> Any:
    manager = surface.helper()
    stream = surface.enter(manager)
    made = [type(manager), type(stream), surface.take(stream)]
    surface.leave(manager)
    return made


def _raw(surface: Surface) -> Any:
    raw = surface.raw()
    parsed = surface.parsed(raw)
    return [type(raw), raw.headers["x-request-id"], raw.status_code, parsed, surface.parsed(raw) is parsed]


def _streaming_response(surface: Surface) -> Any:
    manager = surface.opened()
    response = surface.enter(manager)
    made = [type(response), response.status_code, response.is_closed, surface.wait(response.read())]
    surface.leave(manager)
    return [*made, response.is_closed, response.http_response.num_bytes_downloaded]


def _raw_bytes(surface: Surface) -> Any:
    manager = surface.opened(stream=True)
    response = surface.enter(manager)
    data = b"".join(surface.take(response.iter_bytes()))
    surface.leave(manager)
    return data


def _error(surface: Surface) -> Any:
    try:
        surface.chat("error-400")
    except surface.package.BadRequestError as error:
        said = [type(error), str(error), error.body, getattr(error, "request_id", None), error.__cause__, error.args]
        return [*said, getattr(error, "__notes__", None)]
    return None


def _retry(surface: Surface) -> Any:
    return surface.chat("retry")


def _options(surface: Surface) -> Any:
    client = surface.client.with_options(max_retries=7, timeout=9)
    return [type(client), client.max_retries, client.timeout, surface.chat(client=client)]


def _wrong_arguments(surface: Surface) -> Any:
    try:
        surface.call(surface.create, model="plain")
    except TypeError as error:
        return str(error)
    return None


def _embeddings(surface: Surface) -> Any:
    return surface.call("embeddings.create", model="e", input=["a"])


def _speech(surface: Surface) -> Any:
    made = surface.call("audio.speech.create", model="plain", input="x", voice="alloy")
    return [type(made), made.content]


PROGRAMS: list[Callable[[Surface], Any]] = [
    _plain, _tools, _from_a_generator, _from_a_generator_that_raises, _stream, _stream_by_next, _broken_stream, _helper,
    _raw, _streaming_response, _raw_bytes, _error, _retry, _options, _wrong_arguments,
]  # fmt: skip
OF_OPENAI = [_embeddings, _speech]
EVENTS = {_wrong_arguments: (0,), _from_a_generator_that_raises: (0, 1)}
"""How many a program leaves, where that is not one. Some versions read the messages before the call begins."""


def _run(library: str, mode: str, program: Callable[[Surface], Any]) -> tuple[Any, Any, int]:
    server = ModelServer()
    surface = import_module(f"{library}_surface").Surface(mode, server)
    try:
        made = program(surface)
        sent = [
            (path, {name: value for name, value in headers.items() if name not in _VARY}, body)
            for path, headers, body in server.requests
        ]
        return made, sent, server.connections
    finally:
        surface.close()
        server.stop()


def _same(library: str, mode: str, program: Callable[[Surface], Any]) -> Traces:
    plain = _run(library, mode, program)
    with capture() as traces:
        honeytrace.instrument(library)
        try:
            instrumented = _run(library, mode, program)
        finally:
            honeytrace.uninstrument()
    assert instrumented == plain
    return traces


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.__name__[1:] for program in PROGRAMS])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_same_program_gives_and_sends_the_same(library: str, mode: str, program: Callable[[Surface], Any]) -> None:
    assert len(_same(library, mode, program)) in EVENTS.get(program, (1,))


@pytest.mark.parametrize("program", OF_OPENAI, ids=[program.__name__[1:] for program in OF_OPENAI])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_so_do_programs_that_are_no_conversation(library: str, mode: str, program: Callable[[Surface], Any]) -> None:
    if library == "openai":
        assert len(_same(library, mode, program)) == 1


def test_signatures_and_kinds_stay(library: str) -> None:
    kinds = import_module(f"{library}_surface").Surface.kinds

    def looks() -> list[Any]:
        made = []
        for kind in kinds:
            made += [inspect.signature(kind), inspect.signature(kind.request), kind.request.__qualname__]
            made += [inspect.iscoroutinefunction(kind.request), kind.request.__doc__, kind.__mro__]
        return made

    plain = looks()
    honeytrace.instrument(library)
    try:
        assert looks() == plain
    finally:
        honeytrace.uninstrument()


def test_copies_and_pickles_work_where_they_did(surface: Surface, recorded: Traces) -> None:
    answer = surface.chat()
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert copy.deepcopy(answer) == answer
    raw = surface.raw()
    http = getattr(raw, "http_response", None) or raw._response
    assert pickle.loads(pickle.dumps(http)).content == http.content
    assert isinstance(copy.copy(surface.client), type(surface.client))


def test_an_exception_has_at_most_one_frame_more(surface: Surface, recorded: Traces) -> None:
    with pytest.raises(surface.package.BadRequestError) as caught:
        surface.chat("error-400")
    assert len(_frames(caught.value)) <= 1


def test_a_client_is_collected_as_soon_as_without(library: str, server: ModelServer, recorded: Traces) -> None:
    surface = import_module(f"{library}_surface").Surface("sync", server)
    for _ in surface.stream():
        pass
    http = weakref.ref(surface.client._client)
    surface.close()
    del surface
    gc.collect()
    assert http() is None
    assert len(recorded) == 1
