"""The agent on a framework: graph, tools, decorated functions and model calls are one tree; tokens count once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_examples import EXAMPLES, SHOWN, finish, start

NOTE = "# Heating\n\nThe boiler is due in October.\n"


@pytest.mark.skipif("agent_langgraph" not in SHOWN, reason="needs langgraph and langchain-openai")
def test_answer_comes_from_the_file_and_the_tree_shows_how(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boiler.md").write_text(NOTE)
    home = tmp_path / "run" / "home"
    question = "When is the boiler due?"
    run = finish(start(EXAMPLES / "agent_langgraph.py", home, question, "--folder", str(notes)), home)
    assert (run.code, run.errors) == (0, "")
    assert "boiler.md, line 3: The boiler is due in October." in run.output
    by_id = {event["event_id"]: event for event in run.events}

    def above(event: dict) -> list[str]:
        names = []
        while event is not None:
            names.append(event["event_name"])
            event = by_id.get(event["parent_id"])
        return names

    paths = [above(event) for event in run.events]
    assert paths.count(["find", "find", "tools", "librarian"]) == 1
    assert paths.count(["read", "read", "tools", "librarian"]) == 1
    assert paths.count(["chat.completions.create", "ChatOpenAI", "think", "librarian"]) == 3
    counting = {event["event_name"] for event in run.events if "total_tokens" in event.get("metadata", {})}
    assert counting == {"chat.completions.create"}


def test_without_langgraph_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['langgraph'] = sys.modules['langgraph.graph'] = None\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "HONEYTRACE_HOME": str(tmp_path), "PATH": ""}
    command = [sys.executable, str(EXAMPLES / "agent_langgraph.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert "pip install langgraph langchain-openai" in done.stderr
