"""Secrets out, before anything is written anywhere.

`SecretNames` knows a secret by the name it goes under; the snapshot replaces what it points at. The markers
say it in a signature instead: `Annotated[str, Redact]`, also `Omit`, `Hash` and `Truncate(n)`. Everything
here fails closed: what cannot be decided is a secret.
"""

from __future__ import annotations

import re
import typing
from types import SimpleNamespace
from typing import Any, TypeAlias

from honeytrace._diagnostics import failed
from honeytrace._secret_names import SecretNames
from honeytrace._snapshot import REDACTED, Snapshotter
from honeytrace._snapshot._shorten import digest
from honeytrace.exceptions import ConfigError, TraceError
from honeytrace.protocols import Redactor

__all__ = [
    "REDACTED",
    "Hash",
    "Marker",
    "Omit",
    "Redact",
    "SecretNames",
    "Truncate",
    "apply",
    "markers_of",
    "redactor_from",
]


def redactor_from(setting: object) -> Redactor | None:
    """Make a redactor of what `init(redact=...)` was given: a bool, more names, or a redactor.

    Raises:
        ConfigError: it is none of these.
    """
    if setting is True:
        return SecretNames()
    if setting is False or setting is None:
        return None
    if isinstance(setting, Redactor) and not isinstance(setting, type):
        return setting
    if isinstance(setting, (list, tuple, set, frozenset)):
        return SecretNames(extra=setting)
    raise ConfigError(
        "redact must be True, False, a list of further secret names, or an object with an is_secret method, "
        f"not {type(setting).__name__}"
    )


class Redact:
    """Record "[redacted]" in place of the value: `Annotated[str, Redact]`."""

    __slots__ = ()


class Omit:
    """Leave the parameter out of the record: `Annotated[str, Omit]`."""

    __slots__ = ()


class Hash:
    """Record "sha256:..." of the value: equal values can be seen to be equal, and no more."""

    __slots__ = ()


class Truncate:
    """Record the first `characters` of a string, or of the JSON text of anything else."""

    __slots__ = ("characters",)

    def __init__(self, characters: int) -> None:
        if type(characters) is not int or characters < 1:
            raise TraceError(f"Truncate must be given a positive number of characters, not {characters!r:.100}")
        self.characters = characters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Truncate) and other.characters == self.characters

    def __hash__(self) -> int:
        return hash((Truncate, self.characters))

    def __repr__(self) -> str:
        return f"Truncate({self.characters})"


Marker: TypeAlias = "type[Redact] | type[Omit] | type[Hash] | Truncate"
"""What `markers_of` finds; `Redact()` counts as `Redact`."""

_BARE: tuple[type[Redact], type[Omit], type[Hash]] = (Redact, Omit, Hash)
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_MENTIONS = re.compile(r"\b(?:Redact|Omit|Hash|Truncate)\b")
_HASHED = 4_000_000
_PLAIN = Snapshotter(None)
_REDACTED = Snapshotter(SecretNames())


def markers_of(function: object) -> dict[str, Marker]:
    """Find the markers in a function's annotations, by parameter name ("return" for the result).

    An annotation that is text is evaluated only if it mentions a marker, or a name that stands for one; when
    that fails the parameter is redacted. A marker anywhere inside an annotation is for the whole parameter.

    Raises:
        TraceError: `Truncate` is used without its number.
    """
    try:
        annotations = dict(getattr(function, "__annotations__", None) or {})
    except Exception as error:  # from Python 3.14 on, reading them evaluates them
        failed("reading annotations", error)
        return _unreadable(function)
    markers: dict[str, Marker] = {}
    for name, annotation in annotations.items():
        marker = _in_text(function, annotation) if isinstance(annotation, str) else _inside(annotation)
        if marker is not None:
            markers[name] = marker
    return markers


def apply(marker: Marker, value: object) -> object:
    """Do to a value what its marker says. The caller leaves `Omit` out; here it is redacted."""
    try:
        if isinstance(marker, Truncate):
            return _truncated(value, marker.characters)
        if marker is Hash:
            return f"sha256:{_hashed(value)}"
    except Exception as error:
        failed("applying a marker", error)
    return REDACTED


def _truncated(value: object, characters: int) -> object:
    text = value if type(value) is str else _REDACTED(value).decode()
    if len(text) <= characters:
        return value
    return f"{text[:characters]}… [{len(text)} characters]"


def _hashed(value: object) -> str:
    """Of more than four million, the first and last two million and the length are hashed: a few ms."""
    if type(value) is str:
        if len(value) > _HASHED:
            value = f"{value[: _HASHED // 2]}{len(value)}{value[-_HASHED // 2 :]}"
        data = value.encode("utf-8", "surrogatepass")
    elif type(value) is bytes:
        data = value
        if len(value) > _HASHED:
            data = b"%b%d%b" % (value[: _HASHED // 2], len(value), value[-_HASHED // 2 :])
    else:
        data = _PLAIN(value)
    return digest(data)


def _inside(annotation: Any, depth: int = 0) -> Marker | None:
    for item in getattr(annotation, "__metadata__", ()):
        if item is Truncate:
            raise TraceError("Truncate must be given a number of characters: Annotated[str, Truncate(100)]")
        if isinstance(item, Truncate):
            return item
        for bare in _BARE:
            if item is bare or isinstance(item, bare):
                return bare
    if depth < 8:
        origin = getattr(annotation, "__origin__", None)
        for part in (*getattr(annotation, "__args__", ()), *(() if origin is None else (origin,))):
            found = _inside(part, depth + 1)
            if found is not None:
                return found
    return None


def _in_text(function: object, text: str) -> Marker | None:
    names = getattr(function, "__globals__", {})
    if not _MENTIONS.search(text) and not any(_stands_for_marker(names, word) for word in _DOTTED.findall(text)):
        return None
    try:
        owner = SimpleNamespace(__annotations__={"value": text})
        hints: dict[str, Any] = typing.get_type_hints(
            owner, globalns=names, localns=_closure(function), include_extras=True
        )
        return _inside(hints["value"])
    except TraceError:
        raise
    except Exception:  # a name that exists for type checkers only: what was meant is still plain enough
        return Omit if re.search(r"\bOmit\b", text) else Redact


def _stands_for_marker(names: dict[str, Any], dotted: str) -> bool:
    first, *rest = dotted.split(".")
    found = names.get(first)
    for part in rest:
        found = getattr(found, part, None)
    try:
        return found is not None and not isinstance(found, type) and _inside(found) is not None
    except TraceError:
        return True


def _closure(function: object) -> dict[str, Any]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    found: dict[str, Any] = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _unreadable(function: object) -> dict[str, Marker]:
    """Redact every parameter of a function whose annotations cannot be read but may hold markers."""
    names: dict[str, Any] = getattr(function, "__globals__", {})
    code: Any = getattr(function, "__code__", None)
    mentioned = {*getattr(code, "co_names", ()), *names}
    if not any(names.get(name) in (*_BARE, Truncate) for name in mentioned if isinstance(names.get(name), type)):
        return {}
    count = getattr(code, "co_argcount", 0) + getattr(code, "co_kwonlyargcount", 0)
    return dict.fromkeys(getattr(code, "co_varnames", ())[:count], Redact)
