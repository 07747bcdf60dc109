"""Real honeytrace processes, and programs that leave something for them to do."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

KEY = "hh_right_key"


def environment(**environ):
    """The test's own environment, made predictable; a name given as None is left out."""
    settings = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    settings |= {"TZ": "UTC", "PYTHONIOENCODING": "utf-8", **environ}
    return {name: str(value) for name, value in settings.items() if value is not None}


def run(*arguments, input=None, **environ):
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "honeytrace.cli", *map(str, arguments)],
        input=input,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env=environment(**environ),
    )


def to(server, key=KEY):
    """The environment that sends to a server."""
    return {"HH_API_KEY": key, "HH_API_URL": server.url}


PROGRAM = """
import os, sys, honeytrace
honeytrace.init()

@honeytrace.trace
def call(n, text=""):
    return n

def calls(count, name="chat"):
    with honeytrace.session(name) as session:
        for n in range(count):
            call(n)
    return session
"""


def program(code, **environ):
    """Run a traced program: `calls(n)` makes a session of n events. Its standard output, as lines."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        timeout=60,
        env=environment(**environ),
    )
    return done.stdout.splitlines()


def killed(count, **environ):
    """Run a program that makes so many events in one session, and is gone before it can deliver them."""
    program(f"calls({count}); os.kill(os.getpid(), 9)", **environ)
