"""The Model Context Protocol's package: calls of tools, on the client's side and on the server's.

Covers mcp 1.x and 2.x: `ClientSession.call_tool`, the tools of `FastMCP` (1.x) and `MCPServer` (2.x), and what handles
calls of tools in a low-level `Server`, or in packages on top of one; in 1.x as far as it is registered after
instrument(). The client puts what is current into the request's `_meta` (traceparent and baggage; from 1.20 on), the
server takes it from there: its event is a child of the client's, in the same session, whatever carries the messages.
What the program puts there itself stays. Where nothing is recorded nothing is put there, except that a session is not
kept: so that it is not kept on the other side, either.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from weakref import WeakKeyDictionary

import wrapt

from honeytrace._diagnostics import guard
from honeytrace._lifecycle import default_tracer
from honeytrace.integrations._calls import Library
from honeytrace.integrations._messages import media
from honeytrace.integrations._patching import Target
from honeytrace.integrations._tools import fail_tool, finish_tool, start_tool
from honeytrace.propagation import Attachment, inject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIBRARY", "TARGETS"]

_running: ContextVar[list[Any] | None] = ContextVar("honeytrace_mcp_tool", default=None)
"""The call that is under way here: whose, name, arguments and, on a server, the request's meta. Empty when it ended."""

_server_names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""What the server of a session called itself, where the session does not keep it (1.x)."""


def _client(wrapped: Any, session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if default_tracer.recorder is None or not _is_new(session, args, kwargs):
        return wrapped(*args, **kwargs)
    return _call(wrapped, session, args, kwargs)


async def _call(wrapped: Any, session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name, arguments = _named(args, kwargs)
    with _under_way([session, name, arguments, None]):
        call = start_tool(name, arguments, {"tool_name": name, "mcp_server_name": _server_of(session), "mcp": "client"})
        with guard("passing on what is current"):
            if _takes_meta(type(session)):  # type: ignore[arg-type]
                kwargs = _with_meta(kwargs)
        try:
            result = await wrapped(*args, **kwargs)
        except:
            error = sys.exc_info()[1]
            fail_tool(call, error, error_code=_code(error))
            raise
        outputs: object = None
        problem = None
        with guard("reading what a tool gave"):
            outputs, problem = _read(result)
        finish_tool(call, outputs, problem)
        return result


def _server(wrapped: Any, tools: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if default_tracer.recorder is None or not _is_new(tools, args, kwargs):
        return wrapped(*args, **kwargs)
    return _handle(wrapped, tools, args, kwargs)


async def _handle(wrapped: Any, tools: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name, arguments = _named(args, kwargs)
    context = args[2] if len(args) > 2 else kwargs.get("context")
    converts = args[3] if len(args) > 3 else kwargs.get("convert_result", False)
    cell = [tools, name, arguments, _meta_of(context)]
    return await _served(lambda: wrapped(*args, **kwargs), cell, _name_of(context), bool(converts))


async def _served(run: Callable[[], Awaitable[Any]], cell: list[Any], server_name: str | None, converted: bool) -> Any:
    """Run a tool on the server's side as what the client's call led to; the cell says what is under way."""
    _, name, arguments, meta = cell
    with _attached(meta), _under_way(cell):
        call = start_tool(name, arguments, {"tool_name": name, "mcp_server_name": server_name, "mcp": "server"})
        try:
            result = await run()
        except:
            error = sys.exc_info()[1]
            fail_tool(call, _cause(error), error_code=_code(error))
            raise
        outputs: object = result
        problem = None
        if converted:
            with guard("reading what a tool gave"):
                outputs, problem = _read(result)
        finish_tool(call, outputs, problem)
        return result


def _registration(wrapped: Any, server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`@server.call_tool()` of 1.x: what it is given handles all tools of this server."""
    register = wrapped(*args, **kwargs)

    def decorator(function: Any) -> Any:
        if _is_the_packages(function):
            return register(function)
        register(wrapt.FunctionWrapper(function, handle))
        return function

    def handle(function: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, arguments = _named(args, kwargs)
        is_on = getattr(inspect.getattr_static(server, "call_tool", None), "_self_switch", ())
        if default_tracer.recorder is None or not is_on or not isinstance(name, str):
            return function(*args, **kwargs)
        cell = [server, name, arguments, _meta_of(server)]
        return _served(lambda: function(*args, **kwargs), cell, server.name, True)

    return decorator


def _handler(wrapped: Any, server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`get_request_handler` of 2.x: what is to handle a request that has come."""
    entry = wrapped(*args, **kwargs)
    if entry is None or default_tracer.recorder is None or "tools/call" not in (*args, *kwargs.values()):
        return entry
    with guard("looking at what handles a call"):
        handler = entry.handler

        def handle(context: Any, params: Any) -> Any:
            if default_tracer.recorder is None:
                return handler(context, params)
            cell = [server, params.name, params.arguments, context.meta]
            return _served(lambda: handler(context, params), cell, server.name, True)

        return entry if _is_the_packages(handler) else replace(entry, handler=handle)
    return entry


def _is_the_packages(handler: Any) -> bool:
    """Say whether a handler is the package's own, which leads to a tool that is recorded by itself."""
    owner = getattr(handler, "__self__", None)  # a subclass of the package's own servers may override the method
    homes = [getattr(handler, "__module__", None), *(kind.__module__ for kind in type(owner).__mro__)]
    return any(str(home).partition(".")[0] == "mcp" for home in homes)


async def _initialize(wrapped: Any, session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = await wrapped(*args, **kwargs)
    with guard("reading the name of a server"):
        about = getattr(result, "serverInfo", None)
        if about is not None:
            _server_names[session] = about.name
    return result


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Find name and arguments of the tool, which may be given by name."""
    return args[0] if args else kwargs.get("name"), args[1] if len(args) > 1 else kwargs.get("arguments")


def _is_new(owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Say whether this is no call that is being recorded already: of a method that an overriding one goes on to."""
    name, arguments = _named(args, kwargs)
    if not isinstance(name, str):  # a wrong call: it fails as it would without us
        return False
    around = _running.get()
    return not around or not (around[0] is owner and around[1] == name and around[2] is arguments)


@contextmanager
def _under_way(cell: list[Any]) -> Iterator[None]:
    token = _running.set(cell)
    try:
        yield
    finally:
        cell.clear()  # contexts copied meanwhile hold it
        with suppress(ValueError):  # left in another context than it was entered in
            _running.reset(token)


@lru_cache(maxsize=64)
def _takes_meta(kind: Hashable) -> bool:
    """Say whether call_tool() of this class takes `meta`; the oldest ones do not."""
    return "meta" in inspect.signature(kind.call_tool).parameters  # type: ignore[attr-defined]


def _with_meta(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add what is current to the request's meta. What the program says itself about it is not changed."""
    given = kwargs.get("meta")
    if given is not None and not isinstance(given, Mapping):
        return kwargs
    meta = {} if given is None else given
    theirs = meta.get("baggage")
    if theirs is not None and (not isinstance(theirs, str) or "session_id=" in theirs):
        return kwargs  # it carries a trace of its own making
    ours = {} if theirs is None else {"baggage": theirs}
    inject(default_tracer, ours)
    if "traceparent" not in ours:
        return kwargs
    return {**kwargs, "meta": {**ours, **meta, "baggage": ours["baggage"]}}


def _meta_of(context: Any) -> Any:
    """What the request that is being handled says beside its parameters; None outside of a request."""
    with suppress(AttributeError, LookupError, ValueError):
        return context.request_context.meta
    return None


def _attached(meta: Any) -> Attachment:
    """Make current what the client had, unless that has been done for this request."""
    around = _running.get()
    headers: dict[str, str] = {}
    with guard("reading a request's meta"):
        if meta is not None and not (around and around[3] is meta):
            fields = meta if isinstance(meta, Mapping) else meta.model_dump()
            headers = {name: fields[name] for name in ("baggage", "traceparent") if isinstance(fields.get(name), str)}
            # Another tracer's says nothing about whether this session is kept.
            trace = headers.get("traceparent", "")[3:35]
            if trace not in headers.get("baggage", "").replace("-", ""):
                headers.pop("traceparent", None)
    return Attachment(default_tracer, headers)


def _server_of(session: Any) -> str | None:
    about = getattr(session, "server_info", None)
    name = _server_names.get(session) if about is None else about.name
    return name if isinstance(name, str) else None


def _name_of(context: Any) -> str | None:
    for attribute in ("mcp_server", "fastmcp"):
        with suppress(AttributeError, LookupError, ValueError):
            return str(getattr(context, attribute).name)
    return None


def _cause(error: BaseException | None) -> BaseException | None:
    """What a tool raised; the package puts an exception of its own around it."""
    wrapped = type(error).__module__.startswith("mcp.") and type(error).__name__.endswith("ToolError")
    return error.__cause__ if error is not None and wrapped and error.__cause__ is not None else error


def _code(error: BaseException | None) -> int | None:
    """The protocol's code of an error, where it is one of the protocol's."""
    code = getattr(getattr(error, "error", None), "code", None)
    return code if isinstance(code, int) else None


def _read(result: Any) -> tuple[object, str | None]:
    """What a tool gave, and what it says went wrong."""
    if isinstance(result, tuple) and len(result) == 2:  # 1.x: content, and the same with a structure
        return result[1] if isinstance(result[1], dict) else _shown(result[0]), None
    if isinstance(result, Sequence):
        return _shown(result), None
    content = getattr(result, "content", None)
    if content is None:  # a question back, for example
        return result, None
    structured = _either(result, "structured_content", "structuredContent")
    outputs = structured if isinstance(structured, dict) else _shown(content)
    if not _either(result, "is_error", "isError"):
        return outputs, None
    texts = [text for text in (getattr(block, "text", None) for block in content) if isinstance(text, str)]
    return outputs, "\n".join(texts) or "the tool says that it failed"


def _either(source: Any, new: str, old: str) -> Any:
    """A field by its name in 2.x, else by that in 1.x: asking for the old one where there is a new one warns."""
    found = getattr(source, new, source)
    return getattr(source, old, None) if found is source else found


def _shown(content: Sequence[Any]) -> dict[str, object]:
    """Blocks of content as a result: text as it is, media so that it is described, the rest as it comes."""
    shown: list[object] = []
    for block in content:
        kind = getattr(block, "type", None)
        if kind == "text":
            shown.append(block.text)
        elif kind in ("image", "audio"):
            mime = _either(block, "mime_type", "mimeType") or "application/octet-stream"
            shown.append({"type": kind, "data": media(block.data, mime)})
        else:
            shown.append(block)
    return {"result": shown[0] if len(shown) == 1 else shown}


LIBRARY = Library("mcp")
TARGETS = (
    Target("mcp.client.session", "ClientSession", "call_tool", _client),
    Target("mcp.client.session", "ClientSession", "initialize", _initialize),
    Target("mcp.server.mcpserver.tools.tool_manager", "ToolManager", "call_tool", _server),
    Target("mcp.server.fastmcp.tools.tool_manager", "ToolManager", "call_tool", _server),
    Target("mcp.server.lowlevel.server", "Server", "call_tool", _registration),
    Target("mcp.server.lowlevel.server", "Server", "get_request_handler", _handler),
)
