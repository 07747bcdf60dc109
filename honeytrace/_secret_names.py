"""Which names stand for secrets.

Names are taken apart into words first, so that style and letter case do not matter. In doubt a name is
secret; the exceptions are those that programs with language models are full of, most about counting tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from honeytrace.exceptions import ConfigError

__all__ = ["SecretNames"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_WORDS = _words(
    "password passwords passwd pwd passphrase passphrases passcode secret secrets credential credentials "
    "creds cookie cookies authorization bearer apikey apikeys authtoken accesstoken refreshtoken "
    "sessiontoken idtoken csrftoken xsrftoken secretkey privatekey accesskey ssn jwt"
)
_SECRET_PARTS = re.compile(
    r"password|passwd|passphrase|credential"
    r"|(?:client|shared|app|user|api|auth|consumer|signing|webhook|my|the|db|oauth)secret$"
    r"|(?:api|secret|private|access|signing|encryption)keys?$"
    r"|(?:access|refresh|auth|session|bearer|csrf|xsrf|api|bot|user|id|my|oauth|security|hf|github|gitlab|slack)token$"
)
_SECRET_BEFORE_KEY = _words(
    "api access private secret signing encryption ssh account subscription shared master host service "
    "hmac jwt rsa openai anthropic azure gemini google cohere mistral groq together huggingface hf "
    "honeyhive hh langsmith stripe"
)
_SECRET_BEFORE_PASS = _words(
    "db database user smtp mysql pg postgres postgresql redis mongo admin root ftp imap mail email my ssh "
    "sudo http proxy login"
)
_SECRET_BEFORE_TOKENS = _words("access refresh auth api session bearer secret csrf security oauth bot")
_PLAIN_BEFORE_TOKEN = _words(
    "eos bos pad padding unk unknown sep cls mask masked special stop start end next prev previous first "
    "last max min per num number n nth total prompt completion input output generated sampled image audio "
    "video reasoning logit top each single every by decoder page continuation role eot eom sot"
)
_PLAIN_AFTER_TOKEN = _words(
    "count counts counter id ids usage limit limits budget type types length lengths index indices idx "
    "prob probs logprob logprobs per rate ratio embedding embeddings cost costs price stream streaming "
    "position positions mask classification bias healing at ms num details split splitter window estimate "
    "estimator level overlap size"
)
_PLAIN_AFTER_AUTH = _words("type types url uri method methods mode enabled required provider endpoint scheme status")
_QUESTION = _words("is has needs requires require use uses")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class SecretNames:
    """The default redactor: names that look like passwords, tokens, keys, cookies and credentials.

    Names are read as words, whatever the style: `apiKey`, `API-KEY` and `x_api_key` are the same. Counting
    tokens is no secret: `prompt_tokens`, `max_tokens`, `token_count`, `eos_token`.

    extra: more names (a name that contains these words in this order is secret) and patterns (searched).
    allow: names and patterns that are not secret; a name must match as a whole, and they win.

    Raises:
        ConfigError: something in `extra` or `allow` is neither a name nor a text pattern.
    """

    __slots__ = ("_allow", "_extra")

    def __init__(
        self, extra: Iterable[str | re.Pattern[str]] = (), allow: Iterable[str | re.Pattern[str]] = ()
    ) -> None:
        self._extra = _rules("extra", extra)
        self._allow = _rules("allow", allow)

    def is_secret(self, name: str) -> bool:
        """Say whether what goes under this name is a secret."""
        words = _split(name)
        for rule in self._allow:
            if rule == words if isinstance(rule, tuple) else rule.fullmatch(name):
                return False
        for rule in self._extra:
            if _contains(words, rule) if isinstance(rule, tuple) else rule.search(name):
                return True
        return _looks_secret(words)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretNames):
            return NotImplemented
        return (self._extra, self._allow) == (other._extra, other._allow)

    def __hash__(self) -> int:
        return hash((self._extra, self._allow))

    def __repr__(self) -> str:
        return f"SecretNames(extra={len(self._extra)} rules, allow={len(self._allow)} rules)"


_Rule: TypeAlias = "tuple[str, ...] | re.Pattern[str]"


def _rules(argument: str, given: Iterable[str | re.Pattern[str]]) -> tuple[_Rule, ...]:
    if isinstance(given, (str, bytes, re.Pattern)) or not isinstance(given, Iterable):
        raise ConfigError(f"{argument} must be an iterable of names or patterns, not {type(given).__name__}")
    rules: list[_Rule] = []
    for rule in given:
        if isinstance(rule, re.Pattern) and isinstance(rule.pattern, str):
            rules.append(rule)
        elif isinstance(rule, str) and _split(rule):
            rules.append(_split(rule))
        else:
            raise ConfigError(f"{argument} must hold names (str) or text patterns (re.Pattern), not {rule!r:.100}")
    return tuple(rules)


def _split(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case."""
    if name.isascii():
        return tuple(map(str.lower, _WORD.findall(name)))
    return tuple(re.findall(r"[^\W\d_]+", name.lower()))


def _contains(words: tuple[str, ...], rule: tuple[str, ...]) -> bool:
    return any(words[start : start + len(rule)] == rule for start in range(len(words) - len(rule) + 1))


def _looks_secret(words: tuple[str, ...]) -> bool:
    if not words or (words[0] in _QUESTION and len(words) > 1):
        return False
    last = len(words) - 1
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        after = words[index + 1] if index < last else ""
        if word in _SECRET_WORDS or _SECRET_PARTS.search(word):
            return True
        if word == "token" and before not in _PLAIN_BEFORE_TOKEN and after not in _PLAIN_AFTER_TOKEN:
            return True
        if word == "tokens" and before in _SECRET_BEFORE_TOKENS:
            return True
        if word in ("key", "keys") and before in _SECRET_BEFORE_KEY:
            return True
        if word == "auth" and after not in _PLAIN_AFTER_AUTH and (index == last or after in ("header", "headers")):
            return True
        if word == "word" and before == "pass":
            return True
        if word == "pass" and index == last and before in _SECRET_BEFORE_PASS:
            return True
        if word == "string" and before == "connection":
            return True
    return False
