"""The heartbeat: whose rows it takes over and when, which tickets it issues, what it forgets."""

from collections import Counter
from dataclasses import replace

import pytest

from pipeline.core.answers import Accepted, Completed, Completion, NothingSent, Problem, Throttled
from pipeline.core.budget import Budget
from pipeline.core.costs import Price
from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.late import ADOPTER
from pipeline.core.lead import lead_lock
from pipeline.core.lifecycle import State
from pipeline.core.observations import Observed
from pipeline.core.policy import Policy
from pipeline.core.polling import DEFAULT
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.submitting import after_submit
from pipeline.core.tickets import Role, Ticket
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.flows.heartbeat import FORGET_S, LOCK_S, TICK_S, Heartbeat, capacity_of
from pipeline.ports import Commit, FedRow, RunCard, WorkerCard

pytestmark = pytest.mark.anyio

RUN = "run-1"
LEASE_S = 8.0
POLICY = Policy(lease_s=LEASE_S, first_rows=100)
BUSY = Problem("connect_failed", "no route")


class Ledger(MemoryLedger):
    """In memory, and away or of another version when a test says so."""

    away = False
    foreign = frozenset()
    before_commit = None
    slow = None

    async def lock(self, name, holder, seconds):
        if self.away:
            raise LedgerUnavailable("away")
        return await super().lock(name, holder, seconds)

    async def snapshot(self, run_id):
        if run_id in self.foreign:
            raise LedgerMismatch("another version's card")
        run = await super().snapshot(run_id)
        if self.slow is not None:
            self.slow()
        return run

    async def claim_lapsed(self, run_id, holder, limit):
        claim = await super().claim_lapsed(run_id, holder, limit)
        if claim.rows and self.before_commit is not None:
            await self.before_commit()
        return claim


class Machine:
    """A machine with one heartbeat, on which our clock and the server's pass together unless a test moves one alone."""

    def __init__(self, clock):
        self.server, self.own = clock, 0.0
        self.ledger = Ledger(clock)
        self.issued = []
        self.waiting = {}
        self.heartbeat = self.heart("one")

    def heart(self, name):
        return Heartbeat(self.ledger, self, name, self.issue, self.queued)

    def monotonic(self):
        return self.own

    async def sleep(self, seconds):
        raise AssertionError("a tick waits for nothing")

    async def issue(self, ticket):
        self.issued.append(ticket)

    async def queued(self):
        return self.waiting

    def passes(self, seconds):
        self.server.advance(round(seconds * 1000))
        self.own += seconds

    async def ticks(self, seconds, heartbeat=None):
        """Steady ticks over this long, the first one now."""
        for _ in range(round(seconds / TICK_S)):
            assert await (heartbeat or self.heartbeat).tick()
            self.passes(TICK_S)

    async def open(self, run_id=RUN, rows=1, **card):
        whole = RunCard(run_id, "api#key", "https://api", "key", "out", "secret", "e1", rows, POLICY, **card)
        await self.ledger.open_run(whole, recover_until=0, ended={}, done=Rows())
        await self.ledger.feed(run_id, 0, rows, [FedRow(row, b"{}") for row in range(rows)])

    async def worker(self, shifts=1, roles=tuple(Role), keys=("key",)):
        await self.ledger.register_worker(WorkerCard("w", tuple(roles), shifts, keys, LEDGER_VERSION))

    async def claim(self, run_id=RUN):
        return (await self.ledger.claim_submit(run_id, "worker-1", 100)).rows

    async def answered(self, row, answer):
        step = after_submit(answer, row.record, POLICY, DEFAULT, now_ms=self.server(), troubles=0, chance=0.0)
        return await self.ledger.commit(RUN, [Commit(row.row_index, row.token, step)])

    async def submitting(self):
        return (await self.ledger.snapshot(RUN)).submitting


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def machine(clocked_memory):
    return Machine(clocked_memory()[1])


# Rows of dead workers


async def test_a_dead_workers_row_is_given_up_only_after_one_whole_lease_of_steady_ticks(machine):
    await machine.open()
    await machine.claim()
    machine.passes(600)
    await machine.ticks(LEASE_S)
    assert await machine.submitting() == 1
    await machine.ticks(2 * TICK_S)
    run = await machine.ledger.snapshot(RUN)
    assert (run.submitting, run.ready, run.trouble.split(":")[0]) == (0, 1, "worker_lost")


async def test_under_a_steady_heartbeat_a_dead_workers_row_is_given_up_when_its_lease_runs_out(machine):
    await machine.open()
    await machine.ticks(2 * LEASE_S)
    await machine.claim()
    await machine.ticks(LEASE_S)
    assert await machine.submitting() == 1
    await machine.ticks(TICK_S)
    assert await machine.submitting() == 0


async def test_a_row_that_is_renewed_is_never_given_up(machine):
    await machine.open()
    [row] = await machine.claim()
    for _ in range(20):
        await machine.ticks(3)
        await machine.ledger.renew(RUN, State.SUBMITTING, {0: row.token})
    assert await machine.submitting() == 1


@pytest.mark.parametrize("jump_ms", [LEASE_S * 1000, 3_600_000])
async def test_after_the_servers_clock_jumped_the_living_renew_first(machine, jump_ms):
    await machine.open(rows=2)
    await machine.ticks(2 * LEASE_S)
    [living] = await machine.claim()
    machine.passes(0.1)  # the account is paced: it starts gently
    assert len(await machine.claim()) == 1
    machine.server.advance(round(jump_ms))
    assert (await machine.ledger.snapshot(RUN)).lapsed == 2
    await machine.ticks(LEASE_S - 1)
    await machine.ledger.renew(RUN, State.SUBMITTING, {living.row_index: living.token})
    await machine.ticks(1 + 2 * TICK_S)
    assert await machine.submitting() == 1
    assert await machine.answered(living, Accepted("task-1")) == [True]


async def test_after_the_servers_clock_went_back_reaping_waits_as_well(machine):
    await machine.open()
    await machine.ticks(2 * LEASE_S)
    await machine.claim()
    machine.server.advance(-60_000)
    await machine.ticks(TICK_S)
    machine.server.advance(60_000 + round(LEASE_S * 1000))
    await machine.ticks(LEASE_S)
    assert await machine.submitting() == 1
    await machine.ticks(2 * TICK_S)
    assert await machine.submitting() == 0


@pytest.mark.parametrize("back_s", [3, 30, 590, 3_600])
async def test_after_the_servers_clock_went_back_rows_are_polled_and_sent_as_soon_as_without_it(machine, back_s):
    await machine.open(rows=2)
    await machine.open("run-2")
    await machine.ticks(2 * TICK_S)
    [row] = await machine.claim()
    await machine.answered(row, Accepted("task-1"))
    machine.passes(1.0)
    [refused] = await machine.claim()
    await machine.answered(refused, Throttled(BUSY, 4.0))
    machine.server.advance(-back_s * 1000)
    await machine.ticks(4.0)
    assert [row.row_index for row in (await machine.ledger.claim_polls(RUN, "poller", 9)).rows] == [0]
    rows = await machine.claim()
    machine.passes(0.3)  # the rate's next permit is one gap away at most
    assert [row.row_index for row in (*rows, *await machine.claim())] == [1]


@pytest.mark.parametrize("back_ms", [50, 1_900])
async def test_a_clock_that_is_slewed_shortens_no_wait(machine, back_ms):
    await machine.open()
    await machine.ticks(1.0)
    [refused] = await machine.claim()
    await machine.answered(refused, Throttled(BUSY, 4.0))
    for _ in range(3):
        machine.server.advance(-back_ms)
        await machine.ticks(TICK_S)
    rest_ms = 4_000 - 600 + 3 * back_ms
    assert (await machine.ledger.claim_submit(RUN, "worker-1", 1)).wait_ms == rest_ms


async def test_a_slow_reply_is_no_clock_put_back(machine):
    await machine.open()
    await machine.ticks(1.0)
    [refused] = await machine.claim()
    await machine.answered(refused, Throttled(BUSY, 10.0))
    machine.ledger.slow = lambda: machine.passes(2.5)
    await machine.ticks(TICK_S)
    machine.ledger.slow = None
    await machine.ticks(TICK_S)
    assert (await machine.ledger.claim_submit(RUN, "worker-1", 1)).wait_ms == 10_000 - 2_500 - 400


async def test_another_heartbeat_does_not_put_times_back_once_more(machine):
    await machine.open()
    other = machine.heart("two")
    await machine.ticks(1.0, other)  # it acted once, and was frozen since
    machine.passes(LOCK_S)
    await machine.ticks(1.0)
    [refused] = await machine.claim()
    await machine.answered(refused, Throttled(BUSY, 60.0))
    machine.server.advance(-30_000)
    await machine.ticks(TICK_S)
    machine.passes(LOCK_S)
    await machine.ticks(1.0, other)
    assert (await machine.ledger.claim_submit(RUN, "worker-1", 1)).wait_ms == 60_000 - 200 - 3_000 - 1_000


async def test_after_a_gap_of_ticks_reaping_waits_a_whole_lease(machine):
    await machine.open()
    await machine.ticks(2 * LEASE_S)
    await machine.claim()
    machine.passes(60)
    await machine.ticks(LEASE_S)
    assert await machine.submitting() == 1
    await machine.ticks(2 * TICK_S)
    assert await machine.submitting() == 0


async def test_after_redis_was_away_reaping_waits_a_whole_lease(machine):
    await machine.open()
    await machine.ticks(2 * LEASE_S)
    await machine.claim()
    await machine.ticks(LEASE_S - 1)
    machine.ledger.away = True
    assert not await machine.heartbeat.tick()
    machine.passes(1.0)
    machine.ledger.away = False
    await machine.ticks(LEASE_S)
    assert await machine.submitting() == 1
    await machine.ticks(2 * TICK_S)
    assert await machine.submitting() == 0


async def test_another_heartbeat_begins_with_a_whole_lease_of_its_own(machine):
    await machine.open()
    other = machine.heart("two")
    await machine.ticks(2 * LEASE_S)
    assert not await other.tick()
    await machine.claim()
    machine.passes(LEASE_S + LOCK_S)
    await machine.ticks(LEASE_S, other)
    assert await machine.submitting() == 1
    assert not await machine.heartbeat.tick()
    await machine.ticks(2 * TICK_S, other)
    assert await machine.submitting() == 0


async def test_a_heartbeat_that_leaves_lets_another_act_at_once(machine):
    other = machine.heart("two")
    assert await machine.heartbeat.tick()
    assert not await other.tick()
    await other.leave()
    assert not await other.tick()
    await machine.heartbeat.leave()
    assert await other.tick()


@pytest.mark.parametrize(
    ("answer", "place"),
    [(Accepted("task-late"), (0, 1)), (NothingSent(BUSY), (1, 0))],
    ids=["accepted", "nothing sent"],
)
async def test_a_worker_that_answers_while_its_row_is_being_taken_over_goes_first(machine, answer, place):
    await machine.open()
    await machine.ticks(2 * LEASE_S)
    [row] = await machine.claim()

    async def the_worker_answers():
        assert await machine.answered(row, answer) == [True]

    machine.ledger.before_commit = the_worker_answers
    await machine.ticks(LEASE_S + 2 * TICK_S)
    run = await machine.ledger.snapshot(RUN)
    assert (run.ready, run.pending, run.submitting) == (*place, 0)
    assert run.trouble.split(":")[0] != "worker_lost"


async def test_a_row_that_was_only_taken_to_adopt_a_late_id_goes_back_since_nothing_was_sent_for_it(machine):
    await machine.open()
    await machine.ticks(2 * LEASE_S)
    await machine.claim()
    await machine.ticks(LEASE_S + 2 * TICK_S)
    before = (await machine.ledger.snapshot(RUN)).spending
    taken = await machine.ledger.take_ready(RUN, f"worker-1{ADOPTER}", 0)
    await machine.ticks(LEASE_S + 2 * TICK_S)
    run = await machine.ledger.snapshot(RUN)
    assert (run.ready, run.submitting, run.spending) == (1, 0, before)
    again = await machine.ledger.take_ready(RUN, "worker-2", 0)
    assert again.record == taken.record


# A cap


async def test_a_cap_is_reached_by_what_is_known_now_and_not_by_an_older_guess(machine):
    budget = Budget(tokens=10_000)
    await machine.open(rows=40, budget=budget, models=("m",), prices={"m": Price(1.0, 10.0)})
    await machine.ticks(2 * TICK_S)
    [row] = await machine.claim()
    await machine.answered(row, Accepted("task-1"))
    await machine.ticks(6.0)
    [polled] = (await machine.ledger.claim_polls(RUN, "worker-1", 9)).rows
    answer = Completed(Completion(prompt_tokens=80, completion_tokens=20))
    step = after_query(answer, polled.record, POLICY, DEFAULT, now_ms=machine.server(), troubles=0, chance=0.0)
    await machine.ledger.commit(RUN, [Commit(0, polled.token, replace(step, observed=Observed("m", 1, 9, 80, 20)))])
    await machine.ticks(TICK_S)
    run = await machine.ledger.snapshot(RUN)
    assert (run.state, run.spending.reserved.tokens) == (RunState.RUNNING, 200)
    await machine.ledger.set_budget(RUN, Budget(tokens=250))
    await machine.ticks(TICK_S)
    assert (await machine.ledger.snapshot(RUN)).state is RunState.PAUSED


# Tickets


async def test_a_run_with_work_gets_the_tickets_of_what_workers_can_do(machine):
    await machine.open(rows=200)
    await machine.worker(shifts=2)
    await machine.heartbeat.tick()
    assert machine.issued == [Ticket(Role.SUBMIT, RUN)] * 2


async def test_without_a_worker_there_are_no_tickets(machine):
    await machine.open()
    await machine.heartbeat.tick()
    assert machine.issued == []


async def test_equal_runs_take_turns_from_tick_to_tick(machine):
    for run_id in ("run-1", "run-2", "run-3"):
        await machine.open(run_id)
    for _ in range(6):
        await machine.worker(shifts=1, roles=[Role.SUBMIT])
        await machine.ticks(TICK_S)
    assert Counter(ticket.run_id for ticket in machine.issued) == {"run-1": 2, "run-2": 2, "run-3": 2}


async def test_another_versions_card_does_not_stop_the_other_runs(machine):
    await machine.open("run-0")
    await machine.open()
    machine.ledger.foreign = frozenset({"run-0"})
    await machine.worker()
    assert await machine.heartbeat.tick()
    assert machine.issued == [Ticket(Role.SUBMIT, RUN)]


async def test_a_run_that_nobody_leads_is_polled_and_not_sent(machine):
    await machine.open(rows=2, detached=False)
    await machine.ledger.lock(lead_lock(RUN), "command", 60.0)
    row, _ = (await machine.ledger.claim_submit(RUN, "worker-1", 2)).rows
    await machine.answered(row, Accepted("task-1"))
    await machine.ledger.unlock(lead_lock(RUN), "command")
    await machine.ledger.accepted_saved(RUN, await machine.ledger.accepted_ids(RUN, 9))
    machine.passes(600)
    await machine.worker()
    await machine.ticks(LEASE_S)
    await machine.worker()
    await machine.ticks(2 * LEASE_S)
    assert {ticket.role for ticket in machine.issued} == {Role.POLL}
    machine.issued.clear()
    await machine.ledger.lock(lead_lock(RUN), "command", 60.0)
    await machine.worker()
    await machine.heartbeat.tick()
    assert {ticket.role for ticket in machine.issued} == {Role.SUBMIT, Role.POLL}


async def test_a_run_whose_key_no_worker_holds_gets_no_tickets_to_send(machine):
    await machine.open()
    await machine.worker(keys=("another",))
    await machine.heartbeat.tick()
    assert machine.issued == []


def test_capacity_is_summed_by_role_over_the_living():
    one = WorkerCard("a", ("submit", "poll"), 2, ("k1",), 1)
    two = WorkerCard("b", ("poll",), 3, (), 1)
    capacity = capacity_of([one, two], {Role.POLL: 7})
    assert capacity.shifts == {Role.SUBMIT: 2, Role.POLL: 5, Role.WRITE: 0, Role.CONTROL: 0}
    assert (capacity.queued, capacity.keys) == ({Role.POLL: 7}, frozenset({"k1"}))


def test_a_worker_that_tells_a_number_for_each_role_counts_with_it():
    one = WorkerCard("a", ("submit", "poll"), 4, (), 1, by_role={"submit": 4, "poll": 2})
    two = WorkerCard("b", ("poll", "write"), 3, (), 1)
    assert capacity_of([one, two], {}).shifts == {Role.SUBMIT: 4, Role.POLL: 5, Role.WRITE: 3, Role.CONTROL: 0}


# Runs that pause, and runs that are over


@pytest.mark.slow
async def test_a_run_whose_api_was_of_no_use_for_long_is_paused_with_the_reason(machine):
    await machine.open()
    [row] = await machine.claim()
    await machine.answered(row, NothingSent(BUSY))
    await machine.ticks(POLICY.useless_for_s + 1)
    run = await machine.ledger.snapshot(RUN)
    assert run.state is RunState.PAUSED
    assert "connect_failed: no route" in run.reason


async def test_a_night_without_workers_is_no_patience(machine):
    await machine.open()
    [row] = await machine.claim()
    await machine.answered(row, NothingSent(BUSY))
    machine.passes(8 * 3600.0)
    await machine.ticks(5.0)
    assert (await machine.ledger.snapshot(RUN)).state is RunState.RUNNING


async def test_a_finished_run_is_forgotten_after_a_minute(machine):
    await machine.open()
    await machine.open("run-2")
    await machine.ledger.set_state(RUN, RunState.FINISHED)
    await machine.ticks(FORGET_S)
    assert await machine.ledger.active_runs() == [RUN, "run-2"]
    await machine.ticks(2 * TICK_S)
    assert await machine.ledger.active_runs() == ["run-2"]


async def test_a_finished_run_that_was_opened_again_is_not_forgotten(machine):
    await machine.open()
    await machine.ledger.set_state(RUN, RunState.FINISHED)
    await machine.ticks(FORGET_S / 2)
    await machine.ledger.reopen(replace(await machine.ledger.card(RUN), detached=True))
    await machine.ticks(TICK_S)
    await machine.ledger.set_state(RUN, RunState.FINISHED)
    await machine.ticks(FORGET_S)
    assert await machine.ledger.active_runs() == [RUN]


async def test_a_finished_run_gets_no_tickets(machine):
    await machine.open()
    await machine.ledger.set_state(RUN, RunState.FINISHED)
    await machine.worker()
    await machine.heartbeat.tick()
    assert machine.issued == []
