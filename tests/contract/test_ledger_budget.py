"""A cap on spending: one reservation for each row in flight, settled with what was really used; nothing can leak."""

from dataclasses import replace

import pytest

from pipeline.core.answers import (
    Accepted,
    Ambiguous,
    Completed,
    Completion,
    Failed,
    Problem,
    Refused,
    Running,
    Throttled,
)
from pipeline.core.budget import Budget, Reservation, Settled
from pipeline.core.costs import Price
from pipeline.core.late import LateId, used_late
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.polling import DEFAULT
from pipeline.core.records import Ending
from pipeline.core.recovery import SavedId, recovered
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.steps import abandoned
from pipeline.core.submitting import after_late_id
from pipeline.ports import Commit, FedRow

pytestmark = pytest.mark.anyio

BUSY = Problem("rate_limit", "slow down", "rate_limit_error", 429)


async def open_with(world, budget, reserved=Reservation(100, 1_000), rows=40, settled=Settled(), **policy):
    card = replace(world.card(total=rows, **policy), budget=budget)
    assert await world.ledger.open_run(card, recover_until=0, ended={}, done=Rows(), settled=settled)
    assert await world.ledger.feed(card.run_id, 0, rows, [FedRow(i, b"{}") for i in range(rows)])
    if reserved is not None:
        await world.ledger.set_reservation(world.run, reserved)
    return card


async def all_accepted(world, rows):
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows))
    world.clock.advance(600_000)


def done(tokens, cost):
    return Completed(Completion(prompt_tokens=tokens, completion_tokens=0, cost=cost))


async def complete(world, tokens, cost):
    rows = (await world.polls(limit=100)).rows
    await world.commit(*(world.polled(row, done(tokens, cost)) for row in rows))


async def test_no_more_rows_are_in_flight_than_the_cap_can_pay(world):
    await open_with(world, Budget(tokens=1_000))
    claim = await world.claim(limit=50)
    assert (len(claim.rows), claim.bound) == (10, "budget")
    assert (await world.claim(limit=50)).bound == "budget"


async def test_the_tighter_cap_counts(world):
    await open_with(world, Budget(cost=0.004, tokens=1_000))
    assert len((await world.claim(limit=50)).rows) == 4


async def test_real_usage_takes_the_place_of_a_reservation(world):
    await open_with(world, Budget(tokens=1_000))
    await all_accepted(world, (await world.claim(limit=50)).rows)
    await complete(world, tokens=20, cost=0.0)
    assert (await world.look()).spending.tokens == 200
    assert len((await world.claim(limit=50)).rows) == 8


async def test_what_rows_cost_beyond_their_reservation_is_told_once_the_cap_is_reached(world):
    await open_with(world, Budget(tokens=1_000, cost=10.0))
    rows = (await world.claim(limit=50)).rows
    assert (await world.claim(limit=50)).bound == (await world.look()).bound == "budget"
    await all_accepted(world, rows)
    await complete(world, tokens=130, cost=0.0015)
    spending = (await world.look()).spending
    assert (spending.over_tokens, spending.over_cost_micro, spending.tokens) == (300, 10 * 500, 1_300)
    assert not (await world.claim(limit=50)).rows


async def test_a_permit_after_the_cap_was_reached_begins_the_count_anew(world):
    await open_with(world, Budget(tokens=1_000))
    rows = (await world.claim(limit=50)).rows
    await world.claim(limit=50)
    await all_accepted(world, rows)
    await complete(world, tokens=10, cost=0.0)
    assert len((await world.claim(limit=50)).rows) == 9
    await world.claim(limit=50)
    told = await world.look()
    assert (told.bound, told.spending.over_tokens) == ("budget", 0)


async def test_nothing_goes_under_a_cap_before_a_reservation_is_known(world):
    await open_with(world, Budget(tokens=1_000), reserved=None)
    claim = await world.claim(limit=50)
    assert (claim.rows, claim.bound) == ((), "budget")


async def test_while_nothing_is_known_one_row_goes_alone_for_whatever_is_left(world):
    await open_with(world, Budget(tokens=30))
    assert len((await world.claim(limit=50)).rows) == 1
    assert not (await world.claim(limit=50)).rows


async def test_a_row_that_was_not_sent_gives_its_reservation_back(world):
    await open_with(world, Budget(tokens=1_000))
    rows = (await world.claim(limit=50)).rows
    await world.commit(world.sent(rows[0], Throttled(BUSY, 1.0)), world.sent(rows[1], Refused(BUSY)))
    world.clock.advance(1_000)
    assert len((await world.claim(limit=50)).rows) == 2


async def test_a_row_that_may_have_been_billed_keeps_its_reservation(world):
    await open_with(world, Budget(tokens=1_000))
    rows = (await world.claim(limit=50)).rows
    await world.commit(world.sent(rows[0], Ambiguous(BUSY)))
    spending = (await world.look()).spending
    assert (spending.kept_tokens, spending.kept_cost_micro, spending.in_flight) == (100, 1_000, 9)
    world.clock.advance(60_000)
    assert not (await world.claim(limit=50)).rows


async def test_an_abandoned_row_keeps_its_reservation(world):
    await open_with(world, Budget(tokens=1_000))
    await all_accepted(world, (await world.claim(limit=50)).rows)
    await world.ledger.set_state(world.run, RunState.ABANDONING)
    assert await world.ledger.abandon_pending(world.run, 4, abandoned(world.clock())) == 4
    assert (await world.look()).spending.kept_tokens == 400


async def test_a_row_whose_lost_answer_came_after_all_is_in_flight_again_and_nothing_is_kept(world):
    await open_with(world, Budget(tokens=1_000))
    [row] = (await world.claim(limit=1)).rows
    world.clock.advance(60_000)
    [lapsed] = (await world.lapsed()).rows
    await world.commit(world.lost(lapsed, BUSY))
    assert (await world.look()).spending.kept_tokens == 100
    taken = await world.ledger.take_ready(world.run, "late", row.row_index)
    accepted = world.sent(row, Accepted("task-0")).step.record
    step = after_late_id(taken.record, accepted, row.token)
    assert await world.commit(Commit(row.row_index, taken.token, step)) == [True]
    spending = (await world.look()).spending
    assert (spending.kept_tokens, spending.in_flight) == (0, 1)


async def test_a_higher_cap_goes_on_and_what_was_spent_still_counts(world):
    card = await open_with(world, Budget(tokens=1_000))
    rows = (await world.claim(limit=50)).rows
    await world.claim(limit=50)
    await all_accepted(world, rows)
    await complete(world, tokens=100, cost=0.0)
    assert not (await world.claim(limit=50)).rows
    await world.ledger.reopen(replace(card, budget=Budget(tokens=1_500)))
    assert len((await world.claim(limit=50)).rows) == 5
    await world.ledger.reopen(replace(card, budget=Budget()))
    assert len((await world.claim(limit=50)).rows) == 25


async def test_what_an_earlier_ledger_spent_counts(world):
    await open_with(world, Budget(tokens=1_000), settled=Settled(500, 200, 7))
    spending = (await world.look()).spending
    assert (spending.tokens, spending.cost_micro) == (700, 7)
    assert len((await world.claim(limit=50)).rows) == 3


async def test_an_expired_row_keeps_its_reservation_and_ends(world):
    await open_with(world, Budget(tokens=1_000), generation_deadline_s=1.0, longest_gap_s=10_000.0)
    await all_accepted(world, (await world.claim(limit=1)).rows)
    [row] = (await world.polls()).rows
    step = world.polled(row, Running("processing"), generation_deadline_s=1.0, longest_gap_s=10_000.0)
    assert (step.step.state, step.step.ending.outcome) == (State.DONE, Outcome.EXPIRED)
    await world.commit(step)
    assert (await world.look()).spending.kept_tokens == 100


async def sent_until_paid(world, answer, rounds=30, prices=None, **policy):
    """How many POSTs a run makes under its cap when every generation ends so."""
    sent = 0
    for _ in range(rounds):
        rows = (await world.claim(limit=10)).rows
        sent += len(rows)
        await world.commit(*(world.sent(row, Accepted(f"task-{sent}-{row.row_index}"), **policy) for row in rows))
        world.clock.advance(700_000)
        for row in (await world.polls(limit=100)).rows:
            step = after_query(
                answer,
                replace(row.record, model="m"),
                world.card(**policy).policy,
                DEFAULT,
                now_ms=world.clock(),
                troubles=0,
                chance=0.0,
                prices=prices or {},
            )
            await world.commit(Commit(row.row_index, row.token, step))
        world.clock.advance(700_000)
    return sent


async def test_answers_that_tell_no_usage_are_not_free(world):
    await open_with(world, Budget(tokens=500))
    assert await sent_until_paid(world, Completed(Completion(content="x"))) <= 5


async def test_an_api_that_tells_a_cost_of_nothing_does_not_switch_the_cap_off(world):
    await open_with(world, Budget(cost=0.005))
    told = Completed(Completion(prompt_tokens=900, completion_tokens=100, cost=0.0))
    assert await sent_until_paid(world, told, prices={"m": Price(1.0, 1.0)}) <= 5


async def test_generations_that_fail_may_be_billed_and_are_not_free(world):
    loose = {"guard_later": 10_000, "guard_first": 10_000}
    await open_with(world, Budget(tokens=500), **loose)
    assert await sent_until_paid(world, Failed(BUSY, retryable=True), **loose) <= 5


async def test_doubtful_rows_of_an_earlier_ledger_keep_a_reservation(world):
    card = replace(world.card(total=40), budget=Budget(tokens=1_000))
    ended = {Outcome.UNKNOWN: 2, Outcome.EXPIRED: 1, Outcome.COMPLETED: 9}
    assert await world.ledger.open_run(card, recover_until=0, ended=ended, done=Rows(), settled=Settled(kept=3))
    await world.ledger.set_reservation(world.run, Reservation(100, 1_000))
    assert (await world.look()).spending.kept_tokens == 300


async def test_a_late_answer_is_spent_and_its_reservation_is_free_again(world):
    await open_with(world, Budget(tokens=1_000), rows=2)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Ambiguous(BUSY)))
    assert (await world.look()).spending.kept_tokens == 100
    late = LateId(row.row_index, "task-late", 1, 1)
    await world.ledger.note_late(world.run, late)
    ended = replace(late, ending=Ending(Outcome.COMPLETED, 7, done(150, 0.002).completion))
    for _ in range(2):
        await world.ledger.settle_late(world.run, late, ended, 0, used_late(ended, {}))
    spending = (await world.look()).spending
    assert (spending.tokens, spending.cost_micro, spending.kept_tokens, spending.over_tokens) == (150, 2_000, 0, 50)


async def test_a_late_answer_that_tells_no_usage_keeps_its_reservation(world):
    await open_with(world, Budget(tokens=1_000), rows=2)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Ambiguous(BUSY)))
    late = LateId(row.row_index, "task-late", 1, 1)
    await world.ledger.note_late(world.run, late)
    for ending in (Ending(Outcome.FAILED, 7, problem=BUSY), Ending(Outcome.COMPLETED, 7, Completion())):
        ended = replace(late, ending=ending)
        await world.ledger.settle_late(world.run, late, ended, 0, used_late(ended, {}))
    assert (await world.look()).spending.kept_tokens == 100


async def test_what_was_spent_before_a_lower_cap_was_given_is_told_as_beyond_it(world):
    card = await open_with(world, Budget(tokens=5_000))
    rows = (await world.claim(limit=30)).rows
    await all_accepted(world, rows)
    await world.commit(*(world.polled(row, done(90, 0.0)) for row in (await world.polls(limit=20)).rows))
    await world.ledger.reopen(replace(card, budget=Budget(tokens=500)))
    await complete(world, tokens=90, cost=0.0)
    spending = (await world.look()).spending
    assert spending.tokens - 500 <= spending.over_tokens
    assert (spending.tokens, spending.over_tokens) == (30 * 90, 20 * 90 - 500 + 10 * 90)


async def test_rows_that_are_in_flight_when_a_cap_is_given_share_what_it_has_left(world):
    card = await open_with(world, Budget())
    await all_accepted(world, (await world.claim(limit=20)).rows)
    await world.ledger.reopen(replace(card, budget=Budget(tokens=1_000)))
    await complete(world, tokens=90, cost=0.0)
    spending = (await world.look()).spending
    assert (spending.tokens, spending.over_tokens) == (1_800, 20 * (90 - 50))


async def test_a_cap_that_is_changed_while_the_run_goes_on_holds_from_the_next_claim_on(world):
    await open_with(world, Budget(tokens=2_000))
    assert len((await world.claim(limit=12)).rows) == 12
    assert await world.ledger.set_budget(world.run, Budget(tokens=1_500))
    assert len((await world.claim(limit=50)).rows) == 3
    assert (await world.look()).budget == Budget(tokens=1_500)
    assert await world.ledger.set_budget(world.run, Budget())
    assert len((await world.claim(limit=50)).rows) == 25
    assert not await world.ledger.set_budget("unknown", Budget())


async def test_rows_that_may_have_been_sent_by_a_lost_ledger_keep_a_reservation_each(world):
    card = replace(world.card(total=3), budget=Budget(tokens=1_000))
    await world.ledger.open_run(card, recover_until=3, ended={}, done=Rows())
    await world.ledger.set_reservation(world.run, Reservation(100, 1_000))
    again = recovered((), card.policy, world.clock())
    known = recovered([SavedId(1, 5, "task-1")], card.policy, world.clock())
    twice = recovered([SavedId(2, 5, "task-2")], card.policy, world.clock())
    await world.ledger.feed(world.run, 0, 3, [FedRow(i, b"{}", one) for i, one in enumerate((again, known, twice))])
    assert (await world.look()).spending.kept_tokens == 200


async def test_generations_of_a_lost_ledger_count_as_beyond_the_cap_whatever_they_use(world):
    card = replace(world.card(total=9), budget=Budget(tokens=1_000))
    await world.ledger.open_run(card, recover_until=9, ended={}, done=Rows(), settled=Settled(900, 0, 0))
    await world.ledger.set_reservation(world.run, Reservation(100, 1_000))
    known = [recovered([SavedId(1, 5, f"task-{i}")], card.policy, world.clock()) for i in range(9)]
    await world.ledger.feed(world.run, 0, 9, [FedRow(i, b"{}", one) for i, one in enumerate(known)])
    await complete(world, tokens=100, cost=0.0)
    spending = (await world.look()).spending
    assert (spending.tokens, spending.over_tokens) == (1_800, 900)
