"""Tools of an MCP server, for the package's 1.x and 2.x; as a program: `python mcp_tools.py stdio`, or http PORT.

What the program records goes to the local store of its HONEYTRACE_HOME.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import mcp
from mcp import types
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server

try:
    from mcp.server.mcpserver import Context, Image, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    IS_OLD = False
except ImportError:
    from mcp.server.fastmcp import Context, Image
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp.exceptions import ToolError

    IS_OLD = True

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 500


def seconds(number: float) -> Any:
    """A timeout as the version at hand takes it."""
    return timedelta(seconds=number) if IS_OLD else number


def make_server(name: str = "meadow") -> Any:
    server = MCPServer(name)

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    def login(user: str, password: str) -> dict[str, str]:
        return {"user": user, "token": "hidden-9"}

    @server.tool(structured_output=False)
    def words(text: str) -> list[str]:
        return text.split()

    @server.tool(structured_output=False)
    def picture() -> Image:
        return Image(data=PNG, format="png")

    @server.tool()
    def refuses() -> str:
        raise ToolError("not today")

    @server.tool()
    def broken() -> str:
        raise ValueError("boom")

    @server.tool()
    async def never(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        await anyio.sleep_forever()
        return "too late"

    @server.tool()
    async def steps(count: int, ctx: Context) -> int:
        for step in range(count):
            await ctx.report_progress(step, count)
        return count

    @server.tool()
    async def meta(ctx: Context) -> dict[str, Any]:
        given = ctx.request_context.meta
        fields = given if isinstance(given, dict) or given is None else given.model_dump(exclude_unset=True)
        return {"meta": fields}

    @server.tool()
    async def twice(a: int, ctx: Context) -> str:
        await server.call_tool("add", {"a": a, "b": a}, *(() if IS_OLD else (ctx,)))
        return "done"

    return server


async def _lowlevel_tool(name: str, arguments: dict[str, Any]) -> Any:
    if name == "broken":
        raise ValueError("boom")
    return [types.TextContent(type="text", text=str(arguments["a"] + arguments["b"]))]


def make_lowlevel_server() -> Any:
    """A server that handles calls of tools by itself: `add`, and `broken`, which raises."""
    schema = {"type": "object", "properties": {}}
    if IS_OLD:
        server: Any = Server("meadow")

        @server.list_tools()
        async def list_tools() -> list[Any]:
            return [types.Tool(name=name, inputSchema=schema) for name in ("add", "broken")]

        assert server.call_tool()(_lowlevel_tool) is _lowlevel_tool
        return server

    async def listed(ctx: Any, params: Any) -> Any:
        tools = [types.Tool(name=name, input_schema=schema) for name in ("add", "broken")]
        return types.ListToolsResult(tools=tools)

    async def called(ctx: Any, params: Any) -> Any:
        return types.CallToolResult(content=await _lowlevel_tool(params.name, params.arguments))

    return Server("meadow", on_list_tools=listed, on_call_tool=called)


@asynccontextmanager
async def in_memory(server: Any) -> AsyncIterator[Any]:
    """A session of a client with a server in the same process."""
    if IS_OLD:
        from mcp.shared.memory import create_connected_server_and_client_session

        async with create_connected_server_and_client_session(getattr(server, "_mcp_server", server)) as session:
            yield session
    else:
        async with mcp.Client(server, mode="legacy") as client:
            yield client.session


@asynccontextmanager
async def over_stdio(environment: dict[str, str]) -> AsyncIterator[Any]:
    """A session with this program as a process of its own."""
    command = StdioServerParameters(command=sys.executable, args=[__file__, "stdio"], env=environment)
    async with stdio_client(command) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def over_http(url: str) -> AsyncIterator[Any]:
    """A session with a server that listens at this address."""
    async with AsyncExitStack() as stack:
        read, write, *_ = await stack.enter_async_context(streamable_http_client(url))
        session = await stack.enter_async_context(ClientSession(read, write))
        await session.initialize()
        yield session


def main() -> None:
    import honeytrace

    honeytrace.init()
    honeytrace.instrument("mcp")
    server = make_server()
    if sys.argv[1] == "stdio":
        server.run("stdio")
        return
    port = int(sys.argv[2])
    if IS_OLD:
        server.settings.port = port
        server.run("streamable-http")
    else:
        server.run("streamable-http", port=port)


if __name__ == "__main__":
    main()
