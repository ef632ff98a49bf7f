"""Answers that are not fit are asked for again, if the policy says so: which, with what question, and what is kept.

A repair is a POST like any other: it takes a permit, is billed, and stands in the attempt log. Until something better
comes, the answer that is repaired is its row's, whatever becomes of the repair.
"""

from dataclasses import replace
from typing import Any

import orjson

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import Completion
from pipeline.core.cells import LONGEST_PROMPT
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.policy import Policy
from pipeline.core.records import Attempt, Ending, RowRecord, Unfit, changed
from pipeline.core.standing import REPAIRABLE
from pipeline.core.steps import Step

LEAST_CAP = 1_024
"""A first `max_tokens` below this would cut most answers again."""

MOST_CAP = 2**53
"""No cap is raised beyond what every JSON reader holds exactly."""

LONGEST_REASON = 500
LONGEST_QUOTE = 1_000
"""Characters of a correction note: why the answer is not fit, and how it began. More would only be paid for."""

_CUT = "length"


def is_repaired(record: RowRecord, verdict: Verdict, policy: Policy) -> bool:
    """Whether an answer is asked for again; one whose cap can't be raised any more would be cut again."""
    stuck = verdict.status is AnswerStatus.TRUNCATED and record.cap >= MOST_CAP
    return record.repairs < policy.repairs and verdict.status in REPAIRABLE and not stuck


def to_repair(record: RowRecord, completion: Completion, verdict: Verdict, at: int, cost: float | None) -> RowRecord:
    """The record of a row whose answer is asked for again; `at` is when it was seen, in µs since 1970.

    `cost` is what it cost, as far as that is known.
    """
    status, earlier = verdict.status, record.unfit
    best = _takes_place(completion, status, earlier)
    if earlier is None or best:
        ids = (record.generation_id, record.submitted_at, at)
        kept = Unfit(completion, *ids, status, verdict.error, record.cap, record.polls)
    else:
        kept = replace(earlier, cap=max(earlier.cap, record.cap))
    entry = _entry(record, completion, status, cost, content=None if best else completion.content)
    return changed(
        record,
        generation_id=None,
        submitted_at=None,
        missing=0,
        missing_since_ms=0,
        repairs=record.repairs + 1,
        unfit=kept,
        log=(*_replaced(record, best=best), entry),
        # where the ledger was lost, the repair that would come now may have been under way
        possible_duplicate=record.possible_duplicate or record.recovered,
        recovered=False,
    )


def with_best(
    record: RowRecord, ending: Ending, status: str | None = None, cost: float | None = None
) -> tuple[RowRecord, Ending]:
    """How a row ends, by the best of its answers; nothing changes where none of them was asked for again.

    However a repair ended, an answer that came before it is the row's end, if the repair has no better one. `status`
    and `cost` are those of the answer that the ending has; one that nobody judged, without a status, is no better.
    """
    unfit = record.unfit
    if unfit is None:
        return record, ending
    if ending.completion is not None and status is not None and _takes_place(ending.completion, status, unfit):
        return changed(record, unfit=None, log=_replaced(record, best=True)), ending
    log = record.log
    if ending.completion is not None:
        log = (*log, _entry(record, ending.completion, status, cost, content=ending.completion.content))
    elif record.generation_id is not None:
        log = (*log, Attempt(record.generation_id, record.submitted_at or 0, ending.outcome))
    kept = changed(
        record,
        generation_id=unfit.generation_id,
        submitted_at=unfit.submitted_at,
        polls=unfit.polls,
        unfit=None,
        log=log,
        # a repair that nobody knows the id of may have been billed beside the answer that is kept
        possible_duplicate=record.possible_duplicate or any(one.generation_id is None for one in log),
    )
    return kept, Ending(Outcome.COMPLETED, unfit.at, completion=unfit.completion)


def after_fewer_repairs(record: RowRecord, policy: Policy, now_ms: int) -> Step | None:
    """The end of a claimed row that waited for a repair which the run, with fewer of them now, does not make."""
    if record.unfit is None or record.repairs <= policy.repairs:
        return None
    kept, ending = with_best(record, Ending(Outcome.CANCELLED, now_ms * 1000))
    return Step(State.SUBMITTING, Event.REFUSED, kept, ending=ending)


def _entry(
    record: RowRecord, completion: Completion, status: str | None, cost: float | None, *, content: str | None
) -> Attempt:
    ids = (record.generation_id, record.submitted_at or 0)
    return answered(*ids, completion, status, cost, content=content)


def answered(
    generation_id: str | None,
    submitted_at: int,
    completion: Completion,
    status: str | None,
    cost: float | None,
    *,
    content: str | None,
) -> Attempt:
    """The entry of a generation that has an answer, in the attempt log; `content` where another one is the row's."""
    return Attempt(
        generation_id,
        submitted_at,
        Outcome.COMPLETED,
        completion.prompt_tokens,
        completion.completion_tokens,
        cost,
        completion.reasoning_tokens,
        completion.cached_tokens,
        completion.audio_tokens,
        completion.video_tokens,
        completion.credits,
        completion.cost,
        status,
        content,
    )


def _takes_place(completion: Completion, status: str | None, earlier: Unfit | None) -> bool:
    """Whether a newer answer is at least as good: one that is fit, then one with text that is no refusal."""
    return earlier is None or _worth(completion, status) >= _worth(earlier.completion, earlier.status)


def _worth(completion: Completion, status: str | None) -> int:
    if status == AnswerStatus.OK:
        return 3
    if not (completion.content or "").strip():
        return 0
    return 1 if status == AnswerStatus.REFUSED else 2


def _replaced(record: RowRecord, *, best: bool) -> tuple[Attempt, ...]:
    """The log in which the earlier answer's text is kept, where a newer answer is the better one."""
    earlier = record.unfit
    if earlier is None or not best:
        return record.log
    content = earlier.completion.content
    return tuple(
        replace(entry, content=content) if entry.generation_id == earlier.generation_id else entry
        for entry in record.log
    )


def repair_body(body: bytes, unfit: Unfit | None) -> bytes:
    """The body to send for a row: its own, or the one that asks better for an answer that was not fit."""
    if unfit is None:
        return body
    asked: dict[str, Any] = orjson.loads(body)
    cap = max(unfit.cap, asked.get("max_tokens") or 0)
    if unfit.status == AnswerStatus.TRUNCATED or unfit.completion.finish_reason == _CUT:
        cap = max(cap, min(2 * cap, MOST_CAP)) if cap else max(2 * (unfit.completion.completion_tokens or 0), LEAST_CAP)
    if cap:
        asked["max_tokens"] = cap
    if unfit.status == AnswerStatus.INVALID:
        asked["prompt"] = _with_note(asked["prompt"], unfit)
    return orjson.dumps(asked)


def _with_note(prompt: str, unfit: Unfit) -> str:
    """The prompt with what was wrong with the last answer, as far as there is room for it."""
    reason = " ".join((unfit.error or "it does not have the form that was asked for").split())[:LONGEST_REASON]
    head = f"\n\nAn earlier answer to this could not be used ({reason}). It began:\n"
    foot = "\nAnswer anew, in exactly the form that is asked for, and with nothing else."
    left = LONGEST_PROMPT - len(prompt) - len(head) - len(foot)
    if left < 0:
        return prompt + foot if len(prompt) + len(foot) <= LONGEST_PROMPT else prompt
    quote = (unfit.completion.content or "").strip()[: min(left, LONGEST_QUOTE)]
    return f"{prompt}{head}{quote}{foot}".replace("\0", "")
