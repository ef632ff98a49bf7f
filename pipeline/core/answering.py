"""Whether an answer is one that can be used: the words for it, and what is found of each answer."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.answers import Completion


class AnswerStatus(StrEnum):
    """What an answer that came is worth; `invalid` only where a schema was given."""

    OK = "ok"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    REFUSED = "refused"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one answer: where it fits its schema, `value` as its column holds it, else `error` says why."""

    status: AnswerStatus
    value: object = None
    error: str | None = None


Judge = Callable[[Completion], Verdict]
"""Looks at one answer; a function of the answer alone, so that whoever looks at it again finds the same."""

CarefulJudge = Callable[[Completion], Verdict | None]
"""Says nothing of an answer that can't be judged; such a one takes the place of no earlier answer."""


def careful(judge: Judge | None) -> CarefulJudge:
    """A judge whom no answer can stop: one that can't be judged is not paid for again."""

    def judged(completion: Completion) -> Verdict | None:
        try:
            return judge(completion) if judge else None
        except Exception:  # noqa: BLE001 - whatever an answer does to a judge, its row goes on
            return None

    return judged
