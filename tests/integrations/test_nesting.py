"""Calls of models within each other, whoever reports them: the innermost counts tokens and cost, and only that one."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="needs langchain-openai")

import openai
from frameworks import KEY, TOKENS, counting, recording, tree
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from model_server import ModelServer

import honeytrace
from honeytrace import cli
from honeytrace.integrations._pricing import settle_prices

USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}


class Model(BaseChatModel):
    """A model of the program's own: what it answers, and with which usage, is what `ask` does."""

    ask: Any

    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        text = self.ask()
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text, usage_metadata=USAGE))])


@pytest.fixture
def client(server: ModelServer) -> Any:
    with openai.OpenAI(api_key=KEY, base_url=server.url, max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, **options: Any) -> str:
    made = client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "hi"}], **options)
    return "".join(str(one) for one in made) if options else str(made.choices[0].message.content)


def test_a_call_inside_a_decorated_function_inside_a_model_counts_alone(client: openai.OpenAI) -> None:
    @honeytrace.trace
    def between() -> str:
        return chat(client)

    with recording("langchain", "openai") as traces:
        Model(ask=between).invoke("hi")
    assert tree(traces) == ["Model", "  between", "    chat.completions.create"]
    assert counting(traces) == ["chat.completions.create"]
    assert traces.one("Model").event_type == "chain"


def test_a_call_told_to_a_decorated_model_counts_there_alone(client: openai.OpenAI) -> None:
    @honeytrace.trace("model")
    def between() -> str:
        return chat(client)

    with recording("langchain", "openai") as traces:
        Model(ask=between).invoke("hi")
    assert tree(traces) == ["Model", "  between"]
    assert counting(traces) == ["between"]


def test_of_two_models_of_a_framework_the_inner_one_counts(server: ModelServer) -> None:
    inner = ChatOpenAI(model="plain", base_url=server.url, api_key=KEY)
    with recording("langchain") as traces:
        Model(ask=lambda: str(inner.invoke("hi").content)).invoke("hi")
    assert tree(traces) == ["Model", "  ChatOpenAI"]
    assert counting(traces) == ["ChatOpenAI"]
    assert {name: traces.one("ChatOpenAI").metadata[name] for name in TOKENS} == TOKENS


def test_tokens_that_only_the_framework_knows_go_to_the_innermost(client: openai.OpenAI) -> None:
    with recording("langchain", "openai") as traces:
        Model(ask=lambda: chat(client, stream=True)).invoke("hi")
    assert counting(traces) == ["chat.completions.create"]
    assert traces.one("chat.completions.create").metadata["total_tokens"] == 7


def test_tokens_of_a_call_that_goes_on_are_added_when_it_ends(client: openai.OpenAI) -> None:
    streams = []

    def ask() -> str:
        streams.append(client.chat.completions.create(model="plain", messages=[], stream=True))
        return "later"

    with recording("langchain", "openai") as traces:
        Model(ask=ask).invoke("hi")
        assert [event.event_name for event in traces] == ["Model"]
        list(streams.pop())
    assert counting(traces) == ["chat.completions.create"]


def test_calls_that_failed_are_given_no_tokens(client: openai.OpenAI) -> None:
    def ask() -> str:
        text = chat(client)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="error-400", messages=[])
        return text

    with recording("langchain", "openai") as traces:
        Model(ask=ask).invoke("hi")
    good, bad = traces.named("chat.completions.create")
    assert good.metadata["total_tokens"] == 18
    assert "total_tokens" not in bad.metadata


def test_a_call_outside_does_not_take_the_tokens_of_a_model_that_streams(
    client: openai.OpenAI, server: ModelServer
) -> None:
    honeytrace.wrap(client)
    streaming = ChatOpenAI(model="plain", base_url=server.url, api_key=KEY, stream_usage=True)
    with recording("langchain") as traces:
        for _ in streaming.stream("hi"):
            chat(client)
    assert counting(traces).count("ChatOpenAI") == 1
    assert traces.one("ChatOpenAI").event_type == "model"
    assert "time_to_first_token_ms" in traces.one("ChatOpenAI").metadata


def test_an_answer_from_a_cache_counts_nothing(server: ModelServer) -> None:
    llm = ChatOpenAI(model="plain", base_url=server.url, api_key=KEY, cache=InMemoryCache())
    with recording("langchain") as traces:
        llm.invoke("hi")
        llm.invoke("hi")
    first, second = traces.named("ChatOpenAI")
    assert first.metadata["total_tokens"] == 18
    assert ("total_tokens" in second.metadata, second.metadata["cache_hit"]) == (False, True)


@pytest.mark.parametrize("libraries", [("langchain",), ("langchain", "openai")])
def test_a_price_is_asked_for_once(libraries: tuple[str, ...], server: ModelServer) -> None:
    asked: list[tuple[str, str | None, int]] = []

    def cost(provider: str, model: str | None, usage: Any) -> float:
        asked.append((provider, model, usage["total_tokens"]))
        return 0.5

    with recording(*libraries, cost=cost) as traces:
        ChatOpenAI(model="plain", base_url=server.url, api_key=KEY).invoke("hi")
        assert settle_prices(10)
    assert len(asked) == 1
    assert asked[0][1:] == ("plain", 18)
    assert [event.metadata.get("cost") for event in traces] == [0.5] + [None] * (len(libraries) - 1)


def test_a_framework_that_never_says_how_its_steps_end_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from honeytrace.integrations import _frameworks, langchain

    monkeypatch.setattr(_frameworks, "_OPEN", 3)
    with recording("langchain") as traces:
        steps = [
            _frameworks.start_step(langchain.LIBRARY, number, f"step {number}", "chain", {}) for number in range(5)
        ]
        assert len(langchain.LIBRARY.steps) == 3
        assert [(event.event_name, event.metadata) for event in traces] == [
            ("step 0", {"outcome": "abandoned"}),
            ("step 1", {"outcome": "abandoned"}),
        ]
        for step in reversed(steps):
            assert step is not None
            step.finish()
    assert len(traces) == 5


def test_what_is_open_when_the_process_ends_is_recorded_as_abandoned(server: ModelServer, tmp_path: Path) -> None:
    program = f"""
import honeytrace
honeytrace.init(exporters=["local"])
honeytrace.instrument("langchain")
from langchain_openai import ChatOpenAI
pieces = ChatOpenAI(model="plain", base_url="{server.url}", api_key="{KEY}").stream("hi")
next(pieces)
"""
    environment = {**os.environ, "HONEYTRACE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.main(["show", "--json", "--store", str(tmp_path / "traces.db")])
    assert "abandoned" in printed.getvalue()
