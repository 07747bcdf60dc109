"""honeytrace dead-letters: what a destination refused for good, until somebody resends or discards it.

A letter is named by its event's id. Resending puts it into a journal on disk first and removes it from the file then,
so that it is in one place at least, whatever happens in between.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from honeytrace import _config, _text
from honeytrace._dead_letters import DeadLetter, DeadLetters
from honeytrace._folders import DestinationFolder, all_destinations
from honeytrace.cli.delivering import Courier, Unreachable, hush, journals_of, reach
from honeytrace.cli.printing import Progress, ago, look, plural, print_json, print_lines, table
from honeytrace.cli.states import name_of
from honeytrace.exceptions import HoneytraceError

__all__ = ["discard", "list_all", "resend", "show"]


@dataclass(frozen=True, slots=True)
class _Found:
    """The dead letters of one destination that were asked for."""

    folder: DestinationFolder
    letters: list[DeadLetter]


def list_all(arguments: argparse.Namespace) -> int:
    """honeytrace dead-letters [list]"""
    found = _all(journals_of(arguments.journal))
    if arguments.json:
        print_json([_as_json(one.folder, letter) for one in found for letter in one.letters])
        return 0
    if not found:
        print_lines(["No dead letters: nothing was refused for good."])
    for one in found:
        how = look()
        print_lines([_text.paint(_text.visible(name_of(one.folder)), "bold", how)])
        rows = [
            [
                _text.visible(letter.event.event_id[:8]),
                ago(letter.time),
                letter.event.kind,
                _text.cut(_text.visible(_title(letter)[:60]), 24, how),
                _text.visible(letter.reason),
            ]
            for letter in one.letters
        ]
        head = ["ID", "REFUSED", "KIND", "NAME", "REASON"]
        styles = ["dim", "dim", "", "bold", "error"]
        print_lines(table(head, rows, left=(0, 1, 2, 3), styles=styles, look=how))
    return 0


def show(arguments: argparse.Namespace) -> int:
    """honeytrace dead-letters show ID"""
    import json

    for one in _chosen(_all(journals_of(arguments.journal)), [arguments.id]):
        for letter in one.letters:
            print_lines(
                [
                    f"id           {_text.visible(letter.event.event_id)}",
                    f"destination  {_text.visible(name_of(one.folder))}",
                    f"kind         {letter.event.kind}",
                    f"refused      {ago(letter.time)}",
                    f"reason       {_text.visible(letter.reason)}",
                ]
            )
            fields = _fields(letter)
            body = json.dumps(fields, indent=2) if fields else _text.visible(repr(letter.event.body[:2000]))
            print_lines([*body.splitlines(), ""])
    return 0


def resend(arguments: argparse.Namespace) -> int:
    """honeytrace dead-letters resend [ID... | --all]"""
    journals = journals_of(arguments.journal)
    settings = _config.load(api_key=arguments.api_key, server_url=arguments.server_url)
    end = None if arguments.timeout is None else monotonic() + arguments.timeout
    found = _all(journals)
    if arguments.ids and not arguments.all:
        found = _chosen(found, arguments.ids)
    if not found:
        print_lines(["No dead letters: there is nothing to resend."])
    complete = True
    for one in found:
        name, count = _text.visible(name_of(one.folder)), plural(len(one.letters), "dead letter")
        try:
            exporter = reach(one.folder, journals, settings, other_keys=arguments.other_keys)
        except Unreachable as reason:
            print_lines([f"{name}: {count} left: {_text.visible(str(reason))}"])
            complete = False
            continue
        courier = Courier(exporter, one.folder)
        said, arrived = _resent(courier, one, None if end is None else max(0.0, end - monotonic()))
        print_lines([f"{name}: {said}"])
        complete = complete and arrived
    return 0 if complete else 1


def _resent(courier: Courier, one: _Found, timeout: float | None) -> tuple[str, bool]:
    """Queue letters and deliver; what happened in words, and whether all of them arrived."""
    hush()
    journal, file = courier.journal, DeadLetters(one.folder.dead_letters)
    progress = Progress(_text.visible(name_of(one.folder)), "record")
    try:
        queued = [letter for letter in one.letters if journal.append(*letter.event)]
        on_disk = not journal.in_memory()
        if on_disk:
            file.remove(queued)
        tidings = courier.deliver(
            timeout,
            lambda now: progress.show(now.done, now.done + now.left + now.left_others, now.error),
        )
    finally:
        progress.clear()
        courier.close()
    waiting = tidings.left + tidings.left_others
    if not on_disk:
        if waiting:
            return f"not delivered: {_text.visible(tidings.error or 'there was no time')}", False
        file.remove(queued)  # what was refused again is there again, as another letter
    return _outcome(one, queued, waiting, tidings.error)


def _outcome(one: _Found, queued: list[DeadLetter], waiting: int, error: str | None) -> tuple[str, bool]:
    """Say what became of letters that left the file."""
    events = {letter.event for letter in queued}
    again = sum(letter.event in events for letter in DeadLetters(one.folder.dead_letters).read())
    delivered, total = max(0, len(queued) - again - waiting), len(one.letters)
    parts = [f"{_text.count(delivered)} of {plural(total, 'dead letter')} delivered"]
    if again:
        parts.append(f"{_text.count(again)} refused again")
    if waiting:
        parts.append(f"{_text.count(waiting)} wait in the journal ({_text.visible(error or 'there was no time')})")
    if len(queued) < total:
        parts.append(f"{_text.count(total - len(queued))} did not fit into the journal")
    return ", ".join(parts), not (again or waiting) and len(queued) == total


def discard(arguments: argparse.Namespace) -> int:
    """honeytrace dead-letters discard ID... | --all"""
    if not arguments.ids and not arguments.all:
        raise HoneytraceError("say which: dead-letters discard ID..., or --all")
    found = _all(journals_of(arguments.journal))
    if not arguments.all:
        found = _chosen(found, arguments.ids)
    gone = sum(DeadLetters(one.folder.dead_letters).remove(one.letters) for one in found)
    print_lines([f"{plural(gone, 'dead letter')} discarded."])
    return 0


def _all(journals: Path) -> list[_Found]:
    found = [_Found(folder, DeadLetters(folder.dead_letters).read()) for folder in all_destinations(journals)]
    return [one for one in found if one.letters]


def _chosen(found: list[_Found], wanted: list[str]) -> list[_Found]:
    """Pick letters by the beginnings of ids; one event may have been refused more than once."""
    ids: set[str] = set()
    for prefix in wanted:
        matching = {letter.event.event_id for one in found for letter in one.letters} if prefix else set()
        matching = {prefix} & matching or {id for id in matching if id.startswith(prefix)}
        if not matching:
            raise HoneytraceError(f"no dead letter begins with {prefix!r}")
        if len(matching) > 1:
            raise HoneytraceError(f"{prefix!r} is ambiguous: it begins {', '.join(sorted(matching)[:5])}")
        ids |= matching
    picked = [_Found(one.folder, [letter for letter in one.letters if letter.event.event_id in ids]) for one in found]
    return [one for one in picked if one.letters]


def _as_json(folder: DestinationFolder, letter: DeadLetter) -> dict[str, Any]:
    about = folder.about()
    return {
        "id": letter.event.event_id,
        "exporter": about.get("exporter"),
        "destination": about.get("destination"),
        "kind": letter.event.kind,
        "name": _title(letter),
        "reason": letter.reason,
        "time": letter.time,
    }


def _title(letter: DeadLetter) -> str:
    fields = _fields(letter)
    return str(fields.get("event_name") or fields.get("session_name") or "-")


def _fields(letter: DeadLetter) -> dict[str, Any]:
    try:
        fields = letter.event.fields()
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
