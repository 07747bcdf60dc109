"""The examples do what they say: each runs as a program; what it records is read from its store."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from honeytrace import cli

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples"

SHOWN = {
    "quickstart": [
        "answer",
        "load_index",
        "build_index",
        "search",
        "weigh_words",
        "compose",
        "extractive-bm25",
    ],
    "decorate_functions": [
        "parse",
        "to_celsius",
        "changes",
        "report",
        "nearest",
        "upload",
        "label",
        "forecast",
    ],
    "wrap_llm_call": ["ask", "chat", "weather", "chat_stream", "tiny-1"],
    "context_blocks": ["handle_order", "check_stock", "redeem_coupon", "add_up", "payment", "delivery"],
    "streaming_endpoint": ["GET /explain", "respond", "generate", "first after", "outcome: closed"],
    "threads": ["in_a_pool", "in_a_thread", "beside_the_event_loop", "digest"],
    "agent_openai": ["answer", "find", "read", "chat.completions.stream", "rules-1", "tokens", "first after"],
    "agent_langgraph": [
        "librarian",
        "think",
        "tools",
        "find",
        "read",
        "ChatOpenAI",
        "chat.completions.create",
        "rules-1",
    ],
    "agent_anthropic": ["answer", "find", "read", "messages.stream", "rules-1", "tokens", "first after"],
}
"""What the tree of each example has to show."""

BESIDE = {"folder_tools", "offline_model"}
"""What examples import."""

NEEDS = {"agent_openai": "openai", "agent_anthropic": "anthropic"}

NEED_MORE = {"agent_langgraph": "langchain_openai"}
"""Examples on frameworks, and the package that says whether they can run."""

for name, package in (NEEDS | NEED_MORE).items():
    if find_spec(package) is None:
        SHOWN.pop(name)

CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started the tests in its background
"""

ONLY_THIS_MACHINE = """
import sys

def refuse(event, arguments):
    if event == "socket.connect" and arguments[1][0] != "127.0.0.1":
        raise AssertionError(f"connects to {arguments[1]}")
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", None):
        raise AssertionError(f"looks up {arguments[0]}")

sys.addaudithook(refuse)
"""


@dataclass
class Run:
    """An example that has ended."""

    code: int
    output: str
    errors: str
    home: Path

    def read(self, *command: str):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert cli.main([*command, "--json", "--store", str(self.home / "traces.db")]) == 0
        return json.loads(printed.getvalue())

    @property
    def sessions(self) -> list[list[dict]]:
        """The events of each session, the session itself first, oldest session first."""
        found = [self.read("show", one["session_id"])["events"] for one in self.read("sessions")]
        return sorted((sorted(events, key=order) for events in found), key=lambda events: order(events[0]))

    @property
    def session(self) -> dict:
        ((session, *_),) = self.sessions
        return session

    @property
    def events(self) -> list[dict]:
        ((_, *events),) = self.sessions
        return events

    def named(self, name: str) -> list[dict]:
        """The events of this name, in the order they started."""
        return [event for event in self.events if event["event_name"] == name]

    def one(self, name: str) -> dict:
        (event,) = self.named(name)
        return event


def order(event: dict) -> tuple[bool, float]:
    return event["event_type"] != "session", event["start_time"]


def start(script: Path, home: Path, *arguments: str) -> subprocess.Popen[str]:
    home.mkdir(parents=True, exist_ok=True)
    (home.parent / "sitecustomize.py").write_text(ONLY_THIS_MACHINE + CTRL_C)
    others = ("HH_", "PYTHON", "OPENAI_", "ANTHROPIC_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    path = [str(home.parent), str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"HONEYTRACE_HOME": str(home), "PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1"}
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", str(script), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        cwd=home.parent,
    )


def finish(process: subprocess.Popen[str], home: Path) -> Run:
    output, errors = process.communicate(timeout=180)
    # Development mode also reports steps of the event loop that took long: on a busy machine any may.
    errors = re.sub(r"^Executing <.* took [\d.]+ seconds\n", "", errors, flags=re.MULTILINE)
    return Run(process.returncode, output, errors, home)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """Every example, run once, all at the same time."""
    homes = {name: tmp_path_factory.mktemp(name) / "home" for name in SHOWN}
    started = {name: start(EXAMPLES / f"{name}.py", home) for name, home in homes.items()}
    return {name: finish(process, homes[name]) for name, process in started.items()}


@pytest.fixture
def ask(tmp_path):
    """Run the quickstart with arguments."""

    def run(*arguments: str, script: Path = EXAMPLES / "quickstart.py") -> Run:
        home = tmp_path / "run" / "home"
        return finish(start(script, home, *arguments), home)

    return run


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SHOWN, *NEEDS, *NEED_MORE, *BESIDE}


@pytest.mark.parametrize("name", SHOWN)
def test_example_ends_well_and_without_a_warning(runs, name):
    assert (runs[name].code, runs[name].errors) == (0, "")


@pytest.mark.parametrize("name", SHOWN)
def test_example_prints_the_tree_of_what_it_recorded(runs, name):
    run = runs[name]
    tree = run.output[run.output.index(run.sessions[0][0]["session_id"][:8]) :]
    assert [word for word in SHOWN[name] if word not in run.output] == []
    assert "─ " in tree
    assert all(event["event_name"] in run.output for events in run.sessions for event in events)


@pytest.mark.parametrize("name", SHOWN)
def test_example_says_how_to_run_it_and_uses_public_names_only(name):
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text())
    assert f"\n    python examples/{name}.py\n" in ast.get_docstring(tree, clean=False)
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    used = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    private = [name for name in imported if "._" in name]
    private += [name for name in used if name.startswith("_") and not name.endswith("__")]
    assert private == []


class TestQuickstart:
    def test_answers_come_before_the_tree_and_the_next_steps_after_it(self, runs):
        output = runs["quickstart"].output
        first = runs["quickstart"].named("compose")[0]["outputs"]["content"][:30]
        parts = ["generator end", first, "quickstart  ", "└─ chain answer", "Where to look next"]
        places = [output.index(part) for part in parts]
        assert places == sorted(places)
        assert runs["quickstart"].session["session_id"][:8] in output[places[-1] :]

    def test_tool_fails_once_is_retried_and_succeeds(self, runs):
        answer = runs["quickstart"].named("answer")[0]
        below = [event for event in runs["quickstart"].events if event["parent_id"] == answer["event_id"]]
        assert [event["event_name"] for event in below[:3]] == ["load_index", "build_index", "load_index"]
        assert below[0]["error"].startswith("FileNotFoundError")
        assert not below[2].get("error")
        assert below[2]["outputs"] == below[1]["outputs"]
        failed = [event for event in runs["quickstart"].events if event.get("error")]
        assert failed == below[:1]

    def test_second_question_finds_the_index(self, runs):
        loads = runs["quickstart"].named("load_index")
        assert [bool(event.get("error")) for event in loads] == [True, False, False]
        assert len(runs["quickstart"].named("build_index")) == 1

    def test_searches_of_one_question_run_at_the_same_time(self, runs):
        sections, definitions = runs["quickstart"].named("search")[:2]
        assert (sections["inputs"]["kind"], definitions["inputs"]["kind"]) == ("section", "definition")
        assert sections["parent_id"] == definitions["parent_id"]
        assert definitions["start_time"] < sections["end_time"]

    def test_answer_is_a_model_event_with_chunks_messages_and_tokens(self, runs):
        for compose in runs["quickstart"].named("compose"):
            assert compose["event_type"] == "model"
            assert compose["config"]["model"] == "extractive-bm25"
            assert [message["role"] for message in compose["inputs"]["chat_history"]] == ["system", "user"]
            assert compose["outputs"]["role"] == "assistant"
            metadata = compose["metadata"]
            assert metadata["chunks"] >= 2
            assert metadata["time_to_first_token_ms"] > 0
            assert metadata["prompt_tokens"] > metadata["completion_tokens"]
            assert metadata["completion_tokens"] >= len(compose["outputs"]["content"].split())

    def test_what_is_printed_is_what_was_composed(self, runs):
        for compose in runs["quickstart"].named("compose"):
            printed = " ".join(runs["quickstart"].output.split())
            assert compose["outputs"]["content"] in printed

    def test_session_carries_user_properties_and_feedback(self, runs):
        session = runs["quickstart"].session
        assert session["event_type"] == "session"
        assert session["user_properties"] == {"user_id": "newcomer", "plan": "free"}
        assert session["metadata"]["questions"] == 2
        answers = runs["quickstart"].named("answer")
        assert [answer["event_type"] for answer in answers] == ["chain", "chain"]
        ratings = [answer["feedback"]["rating"] for answer in answers]
        assert all(1 <= rating <= 5 for rating in ratings)
        assert session["feedback"] == {"rating": min(ratings)}

    def test_folder_and_question_can_be_chosen(self, ask, tmp_path):
        notes = tmp_path / "notes"
        (notes / "home").mkdir(parents=True)
        (notes / "home" / "boiler.md").write_text(
            "# Heating\nThe boiler is old. Bleed the radiators in October.\n\n# Garden\nCut the hedge.\n"
        )
        (notes / "broken.py").write_text("def (:\n")
        (notes / "empty.txt").write_text("")
        (notes / "latin.txt").write_bytes(b"caf\xe9 at noon")
        run = ask(str(notes), "--question", "When do I bleed a radiator?", "--question", "qwertyuiop")
        assert (run.code, run.errors) == (0, "")
        assert "When do I bleed a radiator?\n  Bleed the radiators in October.\n" in run.output
        assert "[home/boiler.md]" in run.output
        assert "qwertyuiop\n  [nothing found]" in run.output

    def test_folder_without_a_word_is_no_failure(self, ask, tmp_path):
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "empty.md").write_text("")
        run = ask(str(tmp_path / "notes"))
        assert (run.code, run.errors) == (0, "")

    def test_outside_of_the_checkout_it_reads_the_standard_library(self, ask, tmp_path):
        copied = tmp_path / "elsewhere" / "examples" / "quickstart.py"
        copied.parent.mkdir(parents=True)
        shutil.copy(EXAMPLES / "quickstart.py", copied)
        run = ask("--question", "wait for a future", script=copied)
        assert (run.code, run.errors) == (0, "")
        assert run.one("answer")["inputs"]["folder"].endswith("asyncio")
        assert run.one("compose")["metadata"]["chunks"] >= 1

    @pytest.mark.parametrize(("folder", "message"), [("gone", "is no folder"), (".", "holds no .md, .txt or .py")])
    def test_folder_that_cannot_be_read_is_refused_with_code_2(self, ask, tmp_path, folder, message):
        (tmp_path / "bare").mkdir()
        run = ask(str(tmp_path / "bare" / folder))
        assert run.code == 2
        assert message in run.errors.splitlines()[-1]
        assert "Traceback" not in run.errors
        assert list(run.home.iterdir()) == []


class TestDecorateFunctions:
    def test_failed_calls_are_recorded_and_the_program_goes_on(self, runs):
        failed = [event for event in runs["decorate_functions"].events if event.get("error")]
        assert [event["event_name"] for event in failed] == ["to_celsius", "forecast"]
        assert "OverflowError: a rise of" in failed[1]["error"]

    def test_excluded_and_secret_arguments_are_nowhere_in_the_store(self, runs):
        run = runs["decorate_functions"]
        assert run.one("upload")["inputs"] == {"api_key": "[redacted]"}
        assert all(b"not-in-the-trace" not in path.read_bytes() for path in run.home.rglob("*") if path.is_file())

    def test_generators_are_joined_and_methods_named(self, runs):
        run = runs["decorate_functions"]
        assert run.one("changes")["outputs"] == {"largest": 1.7, "count": 4}
        assert run.one("report")["outputs"]["result"].startswith("5 readings, ")
        assert run.one("average")["parent_id"] == run.one("report")["event_id"]
        assert run.one("label")["parent_id"] == run.one("upload")["event_id"]
        assert run.one("nearest")["inputs"] == {"latitude": 53.5, "longitude": 9.9}


class TestWrapLlmCall:
    def test_chat_holds_messages_config_tokens_and_tool_calls(self, runs):
        chat = runs["wrap_llm_call"].named("chat")[0]
        assert chat["event_type"] == "model"
        assert chat["inputs"]["chat_history"] == [{"role": "user", "content": "How is the weather in Lisbon?"}]
        assert chat["config"] == {"model": "tiny-1", "provider": "local", "temperature": 0.0}
        assert chat["outputs"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Lisbon"}'
        assert chat["metadata"]["finish_reason"] == "tool_calls"
        assert chat["metadata"]["prompt_tokens"] > 0

    def test_tool_is_recorded_with_the_id_of_its_call(self, runs):
        weather = runs["wrap_llm_call"].one("weather")
        assert weather["metadata"] == {"tool_name": "weather", "tool_call_id": "call_1"}
        assert weather["outputs"] == {"city": "Lisbon", "sky": "clear", "celsius": 21}

    def test_streamed_answer_is_one_message_with_tokens_and_time_to_first(self, runs):
        stream = runs["wrap_llm_call"].one("chat_stream")
        assert stream["outputs"]["content"].strip() == "It is 21 °C under a clear sky in Lisbon."
        assert stream["metadata"]["completion_tokens"] == stream["metadata"]["chunks"] == 10
        assert stream["metadata"]["time_to_first_token_ms"] > 0
        roles = [message["role"] for message in stream["inputs"]["chat_history"]]
        assert roles == ["user", "assistant", "tool"]

    def test_refused_call_is_recorded_as_failed(self, runs):
        refused = runs["wrap_llm_call"].named("chat")[1]
        assert refused["config"]["model"] == "huge-9"
        assert "404" in refused["error"]


class TestContextBlocks:
    def test_suppressed_order_leaves_no_trace(self, runs):
        assert len(runs["context_blocks"].named("handle_order")) == 1
        assert len(runs["context_blocks"].named("redeem_coupon")) == 1

    def test_feedback_that_comes_later_reaches_the_event(self, runs):
        order = runs["context_blocks"].one("handle_order")
        assert order["feedback"] == {"rating": 4, "comment": "the sofa was missing"}
        assert order["outputs"] == {"total": "328.80"}

    def test_blocks_nest_and_hold_what_they_were_given(self, runs):
        run = runs["context_blocks"]
        below = [event for event in run.events if event["parent_id"] == run.one("handle_order")["event_id"]]
        assert [event["event_name"] for event in below] == ["check_stock", "redeem_coupon", "add_up"]
        assert below[0]["outputs"] == {"missing": ["sofa"]}
        assert below[1]["error"] == "KeyError: 'WELCOME20'"
        assert below[2]["metrics"] == {"lines": 2}
        assert run.one("delivery")["outputs"] == {"signed_by": "M. Lee"}

    def test_logged_event_has_its_own_times(self, runs):
        payment = runs["context_blocks"].one("payment")
        assert payment["duration"] == pytest.approx(0.4, abs=0.002)
        assert payment["parent_id"] == runs["context_blocks"].session["session_id"]

    def test_session_has_what_it_was_opened_with_and_what_came_later(self, runs):
        session = runs["context_blocks"].session
        assert session["user_properties"] == {"user_id": "customer-7", "country": "DE"}
        assert session["metadata"] == {"channel": "shop"}


class TestStreamingEndpoint:
    def events(self, runs) -> dict[str, dict[str, dict]]:
        """User -> name of event -> event."""
        return {
            events[0]["user_properties"]["user_id"]: {event["event_name"]: event for event in events}
            for events in runs["streaming_endpoint"].sessions
        }

    def test_each_request_is_a_session_of_its_user(self, runs):
        users = self.events(runs)
        assert sorted(users) == ["ada", "bob", "cleo", "dan"]
        assert {tuple(events) for events in users.values()} == {("GET /explain", "respond", "generate")}

    @pytest.mark.parametrize(("user", "heard"), [("bob", 3), ("cleo", 8)])
    def test_stream_is_closed_when_its_client_hangs_up(self, runs, user, heard):
        events = self.events(runs)[user]
        stream = events["generate"]
        assert stream["metadata"]["outcome"] == "closed"
        assert stream["end_time"] <= events["respond"]["end_time"]
        assert not stream.get("error")
        assert heard < stream["metadata"]["chunks"] < 40
        assert len(stream["outputs"]["result"].split()) == stream["metadata"]["chunks"]

    def test_stream_that_was_read_to_the_end_is_not_closed(self, runs):
        stream = self.events(runs)["ada"]["generate"]
        assert stream["metadata"]["chunks"] == 40
        assert "outcome" not in stream["metadata"]
        assert 0 < stream["metadata"]["time_to_first_token_ms"] < stream["duration"]

    def test_stream_that_fails_is_recorded_as_failed(self, runs):
        assert self.events(runs)["dan"]["generate"]["error"].startswith("AttributeError")


class TestThreads:
    @pytest.mark.parametrize(("parent", "calls"), [("in_a_pool", 4), ("in_a_thread", 1), ("beside_the_event_loop", 2)])
    def test_work_of_other_threads_is_below_whoever_handed_it_over(self, runs, parent, calls):
        parent_id = runs["threads"].one(parent)["event_id"]
        below = [event for event in runs["threads"].events if event["parent_id"] == parent_id]
        assert [event["event_name"] for event in below] == ["digest"] * calls
