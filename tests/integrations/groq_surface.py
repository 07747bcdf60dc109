"""The groq client."""

from __future__ import annotations

import groq
from surface import StainlessSurface


class Surface(StainlessSurface):
    package = groq
    kinds = (groq.Groq, groq.AsyncGroq)
    resource = "chat.completions"
    lead = 1
    tokens = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cache_read_input_tokens": 4,
              "reasoning_tokens": 3}  # fmt: skip
    has_helper = False
