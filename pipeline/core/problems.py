"""What went wrong, read from a reply: its code, and a message for people. Nothing here may raise on any body."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.core import loose
from pipeline.core.answers import Problem

CATCH_ALL: Final = "generation_failed"
"""The code of a generation that failed for a reason that nobody told."""

_SAYS_NOTHING = frozenset({"task_error", "error"})
_CODE_FIRST = re.compile(r"([a-z]+(?:_[a-z]+)+)(?=:|$)")


def problem_of(status: int, document: object, headers: Mapping[str, str], body: bytes) -> Problem:
    """Return what a reply that is no answer says of itself."""
    told = error_of(document)
    kind = loose.word(told.get("type"))
    code = loose.word(told.get("code")) or kind or f"http_{status}"
    return Problem(code, _moved_to(status, headers) or _message(document, told, body), kind, status)


def _moved_to(status: int, headers: Mapping[str, str]) -> str | None:
    """Name where a redirect points: the host only, since a location may carry tokens."""
    if not 300 <= status < 400:  # noqa: PLR2004 - the HTTP classes are their own names
        return None
    try:
        host = urlsplit(headers.get("location", "")).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    return f"The server redirects to {host[: loose.LONGEST_WORD] or 'another path'}; redirects are not followed."


def told_failure(told: object) -> Problem:
    """Return why a generation failed, as the value of an `error` tells it on the POST or in a stream.

    Often it is a message alone; one that begins with a code, such as `timeout_error: …`, tells that as well.
    """
    known = loose.mapping(told)
    kind = loose.word(known.get("type"))
    message = loose.text(known.get("message")) or loose.text(told) or "The API gave no reason."
    code = loose.word(known.get("code")) or (kind if kind not in _SAYS_NOTHING else None)
    if code is None:
        first = _CODE_FIRST.match(message)
        code = first[1][: loose.LONGEST_WORD] if first else CATCH_ALL
    return Problem(code, message, kind, 200)


def bad_answer(status: int, document: object, body: bytes, reason: str) -> Problem:
    """Return the problem of a reply that is well by its status, but not what was asked for."""
    told = _message(document, error_of(document), body)
    return Problem("bad_answer", f"{reason}: {told}"[: loose.LONGEST_MESSAGE], None, status)


def _message(document: object, told: dict[str, Any], body: bytes) -> str:
    if message := loose.text(told.get("message")):
        return message
    if isinstance(document, dict) and (
        text := loose.text(document.get("error")) or loose.text(document.get("message"))
    ):
        return text
    start = body[: loose.LONGEST_MESSAGE * 4].decode("utf-8", "replace")
    return " ".join(start.split())[: loose.LONGEST_MESSAGE] or "The answer has no body."


def error_of(document: object) -> dict[str, Any]:
    """Return the `error` object of a body, or an empty one."""
    return loose.mapping(document.get("error")) if isinstance(document, dict) else {}
