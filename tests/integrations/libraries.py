"""The libraries made by Stainless: each claim that holds for all of them is tested with those that are installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

NAMES = ("openai", "anthropic", "groq")

EVERY_LIBRARY = pytest.mark.parametrize(
    "library",
    [
        pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
        for name in NAMES
    ],
)
