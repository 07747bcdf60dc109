"""What is recorded of a call: its arguments by name, its result, and what options and markers make of them."""

from __future__ import annotations

import functools
import operator
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Optional

import pytest

import honeytrace
from honeytrace import Hash, Omit, Redact, TraceError, Truncate, trace
from honeytrace.testing import Traces, capture

Secret = Annotated[str, Redact]


def test_arguments_are_named_and_defaults_are_recorded(traces: Traces) -> None:
    @trace
    def work(a: int, b: int = 2, /, c: int = 3, *rest: int, d: int, e: int = 5, **more: int) -> None: ...

    work(1, d=4)
    work(1, 20, 30, 40, 50, d=60, f=70)
    work(1, d=4, a=10)
    assert [event.inputs for event in traces] == [
        {"a": 1, "b": 2, "c": 3, "rest": [], "d": 4, "e": 5, "more": {}},
        {"a": 1, "b": 20, "c": 30, "rest": [40, 50], "d": 60, "e": 5, "more": {"f": 70}},
        {"a": 1, "b": 2, "c": 3, "rest": [], "d": 4, "e": 5, "more": {"a": 10}},
    ]


def test_arguments_of_callables_without_code_are_named_too(traces: Traces) -> None:
    def add(a: int, b: int, *, c: int = 3) -> int:
        return a + b + c

    class Tool:
        def __call__(self, x: int, y: int = 2) -> int:
            return x

    trace(functools.partial(add, 1))(2)
    trace(Tool())(5)
    trace(sorted)([2, 1])
    trace(operator.itemgetter(0))([7])
    items: list[int] = []
    trace(items.append)(9)
    assert [event.event_name for event in traces] == ["add", "Tool", "sorted", "itemgetter", "append"]
    assert traces[0].inputs == {"b": 2, "c": 3}
    assert traces[1].inputs == {"x": 5, "y": 2}
    assert traces[2].inputs["iterable"] == [2, 1]
    assert "7" in str(traces[3].inputs)
    assert list(traces[4].inputs.values()) == [9]


@pytest.mark.parametrize(
    ("result", "outputs"),
    [
        (1, {"result": 1}),
        (None, {"result": None}),
        ("text", {"result": "text"}),
        ("x" * 1000, {"result": "x" * 1000}),
        ([1, 2], {"result": [1, 2]}),
        ((), {"result": []}),
        ({}, {}),
        ({"answer": 1, "result": 2}, {"answer": 1, "result": 2}),
        ({1: 2}, {"1": 2}),
        (OrderedDict(a=1), {"a": 1}),
        (namedtuple("P", "a b")(1, 2), {"result": {"a": 1, "b": 2}}),
        (True, {"result": True}),
        (2**80, {"result": str(2**80)}),
        ("\ud800", {"result": "\ufffd"}),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_a_result_goes_to_outputs_as_it_is_or_under_result(
    result: Any, outputs: dict[str, Any], traces: Traces
) -> None:
    @trace
    def work() -> Any:
        return result

    @trace
    async def later() -> Any:
        return result

    @trace
    def enriched() -> Any:
        honeytrace.enrich_span(metadata={"a": 1})
        return result

    work()
    with pytest.raises(StopIteration):
        later().send(None)
    enriched()
    expected = [outputs] * 3
    found = [event.fields["outputs"] for event in traces]
    if result == "\ud800":
        assert all(list(one) == ["result"] and one["result"].isascii() is not None for one in found)
    else:
        assert found == expected


class Boxed(dict[str, Any]):
    """A dict that wants to be shown as something else."""

    def __honeytrace__(self) -> Any:
        return "boxed"


@pytest.mark.parametrize(
    "value", [Boxed(a=1), {str(i): "x" * 900 for i in range(3_000)}], ids=["shown otherwise", "huge"]
)
def test_inputs_and_outputs_are_objects_whatever_they_hold(value: Any) -> None:
    @trace
    def work(x: Any) -> Any:
        return value

    @trace(process_inputs=lambda inputs: value, process_outputs=lambda result: value)
    def hooked(x: Any) -> Any:
        return value

    with capture(max_event_bytes=100_000) as traces:
        work(value)
        hooked(value)
    assert len(traces) == 2
    for event in traces:
        assert isinstance(event.fields["inputs"], dict)
        assert isinstance(event.fields["outputs"], dict)


def test_what_happens_to_arguments_and_results_later_changes_nothing(traces: Traces) -> None:
    shared = {"n": [1]}

    @trace
    def work(x: Any, *rest: Any, **more: Any) -> Any:
        x["n"].append(2)
        more["own"] = 1
        return x

    result = work(shared, shared, key=shared)
    result["n"].append(3)
    event = traces.one("work")
    assert event.inputs == {"x": {"n": [1]}, "rest": [{"n": [1]}], "more": {"key": {"n": [1]}}}
    assert event.outputs == {"n": [1, 2]}


def test_excluded_parameters_are_nowhere_in_the_record(traces: Traces) -> None:
    @trace(exclude=("a", "rest", "more"))
    def work(a: str, b: str, *rest: str, **more: str) -> None: ...

    @trace(exclude="a")
    def single(a: str, b: str) -> None: ...

    work("hidden", "shown", "hidden", c="hidden")
    single("hidden", "shown")
    assert [event.inputs for event in traces] == [{"b": "shown"}] * 2
    assert not any(b"hidden" in record.body for record in traces.records)


def test_exclusion_holds_for_callables_without_code(traces: Traces) -> None:
    def work(a: str, b: str) -> None: ...

    partial = trace(functools.partial(work), exclude=("a",))
    partial("hidden", "shown")
    with pytest.raises(TypeError):
        partial("hidden", "hidden", "hidden")
    assert traces[0].inputs == {"b": "shown"}
    assert "hidden" not in str([event.inputs for event in (*traces, *traces.sessions)])


@pytest.mark.parametrize("given", [["a"], {"a"}, iter(["a"]), "a"], ids=lambda given: type(given).__name__)
def test_names_may_come_in_any_collection(given: Any, traces: Traces) -> None:
    @trace(exclude=given)
    def work(a: str, b: str) -> None: ...

    work("hidden", "shown")
    assert traces.one("work").inputs == {"b": "shown"}


@pytest.mark.parametrize(
    ("options", "inputs"),
    [
        ({"capture_inputs": False}, {}),
        ({"capture_inputs": True}, {"a": 1, "b": 2}),
        ({"capture_inputs": ("b",)}, {"b": 2}),
        ({"capture_inputs": "b"}, {"b": 2}),
        ({"capture_inputs": ()}, {}),
        ({"capture_inputs": ("a", "b"), "exclude": ("a",)}, {"b": 2}),
    ],
)
def test_inputs_are_chosen(options: dict[str, Any], inputs: dict[str, Any], traces: Traces) -> None:
    @trace(**options)
    def work(a: int, b: int) -> int:
        return a

    work(1, 2)
    assert traces.one("work").inputs == inputs
    assert traces.one("work").outputs == {"result": 1}
    assert traces.sessions[0].inputs == inputs


@pytest.mark.parametrize(
    ("chosen", "result", "outputs"),
    [
        (False, {"a": 1}, {}),
        (False, 1, {}),
        (True, {"a": 1}, {"a": 1}),
        (("a",), {"a": 1, "b": 2}, {"a": 1}),
        ("a", {"a": 1, "b": 2}, {"a": 1}),
        (("a",), 5, {}),
        (("result",), 5, {"result": 5}),
        ((), {"a": 1}, {}),
    ],
)
def test_outputs_are_chosen(chosen: Any, result: Any, outputs: dict[str, Any], traces: Traces) -> None:
    @trace(capture_outputs=chosen)
    def work() -> Any:
        return result

    assert work() is result
    assert (traces.one("work").outputs or {}) == outputs


def test_hooks_rewrite_what_is_recorded(traces: Traces) -> None:
    @trace(
        process_inputs=lambda inputs: {"sum": sum(inputs.values())},
        process_outputs=lambda result: {"twice": result * 2},
    )
    def work(a: int, b: int) -> int:
        return a

    @trace(process_inputs=lambda inputs: len(inputs), process_outputs=lambda result: None)
    def bare(a: int) -> int:
        return a

    assert (work(1, 2), bare(3)) == (1, 3)
    assert (traces[0].inputs, traces[0].outputs) == ({"sum": 3}, {"twice": 2})
    assert (traces[1].inputs, traces[1].outputs) == ({"value": 1}, {"result": None})


@pytest.mark.internal_failure_expected
@pytest.mark.parametrize("kind", [ValueError, RecursionError, AssertionError, SystemExit])
def test_a_hook_that_raises_leaves_its_failure_and_no_data(kind: type[BaseException], traces: Traces) -> None:
    def hook(values: Any) -> Any:
        raise kind(f"cannot handle {values}")

    @trace(process_inputs=hook, process_outputs=hook)
    def work(a: str) -> str:
        return a

    assert work("private") == "private"
    event = traces.one("work")
    assert kind.__name__ in str(event.inputs)
    assert kind.__name__ in str(event.outputs)
    assert event.error is None
    assert not any(b"private" in record.body for record in traces.records)


def emptied(value: Any) -> Any:
    """A hook as people write them: it takes out what must not be recorded, in place."""
    if isinstance(value, dict):
        for one in value.values():
            emptied(one)
        value.clear()
    elif isinstance(value, list):
        for one in value:
            emptied(one)
        value.clear()
    return value


def test_a_hook_cannot_change_which_arguments_arrive(traces: Traces) -> None:
    @trace(process_inputs=emptied)
    def work(a: int, *rest: int, **more: int) -> Any:
        return a, rest, more

    assert work(1, 2, 3, key=4) == (1, (2, 3), {"key": 4})


def test_a_hook_cannot_change_what_is_inside_the_arguments(traces: Traces) -> None:
    headers = {"authorization": "secret", "parts": [{"n": 1}]}

    @trace(process_inputs=emptied)
    def work(headers: Any) -> Any:
        return dict(headers)

    assert work(headers) == {"authorization": "secret", "parts": [{"n": 1}]}


def test_a_hook_cannot_change_the_result(traces: Traces) -> None:
    @trace(process_outputs=emptied)
    def work() -> Any:
        return {"answer": [{"n": 1}]}

    @trace(process_outputs=emptied)
    def many() -> Any:
        return [1, 2]

    assert work() == {"answer": [{"n": 1}]}
    assert many() == [1, 2]


@pytest.mark.parametrize(
    ("annotation", "recorded"),
    [
        (Annotated[str, Redact], {"x": "[redacted]", "y": 1}),
        (Annotated[str, Redact()], {"x": "[redacted]", "y": 1}),
        (Annotated[str, Omit], {"y": 1}),
        (Optional[Annotated[str, Omit]], {"y": 1}),
        (Annotated[str, Truncate(3)], {"x": "pri… [7 characters]", "y": 1}),
        ("Annotated[str, Redact]", {"x": "[redacted]", "y": 1}),
        ("Annotated[str, honeytrace.Omit]", {"y": 1}),
        ("Secret", {"x": "[redacted]", "y": 1}),
        ("Secret | None", {"x": "[redacted]", "y": 1}),
        ("Annotated[OnlyForTypeCheckers, Redact]", {"x": "[redacted]", "y": 1}),
        ("OnlyForTypeCheckers", {"x": "private", "y": 1}),
    ],
    ids=str,
)
def test_markers_in_a_signature_are_obeyed(annotation: Any, recorded: dict[str, Any], traces: Traces) -> None:
    def work(x, y=1):  # type: ignore[no-untyped-def]
        return x

    async def later(x, y=1):  # type: ignore[no-untyped-def]
        return x

    class Tool:
        def method(self, x, y=1):  # type: ignore[no-untyped-def]
            return x

        def __call__(self, x, y=1):  # type: ignore[no-untyped-def]
            return x

    for function in (work, later, Tool.method, Tool.__call__):
        function.__annotations__ = {"x": annotation}
    Tool.method = trace(Tool.method)  # type: ignore[method-assign]
    assert trace(work)("private") == "private"
    with pytest.raises(StopIteration):
        trace(later)("private").send(None)
    assert Tool().method("private") == "private"
    assert trace(functools.partial(work))("private") == "private"
    assert trace(functools.lru_cache(work))("private") == "private"
    assert trace(Tool())("private") == "private"
    assert [event.inputs for event in traces] == [recorded] * 6


def test_a_hash_tells_equal_values_and_no_more(traces: Traces) -> None:
    @trace
    def work(x: Annotated[Any, Hash]) -> None: ...

    for value in ("a", "a", "b", {"k": [1]}, {"k": [1]}):
        work(value)
    hashes = [event.inputs["x"] for event in traces]
    assert all(one.startswith("sha256:") for one in hashes)
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[3] == hashes[4]


@pytest.mark.parametrize(
    ("marker", "outputs"),
    [(Redact, {"result": "[redacted]"}), (Omit, {}), (Truncate(2), {"result": "pr… [7 characters]"})],
)
def test_a_marker_on_the_result_is_obeyed(marker: Any, outputs: dict[str, Any], traces: Traces) -> None:
    def work() -> Any:
        return "private"

    work.__annotations__ = {"return": Annotated[str, marker]}
    assert trace(work)() == "private"
    event = traces.one("work")
    assert (event.outputs or {}) == outputs
    assert b"private" not in traces.records[-1].body


def test_a_marker_on_the_result_hides_a_dict_and_the_chunks_of_a_generator(traces: Traces) -> None:
    @trace
    def work() -> Annotated[dict[str, str], Redact]:
        return {"key": "private"}

    @trace
    def stream() -> Annotated[Any, Redact]:
        yield "private"
        return "private"

    work()
    list(stream())
    assert not any(b"private" in record.body for record in traces.records)


def test_secrets_are_replaced_by_parameter_name_and_by_nested_key(traces: Traces) -> None:
    @trace
    def login(user: str, password: str, *, api_key: str = "k-123", options: Any = None, **more: Any) -> Any:
        return {"access_token": password, "user": {"cookie": password}, "prompt_tokens": 5}

    result = login("me", "p-123", options={"headers": {"Authorization": "p-123"}, "n": 1}, client_secret="p-123")
    assert result["access_token"] == "p-123"
    event = traces.one("login")
    assert event.inputs == {
        "user": "me",
        "password": "[redacted]",
        "api_key": "[redacted]",
        "options": {"headers": {"Authorization": "[redacted]"}, "n": 1},
        "more": {"client_secret": "[redacted]"},
    }
    assert event.outputs == {"access_token": "[redacted]", "user": {"cookie": "[redacted]"}, "prompt_tokens": 5}
    assert not any(b"-123" in record.body for record in traces.records)


def test_secrets_are_hidden_from_proxies_of_callables_too(traces: Traces) -> None:
    def login(user: str, password: str) -> None: ...

    traced = trace(functools.partial(login, "me"))
    traced("p-123")
    with pytest.raises(TypeError):
        traced(password="p-123", nope=1)
    assert "p-123" not in str([event.inputs for event in (*traces, *traces.sessions)])


def test_names_and_secrets_are_known_behind_other_decorators(traces: Traces) -> None:
    def repeated(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @trace
    @repeated
    def login(user: str, password: str, pin: Annotated[str, Omit] = "p-123", n: int = 1) -> None: ...

    login("me", "p-123", "p-123")
    login("me", password="p-123")
    assert [event.inputs for event in traces] == [{"user": "me", "password": "[redacted]", "n": 1}] * 2
    assert not any(b"p-123" in record.body for record in traces.records)


@pytest.mark.parametrize(
    ("alias", "event_type"),
    [
        (None, "chain"), ("chain", "chain"), ("model", "model"), ("tool", "tool"), ("session", "session"),
        ("llm", "model"),
        ("agent", "chain"), ("workflow", "chain"), ("retriever", "tool"), ("embedding", "tool"), ("function", "chain"),
    ],
)  # fmt: skip
def test_event_types_and_their_aliases(alias: str | None, event_type: str, traces: Traces) -> None:
    def work() -> None: ...

    if alias is None:
        trace(work)()
        trace()(work)()
    else:
        trace(alias)(work)()
        trace(event_type=alias)(work)()
    assert [event.event_type for event in traces] in ([event_type] * 2, [])
    if alias != "session":
        assert len(traces) == 2


def test_fixed_names_config_and_metadata_are_on_every_event(traces: Traces) -> None:
    @trace("model", event_name="answer 100%", config={"model": "m", "api_key": "k-123"}, metadata={"n": 1})
    def work(x: int) -> int:
        honeytrace.enrich_span(metadata={"own": x}) if x else None
        return x

    work(0)
    work(1)
    for event in traces:
        assert event.event_name == "answer 100%"
        assert event.config == {"model": "m", "api_key": "[redacted]"}
    assert [event.metadata for event in traces] == [{"n": 1}, {"n": 1, "own": 1}]


FUNCTION: Callable[..., Any] = lambda a, b: None


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (lambda: trace("nonsense"), ["nonsense", "chain", "model", "tool", "session"]),
        (lambda: trace(event_type="nonsense"), ["nonsense", "chain", "model", "tool", "session"]),
        (lambda: trace(event_type=5), ["5"]),
        (lambda: trace("tool", event_type="tool"), ["twice"]),
        (lambda: trace(nope=1), ["nope", "exclude", "event_name"]),
        (lambda: trace(FUNCTION, nope=1), ["nope", "exclude"]),
        (lambda: trace(exclude=("c",))(FUNCTION), ["'c'", "a, b"]),
        (lambda: trace(capture_inputs=("c",))(FUNCTION), ["'c'", "a, b"]),
        (lambda: trace(exclude=("c",))(functools.partial(FUNCTION, 1)), ["'c'", "b"]),
        (lambda: trace(exclude=5)(FUNCTION), ["exclude", "int"]),
        (lambda: trace(capture_inputs=5)(FUNCTION), ["capture_inputs", "int"]),
        (lambda: trace(capture_outputs=5)(FUNCTION), ["capture_outputs", "int"]),
        (lambda: trace(process_inputs=5), ["process_inputs", "int"]),
        (lambda: trace(process_outputs="x"), ["process_outputs", "str"]),
        (lambda: trace(reduce=5), ["reduce", "int"]),
        (lambda: trace(config=5), ["config", "int"]),
        (lambda: trace(metadata=[]), ["metadata", "list"]),
        (lambda: trace(event_name=5), ["event_name", "int"]),
        (lambda: trace(expected=5), ["expected", "5"]),
        (lambda: trace(5), ["int"]),
        (lambda: trace()(5), ["int"]),
        (lambda: trace(event_name="x")(type("Tool", (), {})), ["event_name", "Tool"]),
    ],
)  # fmt: skip
def test_misuse_is_told_when_the_decorator_is_applied(misuse: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(TraceError) as caught:
        misuse()
    for word in words:
        assert word in str(caught.value)


def test_a_marker_without_its_number_is_told_when_the_decorator_is_applied() -> None:
    def work(x):  # type: ignore[no-untyped-def]
        ...

    work.__annotations__ = {"x": Annotated[str, Truncate]}
    with pytest.raises(TraceError, match="Truncate"):
        trace(work)


def test_options_of_a_class_are_for_the_methods_that_have_such_parameters(traces: Traces) -> None:
    @trace(exclude=("token",))
    class Tool:
        def login(self, token: str) -> None: ...

        def look(self) -> None: ...

    Tool().login("x")
    Tool().look()
    assert [event.inputs for event in traces] == [{}, {}]
    with pytest.raises(TraceError, match="token"):

        @trace(exclude=("token",))
        class Other:
            def look(self) -> None: ...


def test_a_function_that_is_decorated_twice_is_recorded_once(traces: Traces) -> None:
    @trace(event_name="outer", metadata={"outer": 1})
    @trace("tool", event_name="inner", config={"inner": 1})
    def work() -> None: ...

    @trace
    @trace("model")
    async def later() -> None: ...

    @trace("tool")
    class Tool:
        @trace("model", exclude=("x",))
        def use(self, x: int) -> None: ...

    work()
    with pytest.raises(StopIteration):
        later().send(None)
    Tool().use(1)
    trace(trace(functools.partial(work)), event_name="partial")()
    assert [(event.event_name, event.event_type) for event in traces] == [
        ("outer", "tool"), ("later", "model"), ("use", "model"), ("outer", "tool"), ("partial", "chain"),
    ]  # fmt: skip
    assert traces[0].config == {"inner": 1}
    assert traces[0].metadata == {"outer": 1}
    assert traces[2].inputs == {}


def test_a_callable_object_that_is_decorated_twice_keeps_what_both_say(traces: Traces) -> None:
    def work(a: str, b: str) -> None: ...

    traced = trace(trace(functools.partial(work), exclude=("a",)), event_name="again")
    traced("hidden", "shown")
    assert traces.one("again").inputs == {"b": "shown"}


def test_inputs_are_recorded_even_when_the_call_fails(traces: Traces) -> None:
    @trace
    def work(x: list[int]) -> None:
        x.append(2)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        work([1])
    event = traces.one("work")
    assert event.inputs == {"x": [1]}
    assert event.outputs is None
    assert event.error == "ValueError: no"


def test_a_mapping_that_is_no_dict_is_a_value(traces: Traces) -> None:
    class View(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 1

        def __iter__(self) -> Any:
            return iter("a")

        def __len__(self) -> int:
            return 1

    @trace
    def work() -> Any:
        return View()

    work()
    assert list(traces.one("work").outputs) == ["result"]
