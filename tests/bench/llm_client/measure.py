"""Measure one contender in this process: `python measure.py MODULE URL`, then a round for every line of input.

A round makes each kind of call many times, without and with tracing in turn, and prints as JSON what tracing added to
each call: CPU of the calling thread, and of the whole process with delivery, in microseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from statistics import median
from time import process_time, thread_time
from typing import Any, NamedTuple

import openai._base_client
import server
from openai import AsyncOpenAI, OpenAI

http: Any = getattr(openai._base_client, "httpx2", None) or openai._base_client.httpx  # what this version uses

IN_PROCESS = "http://in.process/v1"

_numbers = count()


def messages(many: int) -> list[dict[str, str]]:
    """A conversation that nobody has encoded before."""
    number = next(_numbers)
    question = f"Where did forager {number} dance, and for how long? Compare with the day before, and say how sure. "
    system = {"role": "system", "content": "You answer from the log of the hive, briefly and with its times. " * 6}
    turns = [{"role": ("user", "assistant")[turn % 2], "content": question * 3} for turn in range(many - 1)]
    return [system, *turns]


def request(model: str, many: int) -> dict[str, Any]:
    made: dict[str, Any] = {"model": model, "messages": messages(many), "temperature": 0.2, "max_tokens": 400}
    if model != "whole":
        made.update(stream=True, stream_options={"include_usage": True})
    return made


class Kind(NamedTuple):
    """A kind of call: how many of them in one stretch, how many stretches in a round."""

    model: str
    messages: int
    awaited: bool
    calls: int
    stretches: int


KINDS = {
    "call": Kind("whole", 4, False, 20, 6),
    "call, 40 messages": Kind("whole", 40, False, 20, 4),
    "stream of 20": Kind("stream-20", 4, False, 12, 6),
    "stream of 520": Kind("stream-520", 4, False, 1, 8),
    "async call": Kind("whole", 4, True, 20, 6),
    "async stream of 20": Kind("stream-20", 4, True, 12, 6),
    "async stream of 520": Kind("stream-520", 4, True, 1, 8),
}


def run(client: Any, requests: list[dict[str, Any]]) -> list[float]:
    """Make these calls; give the CPU seconds of this thread for each."""
    seconds = []
    for given in requests:
        began = thread_time()
        answer = client.chat.completions.create(**given)
        if "stream" in given:
            for _ in answer:
                pass
        seconds.append(thread_time() - began)
    return seconds


async def arun(client: Any, requests: list[dict[str, Any]]) -> list[float]:
    """The same with an asynchronous client."""
    seconds = []
    for given in requests:
        began = thread_time()
        answer = await client.chat.completions.create(**given)
        if "stream" in given:
            async for _ in answer:
                pass
        seconds.append(thread_time() - began)
    return seconds


class Pieces(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]
    """A body that is there already. It can be read once."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


class InProcess(http.BaseTransport, http.AsyncBaseTransport):  # type: ignore[misc]
    """The server's answers without a network."""

    def handle_request(self, request: Any) -> Any:
        mime, pieces = server.reply(request.read())
        return http.Response(200, headers={"content-type": mime, "x-request-id": "req_1"}, stream=Pieces(pieces))

    async def handle_async_request(self, request: Any) -> Any:
        mime, pieces = server.reply(await request.aread())
        return http.Response(200, headers={"content-type": mime, "x-request-id": "req_1"}, stream=Pieces(pieces))


class Measured:
    """The contender, and a client for each way: plain and traced, sync and async."""

    def __init__(self, module: str, url: str) -> None:
        self.contender = import_module(module).Contender()
        self.loop = asyncio.new_event_loop()
        self.clients = {}
        given: dict[str, Any] = {"base_url": url, "api_key": "sk-bench-0123456789", "max_retries": 0}
        for awaited, make, transport in ((False, OpenAI, http.Client), (True, AsyncOpenAI, http.AsyncClient)):
            if url == IN_PROCESS:
                given["http_client"] = transport(transport=InProcess())
            plain, traced = (make(**given) for _ in "12")
            self.clients[awaited] = plain, self.contender.wrap(traced)
        self.expected = 0

    def once(self, kind: Kind, traced: bool) -> tuple[list[float], float]:
        """One stretch: CPU of this thread for each call, and of the process until everything is delivered."""
        client = self.clients[kind.awaited][traced]
        first, *requests = [request(kind.model, kind.messages) for _ in range(kind.calls + 1)]

        def make(requests: list[dict[str, Any]]) -> list[float]:
            return self.loop.run_until_complete(arun(client, requests)) if kind.awaited else run(client, requests)

        if not traced:
            make([first])
            gc.collect()
            began = process_time()
            seconds = make(requests)
            return seconds, process_time() - began
        self.contender.on()
        try:
            make([first])  # what was put into place a moment ago is not warm
            self.contender.recorded()
            gc.collect()
            began = process_time()
            with self.contender.session():
                seconds = make(requests)
            self.expected += kind.calls + 1
            recorded = self.contender.recorded()
            total = process_time() - began
        finally:
            self.contender.off()
        assert recorded == self.expected, f"{recorded} of {self.expected} calls were recorded"
        return seconds, total

    def round(self) -> dict[str, dict[str, float]]:
        """Microseconds: a plain call, and what was added to it; medians, since other programs are about."""
        figures = {}
        for name, kind in KINDS.items():
            samples: tuple[list[float], list[float]] = ([], [])
            process = [0.0, 0.0]
            for stretch in range(kind.stretches):
                for traced in ((False, True), (True, False))[stretch % 2]:
                    seconds, total = self.once(kind, traced)
                    samples[traced].extend(seconds)
                    process[traced] += total / (kind.calls * kind.stretches)
            plain, ours = (median(seconds) * 1e6 for seconds in samples)
            figures[name] = {"plain": plain, "added": ours - plain, "process": (process[True] - process[False]) * 1e6}
        return figures


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # on the path, not installed
        return package


def main() -> None:
    module, url = sys.argv[1:]
    measured = Measured(module, url)
    measured.round()  # what is loaded or compiled on first use
    gc.collect()
    gc.freeze()
    print(json.dumps([installed(package) for package in measured.contender.packages]), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measured.round()), flush=True)


if __name__ == "__main__":
    main()
