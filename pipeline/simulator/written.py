"""Answers that are written out: JSON where the prompt holds a schema, and the ways in which models get it wrong.

Which answer comes is a function of the videos and of the prompt up to its schema's end, so that counts are exact and
whoever asks the same again, with a note after it, asks for the same answer.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import Any

from pipeline.simulator.instances import instance, schema_in
from pipeline.simulator.settings import SimulatorSettings

INVALID, TRUNCATED, REFUSED, EMPTY, OK = "invalid", "truncated", "refused", "empty", "ok"
_KINDS = (INVALID, TRUNCATED, REFUSED, EMPTY)
_REFUSAL = "I'm sorry, but I can't describe this video."
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Written:
    """What an answer says, and the tokens that it takes."""

    content: str | None
    finish_reason: str = "stop"
    refusal: str | None = None

    @property
    def tokens(self) -> int:
        """What the words take."""
        return _tokens(self.content or self.refusal or "")


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


class Writer:
    """Writes answers; it remembers to whom it gave an invalid one. `counts` are answers by what was wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._given: set[bytes] = set()

    def write(
        self, videos: Sequence[bytes], prompt: str, digest: str, max_tokens: int | None, settings: SimulatorSettings
    ) -> Written | None:
        """The answer about videos, by their SHA-256s; nothing where it is the usual one."""
        found = schema_in(prompt) if "{" in prompt else None
        rates = [getattr(settings, f"{kind}_answers") for kind in _KINDS]
        if found is None and not any(rates):
            return None
        asked = sha256(b"".join(videos) + prompt[: found[1] if found else None].encode()).digest()
        kind = self._kind(asked, rates, settings.stubborn_answers)
        whole = _usual(digest) if found is None else _json(found[0], digest, asked[10])
        written = _written(kind, whole, found[0] if found else {}, asked[11])
        if kind == TRUNCATED and max_tokens is not None and max_tokens >= _tokens(whole):
            kind, written = OK, Written(whole)  # a larger cap helps
        elif max_tokens is not None and written.tokens > max_tokens:
            kind, written = TRUNCATED, Written((written.content or "")[: max_tokens * _CHARACTERS_PER_TOKEN], "length")
        self.counts[kind] += 1
        return written

    def _kind(self, asked: bytes, rates: Sequence[float], stubborn: float) -> str:
        """What goes wrong; an invalid answer is given once, but for the stubborn ones."""
        drawn = _share(asked[:4])
        ends = accumulate(rates)
        kind = next((kind for kind, end in zip(_KINDS, ends, strict=True) if drawn < end), OK)
        if kind == INVALID and _share(asked[4:8]) >= stubborn:
            if asked in self._given:
                return OK
            self._given.add(asked)
        return kind


def _share(drawn: bytes) -> float:
    return float(int.from_bytes(drawn, "big") / 256 ** len(drawn))


def _usual(digest: str) -> str:
    return f"A video of a few things that happen, one after another.\ndigest: {digest}"


def _json(schema: Any, digest: str, drawn: int) -> str:  # noqa: ANN401 - what JSON holds
    """An instance as models give it: bare, mostly, or between fences, or with words around it."""
    value = instance(schema, digest)
    if drawn % 2:
        return json.dumps(value)
    fenced = f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
    ways = (json.dumps(value, ensure_ascii=False), fenced, f"Here is what I see:\n\n{json.dumps(value)}")
    return (*ways, f"Sure! {fenced}\nTell me if you need more.")[drawn // 2 % 4]


def _written(kind: str, whole: str, schema: Any, drawn: int) -> Written:  # noqa: ANN401
    match kind:
        case "invalid":
            return Written(_wrong(whole, schema, drawn))
        case "truncated":
            tokens = -(-_tokens(whole) // 2)
            return Written(whole[: min(tokens * _CHARACTERS_PER_TOKEN, len(whole) - 2)], "length")
        case "refused" if drawn % 2:
            return Written(None, refusal=_REFUSAL)
        case "refused":
            return Written(None, "content_filter")
        case "empty":
            return Written("" if drawn % 2 else None)
    return Written(whole)


def _wrong(whole: str, schema: Any, drawn: int) -> str:  # noqa: ANN401
    """An answer that fits no schema of objects: prose, JSON that is broken, or another object than was asked for."""
    begins = whole.find("{")
    if drawn % 3 == 0 or begins < 0:
        return "The video shows a few things that happen, one after another."
    if drawn % 3 == 1 or not schema.get("required"):
        return whole[:begins] + whole[begins:].replace("}", "", 1).replace(": ", " ", 1)
    return json.dumps({"note": "I was not sure what to write here.", "confidence": drawn / 256})
