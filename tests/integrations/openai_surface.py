"""The synchronous and the asynchronous client behind one surface, so that each claim is tested with both."""

from __future__ import annotations

import asyncio
import gc
from operator import attrgetter
from typing import Any

import openai

KEY = "sk-secret-0123456789"
MESSAGES = [{"role": "user", "content": "hi"}]


class Surface:
    """One client; methods by their path: surface.call("chat.completions.create", model=...)."""

    def __init__(self, mode: str, url: str, client: Any = None, **options: Any) -> None:
        self.is_async = mode == "async"
        self._loop = asyncio.new_event_loop() if self.is_async else None
        kind: Any = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        self.client = client or kind(api_key=KEY, base_url=url, **options)

    def wait(self, value: Any) -> Any:
        """Run a coroutine to its end; anything else is given back."""
        return self._loop.run_until_complete(value) if self._loop and hasattr(value, "__await__") else value

    def call(self, path: str, client: Any = None, **kwargs: Any) -> Any:
        return self.wait(attrgetter(path)(client or self.client)(**kwargs))

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.call("chat.completions.create", model=model, messages=MESSAGES, **kwargs)

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.chat(model, stream=True, **kwargs)

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

    def enter(self, manager: Any) -> Any:
        return self.wait(manager.__aenter__()) if self.is_async else manager.__enter__()

    def leave(self, manager: Any) -> None:
        ended = manager.__aexit__(None, None, None) if self.is_async else manager.__exit__(None, None, None)
        self.wait(ended)

    def collect(self) -> None:
        """Collect garbage, and let the event loop do what follows from it."""
        for _ in range(3):
            gc.collect()
            if self._loop is not None:
                self._loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        self.wait(self.client.close())
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
