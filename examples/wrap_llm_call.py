"""Record calls of a language model by hand: messages, settings, tokens, tool calls, a stream, a failure.

    python examples/wrap_llm_call.py

The client speaks the usual chat-completions protocol over HTTP. So that all of it runs offline, a server
follows at the end of this file, with a model that knows one thing: when to look at the weather.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

import honeytrace
from honeytrace import cli

Message = dict[str, Any]

MODEL = {"model": "tiny-1", "provider": "local", "temperature": 0.0}


def as_message(pieces: list[str]) -> Message:
    return {"role": "assistant", "content": "".join(pieces)}


class ChatClient:
    """Two ways to call a model: for a whole answer, and for one that arrives piece by piece."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False)

    # A block, when what is worth recording is not what goes in and out of a function.
    def complete(self, messages: list[Message], **settings: object) -> Message:
        config = {**MODEL, **settings}
        with honeytrace.span("chat", "model", inputs={"chat_history": messages}, config=config) as span:
            request = {"model": config["model"], "messages": messages}
            response = self.http.post("/v1/chat/completions", json=request).raise_for_status()
            answer = response.json()
            choice = answer["choices"][0]
            span.enrich(
                outputs=choice["message"],
                metadata={
                    **answer["usage"],
                    "response_id": answer["id"],
                    "finish_reason": choice["finish_reason"],
                },
            )
        return dict(choice["message"])

    # A generator is one event: what `reduce` makes of its pieces, and the time to the first of them.
    @honeytrace.trace("model", event_name="chat_stream", config=MODEL, reduce=as_message)
    def stream(self, chat_history: list[Message]) -> Iterator[str]:
        request = {"model": MODEL["model"], "messages": chat_history, "stream": True}
        with self.http.stream("POST", "/v1/chat/completions", json=request) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                for choice in chunk["choices"]:
                    yield choice["delta"]["content"]
                if chunk.get("usage"):
                    honeytrace.enrich_span(metadata=chunk["usage"])


def weather(city: str) -> dict[str, object]:
    return {"city": city, "sky": "clear", "celsius": 21}


def run_tool(call: Message) -> Message:
    name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
    with honeytrace.span(name, "tool", inputs=arguments) as span:
        result = {"weather": weather}[name](**arguments)
        span.enrich(outputs=result, metadata={"tool_name": name, "tool_call_id": call["id"]})
    return {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}


@honeytrace.trace("agent", exclude="client", metadata={"agent_name": "forecaster"})
def ask(question: str, client: ChatClient) -> str:
    messages: list[Message] = [{"role": "user", "content": question}]
    reply = client.complete(messages)
    messages += [reply, *(run_tool(call) for call in reply["tool_calls"])]
    answer = ""
    for piece in client.stream(messages):
        print(piece, end="", flush=True)
        answer += piece
    print()
    return answer


def main() -> None:
    honeytrace.init(exporters=["local"])
    with ThreadingHTTPServer(("127.0.0.1", 0), TinyModel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = ChatClient(f"http://127.0.0.1:{server.server_port}")
        with (
            client.http,
            honeytrace.session("wrap an LLM call", user_properties={"user_id": "ada"}) as session,
        ):
            ask("How is the weather in Lisbon?", client)
            try:
                client.complete([{"role": "user", "content": "Hello?"}], model="huge-9")
            except httpx.HTTPStatusError as error:
                print(f"refused: HTTP {error.response.status_code}")
        server.shutdown()
    honeytrace.flush()
    print()
    cli.main(["show", session.session_id])


# From here on: the other side of the wire.


class TinyModel(BaseHTTPRequestHandler):
    """Asks for the weather of the last word of a question, and puts what the tool says into a sentence."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last = request["messages"][-1]
        usage = {"prompt_tokens": sum(len(str(message).split()) for message in request["messages"])}
        if request["model"] != MODEL["model"]:
            self.answer(404, "application/json", [json.dumps({"error": {"message": "no such model"}})])
        elif request.get("stream"):
            seen = json.loads(last["content"])
            words = f"It is {seen['celsius']} °C under a {seen['sky']} sky in {seen['city']}.".split(" ")
            deltas = [{"choices": [{"delta": {"content": f"{word} "}}]} for word in words]
            end = {"choices": [], "usage": {**usage, "completion_tokens": len(words)}}
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in [*deltas, end]]
            self.answer(200, "text/event-stream", [*lines, "data: [DONE]\n\n"])
        else:
            city = last["content"].strip("?").split()[-1]
            function = {"name": "weather", "arguments": json.dumps({"city": city})}
            calls = [{"id": "call_1", "type": "function", "function": function}]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            body = {"id": "chat-1", "choices": [choice], "usage": {**usage, "completion_tokens": 5}}
            self.answer(200, "application/json", [json.dumps(body)])

    def answer(self, status: int, content_type: str, parts: list[str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        for part in parts:
            self.wfile.write(part.encode())
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for the client."""


if __name__ == "__main__":
    main()
