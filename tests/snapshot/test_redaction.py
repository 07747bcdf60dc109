"""Secrets never reach the encoded bytes, and what only sounds like one does."""

import dataclasses
import json
import re
from typing import Annotated, Optional

import pandas
import pydantic
import pytest

from honeytrace._snapshot import Snapshotter
from honeytrace.exceptions import ConfigError, TraceError
from honeytrace.redaction import (
    REDACTED,
    Hash,
    Omit,
    Redact,
    SecretNames,
    Truncate,
    apply,
    markers_of,
    redactor_from,
)

SECRET = """
password passwd pwd passphrase user_password dbPassword PASSWORD Password password2 password_hash
newPassWord db_pass secret client_secret clientSecret CLIENTSECRET secret_key aws_secret_access_key
token access_token refreshToken auth_token id_token x-auth-token bearer sessiontoken session_token
csrfToken hf_token github_token bot_token accesstoken api_tokens X-Amz-Security-Token token_value
api_key apikey api-key x-api-key X-API-Key openai_api_key OPENAI_API_KEY apiKey xApiKey api_keys
openai_key authorization Authorization proxy-authorization auth basic_auth auth_header cookie
Set-Cookie cookies private_key privateKey ssh_key signing_key credential credentials aws_credentials
creds access_key accessKeyId account_key ssn jwt connection_string
""".split()

PLAIN = """
prompt_tokens completion_tokens total_tokens max_tokens max_new_tokens tokens token_count num_tokens
token_usage n_tokens tokenizer token_ids eos_token eos_token_id pad_token bos_token
time_to_first_token_ms first_token_at tokens_per_second logit_tokens maxTokens promptTokens
cache_read_input_tokens reasoning_tokens stop_token next_token completion_tokens_details
input_token_details token_type secretary author authors authored key keys keyboard primary_key
monkey passenger compass bypass pass_rate passed signature session_id name user id role content
messages model query author_id auth_type is_secret has_password
""".split()


@pytest.mark.parametrize("name", SECRET)
def test_this_name_is_secret(name):
    assert SecretNames().is_secret(name)


@pytest.mark.parametrize("name", PLAIN)
def test_this_name_is_not_secret(name):
    assert not SecretNames().is_secret(name)


def test_names_and_patterns_can_be_added_and_allowed():
    names = SecretNames(extra=["customer_email", re.compile(r"^x_")], allow=["token", re.compile("pub.*key")])
    assert names.is_secret("customerEmail")
    assert names.is_secret("the-customer-email")
    assert not names.is_secret("email")
    assert names.is_secret("x_anything")
    assert not names.is_secret("Token")
    assert names.is_secret("access_token")
    assert not names.is_secret("pub_api_key")


@pytest.mark.parametrize("wrong", [[1], [""], [re.compile(b"x")], "password", 5, None])
def test_a_rule_that_cannot_work_is_refused_with_its_name(wrong):
    with pytest.raises(ConfigError, match="extra"):
        SecretNames(extra=wrong)


def test_redactors_with_the_same_rules_are_equal_and_their_repr_tells_no_rule():
    assert SecretNames(extra=["abc"]) == SecretNames(extra=["ABC"])
    assert hash(SecretNames(extra=["abc"])) == hash(SecretNames(extra=["ABC"]))
    assert SecretNames(extra=["abc"]) != SecretNames()
    assert "abc" not in repr(SecretNames(extra=["abc"]))


class Own:
    def is_secret(self, name: str) -> bool:
        return name == "mine"


def test_the_setting_says_which_redactor():
    own = Own()
    assert redactor_from(True) == SecretNames()
    assert redactor_from(False) is None
    assert redactor_from(own) is own
    assert redactor_from(["mine"]).is_secret("mine") and redactor_from(["mine"]).is_secret("password")
    for wrong in ("password", 5, Own, [5]):
        with pytest.raises(ConfigError):
            redactor_from(wrong)


@dataclasses.dataclass
class Login:
    user: str
    password: str


class Client:
    def __init__(self) -> None:
        self.api_key = "hunter2"
        self.url = "u"


class Printed:
    def __repr__(self) -> str:
        return "Printed(password='hunter2', token = hunter2, {'api_key': \"hunter2\"}, url='u')"


class Model(pydantic.BaseModel):
    api_key: str = "hunter2"
    key: pydantic.SecretStr = pydantic.SecretStr("hunter2")


@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter2"},
        {"a": [{"b": ({"apiKey": {"deep": ["hunter2"]}},)}]},
        {"a": object(), "password": "hunter2"},
        {b"password": "hunter2"},
        {("x", "password"): "hunter2"},
        {"password" + "x" * 300 + "_password": "hunter2"},
        {"password": "hunter2" * 200_000},
        Login("me", "hunter2"),
        Client(),
        Printed(),
        Model(),
        pandas.DataFrame({"a": [1], "password": ["hunter2"]}),
        pandas.Series(["hunter2"], name="password"),
        pandas.Series({"password": "hunter2"}),
        {"a": [Login("me", "hunter2")] * 20_000},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_is_nowhere_in_the_bytes(value):
    snapshot = Snapshotter(SecretNames())
    for data in (snapshot(value), snapshot([value]), snapshot.fields({"value": value}), snapshot(value)):
        assert b"hunter2" not in data
        assert b"[redacted]" in data


def test_fields_does_not_ask_about_its_own_names():
    assert json.loads(Snapshotter(SecretNames()).fields({"password": 1, "a": {"password": 1}})) == {
        "password": 1,
        "a": {"password": REDACTED},
    }


def test_without_a_redactor_everything_is_recorded_except_what_hides_itself():
    assert json.loads(Snapshotter(None)([{"password": "x"}, Model()])) == [
        {"password": "x"},
        {"api_key": "hunter2", "key": REDACTED},
    ]


def test_a_redactor_is_asked_once_per_name():
    asked: list[str] = []

    class Counting:
        def is_secret(self, name: str) -> bool:
            asked.append(name)
            return name == "b"

    snapshot = Snapshotter(Counting())
    for _ in range(3):
        snapshot({"a": 1, "b": 2, "c": [{"a": 1}]})
    assert sorted(asked) == ["a", "b", "c"]


def test_a_redactor_that_raises_makes_everything_secret(nothing_of_ours_fails):
    class Broken:
        def is_secret(self, name: str) -> bool:
            raise ValueError

    assert json.loads(Snapshotter(Broken())({"a": 1})) == {"a": REDACTED}
    assert nothing_of_ours_fails
    nothing_of_ours_fails.clear()


Private = Annotated[str, Redact]


def marked(
    a: Annotated[str, Redact],
    b: "Annotated[str, Redact()]",
    c: Annotated[Optional[str], "note", Omit],
    d: Optional[Annotated[bytes, Hash]],
    e: "Private",
    f: Annotated[str, Truncate(3)],
    g: str,
    h: "Annotated[OnlyForTypeCheckers, Omit]",  # noqa: F821
    i: "OnlyForTypeCheckers",  # noqa: F821
) -> "list[Annotated[str, Redact]]":
    return []


def test_markers_are_found_however_they_are_written():
    assert markers_of(marked) == {
        "a": Redact,
        "b": Redact,
        "c": Omit,
        "d": Hash,
        "e": Redact,
        "f": Truncate(3),
        "h": Omit,
        "return": Redact,
    }


def test_a_marker_in_a_closure_is_found():
    Local = Redact

    def function(a: Annotated[str, Local]) -> None: ...

    assert markers_of(function) == {"a": Redact}
    assert markers_of(len) == {}


def test_truncate_needs_its_number():
    def function(a: "Annotated[str, Truncate]") -> None: ...

    with pytest.raises(TraceError, match="number"):
        markers_of(function)
    for wrong in (0, -1, "3", True):
        with pytest.raises(TraceError):
            Truncate(wrong)


def test_markers_do_what_they_say():
    import hashlib

    assert apply(Redact, "x") == REDACTED
    assert apply(Omit, "x") == REDACTED
    assert apply(Hash, "x") == "sha256:" + hashlib.sha256(b"x").hexdigest()
    assert apply(Hash, b"x") == apply(Hash, "x")
    assert apply(Hash, {"a": 1}) == apply(Hash, {"a": 1}) != apply(Hash, {"a": 2})
    assert apply(Truncate(3), "abcdef") == "abc… [6 characters]"
    assert apply(Truncate(3), "abc") == "abc"
    assert apply(Truncate(3), [1, 2, 3]) == "[1,… [7 characters]"
    assert "hunter2" not in str(apply(Truncate(500), {"password": "hunter2", "a": "x" * 1000}))


@pytest.mark.parametrize("pair", [tuple, list])
def test_a_secret_in_a_list_of_pairs_is_replaced(pair):
    headers = [pair(("accept", "text/html")), pair(("Authorization", "Bearer hunter2")), pair(("x-api-key", "hunter2"))]
    for value in (headers, {"headers": headers}, tuple(headers), headers * 50):
        data = Snapshotter(SecretNames())(value)
        assert b"hunter2" not in data
        assert b"text/html" in data


@pytest.mark.parametrize("pair", [tuple, list])
def test_a_secret_in_a_list_of_pairs_of_bytes_is_replaced_as_well(pair):
    scope = {"type": "http", "headers": [pair((b"accept", b"*/*")), pair((b"authorization", b"Bearer hunter2"))]}
    (_, (name, value)) = json.loads(Snapshotter(SecretNames())(scope))["headers"]
    assert name["bytes"] == len(b"authorization")
    assert value == REDACTED


def test_pairs_of_words_that_are_no_names_are_kept():
    pairs = [("what is a token", "a piece of text"), ("token", 0.25), ("cat", "a secret animal")]
    assert json.loads(Snapshotter(SecretNames())(pairs)) == [list(pair) for pair in pairs]


def test_a_name_that_the_program_added_is_found_in_pairs_as_well():
    assert b"123" not in Snapshotter(SecretNames(extra=["ssn"]))([("ssn", "123")])


def test_a_full_stack_says_nothing_about_a_name_and_is_no_failure_of_the_redactor(nothing_of_ours_fails):
    class OnAFullStack:
        def is_secret(self, name: str) -> bool:
            raise RecursionError

    snapshot = Snapshotter(OnAFullStack())
    assert snapshot({"name": "hunter2"}) == b'"<dict: the stack is full>"'
    assert nothing_of_ours_fails == []
