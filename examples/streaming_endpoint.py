"""A web endpoint that streams, one session per request, and clients that do not all stay to the end.

    python examples/streaming_endpoint.py

GET /explain?name=gather streams the documentation of an asyncio function word by word, at a language model's
pace. Server and clients are sockets of this process. In FastAPI, the session belongs inside the generator
that StreamingResponse is given: that runs when the route itself has returned.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import parse_qs, urlsplit

import honeytrace
from honeytrace import cli

SECONDS_PER_WORD = 0.004


@honeytrace.trace("model", config={"model": "pydoc-1"}, reduce="".join)
async def generate(prompt: str) -> AsyncGenerator[str, None]:
    """The model: yields an answer at its own pace. An unknown name is an error, recorded like any other."""
    text = inspect.getdoc(getattr(asyncio, prompt)) or "No documentation."
    for word in text.split()[:40]:
        await asyncio.sleep(SECONDS_PER_WORD)
        yield f"{word} "


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The endpoint: one request, one session."""
    target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
    query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
    user = {"user_id": query["user"]}
    async with honeytrace.session("GET /explain", inputs=query, user_properties=user) as session:
        headers = f"X-Session-Id: {session.session_id}\r\nConnection: close"
        writer.write(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode())
        try:
            await respond(query["name"], reader, writer)
        except AttributeError as error:
            writer.write(f"error: {error}".encode())
        writer.close()


@honeytrace.trace(exclude=("reader", "writer"))
async def respond(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    try:
        # aclosing() ends the generator when the loop is left; without it, the event loop does so later.
        async with aclosing(generate(name)) as words:
            async for word in words:
                if reader.at_eof():
                    raise ConnectionResetError("closed by the client")
                writer.write(word.encode())
                await writer.drain()
    except ConnectionError:
        return "the client has hung up"
    return "complete"


async def visit(port: int, user: str, name: str, patience: int | None = None) -> str:
    """A client: read the answer, or hang up after `patience` words; return the id of the session."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /explain?name={name}&user={user} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if patience is None:
        heard = (await reader.read()).decode()
    else:
        heard = "".join([(await reader.readuntil(b" ")).decode() for _ in range(patience)])
    writer.close()
    await writer.wait_closed()
    print(f"{user:7} heard {len(heard.split()):2} words: {heard[:60].strip()!r}")
    return head.partition("X-Session-Id: ")[2].split()[0]


async def serve_some_clients() -> list[str]:
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        visits = (
            visit(port, "ada", "gather"),
            visit(port, "bob", "wait_for", patience=3),
            visit(port, "cleo", "shield", patience=8),
            visit(port, "dan", "no_such_function"),
        )
        return list(await asyncio.gather(*visits))


def main() -> None:
    honeytrace.init(exporters=["local"])
    sessions = asyncio.run(serve_some_clients())
    honeytrace.flush()
    for session_id in sessions:
        print()
        cli.main(["show", session_id])
    print("\nWhat is known of the one that was left first (see outcome):\n")
    cli.main(["show", sessions[1], "--full"])


if __name__ == "__main__":
    main()
