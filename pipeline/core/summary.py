"""What a run came to, as plain values for people and programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.answering import AnswerStatus
from pipeline.core.lifecycle import Outcome
from pipeline.core.snapshot import RunSnapshot

REPORT_TROUBLE = "report_trouble"
"""The key of the done marker that says why there is no report; left out where there is one."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over published annotations: rows, rows by outcome, tokens, and the cost where one is known.

    `answer_statuses` counts answers by what they are worth.
    """

    rows: int
    outcomes: Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    possible_duplicates: int
    answer_statuses: Mapping[str, int] = field(default_factory=dict)


def summary_of(run: RunSnapshot) -> dict[str, Any]:
    """A run that goes on, as the ledger counts it; its cost is what the API told."""
    outcomes = {outcome.value: count for outcome, count in run.outcomes.items()}
    totals = Totals(
        run.ended, outcomes, run.prompt_tokens, run.completion_tokens, run.cost or None, run.possible_duplicates
    )
    told = _counts(run, totals)
    del told["answer_statuses"]  # the writer judges answers: the ledger knows nothing of it
    return told


def finished_summary(run: RunSnapshot, totals: Totals, described: Mapping[str, Any]) -> dict[str, Any]:
    """A run whose dataset is published: rows, tokens and cost are those of the files, `described` is its run.json.

    `outcomes` count the rows of duplicates, too; rows that were answered before are `reused`, and in no outcome.
    """
    beside = {"duplicates": described.get("duplicates", 0), "reused": described.get("reused", 0)}
    return {**_counts(run, totals), **beside}


def _counts(run: RunSnapshot, totals: Totals) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "requests": run.total,
        "outcomes": {outcome.value: totals.outcomes.get(outcome.value, 0) for outcome in Outcome},
        "answer_statuses": status_counts(totals.answer_statuses),
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "cost": totals.cost,
        "possible_duplicates": totals.possible_duplicates,
        "double_ends": run.double_ends,
    }


def status_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Answers by what they are worth, every word of it."""
    return {status.value: counts.get(status.value, 0) for status in AnswerStatus}


def all_completed(outcomes: Mapping[str, int]) -> bool:
    """Whether every request completed."""
    return all(count == 0 for outcome, count in outcomes.items() if outcome != Outcome.COMPLETED)
