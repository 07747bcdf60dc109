"""One line wraps an LLM client: instrument("openai"), or wrap(client) for one instance.

Every call of the real client becomes a model event; nothing about the client changes. A provider is one file with two
names: LIBRARY, and TARGETS that say what is patched. README.md beside this file shows how to write one. Such a file is
loaded when its library is, never before, and no library is ever imported here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

from honeytrace.exceptions import TraceError
from honeytrace.integrations._patching import Patches, wrap_instance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from honeytrace.integrations._pricing import Cost

    C = TypeVar("C")

__all__ = ["instrument", "uninstrument", "wrap"]

_PROVIDERS = {
    "openai": "honeytrace.integrations.openai",
    "anthropic": "honeytrace.integrations.anthropic",
    "groq": "honeytrace.integrations.groq",
    "ollama": "honeytrace.integrations.ollama",
    "mcp": "honeytrace.integrations.mcp",
}
"""Each library that can be instrumented, by the name it is imported under, and the file that knows it."""

_wanted: dict[str, Cost | None] = {}
_hooked: set[str] = set()
_patches: dict[str, Patches] = {}


def instrument(*libraries: str, cost: Cost | None = None) -> tuple[str, ...]:
    """Record every call of these client libraries; without names, of all that are installed. Returns their names.

    Before or after the library is imported, before or after init(); twice does no harm. `cost(provider, model, usage)`
    gives US dollars, or None where it does not know; it runs in a thread of its own, and only where the provider gives
    no figure itself.

    Raises:
        TraceError: there is no integration of that name, or `cost` is no function.
    """
    _check(libraries)
    if cost is not None and not callable(cost):
        raise TraceError(f"cost must be a function of provider, model and usage, not {type(cost).__name__}")
    chosen = tuple(libraries) or tuple(name for name in _PROVIDERS if _is_installed(name))
    for name in chosen:
        _wanted[name] = cost
        if name in sys.modules:
            _arrive(name)
        if name not in _hooked:
            import wrapt

            _hooked.add(name)
            wrapt.register_post_import_hook(lambda module: _arrive(module.__name__), name)
    return chosen


def uninstrument(*libraries: str) -> None:
    """Put the very methods back that were there before instrument(); without names, of all libraries.

    Clients given to wrap() stay wrapped.

    Raises:
        TraceError: there is no integration of that name.
    """
    _check(libraries)
    for name in libraries or tuple(_PROVIDERS):
        _wanted.pop(name, None)
        if name in _patches:
            _patches[name].undo()


def wrap(client: C) -> C:
    """Record every call of this one client, and of copies it makes of itself. Returns the same object.

    Raises:
        TraceError: it is no client of a library that can be instrumented.
    """
    for name, file in _PROVIDERS.items():
        if name in sys.modules and wrap_instance(client, import_module(file).TARGETS):
            return client
    raise TraceError(f"wrap() expects a client of {', '.join(_PROVIDERS)}, not {type(client).__name__}")


def _check(libraries: tuple[Any, ...]) -> None:
    for name in libraries:
        if name not in _PROVIDERS:
            raise TraceError(f"there is no integration {name!r}: expected {', '.join(_PROVIDERS)}")


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _arrive(name: str) -> None:
    """The library is there: patch it, if that is still wanted."""
    if name in _wanted:
        provider = import_module(_PROVIDERS[name])
        provider.LIBRARY.cost = _wanted[name]
        _patches.setdefault(name, Patches(provider.TARGETS)).apply()
