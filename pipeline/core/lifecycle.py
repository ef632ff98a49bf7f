"""The states of a row in the ledger, as a table.

What is not in the table is an error. The diagram in docs/design.md is rendered from it (`diagram`), so the two cannot
drift apart. Which event happened is decided elsewhere (`core.retries`); this module only knows where it leads.
"""

from enum import StrEnum

from pipeline.core.errors import LifecycleError


class State(StrEnum):
    """Where a row stands."""

    READY = "ready"
    SUBMITTING = "submitting"
    PENDING = "pending"
    DONE = "done"


class Outcome(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


DOUBTFUL = frozenset((Outcome.UNKNOWN, Outcome.EXPIRED))
"""Ends of rows that may have been billed, and of which nobody heard what they cost."""


class Event(StrEnum):
    """What can happen to a row."""

    CLAIMED = "claimed with a permit"
    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    NOTHING_SENT = "nothing sent"
    ACCOUNT_REFUSED = "account refused"
    REFUSED = "refused"
    LOST_RESUBMIT = "outcome unknown, policy resubmit"
    LOST_HOLD = "outcome unknown, policy hold"
    ADOPTED = "late accepted, not yet resent"
    ANSWERED_LATE = "late answer, not yet resent"
    NOT_READY = "still running"
    COMPLETED = "completed"
    UNFIT = "answer unfit, repairs left"
    FAILED_RETRY = "failed, attempts left"
    FAILED_LAST = "failed for good"
    GONE_RESUBMIT = "gone, policy resubmit"
    GONE_HOLD = "gone, policy hold"
    EXPIRED = "not ready after its deadline"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


TABLE: dict[tuple[State, Event], State] = {
    (State.READY, Event.CLAIMED): State.SUBMITTING,
    (State.READY, Event.ADOPTED): State.PENDING,
    (State.READY, Event.ANSWERED_LATE): State.DONE,
    (State.READY, Event.CANCELLED): State.DONE,
    (State.SUBMITTING, Event.ACCEPTED): State.PENDING,
    (State.SUBMITTING, Event.THROTTLED): State.READY,
    (State.SUBMITTING, Event.NOTHING_SENT): State.READY,
    (State.SUBMITTING, Event.ACCOUNT_REFUSED): State.READY,
    (State.SUBMITTING, Event.REFUSED): State.DONE,
    (State.SUBMITTING, Event.LOST_RESUBMIT): State.READY,
    (State.SUBMITTING, Event.LOST_HOLD): State.DONE,
    (State.SUBMITTING, Event.COMPLETED): State.DONE,
    (State.SUBMITTING, Event.UNFIT): State.READY,
    (State.SUBMITTING, Event.FAILED_RETRY): State.READY,
    (State.SUBMITTING, Event.FAILED_LAST): State.DONE,
    (State.PENDING, Event.NOT_READY): State.PENDING,
    (State.PENDING, Event.COMPLETED): State.DONE,
    (State.PENDING, Event.UNFIT): State.READY,
    (State.PENDING, Event.FAILED_RETRY): State.READY,
    (State.PENDING, Event.FAILED_LAST): State.DONE,
    (State.PENDING, Event.GONE_RESUBMIT): State.READY,
    (State.PENDING, Event.GONE_HOLD): State.DONE,
    (State.PENDING, Event.EXPIRED): State.DONE,
    (State.PENDING, Event.ABANDONED): State.DONE,
}


def next_state(state: State, event: Event) -> State:
    """Where `event` leads from `state`; LifecycleError when the table does not know it."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise LifecycleError(f"a row that is {state} can't have the event “{event}”") from None


def diagram() -> str:
    """The table as Markdown, one line a transition, in the table's order."""
    lines = ["| state | event | next |", "|---|---|---|"]
    lines += [f"| {state} | {event} | {after} |" for (state, event), after in TABLE.items()]
    return "\n".join(lines)
