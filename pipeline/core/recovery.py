"""What is known of a row when its ledger is lost: by what the run left on disk."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import Attempt, RowRecord


@dataclass(frozen=True, slots=True)
class SavedId:
    """One accepted generation of a row; `accepted_at` in µs since 1970."""

    generation_id: str
    accepted_at: int
    attempt: int


def recovered(ids: Sequence[SavedId], policy: Policy, now_ms: int) -> RowRecord:
    """The record of a row that was fed before the ledger was lost and has no end on disk.

    With an id the generation is polled. Without one the row may have been sent and paid for: it is sent again, once,
    and says so.
    """
    if not ids:
        lost = Attempt(None, now_ms * 1000, Outcome.UNKNOWN)
        return RowRecord(attempts=1, resubmits=1, possible_duplicate=True, log=(lost,))
    last = ids[-1]
    return RowRecord(
        attempts=max(last.attempt, len(ids)),
        generation_id=last.generation_id,
        submitted_at=last.accepted_at,
        deadline_ms=now_ms + round(policy.generation_deadline_s * 1000),
        log=tuple(Attempt(one.generation_id, one.accepted_at, Outcome.FAILED) for one in ids[:-1]),
    )
