"""What a run in memory looks like at one moment, as `lua/snapshot.lua` tells it of one in Redis."""

from pipeline.core.costs import MICRO
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.memory_account import MemoryAccount
from pipeline.edges.memory_lists import Leases
from pipeline.edges.memory_run import MemoryRun
from pipeline.edges.redis_keys import ROLES
from pipeline.edges.redis_ledger import POLL_AHEAD_MS


def snapshot_of(run: MemoryRun, account: MemoryAccount, now: int, *, led: bool) -> RunSnapshot:
    """What the run looks like now."""

    def within(state: State, until: int) -> int:
        return sum(score <= until for score in run.rows[state].values())

    return RunSnapshot(
        run_id=run.card.run_id,
        led=led,
        key_fingerprint=run.card.key_fingerprint,
        media_roots=run.card.media_roots,
        recover_until=run.recover_until,
        state=run.state,
        now_ms=now,
        total=run.card.total,
        fed=run.fed,
        ready=len(run.rows[State.READY]),
        ready_due=within(State.READY, now),
        submitting=len(run.rows[State.SUBMITTING]),
        lapsed=within(State.SUBMITTING, now),
        pending=len(run.rows[State.PENDING]),
        pending_due=within(State.PENDING, now + POLL_AHEAD_MS),
        results=len(run.results.items),
        results_bytes=run.results_bytes,
        bodies_bytes=sum(map(len, run.bodies.values())),
        accepted_unsaved=len(run.accepted.items),
        accepted=run.counts["accepted"],
        outcomes={outcome: run.counts[outcome] for outcome in Outcome},
        prompt_tokens=run.counts["prompt_tokens"],
        completion_tokens=run.counts["completion_tokens"],
        cost=run.counts["cost_micro"] / MICRO,
        possible_duplicates=run.counts["possible_duplicates"],
        double_ends=run.counts["double_ends"],
        written=run.results.start,
        parts=run.results.batches,
        ids_saved=run.accepted.start,
        shifts={
            role: run.shifts.get(role, Leases()).live(now) + run.tickets.get(role, Leases()).live(now) for role in ROLES
        },
        reason=run.reason,
        guard=run.guard,
        polls_held=run.polls_held,
        trouble=run.trouble,
        trouble_since_ms=run.trouble_since,
        doubt_since_ms=run.doubt_since,
        late=len(run.late),
        late_due=run.late_due(now),
        account_blocked=account.blocked,
        account_polls=account.polls,
        account_wait_until_ms=account.wait_until,
        account=run.card.account,
        account_answered=account.posts.seen.answered,
        pace=account.pace,
        bound=run.bound,
        limits=run.limits,
        budget=run.card.budget,
        spending=run.spending,
        priority=run.card.priority,
    )
