"""What hides secrets in text that people will read: those that are known, by value; others by the shape they come in.

A value that is hidden leaves a mask, so that a reader sees that something stood there. Text that merely looks like a
secret is hidden too: a log that lacks a word does less harm than one that tells a password.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

HIDDEN = "[hidden]"

SHORTEST = 4
"""A shorter value is no secret, and hiding it would riddle a log with masks."""

SIGNED = r"(x-amz-(?:signature|security-token|credential)(?:=|%3D|\\u003d))[^&\s\"'<>\\]+"
"""What makes a signed URL work."""

DEEPEST = 6
"""Values within values are told to this depth; what lies deeper is told as text."""

_SHAPES = (
    (r"(://[^\s/:@?#\"'<>]*:)[^\s/?#\"'<>]+@", rf"\1{HIDDEN}@"),  # user:password@ in a URL
    (r"(\b(?:bearer|basic)\s+)[\w~+/.=-]{6,}", rf"\1{HIDDEN}"),
    (r"((?:api[-_]?key|passw(?:or)?d|secret|authorization)[\"']?\s*[:=,]\s*b?[\"']?)(?!b(?:earer|asic)\b)[^\s\"'&,;)\]}]+",
     rf"\1{HIDDEN}"),
    (r"\bsk-[\w-]{8,}", f"sk-{HIDDEN}"),
    (r"\bwhsec_[\w+/=-]{8,}", f"whsec_{HIDDEN}"),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}", HIDDEN),
    (SIGNED, rf"\1{HIDDEN}"),
    # what signs URLs of other stores
    (r"((?:[?&]|\\u0026)(?:x-goog-(?:signature|credential)|signature|sig)(?:=|%3D|\\u003d))[^&\s\"'<>\\]+",
     rf"\1{HIDDEN}"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(shape, re.ASCII | re.IGNORECASE), mask) for shape, mask in _SHAPES)


@dataclass(frozen=True)
class Redaction:
    """Hides these secrets, in every spelling in which a message may hold them, and whatever has a secret's shape."""

    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def knowing(self, more: Iterable[str]) -> "Redaction":
        """The same, hiding these too."""
        return Redaction(self.secrets.union(secret for secret in more if len(secret) >= SHORTEST))

    @cached_property
    def _known(self) -> re.Pattern[str] | None:
        spellings = {spelling for secret in self.secrets for spelling in _spellings(secret)}
        # the longest first: one secret may begin like another
        told = "|".join(re.escape(spelling) for spelling in sorted(spellings, key=len, reverse=True))
        return re.compile(told) if told else None

    def text(self, text: str) -> str:
        """Text without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern, mask in _PATTERNS:
            text = pattern.sub(mask, text)
        return text

    def value(self, value: object, depth: int = 0) -> Any:  # noqa: ANN401 - whatever JSON holds
        """A value that JSON can hold, without secrets in it: in keys, in bytes, and at any depth."""
        match value:
            case None | bool() | float():
                return value
            case int():
                return int(value) if abs(value) < 2**53 else str(value)
            case str():
                return self.text(str(value))
            case bytes() | bytearray():
                return self.text(bytes(value).decode("utf-8", "replace"))
            case Mapping() if depth < DEEPEST:
                inner = value.items()
                return {self.text(_shown(name)): self._under(name, one, depth + 1) for name, one in inner}
            case list() | tuple() | set() | frozenset() if depth < DEEPEST:
                return [self.value(one, depth + 1) for one in value]
            case _:
                return self.text(_shown(value))

    def _under(self, name: object, value: object, depth: int) -> Any:  # noqa: ANN401
        """What stands under a name: hidden whole where the name says that it is a secret."""
        if isinstance(value, str | bytes) and _SECRET_NAME.search(_shown(name)):
            return HIDDEN
        return self.value(value, depth)


_SECRET_NAME = re.compile(r"api[-_]?key|passw(?:or)?d|secret|authorization", re.IGNORECASE)


def _shown(value: object) -> str:
    """A value as text; one that can't be shown must not end a log line."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - somebody else's __str__
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"


def _spellings(secret: str) -> set[str]:
    """A secret as it stands in text, in a URL, in JSON and in Python's own notation."""
    safe = secret.encode("utf-8", "backslashreplace").decode()
    quoted = {quote(safe, safe=""), quote(safe), quote_plus(safe)}
    notations = (orjson.dumps(safe).decode(), json.dumps(secret), repr(secret), ascii(secret), repr(safe.encode())[1:])
    return {secret, *quoted, *(notation[1:-1] for notation in notations)}
