"""A door for one method of any client: what it was asked, what came of it, and when that was over.

What comes of it may be a value, a coroutine, a generator, an asynchronous generator (at once, or after an await), or a
stream object of the client's. Invariant: the program gets what it would have got, an event begins when the client
begins and ends when its answer has, and its parent is what was current when the method was called. A coroutine that is
never awaited and a generator that is never started have done nothing, so they are no events.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import AsyncGeneratorType, CoroutineType, GeneratorType

from honeytrace._diagnostics import guard
from honeytrace._lifecycle import default_tracer
from honeytrace.integrations._calls import Library, ModelCall, start
from honeytrace.integrations._items import async_generated, follow, generated
from honeytrace.integrations._messages import given
from honeytrace.integrations._operation import Operation
from honeytrace.integrations._patching import Door
from honeytrace.integrations._streams import StreamRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from honeytrace._context import Current

    Asked: TypeAlias = Callable[[Any, tuple[Any, ...], dict[str, Any]], tuple[Operation, Mapping[str, Any]] | None]
    """What a call asks: client, args, kwargs → operation and request. None: it is none of a model's, let it pass."""

    Land: TypeAlias = Callable[[ModelCall, Any], Any]
    """What is done with what a method returned; gives what the program gets."""

__all__ = ["Question", "landed", "method", "regenerated"]

_WAITS = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR


class Question:
    """A call that is about to begin, with what was current when it was made."""

    __slots__ = ("_current", "_key", "_operation", "_provider", "_request", "land", "lazy", "library")

    def __init__(
        self,
        library: Library,
        operation: Operation,
        request: Mapping[str, Any],
        provider: Callable[[], str],
        key: object,
    ) -> None:
        self.library = library
        self.lazy = False
        """Whether not even an await begins it, but the first step of what comes of that."""
        self.land: Land = landed
        self._operation = operation
        self._request = request
        self._provider = provider
        self._key = key
        recorder = default_tracer.recorder
        self._current: Current | None = None if recorder is None else recorder.get()

    def begin(self) -> ModelCall | None:
        """Begin the event here, below what is current here."""
        operation = self._operation
        return start(
            self.library,
            operation,
            self._request,
            event_name=operation.event_name,
            provider=self._provider,
            key=self._key,
        )

    def record(self) -> StreamRecord | None:
        """Begin the event of a stream at its first step, below what was current when the method was called."""
        recorder = default_tracer.recorder
        if recorder is None:
            return None
        token = recorder.set(self._current)
        try:
            with guard("starting a model call"):
                call = self.begin()
                if call is not None:
                    call.leave()
                    return StreamRecord(call)
            return None
        finally:
            recorder.reset(token)


def method(
    library: Library,
    asked: Operation | Asked,
    *,
    provider: Callable[[Any], str] | None = None,
    key: Callable[[Any], object] = lambda client: None,
    lazy: Callable[[dict[str, Any]], object] = lambda kwargs: False,
    land: Land | None = None,
) -> Door:
    """Make the door in front of a method.

    `asked` is the operation, if the request is the method's keyword arguments; else it finds out. `provider` names the
    client's (by default the library), `key` gives its key, which no event may repeat. Where the method is no generator
    function itself but returns a generator that begins with its first step, `lazy` says for which arguments. `land`
    knows answers that `landed` does not.
    """
    if isinstance(asked, Operation):
        operation = asked
        asked = lambda client, args, kwargs: (operation, given(kwargs))  # noqa: E731
    ask: Asked = asked

    def question(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Question | None:
        with guard("starting a model call"):
            found = ask(client, args, kwargs)
            if found is not None:
                named = (lambda: library.package) if provider is None else lambda: provider(client)
                made = Question(library, *found, named, key(client))
                made.lazy, made.land = bool(lazy(kwargs)), land or landed
                return made
        return None

    def door(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = None if default_tracer.recorder is None else question(client, args, kwargs)
        if made is None:
            return wrapped(*args, **kwargs)
        if made.lazy or _waits(wrapped):
            return _waited_for(wrapped(*args, **kwargs), made)
        call = made.begin()
        if call is None:
            return wrapped(*args, **kwargs)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            call.leave()
            if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
                call.discard()  # the arguments do not fit: it never started
            else:
                call.finish(None, error)
            raise
        call.leave()
        return made.land(call, result)

    return door


def landed(call: ModelCall, result: Any) -> Any:
    """The method has returned: end its event, or let that be done by what it returned. Gives what the program gets."""
    with guard("finishing a model call"):
        kind = type(result)
        if kind is GeneratorType or kind is AsyncGeneratorType:
            record = StreamRecord(call)
            return regenerated(result, lambda: record)
        if kind is CoroutineType:
            return _named(_awaited(_Held(result, call), None, call), result)
        if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
            follow(result, StreamRecord(call))
            return result
        call.finish(result)
    return result


def _waits(wrapped: Any) -> bool:
    """Say whether calling it does nothing yet."""
    code = getattr(getattr(wrapped, "__func__", wrapped), "__code__", None)
    return bool(getattr(code, "co_flags", 0) & _WAITS)


def _waited_for(result: Any, question: Question) -> Any:
    """Stand in front of something that begins when somebody waits for it."""
    kind = type(result)
    if kind is CoroutineType:
        return _named(_awaited(_Held(result), question), result)
    if kind is GeneratorType or kind is AsyncGeneratorType:
        return regenerated(result, question.record)
    call = question.begin()
    if call is None:
        return result
    call.leave()
    return question.land(call, result)


class _Held:
    """A coroutine that has not begun. If nobody awaits ours, Python says so once: this one goes quietly."""

    __slots__ = ("_call", "_coroutine")

    def __init__(self, coroutine: Any, call: ModelCall | None = None) -> None:
        self._coroutine = coroutine
        self._call = call

    def take(self) -> Any:
        """Give the coroutine away."""
        coroutine, self._coroutine = self._coroutine, None
        return coroutine

    def __del__(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
            if self._call is not None:
                self._call.finish(None, outcome="abandoned")


async def _awaited(held: _Held, question: Question | None, call: ModelCall | None = None) -> Any:
    lazy = question is not None and question.lazy
    if question is not None and not lazy:
        call = question.begin()
    try:
        result = await held.take()
    except:
        if call is not None:
            call.leave()
            call.finish(None, sys.exc_info()[1])
        raise
    if lazy and question is not None:
        return _waited_for(result, question)
    if call is None:
        return result
    call.leave()
    return landed(call, result) if question is None else question.land(call, result)


def regenerated(inner: Any, begin: Callable[[], StreamRecord | None]) -> Any:
    """Give a generator of ours in place of one of the client's, of the same kind and name."""
    return _named((generated if type(inner) is GeneratorType else async_generated)(inner, begin), inner)


def _named(made: Any, original: Any) -> Any:
    """Give a generator or coroutine of ours the name of the client's, as it shows in warnings and tasks."""
    made.__name__, made.__qualname__ = original.__name__, original.__qualname__
    return made
