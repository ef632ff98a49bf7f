"""What the ledger in memory holds of one run, and the rules of the scripts in `lua/`.

Time is an argument everywhere (ms since 1970), and rows are ordered as Redis orders a sorted set: by score, then by
the text of the member.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from pipeline.core.budget import Reservation, Settled, Spending, held_by_each, held_when_given
from pipeline.core.late import LateId, is_news, late_line
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.limits import Limits
from pipeline.core.policy import HOLDS
from pipeline.core.polling import together
from pipeline.core.records import Ending, RowRecord, pack, pack_ending
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.steps import MISSING, Step
from pipeline.edges.memory_account import MemoryAccount
from pipeline.edges.memory_lists import Leases, NotedList, due_of, milliseconds
from pipeline.edges.redis_wire import accepted_line, in_one_line, told
from pipeline.ports import Commit, FedRow, RunCard


@dataclass(slots=True)
class MemoryRun:
    """One run. `rows` holds, by state, each row's "not before"; `counts` sums what ended and what was accepted."""

    card: RunCard
    recover_until: int
    done: Rows
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
    kept: Counter[int] = field(default_factory=Counter)
    """Reservations that are kept, by row; `counts` has their sum."""
    late: dict[bytes, tuple[LateId, int]] = field(default_factory=dict)
    """Late ids by their line, each with its "not before"."""
    streak_like: str = ""
    streak: int = 0
    guard: str = ""
    missing: int = 0
    polls_held: bool = False
    claims: int = 0
    bound: str = ""
    limits: Limits = Limits()
    reserved: Reservation | None = None
    held: Reservation | None = None
    timetables: bytes = b""

    @property
    def spending(self) -> Spending:
        """What the run spent, and may yet."""
        counts, reserved = self.counts, self.reserved or Reservation()
        return Spending(
            tokens=counts["prompt_tokens"] + counts["completion_tokens"],
            cost_micro=counts["cost_micro"],
            kept_tokens=counts["kept"] * reserved.tokens,
            kept_cost_micro=counts["kept"] * reserved.cost_micro,
            in_flight=self.in_flight,
            reserved=reserved,
            over_tokens=counts["over_tokens"],
            over_cost_micro=counts["over_micro"],
        )

    def cap_given(self) -> None:
        """Note what rows in flight hold of caps that were just given, and what was spent beyond these before."""
        self.held, over_tokens, over_micro = None, 0, 0
        if self.card.budget.caps:
            self.held, over_tokens, over_micro = held_when_given(self.card.budget, self.spending)
        self.counts["over_tokens"], self.counts["over_micro"] = over_tokens, over_micro

    def permit(self) -> None:
        """Note what each row in flight holds as a permit is given: what it costs beyond that can overshoot the cap."""
        if self.card.budget.caps:
            self.held = held_by_each(self.card.budget, self.spending)
            self.counts["over_tokens"] = self.counts["over_micro"] = 0

    @property
    def sends_more(self) -> bool:
        """Whether rows are left to send, or on their way."""
        return self.fed < self.card.total or bool(self.rows[State.READY] or self.rows[State.SUBMITTING])

    @property
    def in_flight(self) -> int:
        """Rows that were, or are just being, sent."""
        return len(self.rows[State.SUBMITTING]) + len(self.rows[State.PENDING])

    @property
    def at_the_api(self) -> int:
        """Generations that the API has in hand: where POSTs are held open those that are being sent, too."""
        held = self.card.policy.mode in HOLDS
        return len(self.rows[State.PENDING]) + held * len(self.rows[State.SUBMITTING])

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
        return due_of(self.rows[state], now, limit)

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
                self._keep(row.row_index, row.record.untold)
            # a fresh row's score is its index: below any time of day, so rows go out in order
            state, score = {
                "ready": (State.READY, row.row_index),
                "again": (State.READY, now + milliseconds(self.card.policy.lease_s)),
                "pending": (State.PENDING, now),
                "lost": (State.SUBMITTING, now),
            }[row.place]
            self.rows[state][row.row_index] = score

    def apply(self, commit: Commit, account: MemoryAccount, now: int, pending: Callable[[], int]) -> bool:
        """One row's step, under its token."""
        row, step = commit.row_index, commit.step
        # the answer of the worker that sent the row goes before whoever took the row over from it
        before, taken_over, _ = self.tokens.get(row, "").partition("|")
        if self.tokens.get(row) != commit.token and not (taken_over and before == commit.token):
            return False
        account.hear(commit, now, pending)
        account.hold_back(step, now, self.card.policy.most_doubts)
        self._hear(step, now)
        del self.tokens[row]
        if step.state is State.DONE and step.ending is not None:
            self._end(row, step, step.ending)
        else:
            self.records[row] = step.record
            self._spend(step.used)
            due = row if step.goes_first else now + step.wait_ms
            self.move(row, step.state, together(due) if step.state is State.PENDING else due)
            if step.like == MISSING:
                self._miss(step)
            elif step.counts_as:
                self._count_like(step.counts_as, None)
        self._keep(row, step.keeps)
        line = accepted_line(commit)
        carried_out = bool(line) or step.answered
        account.learn(commit, pending, now, accepted=carried_out)
        self.accepted.items += [line] * bool(line)
        if carried_out:
            self.counts["accepted"] += 1
            self.doubt_since = 0
        return True

    def _hear(self, step: Step, now: int) -> None:
        if step.trouble is None and step.source is State.PENDING:
            self.missing = 0
        if step.trouble is not None:
            self.trouble, self.trouble_since = told(step.trouble), self.trouble_since or now
        if step.doubt:
            self.doubt_since = self.doubt_since or now

    def end_rows(self, state: State, limit: int, ending: Ending) -> int:
        """End rows that wait in one state, while the run is being cancelled or abandoned."""
        waiting = self.rows[state]
        rows = sorted(waiting, key=lambda row: (waiting[row], str(row)))[:limit]
        for row in rows:
            self.tokens.pop(row, None)
            record = self.records.get(row, RowRecord())
            # with an answer that was asked for again the row is completed
            outcome = ending.outcome if record.unfit is None else Outcome.COMPLETED
            if self._close(row, record, ending, outcome) and state is State.PENDING:
                self._keep(row, 1)
        return len(rows)

    def _keep(self, row: int, by: int) -> None:
        """Keep reservations for a row; it gives back no more than is kept for it."""
        if by > 0 or self.kept[row] > 0:
            self.kept[row] += by
            self.counts["kept"] += by

    def note_late(self, late: LateId, now: int) -> None:
        """Keep, count and queue a late id, unless its row knows it."""
        record, line = self.records.get(late.row_index), late_line(late)
        known = record is not None and orjson.dumps(late.generation_id) in pack(record)
        if not known and line not in self.late:
            self.late[line] = (late, now)
            self.accepted.items.append(line)
            self.counts["late"] += 1

    def late_due(self, now: int) -> int:
        """How many late ids are due."""
        return sum(not_before <= now for _, not_before in self.late.values())

    def claim_late(self, limit: int, now: int, lease: int) -> tuple[LateId, ...]:
        """Late ids whose time has come, under a lease."""
        due = sorted((not_before, line) for line, (_, not_before) in self.late.items() if not_before <= now)[:limit]
        for _, line in due:
            self.late[line] = (self.late[line][0], now + lease)
        return tuple(self.late[line][0] for _, line in due)

    def settle_late(self, before: LateId, after: LateId, due: int, used: Settled) -> bool:
        """Queue a late id again, or save its end and forget it, once; what it used is spent from then on.

        Whether it was queued again.
        """
        if self.late.pop(late_line(before), None) is None:
            return False
        if after.ending is None:
            self.late[late_line(after)] = (after, due)
            return True
        self.accepted.items.append(late_line(after))
        if is_news(after.row_index, self.kept[after.row_index], self.recover_until):
            self._spend(used)
            self._keep(after.row_index, used.kept)
        return False

    def _spend(self, used: Settled) -> None:
        tokens = {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
        self.counts.update(tokens, cost_micro=used.cost_micro)
        if self.held is not None:
            self.counts["over_tokens"] += max(0, sum(tokens.values()) - self.held.tokens)
            self.counts["over_micro"] += max(0, used.cost_micro - self.held.cost_micro)

    def _end(self, row: int, step: Step, ending: Ending) -> None:
        if not self._close(row, step.record, ending, ending.outcome):
            return
        self._spend(step.used)
        if ending.outcome is Outcome.COMPLETED:
            self.streak_like, self.streak = "", 0
        elif step.counts_as:
            self._count_like(step.counts_as, ending)

    def _close(self, row: int, record: RowRecord, ending: Ending, outcome: Outcome) -> bool:
        for rows in self.rows.values():
            rows.pop(row, None)
        self.bodies.pop(row, None)
        self.records.pop(row, None)
        if row in self.done:
            self.counts["double_ends"] += 1
            return False
        self.done.add(row)
        self.results.items.append(b'{"i":%d,"r":%b,"e":%b}' % (row, pack(record), pack_ending(ending)))
        self.counts[outcome] += 1
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
