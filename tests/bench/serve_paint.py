"""How long until a session of 10,000 events can be read in a browser: navigation to the first rows on the screen.

Needs Playwright and Chromium. Goal: below 1 s (median of new profiles, so nothing is cached).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from typing import Any

SERVE = "import sys; from honeytrace.server.serving import serve; serve(sys.argv[1], port=0)"
GOAL = 1000.0  # ms
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# The rows exist, and a frame that holds them has been handed to the screen.
PAINTED = """() => new Promise(done => {
  const look = () => document.querySelector("[data-ready=session] [role=treeitem]")
    ? requestAnimationFrame(() => setTimeout(() => done(performance.now()))) : requestAnimationFrame(look);
  look();
})"""


def session_of(events: int) -> list[dict[str, Any]]:
    """A session, its parts, and the steps below them."""
    start, session_id = time.time() * 1000 - 60_000, str(uuid.uuid4())

    def one(parent: str, name: str, at: float, duration: float) -> dict[str, Any]:
        made = {"event_id": str(uuid.uuid4()), "session_id": session_id, "parent_id": parent, "event_name": name}
        times = {"start_time": start + at, "end_time": start + at + duration, "duration": duration}
        values = {"inputs": {"question": f"what is at {at}?"}, "outputs": {"result": "an answer of some length " * 8}}
        return {**made, **times, **values, "event_type": "tool", "metadata": {"total_tokens": 12}}

    root = {"event_id": session_id, "session_id": session_id, "event_type": "session", "event_name": "large"}
    made = [{**root, "inputs": {}, "start_time": start, "end_time": start + 20_000, "duration": 20_000}]
    for number in range(events // 100):
        part = one(session_id, f"part {number}", number * 200, 200)
        made += [part, *(one(part["event_id"], "step", number * 200 + step * 2, 2) for step in range(99))]
    return made


def main() -> int:
    """Serve, open, measure, and say whether the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    events = session_of(arguments.events)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SERVE, f"{folder}/traces.db"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            for first in range(0, len(events), 1000):
                body = json.dumps({"events": events[first : first + 1000]}).encode()
                headers = {"content-type": "application/json"}
                urllib.request.urlopen(urllib.request.Request(f"{address}/v1/events/batch", body, headers)).read()
            took = []
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                for _ in range(arguments.rounds):
                    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
                    page.goto(f"{address}/s/{events[0]['session_id']}", wait_until="commit")
                    took.append(page.evaluate(PAINTED))
                    page.context.close()
                browser.close()
            server.terminate()
    median = statistics.median(took)
    print(f"{len(events):,} events are on the screen after {median:.0f} ms ({min(took):.0f} to {max(took):.0f})")
    return 0 if median < GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
