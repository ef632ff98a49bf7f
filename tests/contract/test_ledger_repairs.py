"""A row whose answer is asked for again: what it used counts at once, it goes first, and its answer is never lost."""

from dataclasses import replace

import pytest

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import Accepted, Completed, Completion, Failed, Problem, Refused
from pipeline.core.budget import Budget, Reservation
from pipeline.core.lifecycle import Outcome
from pipeline.core.polling import DEFAULT
from pipeline.core.records import unpack_result
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.steps import abandoned, cancelled
from pipeline.ports import Commit, FedRow

pytestmark = pytest.mark.anyio

WRONG = Problem("some_code", "some words", None, 422)
BAD = Completion(content='bad "f":{', prompt_tokens=30, completion_tokens=20, cost=0.002)
GOOD = Completion(content="good", prompt_tokens=40, completion_tokens=10, cost=0.003)


def judge(completion):
    return Verdict(AnswerStatus.OK if completion.content == "good" else AnswerStatus.INVALID)


async def opened(world, budget=Budget(), rows=3, fed=3):
    card = replace(world.card(total=rows, repairs=1), budget=budget)
    assert await world.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    assert await world.ledger.feed(card.run_id, 0, fed, [FedRow(i, b"{}") for i in range(fed)])
    await world.ledger.set_reservation(world.run, Reservation(45, 1_000))
    return card


def polled(world, row, answer):
    policy = world.card(repairs=1).policy
    common = {"now_ms": world.clock(), "troubles": 0, "chance": 0.0}
    return Commit(row.row_index, row.token, after_query(answer, row.record, policy, DEFAULT, **common, judge=judge))


async def accepted(world, limit=10):
    """Send what is ready, and wait until it can be polled."""
    rows = (await world.claim(limit=limit)).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}-{row.record.attempts}")) for row in rows))
    world.clock.advance(60_000)
    return rows


async def answered(world, answer, limit=10):
    rows = (await world.polls(limit=limit)).rows
    assert all(await world.commit(*(polled(world, row, Completed(answer)) for row in rows)))


async def ends(world):
    batch = await world.ledger.results(world.run, 100)
    return {result.row_index: result for result in map(unpack_result, batch.items)}


async def test_an_answer_that_is_asked_for_again_is_settled_once(world):
    await opened(world)
    await accepted(world)
    await answered(world, BAD, limit=1)
    run = await world.look()
    assert (run.ready, run.pending, run.ended) == (1, 2, 0)
    assert (run.prompt_tokens, run.completion_tokens, round(run.cost, 6)) == (30, 20, 0.002)
    await accepted(world)
    await answered(world, GOOD)
    run = await world.look()
    assert (run.prompt_tokens, run.completion_tokens, round(run.cost, 6)) == (30 + 3 * 40, 20 + 3 * 10, 0.011)
    assert (run.outcomes[Outcome.COMPLETED], run.double_ends) == (3, 0)


async def test_what_it_cost_beyond_its_reservation_counts_into_the_overshoot(world):
    await opened(world, Budget(tokens=10_000, cost=10.0))
    await accepted(world)
    await answered(world, BAD)
    spending = (await world.look()).spending
    assert (spending.over_tokens, spending.over_cost_micro) == (3 * 5, 3 * 1_000)
    assert (spending.tokens, spending.in_flight) == (150, 0)


async def test_an_answer_without_usage_keeps_its_reservation(world):
    await opened(world, Budget(tokens=10_000))
    await accepted(world)
    await answered(world, Completion(content="bad"), limit=1)
    assert (await world.look()).spending.kept_tokens == 45


async def test_it_takes_a_permit_like_every_post_and_the_cap_holds(world):
    await opened(world, Budget(tokens=100))
    await accepted(world)
    await answered(world, BAD, limit=1)
    claim = await world.claim()
    assert (claim.rows, claim.bound) == ((), "budget")


async def test_it_goes_before_rows_that_were_never_sent(world):
    await opened(world)
    await accepted(world, limit=1)
    await answered(world, BAD)
    [row] = (await world.claim(limit=1)).rows
    assert (row.row_index, row.record.unfit.completion, row.body) == (0, BAD, b"{}")


async def test_a_stale_token_settles_nothing(world):
    await opened(world)
    await accepted(world)
    rows = (await world.polls()).rows
    steps = [polled(world, row, Completed(BAD)) for row in rows]
    assert await world.commit(*steps) == [True] * 3
    assert await world.commit(*steps) == [False] * 3
    assert (await world.look()).prompt_tokens == 90


async def test_a_repair_that_fails_leaves_a_completed_row(world):
    await opened(world, rows=2, fed=2)
    await accepted(world)
    await answered(world, BAD)
    refused, failed = (await world.claim()).rows
    await world.commit(world.sent(refused, Refused(WRONG)), world.sent(failed, Accepted("task-again")))
    world.clock.advance(60_000)
    [row] = (await world.polls()).rows
    await world.commit(polled(world, row, Failed(WRONG, retryable=False)))
    run = await world.look()
    assert (run.outcomes[Outcome.COMPLETED], run.prompt_tokens, run.ended) == (2, 60, 2)
    found = await ends(world)
    assert {result.ending.completion.content for result in found.values()} == {BAD.content}
    assert {result.record.generation_id for result in found.values()} == {"task-0-0", "task-1-0"}


async def test_a_run_that_a_person_ends_counts_rows_with_an_answer_as_completed(world):
    await opened(world)
    await accepted(world)
    await answered(world, BAD, limit=2)
    await accepted(world, limit=1)
    await world.ledger.set_state(world.run, RunState.CANCELLING)
    assert await world.ledger.cancel_ready(world.run, 10, cancelled(world.clock())) == 1
    await world.ledger.set_state(world.run, RunState.ABANDONING)
    assert await world.ledger.abandon_pending(world.run, 10, abandoned(world.clock())) == 2
    run = await world.look()
    assert (run.outcomes[Outcome.COMPLETED], run.outcomes[Outcome.CANCELLED], run.ended) == (2, 1, 3)
    assert sum(result.record.unfit is not None for result in (await ends(world)).values()) == 2
