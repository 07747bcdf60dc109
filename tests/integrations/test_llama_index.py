"""LlamaIndex: queries, retrievers, tools and models in one tree with decorated functions and client events."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("llama_index.llms.openai", reason="needs llama-index-core and llama-index-llms-openai")

from frameworks import KEY, counting, recording, tidied, tree
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
from model_server import ModelServer

import honeytrace
from honeytrace.testing import Traces

# LlamaIndex leaves its asynchronous clients open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
tidy = pytest.fixture(scope="module", autouse=True)(tidied)
MESSAGES = [ChatMessage(role="user", content="hi")]
WAYS = ("chat", "stream_chat", "achat", "astream_chat")


@pytest.fixture
def both() -> Iterator[Traces]:
    with recording("llama_index", "openai") as traces:
        yield traces


@pytest.fixture
def alone() -> Iterator[Traces]:
    with recording("llama_index") as traces:
        yield traces


@honeytrace.trace
def look_up(city: str) -> str:
    return f"sunny in {city}"


def model(server: ModelServer, **options: Any) -> OpenAI:
    return OpenAI(model="gpt-4o-mini", api_base=server.url, api_key=KEY, max_retries=0, **options)


def call(way: str, llm: OpenAI) -> None:
    async def main() -> None:
        answer = await getattr(llm, way)(MESSAGES)
        if "stream" in way:
            async for _ in answer:
                look_up("piece")

    if way.startswith("a"):
        asyncio.run(main())
    elif way == "stream_chat":
        for _ in llm.stream_chat(MESSAGES):
            look_up("piece")
    else:
        llm.chat(MESSAGES)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_of_a_model_counts_once_in_the_event_of_the_client(way: str, server: ModelServer, both: Traces) -> None:
    options = {"stream_options": {"include_usage": True}} if "stream" in way else {}
    with honeytrace.span("program"):
        call(way, model(server, additional_kwargs=options))
        look_up("after")
    drawn = [line for line in tree(both) if line != "  look_up"]
    below = ["  chat.completions.create"] if "stream" in way else [f"  OpenAI.{way}", "    chat.completions.create"]
    assert drawn == ["program", *below]
    assert {event.parent_id for event in both.named("look_up")} == {both.one("program").event_id}
    assert counting(both) == ["chat.completions.create"]


@pytest.mark.parametrize("way", WAYS)
def test_without_the_client_the_model_of_the_framework_is_the_event(
    way: str, server: ModelServer, alone: Traces
) -> None:
    call(way, model(server))
    event = alone.one(f"OpenAI.{way}")
    assert event.event_type == "model"
    assert event.inputs["chat_history"] == [{"role": "user", "content": "hi"}]
    assert event.outputs == {"role": "assistant", "content": "Hello world"}
    assert event.config["model"] == "gpt-4o-mini"
    assert event.metadata["finish_reason"] == "stop"
    assert ("time_to_first_token_ms" in event.metadata) == ("stream" in way)
    assert event.metadata.get("total_tokens") == (None if "stream" in way else 18)


@pytest.mark.parametrize("read", [0, 1])
def test_a_stream_that_is_dropped_ends_as_closed(read: int, server: ModelServer, alone: Traces) -> None:
    pieces = model(server).stream_chat(MESSAGES)
    for _ in range(read):
        next(pieces)
    del pieces
    gc.collect()
    assert alone.one("OpenAI.stream_chat").metadata["outcome"] == "closed"


def test_a_query_is_one_tree_of_retriever_synthesis_and_model(server: ModelServer, both: Traces) -> None:
    index = VectorStoreIndex([], embed_model=MockEmbedding(3))
    index.insert(Document(text="tracing is nice"))
    with honeytrace.span("program"):
        index.as_query_engine(llm=model(server)).query("what is nice?")
    query = both.one("RetrieverQueryEngine.query")
    mine = [event for event in both if event.session_id == query.session_id]
    names = [line.strip() for line in tree(mine)]
    assert [name for name in names if "Retriev" in name] == [
        "RetrieverQueryEngine.query",
        "VectorIndexRetriever.retrieve",
    ]
    assert not [name for name in names if "._" in name or "split" in name]
    retrieval = both.one("VectorIndexRetriever.retrieve")
    assert (retrieval.event_type, retrieval.parent_id) == ("tool", query.event_id)
    assert retrieval.outputs["result"][0]["text"] == "tracing is nice"
    assert query.outputs["result"] == "Hello world"
    assert counting(both) == ["chat.completions.create"]
    assert both.one("OpenAI.chat").event_type == "chain"


def test_a_tool_is_a_tool_by_its_own_name(both: Traces) -> None:
    FunctionTool.from_defaults(look_up, name="weather").call(city="Bern")
    event = both.one("weather")
    assert (event.event_type, event.inputs, event.outputs) == ("tool", {"city": "Bern"}, {"result": "sunny in Bern"})
    assert event.metadata["tool_name"] == "weather"
    assert both.one("look_up").parent_id == event.event_id


@pytest.mark.parametrize("way", WAYS)
def test_an_error_is_recorded_and_reaches_the_program(way: str, server: ModelServer, alone: Traces) -> None:
    import openai

    llm = model(server, additional_kwargs={"model": "error-400"})
    with pytest.raises(openai.BadRequestError):
        call(way, llm)
    assert "bad request" in alone.one(f"OpenAI.{way}").error


def test_after_uninstrument_nothing_is_recorded_and_twice_records_once(server: ModelServer) -> None:
    with recording("llama_index") as traces:
        honeytrace.instrument("llama_index")
        model(server).chat(MESSAGES)
        honeytrace.uninstrument("llama_index")
        model(server).chat(MESSAGES)
    assert len(traces) == 1
