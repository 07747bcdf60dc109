"""Nothing about the client changes: the same program, with and without, gives the same and sends the same."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import openai
import pytest
from model_server import ModelServer
from openai_surface import KEY, MESSAGES, Surface

import honeytrace
from honeytrace.testing import capture

_VARY = ("host", "x-stainless-runtime-version", "idempotency-key", "content-type")


def _frames(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__) if "honeytrace" in frame.filename]


def _plain(surface: Surface) -> Any:
    return surface.chat(temperature=0)


def _tools(surface: Surface) -> Any:
    return surface.chat("tools", n=2)


def _from_a_generator(surface: Surface) -> Any:
    messages = (message for message in MESSAGES)
    return surface.call("chat.completions.create", model="plain", messages=messages)


def _stream(surface: Surface) -> Any:
    stream = surface.stream(extra_body={"stream_options": {"include_usage": True}})
    described = [type(stream), stream.response.status_code, sorted(vars(stream))]
    return [*described, surface.take(stream), type(stream.response.stream).__name__ != "", stream.response.is_closed]


def _broken_stream(surface: Surface) -> Any:
    stream = surface.stream("midway")
    items: list[Any] = []
    try:
        items = surface.take(stream)
    except openai.APIError as error:
        return [items, type(error), str(error), error.body]
    return items


def _raw(surface: Surface) -> Any:
    raw = surface.call("chat.completions.with_raw_response.create", model="plain", messages=MESSAGES)
    parsed = raw.parse()
    return [type(raw), raw.headers["x-request-id"], raw.status_code, parsed, raw.parse() is parsed, raw.content]


def _streaming_response(surface: Surface) -> Any:
    manager = surface.client.chat.completions.with_streaming_response.create(model="plain", messages=MESSAGES)
    response = surface.enter(manager)
    made = [type(response), response.status_code, response.is_closed, surface.wait(response.read())]
    surface.leave(manager)
    return [*made, response.is_closed, response.http_response.num_bytes_downloaded]


def _raw_bytes(surface: Surface) -> Any:
    manager = surface.client.chat.completions.with_streaming_response.create(
        model="plain", messages=MESSAGES, stream=True
    )
    response = surface.enter(manager)
    data = b"".join(surface.take(response.iter_bytes()))
    surface.leave(manager)
    return data


def _error(surface: Surface) -> Any:
    try:
        surface.chat("error-400")
    except openai.BadRequestError as error:
        return [
            type(error),
            str(error),
            error.body,
            error.code,
            getattr(error, "request_id", None),
            error.__cause__,
            error.args,
        ]
    return None


def _retry(surface: Surface) -> Any:
    return surface.chat("retry")


def _embeddings(surface: Surface) -> Any:
    return surface.call("embeddings.create", model="e", input=["a"])


def _speech(surface: Surface) -> Any:
    made = surface.call("audio.speech.create", model="plain", input="x", voice="alloy")
    return [type(made), made.content]


def _options(surface: Surface) -> Any:
    client = surface.client.with_options(max_retries=7, timeout=9)
    return [type(client), client.max_retries, client.timeout, surface.chat(client=client)]


def _wrong_arguments(surface: Surface) -> Any:
    try:
        surface.call("chat.completions.create", model="plain")
    except TypeError as error:
        return str(error)
    return None


PROGRAMS: list[Callable[[Surface], Any]] = [
    _plain, _tools, _from_a_generator, _stream, _broken_stream, _raw, _streaming_response, _raw_bytes, _error, _retry,
    _embeddings, _speech, _options, _wrong_arguments,
]  # fmt: skip


def _run(mode: str, program: Callable[[Surface], Any]) -> tuple[Any, Any, int]:
    server = ModelServer()
    surface = Surface(mode, server.url)
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


@pytest.mark.parametrize("program", PROGRAMS, ids=[program.__name__[1:] for program in PROGRAMS])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_same_program_gives_and_sends_the_same(mode: str, program: Callable[[Surface], Any]) -> None:
    plain = _run(mode, program)
    with capture() as traces:
        honeytrace.instrument("openai")
        try:
            instrumented = _run(mode, program)
        finally:
            honeytrace.uninstrument()
    assert instrumented == plain
    assert len(traces) == (0 if program is _wrong_arguments else 1)


def test_signatures_and_kinds_stay() -> None:
    def looks() -> list[Any]:
        made = []
        for kind in (openai.OpenAI, openai.AsyncOpenAI, openai.AzureOpenAI):
            made += [inspect.signature(kind), inspect.signature(kind.request), kind.request.__qualname__]
            made += [inspect.iscoroutinefunction(kind.request), kind.request.__doc__, kind.__mro__]
        return made

    plain = looks()
    honeytrace.instrument("openai")
    try:
        assert looks() == plain
    finally:
        honeytrace.uninstrument()


def test_copies_and_pickles_work_where_they_did(surface: Surface) -> None:
    with capture():
        honeytrace.instrument("openai")
        try:
            answer = surface.chat()
            assert pickle.loads(pickle.dumps(answer)) == answer
            assert copy.deepcopy(answer) == answer
            raw = surface.call("chat.completions.with_raw_response.create", model="plain", messages=MESSAGES)
            http = getattr(raw, "http_response", None) or raw._response
            assert pickle.loads(pickle.dumps(http)).content == http.content
            assert isinstance(copy.copy(surface.client), type(surface.client))
        finally:
            honeytrace.uninstrument()


def test_an_exception_has_at_most_one_frame_more(surface: Surface) -> None:
    with capture():
        honeytrace.instrument("openai")
        try:
            with pytest.raises(openai.BadRequestError) as caught:
                surface.chat("error-400")
            assert len(_frames(caught.value)) <= 1
        finally:
            honeytrace.uninstrument()


def test_a_client_is_collected_as_soon_as_without(server: ModelServer) -> None:
    import weakref

    with capture() as traces:
        honeytrace.instrument("openai")
        try:
            client = openai.OpenAI(api_key=KEY, base_url=server.url)
            for _ in client.chat.completions.create(model="plain", messages=MESSAGES, stream=True):
                pass
            http = weakref.ref(client._client)
            client.close()
            del client
            import gc

            gc.collect()
            assert http() is None
        finally:
            honeytrace.uninstrument()
    assert len(traces) == 1
