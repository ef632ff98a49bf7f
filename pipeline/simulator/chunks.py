"""What a stream says: a ChatCompletion taken apart into chunks, and their server-sent events.

Pure. The joined deltas are the completion's own words; a chunk is made when it is asked for, as a stream mostly waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_CHARACTERS_PER_CHUNK = 8
USAGE_LAST, USAGE_EXTRA = "last", "extra"


def pieces(text: str, count: int) -> list[str]:
    """Cut a text into so many pieces of about one length; 0 is one for every eight characters."""
    count = min(count or -(-len(text) // _CHARACTERS_PER_CHUNK), len(text))
    return [text[len(text) * at // count : len(text) * (at + 1) // count] for at in range(count)]


@dataclass(frozen=True, slots=True)
class Script:
    """One generation's chunks in their order; with an error they end in it and not in `done`."""

    base: Mapping[str, Any]
    choices: Sequence[Mapping[str, Any] | None]  # None: a chunk of no choice, which only carries usage
    usage: Mapping[str, Any] | None = None
    error: str | None = None

    def __len__(self) -> int:
        return len(self.choices)

    def chunk(self, number: int) -> bytes:
        """Return a chunk's JSON, counted from 0."""
        choice = self.choices[number]
        made = {**self.base, "choices": [] if choice is None else [choice]}
        if self.usage is not None and number == len(self.choices) - 1:
            made["usage"] = self.usage
        return orjson.dumps(made)


def _choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def script_of(completion: Mapping[str, Any], content_chunks: int, usage: str, error: str | None = None) -> Script:
    """Take a ChatCompletion apart: the role, what was thought, what is said, and how it ended.

    One that fails says the first half of it, and never how it ended.
    """
    (answer,) = completion["choices"]
    message = answer["message"]
    content, reasoning = message["content"], message.get("reasoning_content") or ""
    choices: list[Mapping[str, Any] | None] = [
        _choice({"role": "assistant", "content": None if content is None else ""}),
        *(_choice({"reasoning_content": piece}) for piece in pieces(reasoning, 0)),
        *(_choice({"content": piece}) for piece in pieces(content or "", content_chunks)),
    ]
    if message.get("refusal"):
        choices.append(_choice({"refusal": message["refusal"]}))
    base = {name: completion[name] for name in ("id", "object", "created", "model")}
    base["object"] = "chat.completion.chunk"
    if error is not None:
        return Script(base, choices[: -(-len(choices) // 2)], error=error)
    choices.append(_choice({}, answer["finish_reason"]))
    if usage == USAGE_EXTRA:
        choices.append(None)
    return Script(base, choices, completion["usage"] if usage in (USAGE_LAST, USAGE_EXTRA) else None)


def silent_script(error: str) -> Script:
    """Return the script of a generation that never came to say a word."""
    return Script({}, (), error=error)


@dataclass(frozen=True, slots=True)
class Framing:
    """How chunks become events: named or bare, and with comments and CRLF or without."""

    named: bool = True
    commented: bool = False

    def chunk(self, payload: bytes) -> bytes:
        """Return a chunk's event."""
        return self._event(b"chunk", payload)

    def done(self, total: int) -> bytes:
        """Return the event that ends a whole stream."""
        return self._event(b"done", b'{"total_chunks":%d}' % total) if self.named else self._event(b"", b"[DONE]")

    def error(self, message: str) -> bytes:
        """Return the event that ends a stream badly."""
        if self.named:
            return self._event(b"error", orjson.dumps({"message": message}))
        return self._event(b"", orjson.dumps({"error": {"message": message, "type": "task_error"}}))

    def _event(self, name: bytes, data: bytes) -> bytes:
        event = b"event: %b\ndata: %b\n\n" % (name, data) if self.named else b"data: %b\n\n" % data
        return (b": keep-alive\n\n" + event).replace(b"\n", b"\r\n") if self.commented else event
