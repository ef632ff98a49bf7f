"""Keeps the key out of what an API answers: some echo the header that they were sent.

What was read is masked twice: before reading, since reading cuts messages and a cut could leave half a key, and after
it, for a key that stood in the body with JSON escapes.
"""

from dataclasses import replace
from typing import Any, TypeVar, cast

from pipeline.core.account import MASK, Secret
from pipeline.core.answers import Problem
from pipeline.edges.http import HttpReply

_Answer = TypeVar("_Answer")
_SHORTEST_MASKED = 8  # a shorter "key" is no secret, and masking it would riddle answers with masks


class Masking:
    """Masks one key."""

    __slots__ = ("_key",)

    def __init__(self, key: Secret) -> None:
        self._key = key

    def reply(self, reply: HttpReply) -> HttpReply:
        """A reply whose body does not hold the key."""
        key = self._key.reveal()
        if len(key) < _SHORTEST_MASKED or key.encode() not in reply.body:
            return reply
        return HttpReply(reply.status, reply.headers, reply.body.replace(key.encode(), MASK.encode()))

    def answer(self, answer: _Answer) -> _Answer:
        """A value of `core.answers` whose problem, if it has one, does not hold the key."""
        problem = getattr(answer, "problem", None)
        if problem is None or self._key.reveal() not in f"{problem.code}\n{problem.message}\n{problem.type}":
            return answer
        return cast("_Answer", replace(cast("Any", answer), problem=self.problem(problem)))

    def problem(self, problem: Problem) -> Problem:
        """A problem whose words do not hold the key."""
        key = self._key.reveal()
        if len(key) < _SHORTEST_MASKED:
            return problem
        return Problem(
            problem.code.replace(key, MASK),
            problem.message.replace(key, MASK),
            problem.type and problem.type.replace(key, MASK),
            problem.http_status,
        )
