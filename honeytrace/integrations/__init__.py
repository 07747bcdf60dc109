"""One line wraps an LLM client: instrument("openai"), or wrap(client) for one instance.

Every call of the real client becomes a model event; nothing about the client changes. Frameworks on top of clients
report chains, agents, tools and retrievers: instrument("langchain", "openai") gives one tree of both. A provider is one
file with two names: LIBRARY, and TARGETS that say what is patched. README.md beside this file shows how to write one.
Such a file is loaded when its library is, never before, and no library is ever imported here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec

from honeytrace.exceptions import TraceError
from honeytrace.integrations._patching import Patches, wrap_instance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeVar

    from honeytrace.integrations._pricing import Cost

    C = TypeVar("C")

__all__ = ["instrument", "uninstrument", "wrap"]

_PROVIDERS = {
    "openai": "honeytrace.integrations.openai",
    "anthropic": "honeytrace.integrations.anthropic",
    "google.genai": "honeytrace.integrations.google",
    "botocore": "honeytrace.integrations.bedrock",
    "mistralai": "honeytrace.integrations.mistral",
    "cohere": "honeytrace.integrations.cohere",
    "groq": "honeytrace.integrations.groq",
    "ollama": "honeytrace.integrations.ollama",
    "mcp": "honeytrace.integrations.mcp",
}
"""Each client library that can be instrumented, by the name it is imported under, and the file that knows it."""

_FRAMEWORKS = {
    "langchain_core": "honeytrace.integrations.langchain",
    "agents": "honeytrace.integrations.agents",
    "litellm": "honeytrace.integrations.litellm",
    "pydantic_ai": "honeytrace.integrations.pydantic_ai",
    "llama_index_instrumentation": "honeytrace.integrations.llama_index",
}
"""The same for frameworks on top of them, which have no clients to wrap."""

_KNOWN = {**_PROVIDERS, **_FRAMEWORKS}

_ALIASES = {
    "google": "google.genai",
    "google-genai": "google.genai",
    "gemini": "google.genai",
    "bedrock": "botocore",
    "boto3": "botocore",
    "mistral": "mistralai",
    "langchain": "langchain_core",
    "langgraph": "langchain_core",
    "openai-agents": "agents",
    "openai_agents": "agents",
    "pydantic-ai": "pydantic_ai",
    "llama-index": "llama_index_instrumentation",
    "llama_index": "llama_index_instrumentation",
}
"""Other names that people have for them: on the package index, or of what is served."""

_ALSO = {
    "mistralai": (
        "mistralai.client",
        "mistralai.azure.client",
        "mistralai.gcp.client",
        "mistralai_azure",
        "mistralai_gcp",
    ),
}
"""Where the import of a library cannot be seen (a namespace has no code), or not in all versions: what can."""

_wanted: dict[str, Cost | None] = {}
_hooked: set[str] = set()
_patches: dict[str, Patches] = {}


def instrument(*libraries: str, cost: Cost | Literal["genai-prices"] | None = None) -> tuple[str, ...]:
    """Record every call of these client libraries; without names, of all that are installed. Returns their names.

    A library goes by the name it is imported under; "google", "google-genai" and "gemini" mean google.genai, "bedrock"
    and "boto3" botocore, "mistral" mistralai.

    Before or after the library is imported, before or after init(); twice does no harm. `cost(provider, model, usage)`
    gives US dollars, or None where it does not know; it runs in a thread of its own, and only where the provider gives
    no figure itself. It is asked about the model of the request, and where it does not know that one (a deployment, an
    alias), about the model that answered. "genai-prices" takes the table of that package (extra `prices`).

    Raises:
        TraceError: there is no integration of that name, `cost` is no function, or its package is not installed.
    """
    named = _resolved(libraries)
    prices: Any = cost
    if cost == "genai-prices":
        from honeytrace.integrations._prices import GenaiPrices

        prices = GenaiPrices()
    if prices is not None and not callable(prices):
        given = repr(prices) if isinstance(prices, str) else type(prices).__name__
        raise TraceError(f"cost must be a function of provider, model and usage, or 'genai-prices', not {given}")
    chosen = named or tuple(name for name in _KNOWN if _is_installed(name))
    for name in chosen:
        _wanted[name] = prices
        for module in _modules(name):
            if module in sys.modules:
                _arrive(name)
        if name not in _hooked:
            import wrapt

            _hooked.add(name)
            for module in _modules(name):
                wrapt.register_post_import_hook(_arrival(name), module)
    return chosen


def uninstrument(*libraries: str) -> None:
    """Put the very methods back that were there before instrument(); without names, of all libraries.

    Clients given to wrap() stay wrapped.

    Raises:
        TraceError: there is no integration of that name.
    """
    for name in _resolved(libraries) or tuple(_KNOWN):
        _wanted.pop(name, None)
        if name in _patches:
            _patches[name].undo()


def wrap(client: C) -> C:
    """Record every call of this one client, and of copies it makes of itself. Returns the same object.

    Raises:
        TraceError: it is no client of a library that can be instrumented.
    """
    for name, file in _PROVIDERS.items():
        if any(module in sys.modules for module in _modules(name)):
            provider = import_module(file)
            parts = getattr(provider, "parts", lambda client: ())
            wrapped = [wrap_instance(one, provider.TARGETS) for one in (client, *parts(client))]
            if any(wrapped):
                return client
    raise TraceError(f"wrap() expects a client of {', '.join(_PROVIDERS)}, not {type(client).__name__}")


def _resolved(libraries: tuple[Any, ...]) -> tuple[str, ...]:
    names = tuple(_ALIASES.get(name, name) if isinstance(name, str) else name for name in libraries)
    for given, name in zip(libraries, names, strict=True):
        if not isinstance(name, str):
            raise TraceError(
                f'a library is a name, each its own argument, such as "openai", not {type(given).__name__}'
            )
        if name not in _KNOWN:
            raise TraceError(f"there is no integration {given!r}: expected {', '.join((*_KNOWN, *_ALIASES))}")
    return names


def _modules(name: str) -> tuple[str, ...]:
    return (name, *_ALSO.get(name, ()))


def _is_installed(name: str) -> bool:
    try:
        within = name.rpartition(".")[0]
        if name in sys.modules or not within:
            return name in sys.modules or find_spec(name) is not None
        around = find_spec(within)  # asking for a submodule itself would import what is around it
        places = None if around is None else around.submodule_search_locations
        return places is not None and PathFinder.find_spec(name, places) is not None
    except (ImportError, ValueError):
        return False


def _arrival(name: str) -> Callable[[object], None]:
    return lambda module: _arrive(name)


def _arrive(name: str) -> None:
    """The library is there: patch it, if that is still wanted."""
    if name in _wanted:
        provider = import_module(_KNOWN[name])
        provider.LIBRARY.cost = _wanted[name]
        _patches.setdefault(name, Patches(provider.TARGETS)).apply()
