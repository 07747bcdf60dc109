"""The agents: a model asks for tools, they work on real files, what they say goes back, the answer is streamed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import httpx
import pytest
from test_examples import EXAMPLES, NEEDS, SHOWN, Run, finish, start

AGENTS = [name for name in NEEDS if name in SHOWN]
NOTES = {
    "house/boiler.md": "# Heating\n\nThe boiler is due in October.\nBleed the radiators.\n",
    "orders.txt": "Orders are kept for ten years.\nInvoices are due at once.\n",
    ".hidden/secret.md": "The boiler is due never.\n",
}


@pytest.fixture(params=AGENTS)
def ask(request, tmp_path):
    """Run an agent over notes of our own."""
    for name, text in NOTES.items():
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(question: str) -> Run:
        home = tmp_path / "run" / "home"
        script = EXAMPLES / f"{request.param}.py"
        return finish(start(script, home, question, "--folder", str(tmp_path / "notes")), home)

    return run


def test_answer_is_quoted_from_the_file_that_the_tools_found(ask):
    run = ask("When is the boiler due?")
    assert (run.code, run.errors) == (0, "")
    assert "house/boiler.md, line 3: The boiler is due in October.\n" in run.output
    assert "never" not in run.output
    names = [event["event_name"].rpartition(".")[2] for event in run.events]
    assert names == ["answer", "stream", "find", "stream", "read", "stream"]


def test_tools_work_on_the_files_and_are_children_of_the_agent(ask):
    run = ask("When is the boiler due?")
    agent = run.one("answer")
    assert {event["parent_id"] for event in run.events if event is not agent} - {agent["parent_id"]} == {
        agent["event_id"]
    }
    assert (agent["event_type"], agent["metadata"]["agent_name"]) == ("chain", "librarian")
    assert agent["inputs"].keys() == {"question", "model"}
    find = run.one("find")
    assert (find["event_type"], find["inputs"], find["metadata"]) == ("tool", {"word": "boiler"}, {"tool_name": "find"})
    assert find["outputs"]["result"][0]["path"] == "house/boiler.md"
    assert run.one("read")["outputs"]["lines"][2] == "The boiler is due in October."


def test_each_call_of_the_model_holds_the_conversation_so_far(ask):
    calls = [event for event in ask("When is the boiler due?").events if event["event_type"] == "model"]
    roles = [[message["role"] for message in event["inputs"]["chat_history"]] for event in calls]
    assert roles == [
        ["system", "user"],
        ["system", "user", "assistant", "tool"],
        ["system", "user", "assistant", "tool", "assistant", "tool"],
    ]
    asked = [event["outputs"].get("tool_calls", [{}])[0].get("function") for event in calls]
    assert asked[0] == {"name": "find", "arguments": asked[0]["arguments"]}
    assert json.loads(asked[0]["arguments"]) == {"word": "boiler"}
    assert (asked[1]["name"], asked[2]) == ("read", None)
    said = calls[1]["inputs"]["chat_history"][3]
    assert said["tool_call_id"] == calls[0]["outputs"]["tool_calls"][0]["id"]
    assert json.loads(said["content"])[0]["line"] == 3
    for event in calls:
        assert event["config"]["model"] == "rules-1"
        assert event["metadata"]["total_tokens"] > event["metadata"]["completion_tokens"] > 0
        assert event["metadata"]["time_to_first_token_ms"] > 0


def test_what_is_printed_as_it_comes_is_what_was_recorded(ask):
    run = ask("When is the boiler due?")
    last = [event for event in run.events if event["event_type"] == "model"][-1]
    assert last["outputs"]["content"] in run.output
    assert run.one("answer")["outputs"] == {"result": last["outputs"]["content"]}


def test_words_that_are_nowhere_are_said_to_be(ask):
    run = ask("What about zeppelins?")
    assert (run.code, run.errors) == (0, "")
    assert "Nothing here mentions zeppelins." in run.output
    assert run.one("find")["outputs"] == {"result": []}


@pytest.mark.parametrize(("name", "package"), NEEDS.items())
def test_without_its_client_it_says_what_to_install(name, package):
    program = f"import runpy, sys; sys.modules[{package!r}] = None; sys.path.insert(0, {str(EXAMPLES)!r})"
    program += f"; runpy.run_path({str(EXAMPLES / name)!r} + '.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert done.stderr.strip().endswith(f"pip install {package}")


class TestOfflineModel:
    @pytest.fixture
    def url(self, monkeypatch):
        monkeypatch.syspath_prepend(str(EXAMPLES))
        import offline_model

        with offline_model.serve() as url:
            yield url

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
    def test_it_says_the_same_streamed_and_whole(self, url, path):
        request = {"model": "any", "messages": [{"role": "user", "content": "hello"}]}
        whole = httpx.post(url + path, json=request).json()
        streamed = httpx.post(url + path, json={**request, "stream": True}).text
        events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
        if path == "/v1/messages":
            text = "".join(event["delta"].get("text", "") for event in events if "delta" in event)
            assert text == whole["content"][0]["text"]
        else:
            text = "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])
            assert text == whole["choices"][0]["message"]["content"]
        assert "find and read" in text

    def test_it_runs_on_its_own_until_it_is_interrupted(self, tmp_path):
        process = start(EXAMPLES / "offline_model.py", tmp_path / "run" / "home")
        url = re.search(r"http://127\.0\.0\.1:\d+/v1/messages", process.stdout.readline())[0]
        answer = httpx.post(url, json={"messages": [{"role": "user", "content": "hello"}]}).json()
        process.send_signal(signal.SIGINT)
        run = finish(process, tmp_path / "run" / "home")
        assert answer["role"] == "assistant"
        assert (run.code, run.errors) == (0, "")

    def test_another_path_is_refused(self, url):
        assert httpx.post(f"{url}/v1/other", json={"messages": []}).status_code == 404


def test_tools_stay_in_their_folder_and_say_what_went_wrong(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from folder_tools import Folder

    (tmp_path / "notes").mkdir()
    (tmp_path / "outside.md").write_text("secret")
    folder = Folder(tmp_path / "notes")
    assert "PermissionError" in folder.use("read", {"path": "../outside.md", "line": 1})
    assert "FileNotFoundError" in folder.use("read", {"path": "gone.md", "line": 1})
    assert "KeyError" in folder.use("shout", {})
