"""Which event counts the tokens where calls of models lie within each other: the innermost, and no other.

A framework reports a call that the client below it is recorded making, perhaps through another framework. Each is a
layer; what is read here is the layer that encloses the code that runs. A layer that is over is passed over, wherever
a context still holds it, so nothing depends on a context variable being set back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar

from honeytrace._span import Recorder, add, submit_update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Layer", "enclosing", "enter", "hand_down", "leave"]

_COST = frozenset({"cost"})


class Layer:
    """An event that is open and may enclose others: the step of a framework, or the call of a model."""

    __slots__ = ("around", "calls_model", "failed", "heard", "id", "known", "listener", "model", "offered", "over")

    def __init__(self, around: Layer | None, calls_model: bool) -> None:
        self.around = around
        self.calls_model = calls_model
        self.id: bytes | None = None
        self.model: str | None = None
        self.listener: Layer | None = None
        """The one around it that reports the same call."""
        self.over = self.failed = False
        self.heard: list[Layer] = []
        """The calls of models inside: where there is one, this layer counts nothing itself."""
        self.known: frozenset[str] = frozenset()
        """What an event that is over has counted, of tokens and cost."""
        self.offered: Mapping[str, Any] = {}
        """What those around it counted and it did not, in case it is still open."""

    def end(self, known: Iterable[str], *, failed: bool) -> None:
        """Note that it is over, and what it has counted."""
        self.known = frozenset(known)
        self.failed = failed
        self.over = True

    def hears(self, inner: Layer) -> bool:
        """Say whether a call that starts inside is what this one is about."""
        return self.calls_model and not self.over

    def tell_those_around(self) -> None:
        """Let the nearest call of a model around this one know that it is not the innermost."""
        layer = self.around
        while layer is not None and not layer.hears(self):
            layer = layer.around
        if layer is not None:
            self.listener = layer
            layer.heard.append(self)

    def interrupt_those_around(self, error: BaseException) -> None:
        """End the one that listens with what nobody catches on the way: it may not say so itself."""
        if self.listener is not None:
            self.listener.interrupt(error)

    def interrupt(self, error: BaseException) -> None:
        """End with an error that comes from inside, if this is something that can end."""


_layer: ContextVar[Layer | None] = ContextVar("honeytrace_layer", default=None)


def enclosing() -> Layer | None:
    """The innermost open layer around the code that runs."""
    layer = _layer.get()
    while layer is not None and layer.over:
        layer = layer.around
    return layer


def enter(layer: Layer) -> None:
    """Make this the layer that encloses what runs next in this context."""
    _layer.set(layer)


def leave(layer: Layer, before: Layer | None) -> None:
    """Make what enclosed before this layer enclose again, unless another one does."""
    if _layer.get() is layer:
        _layer.set(before)


def hand_down(recorder: Recorder, layer: Layer, counted: Mapping[str, Any]) -> None:
    """Give tokens and cost to the innermost call that succeeded, if it has none of its own.

    A client does not see the tokens of every stream, nor what a framework thinks that a call costs.
    """
    target = layer
    while target.heard:
        fine = [one for one in target.heard if not one.failed]
        if not fine:
            return
        target = fine[-1]
    names = _COST if target.known - _COST else frozenset(counted)
    given = {name: value for name, value in counted.items() if name in names and name not in target.known}
    if not given or target.id is None:
        return
    if not target.over:
        target.offered = given
    elif not add(recorder, target.id, {"metadata": given}):
        submit_update(recorder, target.id, {"metadata": given})
