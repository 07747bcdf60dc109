"""The text of the doors uses names of ours: each one is given to it, off the beaten track as well."""

from __future__ import annotations

import re
from types import CodeType

import pytest

from honeytrace._door_source import begin_source, door_source, encode_by_plan, encode_parameters, factory_source
from honeytrace._doors import _GIVEN, _NAMES, _RARE
from honeytrace._parameters import Parameters

KINDS = {"function": 0, "generator": 0x20, "coroutine": 0x80, "async generator": 0x200}
ENCODINGS = {
    "function": encode_parameters(["first", "second"], "first", False),
    "method": encode_parameters(["first", "second"], "first", True),
    "plan": encode_by_plan("$plan.bind((first, second), {}, $receives)"),
}


def sources() -> dict[str, str]:
    parameters = Parameters(positional=("first", "second"))
    made = {"begin": factory_source(begin_source(), _GIVEN, "_ht_")}
    for kind, flags in KINDS.items():
        for name, encode in ENCODINGS.items():
            body = door_source(parameters, flags, encode, "$wrapped(first, second)")
            made[f"{kind}, {name}"] = factory_source(body, _NAMES, "_ht_")
    return made


@pytest.mark.parametrize("source", [pytest.param(text, id=name) for name, text in sources().items()])
def test_every_name_a_door_uses_is_given_to_it(source: str) -> None:
    used = set(re.findall(r"_ht_rare\.(\w+)", source))
    assert used
    assert used <= vars(_RARE).keys()
    namespace: dict[str, object] = {}
    exec(compile(source, "door", "exec"), namespace)
    (door,) = (one for one in namespace["make"].__code__.co_consts if isinstance(one, CodeType))  # type: ignore[attr-defined]
    # What is no cell and no local is looked up as a global or an attribute: no name of ours may be.
    assert [name for name in door.co_names if name.startswith("_ht_")] == []


def test_nothing_is_given_to_doors_that_none_uses() -> None:
    everything = "".join(sources().values())
    assert vars(_RARE).keys() - set(re.findall(r"_ht_rare\.(\w+)", everything)) == set()
