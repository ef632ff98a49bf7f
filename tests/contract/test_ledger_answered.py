"""Rows whose POST brought their end: both ledgers count them as accepted, settle them, and save no id."""

import pytest

from pipeline.core.answers import Accepted, Ambiguous, Answered, Completion, Failed, Problem, Throttled
from pipeline.core.budget import Reservation
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.records import unpack_result
from pipeline.core.submitting import after_late_answer
from pipeline.ports import Commit

pytestmark = pytest.mark.anyio

ANSWER = Completion(content="good", prompt_tokens=40, completion_tokens=10, cost=0.003)
WRONG = Problem("generation_failed", "no")
BUSY = Problem("rate_limit_error", "slow down", None, 429)
LOST = Problem("no_answer", "reset")


async def claimed(world, rows=3, **policy):
    await world.open(rows=rows, **policy)
    return (await world.claim()).rows


async def test_a_row_that_was_answered_is_over_and_settled(world):
    rows = await claimed(world)
    assert await world.commit(*(world.sent(row, Answered(ANSWER, "a")) for row in rows)) == [True] * 3
    run = await world.look()
    assert (run.outcomes[Outcome.COMPLETED], run.submitting, run.pending, run.ended) == (3, 0, 0, 3)
    assert (run.accepted, run.account_answered, run.accepted_unsaved) == (3, 3, 0)
    assert (run.prompt_tokens, run.completion_tokens, round(run.cost, 6)) == (120, 30, 0.009)
    ends = [unpack_result(item) for item in (await world.ledger.results(world.run, 10)).items]
    assert {(end.record.generation_id, end.ending.completion.content) for end in ends} == {("a#0.1", "good")}


async def test_a_stale_answer_changes_nothing(world):
    [row, *_] = await claimed(world)
    step = world.sent(row, Answered(ANSWER))
    assert await world.commit(step) == [True]
    assert await world.commit(step) == [False]
    run = await world.look()
    assert (run.accepted, run.ended, run.prompt_tokens, run.double_ends) == (1, 1, 40, 0)


async def test_a_generation_that_failed_on_its_post_goes_again_and_keeps_its_reservation(world):
    [row, *_] = await claimed(world)
    await world.ledger.set_reservation(world.run, Reservation(45, 1_000))
    await world.commit(world.sent(row, Failed(WRONG, retryable=True)))
    run = await world.look()
    assert (run.ready, run.accepted, run.spending.kept_tokens) == (1, 1, 45)


async def test_like_failures_on_posts_pause_the_run(world):
    rows = await claimed(world, guard_first=3)
    await world.commit(*(world.sent(row, Failed(WRONG, retryable=False)) for row in rows))
    run = await world.look()
    assert (run.state, run.reason) == ("paused", "3 rows in a row ended as failed generation_failed")


async def test_an_answer_ends_the_doubt_and_the_back_off_like_an_acceptance(world):
    [first, second, third] = await claimed(world)
    await world.commit(world.sent(first, Ambiguous(LOST)))
    assert (await world.look()).doubt_since_ms
    await world.commit(world.sent(second, Answered(ANSWER)))
    run = await world.look()
    assert (run.doubt_since_ms, run.trouble) == (0, "")
    await world.commit(world.sent(third, Accepted("task-1")))
    assert (await world.look()).account_answered == 2


async def test_a_post_that_is_held_open_is_in_flight_for_whoever_looks_for_a_limit(world):
    card = await world.open(rows=100, mode="sync")
    await world.ledger.set_pace(card.account, b"", Pace(cap=2, tests=True))
    assert len((await world.claim(limit=50)).rows) == 2
    world.clock.advance(1_000)
    [tester] = (await world.claim(limit=50)).rows
    await world.commit(world.sent(tester, Answered(ANSWER), mode="sync"))
    seen = await world.ledger.account_seen(card.account)
    assert (seen.tests, seen.tested, seen.tested_in_flight, seen.in_flight) == (1, "accepted", 3, 2)
    world.clock.advance(1_000)
    [another] = (await world.claim(limit=50)).rows
    await world.commit(world.sent(another, Throttled(BUSY), mode="sync"))
    seen = await world.ledger.account_seen(card.account)
    assert (seen.tested, seen.event_in_flight) == ("refused", 3)


async def given_up(world, answer):
    """A worker that was silent for a lease comes with the answer on its POST, while its row waits to be resent."""
    await world.open(rows=2, mode="sync")
    await world.ledger.set_reservation(world.run, Reservation(45, 1_000))
    [row, _] = (await world.claim()).rows
    step = world.sent(row, Answered(answer, "a"), mode="sync")
    world.clock.advance(10_001)
    taken = next(one for one in (await world.lapsed()).rows if one.row_index == row.row_index)
    await world.commit(world.lost(taken, LOST))
    assert await world.commit(step) == [False]
    ready = await world.ledger.take_ready(world.run, "worker-1", row.row_index)
    return row, step, ready


async def test_a_late_answer_ends_a_row_that_waits_to_be_resent(world):
    row, late, ready = await given_up(world, ANSWER)
    assert (await world.look()).spending.kept_tokens == 45
    step = after_late_answer(ready.record, late.step, row.token)
    assert await world.commit(Commit(row.row_index, ready.token, step)) == [True]
    run = await world.look()
    assert (run.outcomes[Outcome.COMPLETED], run.accepted, run.prompt_tokens, run.possible_duplicates) == (1, 1, 40, 0)
    assert (run.spending.kept_tokens, run.submitting) == (0, 1)  # the other one is still under its lapsed lease
    [end] = [unpack_result(item) for item in (await world.ledger.results(world.run, 10)).items]
    assert (end.record.attempts, end.record.log, end.record.generation_id) == (1, (), "a#0.1")


async def test_a_late_answer_that_tells_no_usage_keeps_its_reservation(world):
    row, late, ready = await given_up(world, Completion(content="good"))
    await world.commit(Commit(row.row_index, ready.token, after_late_answer(ready.record, late.step, row.token)))
    assert (await world.look()).spending.kept_tokens == 45


async def test_a_late_answer_of_another_claim_ends_nothing(world):
    _, late, ready = await given_up(world, ANSWER)
    assert after_late_answer(ready.record, late.step, "another") is None
