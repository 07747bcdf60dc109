"""An exception as text: type and message, and a traceback that stays short however deep the stack was.

Invariant: the cost depends on the frames kept, not on those there are; neither function raises.
"""

from __future__ import annotations

from collections.abc import Callable
from linecache import getline
from types import FrameType, TracebackType
from typing import Any, TypeAlias

from honeytrace._context import NOTHING_KEPT, leave, variables
from honeytrace._diagnostics import is_door_code, is_interruption
from honeytrace._snapshot._types import type_name

__all__ = ["describe_error", "format_traceback"]

Scrub: TypeAlias = "Callable[..., str]"
"""(text, *, code=False) -> text without secrets; Snapshotter.scrub."""

_MESSAGE = 2_000
_CHARACTERS = 8_000
_HEAD, _TAIL = 8, 16
_FRAMES = 5_000
_LINE = 200
_CAUSES = 3


def _unchanged(text: str, *, code: bool = False) -> str:
    return text


def describe_error(error: BaseException, scrub: Scrub = _unchanged) -> str:
    """Say "TypeName: message" in at most some 2,000 characters, secrets taken out by `scrub`; never empty."""
    try:
        message = _message(error)
    except BaseException as failure:
        if is_interruption(failure):
            raise
        message = f"<its __str__ raised {type_name(failure)}>"
    if len(message) > _MESSAGE:
        message = f"{message[:_MESSAGE]} … [{len(message)} characters]"
    message = scrub(message)
    text = f"{type_name(error)}: {message}" if message else type_name(error)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _message(error: BaseException) -> str:
    """What the exception says of itself; what that runs is no part of the program's trace (see Snapshotter)."""
    tokens: list[Any] = []
    try:
        for variable in variables:
            tokens.append((variable, variable.set(NOTHING_KEPT)))
        return str.__str__(str(error))
    finally:
        for variable, token in tokens:
            try:
                variable.reset(token)
            except ValueError:
                leave(variable, token, NOTHING_KEPT)


def format_traceback(error: BaseException, scrub: Scrub = _unchanged) -> str:
    """Format the first and last frames, oldest first, then up to two causes; about 8,000 characters."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    reason = ""
    while current is not None and id(current) not in seen and len(seen) < _CAUSES:
        seen.add(id(current))
        try:
            parts.append(reason + _one(current, scrub))
        except Exception as failure:  # the stack may be full, a source file unreadable
            parts.append(f"{reason}<traceback lost: {type_name(failure)}>")
        for index, inner in enumerate(_members(current)[:_CAUSES], 1):
            parts.append(f"exception {index} of the group:\n{_one(inner, scrub)}")
        if current.__cause__ is not None:
            current, reason = current.__cause__, "caused by:\n"
        elif not current.__suppress_context__:
            current, reason = current.__context__, "raised while handling:\n"
        else:
            current = None
    return _bounded("\n".join(parts))


def _members(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of an exception group."""
    members = getattr(error, "exceptions", ())
    is_group = isinstance(members, tuple) and all(isinstance(member, BaseException) for member in members)
    return members if is_group and "Group" in type_name(error) else ()


def _one(error: BaseException, scrub: Scrub) -> str:
    frames, left_out = _frames(error.__traceback__)
    lines = [_describe_frame(frame, line, scrub) for frame, line in frames]
    if left_out:
        lines.insert(_HEAD, f"  … {left_out} frames left out …")
    lines.append(_bounded(describe_error(error, scrub), 1_000))
    return "\n".join(lines)


def _frames(traceback: TracebackType | None) -> tuple[list[tuple[FrameType, int]], str]:
    head: list[tuple[FrameType, int]] = []
    tail: list[tuple[FrameType, int]] = []
    count = 0
    while traceback is not None and count < _FRAMES:
        if is_door_code(traceback.tb_frame.f_code):  # a door: nobody's concern
            traceback = traceback.tb_next
            continue
        count += 1
        if len(head) < _HEAD:
            head.append((traceback.tb_frame, traceback.tb_lineno or 0))
        else:
            tail.append((traceback.tb_frame, traceback.tb_lineno or 0))
        traceback = traceback.tb_next
    missing = max(0, len(tail) - _TAIL)
    if not missing:
        return head + tail, ""
    return head + tail[-_TAIL:], f"{missing}{' or more' if traceback is not None else ''}"


def _describe_frame(frame: FrameType, line: int, scrub: Scrub) -> str:
    code = frame.f_code
    source = scrub(getline(code.co_filename, line, frame.f_globals).strip()[:_LINE], code=True)
    place = f'  File "{code.co_filename[-_LINE:]}", line {line}, in {code.co_name[:_LINE]}'
    return f"{place}\n    {source}" if source else place


def _bounded(text: str, size: int = _CHARACTERS) -> str:
    if len(text) <= size:
        return text
    return f"{text[: size // 2]}\n  … {len(text) - size} characters left out …\n{text[-(size // 2) :]}"
