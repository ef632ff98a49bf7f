"""A run that a person cancels: nothing more is sent, what was paid for is collected, every row gets its end."""

import pytest

from pipeline.core.answers import Accepted, Completed, Completion, NothingSent, Problem, Throttled
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import unpack_result
from pipeline.core.rows import Rows
from pipeline.core.snapshot import PERSON_PAUSED, RunState
from pipeline.core.steps import abandoned, cancelled

BUSY = Problem("rate_limit_error", "Slow down.", http_status=429)

pytestmark = pytest.mark.anyio


async def end_ready(world, limit=100):
    return await world.ledger.cancel_ready(world.run, limit, cancelled(world.clock()))


async def ends(world):
    batch = await world.ledger.results(world.run, 100)
    return {result.row_index: result for result in map(unpack_result, batch.items)}


async def test_rows_that_were_not_sent_end_as_cancelled(world):
    await world.open(rows=3)
    await world.ledger.set_state(world.run, RunState.CANCELLING)
    assert await end_ready(world, limit=2) == 2
    assert await end_ready(world) == 1
    assert await end_ready(world) == 0
    run = await world.look()
    assert (run.ready, run.bodies_bytes, run.outcomes[Outcome.CANCELLED]) == (0, 0, 3)
    assert {index: result.ending.outcome for index, result in (await ends(world)).items()} == dict.fromkeys(
        range(3), Outcome.CANCELLED
    )


async def test_nothing_is_sent_any_more(world):
    await world.open(rows=3)
    await world.ledger.set_state(world.run, RunState.CANCELLING)
    assert (await world.claim()).rows == ()
    assert not (await world.look()).sends


async def test_rows_that_wait_for_later_end_at_once_and_keep_what_is_known_of_them(world):
    await world.open(rows=2)
    throttled, lost = (await world.claim()).rows
    await world.commit(world.sent(throttled, Throttled(BUSY, retry_after=300.0)))
    world.clock.advance(10_001)
    [taken] = (await world.lapsed()).rows
    assert taken.row_index == lost.row_index
    await world.commit(world.lost(taken, BUSY))
    await world.ledger.set_state(world.run, RunState.CANCELLING)
    assert await end_ready(world) == 2
    found = await ends(world)
    assert found[throttled.row_index].record.attempts == 0
    assert found[lost.row_index].record.possible_duplicate
    assert (await world.look()).possible_duplicates == 1


async def test_what_was_paid_for_is_still_collected_and_the_run_can_end(world):
    await world.open(rows=2)
    [paid] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(paid, Accepted("task-1")))
    await world.ledger.set_state(world.run, RunState.CANCELLING)
    await end_ready(world)
    assert (await world.look()).collects
    world.clock.advance(60_000)
    [row] = (await world.polls()).rows
    await world.commit(world.polled(row, Completed(Completion(content="yes"))))
    assert {index: result.ending.outcome for index, result in (await ends(world)).items()} == {
        paid.row_index: Outcome.COMPLETED,
        1 - paid.row_index: Outcome.CANCELLED,
    }


async def test_a_row_that_comes_back_unsent_is_cancelled_as_well(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.ledger.set_state(world.run, RunState.CANCELLING)
    await world.commit(world.sent(row, NothingSent(BUSY)))
    assert await end_ready(world) == 1


async def test_a_run_that_is_not_being_cancelled_keeps_its_rows(world):
    await world.open(rows=3)
    for state in (RunState.RUNNING, RunState.STOPPING, RunState.PAUSED):
        await world.ledger.set_state(world.run, state)
        assert await end_ready(world) == 0
    assert (await world.look()).ready == 3


async def test_a_run_that_was_cancelled_is_continued_as_such(world):
    card = await world.open(rows=1)
    await world.ledger.reopen(card, RunState.CANCELLING)
    assert (await world.look()).state is RunState.CANCELLING
    other = world.card("run-20260101-two")
    await world.ledger.open_run(other, recover_until=0, ended={}, done=Rows(), state=RunState.CANCELLING)
    assert (await world.look(other.run_id)).state is RunState.CANCELLING


async def test_an_abandoned_run_waits_for_nothing_and_keeps_the_ids_of_what_was_sent(world):
    await world.open(rows=3)
    sent, sending = (await world.claim(limit=2)).rows
    await world.commit(world.sent(sent, Accepted("task-1")))
    world.clock.advance(60_000)
    [polled] = (await world.polls()).rows
    await world.ledger.set_state(world.run, RunState.ABANDONING)
    assert not (await world.look()).collects
    assert await end_ready(world) == 1
    assert await world.ledger.abandon_pending(world.run, 100, abandoned(world.clock())) == 1
    found = await ends(world)
    assert (found[sent.row_index].ending.outcome, found[sent.row_index].record.generation_id) == ("cancelled", "task-1")
    assert await world.commit(world.polled(polled, Completed(Completion()))) == [False]
    await world.commit(world.sent(sending, Accepted("task-2")))
    assert await world.ledger.abandon_pending(world.run, 100, abandoned(world.clock())) == 1
    run = await world.look()
    assert (run.ended, run.in_flight, run.double_ends) == (3, 0, 0)


async def test_only_an_abandoned_run_loses_what_was_sent(world):
    await world.open(rows=1)
    [sent] = (await world.claim()).rows
    await world.commit(world.sent(sent, Accepted("task-1")))
    for state in (RunState.RUNNING, RunState.CANCELLING, RunState.PAUSED):
        await world.ledger.set_state(world.run, state)
        assert await world.ledger.abandon_pending(world.run, 100, abandoned(world.clock())) == 0


@pytest.mark.parametrize("ending", [RunState.CANCELLING, RunState.ABANDONING])
async def test_what_a_person_ends_is_not_gone_on_with_by_a_pause_or_a_resume_that_came_at_the_same_time(world, ending):
    await world.open(rows=1)
    await world.ledger.set_state(world.run, ending)
    for state in (RunState.PAUSED, RunState.RUNNING, RunState.STOPPING):
        await world.ledger.set_state(world.run, state, "a person")
        assert (await world.look()).state is ending
    await world.ledger.set_state(world.run, RunState.PAUSED, "storage: the disk is full")
    assert (await world.look()).state is RunState.PAUSED


async def test_a_run_whose_rows_have_all_ended_is_not_kept_open_by_a_persons_pause(world):
    card = await world.open(rows=0)
    await world.ledger.feed(world.run, 0, card.total, [])
    await world.ledger.set_state(world.run, RunState.PAUSED, PERSON_PAUSED)
    assert (await world.look()).all_ended
