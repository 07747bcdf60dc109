"""The clients whose methods have doors, behind one surface, so that each claim is tested with all of them.

A surface is one client, synchronous or asynchronous. Its answers, items and exceptions are the library's own; what
differs between libraries and is of no interest to a claim (how a stream is closed, what a parameter is called) is here.
"""

from __future__ import annotations

import asyncio
import gc
from importlib.util import find_spec
from inspect import signature
from typing import Any

import pytest

_OWN = ("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore:Pydantic serializer:UserWarning")
QUIET = [pytest.mark.filterwarnings(one) for one in _OWN]
"""Some clients cannot be closed, and old ones warn of themselves."""

KEY = "sk-secret-0123456789"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 500


class Surface:
    """One client of a library. Subclasses make the calls."""

    library = package = provider = chat_name = stream_name = embed_name = ""
    asynchronous = True
    retries = cancels = early = True
    """Whether the client tries again, lets go of the event loop while it streams, and is recorded if it was made before
    instrument()."""
    prompt = 11
    cached: int | None = None
    """How many tokens of the prompt the server says were cached."""
    temperature, top = "temperature", "top_p"
    """What sampling parameters are called in a request."""

    def __init__(self, mode: str, url: str, timeout: float | None = None) -> None:
        self.is_async = mode == "async"
        self._loop = asyncio.new_event_loop() if self.is_async else None
        self.url = url
        self.client = self.make(timeout)

    def make(self, timeout: float | None = None) -> Any:
        raise NotImplementedError

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        """Call a model. Its answer says "Hello world" in 18 tokens, 7 of them generated."""
        raise NotImplementedError

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        raise NotImplementedError

    def embed(self) -> Any:
        raise NotImplementedError

    def with_image(self) -> Any:
        """Send PNG as image/png."""
        raise NotImplementedError

    def errors(self) -> type[Exception]:
        """What the client raises where the server says 400."""
        raise NotImplementedError

    def wait(self, value: Any) -> Any:
        """Run a coroutine to its end; anything else is given back."""
        return self._loop.run_until_complete(value) if self._loop and hasattr(value, "__await__") else value

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

    def shut(self, stream: Any) -> None:
        """Close a stream, as it can be closed."""
        if hasattr(stream, "aclose") or hasattr(stream, "close"):
            self.wait(stream.aclose() if hasattr(stream, "aclose") else stream.close())
        else:
            self.leave(stream)
        self.settle()

    def leave(self, stream: Any) -> None:
        """Leave the block of a stream."""
        about = None, None, None
        self.wait(stream.__aexit__(*about) if self.is_async else stream.__exit__(*about))

    def collect(self) -> None:
        """Collect garbage, and let the event loop do what follows from it."""
        for _ in range(2):
            gc.collect()
            self.settle()

    def settle(self) -> None:
        """Let the event loop do what is waiting."""
        if self._loop is not None:
            for _ in range(10):
                self._loop.run_until_complete(asyncio.sleep(0))

    def http(self) -> list[Any]:
        """The HTTP clients behind it."""
        raise NotImplementedError

    def close(self) -> None:
        for one in self.http():
            self.wait(one.aclose() if hasattr(one, "aclose") and self._loop is not None else one.close())
        if self._loop is not None:
            self.settle()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


class GoogleSurface(Surface):
    library, package, provider, cached = "google.genai", "google-genai", "google", 4
    chat_name, stream_name = "models.generate_content", "models.generate_content_stream"
    embed_name = "models.embed_content"

    def make(self, timeout: float | None = None) -> Any:
        from google import genai
        from google.genai import types

        options: dict[str, Any] = {"base_url": self.url}
        if timeout is not None:
            options["timeout"] = int(timeout * 1000)
        if hasattr(types, "HttpRetryOptions"):
            options["retry_options"] = types.HttpRetryOptions(attempts=2, initial_delay=0.01, max_delay=0.02)
        else:
            self.retries = self.cancels = False  # old versions do neither
        self._whole = genai.Client(api_key=KEY, http_options=types.HttpOptions(**options))
        return self._whole.aio if self.is_async else self._whole

    def _config(self, kwargs: dict[str, Any]) -> Any:
        from google.genai import types

        return types.GenerateContentConfig(system_instruction="Be brief.", **kwargs)

    def http(self) -> list[Any]:
        inner = self._whole._api_client
        return [inner._async_httpx_client if self.is_async else inner._httpx_client] if self.retries else []

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        method = self.client.models.generate_content
        return self.wait(method(model=model, contents="hi", config=self._config(kwargs)))

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        method = self.client.models.generate_content_stream
        return self.wait(method(model=model, contents="hi", config=self._config(kwargs)))

    def embed(self) -> Any:
        return self.wait(self.client.models.embed_content(model="plain", contents=["a"]))

    def with_image(self) -> Any:
        from google.genai import types

        contents = ["look", types.Part.from_bytes(data=PNG, mime_type="image/png")]
        return self.wait(self.client.models.generate_content(model="plain", contents=contents))

    def errors(self) -> type[Exception]:
        from google.genai.errors import ClientError

        return ClientError


class OllamaSurface(Surface):
    library = package = provider = "ollama"
    chat_name, stream_name, embed_name, retries = "chat", "chat", "embed", False

    def make(self, timeout: float | None = None) -> Any:
        import ollama

        kind = ollama.AsyncClient if self.is_async else ollama.Client
        return kind(self.url, timeout=timeout, headers={"authorization": f"Bearer {KEY}"})

    def http(self) -> list[Any]:
        return [self.client._client]

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.wait(self.client.chat(model, MESSAGES, options=kwargs or None))

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.wait(self.client.chat(model, MESSAGES, options=kwargs or None, stream=True))

    def embed(self) -> Any:
        return self.wait(self.client.embed("plain", ["a"]))

    def with_image(self) -> Any:
        return self.wait(self.client.chat("plain", [{"role": "user", "content": "look", "images": [PNG]}]))

    def errors(self) -> type[Exception]:
        import ollama

        return ollama.ResponseError


class MistralSurface(Surface):
    library, package, provider = "mistralai", "mistralai", "mistral"
    chat_name, stream_name, embed_name = "chat.complete", "chat.stream", "embeddings.create"

    def make(self, timeout: float | None = None) -> Any:
        try:
            from mistralai.client import Mistral
            from mistralai.client.utils import BackoffStrategy, RetryConfig
        except ImportError:
            from mistralai import Mistral  # type: ignore[attr-defined,no-redef]
            from mistralai.utils import BackoffStrategy, RetryConfig  # type: ignore[no-redef]

            self.retries = False  # the first of these versions trip over it
        retry = RetryConfig("backoff", BackoffStrategy(1, 10, 1.5, 5000), False)
        options = {} if timeout is None else {"timeout_ms": int(timeout * 1000)}
        return Mistral(api_key=KEY, server_url=f"{self.url}/mistral", retry_config=retry, **options)

    def _call(self, resource: str, name: str, **kwargs: Any) -> Any:
        return self.wait(getattr(getattr(self.client, resource), name + "_async" * self.is_async)(**kwargs))

    def http(self) -> list[Any]:
        settings = self.client.sdk_configuration
        return [settings.async_client if self.is_async else settings.client]

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        return self._call("chat", "complete", model=model, messages=MESSAGES, **kwargs)

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        return self._call("chat", "stream", model=model, messages=MESSAGES, **kwargs)

    def embed(self) -> Any:
        return self._call("embeddings", "create", model="plain", inputs=["a"])

    def with_image(self) -> Any:
        import base64

        url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        content = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": url}]
        return self._call("chat", "complete", model="plain", messages=[{"role": "user", "content": content}])

    def errors(self) -> type[Exception]:
        try:
            from mistralai.client.errors import SDKError
        except ImportError:
            from mistralai.models import SDKError  # type: ignore[no-redef]
        return SDKError  # type: ignore[no-any-return]


class CohereSurface(Surface):
    library = package = provider = "cohere"
    chat_name, stream_name, embed_name, top = "chat", "chat_stream", "embed", "p"

    def make(self, timeout: float | None = None) -> Any:
        import cohere

        self.early = _is_here("cohere.v2.raw_client")
        self.retries = "max_retries" in signature(cohere.ClientV2).parameters
        kind = cohere.AsyncClientV2 if self.is_async else cohere.ClientV2
        return kind(KEY, base_url=self.url, timeout=timeout)

    def http(self) -> list[Any]:
        return [self.client._client_wrapper.httpx_client.httpx_client]

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.wait(self.client.chat(model=model, messages=MESSAGES, **kwargs))

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        return self.client.chat_stream(model=model, messages=MESSAGES, **kwargs)

    def embed(self) -> Any:
        options = {"input_type": "search_query", "embedding_types": ["float"]}
        return self.wait(self.client.embed(model="plain", texts=["a"], **options))

    def with_image(self) -> Any:
        import base64

        url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        content = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": url}}]
        return self.wait(self.client.chat(model="plain", messages=[{"role": "user", "content": content}]))

    def errors(self) -> type[Exception]:
        import cohere

        return cohere.BadRequestError


class BedrockSurface(Surface):
    library, package, provider, cached = "botocore", "boto3", "bedrock", 4
    chat_name, stream_name, asynchronous, top = "converse", "converse_stream", False, "topP"
    embed_name = "invoke_model"

    def make(self, timeout: float | None = None) -> Any:
        import boto3
        from botocore.config import Config

        retries: Any = {"max_attempts": 2, "mode": "standard"}
        config = Config(retries=retries if timeout is None else {"max_attempts": 0}, read_timeout=timeout or 60)
        keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": KEY}
        client = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=self.url, config=config, **keys)
        if "cacheReadInputTokens" not in client.meta.service_model.shape_for("TokenUsage").members:
            self.cached, self.prompt = None, 7  # old versions know of no cache
        return client

    def http(self) -> list[Any]:
        return [self.client]

    def _converse(self, method: Any, model: str, kwargs: dict[str, Any]) -> Any:
        messages = [{"role": "user", "content": [{"text": "hi"}]}]
        return method(modelId=model, messages=messages, system=[{"text": "Be brief."}], inferenceConfig=kwargs)

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        return self._converse(self.client.converse, model, kwargs)

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        return self._converse(self.client.converse_stream, model, kwargs)["stream"]

    def embed(self) -> Any:
        answer = self.client.invoke_model(modelId="embed", body='{"inputText": "a"}')
        return answer["body"].read()

    def with_image(self) -> Any:
        image = {"format": "png", "source": {"bytes": PNG}}
        messages = [{"role": "user", "content": [{"text": "look"}, {"image": image}]}]
        return self.client.converse(modelId="plain", messages=messages)

    def errors(self) -> type[Exception]:
        from botocore.exceptions import ClientError

        return ClientError


class InvokeSurface(BedrockSurface):
    """The same client, by the methods that hand on what the maker of a model says."""

    chat_name, stream_name, top = "invoke_model", "invoke_model_with_response_stream", "top_p"

    def make(self, timeout: float | None = None) -> Any:
        client = super().make(timeout)
        self.cached, self.prompt = 4, 11
        return client

    def _invoke(self, method: Any, model: str, kwargs: dict[str, Any], content: Any = "hi") -> Any:
        import json

        messages = [{"role": "user", "content": content}]
        return method(modelId=model, body=json.dumps({"system": "Be brief.", "messages": messages, **kwargs}))

    def chat(self, model: str = "plain", **kwargs: Any) -> Any:
        return self._invoke(self.client.invoke_model, model, kwargs)["body"].read()

    def stream(self, model: str = "plain", **kwargs: Any) -> Any:
        return self._invoke(self.client.invoke_model_with_response_stream, model, kwargs)["body"]

    def with_image(self) -> Any:
        import base64

        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
        content = [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
        return self._invoke(self.client.invoke_model, "plain", {}, content)["body"].read()


def _is_here(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


_ALL = [GoogleSurface, OllamaSurface, MistralSurface, CohereSurface, BedrockSurface, InvokeSurface]
_IMPORTED = {"botocore": "boto3"}
SURFACES = [
    (kind, mode)
    for kind in _ALL
    if _is_here(_IMPORTED.get(kind.library, kind.library))
    for mode in (("sync", "async") if kind.asynchronous else ("sync",))
]
"""Every surface whose library is installed, with the ways in which it waits."""
NAMES = [f"{kind.__name__.removesuffix('Surface').lower()}-{mode}" for kind, mode in SURFACES]
