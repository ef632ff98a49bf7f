"""One chunk of a streamed answer (OpenAI's `chat.completion.chunk`), taken loosely."""

import json
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.core import loose
from pipeline.core.completions import content_of


@dataclass(frozen=True, slots=True)
class Delta:
    """What a chunk adds to the first choice; None where it says nothing."""

    content: str | None
    reasoning: str | None
    refusal: str | None
    finish_reason: str | None


def chunk_of(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a chunk, or None where it is none.

    Half of a character as an escape is kept: the other half may be in the next chunk.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(data.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def delta_of(chunk: dict[str, Any]) -> Delta | None:
    """Return what a chunk adds to the answer, or None where it is about something else, such as the usage."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            delta = loose.mapping(choice.get("delta"))
            return Delta(
                content_of(delta.get("content")),
                loose.string(delta.get("reasoning_content")) or loose.string(delta.get("reasoning")),
                loose.string(delta.get("refusal")),
                word_of(choice.get("finish_reason")),
            )
    return None


def word_of(value: object) -> str | None:
    """Return a machine word that can be written down."""
    word = loose.word(value)
    return word and word.encode("utf-8", "replace").decode()


def joined_text(gathered: bytearray | None) -> str | None:
    """Return the text of UTF-8 bytes that were gathered; halves of a character that met are one."""
    if gathered is None:
        return None
    try:
        return gathered.decode()
    except UnicodeDecodeError:
        halves = gathered.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass")
        return halves.decode("utf-16", "replace")
