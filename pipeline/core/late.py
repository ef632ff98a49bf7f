"""Ids that came when their row had gone on without them: what they were paid for is kept, and told.

Such a generation may have been billed beside the row's own. It is polled until it ends; its line on disk is written
once when the id is noted, and once more when its end is known. The dataset takes it up when parts are published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from pipeline.core.answers import Completed, Failed, Missing, Problem, QueryAnswer, Running, Throttled
from pipeline.core.budget import Settled, tells_usage, used_by
from pipeline.core.costs import PriceList, in_micro, price_of
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import Ending, RowRecord, ending_from, ending_packed

ADOPTER = "-late"
"""How the name of who takes a row to adopt a late id ends: nothing is sent for such a claim."""

SOONEST_S, LATEST_S = 2.0, 60.0
"""Between two polls of a late id: nobody waits for its answer, so it is asked for less often as it grows old."""


@dataclass(frozen=True, slots=True)
class LateId:
    """One generation beside its row's own; `accepted_at` in µs since 1970, no ending while none is known."""

    row_index: int
    generation_id: str
    accepted_at: int
    attempt: int
    resubmits: int = 0
    ending: Ending | None = None
    asked_since_ms: int = 0
    missed: int = 0
    """Since when it is asked for, in ms since 1970, and how many polls in a row found nothing under it."""
    model: str = ""


def late_of(row_index: int, record: RowRecord) -> LateId:
    """The late id in a record, as the worker that got it would have left the record."""
    ids = (record.generation_id or "", record.submitted_at or 0, record.attempts, record.resubmits)
    return LateId(row_index, *ids, model=record.model)


def adopts(token: str) -> bool:
    """Whether a claim was made to adopt a late id."""
    return token.rpartition(":")[0].endswith(ADOPTER)


def used_late(late: LateId, prices: PriceList) -> Settled:
    """What it used, by its end, and one reservation less: it was kept for a POST that nobody had heard of."""
    answer = late.ending.completion if late.ending else None
    if answer is None:
        return Settled()
    used = used_by(answer, in_micro(price_of(answer, prices, late.model)))
    return replace(used, kept=-1) if tells_usage(answer) else used


def is_news(row_index: int, kept: int, recover_until: int) -> bool:
    """Whether what a late id used is not in the sums yet; `kept` reservations are those of its row.

    A POST that the ledger gave up keeps one, and a ledger that was made anew does not know all POSTs of the rows that
    an earlier one had. Else it is an id with which its row went on, offered twice since the first reply was lost.
    """
    return kept > 0 or row_index < recover_until


def with_late(total: Settled, log: Sequence[Mapping[str, Any]], ids: Sequence[LateId], prices: PriceList) -> Settled:
    """The sums with what late ids of one row used; those that its attempt log has are in the sums already.

    One that tells its usage needs no reservation any more, where the log keeps one for a POST that nobody heard of.
    """
    known = {entry["generation_id"] for entry in log}
    untold = sum(entry["generation_id"] is None for entry in log)
    for late in ids:
        used = used_late(late, prices)
        if late.generation_id in known or used == Settled():
            continue
        freed = min(untold, -used.kept)
        untold -= freed
        total = Settled(
            total.prompt_tokens + used.prompt_tokens,
            total.completion_tokens + used.completion_tokens,
            total.cost_micro + used.cost_micro,
            total.kept - freed,
        )
    return total


def late_line(late: LateId) -> bytes:
    """A late id as it is queued and saved: `{"late": [index, id, accepted at, attempt, resubmits], "e": ending}`.

    `"m"` is its model; once it is asked for, `"asked": [since, missed]` stands beside.
    """
    ids = [late.row_index, late.generation_id, late.accepted_at, late.attempt, late.resubmits]
    whole: dict[str, Any] = {"late": ids, "e": None if late.ending is None else ending_packed(late.ending)}
    if late.model:
        whole["m"] = late.model
    if late.asked_since_ms and late.ending is None:
        whole["asked"] = [late.asked_since_ms, late.missed]
    return orjson.dumps(whole)


def asked_again(late: LateId, answer: QueryAnswer, policy: Policy, now_ms: int) -> tuple[LateId, int]:
    """A late id after a poll: with its ending, or the wait in ms until the next poll.

    Patience counts from when it was first asked for: it may have waited a night in a file. It is beside its row, and
    may not keep a run from its end.
    """
    late = replace(late, asked_since_ms=late.asked_since_ms or now_ms)
    late = replace(late, missed=late.missed + 1 if isinstance(answer, Missing) else 0)
    age_s = (now_ms - late.asked_since_ms) / 1000
    at = now_ms * 1000
    match answer:
        case Completed(completion=completion):
            return replace(late, ending=Ending(Outcome.COMPLETED, at, completion=completion)), 0
        case Failed(problem=problem):
            return replace(late, ending=Ending(Outcome.FAILED, at, problem=problem)), 0
        case Missing(problem=problem) if late.missed >= policy.missing_polls and age_s > policy.missing_for_s:
            return replace(late, ending=Ending(Outcome.UNKNOWN, at, problem=problem)), 0
        case Running() if age_s > policy.generation_deadline_s:
            problem = Problem("deadline", f"not ready {policy.generation_deadline_s:g} s after it was accepted")
            return replace(late, ending=Ending(Outcome.EXPIRED, at, problem=problem)), 0
        case Throttled(retry_after=float(retry_after)):
            return late, round(max(retry_after, SOONEST_S) * 1000)
        case _ if age_s > 2 * policy.generation_deadline_s:
            problem = Problem("deadline", "nothing useful was heard of it for as long as it was asked for")
            return replace(late, ending=Ending(Outcome.EXPIRED, at, problem=problem)), 0
    return late, round(min(LATEST_S, max(SOONEST_S, age_s / 4)) * 1000)


def is_late(line: bytes) -> bool:
    """Whether a line of `sent/` is a late id rather than the id that its row went on with."""
    return line.startswith(b"{")


def read_late(line: bytes) -> LateId:
    """The reverse of `late_line`."""
    whole: dict[str, Any] = orjson.loads(line)
    row_index, generation_id, accepted_at, attempt, resubmits = whole["late"]
    ending = None if whole["e"] is None else ending_from(whole["e"])
    asked_since_ms, missed = whole.get("asked", (0, 0))
    ids = (generation_id, accepted_at, attempt, resubmits)
    return LateId(row_index, *ids, ending, asked_since_ms, missed, whole.get("m", ""))
