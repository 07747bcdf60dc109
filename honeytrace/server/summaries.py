"""A session in one line: what lists and the head of its page show."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["COLUMNS", "summary"]

_RUNNING = 5 * 60 * 1000.0  # ms since its last sign of life after which a session without an end is over

COLUMNS = (
    "s.no, s.id, s.name, s.source, s.user, s.start, s.own_end, s.own_duration, s.own_error, s.events, s.errors,"
    " s.tokens + coalesce(CASE WHEN s.events = 0 THEN s.own_tokens END, 0),"
    " coalesce(s.cost, s.own_cost), s.last,"
    " coalesce(nullif(s.own_inputs, ''), s.top_inputs), coalesce(nullif(s.own_outputs, ''), s.top_outputs)"
)
"""What `summary` wants to know of the index's sessions `s`."""


def summary(row: Any) -> dict[str, Any]:
    """Times and durations are milliseconds; None: not known."""
    _, session_id, name, source, user, start, own_end, own_duration, own_error, *sums, inputs, outputs = row
    events, errors, tokens, cost, last = sums
    end, duration = own_end, own_duration
    if end is None and duration is not None and start:
        end = start + duration
    running = end is None and time.time() * 1000 - max(start or 0.0, last or 0.0) < _RUNNING
    if end is None and not running:
        end = last
    if duration is None and end is not None and start:
        duration = max(0.0, end - start)
    return {
        "session_id": session_id,
        "name": name or "unknown",
        "source": source,
        "user_id": user,
        "start_time": start or None,
        "end_time": end,
        "duration": duration,
        "events": events,
        "errors": errors,
        "tokens": tokens,
        "cost": cost,
        "inputs_preview": inputs or "",
        "outputs_preview": outputs or "",
        "status": "error" if errors or own_error else "running" if running else "ok",
    }
