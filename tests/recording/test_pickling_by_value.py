"""Functions that travel by value: a program's own, to workers that do not have its modules (Ray, Dask, joblib)."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

cloudpickle = pytest.importorskip("cloudpickle")

PROGRAM = """
import sys, cloudpickle, honeytrace
from honeytrace import trace, span

@trace(event_type="tool", exclude=["secret_sauce"])
def add(a, b=2, secret_sauce=None):
    return a + b

@trace
def countdown(n):
    return [n] + (countdown(n - 1) if n else [])

@trace
async def wait(a):
    return a

@trace(reduce=sum)
def numbers(n):
    yield from range(n)

@trace
async def later(n):
    for i in range(n):
        yield i

@trace
def fail():
    raise ValueError("no")

@span("block", "chain")
def block(a):
    return add(a)

class Plain:
    @trace
    def method(self, a):
        return a
    @classmethod
    @trace
    def made(cls, a):
        return a
    @property
    @trace
    def shown(self):
        return 7

@trace
class Whole:
    def method(self, a):
        return a

if len(sys.argv) > 1:
    honeytrace.init(exporters=["console"], journal=False)
    add(1), Plain().method(1), Whole().method(1)
    list(numbers(2))
    honeytrace.shutdown()
sys.stdout.buffer.write(cloudpickle.dumps((add, countdown, wait, numbers, later, fail, block, Plain, Whole)))
"""

WORKER = """
import sys, pickle, json, asyncio, contextlib, inspect
add, countdown, wait, numbers, later, fail, block, Plain, Whole = pickle.loads(sys.stdin.buffer.read())
import honeytrace
from honeytrace.testing import capture

async def all_of_it():
    return [i async for i in later(2)]

assert add(1) == 3
with capture() as traces:
    assert add(1, secret_sauce="paprika") == 3
    assert countdown(1) == [1, 0]
    assert asyncio.run(wait(5)) == 5
    assert list(numbers(4)) == [0, 1, 2, 3]
    assert asyncio.run(all_of_it()) == [0, 1]
    assert block(2) == 4
    assert Plain().method(1) == 1
    assert Plain.made(1) == 1
    assert Plain().shown == 7
    assert Whole().method(1) == 1
    with contextlib.suppress(ValueError):
        fail()
    again = honeytrace.trace(event_name="again")(add)
    again(5)
names = {one.event_id: one.event_name for one in traces}
print(json.dumps([[e.event_name, names.get(e.parent_id), e.event_type, e.inputs, e.outputs] for e in traces]))
assert str(inspect.signature(add)) == "(a, b=2, secret_sauce=None)"
(failed,) = [one for one in traces if one.error]
assert failed.metadata["traceback"].count("File ") == 1, failed.metadata  # the function, not its door
assert len(set(names)) == len(traces)
"""


@pytest.mark.parametrize("used_before", [False, True])
def test_a_function_that_was_pickled_by_value_is_traced_where_it_arrives(tmp_path: Path, used_before: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    sent = subprocess.run(
        [sys.executable, str(program), *["used"][: int(used_before)]], capture_output=True, timeout=60, check=True
    ).stdout
    worker = subprocess.run([sys.executable, "-c", WORKER], input=sent, capture_output=True, timeout=60)
    assert worker.returncode == 0, worker.stderr.decode()
    assert json.loads(worker.stdout) == [
        ["add", None, "tool", {"a": 1, "b": 2}, {"result": 3}],
        ["countdown", "countdown", "chain", {"n": 0}, {"result": [0]}],
        ["countdown", None, "chain", {"n": 1}, {"result": [1, 0]}],
        ["wait", None, "chain", {"a": 5}, {"result": 5}],
        ["numbers", None, "chain", {"n": 4}, {"result": 6}],
        ["later", None, "chain", {"n": 2}, {"result": [0, 1]}],
        ["add", "block", "tool", {"a": 2, "b": 2}, {"result": 4}],
        ["block", None, "chain", {"a": 2}, {"result": 4}],
        ["method", None, "chain", {"a": 1}, {"result": 1}],
        ["made", None, "chain", {"a": 1}, {"result": 1}],
        ["shown", None, "chain", {}, {"result": 7}],
        ["method", None, "chain", {"a": 1}, {"result": 1}],
        ["fail", None, "chain", {}, None],
        ["again", None, "tool", {"a": 5, "b": 2}, {"result": 7}],
    ]


def test_context_variables_of_the_program_are_refused_as_ever() -> None:
    variable: ContextVar[Any] = ContextVar("mine")
    for dumps in (pickle.dumps, cloudpickle.dumps):
        with pytest.raises(TypeError, match=r"cannot pickle '_contextvars\.ContextVar' object"):
            dumps(variable)
