"""Streams of answers: which rows are followed, and what a stream and a poll together tell."""

from dataclasses import replace

from pipeline.core.answers import AccountRefused, Completed, Completion, Failed, QueryAnswer, Throttled
from pipeline.core.lifecycle import Event, State
from pipeline.core.policy import FOLLOWS, Policy
from pipeline.core.records import RowRecord, changed
from pipeline.core.steps import Step

ASKS = 4
ASK_AGAIN_S = 0.5
"""What an answer used is asked for so often after its stream ended: the API may be a moment behind its own stream."""


LIVE_MS = 2_000
"""What was written before comes within much less, and a generation that takes less is not worth telling apart."""


def is_followed(record: RowRecord, policy: Policy, now_ms: int) -> bool:
    """Whether a pending row's stream is worth following: one that ended badly, or is too old, is asked for instead."""
    if policy.mode not in FOLLOWS or record.polls or record.submitted_at is None:
        return False
    return now_ms - record.submitted_at // 1000 < policy.stream_kept_s * 1000


def is_settled(answer: QueryAnswer) -> bool:
    """Whether what came of a stream says what becomes of the row, so that there is nothing more to ask."""
    match answer:
        case Completed(completion=completion):
            return completion.usage is not None
        case Failed() | Throttled() | AccountRefused():
            return True
        case _:
            return False


def joined(streamed: Completion, asked: Completion) -> Completion:
    """One answer of what its stream and a poll told: the poll knows what it used, the stream what was thought."""
    return replace(asked, reasoning=asked.reasoning or streamed.reasoning)


def seen_at_work(record: RowRecord, began_ms: int, now_ms: int) -> RowRecord:
    """The record of a row whose stream came to its end, from the moment in which it was opened until now.

    A stream that took a while was being written until then, so how long the generation took is known exactly. One that
    came at once may have been over for long: it tells no more than a poll.
    """
    if now_ms - began_ms < LIVE_MS:
        return record
    return changed(record, running_ms=max(0, now_ms - (record.submitted_at or 0) // 1000 - 1))


def left_open(record: RowRecord) -> Step:
    """The step of a row whose stream is left to the next shift, which follows it from its start."""
    return Step(State.PENDING, Event.NOT_READY, record)
