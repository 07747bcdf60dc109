"""An agent that answers from files: the model asks for tools until it knows enough. With Anthropic's client.

    python examples/agent_anthropic.py
    python examples/agent_anthropic.py "When is the boiler due?" --folder ~/notes

Needs `pip install anthropic`. With ANTHROPIC_API_KEY in the environment it talks to Anthropic (or to
ANTHROPIC_BASE_URL), without one to a model made of rules that runs on this machine. `instrument` is the line that
records the model's calls.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Any

try:
    import anthropic
except ModuleNotFoundError:
    raise SystemExit("this example needs Anthropic's client: pip install anthropic") from None

import offline_model
from folder_tools import DESCRIPTIONS, INSTRUCTIONS, Folder, parse_arguments

import honeytrace
from honeytrace import cli

MOST_TURNS = 8


@honeytrace.trace("agent", metadata={"agent_name": "librarian"}, exclude=("client", "folder"))
def answer(question: str, model: str, client: anthropic.Anthropic, folder: Folder) -> str:
    """Print what the model says as it comes, run the tools it asks for, until it asks for no more."""
    messages: list[Any] = [{"role": "user", "content": question}]
    for _ in range(MOST_TURNS):
        with client.messages.stream(
            model=model, max_tokens=1000, system=INSTRUCTIONS, messages=messages, tools=TOOLS
        ) as stream:
            for text in stream.text_stream:
                print(text, end="", flush=True)
            message = stream.get_final_message()
        print()
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return "".join(block.text for block in message.content if block.type == "text")
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": folder.use(call.name, call.input)}
            for call in calls
        ]
        messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    return "I do not know."


TOOLS: list[Any] = [
    {
        "name": name,
        "description": description,
        "input_schema": {"type": "object", "properties": parameters, "required": list(parameters)},
    }
    for name, (description, parameters) in DESCRIPTIONS.items()
]


def main() -> int:
    arguments = parse_arguments("claude-sonnet-4-5")
    honeytrace.init(exporters=["local"])
    honeytrace.instrument("anthropic")
    with ExitStack() as stack:
        if os.environ.get("ANTHROPIC_API_KEY"):
            client, model = anthropic.Anthropic(), arguments.model
        else:
            url = stack.enter_context(offline_model.serve())
            client, model = anthropic.Anthropic(base_url=url, api_key="none"), offline_model.MODEL
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
