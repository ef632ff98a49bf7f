"""Look at the ledger and say what is due: pace, tickets, rows of dead workers, runs that should pause.

Every worker's main process has a heartbeat; a short lock lets one of them act. Nothing is reaped by the Redis server's
clock alone: after a gap of ticks, a jump of that clock against ours, or Redis having been away, reaping waits one full
lease, so that the living renew first.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.guards import pause_due
from pipeline.core.late import adopts
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spending import budget_reached
from pipeline.core.steps import WORKER_LOST
from pipeline.core.submitting import after_lost_post
from pipeline.core.tickets import Capacity, Role, Ticket, tickets_due
from pipeline.flows.committing import untold
from pipeline.flows.pacing import Pacer
from pipeline.ports import Clock, Commit, Ledger, RunCard, WorkerCard

TICK_S = 0.2
LOCK_S = 3.0
"""A dead heartbeat is followed by another after this long."""

BEAT_TICKS = 5
"""Ticks between two notes that all runs were looked after: one second, which whoever watches need not know better."""

REAP_ROWS = 500
GAP_MS = 5_000
"""A heartbeat that did not look for so long does not know whether the living could renew."""

JUMP_MS = 2_000
"""Redis's clock may differ from ours by this much between two ticks before it counts as a jump."""

FORGET_S = 60.0
"""A finished run stays in the ledger this long, for whoever watches it."""


@dataclass(slots=True)
class Pulse:
    """What one heartbeat remembers between ticks: monotonic seconds, and the Redis server's ms.

    `jump_ms` is by how much that server's clock was put back since the last tick, where that is known.
    """

    last_tick: float = float("-inf")
    last_now_ms: int = 0
    steady_since: float = float("inf")
    jump_ms: int = 0

    @property
    def began_anew(self) -> bool:
        """Whether this is the first look, or the first after a gap or a jump of the clock."""
        return self.steady_since == self.last_tick


def unseen(_runs: Sequence[RunSnapshot], _capacity: Capacity) -> None:
    """Tell nobody how runs stand."""


class Heartbeat:
    """One heartbeat of one worker process. `seen` hears at each look of runs, `recorded` of rows that were given up."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        name: str,
        issue: Callable[[Ticket], Awaitable[None]],
        queued: Callable[[], Awaitable[dict[Role, int]]],
        schedules: Callable[[], Awaitable[None]] | None = None,
        seen: Callable[[Sequence[RunSnapshot], Capacity], None] = unseen,
        recorded: Callable[[str, Sequence[Commit]], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._name = name
        self._issue = issue
        self._queued = queued
        self._duties = [self._act] if schedules is None else [self._act, schedules]
        self._seen = seen
        self._recorded = recorded or (lambda _run_id, commits: untold(commits))
        self._pacer = Pacer(ledger, clock)
        self._pulse = Pulse()
        self._finished: dict[str, float] = {}
        self._turn = 0

    async def tick(self) -> bool:
        """Act once if the lock is ours; whether it was. Redis being away is noted, not raised."""
        try:
            if not await self._ledger.lock("heartbeat", self._name, LOCK_S):
                self._pulse = Pulse()
                return False
            await self._do_duties()
        except LedgerUnavailable:
            self._pulse = Pulse()
            return False
        return True

    async def _do_duties(self) -> None:
        """One that fails must not keep the other from being done."""
        failures: list[Exception] = []
        for duty in self._duties:
            try:
                await duty()
            except LedgerUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - raised when all is done
                failures.append(error)
        if failures:
            raise failures[0]

    async def leave(self) -> None:
        """Let another one act at once: it need not wait until our lock is over."""
        with suppress(LedgerUnavailable):
            await self._ledger.unlock("heartbeat", self._name)

    async def _act(self) -> None:
        runs = await self._look()
        living = [run for run in runs if run.state is not RunState.FINISHED]
        cards = [(run, card) for run in living if (card := await self._ledger.card(run.run_id)) is not None]
        if self._pulse.began_anew:
            # the clock may have been put back meanwhile
            for run, _ in cards:
                await self._ledger.clock_went_back(run.run_id, self._pulse.jump_ms)
            for account in {card.account for _, card in cards}:
                await self._ledger.account_clock_went_back(account, self._pulse.jump_ms)
        failures = await self._pacer(cards)
        for run, card in cards:
            try:
                await self._look_after(run, card)
            except LedgerUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one run that can't be looked after must not stop the others
                failures.append(error)
        await self._forget_finished({run.run_id for run in runs} - {run.run_id for run in living})
        self._turn += 1
        capacity = capacity_of(await self._ledger.workers(), await self._queued())
        self._seen(runs, capacity)
        for ticket in tickets_due(living, capacity, self._turn):
            await self._issue(ticket)
        if failures:
            raise failures[0]
        if self._turn % BEAT_TICKS == 0:
            await self._ledger.note_beat(self._name)

    async def _look(self) -> list[RunSnapshot]:
        """The runs of this version's ledger; another version's workers look after the others."""
        runs: list[RunSnapshot] = []
        for run_id in await self._ledger.active_runs():
            asked_at = self._clock.monotonic()
            try:
                run = await self._ledger.snapshot(run_id)
            except LedgerMismatch:
                continue
            if run is not None:
                if not runs:
                    self._take_pulse(asked_at, run.now_ms)
                runs.append(run)
        return runs

    async def _look_after(self, run: RunSnapshot, card: RunCard) -> None:
        # what happened while nobody looked, a night without workers, was no patience
        reason = pause_due(run, card.policy, self._clock.monotonic() - self._pulse.steady_since)
        reason = reason or await self._budget_reached(run, card)
        if reason:
            await self._ledger.set_state(run.run_id, RunState.PAUSED, reason, only_from=RunState.RUNNING)
        if run.lapsed and self._clock.monotonic() - self._pulse.steady_since >= card.policy.lease_s:
            await self._reap(card)

    async def _budget_reached(self, run: RunSnapshot, card: RunCard) -> str | None:
        """The reason, by what is known now: rows that just ended may tell that the next one costs less."""
        if budget_reached(run) is None:
            return None
        await self._pacer.reserve(run, card)
        now = await self._ledger.snapshot(run.run_id)
        return None if now is None else budget_reached(now)

    async def _reap(self, card: RunCard) -> None:
        """Take over rows whose POST nobody answers for any more: each may have been billed, and says so.

        A row that was only taken to adopt a late id goes back: nothing was sent for it.
        """
        claim = await self._ledger.claim_lapsed(card.run_id, f"{self._name}-reap", REAP_ROWS)
        for row in claim.rows:
            if adopts(row.before):
                await self._ledger.put_back(card.run_id, row)
        commits = [
            Commit(
                row.row_index,
                row.token,
                after_lost_post(
                    row.record,
                    card.policy,
                    WORKER_LOST,
                    now_ms=claim.now_ms,
                    sent_at_ms=row.claimed_at_ms or claim.now_ms,
                    token=row.before or None,
                ),
            )
            for row in claim.rows
            if not adopts(row.before)
        ]
        if commits:
            applied = await self._ledger.commit(card.run_id, commits)
            self._recorded(card.run_id, [commit for commit, was in zip(commits, applied, strict=True) if was])

    async def _forget_finished(self, finished: set[str]) -> None:
        now = self._clock.monotonic()
        self._finished = {run_id: self._finished.get(run_id, now) for run_id in finished}
        for run_id, since in self._finished.items():
            if now - since >= FORGET_S:
                await self._ledger.forget(run_id)

    def _take_pulse(self, asked_at: float, now_ms: int) -> None:
        pulse, now = self._pulse, self._clock.monotonic()
        passed_ms = (now - pulse.last_tick) * 1000
        steady = passed_ms < GAP_MS and abs(now_ms - pulse.last_now_ms - passed_ms) < JUMP_MS
        if not steady:
            pulse.steady_since = now
        # by at least this much: a slow reply is no jump. Within the life of our lock nobody else acted on the same one
        back_ms = (asked_at - pulse.last_tick) * 1000 - (now_ms - pulse.last_now_ms)
        pulse.jump_ms = round(back_ms) if passed_ms < 1000 * LOCK_S and back_ms >= JUMP_MS else 0
        pulse.last_tick, pulse.last_now_ms = now, now_ms


def capacity_of(workers: list[WorkerCard], queued: dict[Role, int]) -> Capacity:
    """Shifts that the living workers can hold at a time, by role."""
    shifts = {role: sum(worker.shifts_of(role) for worker in workers) for role in Role}
    keys = frozenset(key for worker in workers for key in worker.key_fingerprints)
    roots = tuple(worker.media_roots for worker in workers if Role.SUBMIT in worker.roles)
    return Capacity(shifts, queued, keys, roots)
