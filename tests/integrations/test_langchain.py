"""LangChain: one tree of chains, prompts, tools, retrievers and models, with decorated functions and client events."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="needs langchain-openai")

from frameworks import KEY, TOKENS, counting, recording, tree
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import ToolException, tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from model_server import ModelServer

import honeytrace
from honeytrace.integrations.langchain import LIBRARY
from honeytrace.testing import Traces, capture

MODES = ("invoke", "stream", "batch", "ainvoke", "astream", "abatch", "astream_events")


@pytest.fixture
def both() -> Iterator[Traces]:
    with recording("langchain", "openai") as traces:
        yield traces


@pytest.fixture
def alone() -> Iterator[Traces]:
    with recording("langchain") as traces:
        yield traces


def model(server: ModelServer, name: str = "plain", **options: Any) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=server.url, api_key=KEY, max_retries=0, **options)


@honeytrace.trace
def shout(text: str) -> str:
    return text + "!"


def chain(server: ModelServer, name: str = "plain", **options: Any) -> Any:
    return plain_chain(server, name, **options) | shout


def plain_chain(server: ModelServer, name: str, **options: Any) -> Any:
    """The same without a function at its end, which would wait for the whole text."""
    prompt = ChatPromptTemplate.from_messages([("system", "be nice"), ("human", "{question}")])
    return prompt | model(server, name, **options) | StrOutputParser()


def run(runnable: Any, mode: str, given: Any, **options: Any) -> Any:
    """Run something in one of LangChain's ways; gives the result, or the list of what was streamed."""

    async def collect() -> Any:
        if mode == "ainvoke":
            return await runnable.ainvoke(given, **options)
        if mode == "abatch":
            return await runnable.abatch([given], **options)
        if mode == "astream_events":
            return [one async for one in runnable.astream_events(given, version="v2", **options)]
        return [one async for one in runnable.astream(given, **options)]

    if mode.startswith("a"):
        return asyncio.run(collect())
    if mode == "batch":
        return runnable.batch([given], **options)
    return list(runnable.stream(given, **options)) if mode == "stream" else runnable.invoke(given, **options)


TREE = """\
RunnableSequence
  ChatPromptTemplate
  ChatOpenAI
    chat.completions.create
  StrOutputParser
  shout
    shout""".split("\n")


@pytest.mark.parametrize("mode", MODES)
def test_every_way_to_run_a_chain_gives_one_tree_with_tokens_once(mode: str, server: ModelServer, both: Traces) -> None:
    run(chain(server, stream_usage=True), mode, {"question": "hi"})
    assert tree(both) == TREE
    assert counting(both) == ["chat.completions.create"]
    assert len(both.sessions) == 1
    whole = both.one("RunnableSequence")
    assert whole.inputs == {"question": "hi"}
    assert whole.outputs == {"result": "Hello world!"}
    assert (both.one("ChatOpenAI").event_type, both.one("chat.completions.create").event_type) == ("chain", "model")


@pytest.mark.parametrize("mode", MODES)
def test_without_the_client_the_model_of_the_framework_counts(mode: str, server: ModelServer, alone: Traces) -> None:
    run(chain(server, stream_usage=True, temperature=0.5), mode, {"question": "hi"})
    assert counting(alone) == ["ChatOpenAI"]
    event = alone.one("ChatOpenAI")
    assert event.event_type == "model"
    assert {name: event.metadata[name] for name in TOKENS} == TOKENS
    assert event.metadata["finish_reason"] == "stop"
    assert event.config["model"] == "plain"
    assert event.config["provider"] == "openai"
    assert event.config["temperature"] == 0.5
    assert event.inputs["chat_history"] == [{"role": "system", "content": "be nice"}, {"role": "user", "content": "hi"}]
    assert (event.outputs["role"], event.outputs["content"]) == ("assistant", "Hello world")
    assert ("time_to_first_token_ms" in event.metadata) == ("stream" in mode)
    assert KEY not in str([one.fields for one in alone])


@pytest.mark.parametrize("mode", MODES)
def test_what_follows_a_run_is_no_part_of_it(mode: str, server: ModelServer, both: Traces) -> None:
    async def main() -> None:
        runnable = chain(server)
        if mode == "ainvoke":
            await runnable.ainvoke({"question": "hi"})
        elif mode == "abatch":
            await runnable.abatch([{"question": "hi"}])
        elif mode == "astream":
            async for _ in runnable.astream({"question": "hi"}):
                pass
        elif mode == "astream_events":
            async for _ in runnable.astream_events({"question": "hi"}, version="v2"):
                pass
        elif mode == "batch":
            runnable.batch([{"question": "hi"}])
        elif mode == "stream":
            list(runnable.stream({"question": "hi"}))
        else:
            runnable.invoke({"question": "hi"})
        shout("after")
        with honeytrace.span("later"):
            shout("after that")

    asyncio.run(main())
    assert tree(both) == [*TREE, "shout", "later", "  shout"]


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_what_the_program_does_with_the_pieces_of_a_model_is_no_part_of_it(
    mode: str, server: ModelServer, both: Traces
) -> None:
    async def main() -> None:
        if mode == "stream":
            for _ in model(server).stream("hi"):
                shout("piece")
        else:
            async for _ in model(server).astream("hi"):
                shout("piece")

    with honeytrace.span("program"):
        asyncio.run(main())
    assert {event.parent_id for event in both.named("shout")} == {both.one("program").event_id}
    assert both.one("ChatOpenAI").parent_id == both.one("program").event_id
    assert both.one("chat.completions.create").parent_id == both.one("ChatOpenAI").event_id


def test_streams_read_in_turn_are_no_children_of_each_other(server: ModelServer, both: Traces) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("LangChain tells roots apart since Python 3.11")
    with honeytrace.span("program"):
        for _ in zip(chain(server).stream({"question": "a"}), chain(server).stream({"question": "b"})):
            pass
    program = both.one("program").event_id
    assert [event.parent_id for event in both.named("RunnableSequence")] == [program, program]


def test_a_chain_called_by_a_decorated_function_inside_a_chain_is_its_child(server: ModelServer, both: Traces) -> None:
    inner = chain(server)

    @honeytrace.trace("tool")
    def ask(question: str) -> Any:
        return inner.invoke({"question": question})

    RunnableLambda(ask).with_config(run_name="outer").invoke("hi")
    assert tree(both)[:3] == ["outer", "  ask", "    RunnableSequence"]
    assert len(both.sessions) == 1


def test_branches_that_run_in_threads_are_in_the_tree(server: ModelServer, both: Traces) -> None:
    RunnableParallel(a=chain(server), b=chain(server)).invoke({"question": "hi"})
    whole = both.one("RunnableParallel<a,b>")
    assert {event.parent_id for event in both.named("RunnableSequence")} == {whole.event_id}
    assert len(counting(both)) == 2


def test_a_thread_without_a_context_finds_its_parent_by_the_config(server: ModelServer, both: Traces) -> None:
    def elsewhere(given: Any, config: Any) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(chain(server).invoke, given, config).result(30)

    RunnableLambda(elsewhere).invoke({"question": "hi"})
    assert both.one("RunnableSequence").parent_id == both.one("elsewhere").event_id
    assert len(both.sessions) == 1


@pytest.mark.parametrize("mode", ["invoke", "stream", "ainvoke", "astream"])
def test_an_error_is_recorded_where_it_passes_and_reaches_the_program(
    mode: str, server: ModelServer, both: Traces
) -> None:
    import openai

    with pytest.raises(openai.BadRequestError):
        run(chain(server, "error-400"), mode, {"question": "hi"})
    failed = {event.event_name for event in both if event.error}
    assert {"RunnableSequence", "ChatOpenAI", "chat.completions.create"} <= failed
    assert counting(both) == []


@pytest.mark.parametrize("libraries", [("langchain", "openai"), ("langchain",)])
@pytest.mark.parametrize("what", ["chain", "stream", "model"])
def test_a_cancelled_run_ends_as_cancelled(what: str, libraries: tuple[str, ...], server: ModelServer) -> None:
    quiet = asyncio.Event()

    async def read() -> None:
        text = ""
        async for piece in plain_chain(server, "slow").astream({"question": "hi"}):
            text += piece
            if text == "Hello wor":  # nothing more comes: before that asyncio.wait_for of 3.11 may lose a cancellation
                quiet.set()

    if what == "model" and len(libraries) == 1:
        pytest.skip("LangChain does not say that a model on its own was cancelled: it ends with the process")

    async def main() -> None:
        runs = {"chain": chain(server, "slow").ainvoke, "model": model(server, "slow").ainvoke}
        task = asyncio.ensure_future(
            read() if what == "stream" else runs[what]({"question": "hi"} if what == "chain" else "hi")
        )
        while not server.requests:
            await asyncio.sleep(0.01)
        if what == "stream":
            await asyncio.wait_for(quiet.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with recording(*libraries) as traces:
        asyncio.run(main())
    names = ["RunnableSequence"] * (what != "model") + ["ChatOpenAI"] + ["chat.completions.create"] * len(libraries[1:])
    for name in names:
        assert traces.one(name).metadata["outcome"] == "cancelled"


@pytest.mark.parametrize("whole", [False, True])
def test_a_stream_that_is_closed_early_did_not_fail(whole: bool, server: ModelServer, both: Traces) -> None:
    pieces = chain(server).stream({"question": "hi"}) if whole else model(server, "endless").stream("hi")
    next(pieces)
    if not whole:
        next(pieces)
    pieces.close()
    root = both.one("RunnableSequence" if whole else "ChatOpenAI")
    assert (root.error, root.metadata["outcome"]) == (None, "closed") if not whole else root.error is None


def test_a_tool_is_a_tool_with_its_arguments_and_call(both: Traces) -> None:
    @tool
    def weather(city: str) -> str:
        """Say what the weather is like."""
        return shout(f"sunny in {city}")

    weather.invoke({"type": "tool_call", "id": "call_1", "name": "weather", "args": {"city": "Bern"}})
    event = both.one("weather")
    assert (event.event_type, event.inputs, event.outputs) == ("tool", {"city": "Bern"}, {"result": "sunny in Bern!"})
    assert event.metadata["tool_name"] == "weather"
    assert event.metadata["tool_call_id"] == "call_1"
    assert both.one("shout").parent_id == event.event_id


def test_a_tool_that_fails_has_an_error_even_where_it_is_handled(both: Traces) -> None:
    @tool
    def broken(city: str) -> str:
        """Fail."""
        raise ToolException(f"no such city: {city}")

    with pytest.raises(ToolException):
        broken.invoke({"city": "Atlantis"})
    broken.handle_tool_error = True
    broken.invoke({"type": "tool_call", "id": "call_1", "name": "broken", "args": {"city": "Atlantis"}})
    first, second = both.named("broken")
    assert first.error == "ToolException: no such city: Atlantis"
    assert second.error == "no such city: Atlantis"


def test_a_retriever_is_a_tool_that_gives_documents(both: Traces) -> None:
    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return [Document(page_content=shout(query), metadata={"source": "shelf"})]

    Shelf().invoke("tracing")
    event = both.one("Shelf")
    assert (event.event_type, event.inputs) == ("tool", {"query": "tracing"})
    assert event.outputs == {"documents": [{"page_content": "tracing!", "metadata": {"source": "shelf"}}]}
    assert both.one("shout").parent_id == event.event_id


def test_embeddings_are_events_of_the_client(server: ModelServer, both: Traces) -> None:
    made = OpenAIEmbeddings(model="e", base_url=server.url, api_key=KEY, check_embedding_ctx_length=False)
    RunnableLambda(made.embed_query).with_config(run_name="embed").invoke("words")
    assert tree(both) == ["embed", "  embeddings.create"]


@pytest.mark.filterwarnings("ignore:Unexpected type for token usage")  # LangChain's own, about two counts of tokens
@pytest.mark.parametrize("client", [False, True])
def test_several_prompts_in_one_call_are_counted_once_each(client: bool, server: ModelServer) -> None:
    with recording("langchain", *["openai"] * client) as traces:
        llm = model(server)
        prompts = [ChatPromptTemplate.from_messages([("human", text)]).invoke({}) for text in "ab"]
        llm.generate_prompt(prompts)
        asyncio.run(llm.agenerate_prompt(prompts))
    assert sorted(counting(traces)) == (["chat.completions.create"] if client else ["ChatOpenAI"]) * 4
    assert {event.event_type for event in traces.named("ChatOpenAI")} == {"chain" if client else "model"}


def test_metadata_tags_and_names_of_the_program_are_kept(server: ModelServer, both: Traces) -> None:
    config = {"metadata": {"user": "ada"}, "tags": ["beta"], "run_name": "support"}
    chain(server).invoke({"question": "hi"}, config)
    event = both.one("support")
    assert event.metadata == {"user": "ada", "tags": ["beta"]}


def test_the_handlers_of_the_program_hear_the_same_with_and_without(server: ModelServer) -> None:
    class Ear(BaseCallbackHandler):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append(f"start {kwargs.get('name')}")

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append("model")

        def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append("model ended")

        def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append("end")

    plain, traced = Ear(), Ear()
    expected = chain(server).invoke({"question": "hi"}, {"callbacks": [plain]})
    with recording("langchain", "openai"):
        assert chain(server).invoke({"question": "hi"}, {"callbacks": [traced]}) == expected
    assert traced.heard == plain.heard


def test_after_uninstrument_nothing_is_recorded_and_instrumenting_again_records_once(server: ModelServer) -> None:
    from langchain_core.tracers import context

    with recording("langchain") as traces:
        honeytrace.instrument("langgraph")
        hooks = len(context._configure_hooks)
        honeytrace.uninstrument("langchain")
        chain(server).invoke({"question": "hi"})
        assert [event.event_name for event in traces] == ["shout"]
        honeytrace.instrument("langchain_core")
        chain(server).invoke({"question": "hi"})
        assert len(context._configure_hooks) == hooks
    assert len(traces.named("RunnableSequence")) == 1


def test_nothing_is_recorded_under_suppress_or_while_tracing_is_off(server: ModelServer, both: Traces) -> None:
    with honeytrace.suppress():
        chain(server).invoke({"question": "hi"})
        asyncio.run(chain(server).ainvoke({"question": "hi"}))
    assert len(both) == 0


def test_nothing_is_imported_that_the_program_does_not_import() -> None:
    program = """
import sys, honeytrace
honeytrace.instrument()
assert not [name for name in sys.modules if name.startswith(("langchain", "langgraph"))]
import langchain_core
from langchain_core.runnables import RunnableLambda
from honeytrace.testing import capture
with capture() as traces:
    RunnableLambda(lambda x: x + 1).invoke(1)
print(len(traces), "langgraph" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("1 False", "")


def test_what_is_marked_hidden_is_left_out_and_what_it_calls_is_not(both: Traces) -> None:
    hidden = RunnableLambda(shout).with_config(tags=["langsmith:hidden"], run_name="hidden")
    (RunnableLambda(shout).with_config(run_name="seen") | hidden).invoke("hi")
    assert tree(both) == ["RunnableSequence", "  seen", "    shout", "  shout"]


def test_a_session_that_is_not_kept_is_recorded_nowhere(server: ModelServer) -> None:
    class NotTheFirst:
        asked = 0

        def keep(self, session_id: str) -> bool:
            self.asked += 1
            return self.asked > 1

    def elsewhere(given: Any, config: Any) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(chain(server).invoke, given, config).result(30)

    honeytrace.instrument("langchain", "openai")
    try:
        with capture(sampler=NotTheFirst()) as traces:
            RunnableParallel(a=chain(server), b=RunnableLambda(elsewhere)).invoke({"question": "hi"})
            assert (len(traces), traces.sessions, traces.open_spans(), LIBRARY.steps) == (0, [], [], {})
    finally:
        honeytrace.uninstrument()
