"""Runs, shifts, tickets, workers and locks: who is there, and for how long."""

import pytest

from pipeline.core.answers import Accepted, Problem, Refused
from pipeline.core.late import LateId
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.ports import Batch, RunCard, WorkerCard

pytestmark = pytest.mark.anyio

OTHER = "run-20260101-two"
SHIFT_MS, TICKET_MS = 5_000, 3_000


async def live(world, role="poll"):
    return (await world.look()).shifts[role]


async def test_a_run_is_made_once(world):
    card = world.card(total=7)
    assert await world.ledger.open_run(card, recover_until=3, ended={}, done=Rows())
    again = world.card(total=9)
    assert not await world.ledger.open_run(again, recover_until=0, ended={"completed": 1}, done=Rows([0]))
    assert await world.ledger.card(world.run) == card
    assert (await world.look()).recover_until == 3


async def test_a_card_comes_back_whole_to_another_worker(world):
    policy = Policy(poll="steps:1s,2s", lease_s=3.5, on_unknown="hold", max_in_flight=7)
    card = RunCard(world.run, "api#é", "https://api/base", "abc", "s3://out", "t0ken", "e9", 12, policy)
    await world.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    assert await world.again().card(world.run) == card


async def test_a_run_that_nobody_opened_is_unknown(world):
    assert await world.ledger.card("run-nowhere") is None
    assert await world.ledger.snapshot("run-nowhere") is None
    assert await world.ledger.active_runs() == []


async def test_runs_are_listed_oldest_first_until_they_are_forgotten(world):
    await world.open(run_id=OTHER)
    await world.open()
    assert await world.ledger.active_runs() == [world.run, OTHER]
    await world.ledger.set_state(world.run, RunState.FINISHED)
    assert await world.ledger.active_runs() == [world.run, OTHER]
    await world.ledger.forget(world.run)
    assert await world.ledger.active_runs() == [OTHER]


@pytest.mark.parametrize("state", RunState)
async def test_what_is_finished_stays_so_whatever_is_reported_late(world, state):
    await world.open(rows=1)
    await world.ledger.set_state(world.run, RunState.FINISHED)
    await world.ledger.set_state(world.run, state, "storage: the disk was full")
    run = await world.look()
    assert (run.state, run.reason) == (RunState.FINISHED, "")


async def test_a_person_may_open_a_finished_run_again(world):
    await world.open(rows=1)
    await world.ledger.set_state(world.run, RunState.FINISHED)
    await world.ledger.reopen(world.card())
    assert (await world.look()).state is RunState.RUNNING


async def test_forgetting_leaves_nothing_of_the_run_and_all_of_the_others(world):
    await world.open(rows=5)
    await world.open(rows=2, run_id=OTHER)
    one, two, *_ = (await world.claim()).rows
    await world.commit(world.sent(one, Accepted("task-0")), world.sent(two, Refused(Problem("no", ""))))
    await world.ledger.begin_shift(world.run, "poll", "a", 9)
    await world.ledger.note_ticket(world.run, "submit", "t")
    await world.ledger.forget(world.run)
    assert await world.ledger.card(world.run) is None
    assert await world.ledger.snapshot(world.run) is None
    assert (await world.look(OTHER)).ready == 2


async def test_a_forgotten_run_stays_forgotten_whatever_late_workers_say(world):
    await world.open(rows=1)
    other = world.again()
    assert await other.snapshot(world.run) is not None
    await world.ledger.forget(world.run)
    await other.set_state(world.run, RunState.PAUSED, "late")
    await other.reopen(world.card())
    await other.note_late(world.run, LateId(0, "task-late", 1, 1))
    await other.renew_shift(world.run, "poll", "late")
    await other.end_shift(world.run, "poll", "late")
    assert await other.active_runs() == []
    assert await world.ledger.snapshot(world.run) is None
    assert await world.ledger.open_run(world.card(), recover_until=0, ended={}, done=Rows())
    run = await world.look()
    assert (run.state, run.accepted_unsaved) == (RunState.RUNNING, 0)


async def test_a_run_that_is_opened_again_begins_anew(world):
    await world.open(rows=3)
    await world.commit(*(world.sent(row, Refused(Problem("no", ""))) for row in (await world.claim()).rows))
    await world.ledger.forget(world.run)
    await world.open(rows=3)
    run = await world.look()
    assert (run.ready, run.results, run.ended, run.double_ends) == (3, 0, 0, 0)
    assert await world.ledger.results(world.run, 9) == Batch(0, ())


async def test_as_many_shifts_as_allowed_are_live_at_a_time(world):
    await world.open()
    assert await world.ledger.begin_shift(world.run, "poll", "a", 2)
    assert await world.ledger.begin_shift(world.run, "poll", "b", 2)
    assert not await world.ledger.begin_shift(world.run, "poll", "c", 2)
    assert await world.ledger.begin_shift(world.run, "submit", "d", 1)
    assert await live(world) == 2
    await world.ledger.end_shift(world.run, "poll", "a")
    assert await live(world) == 1
    assert await world.ledger.begin_shift(world.run, "poll", "c", 2)


async def test_a_shift_that_says_nothing_is_dead_after_its_lease(world):
    await world.open()
    await world.ledger.begin_shift(world.run, "poll", "dead", 2)
    await world.ledger.begin_shift(world.run, "poll", "alive", 2)
    world.clock.advance(SHIFT_MS - 1)
    await world.ledger.renew_shift(world.run, "poll", "alive")
    assert await live(world) == 2
    world.clock.advance(1)
    assert await live(world) == 1
    assert await world.ledger.begin_shift(world.run, "poll", "next", 2)


async def test_a_ticket_on_its_way_counts_until_a_shift_takes_it_up(world):
    await world.open()
    await world.ledger.note_ticket(world.run, "poll", "t1")
    await world.ledger.note_ticket(world.run, "poll", "t2")
    assert await live(world) == 2
    await world.ledger.begin_shift(world.run, "poll", "a", 9)
    assert await live(world) == 2
    await world.ledger.end_shift(world.run, "poll", "a")
    assert await live(world) == 1


async def test_a_ticket_that_nobody_takes_up_is_lost_after_its_lease(world):
    await world.open()
    await world.ledger.note_ticket(world.run, "poll", "t1")
    world.clock.advance(TICKET_MS)
    assert await live(world) == 0


async def test_living_workers_are_listed_by_name(world):
    worker = WorkerCard("b", ("submit", "poll"), 4, ("key-1",), LEDGER_VERSION)
    other = WorkerCard("a", ("write", "control"), 2, (), LEDGER_VERSION, by_role={"write": 1, "control": 2})
    await world.ledger.register_worker(worker)
    await world.ledger.register_worker(other)
    await world.ledger.register_worker(worker)
    assert await world.again().workers() == [other, worker]


async def test_a_worker_of_another_version_is_seen_and_serves_no_role_here(world):
    await world.ledger.register_worker(WorkerCard("a", ("submit", "poll"), 4, ("key-1",), LEDGER_VERSION + 1))
    assert await world.again().workers() == [WorkerCard("a", (), 0, (), LEDGER_VERSION + 1)]


async def test_a_lock_is_held_by_one_and_renewed_by_its_holder(world):
    assert await world.ledger.lock("heartbeat", "a", 30.0)
    assert not await world.ledger.lock("heartbeat", "b", 30.0)
    assert await world.ledger.lock("heartbeat", "a", 30.0)
    assert await world.ledger.lock("other", "b", 30.0)


async def test_a_lock_is_given_back_by_its_holder_only(world):
    await world.ledger.lock("heartbeat", "a", 30.0)
    await world.ledger.unlock("heartbeat", "b")
    assert not await world.ledger.lock("heartbeat", "b", 30.0)
    await world.ledger.unlock("heartbeat", "a")
    assert await world.ledger.lock("heartbeat", "b", 30.0)
    await world.ledger.unlock("nothing", "b")


async def test_a_lock_that_is_not_renewed_goes_to_another(world):
    await world.ledger.lock("heartbeat", "a", 0.1)

    async def taken():
        return await world.ledger.lock("heartbeat", "b", 30.0)

    await world.eventually(taken)
    assert not await world.ledger.lock("heartbeat", "a", 30.0)
