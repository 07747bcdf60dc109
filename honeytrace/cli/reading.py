"""Commands that read the local store: sessions, show, tail.

What programs that were killed left for the store is delivered to it first, so that their last calls are there too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

from honeytrace import _text
from honeytrace._event import FIELDS
from honeytrace._text import Look
from honeytrace.cli.catching_up import catch_up
from honeytrace.cli.printing import complain, look, print_json, print_lines, table
from honeytrace.exporters._store import SessionSummary, Store
from honeytrace.exporters._wanted import Wanted

__all__ = ["sessions", "show", "tail"]

_FIRST_TRACE = """\
No sessions in {path} yet. To make a first one, save this as hello.py and run it:

    import honeytrace

    honeytrace.init()

    @honeytrace.trace
    def greet(name):
        return f"hello {{name}}"

    greet("world")

Then: honeytrace show"""

_POLL = 0.2  # seconds between two looks at the store
_CATCH_UP = 2.0  # seconds between two looks for what killed programs left


def sessions(arguments: argparse.Namespace) -> int:
    """honeytrace sessions"""
    with Store(arguments.store) as store:
        catch_up(store.path)
        wanted = _wanted(arguments)
        found = store.sessions_with(wanted, arguments.limit) if wanted else store.sessions(arguments.limit)
        if arguments.json:
            from dataclasses import asdict

            print_json([asdict(summary) for summary in found])
        elif found:
            print_lines(_table(found, look()))
        elif wanted and store.newest() is not None:
            print_lines([f"No session in {store.path} passes these filters."])
        else:
            print_lines(_FIRST_TRACE.format(path=store.path).splitlines())
    return 0


def _wanted(arguments: argparse.Namespace) -> Wanted:
    """What the filters ask for; one that is empty, such as a shell variable that is not set, asks for nothing."""
    holds = None
    if arguments.search and arguments.search.strip():
        from honeytrace.server.words import finder

        holds = finder(arguments.search)
    return Wanted(
        name=arguments.name or None,
        source=arguments.source or None,
        user=arguments.user or None,
        error=arguments.error,
        since=arguments.since,
        holds=holds,
    )


def _table(found: list[SessionSummary], look: Look) -> list[str]:
    head = ["ID", "STARTED", "DURATION", "EVENTS", "ERRORS", "TOKENS", "NAME"]
    rows = [
        [
            _text.visible(one.session_id[:8]),
            _text.clock(one.start_time, "%Y-%m-%d %H:%M:%S"),
            _text.duration(one.duration, look),
            _text.count(one.events),
            _text.count(one.errors) if one.errors else "-",
            _text.count(one.tokens) if one.tokens else "-",
            _text.visible(one.name[:200]),
        ]
        for one in found
    ]
    return table(head, rows, left=(0, 1), styles=["dim", "dim", "", "", "error", "", "bold"], look=look)


def show(arguments: argparse.Namespace) -> int:
    """honeytrace show [SESSION]"""
    from honeytrace import _tree

    with Store(arguments.store) as store:
        catch_up(store.path)
        session_id = store.newest() if arguments.session is None else arguments.session
        if session_id is None:
            print_lines(_FIRST_TRACE.format(path=store.path).splitlines())
            return 0
        events = store.session(session_id)
    if arguments.json:
        print_json({"session_id": events[0]["session_id"], "events": [_of_contract(event) for event in events]})
        return 0
    how = look()
    print_lines(
        _tree.render(_tree.build(events), color=how.color, width=how.width, ascii=how.ascii, full=arguments.full)
    )
    return 0


def _of_contract(event: Mapping[str, Any]) -> dict[str, Any]:
    return {field: event[field] for field in FIELDS if field in event}


def tail(arguments: argparse.Namespace) -> int:
    """honeytrace tail"""
    from honeytrace.exporters.console import LiveTree

    end = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    live = LiveTree()
    with Store(arguments.store) as store:
        try:
            catch_up(store.path)
            caught_up = time.monotonic()
            cursor = store.cursor()
            waiting = f"waiting for calls to finish in {store.path} (Ctrl-C ends)"
            complain(waiting) if arguments.json else print_lines([waiting])
            while True:
                if time.monotonic() - caught_up > _CATCH_UP:
                    catch_up(store.path)
                    caught_up = time.monotonic()
                before, (cursor, events) = cursor, store.changes_since(cursor)
                for event in events:
                    if arguments.json:
                        print_lines([json.dumps(_of_contract(event))])
                    elif event.get("event_type") == "session":
                        live.add_session(event)
                    else:
                        print_lines(live.add(event, look()))
                if cursor == before:
                    if end is not None and time.monotonic() >= end:
                        break
                    time.sleep(_POLL)
        except KeyboardInterrupt:
            pass
    print_lines(live.rest(look()))
    return 0
