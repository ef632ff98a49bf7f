"""Where a row goes after an answer, as a value: `core.retries` decides it, the ledger applies it."""

from dataclasses import dataclass

from pipeline.core.answers import Completion, Problem
from pipeline.core.budget import Settled, tells_usage, used_by
from pipeline.core.lifecycle import Event, Outcome, State, next_state
from pipeline.core.observations import Observed
from pipeline.core.records import Ending, RowRecord

MISSING = "missing"
"""A poll for an accepted id was answered 404: one is not believed, many at once pause the run."""

_BROUGHT = frozenset((Event.COMPLETED, Event.UNFIT, Event.FAILED_RETRY, Event.FAILED_LAST))
"""Ends of a generation that came on the POST itself."""

_COMPLETED = frozenset((Event.COMPLETED, Event.ANSWERED_LATE))

_KEPT = frozenset(
    (
        Event.LOST_RESUBMIT,
        Event.LOST_HOLD,
        Event.GONE_RESUBMIT,
        Event.GONE_HOLD,
        Event.EXPIRED,
        Event.ABANDONED,
        Event.FAILED_RETRY,
        Event.FAILED_LAST,
    )
)
"""Ends of an attempt that may have been billed, and that tells no usage: a generation that failed, too."""

WORKER_LOST = Problem("worker_lost", "the worker that sent this row did not record an answer; it may have been billed")


@dataclass(frozen=True, slots=True)
class Step:
    """Where a row goes: `wait_ms` from now for ready and pending, `ending` for done.

    `account_wait_ms` holds the whole account back; `account_problem` blocks it until a person acts, with
    `polling_works` telling whether generations can still be collected meanwhile. `trouble` is what the person should
    see while the run waits; a step without one means that the API answered as it should.
    """

    source: State
    event: Event
    record: RowRecord
    wait_ms: int = 0
    ending: Ending | None = None
    account_wait_ms: int = 0
    account_problem: Problem | None = None
    polling_works: bool = True
    trouble: Problem | None = None
    like: str = ""
    """What the guard against like failures counts, though the row has not ended."""
    doubt: bool = False
    """Whether the POST may have been billed without an id of ours."""
    lane: str = ""
    """What the API throttled: "posts", "polls" or nothing."""
    returned: bool = False
    """The row's reservation was kept since it may have been billed, and now it is in flight again."""
    observed: Observed | None = None
    """What a generation that ended tells about those to come."""
    cost_micro: int = 0
    """What the answer cost, in millionths: the API's own word, else by the configured price; 0 where nobody knows."""
    answer: Completion | None = None
    """An answer that came with this step and is not the end of its row: another one is, or it is asked for again."""

    @property
    def answered(self) -> bool:
        """Whether the POST was carried out and brought its end, so that there is no id to save."""
        brought = self.source is State.SUBMITTING and self.event in _BROUGHT
        return brought or self.event is Event.ANSWERED_LATE

    @property
    def told(self) -> Completion | None:
        """The answer that came with this step; what an end repeats of an earlier one was settled when that came."""
        if self.answer is not None or self.event not in _COMPLETED or self.ending is None:
            return self.answer
        return self.ending.completion

    @property
    def goes_first(self) -> bool:
        """Whether the row is sent as soon as a fresh one of its place: what it has in hand is large, and waits here."""
        return self.event is Event.UNFIT

    @property
    def keeps(self) -> int:
        """Reservations that are kept for a row that may have been billed and never told: 1 more, or 1 less."""
        if self.returned:
            return -1
        if self.event is Event.ANSWERED_LATE:
            return 0  # kept since it was given up, and what it used is not told
        answer = self.told
        untold = answer is not None and not tells_usage(answer)
        return int(untold or self.event in _KEPT)

    @property
    def used(self) -> Settled:
        """What the answer used, as it is summed."""
        return used_by(self.told, self.cost_micro)

    @property
    def counts_as(self) -> str:
        """What the guard against like failures counts; nothing for a good end, and for the end of a worker."""
        if self.ending is None:
            return self.like
        code = self.ending.problem.code if self.ending.problem else ""
        good = self.ending.outcome is Outcome.COMPLETED or code == WORKER_LOST.code
        return "" if good else f"{self.ending.outcome} {code}"

    @property
    def state(self) -> State:
        """The state that the event leads to."""
        return next_state(self.source, self.event)


def abandoned(now_ms: int) -> Ending:
    """The end of a row that was sent, and whose answer nobody waits for."""
    left = Problem("abandoned", "the run was cancelled without waiting for this generation, which may have been billed")
    return Ending(Outcome.CANCELLED, now_ms * 1000, problem=left)


def cancelled(now_ms: int) -> Ending:
    """The end of a row that was not sent, or not sent again, since a person cancelled the run."""
    never = Problem("cancelled", "the run was cancelled before this row was sent, or sent again")
    return Ending(Outcome.CANCELLED, now_ms * 1000, problem=never)
