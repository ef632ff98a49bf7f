"""An answer that comes as a stream of chunks: gathered, counted, and gone on with where its connection broke off.

Where a broken stream goes on is not simple, since nobody knows whether `offset` counts from 0 or from 1. The gatherer
remembers the last two chunks that differ, by their digests, and asks for the later one, number k: a server that counts
from 0 begins with chunk k, one that counts from 1 with chunk k - 1, and which of the two came first tells them apart.
What is known already is passed over. Whoever begins with something else is asked for the whole stream once more.
"""

import hashlib
from enum import Enum
from typing import Any, Final

import orjson

from pipeline.core import loose
from pipeline.core.answers import Problem
from pipeline.core.chunks import chunk_of, delta_of, joined_text, word_of
from pipeline.core.problems import told_failure
from pipeline.core.sse import SseEvent, SseTooLarge

LARGEST_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of text in all: several times what any model writes; it only stops a flood."""

_CHUNKS = ("", "message", "chunk")


class StreamState(Enum):
    """How far a stream came; the words are for people, should it end there."""

    GOING_ON = "ended before its end"
    WHOLE = "ended well"
    FAILED = "told a failure"
    UNREADABLE = "held what can't be read, or not all chunks"
    ASTRAY = "went on elsewhere than it was asked to"


class StreamAnswer:
    """One answer. `take` its events; after a broken connection call `go_on` and take those of the next one."""

    __slots__ = (
        *("_content", "_counted", "_created", "_ended", "_expects", "_finish", "_first", "_from", "_id", "_known"),
        *(
            "_later",
            "_model",
            "_no_offset",
            "_reached",
            "_reasoning",
            "_refusal",
            "_sooner",
            "_usage",
            "problem",
            "state",
        ),
    )

    def __init__(self) -> None:
        self.problem: Problem | None = None
        """What the stream said of its failure."""
        self._reached = 0
        self._no_offset = False
        self._forget()

    def _forget(self) -> None:
        self.state = StreamState.GOING_ON
        self._content: bytearray | None = None
        self._reasoning: bytearray | None = None
        self._refusal: bytearray | None = None
        self._finish: str | None = None
        self._ended = False  # whether the last that was said was a reason why the answer ends, without text beside it
        self._id: str | None = None
        self._model: str | None = None
        self._created: int | None = None
        self._usage: bytes | None = None
        self._counted = 0
        self._from = 0  # k: the last chunk that differs from the one before it; 0 where none does
        self._first = self._sooner = self._later = b""  # digests of the chunks 0, k - 1 and k
        self._known = 0  # the next chunk of a connection that goes on, as long as it brings known ones
        self._expects = False  # whether the first chunk of such a connection is still to come

    @property
    def counted(self) -> int:
        """The chunks that were gathered."""
        return self._counted

    @property
    def reached(self) -> int:
        """The most chunks that were ever gathered: what grows with every progress, and with nothing else."""
        return self._reached

    @property
    def is_finished(self) -> bool:
        """Whether a chunk told why the answer ends, so that all of its text is there."""
        return self._finish is not None and self.state is StreamState.GOING_ON and not self._expects

    @property
    def is_ended(self) -> bool:
        """Whether that chunk bore no text, and none came after it: a sure sign, also where the connection broke then.

        Some servers put a reason beside every piece of text, the first one included.
        """
        return self.is_finished and self._ended

    @property
    def said(self) -> tuple[str, str]:
        """What was thought and what was written so far; the last character may be half there."""
        thought, written = ((text or b"").decode("utf-8", "ignore") for text in (self._reasoning, self._content))
        return thought, written

    def take(self, event: SseEvent | SseTooLarge) -> StreamState:
        """Take the next event of a connection; `state` afterwards. What comes after an end changes nothing."""
        if self.state is not StreamState.GOING_ON:
            return self.state
        if isinstance(event, SseTooLarge):
            self.state = StreamState.UNREADABLE
        elif event.name == "done":
            self._take_done(loose.count(loose.mapping(loose.document(event.data)).get("total_chunks")))
        elif event.name == "error":
            self._take_error(loose.document(event.data), event.data)
        elif event.name in _CHUNKS:
            self._take_data(event.data)
        return self.state

    def go_on(self) -> int | None:
        """Make ready for another connection: the `offset` to ask for, None for the whole stream from its start.

        Where that can't be told from another place, or another place came before, what was gathered is forgotten.
        """
        astray = self.state is StreamState.ASTRAY
        self._no_offset = self._no_offset or astray
        unclear = self._first in ((self._later, self._sooner) if self._from > 1 else (self._later,))
        if self._no_offset or self._from == 0 or unclear:
            self._forget()
            return None
        self._expects = True
        self._known = self._from
        return self._from

    def begin_anew(self) -> None:
        """Never ask for an `offset` again: this server does not take it."""
        self._no_offset = True

    def whole(self) -> bytes:
        """The answer as the JSON text of a ChatCompletion, as a query would bring it."""
        message: dict[str, Any] = {"role": "assistant", "content": joined_text(self._content)}
        if self._reasoning:
            message["reasoning_content"] = joined_text(self._reasoning)
        if self._refusal:
            message["refusal"] = joined_text(self._refusal)
        answer: dict[str, Any] = {"object": "chat.completion"}
        told = (("id", self._id), ("created", self._created), ("model", self._model))
        answer |= {name: value for name, value in told if value is not None}
        answer["choices"] = [{"index": 0, "message": message, "finish_reason": self._finish}]
        if self._usage is not None:
            answer["usage"] = orjson.Fragment(self._usage)
        return orjson.dumps(answer)

    def _take_done(self, total: int | None) -> None:
        if self._counted == 0 or (total is not None and total != self._counted):
            self.state = StreamState.ASTRAY if self._expects else StreamState.UNREADABLE
        elif self._expects and total is None:
            self.state = StreamState.ASTRAY  # nothing told whether it went on at the right place
        else:
            self.state = StreamState.WHOLE

    def _take_error(self, document: object, data: bytes) -> None:
        told = loose.mapping(document)
        self.problem = told_failure(told.get("error", told) if told else data.decode("utf-8", "replace"))
        self.state = StreamState.FAILED

    def _take_data(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self._take_done(None)
            return
        chunk = chunk_of(data)
        if chunk is None:
            self.state = StreamState.UNREADABLE
        elif chunk.get("error"):
            self._take_error(chunk, data)
        elif not self._is_known(digest := hashlib.blake2b(data, digest_size=8).digest()):
            self._count(digest)
            self._gather(chunk)

    def _is_known(self, digest: bytes) -> bool:
        """Whether this chunk was gathered from an earlier connection; a chunk that should be, and isn't, is astray."""
        if self._expects:
            self._expects = False
            self._known = self._from if digest == self._later else self._from - 1
        if self._known >= self._counted or self.state is StreamState.ASTRAY:
            return self.state is StreamState.ASTRAY
        expected = self._sooner if self._known < self._from else self._later
        self._known += 1
        if digest != expected:
            self.state = StreamState.ASTRAY
        return True

    def _count(self, digest: bytes) -> None:
        if self._counted == 0:
            self._first = digest
        elif digest != self._later:
            self._from, self._sooner = self._counted, self._later
        self._later = digest
        self._counted += 1
        self._known = self._counted
        self._reached = max(self._reached, self._counted)

    def _gather(self, chunk: dict[str, Any]) -> None:
        self._id = self._id or word_of(chunk.get("id"))
        self._model = self._model or word_of(chunk.get("model"))
        if self._created is None:
            self._created = loose.count(chunk.get("created"))
        if usage := loose.mapping(chunk.get("usage")):
            self._usage = (loose.encoded(usage) or "").encode() or self._usage
        delta = delta_of(chunk)
        if delta is None:
            return
        self._content = _more(self._content, delta.content)
        self._reasoning = _more(self._reasoning, delta.reasoning)
        self._refusal = _more(self._refusal, delta.refusal)
        self._finish = delta.finish_reason or self._finish
        text = delta.content or delta.reasoning or delta.refusal
        self._ended = not text and (self._ended or delta.finish_reason is not None)
        texts = (self._content, self._reasoning, self._refusal)
        if sum(len(text) for text in texts if text is not None) > LARGEST_ANSWER:
            self.state = StreamState.UNREADABLE


def _more(gathered: bytearray | None, text: str | None) -> bytearray | None:
    """What was gathered, and this text; as UTF-8, in which an answer takes least room."""
    if text is None:
        return gathered
    if gathered is None:
        gathered = bytearray()
    gathered += text.encode("utf-8", "surrogatepass")
    return gathered
