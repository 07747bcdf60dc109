"""A body that the program reads itself, once: what passes is recorded, and nothing is read before or after.

The body gets a subclass of its own class, made once per class, so that it keeps its whole interface.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import new_class

from honeytrace.integrations._streams import StreamRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["follow_body"]

_RECORD = "_honeytrace_record"


def follow_body(body: Any, record: StreamRecord) -> None:
    """Tell the record what is read of a body, and when that is over: at its end, when it is closed, or collected."""
    body.__dict__[_RECORD] = record
    body.__class__ = _followed(type(body))  # type: ignore[arg-type]


@lru_cache(maxsize=16)
def _followed(kind: Any) -> Any:
    def reading(name: str) -> Callable[..., Any]:
        """A method that gives bytes: all of them, or, where it gives none though it was asked for some, the end."""

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            record = self.__dict__[_RECORD]
            try:
                data = getattr(kind, name)(self, *args, **kwargs)
            except BaseException as error:
                record.end(error)
                raise
            size = next(iter((*args, *kwargs.values())), None)
            lines = isinstance(data, list)
            if data:
                record.receive(b"".join(data) if lines else bytes(data))
            if size is None or lines or (not data and size > 0):
                record.end()
            return data

        method.__name__ = name
        return method

    def readinto(self: Any, buffer: Any) -> Any:
        record = self.__dict__[_RECORD]
        try:
            size = kind.readinto(self, buffer)
        except BaseException as error:
            record.end(error)
            raise
        if size:
            record.receive(bytes(memoryview(buffer)[:size]))
        elif len(buffer):
            record.end()
        return size

    def ending(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return getattr(kind, name)(self, *args, **kwargs)
            finally:
                self.__dict__[_RECORD].body_ended()

        method.__name__ = name
        return method

    members: dict[str, Any] = {"read": reading("read"), "readlines": reading("readlines"), "readinto": readinto,
                               "close": ending("close"), "__exit__": ending("__exit__")}  # fmt: skip
    members = {name: made for name, made in members.items() if hasattr(kind, name)}
    members.update(__module__=kind.__module__, __qualname__=kind.__qualname__, __doc__=kind.__doc__, __slots__=())
    return new_class(kind.__name__, (kind,), {}, lambda namespace: namespace.update(members))
