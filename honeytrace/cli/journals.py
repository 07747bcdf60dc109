"""Commands about what is on its way: status, flush."""

from __future__ import annotations

import argparse
from time import monotonic
from typing import Any

from honeytrace import _config, _text
from honeytrace.cli.delivering import Courier, Tidings, Unreachable, hush, journals_of, reach
from honeytrace.cli.printing import Progress, ago, look, plural, print_json, print_lines, size
from honeytrace.cli.states import Destination, Waiting, all_states
from honeytrace.protocols import Exporter

__all__ = ["flush", "said_of", "status"]


def status(arguments: argparse.Namespace) -> int:
    """honeytrace status"""
    journals = journals_of(arguments.journal)
    found = all_states(journals)
    if arguments.json:
        print_json([_as_json(one) for one in found])
    elif not found:
        print_lines([f"Nothing is waiting: there are no journals in {journals}."])
    for one in [] if arguments.json else found:
        print_lines(_described(one))
    return 0


def _as_json(one: Destination) -> dict[str, Any]:
    about = one.folder.about()
    return {
        "exporter": about.get("exporter"),
        "destination": about.get("destination"),
        "path": str(one.folder.path),
        "bytes": sum(writer.bytes for writer in one.writers),
        "waiting": {"events": _events(one.writers), "others": _others(one.writers)},
        "left_behind": {"events": _events(one.orphans), "others": _others(one.orphans)},
        "damaged": sum(writer.damaged for writer in one.writers),
        "writers": [
            {
                "process": writer.process,
                "alive": writer.alive,
                "path": str(writer.path),
                "bytes": writer.bytes,
                "events": writer.events,
                "others": writer.others,
            }
            for writer in one.writers
        ],
        "dead_letters": len(one.dead_letters),
        "last_error": one.last_error[0] if one.last_error else None,
    }


def _described(one: Destination) -> list[str]:
    how = look()
    arrow = "->" if how.ascii else "→"
    files = sum(writer.files for writer in one.writers)
    waiting = _amount(_events(one.writers), _others(one.writers)) if files else "nothing"
    if files:
        waiting += f" in {plural(files, 'file')}, {size(sum(writer.bytes for writer in one.writers))}"
    lines = [_text.paint(_text.visible(one.name), "bold", how), f"  waiting       {waiting}"]
    for writer in one.live:
        lines.append(f"  live          process {writer.process}: {_amount(writer.events, writer.others)}")
    for writer in one.orphans:
        what = f"process {writer.process}: {_amount(writer.events, writer.others)}"
        lines.append("  " + _text.paint("left behind", "note", how) + f"   {what}  {arrow} honeytrace flush")
    damaged = sum(writer.damaged for writer in one.writers)
    if damaged:
        lines.append("  " + _text.paint("damaged", "error", how) + f"       {plural(damaged, 'place')} cannot be read")
    if one.dead_letters:
        count = _text.count(len(one.dead_letters))
        lines.append("  " + _text.paint("dead letters", "error", how) + f"  {count}  {arrow} honeytrace dead-letters")
    if one.last_error:
        text, when = one.last_error
        lines.append(f"  last error    {ago(when)}  {_text.visible(text)}")
    return lines


def _events(writers: list[Waiting]) -> int:
    return sum(writer.events for writer in writers)


def _others(writers: list[Waiting]) -> int:
    return sum(writer.others for writer in writers)


def _amount(events: int, others: int) -> str:
    """Count for people: other records are sessions and updates, which are rarely what they look for."""
    if not others:
        return plural(events, "event")
    rest = "other record" if events else "session or update record"
    return f"{plural(events, 'event')} and {plural(others, rest)}" if events else plural(others, rest)


def flush(arguments: argparse.Namespace) -> int:
    """honeytrace flush"""
    journals = journals_of(arguments.journal)
    settings = _config.load(api_key=arguments.api_key, server_url=arguments.server_url)
    end = None if arguments.timeout is None else monotonic() + arguments.timeout
    found = all_states(journals)
    complete = True
    said = False
    for one in found:
        if not one.orphans:
            continue
        amount = _amount(_events(one.orphans), _others(one.orphans))
        empty = not (_events(one.orphans) or _others(one.orphans))
        try:
            exporter = reach(one.folder, journals, settings, other_keys=arguments.other_keys)
        except Unreachable as reason:
            if not empty:
                print_lines([f"{_text.visible(one.name)}: {amount} left: {_text.visible(str(reason))}"])
                complete, said = False, True
            continue
        tidings = _deliver(one, exporter, None if end is None else max(0.0, end - monotonic()))
        if not empty or not tidings.ok:
            print_lines([f"{_text.visible(one.name)}: {said_of(tidings)}"])
            said = True
        complete = complete and tidings.ok
    live = [writer for one in found for writer in one.live]
    if _events(live) or _others(live):
        rest = _amount(_events(live), _others(live))
        print_lines([f"{rest} in the hands of live processes, which deliver them."])
    elif not said:
        print_lines([f"Nothing was left behind in {journals}."])
    return 0 if complete else 1


def _deliver(one: Destination, exporter: Exporter, timeout: float | None) -> Tidings:
    hush()
    expected = _events(one.orphans) + _others(one.orphans)
    progress = Progress(_text.visible(one.name))
    courier = Courier(exporter, one.folder)
    try:
        return courier.deliver(
            timeout,
            lambda now: progress.show(now.done, max(expected, now.done + now.left + now.left_others), now.error),
        )
    finally:
        progress.clear()
        courier.close()


def said_of(tidings: Tidings) -> str:
    """Say in one line what became of a delivery."""
    parts = [f"{_amount(tidings.delivered, tidings.delivered_others)} delivered"]
    if tidings.left or tidings.left_others:
        reason = tidings.error or "there was no time"
        parts.append(f"{_amount(tidings.left, tidings.left_others)} left ({_text.visible(reason)})")
    if tidings.set_aside:
        parts.append(f"{_text.count(tidings.set_aside)} refused (see: honeytrace dead-letters)")
    if tidings.damaged:
        parts.append(f"{_text.count(tidings.damaged)} damaged and lost")
    return ", ".join(parts)
