"""Answer questions about a folder of text, and see every step of each answer as a tree.

    python examples/quickstart.py
    python examples/quickstart.py ~/notes --question "how do I renew the certificate?"

Without a folder it reads this project's own Markdown and docstrings. Nothing leaves the machine: the search
is BM25, an answer is put together from the sentences it finds, the trace goes to ~/.honeytrace. It is an
ordinary program; the lines with `honeytrace.` in them are all that tracing adds.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import math
import re
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import honeytrace
from honeytrace import cli

QUESTIONS = ("How does a generator end when its consumer stops?", "Which exporter prints the live tree?")


def main() -> int:
    arguments = parse_arguments()
    honeytrace.init(exporters=["local"])  # a plain init() does the same, until HH_API_KEY names an account
    with (
        honeytrace.session("quickstart", user_properties={"user_id": "newcomer", "plan": "free"}) as session,
        tempfile.TemporaryDirectory() as temporary,
    ):
        asyncio.run(answer_all(arguments.questions, arguments.folder, Path(temporary, "index.json")))
    honeytrace.flush()
    print()
    cli.main(["show", session.session_id])
    print_next_steps(session.session_id[:8])
    return 0


async def answer_all(questions: list[str], folder: Path, cache: Path) -> None:
    ratings = [await answer(question, folder, cache) for question in questions]
    honeytrace.enrich_session(metadata={"questions": len(questions)}, feedback={"rating": min(ratings)})


@honeytrace.trace("agent", metadata={"agent_name": "librarian"})
async def answer(question: str, folder: Path, cache: Path) -> int:
    """Print the answer as it is composed; return how well it covers the question, from 1 to 5."""
    try:
        index = await asyncio.to_thread(load_index, cache)
    except FileNotFoundError:  # the first question: make the index, then try again
        await asyncio.to_thread(build_index, folder, cache)
        index = await asyncio.to_thread(load_index, cache)
    sections, definitions, weights = await asyncio.gather(
        search("section", question, index),
        search("definition", question, index),
        weigh_words(question, index),
    )
    hits = [passage for _, passage in sorted(sections + definitions, reverse=True)[:4]]
    prompt = {"role": "system", "content": "\n\n".join(passage.text for passage in hits)}
    print(f"\n{question}")
    said = []
    async for sentence in compose([prompt, {"role": "user", "content": question}], weights):
        print(f"  {sentence}", flush=True)
        said.append(sentence)
    print(f"  [{', '.join(dict.fromkeys(passage.source for passage in hits)) or 'nothing found'}]")

    # In your program people rate answers; here it is the share of the question's words that come up.
    rating = round(1 + 4 * len(weights.keys() & words(" ".join(said))) / max(1, len(weights)))
    honeytrace.enrich_span(feedback={"rating": rating})
    return rating


@honeytrace.trace("tool", process_outputs=len)
def load_index(cache: Path) -> Index:
    return Index([Passage(*row) for row in json.loads(cache.read_text())])


@honeytrace.trace("tool")
def build_index(folder: Path, cache: Path) -> int:
    passages = [passage for path in text_files(folder) for passage in read_passages(path, folder)]
    cache.write_text(json.dumps(passages))
    return len(passages)


@honeytrace.trace("tool", exclude="index")
async def search(kind: str, question: str, index: Index) -> list[tuple[float, Passage]]:
    return await asyncio.to_thread(index.best, kind, set(words(question)))


@honeytrace.trace("tool", exclude="index")
async def weigh_words(question: str, index: Index) -> dict[str, float]:
    """Say how much each word of the question tells: the rarer it is, the more."""
    return {word: round(index.weight(word), 2) for word in words(question) if index.holders[word]}


def as_message(sentences: list[str]) -> dict[str, str]:
    return {"role": "assistant", "content": " ".join(sentences)}


@honeytrace.trace("model", config={"model": "extractive-bm25", "max_sentences": 3}, reduce=as_message)
async def compose(chat_history: list[dict[str, str]], weights: dict[str, float]) -> AsyncIterator[str]:
    """Yield the sentences that say most about the question; what has been said counts a third."""
    split = re.split(r"(?<=[.!?])\s+|\n\s*\n|\n(?=[-*#])", chat_history[0]["content"])
    left = {" ".join(sentence.split()): set(words(sentence)) for sentence in split}
    said: list[str] = []
    while left and len(said) < 3:
        best = max(left, key=lambda sentence: sum(weights.get(word, 0) for word in left[sentence]))
        if not left[best] & weights.keys():
            break
        weights = {word: weight / 3 if word in left[best] else weight for word, weight in weights.items()}
        del left[best]
        said.append(best)
        yield best
    prompt_tokens, completion_tokens = count_tokens(chat_history), count_tokens([as_message(said)])
    honeytrace.enrich_span(metadata={"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens})


# Below this line nothing knows that it is traced.


class Passage(NamedTuple):
    """A section of a text, or a docstring."""

    kind: str
    source: str
    text: str


class Index:
    """BM25: rare words weigh more, and a long passage has to say more than a short one."""

    def __init__(self, passages: list[Passage]) -> None:
        self.passages = [(passage, Counter(words(passage.text))) for passage in passages]
        self.holders = Counter(word for _, counts in self.passages for word in counts)
        self.usual = sum(counts.total() for _, counts in self.passages) / max(1, len(passages)) or 1

    def __len__(self) -> int:
        return len(self.passages)

    def weight(self, word: str) -> float:
        return math.log(1 + (len(self) - self.holders[word] + 0.5) / (self.holders[word] + 0.5))

    def score(self, counts: Counter[str], query: set[str], k: float = 1.5, b: float = 0.75) -> float:
        norm = k * (1 - b + b * counts.total() / self.usual)
        return sum(self.weight(w) * counts[w] * (k + 1) / (counts[w] + norm) for w in query & counts.keys())

    def best(self, kind: str, query: set[str]) -> list[tuple[float, Passage]]:
        candidates = ((passage, counts) for passage, counts in self.passages if passage.kind == kind)
        hits = ((round(self.score(counts, query), 2), passage) for passage, counts in candidates)
        return sorted((hit for hit in hits if hit[0] > 0), reverse=True)[:4]


STOPWORDS = re.compile(
    "about|after|an|and|are|as|at|be|been|before|but|by|can|do|does|for|from|had|has|have|how|if|in|into|is|it|"
    "its|no|not|of|on|or|so|that|the|them|then|there|they|this|to|was|we|what|when|where|which|who|why|with"
)


def words(text: str) -> list[str]:
    """Lower-case stems, of camelCase and snake_case too, without the words that say nothing."""
    separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    found = (word.casefold() for word in re.findall(r"[^\W_]{2,}", separated))
    kept = (word for word in found if not STOPWORDS.fullmatch(word))
    return [re.sub(r"(?<=\w{3})(ing|ed|es|e|(?<!s)s)$", "", word) for word in kept]


def count_tokens(messages: list[dict[str, str]]) -> int:
    return sum(len(re.findall(r"\w+|[^\w\s]", message["content"])) for message in messages)


def text_files(folder: Path) -> list[Path]:
    """Markdown, text and Python, at most 500 files, without what is hidden, built, installed or a test."""
    skipped = r"(^|/)(\.|(tests|examples|build|dist|node_modules|site-packages)/)"
    found = (path for path in folder.rglob("*") if path.suffix in (".md", ".txt", ".py"))
    return sorted(path for path in found if not re.search(skipped, path.relative_to(folder).as_posix()))[:500]


def read_passages(path: Path, folder: Path) -> Iterator[Passage]:
    source = path.relative_to(folder).as_posix()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix != ".py":
            for section in re.split(r"^(?=#+ )" if path.suffix == ".md" else r"\n\s*\n", text, flags=re.M):
                yield Passage("section", source, section)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler thinks of other people's code
            tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node)
            if docstring:
                yield Passage("definition", source, f"{getattr(node, 'name', path.stem)}: {docstring}")


def parse_arguments() -> argparse.Namespace:
    checkout = Path(__file__).resolve().parent.parent
    usual = checkout if (checkout / "honeytrace").is_dir() else Path(asyncio.__file__).parent
    parser = argparse.ArgumentParser(description="Answer questions about a folder of text; show the trace.")
    parser.add_argument("folder", nargs="?", type=Path, default=usual, help="default: %(default)s")
    parser.add_argument("--question", action="append", dest="questions", help="may be given several times")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is no folder")
    if not text_files(arguments.folder):
        parser.error(f"{arguments.folder} holds no .md, .txt or .py files")
    arguments.questions = arguments.questions or QUESTIONS
    return arguments


def print_next_steps(session: str) -> None:
    command = "honeytrace" if shutil.which("honeytrace") else f"{sys.executable} -m honeytrace.cli"
    print(f"""
Where to look next:
  {command} show {session} --full    this trace with everything in it
  {command} sessions                all traces
  {command} tail                    calls of any program, as they finish
  {Path(__file__).parent}: decorate_functions, wrap_llm_call, context_blocks, streaming_endpoint, threads""")


if __name__ == "__main__":
    sys.exit(main())
