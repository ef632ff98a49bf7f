"""The server's clock is put back: nothing stands still until it has caught up, and the living keep their rows."""

import pytest

from pipeline.core.answers import Accepted, Ambiguous, Problem, Throttled
from pipeline.core.late import LateId
from pipeline.core.pacing import Pace
from pipeline.core.tickets import Role

pytestmark = pytest.mark.anyio

ACCOUNT = "api#key"
BUSY = Problem("rate_limit", "slow down", "rate_limit_error", 429)
HOUR_MS = 3_600_000
JUMPS_MS = [3_000, 30_000, 590_000, HOUR_MS]
UNKNOWN = [(HOUR_MS, 0)]
KNOWN = [(jump_ms, jump_ms) for jump_ms in JUMPS_MS]


async def at_work(world):
    """A row pending, one refused a moment ago, one in hand, three ready; a late id; both lanes held back for 2 s."""
    await world.open(rows=6)
    sent, refused, _ = (await world.claim(limit=3)).rows
    await world.commit(world.sent(sent, Accepted("task-1")))
    world.clock.advance(60_000)
    await world.commit(world.polled((await world.polls()).rows[0], Throttled(BUSY, 2.0)))
    await world.commit(world.sent(refused, Throttled(BUSY, 2.0)))
    late = LateId(9, "task-late", 1, 1)
    await world.ledger.note_late(world.run, late)


async def put_back(world, by_ms, known_ms):
    """How many times were put back with the clock."""
    world.clock.advance(-by_ms)
    back = await world.ledger.clock_went_back(world.run, known_ms)
    return back + await world.ledger.account_clock_went_back(ACCOUNT, known_ms)


@pytest.mark.parametrize(("by_ms", "known_ms"), KNOWN + UNKNOWN)
async def test_rows_are_sent_and_polled_and_asked_for_as_soon_as_without_it(world, by_ms, known_ms):
    await at_work(world)
    world.clock.advance(-by_ms)
    assert (await world.claim()).bound == "back-off"
    world.clock.advance(by_ms)
    assert await put_back(world, by_ms, known_ms) > 0
    world.clock.advance(2_000)
    assert len((await world.claim(limit=9)).rows) == 4
    assert len((await world.polls()).rows) == 1
    assert len((await world.ledger.claim_late(world.run, 9)).ids) == 1


@pytest.mark.parametrize("jump_ms", JUMPS_MS)
async def test_and_no_sooner_where_it_is_known_how_far_it_went_back(world, jump_ms):
    await at_work(world)
    await put_back(world, jump_ms, jump_ms)
    world.clock.advance(1_999)
    sending, polling = await world.claim(), await world.polls()
    assert (sending.bound, sending.wait_ms) == (polling.bound, polling.wait_ms) == ("back-off", 1)
    world.clock.advance(1)
    assert [row.row_index for row in (await world.claim(limit=9)).rows] == [3, 4, 5, 1]


@pytest.mark.parametrize("jump_ms", JUMPS_MS)
async def test_rows_whose_time_came_before_it_are_due_after_it(world, jump_ms):
    await world.open(rows=2)
    sent, lost = (await world.claim(limit=2)).rows
    await world.commit(world.sent(sent, Accepted("task-1")), world.sent(lost, Ambiguous(BUSY)))
    world.clock.advance(30_000)
    await put_back(world, jump_ms, jump_ms)
    assert [row.row_index for row in (await world.polls()).rows] == [0]
    assert [row.row_index for row in (await world.claim()).rows] == [1]


@pytest.mark.parametrize(("by_ms", "known_ms"), KNOWN + UNKNOWN)
async def test_rows_in_hand_are_given_up_no_sooner_than_without_it_whoever_is_told_of_it_twice(world, by_ms, known_ms):
    await world.open(rows=1)
    await world.claim()
    world.clock.advance(9_000)
    await put_back(world, by_ms, known_ms)
    await world.ledger.clock_went_back(world.run, known_ms)
    world.clock.advance(999)
    assert (await world.lapsed()).rows == ()
    world.clock.advance(9_001)
    assert [row.row_index for row in (await world.lapsed()).rows] == [0]


async def test_a_lease_is_cut_to_a_whole_one_and_never_below(world):
    await world.open(rows=1)
    await world.claim()
    await put_back(world, HOUR_MS, HOUR_MS)
    world.clock.advance(9_999)
    assert (await world.lapsed()).rows == ()
    world.clock.advance(1)
    assert len((await world.lapsed()).rows) == 1


@pytest.mark.parametrize(("by_ms", "known_ms"), [*KNOWN, *UNKNOWN, (30_000, 0)])
async def test_a_ticket_that_nobody_took_and_the_shift_of_a_dead_worker_count_no_longer_than_ever(
    world, by_ms, known_ms
):
    await world.open(rows=3)
    await world.ledger.note_ticket(world.run, Role.CONTROL, "ticket-1")
    await world.ledger.begin_shift(world.run, Role.SUBMIT, "dead", 4)
    await put_back(world, by_ms, known_ms)
    run = await world.look()
    assert (run.shifts[Role.CONTROL], run.shifts[Role.SUBMIT]) == (1, 1)
    world.clock.advance(5_000)
    assert not any((await world.look()).shifts.values())


@pytest.mark.parametrize(("by_ms", "known_ms"), KNOWN + UNKNOWN)
async def test_refusals_after_it_are_events_as_before(world, by_ms, known_ms):
    await at_work(world)
    await put_back(world, by_ms, known_ms)
    world.clock.advance(2_001)
    before = (await world.ledger.account_seen(ACCOUNT)).posts.events
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Throttled(BUSY, 2.0)))
    assert (await world.ledger.account_seen(ACCOUNT)).posts.events == before + 1


@pytest.mark.parametrize(("by_ms", "known_ms"), KNOWN + UNKNOWN)
async def test_what_happened_lies_behind(world, by_ms, known_ms):
    await at_work(world)
    world.clock.advance(500)
    before = await world.look()
    await put_back(world, by_ms, known_ms)
    run, seen = await world.look(), await world.ledger.account_seen(ACCOUNT)
    ago = run.now_ms - seen.posts.event_at_ms, run.now_ms - seen.polls.event_at_ms, run.now_ms - run.trouble_since_ms
    assert ago == ((500, 500, before.now_ms - before.trouble_since_ms) if known_ms else (0, 0, 0))


async def test_a_second_run_of_the_account_does_not_shorten_its_waits_twice(world):
    await at_work(world)
    await world.open(run_id="run-2")
    await put_back(world, 1_500, 1_500)
    await world.ledger.clock_went_back("run-2", 1_500)
    assert (await world.claim()).wait_ms == (await world.polls()).wait_ms == 2_000


async def test_rows_that_were_never_sent_keep_their_order(world):
    await world.open(rows=6)
    await put_back(world, HOUR_MS, HOUR_MS)
    assert [row.row_index for row in (await world.claim(limit=9)).rows] == list(range(6))


async def test_the_lock_of_a_dead_holder_lasts_no_longer_than_a_lease(world):
    assert await world.ledger.lock("heartbeat", "dead", 3_600.0)
    assert not await world.ledger.lock("heartbeat", "alive", 0.3)
    assert await world.ledger.lock("heartbeat", "dead", 0.3)
    assert not await world.ledger.lock("heartbeat", "alive", 0.3)

    async def taken():
        return await world.ledger.lock("heartbeat", "alive", 0.3)

    await world.eventually(taken)


async def test_where_the_clock_did_not_go_back_nothing_changes(world):
    await at_work(world)
    await world.ledger.set_pace(ACCOUNT, b"", Pace(rate=10.0))
    await world.ledger.note_ticket(world.run, Role.CONTROL, "ticket-1")
    before = await world.look(), await world.ledger.account_seen(ACCOUNT)
    assert await put_back(world, 0, 0) == 0
    assert (await world.look(), await world.ledger.account_seen(ACCOUNT)) == before
    assert (await world.claim()).bound == "back-off"
