"""The synchronous and the asynchronous client of a library behind one surface, so that each claim is tested with both.

Each library made by Stainless has a module `LIBRARY_surface.py` with a class Surface that says what differs.
"""

from __future__ import annotations

import asyncio
import gc
from operator import attrgetter
from typing import Any, ClassVar

import pytest

KEY = "sk-secret-0123456789"
MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]


class StainlessSurface:
    """One client; methods by their path: surface.call("chat.completions.create", model=...)."""

    package: ClassVar[Any]
    kinds: ClassVar[tuple[Any, Any]]
    """The synchronous client's class and the asynchronous one's."""
    resource: ClassVar[str]
    """Where `create` is: its path is the event's name, too."""
    required: ClassVar[dict[str, Any]] = {}
    """What a call needs beside model and messages."""
    with_usage: ClassVar[dict[str, Any]] = {}
    """What a stream needs to be told to count its tokens."""
    lead: ClassVar[int]
    """How many events of a stream come before the first text."""
    tokens: ClassVar[dict[str, int]]
    has_helper: ClassVar[bool]

    @staticmethod
    def base_url(server: Any) -> str:
        return str(server.origin)

    def __init_subclass__(cls) -> None:
        gc.collect()
        gc.freeze()  # what the packages brought along need not be looked at again: a collection is a second faster

    def __init__(self, mode: str, server: Any, client: Any = None, **options: Any) -> None:
        self.is_async = mode == "async"
        self._loop = asyncio.new_event_loop() if self.is_async else None
        self.client = client or self.kinds[self.is_async](api_key=KEY, base_url=self.base_url(server), **options)

    @property
    def create(self) -> str:
        """The method's path, and the event's name."""
        return f"{self.resource}.create"

    def wait(self, value: Any) -> Any:
        """Run a coroutine to its end; anything else is given back."""
        return self._loop.run_until_complete(value) if self._loop and hasattr(value, "__await__") else value

    def call(self, path: str, client: Any = None, **kwargs: Any) -> Any:
        return self.wait(attrgetter(path)(client or self.client)(**kwargs))

    @classmethod
    def arguments(cls, model: str = "plain", **kwargs: Any) -> dict[str, Any]:
        return {"model": model, "messages": MESSAGES, **cls.required, **kwargs}

    def client_call(self, **kwargs: Any) -> Any:
        """What the client's own method gives: a coroutine, if it is asynchronous."""
        return attrgetter(self.create)(self.client)(**self.arguments(**kwargs))

    def chat(self, model: str = "plain", client: Any = None, **kwargs: Any) -> Any:
        return self.call(self.create, client, **self.arguments(model, **kwargs))

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.chat(model, stream=True, **kwargs)

    def raw(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.call(f"{self.resource}.with_raw_response.create", **self.arguments(model, **kwargs))

    def opened(self, model: str = "plain", **kwargs: Any) -> Any:
        """The manager of with_streaming_response, not entered."""
        create = attrgetter(f"{self.resource}.with_streaming_response.create")(self.client)
        return create(**self.arguments(model, **kwargs))

    def helper(self, model: str = "plain", **kwargs: Any) -> Any:
        """The manager of the stream helper, not entered."""
        if not self.has_helper:
            pytest.skip(f"this {self.package.__name__} has no {self.resource}.stream")
        return attrgetter(f"{self.resource}.stream")(self.client)(**self.arguments(model, **kwargs))

    def parsed(self, raw: Any) -> Any:
        """Parse a raw response: a coroutine in some versions."""
        return self.wait(raw.parse())

    def text(self, answer: Any) -> str:
        """The text of an answer."""
        return str(answer.choices[0].message.content)

    def delta(self, event: Any) -> str:
        """The text of an event of a stream."""
        return event.choices[0].delta.content or "" if event.choices else ""

    def take(self, stream: Any, count: int = 1_000_000) -> list[Any]:
        """Read so many items of a stream, or all."""
        items = []
        iterator = stream.__aiter__() if self.is_async else iter(stream)

        async def one() -> Any:
            return await iterator.__anext__()

        while len(items) < count:
            try:
                items.append(self.wait(one()) if self.is_async else next(iterator))
            except (StopIteration, StopAsyncIteration):
                break
        return items

    def take_words(self, stream: Any, count: int) -> list[Any]:
        """Read so many pieces of text of a stream."""
        return self.take(stream, self.lead + count)

    def enter(self, manager: Any) -> Any:
        return self.wait(manager.__aenter__()) if self.is_async else manager.__enter__()

    def leave(self, manager: Any) -> None:
        ended = manager.__aexit__(None, None, None) if self.is_async else manager.__exit__(None, None, None)
        self.wait(ended)

    def collect(self) -> None:
        """Collect garbage, and let the event loop do what follows from it: generators inside generators, one by one."""
        for _ in range(20 if self._loop is not None else 3):
            gc.collect()
            if self._loop is not None:
                self._loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        self.wait(self.client.close())
        self.close_loop()

    def close_loop(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
