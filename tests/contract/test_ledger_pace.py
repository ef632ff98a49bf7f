"""One limit for all workers and runs of an account: permits come with the claim, and everybody keeps to one pace."""

from itertools import pairwise

import pytest

from pipeline.core.answers import Accepted, Completed, Completion, Problem, Running, Throttled
from pipeline.core.limits import Limits
from pipeline.core.observations import Observed
from pipeline.core.pacing import LaneSeen, Pace
from pipeline.core.rows import Rows

pytestmark = pytest.mark.anyio

OTHER = "run-20260101-two"
ACCOUNT = "api#key"
BUSY = Problem("rate_limit", "slow down", "rate_limit_error", 429)


async def paced(world, **pace):
    await world.ledger.set_pace(ACCOUNT, b"state", Pace(**pace))


async def claims_for(world, ms, step_ms=10, runs=None):
    """How many rows each run was given while `ms` passed and everybody asked for 20 at every step."""
    given = dict.fromkeys(runs or [world.run], 0)
    for _ in range(ms // step_ms):
        for run_id in given:
            given[run_id] += len((await world.claim(limit=20, run_id=run_id)).rows)
        world.clock.advance(step_ms)
    return given


async def test_no_more_is_sent_than_the_rate_allows_and_nothing_comes_at_once(world):
    await world.open(rows=100)
    await paced(world, rate=10.0)
    assert len((await world.claim(limit=50)).rows) == 1
    assert (await world.claim(limit=50)).bound == "rate"
    assert (await claims_for(world, 5_100))[world.run] == 50


async def test_a_claimer_that_wakes_late_loses_nothing(world):
    await world.open(rows=100)
    await paced(world, rate=10.0)
    await world.claim(limit=50)
    taken = 0
    for late in (140, 30, 120, 90, 150, 10, 160, 100, 80, 120):
        world.clock.advance(late)
        taken += len((await world.claim(limit=50)).rows)
    assert taken == 10


async def test_permits_that_nobody_wanted_are_not_saved_up(world):
    await world.open(rows=100)
    await paced(world, rate=10.0)
    world.clock.advance(60_000)
    assert len((await world.claim(limit=50)).rows) == 1


async def test_each_waiter_has_a_turn_of_its_own(world):
    await world.open(rows=100)
    await paced(world, rate=10.0)
    await world.claim(limit=50)
    waits = [(await world.claim(limit=50, holder=f"worker-{i}")).wait_ms for i in range(8)]
    assert [later - earlier for earlier, later in pairwise(waits[:3])] == [100, 100]
    assert max(waits) == 500  # a changed limit is seen within half a second


async def test_a_changed_rate_holds_within_a_second_whatever_was_before(world):
    await world.open(rows=100)
    await paced(world, rate=1 / 60, poll_rate=1 / 60)
    assert (await claims_for(world, 3_000))[world.run] == 1
    await paced(world, rate=10.0)
    assert (await claims_for(world, 1_000))[world.run] in range(9, 12)
    await paced(world, rate=1 / 60)
    assert (await claims_for(world, 3_000))[world.run] <= 1


async def test_one_rate_is_shared_by_all_runs_of_the_account_in_equal_parts(world):
    await world.open(rows=200)
    await world.open(rows=200, run_id=OTHER)
    await paced(world, rate=10.0)
    given = await claims_for(world, 10_000, runs=[world.run, OTHER])
    assert sum(given.values()) == pytest.approx(101, abs=1)
    assert abs(given[world.run] - given[OTHER]) <= 6


async def test_runs_share_by_priority(world):
    for run_id, priority in ((world.run, 10), (OTHER, 30)):
        card = world.card(run_id, total=400, first_rows=1_000)
        await open_card(world, card, priority=priority)
    await paced(world, rate=20.0)
    given = await claims_for(world, 10_000, runs=[world.run, OTHER])
    assert given[OTHER] / given[world.run] == pytest.approx(3, rel=0.15)


async def test_a_run_alone_takes_all_that_is_allowed_whatever_its_priority(world):
    await open_card(world, world.card(total=400, first_rows=1_000), priority=1)
    await paced(world, rate=20.0)
    assert (await claims_for(world, 5_000))[world.run] == pytest.approx(101, abs=2)


async def test_a_run_that_comes_later_has_no_right_to_what_was_sent_before(world):
    await world.open(rows=400, first_rows=1_000)
    await paced(world, rate=20.0)
    await claims_for(world, 5_000)
    await world.open(rows=400, run_id=OTHER, first_rows=1_000)
    given = await claims_for(world, 5_000, runs=[world.run, OTHER])
    assert abs(given[world.run] - given[OTHER]) <= 10


async def test_what_is_in_flight_is_bounded_by_what_was_given_and_by_what_was_found(world):
    await world.open(rows=100)
    await paced(world, most=5)
    claim = await world.claim(limit=50)
    assert (len(claim.rows), claim.bound) == (5, "in flight")
    await paced(world, most=9, cap=7)
    assert len((await world.claim(limit=50)).rows) == 2
    assert len((await world.claim(limit=50)).rows) == 0


async def test_one_tester_goes_above_the_cap_after_a_quiet_second(world):
    await world.open(rows=100)
    await paced(world, cap=2, tests=True)
    assert len((await world.claim(limit=50)).rows) == 2
    world.clock.advance(900)
    assert not (await world.claim(limit=50)).rows
    world.clock.advance(100)
    [tester] = (await world.claim(limit=50)).rows
    world.clock.advance(2_000)
    assert not (await world.claim(limit=50)).rows  # until it is back
    await world.commit(world.sent(tester, Accepted("task-9")))
    seen = await world.ledger.account_seen(ACCOUNT)
    assert (seen.tests, seen.tested, seen.tested_in_flight, seen.in_flight) == (1, "accepted", 1, 3)
    [tester] = (await world.claim(limit=50)).rows
    await world.commit(world.sent(tester, Throttled(BUSY)))
    assert (await world.ledger.account_seen(ACCOUNT)).tested == "refused"


async def test_no_tester_goes_above_what_was_given_or_where_none_is_wanted(world):
    await world.open(rows=100)
    await paced(world, most=2, cap=2, tests=True)
    await world.claim(limit=50)
    world.clock.advance(5_000)
    assert not (await world.claim(limit=50)).rows
    await paced(world, cap=2)
    assert not (await world.claim(limit=50)).rows


async def test_polls_have_a_rate_and_a_back_off_of_their_own(world):
    await world.open(rows=40)
    rows = (await world.claim(limit=40)).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows))
    world.clock.advance(10_000)
    await paced(world, poll_rate=10.0)
    claim = await world.polls(limit=40)
    assert (len(claim.rows), claim.bound) == (1, "rate")
    world.clock.advance(100)
    [row] = (await world.polls(limit=40)).rows
    await world.commit(world.polled(row, Throttled(BUSY, 3.0)))
    held = await world.polls(limit=40)
    assert (held.rows, held.bound, held.wait_ms) == ((), "back-off", 3_000)
    assert (await world.claim()).bound == "empty"  # sending is not held back


async def test_many_429s_of_one_moment_are_one_congestion_event(world):
    await world.open(rows=40)
    first = (await world.claim(limit=10)).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in first[:4]))
    world.clock.advance(1_000)
    await world.commit(*(world.sent(row, Throttled(BUSY, 2.0)) for row in first[4:]))
    seen = await world.ledger.account_seen(ACCOUNT)
    at = world.clock()
    assert seen.posts == LaneSeen(4, 0, 1, at, 4, 2_000)
    assert seen.event_in_flight == 4
    world.clock.advance(2_000)
    [again] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(again, Throttled(BUSY, 2.0)))
    assert (await world.ledger.account_seen(ACCOUNT)).posts.events == 2


async def test_demand_is_counted_only_where_the_rate_cut_a_claim_short(world):
    await world.open(rows=3)
    await paced(world, rate=10.0)
    await world.claim(limit=1)
    assert (await world.ledger.account_seen(ACCOUNT)).posts.bound == 0
    await world.claim(limit=5)
    assert (await world.ledger.account_seen(ACCOUNT)).posts.bound == 1


async def test_answers_as_they_should_be_are_counted_by_lane(world):
    await world.open(rows=3)
    rows = (await world.claim()).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows))
    world.clock.advance(5_000)
    polls = (await world.polls()).rows
    await world.commit(world.polled(polls[0], Running("processing")), world.polled(polls[1], Throttled(BUSY)))
    seen = await world.ledger.account_seen(ACCOUNT)
    assert (seen.posts.answered, seen.polls.answered, seen.polls.events) == (3, 1, 1)


async def test_what_ended_generations_told_is_kept_for_the_account(world):
    await world.open(rows=2)
    rows = (await world.claim()).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows))
    world.clock.advance(5_000)
    polls = (await world.polls()).rows
    done = Completed(Completion(prompt_tokens=3, completion_tokens=2))
    await world.commit(*(world.polled(row, done) for row in polls))
    told = await world.ledger.observed(ACCOUNT)
    assert [(one.low_ms, one.high_ms, one.prompt_tokens) for one in told] == [(0, 5_000, 3)] * 2
    assert (await world.ledger.account_seen(ACCOUNT)).observed == 2
    assert all(isinstance(one, Observed) for one in told)


async def test_limits_belong_to_a_run_or_to_the_account(world):
    await world.open()
    assert (await world.look()).limits == Limits()
    assert await world.ledger.set_limits(world.run, Limits(rpm=60.0, max_in_flight=3))
    assert (await world.look()).limits == Limits(rpm=60.0, max_in_flight=3)
    assert not await world.ledger.set_limits("run-unknown", Limits(rpm=1.0))
    await world.ledger.set_account_limits(ACCOUNT, Limits(tpm=5.0))
    assert await world.ledger.account_limits(ACCOUNT) == Limits(tpm=5.0)
    assert ACCOUNT in await world.ledger.accounts()
    await world.ledger.set_account_limits(ACCOUNT, Limits())
    assert await world.ledger.account_limits(ACCOUNT) == Limits()


async def test_timetables_reach_every_worker_and_go_with_the_run(world):
    await world.open()
    assert await world.ledger.timetables(world.run) == b""
    await world.ledger.set_timetables(world.run, b"when")
    assert await world.ledger.timetables(world.run) == b"when"
    await world.ledger.forget(world.run)
    assert await world.ledger.timetables(world.run) == b""


async def test_the_pace_and_what_bounds_sending_are_told(world):
    await world.open(rows=9)
    await paced(world, rate=10.0, why="given")
    await world.claim(limit=9)
    await world.claim(limit=9)
    told = await world.look()
    assert (told.pace.rate, told.pace.why, told.bound, told.account) == (10.0, "given", "rate", ACCOUNT)


async def open_card(world, card, priority=10, rows=400):
    from dataclasses import replace

    from pipeline.ports import FedRow

    card = replace(card, priority=priority)
    assert await world.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    assert await world.ledger.feed(card.run_id, 0, rows, [FedRow(i, b"{}") for i in range(rows)])


async def test_the_last_rows_of_a_large_run_teach_nothing_since_they_are_its_slowest(world):
    rows, kept = 1_040, 1_000
    await world.open(rows=rows, first_rows=rows)
    claimed = [row for _ in range(13) for row in (await world.claim(80)).rows]
    sent = [world.sent(row, Accepted(f"task-{row.row_index}")) for row in claimed]

    async def ended(count):
        world.clock.advance(10_000)
        polls = (await world.polls(count)).rows
        done = Completed(Completion(prompt_tokens=3, completion_tokens=2))
        await world.commit(*(world.polled(row, done) for row in polls))
        return len(polls)

    await world.commit(*sent[:kept])
    assert sum([await ended(100) for _ in range(10)]) == kept
    assert (await world.ledger.account_seen(ACCOUNT)).observed == kept
    await world.commit(*sent[kept:])
    assert await ended(40) == 40, "nothing is ready or being sent by now"
    assert (await world.ledger.account_seen(ACCOUNT)).observed == kept
    assert len(await world.ledger.observed(ACCOUNT)) == kept
