"""What the ledger in memory holds of one run and of one account, and the rules of the scripts in `lua/`.

Time is an argument everywhere (ms since 1970), and rows are ordered as Redis orders a sorted set: by score, then by
the text of the member.
"""

from collections import Counter
from dataclasses import dataclass, field

import orjson

from pipeline.core.late import LateId, late_line
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.records import Ending, RowRecord, pack, pack_ending
from pipeline.core.retries import MISSING, Step
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.edges.memory_lists import Leases, NotedList, milliseconds
from pipeline.edges.redis_keys import ROLES
from pipeline.edges.redis_ledger import POLL_AHEAD_MS
from pipeline.edges.redis_wire import MICRO, accepted_line, in_one_line, sums, told
from pipeline.ports import Commit, FedRow, RunCard


@dataclass(slots=True)
class MemoryAccount:
    """Back-off and block of an account."""

    blocked: str = ""
    polls: bool = True
    wait_until: int = 0
    troubles: int = 0

    def unblock(self) -> None:
        """A person has seen to the key and the balance; the back-off is everyone's and stays."""
        self.blocked, self.polls = "", True

    def hear(self, step: Step, now: int) -> None:
        """Take in what a step says of the account."""
        if step.account_problem is not None:
            self.blocked, self.polls = told(step.account_problem), step.polling_works
        if step.account_wait_ms > 0:
            # one congestion event, however many requests meet it
            self.troubles += self.wait_until <= now
            self.wait_until = max(self.wait_until, now + step.account_wait_ms)


@dataclass(slots=True)
class MemoryRun:
    """One run. `rows` holds, by state, each row's "not before"; `counts` sums what ended and what was accepted."""

    card: RunCard
    recover_until: int
    done: set[int]
    counts: Counter[str]
    fed: int = 0
    state: RunState = RunState.RUNNING
    reason: str = ""
    rows: dict[State, dict[int, int]] = field(
        default_factory=lambda: {State.READY: {}, State.SUBMITTING: {}, State.PENDING: {}}
    )
    bodies: dict[int, bytes] = field(default_factory=dict)
    records: dict[int, RowRecord] = field(default_factory=dict)
    tokens: dict[int, str] = field(default_factory=dict)
    results: NotedList = field(default_factory=NotedList)
    accepted: NotedList = field(default_factory=NotedList)
    shifts: dict[str, Leases] = field(default_factory=dict)
    tickets: dict[str, Leases] = field(default_factory=dict)
    trouble: str = ""
    trouble_since: int = 0
    doubt_since: int = 0
    late: dict[bytes, tuple[LateId, int]] = field(default_factory=dict)
    """Late ids by their line, each with its "not before"."""
    streak_like: str = ""
    streak: int = 0
    guard: str = ""
    missing: int = 0
    polls_held: bool = False
    claims: int = 0

    @property
    def in_flight(self) -> int:
        """Rows that were, or are just being, sent."""
        return len(self.rows[State.SUBMITTING]) + len(self.rows[State.PENDING])

    @property
    def results_bytes(self) -> int:
        """Bytes that wait for the writer."""
        return sum(map(len, self.results.items))

    def may_become(self, state: RunState, reason: str) -> bool:
        """Whether a run may be set to this state: what a person ends is not gone on with."""
        onwards = state in {RunState.FINISHED, RunState.CANCELLING, RunState.ABANDONING}
        ending = self.state in {RunState.CANCELLING, RunState.ABANDONING}
        return self.state is not RunState.FINISHED and (onwards or not ending or reason.startswith("storage: "))

    def due(self, state: State, now: int, limit: int) -> list[int]:
        """Rows whose time has come, in order."""
        came = [(score, str(row), row) for row, score in self.rows[state].items() if score <= now]
        return [row for _, _, row in sorted(came)[:limit]]

    def until_next(self, state: State, now: int) -> tuple[int, str]:
        """How long until a row's time comes, and why there was none."""
        if not self.rows[state]:
            return 250, "empty"
        return max(1, min(self.rows[state].values()) - now), "not before"

    def new_token(self, holder: str, now: int) -> str:
        """The token of one more claim."""
        self.claims += 1
        return f"{now}:{holder}:{self.claims}"

    def move(self, row: int, to: State, score: int) -> None:
        """Put a row into a state, and nowhere else."""
        for rows in self.rows.values():
            rows.pop(row, None)
        self.rows[to][row] = score

    def push(self, rows: list[FedRow], now: int) -> None:
        """Take rows into the window; a row whose generation is known is polled."""
        for row in rows:
            self.bodies[row.row_index] = row.body
            if row.record is not None:
                self.records[row.row_index] = row.record
            # a fresh row's score is its index: below any time of day, so rows go out in order
            state, score = {
                "ready": (State.READY, row.row_index),
                "again": (State.READY, now + milliseconds(self.card.policy.lease_s)),
                "pending": (State.PENDING, now),
                "lost": (State.SUBMITTING, now),
            }[row.place]
            self.rows[state][row.row_index] = score

    def apply(self, commit: Commit, account: MemoryAccount, now: int) -> bool:
        """One row's step, under its token."""
        row, step = commit.row_index, commit.step
        # the answer of the worker that sent the row goes before whoever took the row over from it
        before, taken_over, _ = self.tokens.get(row, "").partition("|")
        if self.tokens.get(row) != commit.token and not (taken_over and before == commit.token):
            return False
        account.hear(step, now)
        if step.trouble is None and step.source is State.PENDING:
            self.missing = 0
        if step.trouble is not None:
            self.trouble, self.trouble_since = told(step.trouble), self.trouble_since or now
        if step.doubt:
            self.doubt_since = self.doubt_since or now
        del self.tokens[row]
        if step.state is State.DONE and step.ending is not None:
            self._end(row, step, step.ending)
        else:
            self.records[row] = step.record
            self.move(row, step.state, now + step.wait_ms)
            if step.like == MISSING:
                self._miss(step)
            elif step.counts_as:
                self._count_like(step.counts_as, None)
        line = accepted_line(commit)
        if line:
            self.accepted.items.append(line)
            self.counts["accepted"] += 1
            self.doubt_since = 0
            account.troubles = account.troubles if account.wait_until > now else 0
        return True

    def end_rows(self, state: State, limit: int, ending: Ending) -> int:
        """End rows that wait in one state, while the run is being cancelled or abandoned."""
        waiting = self.rows[state]
        rows = sorted(waiting, key=lambda row: (waiting[row], str(row)))[:limit]
        for row in rows:
            self.tokens.pop(row, None)
            self._close(row, self.records.get(row, RowRecord()), ending)
        return len(rows)

    def note_late(self, late: LateId, now: int) -> None:
        """Keep, count and queue a late id, unless its row knows it."""
        record, line = self.records.get(late.row_index), late_line(late)
        known = record is not None and orjson.dumps(late.generation_id) in pack(record)
        if not known and line not in self.late:
            self.late[line] = (late, now)
            self.accepted.items.append(line)
            self.counts["late"] += 1

    def claim_late(self, limit: int, now: int, lease: int) -> tuple[LateId, ...]:
        """Late ids whose time has come, under a lease."""
        due = sorted((not_before, line) for line, (_, not_before) in self.late.items() if not_before <= now)[:limit]
        for _, line in due:
            self.late[line] = (self.late[line][0], now + lease)
        return tuple(self.late[line][0] for _, line in due)

    def settle_late(self, before: LateId, after: LateId, due: int) -> None:
        """Queue a late id again, or save its end and forget it, once."""
        if self.late.pop(late_line(before), None) is None:
            return
        if after.ending is None:
            self.late[late_line(after)] = (after, due)
        else:
            self.accepted.items.append(late_line(after))

    def _end(self, row: int, step: Step, ending: Ending) -> None:
        if not self._close(row, step.record, ending):
            return
        if ending.outcome is Outcome.COMPLETED:
            self.streak_like, self.streak = "", 0
        elif step.counts_as:
            self._count_like(step.counts_as, ending)

    def _close(self, row: int, record: RowRecord, ending: Ending) -> bool:
        for rows in self.rows.values():
            rows.pop(row, None)
        self.bodies.pop(row, None)
        self.records.pop(row, None)
        if row in self.done:
            self.counts["double_ends"] += 1
            return False
        self.done.add(row)
        self.results.items.append(b'{"i":%d,"r":%b,"e":%b}' % (row, pack(record), pack_ending(ending)))
        prompt, completion, cost = sums(ending)
        self.counts.update(
            {ending.outcome: 1, "prompt_tokens": prompt, "completion_tokens": completion, "cost_micro": cost}
        )
        self.counts["possible_duplicates"] += record.possible_duplicate
        return True

    def _miss(self, step: Step) -> None:
        self.missing += 1
        if self.missing < self.card.policy.guard_missing:
            return
        if self.state is RunState.RUNNING:
            self.state = RunState.PAUSED
            self.reason = f"{self.missing} polls in a row found nothing under ids that were accepted"
        # polls are held whatever the run does; one that a person ends, or holds back, stays so
        self.polls_held, self.guard, self.missing = True, in_one_line(f"missing: {told(step.trouble)}"), 0

    def _count_like(self, like: str, ending: Ending | None) -> None:
        self.streak = self.streak + 1 if self.streak_like == like else 1
        self.streak_like = like
        policy = self.card.policy
        most = policy.guard_later if self.counts[Outcome.COMPLETED] else policy.guard_first
        if self.streak >= most and self.state is RunState.RUNNING:
            self.state, self.reason = RunState.PAUSED, f"{self.streak} rows in a row ended as {like}"
            self.streak = 0
            self.guard = in_one_line(f"{ending.outcome} {told(ending.problem)}") if ending else like


def snapshot_of(run: MemoryRun, account: MemoryAccount, now: int, *, led: bool) -> RunSnapshot:
    """What the run looks like now."""

    def within(state: State, until: int) -> int:
        return sum(score <= until for score in run.rows[state].values())

    return RunSnapshot(
        run_id=run.card.run_id,
        led=led,
        key_fingerprint=run.card.key_fingerprint,
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
        late_due=sum(not_before <= now for _, not_before in run.late.values()),
        account_blocked=account.blocked,
        account_polls=account.polls,
        account_wait_until_ms=account.wait_until,
    )
