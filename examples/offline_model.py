"""A model made of a few rules, behind the two usual protocols: what the agents here talk to where there is no key.

    python examples/offline_model.py

It answers on 127.0.0.1: POST /v1/chat/completions as OpenAI does, POST /v1/messages as Anthropic does, streamed or not.
What it can do is look things up, if it is given tools named `find` and `read`: it looks for the words of a question,
reads where most of them are, and quotes what it found. Whatever the agents print, tools that really ran have found.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Json = dict[str, Any]

MODEL = "rules-1"


def main() -> None:
    with serve() as url:
        print(f"{MODEL} answers at {url}/v1/chat/completions and {url}/v1/messages; Ctrl-C stops it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


@contextmanager
def serve() -> Iterator[str]:
    """Run the model's server as long as the block lasts; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Protocols) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


# The model. It sees a question, and what tools have said so far; it says something, or asks for tools.


class Call(NamedTuple):
    """A tool, and what it is to be given."""

    tool: str
    arguments: Json


class Reply(NamedTuple):
    """What the model says, and what it asks for."""

    text: str
    calls: tuple[Call, ...] = ()


class Seen(NamedTuple):
    """What a tool said."""

    tool: str
    said: Any


STOPWORDS = re.compile(
    "about|after|does|doing|from|have|happens?|into|that|their|them|then|there|these|they|this|those|what|when|where|"
    "which|while|will|with|would|your"
)


def think(question: str, seen: list[Seen], tools: set[str]) -> Reply:
    """Decide what comes next: find, then read, then answer."""
    wanted = words(question)
    if not {"find", "read"} <= tools or not wanted:
        return Reply("I can only look things up: I need the tools find and read, and a question.")
    passages = [one.said for one in seen if one.tool == "read"]
    if passages:
        return Reply("\n".join(quote(passage, wanted) for passage in passages))
    if not seen:
        return Reply("Let me look.", tuple(Call("find", {"word": word}) for word in wanted))
    places = best_places([one.said for one in seen if isinstance(one.said, list)])
    if not places:
        return Reply(f"Nothing here mentions {' or '.join(wanted)}.")
    return Reply("", tuple(Call("read", {"path": path, "line": line}) for path, line in places))


def words(text: str) -> list[str]:
    """The words of a question that say something, at most three."""
    found = dict.fromkeys(re.findall(r"\w{4,}", text.casefold()))
    return [word for word in found if not STOPWORDS.fullmatch(word)][:3]


def best_places(finds: list[list[Json]]) -> list[tuple[str, int]]:
    """Where the words come together, at most two lines; a word that is found everywhere says less."""
    weight: dict[tuple[str, int], float] = {}
    for places in finds:
        for place in places:
            where = str(place["path"]), int(place["line"])
            weight[where] = weight.get(where, 0) + 1 / len(places)
    ranked = sorted(weight, key=lambda where: (-weight[where], where))
    return [where for where in ranked if weight[where] == weight[ranked[0]]][:2]


def quote(passage: Any, wanted: list[str]) -> str:
    """The line of a passage that holds most of the words, and where it stands."""
    if not isinstance(passage, dict):
        return f"A tool failed: {passage}"
    lines: list[str] = passage["lines"]
    best = max(range(len(lines)), key=lambda at: sum(word in lines[at].casefold() for word in wanted))
    cells = [cell.strip() for cell in lines[best].strip("| ").split(" | ")]
    return f"{passage['path']}, line {passage['first'] + best}: {' - '.join(cells)}"


# The protocols. Each reads its own form of a conversation, and puts a reply into its own form.


def read_openai(body: Json) -> tuple[str, list[Seen], set[str]]:
    names = {call["id"]: call["function"]["name"] for m in body["messages"] for call in m.get("tool_calls") or ()}
    question = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
    results = [message for message in body["messages"] if message["role"] == "tool"]
    seen = [Seen(names.get(one["tool_call_id"], ""), parse(one["content"])) for one in results]
    return question, seen, {tool["function"]["name"] for tool in body.get("tools") or ()}


def read_anthropic(body: Json) -> tuple[str, list[Seen], set[str]]:
    question, names, seen = "", {}, []
    for message in body["messages"]:
        if isinstance(message["content"], str):
            question = message["content"] if message["role"] == "user" else question
            continue
        for block in message["content"]:
            if block["type"] == "tool_use":
                names[block["id"]] = block["name"]
            elif block["type"] == "tool_result":
                seen.append(Seen(names.get(block["tool_use_id"], ""), parse(block["content"])))
    return question, seen, {tool["name"] for tool in body.get("tools") or ()}


def parse(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def pieces(text: str) -> list[str]:
    """A text as it is streamed: word by word."""
    return re.findall(r"\S+\s*", text)


def answer_openai(reply: Reply, number: int, used: tuple[int, int]) -> tuple[Json, list[Json]]:
    """The answer, and the events of a stream of it."""
    head = {"id": f"chatcmpl-{number}", "created": 0, "model": MODEL}
    usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
    calls = [
        {"id": f"call_{number}_{at}", "type": "function",
         "function": {"name": call.tool, "arguments": json.dumps(call.arguments)}}
        for at, call in enumerate(reply.calls)
    ]  # fmt: skip
    reason = "tool_calls" if calls else "stop"
    message = {"role": "assistant", "content": reply.text or None, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    deltas: list[Json] = [{"role": "assistant"}, *({"content": piece} for piece in pieces(reply.text))]
    deltas += [{"tool_calls": [{"index": at, **call}]} for at, call in enumerate(calls)]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}, {"choices": [], "usage": usage}]
    return whole, [{**head, "object": "chat.completion.chunk", **chunk} for chunk in chunks]


def answer_anthropic(reply: Reply, number: int, used: tuple[int, int]) -> tuple[Json, list[Json]]:
    """The answer, and the events of a stream of it."""
    blocks: list[Json] = [{"type": "text", "text": reply.text}] if reply.text else []
    blocks += [
        {"type": "tool_use", "id": f"toolu_{number}_{at}", "name": call.tool, "input": call.arguments}
        for at, call in enumerate(reply.calls)
    ]
    ended = {"stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None}
    usage = {"input_tokens": used[0], "output_tokens": used[1]}
    whole = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": MODEL, "content": blocks}
    whole |= {**ended, "usage": usage}
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            empty = {**block, "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        else:
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": used[1]}})
    return whole, [*events, {"type": "message_stop"}]


PROTOCOLS = {
    "/v1/chat/completions": (read_openai, answer_openai),
    "/v1/messages": (read_anthropic, answer_anthropic),
}


class Protocols(BaseHTTPRequestHandler):
    """One HTTP server for both."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        if path not in PROTOCOLS:
            self.answer(404, "application/json", [json.dumps({"error": {"message": f"no such path: {path}"}})])
            return
        read, answer = PROTOCOLS[path]
        reply = think(*read(body))
        used = len(re.findall(r"\w+", json.dumps(body["messages"]))), len(re.findall(r"\w+", str(reply)))
        whole, events = answer(reply, len(body["messages"]), used)
        if not body.get("stream"):
            self.answer(200, "application/json", [json.dumps(whole)])
            return
        lines = [f"event: {event['type']}\n" if "type" in event else "" for event in events]
        parts = [f"{line}data: {json.dumps(event)}\n\n" for line, event in zip(lines, events, strict=True)]
        self.answer(200, "text/event-stream", [*parts, *([] if lines[0] else ["data: [DONE]\n\n"])])

    def answer(self, status: int, content_type: str, parts: list[str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(sum(len(part.encode()) for part in parts)))
        self.end_headers()
        for part in parts:
            self.wfile.write(part.encode())
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for the client."""


if __name__ == "__main__":
    main()
