"""Runs of one account that want more than it allows: none waits for what another had before it came."""

from collections import deque
from dataclasses import replace

import pytest

from pipeline.core.answers import Accepted, Missing, Problem, Refused, Throttled
from pipeline.core.pacing import Pace
from pipeline.core.rows import Rows
from pipeline.ports import FedRow

pytestmark = pytest.mark.anyio

OTHER = "run-20260101-two"
ACCOUNT = "api#key"
BUSY = Problem("rate_limit", "slow down", "rate_limit_error", 429)


async def both_open(world):
    for run_id in (world.run, OTHER):
        await world.open(rows=4_000, run_id=run_id, first_rows=10_000)


async def ask_in_turn(world, steps, step_ms, order):
    given = dict.fromkeys(order, 0)
    for _ in range(steps):
        for run_id in order:
            given[run_id] += len((await world.claim(limit=20, run_id=run_id)).rows)
        world.clock.advance(step_ms)
    return given


async def test_the_elder_run_is_not_starved_by_a_younger_one_when_a_limit_is_found(world):
    await both_open(world)
    for _ in range(150):
        await world.claim(limit=20)
        world.clock.advance(10)
    await world.claim(limit=20, run_id=OTHER)
    await world.ledger.set_pace(ACCOUNT, b"", Pace(rate=10.0))
    given = await ask_in_turn(world, 300, 100, (OTHER, world.run))
    assert abs(given[OTHER] - given[world.run]) <= 30
    assert sum(given.values()) >= 290


async def test_a_run_that_died_while_it_waited_holds_nobody_for_long(world):
    await both_open(world)
    await world.ledger.set_pace(ACCOUNT, b"", Pace(rate=10.0))
    await ask_in_turn(world, 50, 20, (OTHER, world.run))
    given = await ask_in_turn(world, 500, 20, (world.run,))
    assert given[world.run] >= 85


async def test_a_refusal_of_a_row_that_was_claimed_before_the_last_one_is_the_same_event(world):
    await world.open(rows=9)
    slow, quick = (await world.claim(limit=2)).rows
    world.clock.advance(100)
    await world.commit(world.sent(quick, Throttled(BUSY, 1.0)))
    world.clock.advance(1_500)
    await world.commit(world.sent(slow, Throttled(BUSY, 1.0)))
    seen = await world.ledger.account_seen(ACCOUNT)
    assert seen.posts.events == 1
    assert (await world.claim()).bound == "back-off"  # a Retry-After is kept all the same


async def test_a_refusal_of_a_row_that_nobody_had_claimed_is_an_event_like_any_other(world):
    card = world.card(total=1, on_unknown="hold")
    assert await world.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    assert await world.ledger.feed(world.run, 0, 1, [FedRow(0, b"{}", lost=True)])
    [taken] = (await world.lapsed()).rows
    assert await world.commit(world.sent(taken, Throttled(BUSY, 1.0))) == [True]
    assert (await world.ledger.account_seen(ACCOUNT)).posts.events == 1


async def open_with(world, run_id, priority):
    card = replace(world.card(run_id, total=4_000, first_rows=10_000, guard_first=10**6), priority=priority)
    await world.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    await world.ledger.feed(run_id, 0, 4_000, [FedRow(i, b"{}") for i in range(4_000)])


class Waiting:
    """One shift of each run, that comes again when it was told to, and no sooner."""

    def __init__(self, world, *run_ids):
        self.world, self.due = world, dict.fromkeys(run_ids, 0)
        self.given = dict.fromkeys(run_ids, 0)

    async def passes(self, ms, step_ms=5):
        for now in range(0, ms, step_ms):
            for run_id in [run_id for run_id, due in self.due.items() if due <= now]:
                claim = await self.world.claim(limit=20, run_id=run_id)
                self.given[run_id] += len(claim.rows)
                self.due[run_id] = now + claim.wait_ms
            self.world.clock.advance(step_ms)
        self.due = dict.fromkeys(self.due, 0)
        return self.given


@pytest.mark.parametrize("rate", [pytest.param(1.0, marks=pytest.mark.slow), 5.0, 50.0])
async def test_one_shift_of_each_run_is_enough_to_share_a_rate_by_priority(world, rate):
    for run_id, priority in ((world.run, 30), (OTHER, 10)):
        await open_with(world, run_id, priority)
    await world.ledger.set_pace(ACCOUNT, b"", Pace(rate=rate))
    given = await Waiting(world, world.run, OTHER).passes(round(200_000 / rate))
    assert sum(given.values()) >= 0.95 * 200
    assert given[world.run] / sum(given.values()) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("first", [0, 1])
async def test_a_limit_in_flight_is_shared_by_priority_whatever_rate_was_found(world, first):
    for run_id, priority in ((world.run, 30), (OTHER, 10)):
        await open_with(world, run_id, priority)
    await world.ledger.set_pace(ACCOUNT, b"", Pace(rate=5_000.0, most=16))
    order, flying, taken = [world.run, OTHER][:: 1 if first == 0 else -1], deque(), {world.run: 0, OTHER: 0}
    for _ in range(150):
        for run_id in order:
            rows = (await world.claim(limit=20, run_id=run_id)).rows
            taken[run_id] += len(rows)
            flying += [(run_id, row) for row in rows]
        world.clock.advance(50)
        for run_id, row in [flying.popleft() for _ in range(min(4, len(flying)))]:
            await world.commit(world.sent(row, Refused(BUSY), guard_first=10**6), run_id=run_id)
    assert sum(taken.values()) >= 150 * 4, "no place stays free"
    assert taken[world.run] / sum(taken.values()) == pytest.approx(0.75, abs=0.05)


async def test_generations_that_the_api_no_longer_finds_take_no_other_runs_place(world):
    await world.open(rows=20, guard_missing=2)
    await world.open(rows=20, run_id=OTHER)
    await world.ledger.set_pace(ACCOUNT, b"", Pace(most=10))
    rows = (await world.claim(limit=10)).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows))
    assert (await world.claim(limit=5, run_id=OTHER)).bound == "in flight"
    world.clock.advance(60_000)
    gone = [world.polled(row, Missing(BUSY)) for row in (await world.polls(limit=2)).rows]
    await world.commit(*gone)
    assert (await world.look()).polls_held
    assert (await world.ledger.account_seen(ACCOUNT)).in_flight == 0
    assert len((await world.claim(limit=20, run_id=OTHER)).rows) == 10
