"""Calls of tools over MCP, the Model Context Protocol: an event on both sides, in one tree, nothing else changed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import honeytrace
from honeytrace.testing import Traces, capture

mcp = pytest.importorskip("mcp")

from mcp_tools import IS_OLD, in_memory, make_lowlevel_server, make_server, over_http, over_stdio, seconds  # noqa: E402


@pytest.fixture
def recorded() -> Iterator[Traces]:
    with capture() as traces:
        honeytrace.instrument("mcp")
        yield traces
        honeytrace.uninstrument()


def run(body: Callable[[Any], Coroutine[Any, Any, Any]], *, in_session: bool = True) -> Any:
    """Run it with a session with a server in memory."""

    async def whole() -> Any:
        async with in_memory(make_server()) as session:
            if not in_session:
                return await body(session)
            with honeytrace.session("test"):
                return await body(session)

    return asyncio.run(whole())


def ends(traces: Traces, name: str) -> tuple[Any, Any]:
    """The client's and the server's event of the only call of a tool."""
    by_side = {event.metadata["mcp"]: event for event in traces.named(name)}
    assert len(traces.named(name)) == 2
    return by_side["client"], by_side["server"]


def structured(result: Any) -> Any:
    return result.structuredContent if IS_OLD else result.structured_content


def is_error(result: Any) -> bool:
    return bool(result.isError if IS_OLD else result.is_error)


def test_a_call_is_a_tool_event_of_the_client_with_that_of_the_server_below_it(recorded: Traces) -> None:
    result = run(lambda session: session.call_tool("add", {"a": 2, "b": 3}))
    assert structured(result) == {"result": 5}
    client, server = ends(recorded, "add")
    for event in client, server:
        assert event.event_type == "tool"
        assert event.inputs == {"a": 2, "b": 3}
        assert event.outputs == {"result": 5}
        assert event.error is None
        assert event.metadata["tool_name"] == "add"
        assert event.metadata["mcp_server_name"] == "meadow"
    assert server.parent_id == client.event_id
    assert client.parent_id == client.session_id == server.session_id


def test_a_server_that_handles_calls_by_itself_records_them_alike(recorded: Traces) -> None:
    async def calls() -> list[Any]:
        async with in_memory(make_lowlevel_server()) as session:
            with honeytrace.session("test"):
                answers = [await session.call_tool("add", {"a": 2, "b": 3})]
                try:
                    answers.append(await session.call_tool("broken", {}))
                except mcp.MCPError as error:  # 2.x makes it an error of the protocol
                    answers.append(error)
            return answers

    added, broken = asyncio.run(calls())
    assert added.content[0].text == "5"
    assert not isinstance(broken, Exception) or not IS_OLD
    client, server = ends(recorded, "add")
    for event in client, server:
        assert (event.event_type, event.inputs, event.outputs) == ("tool", {"a": 2, "b": 3}, {"result": "5"})
        assert event.metadata["mcp_server_name"] == "meadow"
    assert server.parent_id == client.event_id
    client, server = ends(recorded, "broken")
    assert server.error == "ValueError: boom"
    assert "_lowlevel_tool" in server.metadata["traceback"]
    assert client.error is not None


def test_nothing_is_recorded_of_it_any_more_after_uninstrument() -> None:
    with capture() as traces:
        honeytrace.instrument("mcp")
        server = make_lowlevel_server()
        honeytrace.uninstrument()

        async def call() -> Any:
            async with in_memory(server) as session:
                return await session.call_tool("add", {"a": 2, "b": 3})

        assert asyncio.run(call()).content[0].text == "5"
    assert not len(traces)


def test_a_call_outside_any_session_opens_one_for_both_sides(recorded: Traces) -> None:
    run(lambda session: session.call_tool("add", {"a": 2, "b": 3}), in_session=False)
    client, server = ends(recorded, "add")
    assert client.session_id == server.session_id
    assert server.parent_id == client.event_id


def test_a_tool_that_a_tool_calls_is_below_it_and_not_below_the_client(recorded: Traces) -> None:
    run(lambda session: session.call_tool("twice", {"a": 4}))
    outer, inner = ends(recorded, "twice")[1], recorded.one("add")
    assert inner.parent_id == outer.event_id
    assert inner.inputs == {"a": 4, "b": 4}


def test_secrets_in_arguments_and_results_are_replaced_on_both_sides(recorded: Traces) -> None:
    result = run(lambda session: session.call_tool("login", {"user": "ada", "password": "bumble-7"}))
    assert structured(result)["token"] == "hidden-9"
    for event in ends(recorded, "login"):
        assert event.inputs["user"] == event.outputs["user"] == "ada"
        assert "bumble-7" not in json.dumps(event.fields)
        assert "hidden-9" not in json.dumps(event.fields)


def test_content_without_structure_is_recorded_as_text_and_media_as_what_one_wants_to_know(recorded: Traces) -> None:
    async def both(session: Any) -> None:
        await session.call_tool("words", {"text": "one two"})
        await session.call_tool("picture")

    run(both)
    for event in ends(recorded, "words"):
        assert event.outputs == {"result": ["one", "two"]}
    for event in ends(recorded, "picture"):
        assert event.inputs == {}
        image = event.outputs["result"]
        assert image["type"] == "image"
        assert image["data"]["mime"] == "image/png"
        assert image["data"]["bytes"] == 508


@pytest.mark.parametrize(("tool", "raised"), [("refuses", "ToolError: not today"), ("broken", "ValueError: boom")])
def test_a_tool_that_raises_is_an_error_on_both_sides(recorded: Traces, tool: str, raised: str) -> None:
    result = run(lambda session: session.call_tool(tool, {}))
    assert is_error(result)
    client, server = ends(recorded, tool)
    assert client.error == result.content[0].text
    assert raised.partition(": ")[2] in server.error
    assert server.error.startswith(raised.partition(":")[0])
    assert "mcp_tools.py" in server.metadata["traceback"]


def test_an_unknown_tool_is_an_error(recorded: Traces) -> None:
    result_or_error = run(lambda session: asyncio.gather(session.call_tool("nowhere", {}), return_exceptions=True))
    client = next(event for event in recorded.named("nowhere") if event.metadata["mcp"] == "client")
    assert "nowhere" in client.error
    assert client.outputs or isinstance(result_or_error[0], Exception)


def test_a_timeout_is_an_error_with_the_codes_of_the_protocol(recorded: Traces) -> None:
    async def late(session: Any) -> str:
        with pytest.raises(Exception) as caught:
            await session.call_tool("never", {}, seconds(0.05))
        return type(caught.value).__name__

    name = run(late)
    client = next(event for event in recorded.named("never") if event.metadata["mcp"] == "client")
    assert client.error.startswith(name)
    assert isinstance(client.metadata["error_code"], int)


def test_a_cancelled_call_ends_as_cancelled_on_both_sides(recorded: Traces) -> None:
    async def cancelled(session: Any) -> None:
        arrived = asyncio.Event()

        async def progress(done: float, total: float | None, message: str | None) -> None:
            arrived.set()

        call = asyncio.ensure_future(session.call_tool("never", {}, progress_callback=progress))
        await asyncio.wait_for(arrived.wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(cancelled)
    client, server = ends(recorded, "never")
    assert client.metadata["outcome"] == server.metadata["outcome"] == "cancelled"
    assert server.parent_id == client.event_id


def test_progress_reaches_the_callback_and_the_call_is_one_event(recorded: Traces) -> None:
    seen: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append(done)

    run(lambda session: session.call_tool("steps", {"count": 3}, progress_callback=progress))
    assert seen == [0, 1, 2]
    client, server = ends(recorded, "steps")
    assert client.outputs == server.outputs == {"result": 3}


def test_calls_at_the_same_time_keep_their_own_parents(recorded: Traces) -> None:
    async def many(session: Any) -> None:
        async def one(number: int) -> None:
            with honeytrace.span(f"task {number}"):
                await session.call_tool("add", {"a": number, "b": 0})

        await asyncio.gather(*(one(number) for number in range(10)))

    run(many)
    by_id = {event.event_id: event for event in recorded}
    servers = [event for event in recorded.named("add") if event.metadata["mcp"] == "server"]
    assert sorted(event.inputs["a"] for event in servers) == list(range(10))
    for event in servers:
        client = by_id[event.parent_id]
        assert client.inputs == event.inputs
        assert by_id[client.parent_id].event_name == f"task {event.inputs['a']}"


def meta_seen_by_the_server(given: dict[str, Any] | None) -> Any:
    arguments = {} if given is None else {"meta": given}
    return structured(run(lambda session: session.call_tool("meta", {}, **arguments)))["meta"]


def test_meta_of_the_program_arrives_unchanged_beside_ours(recorded: Traces) -> None:
    mine = {"tenant": {"id": [1, None]}, "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00"}
    given = {**mine, "baggage": "shop=bees;ttl=1"}
    before = json.dumps(given)
    seen = meta_seen_by_the_server(given)
    assert json.dumps(given) == before
    assert {name: seen[name] for name in mine} == mine
    assert seen["baggage"].startswith("shop=bees;ttl=1,session_id=")
    client, server = ends(recorded, "meta")
    assert server.parent_id == client.event_id


def test_a_trace_that_the_program_passes_on_itself_is_left_alone(recorded: Traces) -> None:
    session = "0b0d3a52-6d06-4a4c-a1f6-6cb9a2f4f4a1"
    given = {"baggage": f"session_id={session}"}
    seen = meta_seen_by_the_server(given)
    assert {name: value for name, value in seen.items() if not name.startswith("io.modelcontextprotocol")} == given
    assert ends(recorded, "meta")[1].session_id == session


@pytest.mark.parametrize("off", ["suppressed", "uninstrumented", "shut down"])
def test_where_nothing_is_recorded_the_request_is_the_same(off: str) -> None:
    with capture() as traces:
        plain = meta_seen_by_the_server(None), meta_seen_by_the_server({"tenant": 7})
        honeytrace.instrument("mcp")
        try:
            if off == "suppressed":
                with honeytrace.suppress():
                    seen = meta_seen_by_the_server(None), meta_seen_by_the_server({"tenant": 7})
                assert not [event for event in traces if event.event_type == "tool"]
            elif off == "uninstrumented":
                honeytrace.uninstrument("mcp")
                seen = meta_seen_by_the_server(None), meta_seen_by_the_server({"tenant": 7})
        finally:
            honeytrace.uninstrument("mcp")
    if off == "shut down":
        honeytrace.instrument("mcp")
        seen = meta_seen_by_the_server(None), meta_seen_by_the_server({"tenant": 7})
        honeytrace.uninstrument("mcp")
    assert seen == plain


def test_a_subclass_that_calls_the_method_it_overrides_counts_once(recorded: Traces) -> None:
    from mcp.client.session import ClientSession

    class Mine(ClientSession):
        async def call_tool(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            return await super().call_tool(*args, **kwargs)

    honeytrace.instrument("mcp")

    async def through_mine(session: Any) -> None:
        session.__class__ = Mine
        await session.call_tool("add", {"a": 1, "b": 1})

    run(through_mine)
    assert len(recorded.named("add")) == 2
    ends(recorded, "add")


def test_wrap_records_the_calls_of_one_session_only() -> None:
    with capture() as traces:

        async def both(session: Any) -> None:
            honeytrace.wrap(session)
            await session.call_tool("add", {"a": 1, "b": 1})

        run(both)
        run(lambda session: session.call_tool("words", {"text": "x"}))
    assert traces.one("add").metadata["mcp"] == "client"
    assert not traces.named("words")


def stored(home: Path) -> list[dict[str, Any]]:
    """The tool events in the local store."""
    connection = sqlite3.connect(home / "traces.db")
    try:
        events = [json.loads(body) for (body,) in connection.execute("SELECT body FROM events")]
    finally:
        connection.close()
    return [event for event in events if event["event_type"] == "tool"]


def check_stored(home: Path) -> None:
    """One tree of both processes."""
    by_side = {(event["event_name"], event["metadata"]["mcp"]): event for event in stored(home)}
    assert set(by_side) == {("add", "client"), ("add", "server"), ("broken", "client"), ("broken", "server")}
    assert len({event["session_id"] for event in by_side.values()}) == 1
    for name in "add", "broken":
        assert by_side[name, "server"]["parent_id"] == by_side[name, "client"]["event_id"]
        assert by_side[name, "client"]["metadata"]["mcp_server_name"] == "meadow"
    assert by_side["add", "server"]["outputs"] == {"result": 5}
    assert "boom" in by_side["broken", "server"]["error"]
    assert by_side["broken", "client"]["error"].startswith("Error executing tool broken")


async def call_both(session: Any) -> None:
    with honeytrace.session("two processes"):
        await session.call_tool("add", {"a": 2, "b": 3})
        await session.call_tool("broken", {})


@pytest.fixture
def both_stored(private_home: Path) -> Iterator[Path]:
    """Record into the local store; servers of the test do so as well."""
    honeytrace.init()
    honeytrace.instrument("mcp")
    yield private_home
    honeytrace.uninstrument()


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HONEYTRACE_HOME": str(home)}


def test_a_server_in_another_process_over_stdio_is_part_of_the_clients_tree(both_stored: Path) -> None:
    async def whole() -> None:
        async with over_stdio(environment(both_stored)) as session:
            await call_both(session)

    asyncio.run(whole())
    honeytrace.shutdown(10)
    check_stored(both_stored)


def test_a_server_in_another_process_over_http_is_part_of_the_clients_tree(both_stored: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("mcp_tools.py")), "http", str(port)]
    server = subprocess.Popen(command, env=environment(both_stored), stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if "Uvicorn running" in line:
                break
        else:
            pytest.fail("the server has ended")

        async def whole() -> None:
            async with over_http(f"http://127.0.0.1:{port}/mcp") as session:
                await call_both(session)

        asyncio.run(asyncio.wait_for(whole(), 30))
    finally:
        server.terminate()
        server.communicate(timeout=20)
    honeytrace.shutdown(10)
    check_stored(both_stored)


def test_a_session_that_is_not_kept_is_not_kept_by_the_server_either(private_home: Path) -> None:
    honeytrace.init(sample_rate=0.0)
    honeytrace.instrument("mcp")

    async def whole() -> None:
        async with over_stdio(environment(private_home)) as session:
            await call_both(session)

    asyncio.run(whole())
    honeytrace.uninstrument()
    honeytrace.shutdown(10)
    assert not (private_home / "traces.db").exists() or not stored(private_home)
