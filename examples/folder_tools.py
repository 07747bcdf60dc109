"""The tools of the agents beside this file: they find words in the texts of a folder, and read around a line.

A decorator on each is all that tracing adds, whoever calls them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import honeytrace

QUESTION = "What happens to events when the disk is full?"
INSTRUCTIONS = "Answer from the files. Look for words with find, read around them with read, then quote and cite."

DESCRIPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "find": ("Find the lines that hold a word, at most 20.", {"word": {"type": "string"}}),
    "read": ("Read the lines around one.", {"path": {"type": "string"}, "line": {"type": "integer"}}),
}
"""What a model is told: what each tool does, and the JSON schemas of its parameters."""


class Folder:
    """The Markdown and text files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @honeytrace.trace("tool", metadata={"tool_name": "find"})
    def find(self, word: str) -> list[dict[str, Any]]:
        whole_word = re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)
        found = [
            {"path": path.relative_to(self.root).as_posix(), "line": number, "text": line.strip()[:200]}
            for path in self.texts()
            for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
            if whole_word.search(line)
        ]
        return found[:20]

    @honeytrace.trace("tool", metadata={"tool_name": "read"})
    def read(self, path: str, line: int) -> dict[str, Any]:
        file = (self.root / path).resolve()
        if not file.is_relative_to(self.root):
            raise PermissionError(f"{path} is not in the folder")
        first = max(1, line - 2)
        return {"path": path, "first": first, "lines": file.read_text("utf-8", "replace").splitlines()[first - 1 :][:5]}

    def use(self, tool: str, arguments: dict[str, Any]) -> str:
        """Run the tool that a model asked for, and say as JSON what came of it: the model reads failures, too."""
        try:
            result: Any = {"find": self.find, "read": self.read}[tool](**arguments)
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        return json.dumps(result, ensure_ascii=False)

    def texts(self) -> Iterator[Path]:
        for folder, below, files in os.walk(self.root):
            below[:] = sorted(name for name in below if not name.startswith(".") and name != "node_modules")
            yield from (Path(folder, name) for name in sorted(files) if name.endswith((".md", ".txt")))


def parse_arguments(usual_model: str) -> argparse.Namespace:
    """Question, folder and model from the command line."""
    parser = argparse.ArgumentParser(description="Answer a question from the files of a folder; show the trace.")
    parser.add_argument("question", nargs="?", default=QUESTION)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--model", default=usual_model, help="where there is a key; default: %(default)s")
    return parser.parse_args()
