"""An agent that answers from files: the model asks for tools until it knows enough. With OpenAI's client.

    python examples/agent_openai.py
    python examples/agent_openai.py "When is the boiler due?" --folder ~/notes

Needs `pip install openai`. With OPENAI_API_KEY in the environment it talks to OpenAI (or to OPENAI_BASE_URL), without
one to a model made of rules that runs on this machine. `instrument` is the line that records the model's calls.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import Any

try:
    import openai
except ModuleNotFoundError:
    raise SystemExit("this example needs OpenAI's client: pip install openai") from None

import offline_model
from folder_tools import DESCRIPTIONS, INSTRUCTIONS, Folder, parse_arguments

import honeytrace
from honeytrace import cli

MOST_TURNS = 8


@honeytrace.trace("agent", metadata={"agent_name": "librarian"}, exclude=("client", "folder"))
def answer(question: str, model: str, client: openai.OpenAI, folder: Folder) -> str:
    """Print what the model says as it comes, run the tools it asks for, until it asks for no more."""
    messages: list[Any] = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question}]
    for _ in range(MOST_TURNS):
        with client.chat.completions.stream(model=model, messages=messages, tools=TOOLS) as stream:
            for event in stream:
                if event.type == "content.delta":
                    print(event.delta, end="", flush=True)
            message = stream.get_final_completion().choices[0].message
        print()
        if not message.tool_calls:
            return message.content or ""
        messages.append(message.model_dump(include={"role", "content", "tool_calls"}))
        for call in message.tool_calls:
            result = folder.use(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return "I do not know."


TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": parameters,
                "required": list(parameters),
                "additionalProperties": False,
            },
        },
    }
    for name, (description, parameters) in DESCRIPTIONS.items()
]


def main() -> int:
    arguments = parse_arguments("gpt-5-mini")
    honeytrace.init(exporters=["local"])
    honeytrace.instrument("openai")
    with ExitStack() as stack:
        if os.environ.get("OPENAI_API_KEY"):
            client, model = openai.OpenAI(), arguments.model
        else:
            url = stack.enter_context(offline_model.serve())
            client, model = openai.OpenAI(base_url=f"{url}/v1", api_key="none"), offline_model.MODEL
        stack.enter_context(client)
        session = stack.enter_context(honeytrace.session("agent", user_properties={"user_id": "newcomer"}))
        print(f"{arguments.question}\n")
        answer(arguments.question, model, client, Folder(arguments.folder))
    honeytrace.flush()
    print()
    cli.main(["show", session.session_id])
    return 0


if __name__ == "__main__":
    sys.exit(main())
