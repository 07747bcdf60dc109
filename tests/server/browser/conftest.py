"""A real server, a real Chromium, and a page that fails its test when it complains about anything.

Without Playwright, Chromium or the server's packages the tests are skipped with one line; with
HONEYTRACE_BROWSER_TESTS=1 in the environment they fail instead, so that nothing is skipped where it matters.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from page_server import ServerClient

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 20_000.0  # ms that anything may take on a busy machine
SERVE = (
    "import sys; from honeytrace.server.serving import serve; serve(sys.argv[1], port=0, api_key=sys.argv[2] or None)"
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: drives the page of `honeytrace serve` in a real Chromium")


def missing() -> str | None:
    """What is not here, in words; None when all is."""
    if find_spec("playwright") is None:
        return "Playwright (pip install playwright)"
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        return "the server's packages (pip install 'honeytrace[server]')"
    return None if chromium() else "Chromium (apt-get install chromium)"


def chromium() -> str | None:
    """Where Chromium is."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


# test_browser_is_here.py says in one line what is missing; the others are then not even collected.
collect_ignore_glob = ["test_page_*.py"] if missing() and os.environ.get("HONEYTRACE_BROWSER_TESTS") != "1" else []


@pytest.fixture(scope="session")
def missing_for_browser() -> str | None:
    """What the browser tests lack here."""
    return missing()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium for the tests of one file: a running Playwright forbids asyncio.run to all that come after."""
    if reason := missing():
        pytest.fail(f"the browser tests need {reason}", pytrace=False)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def start_server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerClient]]:
    """Start servers, each over a store of its own; they end with the file."""
    started: list[subprocess.Popen[str]] = []

    def start(key: str = "") -> ServerClient:
        home = tmp_path_factory.mktemp("server")
        environment = {**os.environ, "HONEYTRACE_HOME": str(home)}
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(home / "traces.db"), key],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, f"the server did not say where it is: {line!r}"
        return ServerClient(address[0], key)

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerClient]) -> ServerClient:
    """One server for the file."""
    return start_server()


class Watch:
    """What a page complained about, but for what the test expects, and whom it asked."""

    def __init__(self, page: Any) -> None:
        self.expected: list[str] = []
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        url = urlsplit(request.url)
        self.hosts.add(url.hostname or url.scheme)

    def unexpected(self) -> list[str]:
        return [text for text in self.complaints if not any(re.search(wanted, text) for wanted in self.expected)]


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages; each must end without a complaint and without having asked anyone but the server."""
    contexts: list[Any] = []
    watches: list[Watch] = []

    def make(**options: Any) -> Any:
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " event => console.error('CSP: ' + event.violatedDirective + ' ' + event.blockedURI))"
        )
        page.watch = Watch(page)
        watches.append(page.watch)
        return page

    yield make
    for context in contexts:
        context.close()
    for watch in watches:
        assert watch.unexpected() == []
        assert watch.hosts <= {"127.0.0.1", "blob"}


@pytest.fixture
def page(new_page: Callable[..., Any]) -> Any:
    """One page, 1280 by 800."""
    return new_page()


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """A folder for what the page saves."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder
