"""What a request may hold: the schemas of openapi.json, compiled once into shapes that check decoded JSON fast.

The document that is published is the document that is enforced: there is no second list of fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import resources
from typing import Any

import orjson

__all__ = [
    "BATCH",
    "EVENT",
    "EXPORT",
    "SEARCH",
    "SESSION",
    "SESSION_BATCH",
    "SESSION_PROPERTIES",
    "UPDATE",
    "Shape",
    "document",
    "instant",
    "is_uuid",
    "problems",
]

_MOST = 10  # problems told in one answer
_MOST_FINE = 1000
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?\Z")

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),  # 1.0 is an integer in JSON
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_WORDS = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


class Shape:
    """One schema, compiled. `deep` is False if knowing the value's type is enough.

    `fine` holds sets of fields with their types that have passed before, and what is left to test of their values:
    clients send the same few over and over, and a look into a dict is much faster than a loop.
    """

    __slots__ = (
        "deep", "enum", "fields", "fine", "integer", "items", "least", "most", "open", "required", "text", "types",
    )  # fmt: skip

    def __init__(self, schema: dict[str, Any], schemas: dict[str, Any]) -> None:
        schema = _resolved(schema, schemas)
        given = schema.get("type", list(_TYPES))
        names = [given] if isinstance(given, str) else given
        self.types = frozenset(kind for name in names for kind in _TYPES[name])
        self.integer = "integer" in names
        self.enum = tuple(schema.get("enum", ()))
        self.text = schema.get("format")
        self.least, self.most = schema.get("minimum"), schema.get("maximum")
        self.items = Shape(schema["items"], schemas) if "items" in schema else None
        self.fields = {name: Shape(field, schemas) for name, field in schema.get("properties", {}).items()}
        self.required = tuple(schema.get("required", ()))
        self.open = schema.get("additionalProperties", True) is not False
        self.fine: dict[tuple[object, ...], list[tuple[str, Callable[[Any], object]]]] = {}
        bounded = self.least is not None or self.most is not None
        self.deep = bool(
            self.enum or self.text or self.items or self.fields or self.required or self.integer or bounded
        )

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        if self.integer:
            return f"an integer from {self.least} to {self.most}"
        if self.enum:
            return "one of " + ", ".join(repr(value) for value in self.enum)
        if self.text == "uuid":
            return "a UUID"
        if self.text == "date-time":
            return "an ISO 8601 date and time"
        words = sorted({_WORDS[kind] for kind in self.types}, key=lambda word: (word == "null", word))
        return " or ".join(words)


def is_uuid(text: object) -> bool:
    """Say whether this is a UUID in its usual form, of any version and in either case."""
    return isinstance(text, str) and _UUID.match(text) is not None


def instant(text: str) -> float | None:
    """Milliseconds since the epoch of an ISO 8601 text, UTC if it names no zone; None if it is none."""
    if _DATE.match(text) is None:
        return None
    text = text.upper().replace(" ", "T")
    text = re.sub(r"\.(\d+)", lambda found: "." + (found[1] + "000000")[:6], text)  # Python 3.10 wants 3 or 6
    text = re.sub(r"([+-]\d\d)(\d\d)\Z", r"\1:\2", text.replace("Z", "+00:00")) if "T" in text else text
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() * 1000
    except (ValueError, OverflowError):
        return None


def problems(shape: Shape, value: object, *, name: str = "", lenient: bool = False) -> list[str]:
    """Say what is wrong with a value, each time naming the field and what was expected. Empty: nothing.

    `lenient` lets unknown fields pass everywhere.
    """
    found: list[str] = []
    if type(value) not in shape.types:
        found.append(f"{name or 'the body'}: expected {shape.expected}, got {_WORDS[type(value)]}")
    elif shape.deep:
        _look(shape, value, name, found, lenient)
    return found[:_MOST]


def _look(shape: Shape, value: Any, name: str, found: list[str], lenient: bool) -> None:
    if type(value) is dict:
        _look_into(shape, value, name, found, lenient)
    elif type(value) is list:
        if shape.items is not None:
            for index, item in enumerate(value):
                _check(shape.items, item, f"{name}[{index}]", found, lenient)
                if len(found) >= _MOST:
                    return
    elif value is not None and not _fits(shape, value):
        found.append(f"{name}: expected {shape.expected}, got {_shown(value)}")


def _look_into(shape: Shape, value: dict[str, Any], name: str, found: list[str], lenient: bool) -> None:
    kinds = () if shape.open else (*value, *map(type, value.values()))
    tests = shape.fine.get(kinds)
    if tests is not None and _pass(tests, value):
        return
    before = len(found)
    _look_at_each(shape, value, name, found, lenient)
    if len(found) == before and not shape.open and shape.fields.keys() >= value.keys():
        if len(shape.fine) >= _MOST_FINE:
            shape.fine.clear()
        shape.fine[kinds] = [
            (field, _test(shape.fields[field]))
            for field, inner in value.items()
            if inner is not None and shape.fields[field].deep
        ]


def _pass(tests: list[tuple[str, Callable[[Any], object]]], value: dict[str, Any]) -> bool:
    for field, test in tests:  # noqa: SIM110 - a generator would cost as much as the tests
        if not test(value[field]):
            return False
    return True


def _test(shape: Shape) -> Callable[[Any], object]:
    """Something fast that says whether a value of one of the right types fits."""
    if shape.text == "uuid":
        return _UUID.match
    if shape.enum:
        return shape.enum.__contains__
    return lambda value: not problems(shape, value)


def _look_at_each(shape: Shape, value: dict[str, Any], name: str, found: list[str], lenient: bool) -> None:
    prefix = f"{name}." if name else ""
    for required in shape.required:
        if required not in value:
            found.append(f"{prefix}{required}: required, {shape.fields[required].expected} was expected")
    fields = shape.fields
    for field, inner in value.items():
        known = fields.get(field)
        if known is None:
            if not shape.open and not lenient:
                found.append(
                    f"{prefix}{_shown(field, quote=False)}: unknown field, expected one of {', '.join(fields)}"
                )
        elif known.deep or type(inner) not in known.types:
            _check(known, inner, prefix + field, found, lenient)
        if len(found) >= _MOST:
            return


def _check(shape: Shape, value: Any, name: str, found: list[str], lenient: bool) -> None:
    if type(value) not in shape.types:
        found.append(f"{name}: expected {shape.expected}, got {_WORDS[type(value)]}")
    elif shape.deep:
        _look(shape, value, name, found, lenient)


def _fits(shape: Shape, value: Any) -> bool:
    if shape.enum and value not in shape.enum:
        return False
    if shape.text == "uuid":
        return is_uuid(value)
    if shape.text == "date-time":
        return instant(value) is not None
    if shape.integer and value != int(value):
        return False
    return (shape.least is None or value >= shape.least) and (shape.most is None or value <= shape.most)


def _shown(value: object, *, quote: bool = True) -> str:
    text = repr(value) if quote else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = schemas
        for part in schema["$ref"].removeprefix("#/components/schemas/").split("/"):
            found = found[part]
        schema = found
    return schema


document: bytes = resources.files(__package__).joinpath("openapi.json").read_bytes()
"""The published OpenAPI document."""

_schemas: dict[str, Any] = orjson.loads(document)["components"]["schemas"]

EVENT = Shape(_schemas["CreateEvent"], _schemas)
BATCH = Shape(_schemas["CreateEventBatch"], _schemas)
SESSION_BATCH = Shape(_schemas["SessionEventBatch"], _schemas)
SESSION = Shape(_schemas["StartSession"], _schemas)
SESSION_PROPERTIES = Shape(_schemas["SessionProperties"], _schemas)
UPDATE = Shape(_schemas["UpdateEvent"], _schemas)
SEARCH = Shape(_schemas["SearchEvents"], _schemas)
EXPORT = Shape(_schemas["ExportEvents"], _schemas)
