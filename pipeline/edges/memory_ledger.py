"""The ledger in memory: the same promises as the one in Redis, for tests and for simulated time.

One process, one event loop, and nothing survives it. Its clock is an argument; it never reads the time of day unless
it is given none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from pipeline.core.budget import Settled
from pipeline.core.late import LateId, late_line
from pipeline.core.lead import lead_lock
from pipeline.core.lifecycle import State
from pipeline.core.records import Ending, RowRecord
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RESULTS_BYTES, RunSnapshot, RunState
from pipeline.edges.memory_account import MemoryAccount
from pipeline.edges.memory_accounts import MemoryAccounts
from pipeline.edges.memory_clock import Jump
from pipeline.edges.memory_lists import milliseconds, until_next_of
from pipeline.edges.memory_permits import Granted, granted, hand_out, paced_late, paced_polls
from pipeline.edges.memory_run import MemoryRun
from pipeline.edges.memory_snapshot import snapshot_of
from pipeline.edges.redis_late import LATE_LEASE_MS
from pipeline.ports import Batch, Claim, Claimed, Commit, FedRow, LateClaim, RowSeen, RunCard


class MemoryLedger(MemoryAccounts):
    """Implements `ports.Ledger`. `clock` tells ms since 1970."""

    async def open_run(
        self,
        card: RunCard,
        *,
        recover_until: int,
        ended: Mapping[str, int],
        done: Rows,
        state: RunState = RunState.RUNNING,
        settled: Settled = Settled(),
    ) -> bool:
        """Make the run's ledger; False when it is there already."""
        if card.run_id in self._runs:
            return False
        run = MemoryRun(card, recover_until, Rows(done), Counter(ended), state=state, limits=card.limits)
        run.counts.update(asdict(settled))
        run.cap_given()
        self._runs[card.run_id] = run
        self._account(run)
        return True

    async def card(self, run_id: str) -> RunCard | None:
        """The run's card, or nothing."""
        run = self._runs.get(run_id)
        return None if run is None else run.card

    async def active_runs(self) -> list[str]:
        """Ids of the runs that are not forgotten, oldest first."""
        return sorted(self._runs)

    async def set_state(
        self, run_id: str, state: RunState, reason: str = "", *, only_from: RunState | None = None
    ) -> bool:
        """Change what the run is doing; whether it was."""
        run = self._runs.get(run_id)
        if run is None or run.state is not (only_from or run.state) or not run.may_become(state, reason):
            return False
        run.state, run.reason, run.guard, run.polls_held = state, reason, "", False
        return True

    async def reopen(self, card: RunCard, state: RunState = RunState.RUNNING) -> None:
        """Continue a run with this card, whatever stopped it; the account's block is lifted."""
        run = self._runs.get(card.run_id)
        if run is None:
            return
        self._accounts.setdefault(card.account, MemoryAccount()).unblock()
        kept = state is RunState.RUNNING and run.state in {RunState.CANCELLING, RunState.ABANDONING}
        run.card, run.state, run.reason, run.guard = card, run.state if kept else state, "", ""
        run.polls_held, run.missing, run.limits = False, 0, card.limits
        run.trouble, run.trouble_since, run.doubt_since, run.streak_like, run.streak = "", 0, 0, "", 0
        run.cap_given()

    async def forget(self, run_id: str) -> None:
        """Remove all of a finished run."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            self._account(run).forget(run_id)

    async def feed(self, run_id: str, cursor: int, until: int, rows: Sequence[FedRow]) -> bool:
        """Push rows and move the feed cursor, if nobody moved it meanwhile."""
        run = self._runs[run_id]
        if run.fed != cursor:
            return False
        run.push(list(rows), self._clock())
        run.fed = until
        return True

    async def clock_went_back(self, run_id: str, jump_ms: int = 0) -> int:
        """Put the run's times back with the clock; how many there were."""
        return Jump(self._clock(), jump_ms).run(self._runs[run_id])

    async def claim_submit(self, run_id: str, holder: str, limit: int) -> Claim:
        """Claim rows that may be sent now, together with their permits."""
        now, run = self._clock(), self._runs[run_id]
        account = self._account(run)
        held = self._held_back(run, account, now)
        got = held or granted(run, account, self._sharing(run), limit, now)
        run.bound = got.bound
        if not got.rows:
            return Claim((), now, account.troubles, got.wait, got.bound)
        run.permit()
        due = run.due(State.READY, now, got.rows)
        token = run.new_token(holder, now)
        hand_out(account, token, now, tester=got.tester)
        rows = [Claimed(row, token, run.records.get(row, RowRecord()), run.bodies.get(row, b""), now) for row in due]
        self._hold(run, State.SUBMITTING, rows, now)
        return Claim(tuple(rows), now, account.troubles, got.wait, got.bound)

    def _held_back(self, run: MemoryRun, account: MemoryAccount, now: int) -> Granted | None:
        if run.state is not RunState.RUNNING:
            return Granted(0, 1000, "paused")
        if not self._led(run, now):
            return Granted(0, 1000, "no leader")
        if account.blocked:
            return Granted(0, 1000, "account")
        if account.wait_until > now:
            return Granted(0, account.wait_until - now, "back-off")
        return Granted(0, 200, "results") if run.results_bytes >= RESULTS_BYTES else None

    def _sharing(self, run: MemoryRun) -> list[MemoryRun]:
        return [other for other in self._runs.values() if other.card.account == run.card.account]

    def _led(self, run: MemoryRun, now: int) -> bool:
        return run.card.detached or self._locks.get(lead_lock(run.card.run_id), (0, ""))[0] > now

    def _hold(self, run: MemoryRun, state: State, rows: Sequence[Claimed], now: int) -> None:
        lease = now + milliseconds(run.card.policy.lease_s)
        for row in rows:
            run.move(row.row_index, state, lease)
            run.tokens[row.row_index] = row.token

    async def unclaim(self, run_id: str, holder: str, held: Sequence[int]) -> int:
        """Give back rows that were claimed for a holder who never heard of it."""
        run = self._runs[run_id]
        mine = [row for row, token in run.tokens.items() if token.split(":")[1:-1] == [holder] and "|" not in token]
        back = [row for row in mine if row not in set(held) and row in run.rows[State.SUBMITTING]]
        for row in back:
            del run.tokens[row]
            run.move(row, State.READY, self._clock() if row in run.records else row)
        return len(back)

    async def claim_polls(self, run_id: str, holder: str, limit: int) -> Claim:
        """Claim rows whose next poll is due."""
        run = self._runs[run_id]
        account = self._account(run)
        if run.polls_held:
            return Claim((), self._clock(), account.troubles, 1000, "paused")
        if account.blocked and not account.polls:
            return Claim((), self._clock(), account.troubles, 1000, "account")
        allowed, wait, bound = paced_polls(account, len(run.due(State.PENDING, self._clock(), limit)), self._clock())
        if not allowed and bound:
            return Claim((), self._clock(), account.troubles, wait, bound)
        got = self._claim_due(run_id, State.PENDING, holder, allowed or limit)
        return replace(got, bound=bound) if bound else got

    async def claim_lapsed(self, run_id: str, holder: str, limit: int) -> Claim:
        """Take over rows whose POST nobody answers for any more."""
        return self._claim_due(run_id, State.SUBMITTING, holder, limit)

    def _claim_due(self, run_id: str, state: State, holder: str, limit: int) -> Claim:
        now, run = self._clock(), self._runs[run_id]
        troubles = self._account(run).troubles
        due = run.due(state, now, limit)
        if not due:
            return Claim((), now, troubles, *until_next_of(run.rows[state], now))
        token = run.new_token(holder, now)
        rows = [Claimed(row, token, run.records.get(row, RowRecord())) for row in due]
        if state is State.SUBMITTING:
            rows = [_taken_over(row, run.tokens.get(row.row_index, "")) for row in rows]
        self._hold(run, state, rows, now)
        return Claim(tuple(rows), now, troubles)

    async def take_ready(self, run_id: str, holder: str, row_index: int) -> Claimed | None:
        """Take one row out of `ready`, to adopt a late id."""
        now, run = self._clock(), self._runs[run_id]
        if row_index not in run.rows[State.READY]:
            return None
        record = run.records.get(row_index, RowRecord())
        taken = Claimed(row_index, run.new_token(holder, now), record, claimed_at_ms=now)
        self._hold(run, State.SUBMITTING, [taken], now)
        return taken

    async def row_seen(self, run_id: str, row_index: int) -> RowSeen:
        """Where one row stands."""
        run = self._runs[run_id]
        stands = [State.DONE] * (row_index in run.done) + [at for at, rows in run.rows.items() if row_index in rows]
        return RowSeen(next(iter(stands), None), run.records.get(row_index, RowRecord()))

    async def put_back(self, run_id: str, row: Claimed) -> None:
        """Return a row of `take_ready` unchanged."""
        run = self._runs[run_id]
        if run.tokens.get(row.row_index) == row.token:
            del run.tokens[row.row_index]
            run.move(row.row_index, State.READY, self._clock() + milliseconds(run.card.policy.lease_s))

    async def commit(self, run_id: str, commits: Sequence[Commit]) -> list[bool]:
        """Apply steps in one group; False for each whose token is stale."""
        now, run = self._clock(), self._runs[run_id]
        account = self._account(run)
        account.listen(sending=run.sends_more)
        applied = [run.apply(commit, account, now, partial(self._pending, run)) for commit in commits]
        account.count(commits, applied)
        if any(was and commit.step.trouble is None for was, commit in zip(applied, commits, strict=True)):
            run.trouble, run.trouble_since = "", 0
        return applied

    async def cancel_ready(self, run_id: str, limit: int, ending: Ending) -> int:
        """End rows that are ready, while the run is cancelling."""
        run = self._runs[run_id]
        may = run.state in {RunState.CANCELLING, RunState.ABANDONING}
        return self._end_rows(run, State.READY, limit, ending) if may else 0

    async def abandon_pending(self, run_id: str, limit: int, ending: Ending) -> int:
        """End rows that are pending, and forget the late ids, while the run is abandoning."""
        run = self._runs[run_id]
        if run.state is not RunState.ABANDONING:
            return 0
        run.late.clear()
        return self._end_rows(run, State.PENDING, limit, ending)

    async def note_late(self, run_id: str, late: LateId) -> bool:
        """Keep, count and queue an accepted id whose row went on without it."""
        run = self._runs.get(run_id)
        if run is None or run.state is RunState.FINISHED:
            return False
        run.note_late(replace(late, ending=None), self._clock())
        return True

    async def claim_late(self, run_id: str, limit: int) -> LateClaim:
        """Late ids that are due to be asked for."""
        run, now = self._runs[run_id], self._clock()
        allowed, wait = paced_late(self._account(run), limit, run.late_due(now), now)
        return LateClaim(run.claim_late(allowed, now, LATE_LEASE_MS), now, wait)

    async def settle_late(
        self,
        run_id: str,
        before: LateId,
        after: LateId,
        wait_ms: int,
        used: Settled = Settled(),
        *,
        throttled: bool = False,
    ) -> None:
        """Ask for a late id again after `wait_ms`, or save its ending and forget it; `used` is spent, once."""
        run, now = self._runs[run_id], self._clock()
        self._account(run).count_late(asked=late_line(before) in run.late)
        if run.settle_late(before, after, now + wait_ms, used) and throttled:
            self._account(run).polling.throttle(now, wait_ms)

    async def renew(self, run_id: str, state: State, rows: Mapping[int, str]) -> None:
        """Extend the leases of rows that are still in hand."""
        run = self._runs[run_id]
        lease = self._clock() + milliseconds(run.card.policy.lease_s)
        held = [row for row, token in rows.items() if run.tokens.get(row) == token]
        run.rows[state].update({row: lease for row in held if row in run.rows[state]})

    async def results(self, run_id: str, limit: int) -> Batch:
        """Note and return the oldest results."""
        return self._runs[run_id].results.note(limit)

    async def results_written(self, run_id: str, batch: Batch) -> bool:
        """Forget results that are safely on disk."""
        return self._runs[run_id].results.acknowledge(batch)

    async def accepted_ids(self, run_id: str, limit: int) -> Batch:
        """Note and return the oldest accepted ids that are not on disk yet."""
        return self._runs[run_id].accepted.note(limit)

    async def accepted_saved(self, run_id: str, batch: Batch) -> bool:
        """Forget ids that are safely on disk."""
        return self._runs[run_id].accepted.acknowledge(batch)

    async def snapshot(self, run_id: str) -> RunSnapshot | None:
        """What the run looks like now; nothing for an unknown run."""
        run, now = self._runs.get(run_id), self._clock()
        return None if run is None else snapshot_of(run, self._account(run), now, led=self._led(run, now))

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _pending(self, run: MemoryRun) -> int:
        return sum(other.at_the_api for other in self._sharing(run) if not other.polls_held)


def _taken_over(row: Claimed, before: str) -> Claimed:
    lost = before.partition("|")[0]
    return replace(row, token=f"{lost}|{row.token}", before=lost, claimed_at_ms=int(lost.partition(":")[0] or 0))
