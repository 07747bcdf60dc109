"""The plan of a decorated callable: which parameters are recorded, under which rules, and who the receiver is.

Made once per decorated callable; what depends on settings (which names are secret) or on annotations is worked out
at the first call, when both are known.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType

import orjson

from honeytrace._diagnostics import failed
from honeytrace._span import Plan, Recorder, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class _Given(NamedTuple):
        event_type: str = "chain"
        event_name: str | None = None
        config: Mapping[str, object] | None = None
        metadata: Mapping[str, object] | None = None
        exclude: Sequence[str] = ()
        capture_inputs: bool | Sequence[str] = True
        capture_outputs: bool | Sequence[str] = True
        process_inputs: Callable[[dict[str, Any]], object] | None = None
        process_outputs: Callable[[Any], object] | None = None
        reduce: Callable[[list[Any]], object] | None = None
        expected: tuple[type[BaseException], ...] = ()
else:
    _Given = namedtuple(
        "_Given",
        ("event_type", "event_name", "config", "metadata", "exclude", "capture_inputs", "capture_outputs", "process_inputs", "process_outputs", "reduce", "expected"),
        defaults=("chain", None, None, None, (), True, True, None, None, None, ()),
    )

__all__ = ["CallPlan", "Options", "Receivers"]


class Options(_Given):
    """What `trace(...)` was given."""

    __slots__ = ()

    def captured(self, names: Sequence[str]) -> list[str]:
        """The parameters to record, of those there are."""
        if self.capture_inputs is False:
            return []
        chosen = names if self.capture_inputs is True else [name for name in names if name in self.capture_inputs]
        return [name for name in chosen if name not in self.exclude]


class CallPlan(Plan):
    """A plan with the rules of one decorated callable."""

    __slots__ = ("_function", "_markers", "_names", "_options", "_secret")

    def __init__(self, name: str, options: Options, names: Sequence[str], function: object) -> None:
        fixed = {"config": options.config, "metadata": options.metadata}
        super().__init__(options.event_name or name, options.event_type, fixed, options.expected)
        self.reduce = options.reduce
        self._options = options
        self._names = tuple(names)
        self._function = function
        self._markers: dict[str, Any] | None = None
        self._secret: frozenset[str] = frozenset()

    def prepare(self, recorder: Recorder) -> None:
        """Find out which rules apply under this recorder, so that a call without any pays nothing."""
        from honeytrace.redaction import markers_of  # loaded by init() at the latest

        if self._markers is None:
            self._markers = markers_of(self._function)
        is_secret = recorder.snapshotter.is_secret
        self._secret = frozenset(name for name in self._names if is_secret(name))
        options = self._options
        super().prepare(recorder)
        if (
            self._secret
            or self._markers
            or options.process_inputs is not None
            or options.process_outputs is not None
            or options.capture_outputs is not True
        ):
            self.simple_for = None

    def inputs(self, recorder: Recorder, values: dict[str, object]) -> bytes:
        """Encode inputs after hook, secrets and markers."""
        if self.prepared_for is not recorder:
            self.prepare(recorder)
        if self.simple_for is recorder:
            return recorder.fields(values)
        from honeytrace.redaction import REDACTED, Omit, apply

        hook = self._options.process_inputs
        markers = self._markers or {}
        processed: object = values
        for name in list(values):
            if name in self._secret:
                values[name] = REDACTED
        if hook is not None:
            # The hook sees the values as they are, markers included: it may need to look inside to decide.
            try:
                processed = hook(values)
            except Exception as error:
                return _hook_failed("process_inputs", error)
            if not isinstance(processed, dict):
                processed = {"value": processed}
        assert isinstance(processed, dict)
        for name, marker in markers.items():
            if name in processed:
                if marker is Omit:
                    del processed[name]
                else:
                    processed[name] = apply(marker, processed[name])
        return recorder.snapshot(processed) if hook is not None else recorder.fields(processed)

    def outputs(self, recorder: Recorder, result: object) -> dict[str, Any]:
        """Encode a result after hook, choice of names and marker."""
        from honeytrace.redaction import Omit, apply

        options = self._options
        if options.capture_outputs is False:
            return {}
        marker = (self._markers or {}).get("return")
        if marker is Omit:
            return {}
        if options.process_outputs is not None:
            try:
                result = options.process_outputs(result)
            except Exception as error:
                return orjson.loads(_hook_failed("process_outputs", error))  # type: ignore[no-any-return]
        if marker is not None:
            result = apply(marker, result)
        if isinstance(result, dict):
            if options.capture_outputs is not True:
                result = {key: result[key] for key in options.capture_outputs if key in result}
        elif options.capture_outputs is not True and "result" not in options.capture_outputs:
            return {}
        else:
            result = {"result": result}
        return pieces(recorder, result)


def _hook_failed(hook: str, error: Exception) -> bytes:
    """What is recorded instead of the data: that a hook failed, not what it saw."""
    failed(f"running a {hook} hook", error)
    return orjson.dumps({"not_recorded": f"{hook} raised {type(error).__name__}"})


class Receivers(dict[type, int]):
    """Remembers, by the type of a first argument, whether it is the bound receiver of a function.

    0: it is not. 1: it is. 2: it is a class, so the answer depends on which. The receiver is recognised by where the
    function sits: the class of the argument holds it as a method. The name `self` has no part in it.
    """

    __slots__ = ("_function", "door")

    def __init__(self, function: FunctionType) -> None:
        super().__init__(dict.fromkeys((str, int, float, bool, type(None), list, dict, tuple, bytes), 0))
        self._function = function
        self.door: object = None

    def __missing__(self, kind: type) -> int:
        try:
            answer = 2 if issubclass(kind, type) else int(self._holds(kind, instance=True))
        except Exception as error:  # a metaclass that lies
            failed("looking for the receiver", error)
            answer = 0
        if len(self) > 200:  # classes made at run time must not pile up here
            self.clear()
        self[kind] = answer
        return answer

    def receives(self, cls: object) -> bool:
        """Say whether a class is the receiver: of a class method, of __new__, or as an instance of its metaclass."""
        try:
            return isinstance(cls, type) and (
                self._holds(cls, instance=False) or self._holds(type(cls), instance=True)
            )
        except Exception as error:
            failed("looking for the receiver", error)
            return False

    def _holds(self, owner: type, *, instance: bool) -> bool:
        function = self._function
        home, _, name = function.__qualname__.rpartition(".")
        for klass in type.__dict__["__mro__"].__get__(owner):
            for key, member in list(vars(klass).items()):
                if self._leads_here(member):
                    return _binds(member, key, instance)
            if klass.__module__ == function.__module__ and klass.__qualname__ == home and name in vars(klass):
                # Another decorator in between that left no trail: judge by what the class holds under the name.
                return _binds(vars(klass)[name], name, instance)
        return False

    def _leads_here(self, member: object) -> bool:
        """Follow what wrappers and descriptors wrap, down to the function or its door."""
        todo, seen = [member], 0
        while todo and seen < 12:
            seen += 1
            candidate = todo.pop()
            if candidate is self.door or candidate is self._function:
                return True
            if isinstance(candidate, property):
                todo += [part for part in (candidate.fget, candidate.fset, candidate.fdel) if part is not None]
                continue
            for name in ("__func__", "__wrapped__", "func", "_self_wrapper"):
                inner = getattr(candidate, "__dict__", {}).get(name) if name != "__func__" else None
                inner = inner if inner is not None else _plain(candidate, name)
                if inner is not None:
                    todo.append(inner)
        return False


def _plain(candidate: object, name: str) -> object:
    """An attribute of the descriptors that are known to be harmless to ask."""
    if isinstance(candidate, (staticmethod, classmethod)):
        return getattr(candidate, name, None)
    if type(candidate).__module__ in ("functools", "honeytrace._decorator"):
        return getattr(candidate, name, None)
    return None


def _binds(member: object, key: str, instance: bool) -> bool:
    """Say whether a class member hands its owner to the function as first argument."""
    if key == "__new__":
        return not instance
    if isinstance(member, staticmethod):
        return False
    if isinstance(member, classmethod):
        return not instance
    return instance
