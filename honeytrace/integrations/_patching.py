"""How a library is patched: methods of its classes, in place, by name, and undone again; or a hook that it offers.

Invariant: nothing is imported that the program does not import itself; undoing puts back the very object that was
there. A patch that somebody else has wrapped since cannot be taken out: it stays and only passes calls on.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from threading import RLock
from types import new_class

import wrapt

from honeytrace._diagnostics import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple, TypeAlias

    Door: TypeAlias = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]
    """What stands in front of a method, called as wrapt does: wrapped, instance, args, kwargs."""

    class Target(NamedTuple):
        """One method to patch: the module and class that have it, its name, and the door in front of it."""

        module: str
        owner: str
        name: str
        door: Door

    class Hook(NamedTuple):
        """What a library offers itself: the module that must be there, and how to begin and cease to listen.

        `install` is called again with each instrument(), since others may have put it out of place.
        """

        module: str
        install: Callable[[], None]
        remove: Callable[[], None]

    _Wrapper = wrapt.FunctionWrapper[Any, Any]
else:
    from collections import namedtuple

    Door = object
    Target = namedtuple("Target", "module owner name door")
    Hook = namedtuple("Hook", "module install remove")
    _Wrapper = wrapt.FunctionWrapper  # older versions of wrapt take no parameters here

__all__ = ["Door", "Hook", "Patches", "Target", "wrap_instance"]

_lock = RLock()


class _Patched(_Wrapper):
    """A method with a door in front of it; `_self_switch` is emptied when it is undone but cannot be taken out."""

    def __init__(self, wrapped: Any, door: Door) -> None:
        switch = [True]
        super().__init__(wrapped, door, lambda: bool(switch))
        self._self_switch = switch
        self._self_door = door


class Patches:
    """The patches of one library: wanted or not, and those that are in place."""

    def __init__(self, targets: tuple[Target | Hook, ...]) -> None:
        self._targets = targets
        self._wanted = False
        self._hooked = False
        self._installed: list[tuple[type, str, Any, _Patched]] = []
        self._listening: list[Hook] = []

    def apply(self) -> None:
        """Patch every target whose module is imported, and the others as soon as they are. Twice does no harm."""
        with _lock:
            self._wanted = True
            hooked, self._hooked = self._hooked, True
        for target in self._targets:
            if target.module in sys.modules:
                self._install(target, sys.modules[target.module])
            if not hooked:
                wrapt.register_post_import_hook(self._arrived(target), target.module)

    def undo(self) -> None:
        """Put back what was there before. Twice does no harm."""
        with _lock:
            self._wanted = False
            for owner, name, before, made in reversed(self._installed):
                made._self_switch.clear()
                if owner.__dict__.get(name) is made:
                    setattr(owner, name, before)
            self._installed.clear()
            while self._listening:
                with guard("ceasing to listen to a library"):
                    self._listening.pop().remove()

    def _arrived(self, target: Target | Hook) -> Callable[[Any], None]:
        # An import hook cannot be taken back: it asks whether it is still wanted.
        return lambda module: self._install(target, module)

    def _install(self, target: Target | Hook, module: Any) -> None:
        if isinstance(target, Hook):
            with _lock, guard(f"listening to {target.module}"):
                if self._wanted:
                    target.install()
                    self._listening = [*(one for one in self._listening if one is not target), target]
            return
        with _lock, guard(f"patching {target.module}.{target.owner}.{target.name}"):
            owner = getattr(module, target.owner, None)  # absent while a circular import is under way: the hook comes
            if not self._wanted or owner is None:
                return
            # A subclass that has the method itself would be missed; the door sees to it that one call counts once.
            for one in _with_subclasses(owner):
                before = one.__dict__.get(target.name)
                if before is not None and not _has_door(before, target.door):
                    made = _Patched(before, target.door)
                    setattr(one, target.name, made)
                    self._installed.append((one, target.name, before, made))


def _with_subclasses(owner: type[Any]) -> Iterator[type[Any]]:
    if owner not in _swapped.values():
        yield owner
    for one in owner.__subclasses__():
        yield from _with_subclasses(one)


def _has_door(method: Any, door: Door) -> bool:
    """Say whether a door is there already, perhaps below what others have put in front of it."""
    for _ in range(20):
        if isinstance(method, _Patched) and method._self_door is door and method._self_switch:
            return True
        method = getattr(method, "__wrapped__", None)
        if method is None:
            return False
    return False


def _bare(method: Any, target: Target) -> Any:
    """The method without the door that instrument() has put in front of it: one call goes through one door."""
    return method.__wrapped__ if isinstance(method, _Patched) and method._self_door is target.door else method


def _hide(instance: object, target: Target) -> None:
    """Put the door in front of a method that an instance has for itself, ahead of its class's."""
    own = instance.__dict__.get(target.name)
    if callable(own) and not isinstance(own, _Patched):
        door = target.door
        setattr(
            instance, target.name, _Patched(own, lambda method, _, args, kwargs: door(method, instance, args, kwargs))
        )


_swapped: dict[type, type] = {}
"""For each class of which an instance was wrapped: the class that such instances have since."""


def wrap_instance(instance: object, targets: tuple[Target, ...]) -> bool:
    """Put doors in front of the methods of one instance; False if none of the targets is a method of it.

    The instance gets a subclass of its own class, of the same name, so that copies it makes of itself by its class
    have the doors, too, while other instances do not.
    """
    kind = type(instance)
    with _lock:
        if kind in _swapped.values():
            return True
        made = _swapped.get(kind)
        if made is None:
            doors: dict[str, Any] = {}
            for target in targets:
                owner = getattr(sys.modules.get(target.module), target.owner, None)
                method = inspect.getattr_static(kind, target.name, None)  # not every version has every method
                if method is not None and owner is not None and isinstance(instance, owner):
                    _hide(instance, target)
                    doors[target.name] = _Patched(_bare(method, target), target.door)
            if not doors:
                return False
            doors.update(__module__=kind.__module__, __qualname__=kind.__qualname__, __doc__=kind.__doc__, __slots__=())
            made = _swapped[kind] = new_class(kind.__name__, (kind,), {}, lambda namespace: namespace.update(doors))
        instance.__class__ = made
        return True
