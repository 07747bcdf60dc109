"""Prices out of the table of genai-prices. The figures are the providers' list prices, worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from method_surfaces import GoogleSurface
from model_server import ModelServer

import honeytrace
from honeytrace.integrations._pricing import settle_prices
from honeytrace.testing import Traces, capture

pytest.importorskip("genai_prices")
from honeytrace.integrations._prices import GenaiPrices

MILLION = 1e6


@pytest.fixture
def priced() -> Iterator[Traces]:
    with capture() as traces:
        honeytrace.instrument(cost="genai-prices")
        yield traces
        honeytrace.uninstrument()


@pytest.mark.parametrize(
    ("provider", "model", "cached", "written", "dollars"),
    [
        ("openai", "gpt-4o-mini", 400, 0, (600 * 0.15 + 400 * 0.075 + 100 * 0.60) / MILLION),
        ("azure", "gpt-4o", 0, 0, (1000 * 2.50 + 100 * 10) / MILLION),
        ("anthropic", "claude-3-5-sonnet-20241022", 400, 200, (400 * 3 + 400 * 0.30 + 200 * 3.75 + 100 * 15) / MILLION),
        ("vertex", "claude-3-5-sonnet-v2@20241022", 0, 0, (1000 * 3 + 100 * 15) / MILLION),
        ("bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0", 0, 0, (1000 * 3 + 100 * 15) / MILLION),
        ("google", "models/gemini-2.5-flash", 0, 0, (1000 * 0.30 + 100 * 2.50) / MILLION),
        ("groq", "llama-3.3-70b-versatile", 0, 0, (1000 * 0.59 + 100 * 0.79) / MILLION),
        ("cohere", "command-r-08-2024", 0, 0, (1000 * 0.15 + 100 * 0.60) / MILLION),
        ("xai", "grok-3", 0, 0, (1000 * 3 + 100 * 15) / MILLION),
    ],
)
def test_a_call_costs_what_the_provider_lists(
    provider: str, model: str, cached: int, written: int, dollars: float
) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "reasoning_tokens": 50}
    usage.update(cache_read_input_tokens=cached, cache_write_input_tokens=written)
    assert GenaiPrices()(provider, model, usage) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "no-such-model", {"prompt_tokens": 5, "completion_tokens": 5}),
        ("127.0.0.1", "gpt-4o", {"prompt_tokens": 5, "completion_tokens": 5}),
        ("ollama", "llama3", {"prompt_tokens": 5, "completion_tokens": 5}),
        ("openai", None, {"prompt_tokens": 5}),
        ("openai", "gpt-4o", {}),
        ("openai", "gpt-4o", {"total_tokens": 5}),
    ],
)
def test_what_is_not_known_is_none_and_not_zero(provider: str, model: str | None, usage: dict[str, Any]) -> None:
    assert GenaiPrices()(provider, model, usage) is None


def test_the_event_of_a_call_says_what_it_cost_and_by_which_table(server: ModelServer, priced: Traces) -> None:
    pytest.importorskip("google.genai")
    surface = GoogleSurface("sync", server.origin)
    surface.chat("gemini-2.5-flash")
    surface.chat("gemini-nobody-knows")
    assert settle_prices(10)
    known, unknown = priced
    tokens = known.metadata
    assert (tokens["prompt_tokens"], tokens["cache_read_input_tokens"], tokens["completion_tokens"]) == (11, 4, 7)
    assert known.metadata["cost"] == pytest.approx((7 * 0.30 + 4 * 0.03 + 7 * 2.50) / MILLION)
    assert known.metadata["cost_source"].startswith("genai-prices ")
    assert "cost" not in unknown.metadata


def test_a_deployment_is_priced_by_the_model_that_answered(server: ModelServer, priced: Traces) -> None:
    openai = pytest.importorskip("openai")
    client = openai.AzureOpenAI(azure_endpoint=server.origin, api_key="azure-key-0123", api_version="2024-10-21")
    client.chat.completions.create(model="our-deployment", messages=[{"role": "user", "content": "hi"}])
    assert settle_prices(10)
    (event,) = priced
    assert event.metadata["response_model"] == "gpt-4o-mini-2024-07-18"
    assert event.metadata["cost"] == pytest.approx((7 * 0.15 + 4 * 0.075 + 7 * 0.60) / MILLION)


def test_without_the_package_the_error_names_the_extra() -> None:
    program = """
import sys, honeytrace
sys.modules["genai_prices"] = None  # as if it was not installed
try:
    honeytrace.instrument("openai", cost="genai-prices")
except honeytrace.TraceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "pip install 'honeytrace[prices]'" in done.stdout
