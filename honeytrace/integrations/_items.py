"""A stream of parsed items on its way to the program: a generator, or a stream object of the client's.

A generator is re-yielded from one of ours, of the same kind and name; a stream object gets a subclass of its own class
(made once per class), so that it keeps its whole interface. Either way every item, and the one end, is told to the
StreamRecord, which lives exactly as long as the stream. No context variable is touched here.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator
from functools import lru_cache
from inspect import isasyncgenfunction, iscoroutinefunction
from types import new_class

from honeytrace.integrations._streams import StreamRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Begin = Callable[[], StreamRecord | None]
    """Called at the first step of a generator: gives the record to tell."""

__all__ = ["async_generated", "follow", "generated"]

_RECORD = "_honeytrace_record"


class _Nobody:
    """Stands for the record where there is none."""

    exhausted = False

    def take(self, item: object) -> None:
        pass

    def end(self, error: BaseException | None = None, outcome: str | None = None) -> None:
        pass


def generated(inner: Generator[Any, Any, Any], begin: Begin, *, ends: bool = True) -> Generator[Any, Any, Any]:
    """Yield what a generator yields. Unless it `ends` the stream, closing it is not the end: one may iterate again."""
    record: Any = begin() or _Nobody()
    step: Callable[[Any], Any] = inner.send
    argument: Any = None
    while True:
        try:
            item = step(argument)
        except StopIteration as end:
            record.exhausted = True
            record.end()
            return end.value
        except BaseException as error:
            record.end(error, "closed")
            raise
        finally:
            argument = None
        record.take(item)
        try:
            step, argument = inner.send, (yield item)
        except GeneratorExit:
            try:
                inner.close()
            finally:
                if ends:
                    record.end(outcome="closed")
            raise
        except BaseException as error:
            step, argument = inner.throw, error


def async_generated(inner: AsyncGenerator[Any, Any], begin: Begin) -> AsyncGenerator[Any, Any]:
    """Yield what an asynchronous generator yields."""
    made = _steps(inner, begin)
    # The event loop closes generators that are dropped, and those that are open when it ends. It is to know the one
    # inside, as ever, and not ours: two that close each other at that moment get into each other's way.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, _leave_it)
    try:
        made.asend(None).send(None)
    except StopIteration:  # it stands where it waits for the first step
        pass
    finally:
        sys.set_asyncgen_hooks(*hooks)
    return made


async def _steps(inner: AsyncGenerator[Any, Any], begin: Begin) -> AsyncGenerator[Any, Any]:
    record: Any = None
    item = None
    while True:
        try:
            given = yield item
        except GeneratorExit:
            try:
                await inner.aclose()
            finally:
                if record is not None:
                    record.end(outcome="closed")
            raise
        except BaseException as error:
            step = inner.athrow(error)
        else:
            step = inner.asend(given)
        record = record or begin() or _Nobody()
        try:
            item = await step
        except StopAsyncIteration:
            record.exhausted = True
            record.end()
            return
        except BaseException as error:
            record.end(error, "closed")
            raise
        record.take(item)


def _leave_it(generator: object) -> None:
    """What the event loop does with a generator of ours that is dropped: the one inside is dropped with it."""


def follow(stream: Any, record: StreamRecord) -> None:
    """Tell the record what a stream object gives, and how it ends. The object stays the same, and an instance of its
    class; what it is asked for is done by its class."""
    kind = _followed(type(stream))  # type: ignore[arg-type]
    stream.__dict__[_RECORD] = record
    stream.__class__ = kind


@lru_cache(maxsize=64)
def _followed(kind: Any) -> Any:
    """Make the subclass that tells."""
    members: dict[str, Any] = {
        name: make(kind, name) for name, make in _MEMBERS.items() if getattr(kind, name, None) is not None
    }
    members.update(__module__=kind.__module__, __qualname__=kind.__qualname__, __doc__=kind.__doc__, __slots__=())
    return new_class(kind.__name__, (kind,), {}, lambda namespace: namespace.update(members))


def _next(kind: type[Any], name: str) -> Any:
    def __next__(self: Any) -> Any:
        record = self.__dict__[_RECORD]
        record.busy = True
        try:
            item = kind.__next__(self)
        except StopIteration:
            record.busy = False
            record.exhausted = True
            record.end()
            raise
        except BaseException as error:
            record.busy = False
            record.end(error, "closed")
            raise
        record.busy = False
        record.take(item)
        return item

    return __next__


def _anext(kind: type[Any], name: str) -> Any:
    if isasyncgenfunction(kind.__anext__):  # no iterator, whatever its name says
        return kind.__anext__

    async def __anext__(self: Any) -> Any:
        record = self.__dict__[_RECORD]
        record.busy = True
        try:
            item = await kind.__anext__(self)
        except StopAsyncIteration:
            record.busy = False
            record.exhausted = True
            record.end()
            raise
        except BaseException as error:
            record.busy = False
            record.end(error, "closed")
            raise
        record.busy = False
        record.take(item)
        return item

    return __anext__


def _iter(kind: type[Any], name: str) -> Any:
    def __iter__(self: Any) -> Any:
        iterator = kind.__iter__(self)
        if iterator is self:
            return self
        record = self.__dict__[_RECORD]
        return generated(iterator, lambda: record, ends=False)

    return __iter__


def _ending(kind: type[Any], name: str) -> Any:
    """A method with which a stream ends: closing it, or leaving its block."""
    method = getattr(kind, name)

    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(kind, name)(self, *args, **kwargs)
        finally:
            self.__dict__[_RECORD].body_ended()

    async def aclose(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await getattr(kind, name)(self, *args, **kwargs)
        finally:
            self.__dict__[_RECORD].body_ended()

    made: Any = aclose if iscoroutinefunction(method) else close
    made.__name__, made.__qualname__, made.__doc__ = name, method.__qualname__, method.__doc__
    return made


_MEMBERS: dict[str, Callable[[type[Any], str], Any]] = {
    "__next__": _next,
    "__anext__": _anext,
    "__iter__": _iter,
    "close": _ending,
    "aclose": _ending,
    "__exit__": _ending,
    "__aexit__": _ending,
}
