"""The two places where a StreamRecord listens.

The body of the HTTP answer says what arrives, when it is used up and when it is closed, whoever reads it and how. The
client's own iterator, where there is one, says with which exception it failed. What stands in their places keeps their
interface; the stream object itself is the client's own, untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import GeneratorType

import wrapt

from honeytrace.integrations._streams import StreamRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Proxy = wrapt.ObjectProxy[Any]
else:
    _Proxy = wrapt.ObjectProxy

__all__ = ["AsyncBody", "AsyncFollowed", "Body", "Followed", "followed"]


def _ignore(data: bytes) -> None:
    """Take what has been taken before."""


class _BodyProxy(_Proxy):
    def __init__(self, wrapped: Any, record: StreamRecord) -> None:
        super().__init__(wrapped)
        self._self_record = record
        self._self_begun = False

    def _self_receive(self) -> Callable[[bytes], object]:
        """Give what takes the body. Some clients iterate once more at the end: that is no second body."""
        begun, self._self_begun = self._self_begun, True
        return _ignore if begun else self._self_record.receive


class Body(_BodyProxy):
    """The body of an answer, as the HTTP client reads it."""

    def __iter__(self) -> Iterator[bytes]:
        record = self._self_record
        receive = self._self_receive()
        try:
            for data in self.__wrapped__:
                receive(data)
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            record.body_ended(error)
            raise
        record.exhausted = True

    def close(self) -> None:
        try:
            self.__wrapped__.close()
        finally:
            self._self_record.body_ended()


class AsyncBody(_BodyProxy):
    """The same of an asynchronous client."""

    def __aiter__(self) -> _AsyncPieces:
        return _AsyncPieces(self.__wrapped__.__aiter__(), self._self_record, self._self_receive())

    async def aclose(self) -> None:
        try:
            await self.__wrapped__.aclose()
        finally:
            self._self_record.body_ended()


class _AsyncPieces:
    """The pieces of a body. Looks like a generator, but is none: closing it closes the client's own.

    One around the client's would leave that to the event loop, which makes a task for each.
    """

    __slots__ = ("_inner", "_receive", "_record")

    def __init__(self, inner: Any, record: StreamRecord, receive: Callable[[bytes], object]) -> None:
        self._inner = inner
        self._record = record
        self._receive = receive

    def __aiter__(self) -> _AsyncPieces:
        return self

    async def __anext__(self) -> bytes:
        try:
            data: bytes = await self._inner.__anext__()
        except StopAsyncIteration:
            self._record.exhausted = True
            raise
        except GeneratorExit:
            raise
        except BaseException as error:
            self._record.body_ended(error)
            raise
        self._receive(data)
        return data

    async def asend(self, value: None) -> bytes:
        return await self.__anext__()

    def athrow(self, *error: Any) -> Any:
        return self._inner.athrow(*error)

    async def aclose(self) -> None:
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()


def followed(iterator: Any, record: StreamRecord) -> Any:
    """Follow a client's iterator over the parsed events to its end. What comes back takes its place."""
    if hasattr(iterator, "__anext__"):
        return AsyncFollowed(iterator, record)
    if type(iterator) is GeneratorType:
        record.follow(iterator)
        return _to_its_end(iterator, record)
    return Followed(iterator, record)


def _to_its_end(iterator: Any, record: StreamRecord) -> Iterator[Any]:
    """The same for a generator, which says itself whether it is at work: a step costs next to nothing."""
    try:
        yield from iterator
    except BaseException as error:
        record.end(error, "closed")
        raise
    record.exhausted = True
    record.end()


class Followed(_BodyProxy):
    """A client's iterator over the parsed events, followed to its end."""

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        record = self._self_record
        record.busy = True
        try:
            item = next(self.__wrapped__)
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
        return item


class AsyncFollowed:
    """The same of an asynchronous client. No proxy of wrapt's, whose attributes cost as much as all the rest here."""

    __slots__ = ("__wrapped__", "_next", "_record")

    def __init__(self, wrapped: Any, record: StreamRecord) -> None:
        self.__wrapped__ = wrapped
        self._next = wrapped.__anext__
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        record = self._record
        record.busy = True
        try:
            item = await self._next()
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
        return item
