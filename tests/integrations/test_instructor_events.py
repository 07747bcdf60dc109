"""Instructor asks again until an answer fits: one event for each attempt, below whatever is current."""

from __future__ import annotations

from typing import Any

import pytest
from model_server import ModelServer
from surface import KEY, MESSAGES

import honeytrace
from honeytrace.testing import Traces, capture

instructor = pytest.importorskip("instructor")
pydantic = pytest.importorskip("pydantic")
openai = pytest.importorskip("openai")


class City(pydantic.BaseModel):
    city: str


class Rome(pydantic.BaseModel):
    city: str

    @pydantic.field_validator("city")
    @classmethod
    def must_be_rome(cls, value: str) -> str:
        if value != "Rome":
            raise ValueError("not Rome")
        return value


def _ask(server: ModelServer, model: type[Any], **options: Any) -> Any:
    with openai.OpenAI(api_key=KEY, base_url=server.url) as plain:
        client = instructor.from_openai(plain, mode=instructor.Mode.JSON)
        return client.chat.completions.create(model="schema", messages=MESSAGES, response_model=model, **options)


def test_an_answer_that_fits_is_one_event(server: ModelServer, recorded: Traces) -> None:
    assert _ask(server, City).city == "Bern"
    (event,) = recorded
    assert event.event_name == "chat.completions.create"
    assert event.outputs["content"] == '{"city":"Bern"}'
    assert event.metadata["total_tokens"] == 18


def test_each_attempt_is_an_event_below_what_is_current(server: ModelServer, recorded: Traces) -> None:
    with honeytrace.span("extract"), pytest.raises(Exception, match="not Rome"):
        _ask(server, Rome, max_retries=2)
    attempts = recorded.named("chat.completions.create")
    assert len(attempts) == len(server.requests) > 1  # versions count the first attempt, or not
    assert {event.parent_id for event in attempts} == {recorded.one("extract").event_id}
    assert {event.error for event in attempts} == {None}
    lengths = [len(event.inputs["chat_history"]) for event in attempts]
    assert lengths == sorted(set(lengths))


def test_a_partial_stream_is_one_event(server: ModelServer, recorded: Traces) -> None:
    cities = list(_ask(server, instructor.Partial[City], stream=True))
    assert cities[-1].city == "Bern"
    (event,) = recorded
    assert event.outputs["content"] == '{"city":"Bern"}'


def test_the_answer_is_the_same_without_tracing(server: ModelServer) -> None:
    plain = _ask(server, City).model_dump()
    sent = server.requests[-1][2]
    with capture():
        honeytrace.instrument("openai")
        try:
            assert _ask(server, City).model_dump() == plain
        finally:
            honeytrace.uninstrument()
    assert server.requests[-1][2] == sent
