"""The plan of a decorated callable: which parameters are recorded, and under which rules.

Made once per decorated callable; what depends on settings (which names are secret) or on annotations is worked out
at the first call, when both are known. Everything here fails closed: what cannot be shown safely is not shown.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Mapping, Sequence

import orjson

from honeytrace._diagnostics import failed, is_interruption, warn_once
from honeytrace._span import Plan, Recorder, pieces
from honeytrace.exceptions import TraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
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
        "event_type event_name config metadata exclude capture_inputs capture_outputs process_inputs process_outputs "
        "reduce expected",
        defaults=("chain", None, None, None, (), True, True, None, None, None, ()),
    )

__all__ = ["CallPlan", "Options", "SignaturePlan", "check_names"]


class Options(_Given):
    """What `trace(...)` was given."""

    __slots__ = ()

    def captured(self, names: Sequence[str]) -> list[str]:
        """The parameters to record, of those there are."""
        if self.capture_inputs is False:
            return []
        chosen = names if self.capture_inputs is True else [name for name in names if name in self.capture_inputs]
        return [name for name in chosen if name not in self.exclude]


def check_names(options: Options, names: Collection[str], where: str) -> None:
    """Refuse names in the options that no parameter has: a typo must not reveal what it was to hide.

    Raises:
        TraceError: there is such a name.
    """
    for option in ("exclude", "capture_inputs"):
        chosen = getattr(options, option)
        for name in chosen if not isinstance(chosen, bool) else ():
            if name not in names:
                raise TraceError(
                    f"{option} names {name!r}, but {where}() has only: {', '.join(names) or 'no parameters'}"
                )


class CallPlan(Plan):
    """A plan with the rules of one decorated callable."""

    __slots__ = ("_function", "_markers", "_name", "_names", "_options", "_secret", "given")

    def __init__(self, name: str, options: Options, names: Sequence[str], function: object) -> None:
        fixed = {"config": options.config, "metadata": options.metadata}
        super().__init__(options.event_name or name, options.event_type, fixed, options.expected)
        self.reduce = options.reduce
        self._name = name
        self._options = options
        self._names = tuple(names)
        self._function = function
        self._markers: dict[str, Any] | None = None
        self._secret: frozenset[str] = frozenset()
        self.given: dict[str, Any] = {}
        """What `trace(...)` was given, word for word: a decorator on top of this one adds to it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what was decorated and how; what was worked out of it is worked out again, in the other process."""
        return _again, (type(self), self._made_of(), self.given)

    def _made_of(self) -> tuple[Any, ...]:
        return self._name, self._options, self._names, self._function

    def prepare(self, recorder: Recorder) -> None:
        """Find out which rules apply under this recorder, so that a call without any pays nothing."""
        from honeytrace.redaction import markers_of  # loaded by init() at the latest

        markers = markers_of(self._function)
        is_secret = recorder.snapshotter.is_secret
        secret = frozenset(name for name in self._names if is_secret(name))
        options = self._options
        plain = options.process_outputs is None and options.capture_outputs is True and "return" not in markers
        self._markers, self._secret, self.plain_outputs = markers, secret, plain
        simple = plain and not secret and not markers and options.process_inputs is None
        # Last: from here on other threads go by the rules.
        self._publish(recorder, simple)

    def inputs(self, recorder: Recorder, values: dict[str, object]) -> bytes:
        """Encode inputs after hook, secrets and markers."""
        if self.prepared_for is not recorder:
            self.prepare(recorder)
        if self.simple_for is recorder:
            return recorder.fields(values)
        from honeytrace.redaction import REDACTED, Omit, apply

        hook = self._options.process_inputs
        markers = self._markers or {}
        processed: object = {name: REDACTED if name in self._secret else value for name, value in values.items()}
        if hook is not None:
            try:
                processed = hook(_copied(processed, {}))
            except BaseException as error:
                return _hook_failed("process_inputs", error)
        fields = processed if isinstance(processed, dict) else {"value": processed}
        for name, marker in markers.items():
            if name in fields:
                if marker is Omit:
                    del fields[name]
                else:
                    fields[name] = apply(marker, fields[name])
        if hook is None:
            return recorder.fields(fields)
        data = recorder.snapshot(fields)  # the hook may have made new names: all of them are looked at
        return data if data[:1] == b"{" else b'{"value":%b}' % data

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
                result = options.process_outputs(_copied(result, {}))
            except BaseException as error:
                return orjson.loads(_hook_failed("process_outputs", error))  # type: ignore[no-any-return]
        if marker is not None:
            result = apply(marker, result)
        chosen = options.capture_outputs
        if not issubclass(type(result), dict):
            return pieces(recorder, {"result": result}) if chosen is True or "result" in chosen else {}
        if chosen is not True:
            content: dict[Any, Any] = result  # type: ignore[assignment]
            result = {key: value for key, value in list(dict.items(content)) if key in chosen}
        return pieces(recorder, result)


class SignaturePlan(CallPlan):
    """A plan that names arguments by a signature: for callables that a door cannot stand in for by its parameters."""

    __slots__ = ("_captured", "_guarded", "_parameters", "_restricted", "_signature", "_target")

    def __init__(
        self,
        name: str,
        options: Options,
        signature: inspect.Signature | None,
        function: object,
        target: object = None,
    ) -> None:
        self._signature = signature
        self._parameters = list(signature.parameters.values()) if signature is not None else []
        names = tuple(parameter.name for parameter in self._parameters) or ("args", "kwargs")
        super().__init__(name, options, names, function)
        self._target = target
        self._captured = frozenset(options.captured(names))
        self._guarded = len(self._captured) < len(names)
        self._restricted = options.capture_inputs is not True or bool(options.exclude)

    def _made_of(self) -> tuple[Any, ...]:
        return self._name, self._options, self._signature, self._function, self._target

    def bind(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        receives: Callable[[object], bool] | None,
        called: object = None,
    ) -> dict[str, Any]:
        """Name the arguments. Those of a call that does not fit are not shown if any parameter is to be hidden.

        `called` is what a proxy calls: another object than it wraps where that was bound to a receiver first.
        """
        try:
            signature = self._signature
            if signature is None:
                return {"args": args, "kwargs": kwargs} if not self._restricted else {}
            bound_to = args[0] if receives is not None and args and receives(args[0]) else None
            if called is not None and called is not self._target:
                signature = signature.replace(parameters=self._parameters[1:])
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                hidden = self._guarded or self._secret or self._markers
                return {"not_recorded": "the arguments do not fit"} if hidden else {"args": args, "kwargs": kwargs}
            bound.apply_defaults()
            values = {name: value for name, value in bound.arguments.items() if name in self._captured}
            if bound_to is not None:
                first = self._parameters[0]
                if first.kind is not first.VAR_POSITIONAL:
                    values.pop(first.name, None)
                elif first.name in values:
                    values[first.name] = args[1:]
            return values
        except Exception as error:
            failed("naming arguments", error)
            return {}


def _again(kind: type[CallPlan], made_of: tuple[Any, ...], given: dict[str, Any]) -> CallPlan:
    plan = kind(*made_of)
    plan.given = given
    return plan


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """Copy containers of exact plain types: a hook must not be able to change what the program works with.

    Parts that are shared are copied once; beyond some thousand containers the rest is handed over as it is.
    """
    kind = type(value)
    if kind not in (dict, list, tuple, set, bytearray) or len(copies) > 5_000:
        return value
    if id(value) in copies:
        return copies[id(value)]
    if kind is dict:
        made: Any = copies.setdefault(id(value), {})
        made.update({key: _copied(inner, copies) for key, inner in list(value.items())})
        return made
    if kind is list:
        made = copies.setdefault(id(value), [])
        made += [_copied(inner, copies) for inner in list(value)]
        return made
    made = tuple(_copied(inner, copies) for inner in value) if kind is tuple else value.copy()
    return copies.setdefault(id(value), made)


def _hook_failed(hook: str, error: BaseException) -> bytes:
    """What is recorded instead of the data: that a hook failed, not what it saw."""
    if is_interruption(error):
        raise error
    warn_once(hook, "a %s hook raised %s (further failures are not logged)", hook, type(error).__name__)
    return orjson.dumps({"not_recorded": f"{hook} raised {type(error).__name__}"})
