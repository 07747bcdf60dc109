"""The mechanism: by name before or after the import, idempotent, undone without a trace, one client at a time."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import openai
import pytest
from model_server import ModelServer
from openai import _base_client
from openai_surface import KEY, MESSAGES, Surface

import honeytrace
from honeytrace.testing import Traces, capture

PATCHED = [
    (owner, name)
    for owner in (_base_client.SyncAPIClient, _base_client.AsyncAPIClient)
    for name in ("request", "_process_response")
]


def methods() -> list[Any]:
    return [owner.__dict__[name] for owner, name in PATCHED]


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_uninstrument_puts_the_very_same_functions_back() -> None:
    before = methods()
    honeytrace.instrument("openai")
    assert all(new is not old for new, old in zip(methods(), before, strict=True))
    honeytrace.uninstrument("openai")
    honeytrace.uninstrument("openai")
    assert all(new is old for new, old in zip(methods(), before, strict=True))


def test_instrumenting_twice_records_once(surface: Surface) -> None:
    with capture() as traces:
        honeytrace.instrument("openai")
        first = methods()
        honeytrace.instrument("openai")
        assert all(new is old for new, old in zip(methods(), first, strict=True))
        surface.chat()
        honeytrace.uninstrument()
        surface.chat()
    assert len(traces) == 1


def test_a_client_made_before_is_recorded_too(surface: Surface) -> None:
    create = surface.client.chat.completions.create
    with capture() as traces:
        honeytrace.instrument("openai")
        surface.wait(create(model="plain", messages=MESSAGES))
        honeytrace.uninstrument()
    assert len(traces) == 1


def test_without_names_everything_installed_is_instrumented() -> None:
    assert "openai" in honeytrace.instrument()
    assert honeytrace.instrument("openai") == ("openai",)
    honeytrace.uninstrument()


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(honeytrace.TraceError, match="'opnai'.*openai"):
        honeytrace.instrument("opnai")
    with pytest.raises(honeytrace.TraceError, match="'opnai'"):
        honeytrace.uninstrument("opnai")
    with pytest.raises(honeytrace.TraceError, match='each its own argument, such as "openai", not list'):
        honeytrace.instrument(["openai"])  # type: ignore[arg-type]
    for given, shown in ((5, "int"), ("genai_prices", "'genai_prices'")):
        with pytest.raises(honeytrace.TraceError, match=f"cost must be a function.* 'genai-prices', not {shown}"):
            honeytrace.instrument("openai", cost=given)  # type: ignore[arg-type]


def test_nothing_is_imported_that_the_program_does_not_import() -> None:
    program = """
import sys, honeytrace
before = set(sys.modules)
honeytrace.instrument()
honeytrace.instrument("openai")
print(sorted(name for name in set(sys.modules) - before if "openai" in name))
"""
    assert run(program) == "[]"


@pytest.mark.parametrize("undone", [False, True])
def test_a_library_imported_later_is_patched_when_it_comes_if_still_wanted(undone: bool) -> None:
    program = f"""
import honeytrace
honeytrace.instrument("openai")
if {undone}:
    honeytrace.uninstrument("openai")
import openai
from openai import _base_client
print(type(_base_client.SyncAPIClient.__dict__["request"]).__name__)
"""
    assert run(program) == ("function" if undone else "_Patched")


def test_a_patch_that_somebody_wrapped_since_records_no_more_after_uninstrument(surface: Surface) -> None:
    owner: Any = _base_client.AsyncAPIClient if surface.is_async else _base_client.SyncAPIClient
    original = owner.__dict__["request"]
    with capture() as traces:
        honeytrace.instrument("openai")
        ours = owner.__dict__["request"]

        def theirs(*args: Any, **kwargs: Any) -> Any:
            return ours.__get__(args[0], owner)(*args[1:], **kwargs)

        owner.request = theirs
        try:
            surface.chat()
            honeytrace.uninstrument()
            assert owner.__dict__["request"] is theirs
            surface.chat()
        finally:
            owner.request = original
    assert len(traces) == 1


def test_a_subclass_with_its_own_request_is_recorded_once(server: ModelServer) -> None:
    class Mine(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            return super().request(*args, **kwargs)

    before = Mine.__dict__["request"]
    with capture() as traces:
        honeytrace.instrument("openai")
        with Mine(api_key=KEY, base_url=server.url) as client:
            client.chat.completions.create(model="plain", messages=MESSAGES)
        honeytrace.uninstrument()
    assert len(traces) == 1
    assert Mine.__dict__["request"] is before


def test_wrap_records_this_client_and_its_copies_and_no_other(surface: Surface, server: ModelServer) -> None:
    other = Surface("async" if surface.is_async else "sync", server)
    resource = surface.client.chat
    with capture() as traces:
        assert honeytrace.wrap(surface.client) is surface.client
        honeytrace.wrap(surface.client)
        surface.chat()
        surface.chat(client=surface.client.with_options(max_retries=0))
        surface.chat(client=surface.client.copy())
        surface.chat(client=copy.copy(surface.client))
        surface.wait(resource.completions.create(model="plain", messages=MESSAGES))
        surface.take(surface.stream())
        assert len(traces) == 6
        other.chat()
        assert len(traces) == 6
    other.close()
    kind = openai.AsyncOpenAI if surface.is_async else openai.OpenAI
    assert isinstance(surface.client, kind)
    assert (type(surface.client).__name__, type(surface.client).__module__) == (kind.__name__, kind.__module__)


def test_a_wrapped_client_of_an_instrumented_library_is_recorded_once(surface: Surface) -> None:
    with capture() as traces:
        honeytrace.wrap(surface.client)
        honeytrace.instrument("openai")
        surface.chat()
        honeytrace.uninstrument()
        surface.chat()
    assert len(traces) == 2


def test_wrap_refuses_what_it_does_not_know() -> None:
    with pytest.raises(honeytrace.TraceError, match="expects a client of .*openai.*, not dict"):
        honeytrace.wrap({})


def test_tracing_off_records_nothing_and_costs_one_check(surface: Surface) -> None:
    honeytrace.instrument("openai")
    try:
        surface.chat()
        stream = surface.stream()
        assert type(stream._iterator).__name__ in ("generator", "async_generator")
        surface.take(stream)
    finally:
        honeytrace.uninstrument()


def test_two_providers_in_one_process_do_not_see_each_other(server: ModelServer, recorded: Traces) -> None:
    import threading

    def ask(model: str) -> None:
        with openai.OpenAI(api_key=KEY, base_url=server.url) as client, honeytrace.span(model):
            for _ in range(5):
                client.chat.completions.create(model=model, messages=MESSAGES)

    threads = [threading.Thread(target=ask, args=(model,)) for model in ("plain", "tools")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for model in ("plain", "tools"):
        parent = recorded.one(model).event_id
        assert {e.parent_id for e in recorded if e.config.get("model") == model} == {parent}


def test_a_peer_that_put_the_base_method_on_the_client_class_does_not_hide_its_calls(server: ModelServer) -> None:
    base = _base_client.SyncAPIClient.__dict__["request"]

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        return base(self, *args, **kwargs)

    openai.OpenAI.request = theirs  # type: ignore[method-assign]
    try:
        with capture() as traces:
            honeytrace.instrument("openai")
            with openai.OpenAI(api_key=KEY, base_url=server.url) as client:
                client.chat.completions.create(model="plain", messages=MESSAGES)
            honeytrace.uninstrument()
        assert openai.OpenAI.__dict__["request"] is theirs
    finally:
        del openai.OpenAI.request
    assert len(traces) == 1


def test_a_forked_child_does_not_end_the_streams_of_its_parent(server: ModelServer) -> None:
    program = f"""
import os, honeytrace, openai
from honeytrace.testing import capture
honeytrace.instrument("openai")
with capture() as traces:
    client = openai.OpenAI(api_key="{KEY}", base_url="{server.url}", max_retries=0)
    stream = client.chat.completions.create(model="plain", messages=[], stream=True)
    next(iter(stream))
    child = os.fork()
    if child == 0:
        import gc
        stream = client = None
        gc.collect()
        os._exit(len(traces.records))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stream.close()
    print(len(traces))
"""
    assert run(program) == "1"
