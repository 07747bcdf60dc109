"""The honeytrace command: reads the local store and prints what is in it.

One function per command, registered in `_parser`; what a command needs is imported when it runs, so that each
starts fast. Exit codes: 0 done, 2 what was asked for does not exist or cannot be read.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from honeytrace.exceptions import HoneytraceError

if TYPE_CHECKING:
    from honeytrace._text import Look
    from honeytrace.exporters._store import SessionSummary, Store

__all__ = ["main"]

_EXAMPLES = """\
examples:
  honeytrace sessions              what was recorded, newest first
  honeytrace show                  the newest session as a tree
  honeytrace show 3f2a --full      one session by the beginning of its id, with all its data
  honeytrace show --json | jq .    the same for programs
  honeytrace tail                  watch programs as they run
"""

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


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help()
        return 0
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left; Python flushes stdout once more at exit and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except HoneytraceError as error:
        sys.stdout.flush()
        print(f"honeytrace: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="honeytrace",
        description="Read the traces that programs on this machine have recorded.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    sessions = _command(commands, "sessions", _sessions, "list sessions, newest first")
    sessions.add_argument("--limit", type=_positive, default=20, help="how many (default: 20)")
    sessions.add_argument("--json", action="store_true", help="one JSON array")

    show = _command(commands, "show", _show, "show a session as a tree")
    show.add_argument("session", nargs="?", metavar="SESSION", help="id or the beginning of one (default: newest)")
    show.add_argument("--full", action="store_true", help="with inputs, outputs, errors and metadata")
    show.add_argument("--json", action="store_true", help="one JSON document with all events")

    tail = _command(commands, "tail", _tail, "print calls as they finish, in any process")
    tail.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="stop after that long")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=f"{summary}.".capitalize())
    parser.add_argument("--store", metavar="PATH", help="the store's file (default: ~/.honeytrace/traces.db)")
    parser.set_defaults(run=run)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version  # 30 ms: only for who asks

        print(f"honeytrace {version('honeytrace')}")
        parser.exit()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _open(arguments: argparse.Namespace) -> Store:
    from honeytrace.exporters._store import Store

    return Store(arguments.store)


def _sessions(arguments: argparse.Namespace) -> int:
    """honeytrace sessions"""
    with _open(arguments) as store:
        found = store.sessions(arguments.limit)
        if arguments.json:
            from dataclasses import asdict

            _print_json([asdict(summary) for summary in found])
        elif found:
            _print_lines(_table(found, _look()))
        else:
            _print_lines(_FIRST_TRACE.format(path=store.path).splitlines())
    return 0


def _table(found: list[SessionSummary], look: Look) -> list[str]:
    from honeytrace import _text

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
    widths = [max(_text.columns(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
    room = max(10, look.width - sum(widths) - 2 * len(widths))
    styles = ["dim", "dim", "", "", "error", "", "bold"]
    lines = []
    for row in [head, *rows]:
        cells = []
        for column, width in enumerate(widths):
            gap = " " * (width - _text.columns(row[column]))
            cells.append(row[column] + gap if column < 2 else gap + row[column])
        cells.append(_text.cut(row[-1], room, look))
        painted = [
            _text.paint(cell, "dim" if row is head or cell.strip() == "-" else style, look)
            for cell, style in zip(cells, styles, strict=True)
        ]
        lines.append("  ".join(painted).rstrip())
    return lines


def _show(arguments: argparse.Namespace) -> int:
    """honeytrace show [SESSION]"""
    from honeytrace import _tree

    with _open(arguments) as store:
        session_id = store.newest() if arguments.session is None else arguments.session
        if session_id is None:
            _print_lines(_FIRST_TRACE.format(path=store.path).splitlines())
            return 0
        events = store.session(session_id)
    if arguments.json:
        from honeytrace._event import FIELDS

        contract = [{field: event[field] for field in FIELDS if field in event} for event in events]
        _print_json({"session_id": events[0]["session_id"], "events": contract})
        return 0
    look = _look()
    _print_lines(
        _tree.render(_tree.build(events), color=look.color, width=look.width, ascii=look.ascii, full=arguments.full)
    )
    return 0


def _tail(arguments: argparse.Namespace) -> int:
    """honeytrace tail"""
    from honeytrace.exporters.console import LiveTree

    end = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    live = LiveTree()
    with _open(arguments) as store:
        try:
            cursor = store.cursor()
            _print_lines([f"waiting for calls to finish in {store.path} (Ctrl-C ends)"])
            while True:
                before, (cursor, events) = cursor, store.changes_since(cursor)
                for event in events:
                    if event.get("event_type") == "session":
                        live.add_session(event)
                    else:
                        _print_lines(live.add(event, _look()))
                if cursor == before:
                    if end is not None and time.monotonic() >= end:
                        break
                    time.sleep(_POLL)
        except KeyboardInterrupt:
            pass
    _print_lines(live.rest(_look()))
    return 0


def _look() -> Look:
    from honeytrace._text import Look

    return Look.of(sys.stdout, os.environ)


def _print_lines(lines: list[str]) -> None:
    from honeytrace._text import encodable

    if lines:
        sys.stdout.write(encodable("".join(f"{line}\n" for line in lines), sys.stdout))
        sys.stdout.flush()


def _print_json(document: Any) -> None:
    import json

    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    sys.exit(main())
