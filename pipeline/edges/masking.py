"""Keeps secrets out of what an API answers: some echo the header, or the signed URL, that they were sent.

What was read is masked twice: before reading, since reading cuts messages and a cut could leave half a key, and after
it, for a key that stood in the body with JSON escapes.
"""

import re
from dataclasses import replace
from typing import Any, TypeVar, cast

from pipeline.core import loose
from pipeline.core.account import MASK, Secret
from pipeline.core.answers import Answered, Completion, Problem
from pipeline.core.completions import completion_of
from pipeline.core.redaction import SIGNED
from pipeline.edges.http import HttpReply

_Answer = TypeVar("_Answer")
_SIGNED = re.compile(SIGNED.encode(), re.ASCII | re.IGNORECASE)
_SIGNATURE = b"[signature]"
_SHORTEST_MASKED = 8  # a shorter "key" is no secret, and masking it would riddle answers with masks


class Masking:
    """Masks one key, and what makes a signed URL work."""

    __slots__ = ("_key",)

    def __init__(self, key: Secret) -> None:
        self._key = key

    def reply(self, reply: HttpReply) -> HttpReply:
        """A reply whose body does not hold the key."""
        body = self.data(reply.body)
        return reply if body is reply.body else HttpReply(reply.status, reply.headers, body)

    def data(self, data: bytes) -> bytes:
        """Bytes that hold neither the key nor a signature."""
        key = self._key.reveal().encode()
        if b"-Amz-" in data or b"-amz-" in data:
            data = _SIGNED.sub(rb"\1" + _SIGNATURE, data)
        return data if len(key) < _SHORTEST_MASKED or key not in data else data.replace(key, MASK.encode())

    def answer(self, answer: _Answer) -> _Answer:
        """A value of `core.answers` whose problem and completion, if it has any, do not hold the key."""
        problem, completion = getattr(answer, "problem", None), getattr(answer, "completion", None)
        if isinstance(answer, Answered) and self._is_told(answer.answer_id or ""):
            answer = cast("_Answer", replace(answer, answer_id=None))
        if problem is not None and (masked := self.problem(problem)) != problem:
            return cast("_Answer", replace(cast("Any", answer), problem=masked))
        if completion is not None and self._is_told(completion.response or ""):
            return cast("_Answer", replace(cast("Any", answer), completion=self._completion(completion)))
        return answer

    def _completion(self, completion: Completion) -> Completion:
        """The same answer without the key; what was read of it, its response holds."""
        response = self.data((completion.response or "").encode())
        return replace(completion_of(loose.mapping(loose.document(response))), credits=completion.credits)

    def problem(self, problem: Problem) -> Problem:
        """A problem whose words do not hold the key."""
        kind = problem.type and self._text(problem.type)
        return Problem(self._text(problem.code), self._text(problem.message), kind, problem.http_status)

    def _text(self, text: str) -> str:
        return self.data(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def _is_told(self, text: str) -> bool:
        data = text.encode("utf-8", "surrogatepass")
        return self.data(data) != data
