"""honeytrace doctor: checks what delivery needs on this machine, a line each, with what to do about it.

A check never changes anything that stays, never prints a key, and never takes longer than its deadline.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson

from honeytrace import _config, _text
from honeytrace._config import Settings
from honeytrace.cli.delivering import journals_of
from honeytrace.cli.printing import look, plural, print_lines, size
from honeytrace.cli.states import all_states
from honeytrace.exceptions import ConfigError
from honeytrace.exporters._store import Store, StoreError, default_path

if TYPE_CHECKING:
    import httpx

    from honeytrace.exporters._http import Answer

__all__ = ["doctor"]

_SECONDS = 10.0
_SKEW = 5.0
_LITTLE, _TOO_LITTLE = 512_000_000, 16_000_000
_NAMED = 3
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class _Finding:
    """One line: what was looked at, what was found, and what to do unless it is ok."""

    level: Literal["ok", "warn", "fail"]
    what: str
    found: str
    todo: str = ""


def doctor(arguments: argparse.Namespace) -> int:
    """honeytrace doctor"""
    how = look()
    styles = {"ok": "tool", "warn": "note", "fail": "error"}
    failed = False
    for one in _findings(arguments):
        failed = failed or one.level == "fail"
        level = _text.paint(f"{one.level:4}", styles[one.level], how)
        lines = [f"{level}  {one.what:9} {_text.visible(one.found)}"]
        if one.todo:
            lines.append(f"{'':16}{'->' if how.ascii else '→'} {_text.visible(one.todo)}")
        print_lines(lines)
    return 1 if failed else 0


def _findings(arguments: argparse.Namespace) -> Iterator[_Finding]:
    yield _python()
    yield from _recording()
    settings = _config.load(api_key=arguments.api_key, server_url=arguments.server_url)
    yield _key(settings, arguments, os.environ)
    yield from _surroundings(os.environ)
    if settings.api_key is not None:
        yield from _server(settings, settings.api_key)
    try:
        journals = journals_of(arguments.journal)
        store = Path(arguments.store) if arguments.store is not None else default_path()
    except ConfigError as error:
        yield _Finding("fail", "home", str(error), "set HONEYTRACE_HOME to a folder that this user may write to")
        return
    yield from _disk("journal", journals)
    yield from _store(store, arguments.store is not None)
    yield from _waiting(journals)


def _python() -> _Finding:
    from importlib.metadata import version

    from honeytrace import __version__

    packages = ", ".join(f"{name} {version(name)}" for name in ("httpx", "orjson", "wrapt"))
    found = f"{sys.version.split()[0]} ({sys.executable}), honeytrace {__version__}, {packages}"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return _Finding("fail", "python", f"{found}, without the GIL", "use a Python with the GIL: PYTHON_GIL=1")
    return _Finding("ok", "python", found)


def _recording() -> Iterator[_Finding]:
    if not _config.load().enabled:
        yield _Finding("warn", "recording", "HH_DISABLE_TRACING turns it off", "unset HH_DISABLE_TRACING")


def _key(settings: Settings, arguments: argparse.Namespace, environ: Mapping[str, str]) -> _Finding:
    if settings.api_key is None:
        return _Finding("ok", "key", "none: programs write to the local store; HH_API_KEY sends to HoneyHive")
    names = ("HH_INGESTION_API_KEY", "HH_API_KEY")
    source = "--api-key" if arguments.api_key else next(name for name in names if environ.get(name))
    others = [name for name in names if environ.get(name) and name != source]
    if others and source != "--api-key":
        source += f", which wins over {others[0]}"
    return _Finding("ok", "key", f"{_kind(settings.api_key)} key from {source}")


def _kind(key: str) -> str:
    if key.startswith("hh_ingst_"):
        return "an ingestion"
    return "a project" if key.startswith("hh_") else "some other"


def _surroundings(environ: Mapping[str, str]) -> Iterator[_Finding]:
    """Name what changes the way to the server; the values may hold passwords."""
    proxies = [name for upper in _PROXIES for name in (upper, upper.lower()) if environ.get(name)]
    if proxies:
        yield _Finding("ok", "proxy", f"settings in force: {', '.join(proxies)}")
    for name in _CERTIFICATES:
        value = environ.get(name)
        if value and not Path(value).exists():
            yield _Finding("fail", "proxy", f"{name} names what is not there", f"correct or unset {name}")


def _server(settings: Settings, key: str) -> Iterator[_Finding]:
    """Ask for an event that cannot exist: 404 says that the key was accepted."""
    from honeytrace.exporters.honeyhive import HoneyHiveExporter

    try:
        host = HoneyHiveExporter(key, settings.server_url).destination.rpartition("#")[0]
    except ConfigError as error:
        yield _Finding("fail", "server", str(error), "correct HH_API_URL, HH_API_KEY or the option")
        return
    began = time.monotonic()
    answer, date, problem = _ask(host, key)
    seconds = time.monotonic() - began
    if answer is None:
        todo = "is the address right, is a firewall or a proxy in the way? What is recorded meanwhile is kept"
        yield _Finding("fail", "server", f"{host} gives no answer: {problem}", todo)
        return
    yield _Finding("ok", "server", f"{host} answers, in {seconds:.1f} s")
    yield _accepted(answer.status, key, _speaks_the_contract(answer.body))
    if date is not None:
        yield _clock(date)


def _ask(host: str, key: str) -> tuple[Answer | None, str | None, str]:
    """Make the request: its answer, the server's Date, and what went wrong."""
    import uuid

    import httpx

    from honeytrace.exporters._http import Http, NoAnswer

    dates: list[str | None] = []

    def note_date(response: httpx.Response) -> None:
        dates.append(response.headers.get("date"))

    headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}
    url = f"{host}/v1/events/{uuid.uuid4()}"
    try:
        with httpx.Client(event_hooks={"response": [note_date]}, verify=host.startswith("https:")) as client:
            http = Http(client=client, transport=None, verify=True)
            answer = http.send("GET", url, headers, b"", deadline=time.monotonic() + _SECONDS)
    except NoAnswer as error:
        return None, None, str(error)
    except (OSError, ValueError, ImportError) as error:  # certificates or a proxy that httpx cannot use
        return None, None, f"{type(error).__name__} while opening a connection"
    return answer, dates[-1] if dates else None, ""


def _speaks_the_contract(body: bytes) -> bool:
    """Whether an answer is one of the contract's: anything may listen behind an address."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(answer, dict) and bool({"event", "success", "statusCode"} & answer.keys())


def _accepted(status: int, key: str, known: bool) -> _Finding:
    if not known and (status == 404 or 200 <= status < 300):
        text = f"answers, but not as the contract says (HTTP {status})"
        return _Finding("fail", "server", text, "is this the address of a HoneyHive server, without /v1 at its end?")
    if status == 401:
        return _Finding("fail", "key", "refused by the server (HTTP 401)", "is it this server's key? Make another one")
    if status == 403 and key.startswith("hh_ingst_"):
        return _Finding("ok", "key", "known to the server; an ingestion key may write and not read (HTTP 403)")
    if status == 403:
        return _Finding(
            "fail", "key", "may not do this (HTTP 403)", "use a key of the project, or give this one rights"
        )
    if status == 404 or 200 <= status < 300:
        return _Finding("ok", "key", "accepted by the server")
    if status == 429 or status >= 500:
        return _Finding("warn", "key", f"the server is in trouble (HTTP {status})", "try again later; nothing is lost")
    return _Finding(
        "warn", "key", f"cannot be checked: HTTP {status}", "is HH_API_URL the address of a HoneyHive server?"
    )


def _clock(date: str) -> _Finding:
    from email.utils import parsedate_to_datetime

    try:
        skew = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return _Finding("warn", "clock", "the server's Date cannot be read", "compare this machine's clock yourself")
    if abs(skew) > _SKEW:
        found = f"{abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
        return _Finding("warn", "clock", found, "set this machine's clock (NTP): events carry its times")
    return _Finding("ok", "clock", "agrees with the server's")


def _disk(what: str, folder: Path) -> Iterator[_Finding]:
    """Do in a folder what a journal does there, and take it away again."""
    todo = "set HONEYTRACE_HOME to a folder on a local disk; until then a killed program loses what was not sent"
    try:
        there = _nearest(folder)
        with tempfile.TemporaryDirectory(prefix=".honeytrace-", dir=there) as trial:
            problem = _try_journal(Path(trial) / "trial")
    except OSError as error:
        yield _Finding("fail", what, f"{folder} cannot be written: {error.strerror}", todo)
        return
    if problem is not None:
        yield _Finding("fail", what, f"{folder}: {problem}", todo)
        return
    yield _Finding("ok", what, f"{folder} is writable, with locks and reserved space")
    free = shutil.disk_usage(there).free
    level: Literal["ok", "warn", "fail"] = "fail" if free < _TOO_LITTLE else "warn" if free < _LITTLE else "ok"
    todo = "" if level == "ok" else "make room: honeytrace prune --older-than 30d; a journal may take 256 MB"
    yield _Finding(level, "disk", f"{size(free)} free", todo)


def _nearest(folder: Path) -> Path:
    """What is there of a path.

    Raises:
        OSError: it cannot be looked at.
    """
    for path in (folder, *folder.parents):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return path
    return folder


def _try_journal(path: Path) -> str | None:
    try:
        import fcntl
    except ImportError:
        return "this system has no file locks"
    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return f"files cannot be locked here ({error.strerror})"
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, 1 << 16)
            except OSError as error:
                return f"space cannot be reserved here ({error.strerror})"
    return None


def _store(path: Path, named: bool) -> Iterator[_Finding]:
    """Look into the store, and try what SQLite does beside its file."""
    todo = "name another file with --store" if named else "set HONEYTRACE_HOME to a folder that this user may write to"
    todo += "; until then programs cannot store what they record there"
    exists = False
    try:
        exists = _nearest(path) == path
        if exists and not path.is_file():
            yield _Finding("fail", "store", f"{path} is no file", todo)
            return
        with tempfile.TemporaryDirectory(prefix=".honeytrace-", dir=_nearest(path.parent)):
            pass
    except OSError as error:
        problem = f"{path} cannot be {'written' if exists else 'made'}: {error.strerror}"
        yield _Finding("fail", "store", problem, todo)
        return
    if not exists:
        yield _Finding("ok", "store", f"{path} is not there yet: the first program that writes makes it")
        return
    try:
        with Store(path) as store:
            count, waiting = len(store.session_ids()), store.waiting()
    except StoreError as error:
        yield _Finding("fail", "store", str(error), "upgrade honeytrace, or move the file away to start a fresh one")
        return
    if not os.access(path, os.W_OK):
        yield _Finding("fail", "store", f"{path} cannot be written", f"give yourself the rights to it, or {todo}")
        return
    yield _Finding("ok", "store", f"{path}: {plural(count, 'session')}, {size(path.stat().st_size)}")
    if waiting:
        ids = ", ".join(waiting[:_NAMED]) + (", ..." if len(waiting) > _NAMED else "")
        found = f"{plural(len(waiting), 'event')} updated that nobody has recorded: {ids}"
        yield _Finding("warn", "store", found, "is the id given to update_event right? The update waits for its event")


def _waiting(journals: Path) -> Iterator[_Finding]:
    quiet = True
    for one in all_states(journals):
        left = sum(writer.events + writer.others for writer in one.orphans)
        damaged = sum(writer.damaged for writer in one.writers)
        if left:
            found = f"{plural(left, 'record')} left behind for {one.name}"
            yield _Finding("warn", "journal", found, "honeytrace flush")
        if damaged:
            found = f"{plural(damaged, 'place')} cannot be read, for {one.name}"
            yield _Finding("warn", "journal", found, "what is whole is delivered; is the disk sound?")
        if one.dead_letters:
            found = f"{plural(len(one.dead_letters), 'dead letter')} of {one.name}: {one.dead_letters[-1].reason}"
            yield _Finding("warn", "journal", found, "honeytrace dead-letters")
        quiet = quiet and not (left or damaged or one.dead_letters)
    if quiet:
        yield _Finding("ok", "journal", "nothing left behind, nothing refused")
