"""OpenAI's protocol, and Groq's dialect of it under /openai/v1/. The model's name chooses how the server behaves.

"plain", "tools", "once" (asks for a tool until it has its answer), "refusal", "schema", "error-400", "retry" (429 at
first), "slow", "drop" (breaks off), "midway" (an error inside the stream), "garbage" (no JSON inside the stream),
"endless", "gzip", "odd" (fields of other forms than usual), "compound" (reasons, and runs tools itself), "given-up" (a
stream that says in passing that it failed).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from model_server import BrokenOff, ModelServer, Reply

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSE_USAGE = {
    "input_tokens": 11,
    "output_tokens": 7,
    "total_tokens": 18,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 3},
}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
WORDS = ["Hel", "lo ", "wor", "ld"]
EXECUTED = {"index": 0, "type": "search", "arguments": '{"query": "q"}', "output": "found"}
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 500


def _message(model: str) -> dict[str, Any]:
    if model == "tools":
        return {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    if model == "refusal":
        return {"role": "assistant", "content": None, "refusal": "I will not."}
    if model == "schema":
        return {"role": "assistant", "content": '{"city":"Bern"}'}
    if model == "compound":
        return {"role": "assistant", "content": "".join(WORDS), "reasoning": "Think.", "executed_tools": [EXECUTED]}
    return {"role": "assistant", "content": "".join(WORDS), "refusal": None}


def chat(model: str, body: dict[str, Any]) -> dict[str, Any]:
    reason = "tool_calls" if model == "tools" else "length" if model == "cut" else "stop"
    choices = [
        {"index": index, "message": _message(model), "finish_reason": reason, "logprobs": None}
        for index in range(body.get("n") or 1)
    ]
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": f"{model}-2026"}
    return {**answer, "choices": choices, "usage": USAGE}


def chat_events(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if model == "tools":
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        deltas.append({"tool_calls": [call]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in ('{"ci', 'ty":"B', 'ern"}')]
    elif model == "refusal":
        deltas += [{"refusal": piece} for piece in ("I will", " not.")]
    else:
        if model == "compound":
            deltas += [{"reasoning": piece} for piece in ("Thi", "nk.")] + [{"executed_tools": [EXECUTED]}]
        deltas += [{"content": word} for word in (('{"ci', 'ty":"B', 'ern"}') if model == "schema" else WORDS)]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": f"{model}-2026"}
    events = [{**head, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    reason = "tool_calls" if model == "tools" else "stop"
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append({**head, "choices": [], "usage": USAGE})
    return events


def response(model: str, body: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "output_text", "text": '{"city":"Bern"}' if model == "schema" else "Hello world", "annotations": []}
    output: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Think."}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]},
    ]
    if model == "tools":
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather"}
        output[2] = {**call, "arguments": '{"city":"Bern"}', "status": "completed"}
    made = {"id": "resp_1", "object": "response", "created_at": 1, "model": f"{model}-2026", "output": output}
    made.update(parallel_tool_calls=True, tool_choice="auto", tools=[], error=None, instructions=None, metadata={})
    if model == "failed":
        failure = {"code": "server_error", "message": "it broke"}
        return {**made, "status": "failed", "output": [], "error": failure, "usage": None}
    return {**made, "status": "completed", "usage": RESPONSE_USAGE}


def response_events(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    whole = response(model, body)
    empty = {**whole, "status": "in_progress", "output": [], "usage": None}
    if model == "tools":
        call = whole["output"][2]
        at = {"output_index": 0, "item_id": call["id"]}
        asked: list[dict[str, Any]] = [
            {"type": "response.created", "response": empty},
            {"type": "response.output_item.added", "output_index": 0, "item": {**call, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", "delta": call["arguments"], **at},
            {"type": "response.function_call_arguments.done", "arguments": call["arguments"], "name": "weather", **at},
            {"type": "response.output_item.done", "output_index": 0, "item": call},
            {"type": "response.completed", "response": whole},
        ]
        return [{**event, "sequence_number": number} for number, event in enumerate(asked)]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": empty},
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "item_id": "msg_1",
         "part": {"type": "output_text", "text": "", "annotations": []}},
    ]  # fmt: skip
    where = {"output_index": 0, "content_index": 0, "item_id": "msg_1", "logprobs": []}
    events += [{"type": "response.output_text.delta", "delta": word, **where} for word in WORDS]
    events.append({"type": "response.output_text.done", "text": "".join(WORDS), **where})
    events.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def transcript_events(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    pieces = [{"type": "transcript.text.delta", "delta": word} for word in WORDS]
    return [*pieces, {"type": "transcript.text.done", "text": "".join(WORDS)}]


def embeddings(model: str, body: dict[str, Any]) -> dict[str, Any]:
    given = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vector: Any = "AACAPwAAAEAAAEBA" if body.get("encoding_format") == "base64" else [1.0, 2.0, 3.0]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(given))]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 5, "total_tokens": 5}}


def images(model: str, body: dict[str, Any]) -> dict[str, Any]:
    import base64

    return {"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]}


def moderations(model: str, body: dict[str, Any]) -> dict[str, Any]:
    result = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}}
    return {"id": "modr-1", "model": model, "results": [{**result, "category_applied_input_types": {}}]}


def _has_tool_answer(body: dict[str, Any]) -> bool:
    items = [one for one in (*body.get("messages", ()), *body.get("input", ())) if isinstance(one, dict)]
    return any(one.get("role") == "tool" or one.get("type") == "function_call_output" for one in items)


ANSWERS: dict[str, tuple[Any, Any]] = {
    "/chat/completions": (chat, chat_events),
    "/responses": (response, response_events),
    "/embeddings": (embeddings, None),
    "/images/generations": (images, None),
    "/moderations": (moderations, None),
    "/audio/transcriptions": (lambda model, body: {"text": "spoken words"}, transcript_events),
}


def answer(server: ModelServer, path: str, headers: dict[str, str], raw: bytes) -> Reply | None:
    """Answer a request; None if the path is none of OpenAI's."""
    found = next((one for one in (*ANSWERS, "/audio/speech") if path.endswith(one)), None)
    if found is None:
        return None
    body = json.loads(raw) if raw[:1] == b"{" else {"model": "plain", "stream": b'name="stream"' in raw}
    model = body.get("model", "plain")
    if found == "/audio/speech":
        return Reply(mime="audio/mpeg", body=b"ID3" + b"\x01" * 1000)
    if model == "error-400":
        return Reply(400, {"error": {"message": "bad request", "type": "invalid", "code": "bad"}})
    if model == "leak":
        key = headers["authorization"].removeprefix("Bearer ")
        return Reply(401, {"error": {"message": f"the key {key} is wrong"}})
    if model == "retry" and headers.get("x-stainless-retry-count", server.retried) in ("0", None):
        server.retried = "1"
        return Reply(429, {"error": {"message": "slow down"}}, headers={"retry-after-ms": "1"})
    if model == "odd":
        message = {"role": "assistant", "content": "still here", "tool_calls": 5}
        return Reply(
            body={"id": 1, "model": "odd", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        )
    if model == "once":
        model = "plain" if _has_tool_answer(body) else "tools"
    whole, events = ANSWERS[found]
    if body.get("stream"):
        streamed = events(model, body)
        if path.startswith("/openai/v1/"):
            streamed[0]["x_groq"] = {"id": "req_1"}
            last = {"error": "over capacity"} if model == "given-up" else {"usage": {**USAGE, "total_time": 0.1}}
            streamed[-1]["x_groq"] = {"id": "req_1", **last}
        return Reply(mime="text/event-stream; charset=utf-8", body=_streamed(server, model, streamed))
    if model == "slow":
        server.release.wait(20)
    made = whole(model, body)
    if model == "our-deployment":
        made["model"] = "gpt-4o-mini-2024-07-18"
    if model == "paid":
        made["usage"] = {**USAGE, "cost": 0.0125}
    return Reply(body=made)


def _streamed(server: ModelServer, model: str, events: list[dict[str, Any]]) -> Iterator[bytes]:
    for number, event in enumerate(events):
        kind = f"event: {event['type']}\n" if "type" in event else ""
        yield f"{kind}data: {json.dumps(event)}\n\n".encode()
        if number == 3 and model == "drop":
            raise BrokenOff
        if number == 3 and model == "midway":
            yield b'data: {"error": {"message": "overloaded", "code": "busy"}}\n\n'
        if number == 3 and model == "garbage":
            yield b"data: {no json\n\n"
        if number == 3 and model in ("endless", "slow"):
            while not server.release.wait(0.02):
                yield b": still there\n\n"
    if "choices" in events[0]:
        yield b"data: [DONE]\n\n"
