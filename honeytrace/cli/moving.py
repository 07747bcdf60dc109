"""Commands that move sessions: push, export, import, prune. Ids never change, and each may be repeated."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from honeytrace import _config, _text
from honeytrace._event import Event
from honeytrace.cli.catching_up import catch_up
from honeytrace.cli.delivering import Courier, Tidings, hush
from honeytrace.cli.lines import from_line, to_line, to_records
from honeytrace.cli.printing import Progress, complain, plural, print_lines, size
from honeytrace.exceptions import ExportError, HoneytraceError
from honeytrace.exporters._prune import prune as prune_store
from honeytrace.exporters._store import Store, default_path

if TYPE_CHECKING:
    from honeytrace.exporters.honeyhive import HoneyHiveExporter
    from honeytrace.exporters.local import LocalExporter

__all__ = ["export", "load", "prune", "push"]

_AT_ONCE = 8_000_000
"""Bytes of events that a push keeps in memory."""

_LINES = 500
_REFUSALS_SHOWN = 20


def push(arguments: argparse.Namespace) -> int:
    """honeytrace push [SESSION...]"""
    if bool(arguments.sessions) + arguments.all + (arguments.since is not None) > 1:
        raise HoneytraceError("give sessions, --all or --since, one of them")
    settings = _config.load(api_key=arguments.api_key, server_url=arguments.server_url)
    if settings.api_key is None:
        raise HoneytraceError("push needs the key of a HoneyHive project: HH_API_KEY or --api-key")
    from honeytrace.exporters.honeyhive import HoneyHiveExporter

    exporter = HoneyHiveExporter(settings.api_key, settings.server_url)
    with Store(arguments.store) as store:
        catch_up(store.path)
        ids = _to_push(store, arguments)
        if not ids:
            print_lines([f"No sessions to push in {store.path}."])
            return 0
        courier = Courier(exporter)
        hush()
        try:
            sent, tidings = _push(store, ids, courier, arguments.timeout)
        finally:
            courier.close()
    for record, reason in courier.refused[:_REFUSALS_SHOWN]:
        complain(f"refused: {record.kind} {_text.visible(record.event_id)}: {_text.visible(reason)}")
    told = f"{plural(sent, 'session')} of {_text.count(len(ids))} pushed to {_host(exporter)}"
    told += f", {plural(tidings.delivered, 'event')}"
    if tidings.set_aside:
        told += f", {_text.count(tidings.set_aside)} refused"
    print_lines([told])
    if sent < len(ids):
        complain(f"honeytrace: not all of it arrived: {tidings.error or 'there was no time'}; repeat it at any time")
    return 0 if sent == len(ids) and tidings.ok else 1


def _host(exporter: HoneyHiveExporter) -> str:
    """The server of an exporter, without the fingerprint of the key."""
    return _text.visible(exporter.destination.rpartition("#")[0])


def _to_push(store: Store, arguments: argparse.Namespace) -> list[str]:
    if arguments.all:
        return store.session_ids()
    if arguments.since is not None:
        return store.session_ids(since=arguments.since)
    if arguments.sessions:
        return list(dict.fromkeys(store.find(session) for session in arguments.sessions))
    newest = store.newest()
    return [] if newest is None else [newest]


def _push(store: Store, ids: Sequence[str], courier: Courier, timeout: float | None) -> tuple[int, Tidings]:
    """Send sessions one behind the other; how many arrived whole, and what was counted."""
    end = None if timeout is None else time.monotonic() + timeout
    progress = Progress(f"sessions to {courier.journal.name}", "session")
    arrived = read = 0

    def deliver() -> bool:
        nonlocal arrived
        left = None if end is None else max(0.0, end - time.monotonic())
        now = courier.deliver(left, lambda now: progress.show(arrived, len(ids), now.error))
        if not (now.left or now.left_others):
            arrived = read
        progress.show(arrived, len(ids))
        return arrived == read

    try:
        for id in ids:
            for record in to_records(store.session(id)):
                if courier.journal.written - courier.journal.released > _AT_ONCE and not deliver():
                    return arrived, courier.tidings()
                courier.journal.append(*record)
            read += 1
        deliver()
    finally:
        progress.clear()
    return arrived, courier.tidings()


def export(arguments: argparse.Namespace) -> int:
    """honeytrace export [SESSION...]"""
    events = 0
    with Store(arguments.store) as store:
        catch_up(store.path)
        if arguments.sessions:
            ids = list(dict.fromkeys(store.find(session) for session in arguments.sessions))
        else:
            ids = store.session_ids()
        with _output(arguments.output) as output:
            for id in ids:
                lines = [to_line(event) for event in store.session(id) if "event_type" in event]
                output.write(b"".join(lines))
                events += len(lines)
            output.flush()
    if arguments.output not in (None, "-"):
        print_lines([f"{plural(len(ids), 'session')} exported to {arguments.output}, {plural(events, 'line')}."])
    elif not ids:
        complain(f"No sessions in {store.path}.")
    return 0


@contextlib.contextmanager
def _output(name: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that only its owner may read."""
    if name is None or name == "-":
        yield sys.stdout.buffer
        return
    with open(name, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        yield file


def load(arguments: argparse.Namespace) -> int:
    """honeytrace import FILE"""
    from honeytrace.exporters.local import LocalExporter

    exporter = LocalExporter(arguments.store)
    progress = Progress(arguments.file, "line")
    read = skipped = number = 0
    events: list[tuple[int, Event]] = []
    with contextlib.closing(exporter), _input(arguments.file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                read += 1
                try:
                    events.append((number, from_line(line)))
                except ValueError as error:
                    progress.clear()
                    skipped += _skip(number, str(error))
            if len(events) >= _LINES:
                skipped += _write(exporter, events)
                events = []
                progress.show(number, number)
        skipped += _write(exporter, events)
    progress.clear()
    told = f"{plural(read - skipped, 'event')} imported into {exporter.destination}"
    print_lines([f"{told}, {plural(skipped, 'line')} skipped." if skipped else f"{told}."])
    return 1 if skipped else 0


def _write(exporter: LocalExporter, events: Sequence[tuple[int, Event]]) -> int:
    """Write events to the store; how many it did not take."""
    if not events:
        return 0
    try:
        exporter.export([event for _, event in events], time.monotonic() + 30)
    except ExportError as error:
        if not error.permanent:
            raise
        if len(events) == 1:
            return _skip(events[0][0], str(error))
        middle = len(events) // 2
        return _write(exporter, events[:middle]) + _write(exporter, events[middle:])
    return 0


def _skip(number: int, reason: str) -> int:
    complain(f"line {number}: {_text.visible(reason)}: skipped")
    return 1


@contextlib.contextmanager
def _input(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


def prune(arguments: argparse.Namespace) -> int:
    """honeytrace prune --older-than AGE"""
    path = Path(arguments.store) if arguments.store is not None else default_path()
    catch_up(path)
    done = prune_store(path, (time.time() - arguments.older_than) * 1000, dry_run=arguments.dry_run)
    what = f"{plural(done.sessions, 'session')} with {plural(done.events, 'event')}"
    if not done.sessions:
        print_lines([f"Nothing in {path} is that old."])
    elif arguments.dry_run:
        print_lines([f"{what} would be deleted from {path}."])
    elif done.bytes is None:
        print_lines([f"{what} deleted from {path}; the file keeps its size for now, its free pages are used again."])
    else:
        print_lines([f"{what} deleted from {path}, {size(done.bytes)} freed."])
    return 0
