"""Prices out of the table of the package genai-prices, as it is installed: nothing is fetched from the network.

The table knows providers by many names ("bedrock", "vertex" and "xai" among them) and models by patterns. It counts as
events here do: tokens of a cache are among those of the prompt, and those of reasoning among those of the answer.
Cache writes are priced as the short-lived ones that they are by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version

from honeytrace.exceptions import TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["GenaiPrices"]

_COUNTS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
}
"""Metadata of events → what the package calls it."""


class GenaiPrices:
    """A function of provider, model and usage that gives US dollars, or None for what is not in the table.

    Raises:
        TraceError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            self._package: Any = import_module("genai_prices")
        except ImportError as missing:
            raise TraceError("cost='genai-prices' needs a package: pip install 'honeytrace[prices]'") from missing
        self.__name__ = f"genai-prices {version('genai-prices')}"

    def __call__(self, provider: str, model: str | None, usage: Mapping[str, Any]) -> float | None:
        """Look a call up."""
        counts = {theirs: usage[ours] for ours, theirs in _COUNTS.items() if usage.get(ours)}
        if not model or not counts.get("input_tokens", 0) + counts.get("output_tokens", 0):
            return None
        name = model.removeprefix("models/")  # Google's own way to write it
        try:
            priced = self._package.calc_price(self._package.Usage(**counts), name, provider_id=provider)
        except LookupError:
            return None
        return float(priced.total_price)
