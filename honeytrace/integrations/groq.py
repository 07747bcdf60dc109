"""Groq's package, which speaks OpenAI's protocol with words of its own: usage in `x_groq`, tools that run over there.

Covers groq 0.4 and later.
"""

from __future__ import annotations

from dataclasses import replace

from honeytrace.integrations._calls import Library
from honeytrace.integrations._messages import failure, get, shown
from honeytrace.integrations._stainless import stainless
from honeytrace.integrations.openai import CHAT, ROUTES, provider

__all__ = ["LIBRARY", "TARGETS"]

_CHAT = replace(
    CHAT,
    outputs={
        **CHAT.outputs,
        "items": lambda answer: shown(get(answer, "choices", 0, "message", "executed_tools")) or None,
    },
    error=lambda answer: failure(answer) or get(answer, "x_groq", "error"),
)

LIBRARY = Library("groq")
TARGETS = stainless(LIBRARY, "groq._base_client", {**ROUTES, "/chat/completions": _CHAT}, provider)
