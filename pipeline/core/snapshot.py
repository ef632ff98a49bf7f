"""What the ledger looks like at one moment, as values: for the heartbeat, for progress and for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pipeline.core.budget import Budget, Spending
from pipeline.core.lifecycle import Outcome
from pipeline.core.limits import Limits
from pipeline.core.pacing import Pace


class RunState(StrEnum):
    """What a run is doing. `stopping` and `cancelling` send nothing more but collect what was asked.

    A run that is stopping keeps the rest for later; one that is cancelling ends it. One that is abandoning ends what
    was sent, too, and keeps its ids.
    """

    RUNNING = "running"
    STOPPING = "stopping"
    CANCELLING = "cancelling"
    ABANDONING = "abandoning"
    PAUSED = "paused"
    FINISHED = "finished"


PERSON_PAUSED = "paused by a person"
"""The reason of a pause that only a person lifts, and that the run's command waits for."""

BUDGET_REACHED = "budget: "
"""How the reason of a pause begins that a higher cap lifts."""

FEED_WINDOW_ROWS = 10_000
"""Rows that the ledger holds before they are sent: five seconds' work of two fast workers."""

FEED_WINDOW_BYTES = 64 * 1024 * 1024
"""Request bodies that the ledger holds at a time; prompts may have 100,000 characters."""

RESULTS_BYTES = 64 * 1024 * 1024
"""Results that wait for the writer; when full, submitting stops."""


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """Counts of rows unless said otherwise; times in ms since 1970 by the Redis server's clock.

    `shifts` counts, by role, live shifts and tickets that are on their way.
    """

    run_id: str
    state: RunState
    now_ms: int
    total: int
    fed: int
    ready: int
    ready_due: int
    submitting: int
    pending: int
    pending_due: int
    results: int
    results_bytes: int
    bodies_bytes: int
    accepted_unsaved: int
    lapsed: int
    accepted: int
    outcomes: Mapping[Outcome, int]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    possible_duplicates: int = 0
    double_ends: int = 0
    written: int = 0
    """Results that are in parts on disk, of this ledger; so many `parts`, and so many ids in files of their own."""
    parts: int = 0
    ids_saved: int = 0
    shifts: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    guard: str = ""
    """How the rows ended whose likeness paused the run: outcome, code and the API's own words; empty otherwise."""
    polls_held: bool = False
    """Polling pauses too: the ids that were accepted are not found."""
    trouble: str = ""
    trouble_since_ms: int = 0
    doubt_since_ms: int = 0
    """Since when no POST was accepted, and one at least may have been billed without an id."""
    late: int = 0
    late_due: int = 0
    """Late ids whose generations are still to be asked for."""
    account_blocked: str = ""
    account_polls: bool = True
    account_wait_until_ms: int = 0
    led: bool = True
    """Whether a command leads the run, or it needs none: else nothing is sent."""
    key_fingerprint: str = ""
    media_roots: tuple[str, ...] = ()
    """Folders that whoever sends its rows has to read."""
    account: str = ""
    account_answered: int = 0
    """POSTs that the account accepted, of all runs."""
    pace: Pace = Pace()
    bound: str = ""
    """What cut the last claim of rows to send short; empty when nothing did."""
    limits: Limits = Limits()
    budget: Budget = Budget()
    spending: Spending = Spending()
    priority: int = 10
    recover_until: int = 0
    """Rows below this position were fed to an earlier ledger that is lost; 0 when there was none."""

    @property
    def ended(self) -> int:
        """Rows with an outcome."""
        return sum(self.outcomes.values())

    @property
    def sends(self) -> bool:
        """Whether rows may be submitted at all, permits apart."""
        held = self.account_blocked or self.account_wait_until_ms > self.now_ms
        return self.state is RunState.RUNNING and self.led and not held and self.results_bytes < RESULTS_BYTES

    @property
    def collects(self) -> bool:
        """Whether generations may be polled."""
        held = self.polls_held or (self.account_blocked != "" and not self.account_polls)
        return self.state not in {RunState.FINISHED, RunState.ABANDONING} and not held

    @property
    def limits_in_force(self) -> Limits:
        """What the run keeps its account to: a run that is paused, or that nobody leads, slows no other down."""
        of_polls = self.limits.poll_rpm if self.collects else None
        of_posts = self.limits if self.state is RunState.RUNNING and self.led else Limits()
        return replace(of_posts, poll_rpm=of_polls)

    @property
    def window_has_room(self) -> bool:
        """Whether the feed should top the ledger up: half a window free, so that it works in few large steps."""
        return self.ready <= FEED_WINDOW_ROWS // 2 and self.bodies_bytes < FEED_WINDOW_BYTES

    @property
    def in_flight(self) -> int:
        """Rows that were, or are just being, sent."""
        return self.submitting + self.pending

    @property
    def all_ended(self) -> bool:
        """Every row has its end and the writer has them all: time to finalize."""
        return (
            (self.state not in {RunState.PAUSED, RunState.FINISHED} or self.guard != "" or self.reason == PERSON_PAUSED)
            and self.fed >= self.total
            and self.ready + self.in_flight + self.results + self.late + self.accepted_unsaved == 0
        )

    @property
    def quiet(self) -> bool:
        """Nothing is in flight and nothing waits for the writer."""
        return self.in_flight + self.results + self.late + self.accepted_unsaved == 0
