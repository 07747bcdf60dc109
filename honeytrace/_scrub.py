"""Secrets inside a text that tells of something: an error's message, what an object says of itself, a line of code.

Only what can be told by its form is replaced: the value of name=value and "name": value where the name is secret, the
password of a URL, what follows Authorization and Bearer, and keys with a well-known beginning. A text that only speaks
of secrets stays as it is. No pattern takes longer than the text is long.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["REDACTED", "scrub"]

REDACTED = "[redacted]"

_KEY = re.compile(
    r"\b(?:sk-[\w-]{16,}|[sr]k_(?:live|test)_\w{8,}|hh_\w{16,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|xox[abeprs]-[\w-]{8,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{4,})"
)
_PASSWORD_OF_URL = re.compile(r"""(?<=://)([^\s/:@'"]{0,200}:)[^\s/@'"]{1,500}(?=@)""")
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:x-)?(?:api-key|auth-token)|(?:set-)?cookie)(\s{0,4}:\s{0,4})[^\s'\"\\][^\r\n\\]*"
)
_HEADERS = ("authorization", "api-key", "auth-token", "cookie")
"""Looked for first: the patterns that ignore case are slow ones."""

_BEARER = re.compile(r"\b((?i:bearer|basic)\s{1,4})(?=[\w.~+/-]+[\dA-Z_+/=])[\w.~+/=-]{8,}")
# A name begins where a run of its characters begins: tried from the middle of each, a dotted text would take
# milliseconds.
_PAIR = re.compile(
    r"""(?:(?P<quote>['"])(?P<key>[\w.-]{2,64})(?P=quote)\s{0,4}:|(?<![\w.-])(?P<name>[\w.-]{2,})\s{0,4}=)\s{0,4}"""
    r"""(?P<value>b?'[^']*'?|b?"[^"]*"?|[^\s,;)\]}&'"]+)"""
)


def scrub(text: str, is_secret: Callable[[str], bool], *, code: bool = False) -> str:
    """Replace what is certainly a secret. In a line of `code` a name is no secret, only a literal is."""

    def replaced(match: re.Match[str]) -> str:
        value = match["value"]
        if (code and value.lstrip("b")[:1] not in ("'", '"')) or not is_secret(match["key"] or match["name"]):
            return match[0]
        return match[0][: match.start("value") - match.start()] + REDACTED

    text = _KEY.sub(REDACTED, text)
    if "://" in text:
        text = _PASSWORD_OF_URL.sub(rf"\1{REDACTED}", text)
    lower = text.lower()
    if ":" in text and any(word in lower for word in _HEADERS):
        text = _HEADER.sub(rf"\1\2{REDACTED}", text)
    if "bearer" in lower or "basic" in lower:
        text = _BEARER.sub(rf"\1{REDACTED}", text)
    return _PAIR.sub(replaced, text) if "=" in text or ":" in text else text
