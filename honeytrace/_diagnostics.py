"""The one place that may swallow an exception, and where whatever went wrong is counted and said once.

Recording that may fail runs in `with guard("doing what"):`. The first failure of a kind is logged as a warning of
the logger `honeytrace`, with its traceback at DEBUG level; later ones are only counted.
"""

from __future__ import annotations

from collections import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from types import CodeType, TracebackType
    from typing import Any

    logger: logging.Logger

__all__ = [
    "DOOR_NAMES",
    "Throttle",
    "failed",
    "failures",
    "guard",
    "is_door_code",
    "is_interruption",
    "logger",
    "on_failure",
    "reset_failures",
    "warn_once",
]

DOOR_NAMES = "_ht_"
"""How names of ours begin in the code of a door; longer where a parameter of the function begins like that."""

_OF_A_DOOR = 10
"""Every door has more free names than that, all of them ours."""

failures: Counter[str] = Counter()
"""Internal failures so far, by what was being done."""

on_failure: list[BaseException] | None = None
"""Test support: when a list, every internal failure is appended to it. See honeytrace.testing."""

_said: set[str] = set()


def __getattr__(name: str) -> Any:
    """Make the logger when it is first needed: a program that does not log should not pay for logging."""
    if name == "logger":
        import logging

        # No handler: where nobody configured logging, Python writes warnings to stderr, and a loss should be seen.
        globals()["logger"] = made = logging.getLogger("honeytrace")
        return made
    raise AttributeError(name)


def _logger() -> logging.Logger:
    return globals().get("logger") or __getattr__("logger")  # type: ignore[no-any-return]


def failed(doing: str, error: BaseException) -> None:
    """Count an internal failure and log the first of its kind. Never raises an Exception."""
    try:
        failures[doing] += 1
        if on_failure is not None:
            on_failure.append(error)
        if failures[doing] == 1:
            _logger().warning("failed while %s: %s (further failures are only counted)", doing, type(error).__name__)
            _logger().debug("failed while %s", doing, exc_info=error)
    except Exception:  # a logging set-up that raises, or a stack that is already full
        return


def is_door_code(code: CodeType) -> bool:
    """Say whether this is the code of a door: by its free names, since its file name may be lost when it is pickled."""
    names = [name for name in code.co_freevars if name.startswith(DOOR_NAMES)]
    return len(names) > _OF_A_DOOR and names == [*code.co_freevars]


def is_interruption(error: BaseException) -> bool:
    """Say whether what code of the program raised while we ran it came from outside of that code, and must pass.

    That is KeyboardInterrupt, and what a signal handler raised, such as the SystemExit of a SIGTERM handler. Whatever
    else a `__repr__` or a hook raises is its own affair, an Exception or not.
    """
    if isinstance(error, KeyboardInterrupt):
        return True
    if isinstance(error, Exception):
        return False
    from signal import getsignal, valid_signals

    handlers = {id(_code_of(getsignal(number))) for number in valid_signals()}
    traceback = error.__traceback__
    while traceback is not None:
        if id(traceback.tb_frame.f_code) in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _code_of(handler: Any) -> object:
    handler = getattr(handler, "func", handler)
    return getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)


def warn_once(key: str, message: str, *args: object) -> None:
    """Log a warning the first time `key` is seen in this process."""
    if key not in _said:
        _said.add(key)
        try:
            _logger().warning(message, *args)
        except RecursionError:  # not said, then
            _said.discard(key)
            raise


def reset_failures() -> None:
    """Forget counts and what was said. For tests."""
    failures.clear()
    _said.clear()


class Throttle:
    """Says yes the first time, then at most once per interval of seconds. Time is an argument."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: float | None = None

    def due(self, now: float) -> bool:
        """Say whether it is time again; yes starts the next interval."""
        if self._next is not None and now < self._next:
            return False
        self._next = now + self._interval
        return True


class guard:
    """Swallow, count and log once any Exception of the block; KeyboardInterrupt and SystemExit pass.

    A class, not a generator-based context manager: that costs a microsecond more per use.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        failed(self._doing, error)
        return True
