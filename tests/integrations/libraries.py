"""The libraries made by Stainless: each claim that holds for all of them is tested with those that are installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

INSTALLED = [name for name in ("openai", "anthropic", "groq") if find_spec(name) is not None]

EVERY_LIBRARY = pytest.mark.parametrize("library", INSTALLED)
