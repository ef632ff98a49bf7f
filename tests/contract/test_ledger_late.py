"""An id that comes late, as the submit flow brings it: adopted where the row waits, kept where the row went on."""

from dataclasses import replace

import orjson
import pytest

from pipeline.core.answers import Accepted, Completed, Completion, Failed, Missing, Problem, Throttled
from pipeline.core.late import LateId, is_late, read_late
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.records import Attempt, Ending, RowRecord, unpack_result
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.steps import abandoned
from pipeline.core.submitting import after_lost_post
from pipeline.flows.shift import Bench
from pipeline.flows.submit import adopt
from pipeline.ports import Commit, FedRow

pytestmark = pytest.mark.anyio

LOST = Problem("worker_lost", "nobody answered")
LEASE_MS = 10_000


async def comes_late(world, row, generation_id="task-late"):
    """What becomes of a worker's id whose commit was stale."""
    late = world.sent(row, Accepted(generation_id))
    assert await world.commit(late) == [False]
    bench = Bench(world.run, "submit", "worker-1", 8, 5.0, 10.0, lambda: False)
    await adopt(bench, world.ledger, late, {})


async def given_up(world):
    """The only row, which was sent, lost, and waits to be sent again; its lost claim."""
    await world.open(rows=1)
    [sent] = (await world.claim()).rows
    world.clock.advance(LEASE_MS)
    await world.commit(*(world.lost(row, LOST) for row in (await world.lapsed()).rows))
    return sent


async def saved_ids(world):
    batch = await world.ledger.accepted_ids(world.run, 100)
    lines = [orjson.loads(line) for line in batch.items]
    return [line["late"] if isinstance(line, dict) else line for line in lines]


async def saved_ends(world):
    batch = await world.ledger.accepted_ids(world.run, 100)
    return [read_late(line).ending for line in batch.items if is_late(line)]


async def resent(world):
    world.clock.advance(LEASE_MS)
    [row] = (await world.claim(holder="worker-2")).rows
    return row


async def test_a_row_that_waits_to_be_sent_again_is_polled_for_the_late_id_instead(world):
    await comes_late(world, await given_up(world))
    assert [line[:2] for line in await saved_ids(world)] == [[0, "task-late"]]
    [row] = (await world.polls()).rows
    assert (row.record.generation_id, row.record.attempts, row.record.log) == ("task-late", 1, ())
    await world.commit(world.polled(row, Completed(Completion(content="a dog"))))
    [result] = map(unpack_result, (await world.ledger.results(world.run, 9)).items)
    assert (result.ending.outcome, result.record.possible_duplicate) == (Outcome.COMPLETED, False)


async def test_a_row_that_was_claimed_again_and_not_created_still_takes_the_late_id(world):
    sent = await given_up(world)
    await world.commit(world.sent(await resent(world), Throttled(LOST, 5.0)))
    await comes_late(world, sent)
    run = await world.look()
    assert (run.pending, run.ready, run.submitting) == (1, 0, 0)


async def test_a_ledger_that_was_rolled_back_takes_the_id_of_an_attempt_that_it_forgot(world):
    await world.open(rows=1)
    [forgotten] = (await world.claim()).rows
    await world.ledger.forget(world.run)
    await world.open(rows=1)
    await comes_late(world, forgotten)
    [row] = (await world.polls()).rows
    assert (row.record.generation_id, row.record.attempts) == ("task-late", 1)
    assert (await world.look()).accepted == 1


async def test_a_row_that_is_just_being_sent_again_keeps_the_late_id_on_disk_only(world):
    sent = await given_up(world)
    again = await resent(world)
    await comes_late(world, sent)
    assert await saved_ids(world) == [[0, "task-late", world.clock() * 1000, 1, 0]]
    assert await world.commit(world.sent(again, Accepted("task-again"))) == [True]
    run = await world.look()
    assert (run.pending, run.accepted) == (1, 1)


async def test_a_row_that_went_on_to_another_attempt_is_put_back_as_it_was(world):
    sent = await given_up(world)
    await world.commit(world.sent(await resent(world), Accepted("task-again")))
    world.clock.advance(5_000)
    [due] = (await world.polls()).rows
    await world.commit(world.polled(due, Failed(Problem("timeout", "too slow"), retryable=True)))
    await comes_late(world, sent)
    assert [line[1] for line in await saved_ids(world)] == ["task-again", "task-late"]
    world.clock.advance(LEASE_MS)
    [row] = (await world.claim()).rows
    assert [attempt.generation_id for attempt in row.record.log] == [None, "task-again"]
    assert (row.record.attempts, row.record.generation_id, row.record.possible_duplicate) == (2, None, True)


async def test_a_row_that_has_its_end_keeps_the_late_id_on_disk_only(world):
    sent = await given_up(world)
    await world.commit(world.sent(await resent(world), Accepted("task-again")))
    world.clock.advance(5_000)
    [due] = (await world.polls()).rows
    await world.commit(world.polled(due, Completed(Completion())))
    await comes_late(world, sent)
    assert [line[1] for line in await saved_ids(world)] == ["task-again", "task-late"]
    assert (await world.look()).double_ends == 0


async def test_a_row_of_another_ledger_that_may_have_been_paid_for_takes_the_id_and_stays_flagged(world):
    """Which attempt the disk speaks of is not known there: what was paid for is taken, and another may have been."""
    await world.open(rows=1)
    [sent] = (await world.claim()).rows
    await world.ledger.forget(world.run)
    await recovering(world)
    await comes_late(world, sent)
    assert [line[1] for line in await saved_ids(world)] == ["task-late"]
    [row] = (await world.polls()).rows
    assert (row.record.generation_id, row.record.attempts, row.record.possible_duplicate) == ("task-late", 1, True)


async def recovering(world):
    """A ledger made anew, whose only row may have been sent by the one before."""
    await world.ledger.open_run(world.card(), recover_until=1, ended={}, done=Rows())
    record = RowRecord(
        attempts=1, resubmits=1, possible_duplicate=True, recovered=True, log=(Attempt(None, 1, Outcome.UNKNOWN),)
    )
    await world.ledger.feed(world.run, 0, 1, [FedRow(0, b"{}", record)])


async def test_such_a_row_is_not_sent_before_a_living_workers_answer_had_time_to_come(world):
    await recovering(world)
    assert (await world.claim()).rows == ()
    world.clock.advance(LEASE_MS)
    assert len((await world.claim()).rows) == 1


async def test_a_row_that_is_not_to_be_sent_again_is_taken_up_as_a_dead_workers(world):
    await world.ledger.open_run(world.card(on_unknown="hold"), recover_until=1, ended={}, done=Rows())
    await world.ledger.feed(world.run, 0, 1, [FedRow(0, b"{}", None, lost=True)])
    [row] = (await world.lapsed()).rows
    assert (row.claimed_at_ms, row.before) == (0, "")
    policy = world.card(on_unknown="hold").policy
    step = after_lost_post(row.record, policy, LOST, now_ms=world.clock(), sent_at_ms=world.clock(), token=None)
    assert await world.commit(Commit(row.row_index, row.token, step)) == [True]
    [result] = map(unpack_result, (await world.ledger.results(world.run, 9)).items)
    assert result.ending.outcome is Outcome.UNKNOWN


# What becomes of late ids


LATE = LateId(0, "task-late", 1, 1)


async def test_a_late_id_is_asked_for_until_it_ends_and_its_end_is_kept_for_the_disk(world):
    await world.open(rows=1)
    await world.ledger.note_late(world.run, LATE)
    assert ((await world.look()).late, (await world.look()).late_due) == (1, 1)
    assert (await world.ledger.claim_late(world.run, 9)).ids == (LATE,)
    assert (await world.ledger.claim_late(world.run, 9)).ids == ()
    asked = replace(LATE, asked_since_ms=world.clock(), missed=1)
    await world.ledger.settle_late(world.run, LATE, asked, 5_000)
    world.clock.advance(5_000)
    claim = await world.ledger.claim_late(world.run, 9)
    assert (claim.ids, claim.now_ms) == ((asked,), world.clock())
    ending = Ending(Outcome.COMPLETED, 7, Completion(content="a dog", prompt_tokens=3))
    await world.ledger.settle_late(world.run, asked, replace(LATE, ending=ending), 0)
    await world.ledger.settle_late(world.run, asked, replace(LATE, ending=ending), 0)
    assert await saved_ends(world) == [None, ending]
    assert (await world.look()).late == 0


async def test_late_ids_of_a_worker_that_died_are_asked_for_by_another(world):
    await world.open(rows=1)
    await world.ledger.note_late(world.run, LATE)
    await world.ledger.claim_late(world.run, 9)
    world.clock.advance(30_000)
    assert (await world.ledger.claim_late(world.run, 9)).ids == (LATE,)


async def test_the_id_that_the_row_went_on_with_is_not_a_late_one_though_it_comes_twice(world):
    await world.open(rows=1)
    [sent] = (await world.claim()).rows
    await world.commit(world.sent(sent, Accepted("task-own")))
    await comes_late(world, sent, "task-own")
    run = await world.look()
    assert (run.late, run.pending) == (0, 1)
    assert [line[1] for line in await saved_ids(world)] == ["task-own"]


async def test_a_run_is_not_over_while_a_late_id_is_asked_for(world):
    card = await world.open(rows=0)
    await world.ledger.feed(world.run, 0, card.total, [])
    assert (await world.look()).all_ended
    await world.ledger.note_late(world.run, LATE)
    batch = await world.ledger.accepted_ids(world.run, 9)
    await world.ledger.accepted_saved(world.run, batch)
    assert not (await world.look()).all_ended
    await world.ledger.set_state(world.run, RunState.ABANDONING)
    await world.ledger.abandon_pending(world.run, 9, abandoned(world.clock()))
    assert (await world.look()).all_ended


async def test_a_late_id_of_a_run_that_is_finished_is_not_the_ledgers_to_keep(world):
    await world.open(rows=1)
    await world.ledger.set_state(world.run, RunState.FINISHED)
    assert not await world.ledger.note_late(world.run, LATE)
    assert not await world.ledger.note_late("run-of-nobody", LATE)


async def test_polls_that_find_nothing_hold_polling_whatever_the_run_does(world):
    for state in (RunState.PAUSED, RunState.STOPPING, RunState.CANCELLING):
        run_id = f"run-{state}"
        await world.open(rows=3, run_id=run_id, guard_missing=3)
        await world.commit(
            *(world.sent(row, Accepted(f"task-{row.row_index}")) for row in (await world.claim(run_id=run_id)).rows),
            run_id=run_id,
        )
        await world.ledger.set_state(run_id, state)
        world.clock.advance(60_000)
        rows = (await world.polls(run_id=run_id)).rows
        await world.commit(*(world.polled(row, Missing(LOST)) for row in rows), run_id=run_id)
        run = await world.look(run_id)
        assert (run.polls_held, run.state, run.collects) == (True, state, False)


async def test_reopening_does_not_undo_what_a_person_ended_at_that_very_moment(world):
    card = await world.open(rows=1)
    for state in (RunState.CANCELLING, RunState.ABANDONING):
        await world.ledger.set_state(world.run, state)
        await world.ledger.reopen(card)
        assert (await world.look()).state is state


async def test_a_state_is_changed_only_from_the_one_that_was_seen(world):
    await world.open(rows=1)
    await world.ledger.set_state(world.run, RunState.STOPPING)
    assert not await world.ledger.set_state(world.run, RunState.PAUSED, "a person", only_from=RunState.RUNNING)
    assert (await world.look()).state is RunState.STOPPING
    assert await world.ledger.set_state(world.run, RunState.PAUSED, "a person", only_from=RunState.STOPPING)


async def test_late_ids_are_asked_for_no_faster_than_the_accounts_polls_are_allowed(world):
    await world.open(rows=1)
    for number in range(60):
        await world.ledger.note_late(world.run, replace(LATE, generation_id=f"task-{number}"))
    await world.ledger.set_pace("api#key", b"", Pace(poll_rate=1.0))
    got = 0
    for _ in range(100):
        got += len((await world.ledger.claim_late(world.run, 64)).ids)
        world.clock.advance(100)
    assert 10 <= got <= 12


@pytest.mark.parametrize(("rate", "limit", "within_ms"), [(100.0, 64, 800), (100.0, 4, 800), (None, 16, 200)])
async def test_whoever_takes_late_ids_is_told_when_to_come_for_the_rest(world, rate, limit, within_ms):
    await world.open(rows=1)
    for number in range(60):
        await world.ledger.note_late(world.run, replace(LATE, generation_id=f"task-{number}"))
    await world.ledger.set_pace("api#key", b"", Pace(poll_rate=rate))
    got, began = 0, world.clock()
    while (claim := await world.ledger.claim_late(world.run, limit)).wait_ms:
        got += len(claim.ids)
        assert len(claim.ids) <= limit
        world.clock.advance(max(40, claim.wait_ms))
    assert got + len(claim.ids) == 60
    assert within_ms / 4 <= world.clock() - began <= within_ms


async def test_one_permit_at_a_time_is_waited_for_exactly(world):
    await world.open(rows=1)
    for number in range(3):
        await world.ledger.note_late(world.run, replace(LATE, generation_id=f"task-{number}"))
    await world.ledger.set_pace("api#key", b"", Pace(poll_rate=0.5))
    got = []
    for _ in range(5):
        claim = await world.ledger.claim_late(world.run, 64)
        got.append((len(claim.ids), claim.wait_ms))
        world.clock.advance(1_000)
    assert got == [(1, 2_000), (0, 1_000), (1, 2_000), (0, 1_000), (1, 0)]


async def test_a_throttled_poll_of_a_late_id_holds_everybodys_polls_back(world):
    await world.open(rows=1)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Accepted("task-1")))
    world.clock.advance(60_000)
    await world.ledger.note_late(world.run, LATE)
    await world.ledger.claim_late(world.run, 9)
    for _ in range(2):
        await world.ledger.settle_late(world.run, LATE, LATE, 30_000, throttled=True)
    claim = await world.polls()
    assert (claim.rows, claim.bound, claim.wait_ms) == ((), "back-off", 30_000)
    seen = await world.ledger.account_seen("api#key")
    assert (seen.polls.events, seen.polls.event_wait_ms) == (1, 30_000)
    world.clock.advance(29_000)
    assert (await world.ledger.claim_late(world.run, 9)).ids == ()
    world.clock.advance(1_000)
    assert (await world.ledger.claim_late(world.run, 9)).ids == (LATE,)
