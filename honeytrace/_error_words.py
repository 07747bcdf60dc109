"""What an exporter raised, in one line for logs, results and dead letters: what kind of exception, and where.

The exporter may be the user's, and the words of an exception may hold a key or a password in any form: only those that
are meant to be shown (an ExportError's, the system's own) are. Where it was raised tells the rest.
"""

from __future__ import annotations

from types import TracebackType

from honeytrace._diagnostics import is_interruption
from honeytrace._scrub import scrub
from honeytrace._secret_names import SecretNames
from honeytrace.exceptions import ExportError

__all__ = ["describe"]

_LONGEST = 500
_PATH = 200
_SECRETS = SecretNames()


def describe(error: BaseException, *, where: bool = True) -> str:
    """Say what went wrong, and `where`; an ExportError in its own words alone. Never raises an Exception."""
    name = _in_one_line(type(error).__name__)
    try:
        text = scrub(_in_one_line(_words(error)), _SECRETS.is_secret)
    except BaseException as problem:
        if is_interruption(problem):
            raise
        text = f"its __str__ raised {type(problem).__name__}"
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    if isinstance(error, ExportError):
        return text or name
    return (f"{name}: {text}" if text else name) + (_place(error.__traceback__) if where else "")


def _words(error: BaseException) -> str:
    if isinstance(error, ExportError):
        return str(error)
    return str(error.strerror or "") if isinstance(error, OSError) else ""


def _in_one_line(text: str) -> str:
    """The words, harmless to a terminal; cut, but not where a secret could lose the form that tells it."""
    return "".join(letter if letter.isprintable() else " " for letter in text[: 20 * _LONGEST])


def _place(traceback: TracebackType | None) -> str:
    """Where it was raised, and the line of the exporter that led there: the first below our own."""
    inner, outer = traceback, None
    while inner is not None and inner.tb_next is not None:
        inner = inner.tb_next
        outer = outer or inner
    if inner is None or outer is None:  # raised by us, or by what has no frame
        return ""
    place = f", raised at {_line(inner)}"
    same = inner.tb_frame.f_code.co_filename == outer.tb_frame.f_code.co_filename
    return place if same else f"{place}, called from {_line(outer)}"


def _line(traceback: TracebackType) -> str:
    code = traceback.tb_frame.f_code
    return f"{code.co_filename[-_PATH:]}:{traceback.tb_lineno} in {code.co_name[:_PATH]}"
