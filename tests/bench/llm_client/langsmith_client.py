"""LangSmith's wrap_openai with its default settings; its requests end in an adapter that answers them at once."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import langsmith
import requests
import zstandard
from langsmith.wrappers import wrap_openai
from requests.adapters import BaseAdapter

sys.path.append(str(Path(__file__).parents[1] / "throughput"))
from sink import LANGSMITH_INFO  # noqa: E402

_ANSWERED = re.compile(rb"chatcmpl-(\d{8})")


class NoNetwork(BaseAdapter):
    """Where its requests end. The bodies are kept, to be counted outside of what is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def send(self, request: Any, **_: Any) -> Any:  # type: ignore[override]
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url
        answer._content = json.dumps(LANGSMITH_INFO).encode() if request.url.endswith("/info") else b"{}"
        if request.body is not None:
            self.bodies.append(request.body if isinstance(request.body, bytes) else request.body.read())
        return answer

    def close(self) -> None:
        pass


class Contender:
    packages = ("langsmith", "openai")

    def __init__(self) -> None:
        os.environ.update(LANGSMITH_TRACING="true")
        session, self.adapter = requests.Session(), NoNetwork()
        session.mount("http://nowhere.invalid", self.adapter)
        self.client = langsmith.Client(api_url="http://nowhere.invalid", api_key="ls_bench", session=session)
        self.answers: set[bytes] = set()

    def wrap(self, client: Any) -> Any:
        return wrap_openai(client, tracing_extra={"client": self.client})

    def on(self) -> None:
        pass

    def off(self) -> None:
        pass

    def session(self) -> AbstractContextManager[object]:
        return langsmith.trace("bench", client=self.client)

    def recorded(self) -> int:
        """Deliver everything; say how many calls have arrived so far."""
        self.client.flush(30)
        bodies, self.adapter.bodies = self.adapter.bodies, []
        for body in bodies:
            if body[:4] == b"\x28\xb5\x2f\xfd":
                body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
            self.answers.update(_ANSWERED.findall(body))
        return len(self.answers)
