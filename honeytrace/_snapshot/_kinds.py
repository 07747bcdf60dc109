"""What each kind of value looks like in a snapshot.

A table from types to small functions, found along the true `__mro__`. Types are recognised by name, so that
no library is imported for them. Nothing here asks the value what it is: `__class__`, `__getattr__`,
properties and what a metaclass thinks of equality are bypassed, and whatever may run a value's own code goes
through `walk.foreign`, which bounds it.

An object that is no data class of some sort is shown as {"$type": its class, and its public attributes};
one that has none, by its repr. Iterators, lazy sequences and the like are named and never touched.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any, NamedTuple

from honeytrace._snapshot import _libraries
from honeytrace._snapshot._binary import blob
from honeytrace._snapshot._shorten import HASHED, Plain
from honeytrace._snapshot._types import (
    REDACTED,
    Kind,
    Walk,
    class_attribute,
    dict_of,
    module_of,
    mro_of,
    name_of,
    type_name,
)

__all__ = ["REDACTED", "held_by", "integer", "is_pair", "known_of", "name_of_pair", "type_name"]


class Known(NamedTuple):
    """What is known of a type: found once, because the search costs more than most values do."""

    kind: type
    convert: Kind
    base: type
    hook: Any
    members: tuple[tuple[str, types.MemberDescriptorType], ...]
    attributes: Any
    describe: Any
    """Its `__repr__`, when there is one and it may be called."""
    opaque: bool


def known_of(kind: type) -> Known:
    """Say what to do with a type."""
    known = _known.get(id(kind))
    if known is None:
        known = _study(kind)
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[id(kind)] = known
    return known


_REMEMBERED = 500
# By id: a metaclass may define how its classes are hashed. The entry keeps its type, and so the id, alive.
_known: dict[int, Known] = {}


def _study(kind: type) -> Known:
    convert, base = _find(kind)
    slot = class_attribute(kind, "__dict__")
    describe = class_attribute(kind, "__repr__")
    if describe is object.__repr__ or any(_overrides(kind, name) for name in _DISGUISED):
        describe = None
    if any(class_attribute(kind, name) is not None for name in _MAPPED):
        describe = None
    return Known(
        kind,
        convert,
        base,
        class_attribute(kind, "__honeytrace__"),
        tuple(_members(kind)),
        slot if type(slot) in (types.GetSetDescriptorType, types.MemberDescriptorType) else None,
        describe,
        any(class_attribute(kind, name) is not None for name in _UNTOUCHED),
    )


def _find(kind: type) -> tuple[Kind, type]:
    for base in mro_of(kind):
        module = module_of(base)
        if type(module) is str:
            root = module.partition(".")[0]
            found = _KINDS.get(f"{root}.{name_of(base)}") or (_TENSORS.get(root) if _has_shape(base) else None)
            if found is not None:
                return found, base
        held = dict_of(base)
        for mark, kind_of_record in _RECORDS.items():
            if mark in held:
                return kind_of_record, base
    return _object, object


def _has_shape(base: type) -> bool:
    return class_attribute(base, "shape") is not None and class_attribute(base, "dtype") is not None


def _members(kind: type) -> Iterable[tuple[str, types.MemberDescriptorType]]:
    for base in mro_of(kind):
        members = dict_of(base)
        if "__slots__" in members:
            for name, member in list(members.items()):
                if type(member) is types.MemberDescriptorType and name != "__dict__":
                    yield name, member


def held_by(value: object) -> dict[str, object]:
    """The attributes the value holds itself, in `__dict__` or slots, without a line of its code."""
    known = known_of(type(value))
    held: dict[str, object] = {}
    for name, member in known.members:
        try:
            held[name] = member.__get__(value, known.kind)
        except AttributeError:  # an empty slot
            continue
    if known.attributes is not None:
        try:
            attributes = known.attributes.__get__(value, known.kind)
        except AttributeError:  # a proxy of something that has none
            attributes = None
        if type(attributes) is dict:
            held.update(attributes)
    return held


def integer(value: int) -> Plain:
    """An integer; as digits beyond 64 bits, by its size when even the digits are too many."""
    if -(1 << 63) <= value < 1 << 64:
        return value
    bits = value.bit_length()
    return str(value) if bits <= 2_000 else f"<int of {bits} bits>"


def _int(walk: Walk, value: int, base: type, depth: int) -> Plain:
    return integer(int.__int__(value))


def _float(walk: Walk, value: float, base: type, depth: int) -> Plain:
    return float.__float__(value)


def _str(walk: Walk, value: str, base: type, depth: int) -> Plain:
    return walk.string(str.__str__(value))


def _sequence(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    names = class_attribute(type(value), "_fields") if base is tuple else None
    if type(names) is tuple and len(names) == tuple.__len__(value) and all(type(name) is str for name in names):
        return walk.record(dict(zip(names, tuple.__iter__(value), strict=True)), depth)
    return walk.sequence(value, base, depth)


def _unsliced(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    return walk.unsliced(value, base, depth)


def _mapping(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    return walk.mapping(value, base, depth)


def _blob(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    # Sliced, not viewed: a memoryview of a bytearray would keep its owner from resizing it.
    return blob(bytes(base.__getitem__(value, slice(0, HASHED))), base.__len__(value), hashed=not walk.is_late())


def _memoryview(walk: Walk, value: memoryview, base: type, depth: int) -> Plain:
    flat = value.cast("B") if value.c_contiguous else memoryview(value.tobytes())
    return blob(bytes(flat[:HASHED]), flat.nbytes, hashed=not walk.is_late())


def _text(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    if type(value) is base:  # its own code is Python's
        return walk.string(str(value))
    return walk.described(lambda: base.__str__(value))


def _iso(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    if type(value) is base and getattr(value, "tzinfo", None) is None:
        return str(base.isoformat(value))
    if type_name(value) == "NaTType":
        return None
    return walk.described(lambda: base.isoformat(value))


def _fraction(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    held = held_by(value)
    return "/".join(str(integer(int(held[name]))) for name in ("_numerator", "_denominator"))  # type: ignore[call-overload]


def _path(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    return walk.described(lambda: str(value))


def _range(walk: Walk, value: range, base: type, depth: int) -> Plain:
    return f"range({integer(value.start)}, {integer(value.stop)}, {integer(value.step)})"


def _slice(walk: Walk, value: slice, base: type, depth: int) -> Plain:
    return [walk.copy(part, depth + 1) for part in (value.start, value.stop, value.step)]


def _enum(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    held = held_by(value)
    return walk.copy(held.get("_value_", held.get("_name_")), depth + 1)


def _error(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    try:
        message = walk.described(lambda: str(value))
    except Exception as failure:  # its type still says something
        message = f"<{failure}>"
    return {"type": type_name(value), "message": message}


def _class(walk: Walk, value: type, base: type, depth: int) -> Plain:
    module = module_of(value)
    return f"<class {name_of(value)}>" if module == "builtins" else f"<class {module}.{name_of(value)}>"


def _function(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    return f"<{name_of(base)} {walk.foreign(lambda: value.__qualname__)}>"


def _module(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    return f"<module {types.ModuleType.__getattribute__(value, '__name__')}>"


def _file(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    name = walk.foreign(lambda: value.name)
    return f"<{type_name(value)} {name[:1000] if type(name) is str else ''}>"


def _named(walk: Walk, value: object, base: type, depth: int) -> Plain:
    return f"<{type_name(value)}>"


def _hidden(walk: Walk, value: object, base: type, depth: int) -> Plain:
    return REDACTED


def _null(walk: Walk, value: object, base: type, depth: int) -> Plain:
    return None


def _data(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    return walk.copy(held_by(value).get("data"), depth + 1)


def _proxied_mapping(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    return walk.copy(walk.foreign(value.copy), depth + 1)


_MERGED = 10_000
"""Beyond so many entries the maps of a ChainMap are shown one by one: merging them would take milliseconds."""


def _chain_map(walk: Walk, value: Any, base: type, depth: int) -> Plain:
    maps = held_by(value).get("maps")
    if type(maps) is not list or not all(type(one) is dict for one in maps) or sum(map(len, maps)) > _MERGED:
        return walk.copy(maps, depth + 1)
    merged: dict[Any, Any] = {}
    for one in reversed(maps):
        merged.update(one)
    return walk.copy(merged, depth + 1)


def _logger(walk: Walk, value: object, base: type, depth: int) -> Plain:
    name = held_by(value).get("name")
    return f"<{type_name(value)} {name}>" if type(name) is str else f"<{type_name(value)}>"


def _numbers(walk: Walk, value: Any, base: Any, depth: int) -> Plain:
    size = base.__len__(value)
    some = base.tolist(base.__getitem__(value, slice(0, 16 if size > 64 else size)))
    look = {"type": type_name(value), "typecode": base.typecode.__get__(value), "size": size}
    return walk.record(look | {"head" if size > 64 else "values": some}, depth)


def _dataclass(walk: Walk, value: object, base: type, depth: int) -> Plain:
    fields = class_attribute(type(value), "__dataclass_fields__")
    return _fields_of(walk, value, {name: field.repr for name, field in fields.items()}, depth)


def _attrs(walk: Walk, value: object, base: type, depth: int) -> Plain:
    fields = class_attribute(type(value), "__attrs_attrs__")
    return _fields_of(walk, value, {field.name: field.repr for field in fields}, depth)


def _pydantic(walk: Walk, value: object, base: type, depth: int) -> Plain:
    """Pydantic 2, then 1; extra fields are in a slot of their own, then in `__dict__`."""
    kind = type(value)
    held = held_by(value)
    if class_attribute(kind, "__pydantic_validator__") is None:
        shown = dict.fromkeys(held, True)
        fields = {name: field.field_info for name, field in class_attribute(kind, "__fields__").items()}
    else:
        found = class_attribute(kind, "__pydantic_fields__")
        fields = found if type(found) is dict else class_attribute(kind, "model_fields")
        shown = {}
    shown.update({name: getattr(field, "repr", True) for name, field in fields.items()})
    record = {name: held[name] for name, show in shown.items() if show and name in held}
    extra = held.get("__pydantic_extra__")
    return walk.record(record | extra if type(extra) is dict else record, depth)


def _fields_of(walk: Walk, value: object, shown: dict[str, Any], depth: int) -> Plain:
    """The author's word counts: a field with repr=False is not for showing."""
    held = held_by(value)
    return walk.record({name: held[name] for name, show in shown.items() if show and name in held}, depth)


_UNTOUCHED = ("__iter__", "__next__", "__aiter__", "__anext__", "__await__")
_DISGUISED = ("__getattr__", "__getattribute__", "__class__")
_MAPPED = ("__mapper__", "_meta")
"""What object-relational mappers put into classes: what such an object says of itself may load it."""


def _object(walk: Walk, value: object, base: type, depth: int) -> Plain:
    known = known_of(type(value))
    if known.opaque:
        return f"<{type_name(value)}>"
    public = {name: held for name, held in held_by(value).items() if type(name) is str and name[:1] != "_"}
    if public:
        return walk.record({"$type": type_name(value)} | public, depth)
    if known.describe is None:
        return f"<{type_name(value)}>"
    return walk.described(lambda: known.describe.__get__(value, known.kind)())


def _overrides(kind: type, name: str) -> bool:
    found = class_attribute(kind, name)
    if found is None or found is object.__dict__.get(name):
        return False
    return type(found) is not types.WrapperDescriptorType  # what every type written in C has


def _table(kinds: Iterable[tuple[str, Kind]]) -> dict[str, Kind]:
    return {name: kind for names, kind in kinds for name in names.split()}


_RECORDS: dict[str, Kind] = {
    "__pydantic_validator__": _pydantic,
    "__attrs_attrs__": _attrs,
    "__dataclass_fields__": _dataclass,
}
"""A mark in a class, and what it says about its instances."""

_TENSORS = dict.fromkeys(("torch", "tensorflow", "jax", "jaxlib", "cupy"), _libraries.tensor)

_KINDS = _table(
    [
        ("builtins.int", _int),
        ("builtins.float", _float),
        ("builtins.str", _str),
        ("builtins.list builtins.tuple", _sequence),
        (
            "builtins.set builtins.frozenset builtins.dict_keys builtins.dict_values builtins.dict_items",
            _unsliced,
        ),
        ("builtins.odict_keys builtins.odict_values builtins.odict_items collections.deque", _unsliced),
        ("builtins.dict collections.OrderedDict", _mapping),
        ("builtins.mappingproxy", _proxied_mapping),
        ("collections.ChainMap", _chain_map),
        ("array.array", _numbers),
        ("logging.Logger logging.Handler", _logger),
        ("collections.UserDict collections.UserList collections.UserString", _data),
        ("builtins.bytes builtins.bytearray", _blob),
        ("builtins.memoryview", _memoryview),
        ("builtins.complex decimal.Decimal uuid.UUID datetime.timedelta re.Pattern", _text),
        ("ipaddress._IPAddressBase pathlib.PurePath", _path),
        ("datetime.date datetime.datetime datetime.time", _iso),
        ("fractions.Fraction", _fraction),
        ("builtins.range", _range),
        ("builtins.slice", _slice),
        ("enum.Enum", _enum),
        ("builtins.BaseException", _error),
        ("builtins.type", _class),
        ("builtins.function builtins.builtin_function_or_method builtins.method", _function),
        ("builtins.generator builtins.coroutine builtins.async_generator", _function),
        ("builtins.module", _module),
        ("_io.TextIOWrapper _io.BufferedReader _io.BufferedWriter _io.BufferedRandom _io.FileIO", _file),
        ("_io._IOBase _socket.socket unittest.NonCallableMock _asyncio.Future asyncio.Future", _named),
        ("weakref.ReferenceType weakref.ProxyType weakref.CallableProxyType contextvars.Context", _named),
        ("pydantic.SecretStr pydantic.SecretBytes pydantic._SecretBase pydantic._SecretField", _hidden),
        ("pydantic.BaseModel", _pydantic),
        ("pandas.NAType", _null),
        ("sqlite3.Row", _libraries.row),
        ("sqlalchemy.Row sqlalchemy.RowMapping", _libraries.mapped_row),
        ("numpy.generic", _libraries.numpy_scalar),
        ("numpy.ndarray", _libraries.array),
        ("pandas.DataFrame", _libraries.frame),
        ("pandas.Series", _libraries.series),
        ("pandas.Index", _libraries.index),
    ]
)


def name_of_pair(members: Any) -> str | None:
    """The name in a pair of a name and its text, of text or of bytes, as headers come in lists; None if it is none."""
    name, value = members
    if type(name) is bytes and type(value) is bytes and len(name) <= 64:
        name, value = name.decode("latin-1"), ""
    return name if is_pair((name, value)) else None


def is_pair(members: Any) -> bool:
    """Say whether two members are a name and its text, as headers come in lists: ("authorization", "Bearer ...")."""
    name = members[0]
    return type(name) is str and type(members[1]) is str and len(name) <= 64 and " " not in name
