"""OpenTelemetry's SDK with its batch processor and its OTLP/HTTP exporter; the queue's size is the environment's."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


class Contender:
    """The decorator is written by hand: names prepared, arguments and result as JSON text, a constant session id."""

    packages = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")

    def __init__(self, url: str) -> None:
        self.provider = TracerProvider()
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
        self.start = self.provider.get_tracer("bench").start_as_current_span

    def trace(self, function: Any) -> Any:
        start, dumps, name = self.start, json.dumps, function.__name__
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = dict(zip(reversed(names), reversed(function.__defaults__ or ())))
        session = "0b0d3a52-6d06-4a4c-a1f6-6cb9a2f4f4a1"

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with start(name) as span:
                span.set_attribute("event_type", "tool")
                span.set_attribute("session_id", session)
                span.set_attribute("inputs", dumps({**defaults, **dict(zip(names, args)), **kwargs}))
                result = function(*args, **kwargs)
                span.set_attribute("outputs", dumps({"result": result}))
                return result

        return wrapper

    def session(self) -> AbstractContextManager[object]:
        return self.start("bench")

    def flush(self, seconds: float) -> None:
        self.provider.force_flush(int(seconds * 1000))

    def end(self) -> None:
        self.provider.shutdown()
