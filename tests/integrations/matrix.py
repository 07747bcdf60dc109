"""The integrations with old and current versions of the clients: one virtual environment for each cell of a table.

    python tests/integrations/matrix.py                  # every cell
    python tests/integrations/matrix.py anthropic        # one library
    python tests/integrations/matrix.py openai==1.12.0   # one cell
    python tests/integrations/matrix.py --list

A cell is a library, a version of it, what else has to be pinned there, and the tests that are run. Environments are
kept under ~/.cache/honeytrace-matrix (or --cache), so that a second run installs nothing; the current version is looked
for each time. Tests of what a version does not have skip themselves. Ends with 1 if a cell fails.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CURRENT = ""
"""The version that pip chooses."""

METHODS = ("test_method_*.py",)
STAINLESS = ("test_stainless_*.py", "test_{library}_*.py")


class Cell(NamedTuple):
    """One environment: `library` is the package's name, `beside` is installed with it."""

    library: str
    version: str = CURRENT
    beside: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("test_{library}_*.py",)

    @property
    def name(self) -> str:
        return f"{self.library}=={self.version or 'current'}"

    @property
    def requirements(self) -> list[str]:
        return [f"{self.library}=={self.version}" if self.version else self.library, *self.beside]


LANGCHAIN = ("test_lang*.py", "test_nesting.py")

OLD_HTTPX = ("httpx<0.28",)
"""Clients of before the end of 2024 give httpx an argument that it has no more."""

TABLE = (
    Cell("openai", "1.12.0", OLD_HTTPX, (*STAINLESS, "test_instrument.py")),
    Cell("openai", "1.66.5", tests=(*STAINLESS, "test_instrument.py")),
    Cell("openai", "1.109.1", tests=(*STAINLESS, "test_instrument.py")),
    Cell("openai", "2.54.0", tests=(*STAINLESS, "test_instrument.py")),
    Cell("openai", tests=(*STAINLESS, "test_instrument.py")),
    Cell("anthropic", "0.18.0", OLD_HTTPX, STAINLESS),
    Cell("anthropic", "0.84.0", ("boto3",), STAINLESS),
    Cell("anthropic", "1.0.0", ("boto3",), STAINLESS),
    Cell("anthropic", "1.17.0", ("boto3",), STAINLESS),
    Cell("anthropic", CURRENT, ("boto3", "opentelemetry-sdk"), STAINLESS),
    Cell("groq", "0.4.0", OLD_HTTPX, STAINLESS),
    Cell("groq", "0.37.1", tests=STAINLESS),
    Cell("groq", tests=STAINLESS),
    Cell("google-genai", "1.0.0", tests=METHODS),
    Cell("google-genai", "1.40.0", tests=METHODS),
    Cell("google-genai", tests=METHODS),
    Cell("ollama", "0.4.0", tests=METHODS),
    Cell("ollama", tests=METHODS),
    Cell("boto3", "1.34.116", tests=METHODS),
    Cell("boto3", tests=METHODS),
    Cell("mistralai", "1.2.0", tests=METHODS),
    Cell("mistralai", "1.12.4", tests=METHODS),
    Cell("mistralai", tests=METHODS),
    Cell("cohere", "5.16.0", tests=METHODS),
    Cell("cohere", tests=METHODS),
    Cell("mcp", "1.30.0", tests=("test_mcp.py",)),
    Cell("mcp", tests=("test_mcp.py",)),
    Cell("instructor"),
    Cell("langgraph", "0.6.11", ("langchain-core<0.4", "langchain-openai<0.4"), LANGCHAIN),
    Cell("langgraph", CURRENT, ("langchain-openai",), LANGCHAIN),
    Cell("openai-agents", tests=("test_agents_sdk.py",)),
    Cell("litellm", CURRENT, ("openai", "openai-agents"), ("test_litellm.py",)),
    Cell("pydantic-ai-slim", CURRENT, ("pydantic-ai-slim[openai]",), ("test_pydantic_ai.py",)),
    Cell("llama-index-core", CURRENT, ("llama-index-llms-openai",), ("test_llama_index.py",)),
)


class Outcome(NamedTuple):
    """What became of a cell."""

    cell: Cell
    installed: str
    summary: str
    passed: bool
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", help="libraries, or LIBRARY==VERSION as --list names them")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "honeytrace-matrix")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environments")
    parser.add_argument("--list", action="store_true", help="name the cells and stop")
    given = parser.parse_args(arguments)
    cells = choose(given.cells)
    if not cells:
        parser.error(f"no such cell: {' '.join(given.cells)}")
    if given.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    outcomes = [run(cell, given.cache, given.python) for cell in cells]
    print("\n| library | version | tests | seconds |\n| --- | --- | --- | --- |")
    for one in outcomes:
        print(f"| {one.cell.library} | {one.installed} | {one.summary} | {one.seconds:.0f} |")
    return 0 if all(one.passed for one in outcomes) else 1


def choose(names: Iterable[str]) -> list[Cell]:
    """The cells of these names; all of them without a name."""
    wanted = set(names)
    return [cell for cell in TABLE if not wanted or {cell.library, cell.name} & wanted]


def run(cell: Cell, cache: Path, interpreter: str) -> Outcome:
    """Make the environment, if it is not there, and run the tests in it."""
    print(f"== {cell.name}", flush=True)
    began = time.monotonic()
    python = environment(cell, cache, interpreter)
    if isinstance(python, str):
        return Outcome(cell, cell.version or "current", f"not installed: {python}", False, time.monotonic() - began)
    files = sorted(str(path) for name in cell.tests for path in HERE.glob(name.format(library=cell.library)))
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-200:]]
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-2000:], sep="\n")
    else:
        print("\n".join(line for line in done.stdout.splitlines() if line.startswith("SKIPPED")))
    summary = re.sub(r" in [\d.]+s.*", "", last[0].strip("= "))
    print(summary, flush=True)
    return Outcome(cell, version(python, cell.library), summary, done.returncode == 0, time.monotonic() - began)


def environment(cell: Cell, cache: Path, interpreter: str) -> Path | str:
    """The interpreter of a cell; what pip said, if it could not be installed."""
    folder = cache / f"{Path(interpreter).resolve().name}-{cell.library}-{cell.version or 'current'}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    wanted = "\n".join([*cell.requirements, str(CHECKOUT)])
    if complete.is_file() and complete.read_text() == wanted and cell.version != CURRENT:
        return python
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "-q", "-U", "-e", str(CHECKOUT), "pytest", *cell.requirements]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["pip failed"])[-1][:200]
    complete.write_text(wanted)
    return python


def version(python: Path, library: str) -> str:
    code = f"from importlib.metadata import version; print(version({library!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or "?"


if __name__ == "__main__":
    sys.exit(main())
