"""The openai client."""

from __future__ import annotations

from typing import Any

import openai
from openai.resources.chat.completions import Completions
from surface import KEY, MESSAGES, StainlessSurface

__all__ = ["KEY", "MESSAGES", "Surface"]


class Surface(StainlessSurface):
    package = openai
    kinds = (openai.OpenAI, openai.AsyncOpenAI)
    resource = "chat.completions"
    with_usage = {"extra_body": {"stream_options": {"include_usage": True}}}
    lead = 1
    tokens = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cache_read_input_tokens": 4,
              "reasoning_tokens": 3}  # fmt: skip
    has_helper = hasattr(Completions, "stream")

    @staticmethod
    def base_url(server: Any) -> str:
        return f"{server.origin}/v1"
