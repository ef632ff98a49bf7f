"""What is known of a row when its ledger is lost: by what the run left on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.late import LateId
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import Attempt, RowRecord
from pipeline.core.rows import Rows


@dataclass(frozen=True, slots=True)
class Ended:
    """The rows whose end is on disk, and how many ended with which outcome."""

    rows: Rows
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True, order=True)
class SavedId:
    """One accepted generation of a row, ordered by attempt; `accepted_at` in µs since 1970."""

    attempt: int
    accepted_at: int
    generation_id: str
    resubmits: int = 0


def recovered(ids: Sequence[SavedId], policy: Policy, now_ms: int) -> RowRecord | None:
    """The record of a row that was fed before the ledger was lost and has no end on disk.

    With an id, the generation of the last attempt is polled. Without one the row may have been sent and paid for: it
    is sent again, once, and says so; nothing where the policy is to hold such rows. A row that has fewer ids than
    attempts, or two of one attempt, may have been paid for twice.

    An answer that is asked for again is polled again, if it is the last: it costs nothing, and was not settled yet.
    Where answers are repaired an earlier generation may have one, too: it is asked for beside the row (`beside`).
    """
    lost = Attempt(None, now_ms * 1000, Outcome.UNKNOWN)
    if not ids and policy.on_unknown == "hold":
        return None
    if not ids:
        return RowRecord(attempts=1, resubmits=1, possible_duplicate=True, log=(lost,), recovered=True)
    known = _known(ids)
    last = known[-1]
    earlier = [_earlier(one, policy) for one in known[:-1]]
    missing = last.attempt - len({one.attempt for one in known})
    doubtful = missing > 0 or len({one.attempt for one in known}) < len(known) or last.resubmits > 0
    return RowRecord(
        attempts=max(last.attempt, len(known)),
        generation_id=last.generation_id,
        submitted_at=last.accepted_at,
        looked_at_ms=now_ms,
        resubmits=int(doubtful),
        possible_duplicate=doubtful,
        log=(*earlier, *([lost] * max(0, missing))),
        recovered=True,
        repairs=min(policy.repairs, len(earlier)),
    )


def beside(row_index: int, ids: Sequence[SavedId], policy: Policy, model: str) -> tuple[LateId, ...]:
    """Earlier generations of a row that may have an answer: asked for as late ids are, so that none is lost."""
    earlier = _known(ids)[:-1] if policy.repairs else []
    return tuple(
        LateId(row_index, one.generation_id, one.accepted_at, attempt, one.resubmits, model=model)
        for attempt, one in enumerate(earlier, 1)
    )


def is_held(record: RowRecord, policy: Policy) -> bool:
    """Whether a row is not sent again: the very POST may have been under way when the ledger was lost."""
    return record.recovered and policy.on_unknown == "hold"


def _known(ids: Sequence[SavedId]) -> list[SavedId]:
    """Each generation once, in order."""
    return sorted({one.generation_id: one for one in sorted(ids)}.values())


def _earlier(one: SavedId, policy: Policy) -> Attempt:
    """A place in the log; one that is asked for takes it when its end is known."""
    if policy.repairs:
        return Attempt(None, one.accepted_at, Outcome.UNKNOWN)
    return Attempt(one.generation_id, one.accepted_at, Outcome.FAILED)
