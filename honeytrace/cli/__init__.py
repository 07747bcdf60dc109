"""The honeytrace command: what programs on this machine have recorded, and where it is on its way.

This file knows the words of the command line; each command is a function of a module beside it, imported when it
runs, so that each starts fast. Exit codes: 0 done; 1 not all of it was done (something is left, was refused or
skipped, a check failed); 2 what was asked for does not exist or cannot be read; 130 ended by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

from honeytrace.exceptions import HoneytraceError
from honeytrace.server.command import add_arguments

__all__ = ["main"]

_EXAMPLES = """\
examples:
  honeytrace sessions              what was recorded, newest first
  honeytrace sessions --error --since 2h
  honeytrace show                  the newest session as a tree
  honeytrace show 3f2a --full      one session by the beginning of its id, with all its data
  honeytrace show --json | jq .    the same for programs
  honeytrace tail                  watch programs as they run
  honeytrace serve                 look at traces in the browser, and receive them over HTTP
  honeytrace status                what is not delivered yet, and why
  honeytrace flush                 deliver what programs that have ended left behind
  honeytrace push --all            send the sessions of the local store to HoneyHive
  honeytrace prune --older-than 30d

exit codes: 0 done; 1 something is left, was refused or skipped, or a check failed;
            2 what was asked for does not exist or cannot be read
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help()
        return 0
    from importlib import import_module

    module, _, function = arguments.run.partition(":")
    try:
        package = "honeytrace" if "." in module else "honeytrace.cli"
        code: int = getattr(import_module(f"{package}.{module}"), function)(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left; Python flushes stdout once more at exit and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (HoneytraceError, OSError) as error:
        sys.stdout.flush()
        print(f"honeytrace: {_in_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="honeytrace",
        description="Read the traces that programs on this machine have recorded, and see to their delivery.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_reading(commands)
    _add_delivery(commands)
    _add_dead_letters(commands)
    _add_moving(commands)
    serving = _command(commands, "serve", "server.command:run", "serve the store, and a page to look at it")
    _takes_store(serving)
    add_arguments(serving)
    doctor = _command(commands, "doctor", "doctor:doctor", "check the set-up and say what to do; 1 if something fails")
    _takes_store(doctor)
    _takes_journals(doctor)
    _takes_server(doctor)
    return parser


def _add_reading(commands: Any) -> None:
    sessions = _command(commands, "sessions", "reading:sessions", "list sessions, newest first", _FILTERS)
    sessions.add_argument("--name", help="with an event of that name, or of that name themselves")
    sessions.add_argument("--source", help="from there, such as prod")
    sessions.add_argument("--user", help="of that user: user_properties.user_id")
    sessions.add_argument("--error", action="store_true", help="only those in which something failed")
    sessions.add_argument(
        "--since", type=_since, metavar="WHEN", help="started within the last 2h, 3d, ... or since a date"
    )
    sessions.add_argument(
        "--search", metavar="TEXT", help='with all these words in inputs, outputs or error; "in quotes": a phrase'
    )
    sessions.add_argument("--limit", type=_positive, default=20, help="how many (default: 20)")
    sessions.add_argument("--json", action="store_true", help="one JSON array")

    show = _command(commands, "show", "reading:show", "show a session as a tree")
    show.add_argument("session", nargs="?", metavar="SESSION", help="id or the beginning of one (default: newest)")
    show.add_argument("--full", action="store_true", help="with inputs, outputs, errors and metadata")
    show.add_argument("--json", action="store_true", help="one JSON document with all events")

    tail = _command(commands, "tail", "reading:tail", "print calls as they finish, in any process")
    tail.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="stop after that long")
    tail.add_argument("--json", action="store_true", help="one event a line")
    for parser in (sessions, show, tail):
        _takes_store(parser)


def _add_delivery(commands: Any) -> None:
    status = _command(commands, "status", "journals:status", "say what waits for delivery, and what was refused")
    status.add_argument("--json", action="store_true", help="one JSON array, a destination each")
    _takes_journals(status)

    flush = _command(
        commands, "flush", "journals:flush", "deliver what programs that have ended left behind; 1 if something is left"
    )
    _takes_journals(flush)
    _delivers(flush)


def _add_dead_letters(commands: Any) -> None:
    letters = _command(commands, "dead-letters", "letters:list_all", "list, show, resend or discard what was refused")
    letters.add_argument("--json", action="store_true", help="one JSON array")
    _takes_journals(letters)
    what = letters.add_subparsers(title="what to do with them (default: list)", metavar="ACTION")

    listing = _command(what, "list", "letters:list_all", "list what was refused for good")
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON array")
    one = _command(what, "show", "letters:show", "show one with the reason and all its data")
    one.add_argument("id", metavar="ID", help="id or the beginning of one")
    resend = _command(what, "resend", "letters:resend", "queue them once more and deliver; 1 if not all arrived")
    _delivers(resend)
    discard = _command(what, "discard", "letters:discard", "remove them for ever")
    for parser in (resend, discard):
        parser.add_argument("ids", nargs="*", metavar="ID", help="id or the beginning of one")
        parser.add_argument("--all", action="store_true", help="all of them")
    for parser in (listing, one, resend, discard):
        _takes_journals(parser, default=argparse.SUPPRESS)


def _add_moving(commands: Any) -> None:
    push = _command(commands, "push", "moving:push", "send sessions of the local store to HoneyHive, ids unchanged")
    _takes_sessions(push, "id or the beginning of one (default: newest)")
    push.add_argument("--all", action="store_true", help="every session")
    push.add_argument(
        "--since", type=_since, metavar="WHEN", help="sessions active within the last 30m, 12h, 7d, ... or since a date"
    )
    _takes_server(push)
    _takes_timeout(push)

    export = _command(commands, "export", "moving:export", "write sessions as JSON Lines, one event per line")
    _takes_sessions(export, "id or the beginning of one (default: all)")
    export.add_argument("-o", "--output", metavar="FILE", help="a file (default: standard output)")

    load = _command(
        commands, "import", "moving:load", "read JSON Lines into the local store; 1 if a line was no valid event"
    )
    load.add_argument("file", metavar="FILE", help="a file, or - for standard input")

    prune = _command(commands, "prune", "moving:prune", "delete sessions of the local store that ended long ago")
    prune.add_argument("--older-than", type=_age, required=True, metavar="AGE", help="30d; also s, m, h, w")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    for parser in (push, export, load, prune):
        _takes_store(parser)


_FILTERS = "With several filters, one event must pass all of them; user and source may be said by the session instead."


def _command(commands: Any, name: str, run: str, summary: str, more: str = "") -> argparse.ArgumentParser:
    """Add a command; `run` is module:function, beside this file unless it has a dot."""
    description = f"{summary[:1].upper()}{summary[1:]}. {more}".rstrip()
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(run=run)
    return parser


def _takes_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", metavar="PATH", help="the store's file (default: ~/.honeytrace/traces.db)")


def _takes_journals(parser: argparse.ArgumentParser, default: Any = None) -> None:
    parser.add_argument(
        "--journal", metavar="PATH", default=default, help="the folder of journals (default: ~/.honeytrace/journal)"
    )


def _takes_sessions(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("sessions", nargs="*", metavar="SESSION", help=help)


def _takes_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api-key", metavar="KEY", help="better in the environment: HH_API_KEY")
    parser.add_argument("--server-url", metavar="URL", help="default: HH_API_URL, or HoneyHive")


def _takes_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="give up after that long (default: when nothing has arrived for 10 s and an attempt has failed)",
    )


def _delivers(parser: argparse.ArgumentParser) -> None:
    _takes_server(parser)
    parser.add_argument(
        "--other-keys",
        action="store_true",
        help="deliver with this key also what was recorded for the same server with another one",
    )
    _takes_timeout(parser)


class _Version(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version  # 30 ms: only for who asks

        print(f"honeytrace {version('honeytrace')}")
        parser.exit()


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 up, not {text!r}")
    return seconds


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _age(text: str) -> float:
    """Read an age such as 30d, in seconds."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"must be a number with s, m, h, d or w, like 30d, not {text!r}")
    return float(int(number) * _UNITS[unit])


def _since(text: str) -> float:
    """Read an age such as 2h, or a local date and time in ISO 8601, in Unix milliseconds."""
    from datetime import datetime

    try:
        return (time.time() - _age(text)) * 1000
    except (argparse.ArgumentTypeError, OverflowError):
        pass
    try:
        iso = text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text  # Python 3.10 knows no Z
        return datetime.fromisoformat(iso).timestamp() * 1000
    except (ValueError, OverflowError, OSError):
        expected = "an age like 2h or 3d, or a date like 2026-01-31 or 2026-01-31T18:00"
        raise argparse.ArgumentTypeError(f"must be {expected}, not {text!r}") from None
