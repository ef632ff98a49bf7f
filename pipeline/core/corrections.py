"""What becomes of an annotation between its part and the dataset, after which it is never changed again.

Two things are known only when all rows have their end: generations that a row went on without, and ids that the API
handed out twice. Every other row stays as its part has it. Nothing here may drop an answer that was paid for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pipeline.core.annotations import ANSWER, answer_columns, microseconds, time_of
from pipeline.core.answering import AnswerStatus, Judge
from pipeline.core.answers import Completion
from pipeline.core.costs import PriceList, price_of
from pipeline.core.ends import LOG
from pipeline.core.judging import Judging
from pipeline.core.late import LateId
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Attempt, Ending
from pipeline.core.repairs import answered

DUPLICATE_ID = "duplicate_generation_id"
ORDER_CLEAR = timedelta(seconds=90)
"""Answers that came within it may be to POSTs sent in another order: a POST is waited for so long. An answer under the
wrong row is worse than one that has to be asked for again."""

_PLAIN = Judging()
_NOTHING: Mapping[str, Any] = {**dict.fromkeys(LOG[2:]), "outcome": Outcome.UNKNOWN.value}
"""An entry of the attempt log, but for its id and time, of which nothing can be told."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """A row that was given a generation id; `accepted_at` in UTC. What is published can't be corrected any more."""

    generation_id: str
    row_index: int
    accepted_at: datetime | None
    published: bool


@dataclass(frozen=True, slots=True)
class Corrections:
    """What the parts did not know: late ids by row, and for each id that several rows bear, the row that it is of.

    An id is of no row when two were given it at once.
    """

    late: Mapping[int, Sequence[LateId]]
    first: Mapping[str, int | None]
    prices: PriceList
    judge: Judge = _PLAIN


def first_rows(bearers: Iterable[Bearer]) -> dict[str, int | None]:
    """For each id, the row that it is of: a published one, else the one that was clearly accepted first."""
    by_id: dict[str, list[Bearer]] = {}
    for bearer in bearers:
        by_id.setdefault(bearer.generation_id, []).append(bearer)
    return {generation_id: _first(sorted(held, key=_precedence)) for generation_id, held in by_id.items()}


def _first(held: Sequence[Bearer]) -> int | None:
    first = held[0]
    others = [bearer for bearer in held if bearer.row_index != first.row_index]
    if first.published or not others:
        return first.row_index
    clearly = first.accepted_at is not None and all(
        other.accepted_at is None or other.accepted_at - first.accepted_at > ORDER_CLEAR for other in others
    )
    return first.row_index if clearly else None


def _precedence(bearer: Bearer) -> tuple[bool, bool, float, int]:
    at = bearer.accepted_at
    return not bearer.published, at is None, 0.0 if at is None else at.timestamp(), bearer.row_index


def corrected(row: Mapping[str, Any], corrections: Corrections) -> dict[str, Any]:
    """The annotation as it is published."""
    own, first = row["row_index"], corrections.first
    late = [
        one if first.get(one.generation_id, own) == own else replace(one, ending=None)
        for one in corrections.late.get(own, ())
    ]
    made = with_late(row, late, corrections.prices, corrections.judge)
    made["attempt_log"] = [_own(entry, own, first) for entry in made["attempt_log"] or ()]
    other = first.get(made["generation_id"], own)
    return made if other == own else distrusted(made, other)


def _own(entry: Mapping[str, Any], row_index: int, first: Mapping[str, int | None]) -> Mapping[str, Any]:
    """An entry of the log; without its tokens where its id is of another row, which has them."""
    return entry if first.get(entry["generation_id"], row_index) == row_index else {**entry, **_NOTHING}


def with_late(
    row: Mapping[str, Any], late: Sequence[LateId], prices: PriceList, judge: Judge = _PLAIN
) -> dict[str, Any]:
    """The annotation with its late ids in the attempt log, and with the first answer among them if it has none.

    A late id takes the place of the nameless entry of its attempt, so that each POST stands in the log once.
    """
    if not late:
        return dict(row)
    log = [dict(entry) for entry in row["attempt_log"] or ()]
    in_order = sorted(late, key=lambda one: (one.accepted_at, one.generation_id))
    appended = [_enter(log, _entry(one, prices, row["model"], judge), one) for one in in_order]
    made = {**row, "attempt_log": log, "attempts": max(row["attempts"] or 0, len(log))}
    answers = [one for one in in_order if one.ending is not None and one.ending.outcome is Outcome.COMPLETED]
    if row["outcome"] != Outcome.COMPLETED and answers:
        made |= _answer(answers[0], prices, row["model"], judge)
        for entry in log:
            entry["content"] = None if entry["generation_id"] == made["generation_id"] else entry["content"]
    beside = any(one.generation_id != made["generation_id"] for one in late)
    again = len(log) > 1 and (any(appended) or beside)
    return {**made, "possible_duplicate": bool(row["possible_duplicate"]) or again}


def _enter(log: list[dict[str, Any]], entry: dict[str, Any], late: LateId) -> bool:
    """Put a late id into the log; whether the log did not know of its attempt at all."""
    ids = [entry["generation_id"] for entry in log]
    if late.generation_id in ids:
        place = ids.index(late.generation_id)
        if late.ending is not None and log[place]["outcome"] != Outcome.COMPLETED:
            log[place] = entry
        return False
    place = late.attempt - 1
    if 0 <= place < len(log) and ids[place] is None:
        log[place] = entry
        return False
    log.append(entry)
    return True


def _entry(late: LateId, prices: PriceList, model: str, judge: Judge) -> dict[str, Any]:
    ids, ending = (late.generation_id, late.accepted_at), late.ending
    attempt = Attempt(*ids, Outcome.UNKNOWN if ending is None else ending.outcome)
    if ending is not None and (answer := ending.completion) is not None and ending.outcome is Outcome.COMPLETED:
        cost = price_of(answer, prices, model)
        attempt = answered(*ids, answer, judge(answer).status, cost, content=answer.content)
    entry = {name: getattr(attempt, name) for name in LOG}
    return {**entry, "submitted_at": time_of(late.accepted_at), "outcome": str(attempt.outcome)}


def _answer(late: LateId, prices: PriceList, model: str, judge: Judge) -> dict[str, Any]:
    """The columns of a row whose answer came late."""
    if late.ending is None:
        raise ValueError(f"{late.generation_id} has no ending")
    told = answer_columns(late.ending.completion, prices, model)
    verdict = judge(late.ending.completion or Completion())
    return {
        **{name: told.get(name) for name in ANSWER},
        "answer": verdict.value,
        "answer_status": verdict.status.value,
        "answer_error": verdict.error,
        "outcome": Outcome.COMPLETED.value,
        **dict.fromkeys(("error_code", "error_type", "error_message", "http_status", "polls")),
        "generation_id": late.generation_id,
        "submitted_at": time_of(late.accepted_at),
        "finished_at": time_of(late.ending.at),
        "latency_s": (late.ending.at - late.accepted_at) / 1_000_000,
    }


def distrusted(row: Mapping[str, Any], first: int | None) -> dict[str, Any]:
    """The annotation of a row that bears the id of another: whose answer it has can't be told.

    The row's own generation has an id that nobody knows, so its entry in the log has no tokens; those of the id that
    both bear are counted in the row `first`, if it is clear which that is.
    """
    generation_id = row["generation_id"]
    others = "at the same time to another" if first is None else f"before to row {first}"
    log = [
        {**entry, **_NOTHING} if entry["generation_id"] == generation_id else entry
        for entry in row["attempt_log"] or ()
    ]
    return {
        **row,
        **dict.fromkeys(ANSWER),
        **dict.fromkeys(("generation_id", "latency_s", "error_type", "http_status")),
        "outcome": Outcome.UNKNOWN.value,
        "error_code": DUPLICATE_ID,
        "error_message": f"the API gave {generation_id} to this row and {others}: whose answer it is can't be told",
        "attempt_log": log,
    }


def generations_of(row: Mapping[str, Any]) -> list[LateId]:
    """The generations of a second annotation of a row: of two, one is published, and it takes up the other's."""
    return [
        LateId(row["row_index"], entry["generation_id"], microseconds(entry["submitted_at"]), place, 0, ending)
        for place, entry in enumerate(row["attempt_log"] or (), start=1)
        if entry["generation_id"] is not None
        for ending in [_ending_of(row, entry)]
    ]


def _ending_of(row: Mapping[str, Any], entry: Mapping[str, Any]) -> Ending | None:
    outcome = Outcome(entry["outcome"])
    if outcome is Outcome.UNKNOWN:
        return None
    kept = entry["generation_id"] == row["generation_id"]
    told = row if kept else entry
    fields = {name: told[name] for name in Completion.__dataclass_fields__ if name in told}
    fields["cost"] = entry["cost_told"]
    refused = kept and row.get("answer_status") == AnswerStatus.REFUSED
    completion = Completion(**fields, refusal=row.get("answer_error") if refused else None)
    return Ending(outcome, microseconds(row["finished_at"]), completion)
