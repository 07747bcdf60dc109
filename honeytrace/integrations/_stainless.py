"""Clients made by Stainless (openai, anthropic, groq and others): every call goes through two methods.

`request` of the client's base class is one call, retries and parsing included, whichever resource, helper or raw
variant it came from; `_process_response` is where its HTTP answer arrives. Where `_copy_and_prepare` exists, the body
is plain data only after it: until then iterators of the program's may be in there, and nobody but the client reads
those. A provider says which URLs are which operations; everything else here is the same for all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token

from honeytrace._diagnostics import failed, guard
from honeytrace._lifecycle import default_tracer
from honeytrace.integrations._bodies import AsyncBody, Body, followed
from honeytrace.integrations._calls import Library, ModelCall, start
from honeytrace.integrations._operation import Operation, read_one
from honeytrace.integrations._patching import Door, Target
from honeytrace.integrations._streams import StreamRecord
from honeytrace.integrations._wire import mime_of, read_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Provider = Callable[[Any], str]

__all__ = ["stainless"]

_REQUEST_IDS = (b"x-request-id", b"request-id", b"apim-request-id", b"x-ms-request-id")


_KEYS = ("api_key", "auth_token", "access_token")


class _Flight:
    """A call between the client's `request` and the return of it."""

    __slots__ = ("_begin", "answer", "call", "client", "options", "record", "token")

    def __init__(self, begin: Callable[[Any], ModelCall | None], client: object, options: Any) -> None:
        self._begin: Callable[[Any], ModelCall | None] | None = begin
        self.call: ModelCall | None = None
        self.client: object = client
        self.options = options
        self.answer: Any = None
        self.record: StreamRecord | None = None
        self.token: Token[_Flight | None] | None = None

    def start(self, options: Any) -> None:
        """Start recording, with a body that is plain data."""
        begin, self._begin = self._begin, None
        if begin is not None:
            self.call = begin(options)

    def arrived(self, response: Any, retries: object) -> None:
        """Look at an HTTP answer: what the client parses is not at hand in all variants, this is.

        Middleware of the client's lets it see more than one; refused ones count no more than those of a retry, and
        the last one counts.
        """
        call = self.call
        if call is None or not call.is_recorded or response.status_code >= 400:
            return
        headers, package = _lowered(response.headers), call.library.package
        if type(retries) is int:  # newer versions say so
            call.facts["retries"] = retries
        else:
            call.facts.update(_retries(response.request.headers))
        call.facts.update(_request_id(headers))
        mime = mime_of(headers.get(b"content-type", b"").decode("latin-1"))
        if self.record is not None:
            self.record.disown()
            self.record = None
        if response.is_closed:
            content = response.content
            if content:
                self.answer = read_one("the answer", lambda body: read_body(body, mime), content, package)
            return
        record = StreamRecord(call, mime, headers.get(b"content-encoding", b"").decode("latin-1"))
        record.busy = True  # how the client ends says more than how the body does
        proxy = AsyncBody if hasattr(response.stream, "__aiter__") else Body
        response.stream = proxy(response.stream, record)
        self.record = record

    def land(self) -> None:
        """`request` is about to return."""
        token, self.token = self.token, None
        if token is not None:
            try:
                _in_flight.reset(token)
            except ValueError:  # another context: what is left there knows that it has landed
                pass
        self.client = self.options = self._begin = None
        if self.call is not None:
            self.call.leave()

    def returned(self, result: Any) -> None:
        """End the event, or let the stream do so."""
        try:  # a guard on this path costs more than what it guards
            self.land()
            call, record = self.call, self.record
            if call is None:
                return
            if record is None:
                call.finish(self.answer)
                return
            if record.idle():
                return
            iterator = getattr(result, "_iterator", None)
            if iterator is not None:
                result._iterator = followed(iterator, record)
        except Exception as error:
            failed("finishing a model call", error)

    def failed(self, error: BaseException | None) -> None:
        """End the event with what the client raised, and with the answer if there was one."""
        with guard("finishing a model call"):
            self.start(self.options)
            self.land()
            if self.call is None:
                return
            facts: dict[str, Any] = {"status_code": getattr(error, "status_code", None)}
            response = getattr(error, "response", None)
            request = getattr(response, "request", None) or getattr(error, "__dict__", {}).get("request")
            facts.update(_request_id(_lowered(getattr(response, "headers", None))))
            facts.update(_retries(getattr(request, "headers", None)))
            if self.record is not None:
                self.record.disown()
            self.call.finish(self.answer, error, **{name: value for name, value in facts.items() if value is not None})


_in_flight: ContextVar[_Flight | None] = ContextVar("honeytrace_call", default=None)


def _lowered(headers: Any) -> dict[bytes, bytes]:
    """Headers by lower-case name, in one go: asking an HTTP client for one goes through all of them."""
    return {name.lower(): value for name, value in getattr(headers, "raw", ())}


def _request_id(received: Mapping[bytes, bytes]) -> dict[str, Any]:
    for name in _REQUEST_IDS:
        if received.get(name):
            return {"request_id": received[name].decode("latin-1")}
    return {}


def _retries(sent: Any) -> dict[str, Any]:
    count = _lowered(sent).get(b"x-stainless-retry-count", b"")
    return {"retries": int(count)} if count.isdigit() else {}


def stainless(
    library: Library, module: str, routes: Mapping[str, Operation], provider: Callable[[Any], str]
) -> tuple[Target, ...]:
    """Make the patches of a library: `routes` are the URLs that are calls of a model, `provider` names a client's."""

    def take_off(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Flight | None:
        """Start recording if this is a call of a model and not one that is being recorded already."""
        try:
            options: Any = args[1] if len(args) > 1 else kwargs["options"]
            operation = _route(routes, options)
            around = _in_flight.get()
            if around is not None and around.options is options:
                return None
            if operation is None:
                if around is None:
                    return None
                beside = _Flight(lambda options: None, client, options)  # its answer is none of the call around it
                beside.token = _in_flight.set(beside)
                return beside

            def begin(options: Any) -> ModelCall | None:
                return start(
                    library,
                    operation,
                    {**_given(options.json_data), **_given(getattr(options, "extra_json", None))},
                    event_name=_event_name(operation, options),
                    provider=lambda: provider(client),
                    key=next(filter(None, (getattr(client, name, None) for name in _KEYS)), None),
                )

            flight = _Flight(begin, client, options)
            if not hasattr(client, "_copy_and_prepare"):
                flight.start(options)
            flight.token = _in_flight.set(flight)
            return flight
        except Exception as error:
            failed("starting a model call", error)
            return None

    def request(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        flight = None if default_tracer.recorder is None else take_off(client, args, kwargs)
        if flight is None:
            return wrapped(*args, **kwargs)
        try:
            result = wrapped(*args, **kwargs)
        except:
            flight.failed(sys.exc_info()[1])
            raise
        flight.returned(result)
        return result

    async def awaited(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        flight = take_off(client, args, kwargs)
        if flight is None:
            return await wrapped(*args, **kwargs)
        try:
            result = await wrapped(*args, **kwargs)
        except:
            flight.failed(sys.exc_info()[1])
            raise
        flight.returned(result)
        return result

    def async_request(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if default_tracer.recorder is None:
            return wrapped(*args, **kwargs)
        return awaited(wrapped, client, args, kwargs)

    doors: tuple[tuple[str, str, Door], ...] = (
        ("SyncAPIClient", "request", request),
        ("AsyncAPIClient", "request", async_request),
        ("SyncAPIClient", "_copy_and_prepare", _copy_and_prepare),
        ("AsyncAPIClient", "_copy_and_prepare", _async_copy_and_prepare),
        ("SyncAPIClient", "_process_response", _process_response),
        ("AsyncAPIClient", "_process_response", _process_response),
    )
    return tuple(Target(module, owner, name, door) for owner, name, door in doors)


def _copy_and_prepare(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    prepared = wrapped(*args, **kwargs)
    _prepared(args, prepared)
    return prepared


async def _async_copy_and_prepare(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    prepared = await wrapped(*args, **kwargs)
    _prepared(args, prepared)
    return prepared


def _prepared(args: tuple[Any, ...], options: Any) -> None:
    flight = _in_flight.get()
    if flight is not None and args and flight.options is args[0]:
        try:
            flight.start(options)
        except Exception as error:
            failed("starting a model call", error)


def _process_response(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    flight = _in_flight.get()
    if flight is not None and flight.client is client:
        try:
            flight.arrived(kwargs["response"], kwargs.get("retries_taken"))
        except Exception as error:
            failed("reading an answer", error)
    return wrapped(*args, **kwargs)


def _route(routes: Mapping[str, Operation], options: Any) -> Operation | None:
    if options.method.lower() != "post":
        return None
    url = str(options.url).partition("?")[0]
    found = routes.get(url)
    if found is None:
        for path, operation in routes.items():
            if url.endswith(path):
                return operation
    return found


def _event_name(operation: Operation, options: Any) -> str:
    """The name of the method that was called. Some versions say it in headers; else a parser gives it away."""
    headers = options.headers
    said = {str(name).lower(): value for name, value in headers.items()} if isinstance(headers, Mapping) else {}
    stream, helper = said.get("x-stainless-stream-helper"), said.get("x-stainless-helper-method")
    if isinstance(stream, str) and len(stream) < 100:
        return f"{stream.removeprefix('beta.')}.stream"
    if isinstance(helper, str) and "." in helper and len(helper) < 100:
        return helper.removeprefix("beta.")
    if operation.parsed_name is not None and callable(getattr(options, "post_parser", None)):
        return operation.parsed_name
    return operation.event_name


def _given(value: Any) -> dict[str, Any]:
    """The fields of a body, without those that the client takes for absent."""
    if not isinstance(value, Mapping):
        return {}
    return {name: one for name, one in value.items() if type(one).__name__ not in ("Omit", "NotGiven")}
