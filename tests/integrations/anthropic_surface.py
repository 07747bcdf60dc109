"""The anthropic client."""

from __future__ import annotations

from typing import Any

import anthropic
from surface import StainlessSurface


class Surface(StainlessSurface):
    package = anthropic
    kinds = (anthropic.Anthropic, anthropic.AsyncAnthropic)
    resource = "messages"
    required = {"max_tokens": 9}
    lead = 2
    tokens = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cache_read_input_tokens": 4,
              "cache_write_input_tokens": 2, "reasoning_tokens": 3}  # fmt: skip
    has_helper = hasattr(anthropic.resources.Messages, "stream")

    def text(self, answer: Any) -> str:
        return str(answer.content[0].text)

    def delta(self, event: Any) -> str:
        return str(getattr(event.delta, "text", "")) if event.type == "content_block_delta" else ""
