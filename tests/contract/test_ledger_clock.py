"""The server's clock is put back: nothing stands still until it has caught up, and the living keep their rows."""

import pytest

from pipeline.core.answers import Accepted, Problem, Throttled
from pipeline.core.late import LateId
from pipeline.core.pacing import Pace

pytestmark = pytest.mark.anyio

ACCOUNT = "api#key"
BUSY = Problem("rate_limit", "slow down", "rate_limit_error", 429)
HOUR_MS = 3_600_000


async def at_work(world):
    """A row pending, one refused a moment ago, one in hand, three ready; a late id; both lanes held back."""
    await world.open(rows=6)
    sent, refused, _ = (await world.claim(limit=3)).rows
    await world.commit(world.sent(sent, Accepted("task-1")))
    world.clock.advance(60_000)
    await world.commit(world.polled((await world.polls()).rows[0], Throttled(BUSY, 2.0)))
    await world.commit(world.sent(refused, Throttled(BUSY, 2.0)))
    late = LateId(9, "task-late", 1, 1)
    await world.ledger.note_late(world.run, late)


async def test_after_an_hour_back_rows_are_sent_and_polled_and_asked_for_at_once(world):
    await at_work(world)
    world.clock.advance(-HOUR_MS)
    assert (await world.claim()).bound == "back-off"
    assert await world.ledger.clock_went_back(world.run) > 0
    world.clock.advance(1)
    assert len((await world.claim(limit=9)).rows) == 4
    assert len((await world.polls()).rows) == 1
    assert len((await world.ledger.claim_late(world.run, 9)).ids) == 1


async def test_rows_in_hand_are_given_up_no_sooner_than_one_more_lease(world):
    await at_work(world)
    world.clock.advance(-HOUR_MS)
    await world.ledger.clock_went_back(world.run)
    world.clock.advance(9_000)
    assert (await world.lapsed()).rows == ()
    world.clock.advance(2_000)
    assert [row.row_index for row in (await world.lapsed()).rows] == [2]


async def test_refusals_after_it_are_events_as_before(world):
    await at_work(world)
    world.clock.advance(-HOUR_MS)
    await world.ledger.clock_went_back(world.run)
    world.clock.advance(1)
    before = (await world.ledger.account_seen(ACCOUNT)).posts.events
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Throttled(BUSY, 2.0)))
    assert (await world.ledger.account_seen(ACCOUNT)).posts.events == before + 1


async def test_where_the_clock_did_not_go_back_nothing_changes(world):
    await at_work(world)
    await world.ledger.set_pace(ACCOUNT, b"", Pace(rate=10.0))
    before = await world.look(), await world.ledger.account_seen(ACCOUNT)
    assert await world.ledger.clock_went_back(world.run) == 0
    assert (await world.look(), await world.ledger.account_seen(ACCOUNT)) == before
    assert (await world.claim()).bound == "back-off"
