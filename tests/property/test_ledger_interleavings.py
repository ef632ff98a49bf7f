"""Any order of what workers do, late, twice or never: rows stay in one place, and end and leave the ledger once.

The machine keeps its own, much simpler books: who was given a row last, what ended, what a writer has on disk. With two
ledgers the same steps go to both, and every answer must be the same: the one in memory is a model of that in Redis.
"""

import asyncio
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import (
    Accepted,
    AccountRefused,
    Ambiguous,
    Answered,
    Completed,
    Completion,
    Failed,
    Missing,
    NothingSent,
    NotNow,
    Problem,
    Refused,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.budget import Budget, Reservation
from pipeline.core.late import late_of, used_late
from pipeline.core.lead import lead_lock
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.pacing import Pace
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.records import Ending, unpack_result
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.spending import caps_of
from pipeline.core.steps import Step, abandoned, cancelled
from pipeline.core.submitting import after_late_id, after_lost_post, after_submit
from pipeline.ports import Claimed, Commit, FedRow, RunCard

RUN = "run-1"
ROWS = 12
RIVAL = "run-2"
RIVAL_ROWS = 40
ACCOUNT = "api#key"
BUDGET = Budget(cost=5.0, tokens=60)
BUDGETS = st.sampled_from([BUDGET, Budget(), Budget(tokens=20), Budget(cost=1.5, tokens=200)])
PACES = st.builds(
    Pace,
    rate=st.sampled_from([None, None, 0.5, 3.0, 40.0, 200.0]),
    poll_rate=st.sampled_from([None, None, 1.0, 20.0, 100.0]),
    cap=st.sampled_from([None, None, 2, 5]),
    most=st.sampled_from([None, None, 3, 6]),
    tests=st.booleans(),
)
SCHEDULE = parse_schedule("fixed:1s")
LED_S = 10.0**6
"""Longer than any sequence of steps takes by either clock."""

A, B = Problem("a", "one"), Problem("b", "two", None, 500)

SUBMIT_ANSWERS = st.sampled_from(
    [
        Accepted("task"),
        Accepted("task"),
        Accepted("task"),
        Throttled(A),
        Throttled(B, 3.0),
        NotNow(A, 2.0),
        NothingSent(B),
        AccountRefused(A, polling_works=True),
        AccountRefused(B, polling_works=False),
        Refused(A),
        Refused(B),
        Ambiguous(B),
        Answered(Completion(content="é", prompt_tokens=3, completion_tokens=1, cost=0.25)),
        Answered(Completion(content="?", prompt_tokens=4, completion_tokens=2)),
        Failed(A, retryable=True),
    ]
)
QUERY_ANSWERS = st.sampled_from(
    [
        Completed(Completion(content="é", prompt_tokens=3, completion_tokens=1, cost=0.25)),
        Completed(Completion()),
        Completed(Completion(content="?", prompt_tokens=4, completion_tokens=2, cost=0.5)),
        Running("processing"),
        Failed(A, retryable=True),
        Failed(B, retryable=False),
        Missing(A),
        Throttled(A, 1.0),
        Trouble(B),
        AccountRefused(A, polling_works=False),
    ]
)
HOLDERS = st.sampled_from(["w1", "w2"])
LIMITS = st.integers(1, 4)
WHICH = st.sampled_from(["newest", "newest", "stale", "all"])


def judge(completion):
    """Whether an answer is fit, to be asked for again where it is not."""
    return Verdict(AnswerStatus.INVALID if completion.content == "?" else AnswerStatus.OK)


class Interleavings(RuleBasedStateMachine):
    """`pairs` are ledgers with their clocks; the first is asked for what the books are compared with."""

    def __init__(self, pairs, call):
        super().__init__()
        self.pairs, self.call = pairs, call
        self.policy = Policy(
            mode="sync",
            poll="fixed:1s",
            lease_s=2.0,
            max_attempts=2,
            repairs=2,
            generation_deadline_s=10.0,
            missing_polls=2,
            missing_for_s=1.0,
            first_wait_s=0.5,
            longest_wait_s=4.0,
            max_in_flight=7,
            first_rows=3,
            guard_first=3,
            guard_later=4,
            guard_missing=3,
        )
        self.card = RunCard(
            RUN, ACCOUNT, "https://api", "key", "out", "secret", "e1", ROWS, self.policy, detached=False, budget=BUDGET
        )
        polled = replace(self.policy, mode="async")
        rival = replace(self.card, run_id=RIVAL, total=RIVAL_ROWS, detached=True, priority=30, budget=Budget())
        rival = replace(rival, policy=polled)
        assert self.both("open_run", rival, recover_until=0, ended={}, done=Rows())
        assert self.both("feed", RIVAL, 0, RIVAL_ROWS, [FedRow(row, b"") for row in range(RIVAL_ROWS)])
        self.fed = 0
        self.led = False
        self.given: dict[int, str] = {}  # row -> the token under which it is in hand
        self.taken_at: dict[str, int] = {}  # token -> when it was given
        self.put_back_ms = 0
        self.hands: list[tuple[str, Claimed]] = []  # every row that was ever given to anyone
        self.ended: set[int] = set()
        self.accepted = 0
        self.late = 0
        self.batches = []  # every range that was ever noted
        self.on_disk: dict[int, tuple] = {}  # start of a part -> its rows
        self.serial = 0
        assert self.both("open_run", self.card, recover_until=0, ended={}, done=Rows())
        self.someone_leads(led=True)
        self.feed(6, 0)

    def both(self, method, *args, **kwargs):
        """Ask all ledgers the same, and take their one answer."""
        answers = [self.call(getattr(ledger, method)(*args, **kwargs)) for ledger, _ in self.pairs]
        assert all(answer == answers[0] for answer in answers), (method, answers)
        return answers[0]

    @rule(pace=PACES)
    def the_pace_changes(self, pace):
        self.both("set_pace", ACCOUNT, b"", pace)

    @rule(tokens=st.sampled_from([1, 5, 9]), cost=st.sampled_from([100_000, 400_000]))
    def a_reservation_is_made(self, tokens, cost):
        self.both("set_reservation", RUN, Reservation(tokens, cost))

    @rule(budget=BUDGETS, live=st.booleans())
    def a_person_gives_other_caps(self, budget, live):
        """While the run goes on, or as its command is given again."""
        self.card = replace(self.card, budget=budget)
        if live:
            assert self.both("set_budget", RUN, budget)
        else:
            self.both("reopen", self.card)

    @rule(limit=LIMITS, refused=st.booleans())
    def another_run_of_the_account_sends(self, limit, refused):
        claim = self.both("claim_submit", RIVAL, "w3", limit)
        answer = Refused(A) if refused else Throttled(A, 1.0)
        steps = [
            after_submit(answer, row.record, self.policy, SCHEDULE, now_ms=self.now(), troubles=0, chance=0.5)
            for row in claim.rows
        ]
        pairs = zip(claim.rows, steps, strict=True)
        self.both("commit", RIVAL, [Commit(row.row_index, row.token, step) for row, step in pairs])

    @rule(led=st.sampled_from([True, True, True, False]))
    def someone_leads(self, led):
        if led:
            self.both("lock", lead_lock(RUN), "command", LED_S)
        else:
            self.both("unlock", lead_lock(RUN), "command")
        self.led = led

    def now(self):
        return self.pairs[0][1]()

    def passed(self):
        """The time by a clock that nobody puts back, in ms."""
        return self.now() + self.put_back_ms

    def take(self, kind, claim):
        for row in claim.rows:
            self.given[row.row_index] = row.token
            self.taken_at[row.token] = self.passed()
            self.hands.append((kind, row))

    @rule(count=st.integers(0, 4), elsewhere=st.sampled_from([0, 0, 0, 1, -1]))
    def feed(self, count, elsewhere):
        until = min(ROWS, self.fed + count)
        rows = [FedRow(row, b"x" * row) for row in range(self.fed, until)]
        pushed = self.both("feed", RUN, self.fed + elsewhere, until, rows)
        assert pushed == (elsewhere == 0)
        self.fed = until if pushed else self.fed

    @rule(holder=HOLDERS, limit=LIMITS, impatient=st.booleans())
    def claim_submit(self, holder, limit, impatient):
        claim = self.both("claim_submit", RUN, holder, limit)
        assert self.led or not claim.rows
        self.take("submit", claim)
        if impatient and claim.bound in {"account", "paused"}:
            self.both("reopen", self.card)
        if impatient and claim.bound == "back-off":
            self.time_passes(claim.wait_ms)

    @rule(holder=HOLDERS, limit=LIMITS, heard=st.booleans())
    def a_claims_reply_is_lost(self, holder, limit, heard):
        """What a shift never heard of is given back; what it has in hand, and what others have, stays."""
        claim = self.both("claim_submit", RUN, holder, limit)
        if heard:
            self.take("submit", claim)
        held = [row for row, token in self.given.items() if f":{holder}:" in token and "|" not in token]
        given_back = self.both("unclaim", RUN, holder, held)
        assert given_back == (0 if heard else len(claim.rows))

    @rule(limit=LIMITS)
    def a_submit_shift(self, limit):
        """The usual: all that was claimed is accepted and recorded."""
        claim = self.both("claim_submit", RUN, "w3", limit)
        self.take("submit", claim)
        self.apply([self.committed("submit", row, Accepted(""), None) for row in claim.rows])

    @rule(limit=LIMITS, answer=QUERY_ANSWERS)
    def a_poll_shift(self, limit, answer):
        """The usual: all that is due is polled and recorded."""
        self.time_passes(1_000)
        claim = self.both("claim_polls", RUN, "w3", limit)
        self.take("poll", claim)
        self.apply([self.committed("poll", row, None, answer) for row in claim.rows])

    @rule(holder=HOLDERS, limit=LIMITS)
    def claim_polls(self, holder, limit):
        self.take("poll", self.both("claim_polls", RUN, holder, limit))

    @rule(holder=HOLDERS, limit=LIMITS)
    def claim_lapsed(self, holder, limit):
        claim = self.both("claim_lapsed", RUN, holder, limit)
        assert all(row.before for row in claim.rows)
        # by a clock that nobody puts back, whoever holds a row has a whole lease
        assert all(self.passed() - self.taken_at.get(row.before, 0) >= 2_000 for row in claim.rows)
        self.take("lapsed", claim)

    @rule(ms=st.sampled_from([1, 100, 1_000, 2_000, 5_000, 60_000]))
    def time_passes(self, ms):
        for _, clock in self.pairs:
            clock.advance(ms)

    @rule(ms=st.sampled_from([0, 0, 3_000, 60_000, 3_600_000]), known=st.booleans())
    def the_clock_is_put_back(self, ms, known):
        """The heartbeat notices, perhaps how far, and first looks at what lies ahead."""
        for _, clock in self.pairs:
            clock.advance(-ms)
        self.put_back_ms += ms
        jump_ms = ms if known else 0
        self.both("clock_went_back", RUN, jump_ms)
        self.both("clock_went_back", RIVAL, jump_ms)
        self.both("account_clock_went_back", ACCOUNT, jump_ms)

    def step(self, kind, row, submit_answer, query_answer):
        """What the holder of a row would commit."""
        if kind == "taken":
            return Step(State.READY, Event.CANCELLED, row.record, ending=Ending(Outcome.CANCELLED, self.now() * 1000))
        common = {"now_ms": self.now(), "troubles": 1, "chance": 0.5}
        if kind == "poll":
            return after_query(query_answer, row.record, self.policy, SCHEDULE, **common, judge=judge)
        if kind == "submit":
            self.serial += 1
            answer = Accepted(f"task-{self.serial}") if isinstance(submit_answer, Accepted) else submit_answer
            return after_submit(answer, row.record, self.policy, SCHEDULE, **common, judge=judge)
        return after_lost_post(
            row.record, self.policy, B, now_ms=self.now(), sent_at_ms=row.claimed_at_ms, token=row.before or None
        )

    def committed(self, kind, row, submit_answer, query_answer):
        return Commit(row.row_index, row.token, self.step(kind, row, submit_answer, query_answer))

    def among(self, which):
        """Rows that were given to somebody: the newest, those that are somebody else's by now, or all."""
        if which == "stale":
            stale = [hand for hand in self.hands if self.given.get(hand[1].row_index, hand[1].token) != hand[1].token]
            return stale or self.hands
        return self.hands[-4:] if which == "newest" else self.hands

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), which=WHICH, submit_answer=SUBMIT_ANSWERS, query_answer=QUERY_ANSWERS)
    def commit(self, data, which, submit_answer, query_answer):
        """One to three rows, in hand or long lost, in one group."""
        chosen = data.draw(st.lists(st.sampled_from(self.among(which)), min_size=1, max_size=3))
        self.apply([self.committed(kind, row, submit_answer, query_answer) for kind, row in chosen])

    def fits(self, commit):
        """The row is in hand under this token, or it was, and nobody has answered for it since."""
        held = self.given.get(commit.row_index, "")
        return commit.token in {held, held.split("|")[0]}

    def apply(self, commits):
        expected = []
        for commit in commits:
            fits = self.fits(commit)
            expected.append(fits)
            if fits:
                del self.given[commit.row_index]
                self.accepted += commit.step.event in {Event.ACCEPTED, Event.ADOPTED} or commit.step.answered
                if commit.step.state is State.DONE:
                    assert commit.row_index not in self.ended
                    self.ended.add(commit.row_index)
        assert self.both("commit", RUN, commits) == expected
        return expected

    @rule(holder=HOLDERS, dies=st.booleans())
    def dead_workers_are_noticed(self, holder, dies):
        """A lease runs out, and the heartbeat takes over and records what may have been billed, or dies before it."""
        self.time_passes(2_000)
        claim = self.both("claim_lapsed", RUN, holder, ROWS)
        began = {row.token: row.claimed_at_ms for kind, row in self.hands if kind in {"submit", "taken"}}
        assert all(began[row.before] == row.claimed_at_ms for row in claim.rows)
        self.take("lapsed", claim)
        if not dies:
            self.apply([self.committed("lapsed", row, None, None) for row in claim.rows])

    @precondition(lambda self: any(kind == "submit" for kind, _ in self.hands))
    @rule(data=st.data(), given_up=st.booleans())
    def late_id(self, data, given_up):
        """A worker comes with its id after all, as the submit flow does it; most often one that was given up."""
        tokens = {record.given_up for record in self.pairs[0][0]._runs[RUN].records.values()}
        sent_rows = [row for kind, row in self.hands if kind == "submit"]
        lost_rows = [row for row in sent_rows if row.token in tokens]
        sent = data.draw(st.sampled_from(lost_rows if given_up and lost_rows else sent_rows))
        step = self.step("submit", sent, Accepted(""), None)
        if self.apply([Commit(sent.row_index, sent.token, step)]) == [True]:
            return
        taken = self.both("take_ready", RUN, "w1", sent.row_index)
        if taken is None:
            return
        self.given[taken.row_index] = taken.token
        self.hands.append(("taken", taken))
        adopted = after_late_id(taken.record, step.record, sent.token)
        if adopted is not None:
            assert self.apply([Commit(taken.row_index, taken.token, adopted)]) == [True]
        else:
            assert taken.record.attempts >= step.record.attempts
            self.both("put_back", RUN, taken)
            del self.given[taken.row_index]
            self.both("note_late", RUN, late_of(taken.row_index, step.record))
            self.late += 1

    @precondition(lambda self: any(kind == "submit" for kind, _ in self.hands))
    @rule(data=st.data())
    def an_id_comes_when_its_row_is_elsewhere(self, data):
        """In another's hand, pending under its own id, or ended: it is queued, unless the row has it."""
        sent = data.draw(st.sampled_from([row for kind, row in self.hands if kind == "submit"]))
        step = self.step("submit", sent, Accepted(""), None)
        record = self.pairs[0][0]._runs[RUN].records.get(sent.row_index)
        own = data.draw(st.booleans()) and record is not None and record.generation_id is not None
        late = late_of(sent.row_index, record if own else step.record)
        before = self.both("snapshot", RUN).late
        self.both("note_late", RUN, late)
        assert self.both("snapshot", RUN).late == before + (not own)
        self.late += not own

    @rule(limit=LIMITS, ends=st.booleans(), dies=st.booleans(), throttled=st.sampled_from([False, False, True]))
    def late_ids_are_asked_for(self, limit, ends, dies, throttled):
        """Each is asked for until it ends, once; a poller that dies leaves them to another."""
        self.time_passes(1_000)
        claim = self.both("claim_late", RUN, limit)
        assert len({late.generation_id for late in claim.ids}) == len(claim.ids) <= limit
        for late in () if dies else claim.ids:
            told = Completion(prompt_tokens=7, completion_tokens=4, cost=0.3)
            ending = Ending(Outcome.COMPLETED, self.now() * 1000, told) if ends else None
            after = replace(late, ending=ending, asked_since_ms=late.asked_since_ms or self.now())
            self.both("settle_late", RUN, late, after, 500, used_late(after, {}), throttled=throttled)
            self.late -= ends

    @rule(limit=LIMITS)
    def a_person_abandons_the_run_and_thinks_better_of_it(self, limit):
        """What was sent ends with its id; whoever has it in hand comes too late."""
        ledger = self.pairs[0][0]
        before = set(ledger._runs[RUN].done)
        self.both("set_state", RUN, RunState.ABANDONING)
        ended = self.both("abandon_pending", RUN, limit, abandoned(self.now()))
        gone = set(ledger._runs[RUN].done) - before
        assert len(gone) == ended
        self.ended |= gone
        self.late = 0
        for row in gone:
            self.given.pop(row, None)
        self.both("set_state", RUN, RunState.FINISHED)
        self.both("reopen", self.card)

    @rule(row=st.integers(0, ROWS - 1))
    def take_ready(self, row):
        taken = self.both("take_ready", RUN, "w2", row)
        if taken is not None:
            self.given[row] = taken.token
            self.hands.append(("taken", taken))

    @precondition(lambda self: any(kind == "taken" for kind, _ in self.hands))
    @rule(data=st.data())
    def put_back(self, data):
        _, row = data.draw(st.sampled_from([hand for hand in self.hands if hand[0] == "taken"]))
        self.both("put_back", RUN, row)
        if self.given.get(row.row_index) == row.token:
            del self.given[row.row_index]

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), which=WHICH, state=st.sampled_from([State.SUBMITTING, State.PENDING]))
    def renew(self, data, which, state):
        rows = data.draw(st.lists(st.sampled_from(self.among(which)), max_size=4))
        self.both("renew", RUN, state, {row.row_index: row.token for _, row in rows})

    @rule(limit=LIMITS)
    def note_results(self, limit):
        batch = self.both("results", RUN, limit)
        if batch.items:
            rows = tuple(unpack_result(item).row_index for item in batch.items)
            assert self.on_disk.setdefault(batch.start, rows) == rows
            self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def acknowledge(self, data):
        """The newest range, or one that was long written."""
        batch = data.draw(st.sampled_from([*self.batches[-2:], self.batches[0]]))
        self.both("results_written", RUN, batch)

    @rule(limit=LIMITS, saved=st.booleans())
    def save_ids(self, limit, saved):
        batch = self.both("accepted_ids", RUN, limit)
        if saved:
            assert self.both("accepted_saved", RUN, batch) == bool(batch.items)

    @rule(limit=st.sampled_from([0, 0, 0, 1, 3]))
    def a_person_cancels_and_thinks_better_of_it(self, limit):
        run = self.pairs[0][0]._runs[RUN]
        before = set(run.done)
        self.both("set_state", RUN, RunState.CANCELLING)
        if limit:
            ended = self.both("cancel_ready", RUN, limit, cancelled(self.now()))
            assert len(set(run.done) - before) == ended
        self.ended |= set(run.done)
        self.both("set_state", RUN, RunState.FINISHED)
        self.both("reopen", self.card)

    @rule(state=st.sampled_from([None, None, RunState.PAUSED]))
    def reopen_or_pause(self, state):
        if state is None:
            self.both("reopen", self.card)
        else:
            self.both("set_state", RUN, state, "a person")

    @rule(state=st.sampled_from(RunState))
    def a_finished_run_stays_so(self, state):
        """Until a person opens it again."""
        self.both("set_state", RUN, RunState.FINISHED)
        self.both("set_state", RUN, state, "late")
        assert self.both("snapshot", RUN).state is RunState.FINISHED
        self.both("reopen", self.card)

    @invariant()
    def all_ledgers_look_alike_and_agree_with_the_books(self):
        self.both("account_seen", ACCOUNT)
        run = self.both("snapshot", RUN)
        assert run.ready + run.submitting + run.pending + run.ended == self.fed == run.fed
        assert (run.ended, run.accepted, run.double_ends) == (len(self.ended), self.accepted, 0)
        assert run.led == self.led
        assert run.late == self.late
        assert run.bodies_bytes == sum(set(range(self.fed)) - self.ended)
        written = [row for rows in self.on_disk.values() for row in rows]
        assert len(written) == len(set(written))
        assert set(written) <= self.ended

    @invariant()
    def a_cap_is_overshot_by_no_more_than_is_told(self):
        run = self.pairs[0][0]._runs[RUN]
        for cap in caps_of(self.card.budget, run.spending):
            assert cap.overshot <= cap.over
            assert cap.kept >= 0

    @invariant()
    def a_row_is_in_one_place(self):
        run = self.pairs[0][0]._runs[RUN]
        places = [row for rows in run.rows.values() for row in rows]
        assert sorted([*places, *run.done]) == list(range(self.fed))
        assert set(self.given) == set(run.tokens)

    def teardown(self):
        """A last writer comes: every end is on disk once."""
        while (batch := self.both("results", RUN, 3)).items:
            rows = tuple(unpack_result(item).row_index for item in batch.items)
            assert self.on_disk.setdefault(batch.start, rows) == rows
            assert self.both("results_written", RUN, batch)
        assert sorted(row for rows in self.on_disk.values() for row in rows) == sorted(self.ended)


def settings_of(examples, steps):
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize("examples", [120, pytest.param(2_000, marks=[pytest.mark.chaos, pytest.mark.timeout(900)])])
def test_whatever_the_order_a_row_is_in_one_place_and_ends_once(clocked_memory, loop, examples):
    run_state_machine_as_test(
        lambda: Interleavings([clocked_memory()], loop.run), settings=settings_of(examples=examples, steps=50)
    )


@pytest.mark.parametrize("examples", [30, pytest.param(1_000, marks=[pytest.mark.chaos, pytest.mark.timeout(900)])])
def test_redis_and_memory_give_the_same_answers_to_the_same_steps(
    clocked_memory, clocked_redis, redis_url, loop, examples
):
    ledger, clock = clocked_redis(redis_url)
    clock.close()
    fresh = type(clock)

    with redis.Redis.from_url(redis_url) as store:
        clocks = []

        def machine():
            store.flushall()
            ledger._cards.clear()
            clocks.append(fresh(redis_url))
            return Interleavings([clocked_memory(), (ledger, clocks[-1])], loop.run)

        try:
            run_state_machine_as_test(machine, settings=settings_of(examples=examples, steps=40))
        finally:
            loop.run(ledger.close())
            for opened in clocks:
                opened.close()
