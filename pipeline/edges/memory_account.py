"""What the ledger in memory holds of one account, and the rules of the scripts in `lua/` about it.

Times are ms since 1970 unless said otherwise.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.core.counting import DUPLICATES, ENDED, LATE_POLL, POLL, STALE, counted
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.limits import Limits
from pipeline.core.observations import Observed
from pipeline.core.pacing import AccountSeen, LaneSeen, Pace
from pipeline.core.permits import ASKING_MS, Lane
from pipeline.core.steps import Step
from pipeline.edges.redis_accounts import OBSERVED_KEPT
from pipeline.edges.redis_wire import told
from pipeline.ports import Commit


@dataclass(slots=True)
class MemoryLane:
    """One lane: its clock, the end of its back-off, and its counters."""

    clock: Lane = Lane()
    seen: LaneSeen = LaneSeen()
    wait_until: int = 0

    def cut_short(self) -> None:
        """Count a claim that the rate cut short."""
        self.seen = replace(self.seen, bound=self.seen.bound + 1)

    def answer(self) -> None:
        """Count an answer as it should be."""
        self.seen = replace(self.seen, answered=self.seen.answered + 1)

    def throttle(self, now: int, wait: int) -> None:
        """Hold the lane back; one congestion event, however many requests meet it."""
        if self.wait_until <= now:
            self.congest(now, wait)
        self.wait_until = max(self.wait_until, now + wait)

    def congest(self, now: int, wait: int) -> None:
        """Count one congestion event."""
        seen = self.seen
        self.seen = replace(
            seen, events=seen.events + 1, event_at_ms=now, event_wait_ms=wait, event_answered=seen.answered
        )


@dataclass(slots=True)
class MemoryAccount:
    """One account. `clocks` tell whose turn it is and `asking` which runs were refused lately, by run id."""

    blocked: str = ""
    polls: bool = True
    troubles: int = 0
    doubts: int = 0
    pace: Pace = Pace()
    found: bytes = b""
    limits: Limits = Limits()
    posts: MemoryLane = field(default_factory=MemoryLane)
    polling: MemoryLane = field(default_factory=MemoryLane)
    event_in_flight: int = 0
    sent_at: int = 0
    turns: int = 0
    tester: str = ""
    tester_until: int = 0
    tests: int = 0
    tested: str = ""
    tested_in_flight: int = 0
    clocks: dict[str, int] = field(default_factory=dict)
    asking: dict[str, int] = field(default_factory=dict)
    observed: list[Observed] = field(default_factory=list)
    observed_count: int = 0
    listens: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    """What is counted for whoever watches, by the names of `core.counting`."""

    @property
    def wait_until(self) -> int:
        """The end of the back-off of sending."""
        return self.posts.wait_until

    def unblock(self) -> None:
        """A person has seen to the key and the balance; the back-off is everyone's and stays."""
        self.blocked, self.polls = "", True

    def forget(self, run_id: str) -> None:
        """A run is gone, and takes no turns."""
        self.clocks.pop(run_id, None)
        self.asking.pop(run_id, None)

    def waiting(self, run_id: str, now: int) -> list[int]:
        """The clocks of the other runs that were refused lately."""
        return [self.clocks.get(other, 0) for other in self.asking if other != run_id and self.is_asking(other, now)]

    def is_asking(self, run_id: str, now: int) -> bool:
        """Whether a run was refused lately."""
        return run_id in self.asking and abs(now - self.asking[run_id]) <= ASKING_MS

    def hear(self, commit: Commit, now: int, pending: Callable[[], int]) -> None:
        """Take in what a step says of the account; `pending` counts the generations of all its runs."""
        step = commit.step
        if step.lane == "posts" and self.posts.wait_until <= now and not self._is_old(commit.token):
            self.event_in_flight = pending()
            self.posts.congest(now, step.wait_ms)
        if step.source is State.PENDING and step.trouble is None:
            self.polling.answer()
        if step.lane == "polls":
            self.polling.throttle(now, step.wait_ms)
        if step.account_problem is not None:
            self.blocked, self.polls = told(step.account_problem), step.polling_works

    def _is_old(self, token: str) -> bool:
        """Whether a row was claimed before the last congestion event: its refusal belongs to that."""
        claimed = token.partition(":")[0]
        return claimed.isdigit() and int(claimed) < self.posts.seen.event_at_ms

    def hold_back(self, step: Step, now: int, most_doubts: int) -> None:
        """Back off, where the step says so; an ambiguous answer alone says little of the API."""
        self.doubts += step.doubt
        if step.account_wait_ms > 0 and not (step.doubt and self.doubts < most_doubts):
            # one congestion event, however many requests meet it
            self.troubles += self.posts.wait_until <= now
            self.posts.wait_until = max(self.posts.wait_until, now + step.account_wait_ms)

    def count(self, commits: Sequence[Commit], applied: Sequence[bool]) -> None:
        """Count a group of steps, and those that were stale."""
        self.counts += counted(commit.step for commit, was in zip(commits, applied, strict=True) if was)
        self.counts += Counter({STALE: applied.count(False)})

    def count_late(self, *, asked: bool) -> None:
        """Count a poll of a late id."""
        self.counts += Counter({POLL + LATE_POLL: int(asked)})

    def count_ended(self, before: Counter[str], after: Counter[str]) -> None:
        """Count rows that a person ended, by the sums of their run before and after that."""
        ended = {f"{ENDED}{outcome}": after[outcome] - before[outcome] for outcome in Outcome}
        self.counts += Counter(ended | {DUPLICATES: after[DUPLICATES] - before[DUPLICATES]})

    def listen(self, *, sending: bool) -> None:
        """Before a group of steps: the last rows of a run are its slowest, and would be taken for everybody."""
        self.listens = sending or len(self.observed) < OBSERVED_KEPT

    def learn(self, commit: Commit, pending: Callable[[], int], now: int, *, accepted: bool) -> None:
        """Take in what a recorded step tells: of generations, of the tester, and that a POST was accepted."""
        step = commit.step
        if step.observed is not None and self.listens:
            self.observed_count += 1
            self.observed = [*self.observed[1 - OBSERVED_KEPT :], step.observed]
        if step.source is State.SUBMITTING and self.tester == commit.token:
            how = "accepted" if accepted else "refused" if step.lane == "posts" else ""
            self._test(how, lambda: pending() + step.answered)  # which was in flight until now
        if accepted:
            self.posts.answer()
            self.doubts = 0
            self.troubles = self.troubles if self.posts.wait_until > now else 0

    def _test(self, how: str, pending: Callable[[], int]) -> None:
        self.tester, self.tester_until = "", 0
        if how:
            self.tests, self.tested, self.tested_in_flight = self.tests + 1, how, pending()

    def look(self, now: int, in_flight: int) -> AccountSeen:
        """What the account looks like now."""
        return AccountSeen(
            now_ms=now,
            posts=self.posts.seen,
            polls=self.polling.seen,
            in_flight=in_flight,
            event_in_flight=self.event_in_flight,
            tests=self.tests,
            tested=self.tested,
            tested_in_flight=self.tested_in_flight,
            observed=self.observed_count,
            limits=self.limits,
            found=self.found,
        )
