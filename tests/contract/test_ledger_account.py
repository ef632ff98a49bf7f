"""Permits: what holds rows back, for a run and for all runs of an account, and what lets them go again."""

from dataclasses import replace

import pytest

from pipeline.core.answers import (
    Accepted,
    AccountRefused,
    Ambiguous,
    Completed,
    Completion,
    Failed,
    Missing,
    NothingSent,
    NotNow,
    Problem,
    Refused,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.lead import lead_lock
from pipeline.core.snapshot import RunState
from pipeline.edges import memory_ledger, redis_ledger
from pipeline.ports import FedRow

pytestmark = pytest.mark.anyio

BUSY = Problem("rate_limit", "slow down", "rate_limit_error", 429)
OTHER = "run-20260101-two"


def indexes(claim):
    return [row.row_index for row in claim.rows]


async def all_pending(world, rows, **policy):
    """All rows accepted, and their first poll due."""
    await world.open(rows=rows, **policy)
    claimed = (await world.claim(limit=rows)).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in claimed))
    world.clock.advance(5_000)


async def test_the_first_rows_go_alone_until_one_completes(world):
    await world.open(rows=9, first_rows=2)
    first = await world.claim()
    assert (indexes(first), first.bound) == ([0, 1], "first rows")
    held = await world.claim()
    assert (held.rows, held.bound) == ((), "first rows")
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in first.rows))
    assert indexes(await world.claim()) == []
    world.clock.advance(5_000)
    one, _ = (await world.polls()).rows
    await world.commit(world.polled(one, Completed(Completion(content="a dog"))))
    assert indexes(await world.claim()) == [2, 3, 4, 5, 6, 7, 8]


async def test_a_first_row_that_fails_makes_room_for_the_next_one_alone(world):
    await world.open(rows=5, first_rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Refused(BUSY)))
    assert indexes(await world.claim()) == [1]


async def test_permits_in_flight_are_those_of_the_account_across_its_runs(world):
    await world.open(rows=4, max_in_flight=3)
    await world.open(rows=4, run_id=OTHER, max_in_flight=3)
    assert indexes(await world.claim(limit=2)) == [0, 1]
    second = await world.claim(run_id=OTHER)
    assert (indexes(second), second.bound) == ([0], "in flight")
    full = await world.claim()
    assert (full.rows, full.bound, full.wait_ms) == ((), "in flight", 100)
    await world.commit(world.sent(second.rows[0], Refused(BUSY)), run_id=OTHER)
    assert indexes(await world.claim()) == [2]


async def test_another_accounts_rows_take_none_of_our_permits(world):
    await world.open(rows=4, max_in_flight=3)
    await world.open(rows=4, run_id=OTHER, account="api#other", max_in_flight=3)
    assert len((await world.claim()).rows) == 3
    assert len((await world.claim(run_id=OTHER)).rows) == 3


async def test_rows_that_are_polled_hold_their_permits(world):
    await all_pending(world, 4, max_in_flight=3)
    await world.polls()
    assert (await world.claim()).bound == "in flight"


async def test_a_throttled_account_holds_back_every_row_of_all_its_runs(world):
    await world.open(rows=3)
    await world.open(rows=1, run_id=OTHER)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Throttled(BUSY, retry_after=30.0)))
    for run_id in (world.run, OTHER):
        held = await world.claim(run_id=run_id)
        assert (held.rows, held.bound, held.wait_ms) == ((), "back-off", 30_000)
    assert not (await world.look()).sends
    world.clock.advance(30_000)
    assert indexes(await world.claim()) == [1, 2, 0]


async def test_one_congestion_event_is_counted_once_however_many_requests_meet_it(world):
    await world.open(rows=4)
    rows = (await world.claim()).rows
    await world.commit(*(world.sent(row, Throttled(BUSY, retry_after=2.0)) for row in rows[:3]))
    await world.commit(world.sent(rows[3], Throttled(BUSY, retry_after=3.0)))
    held = await world.claim()
    assert (held.troubles, held.wait_ms) == (1, 3_000)
    world.clock.advance(3_000)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, NothingSent(BUSY), troubles=1))
    assert (await world.claim()).troubles == 2


async def test_a_shorter_wait_never_ends_a_longer_one(world):
    await world.open(rows=2)
    long, short = (await world.claim()).rows
    await world.commit(world.sent(long, Throttled(BUSY, 30.0)), world.sent(short, Throttled(BUSY, 1.0)))
    assert (await world.claim()).wait_ms == 30_000


async def test_an_accepted_row_ends_the_congestion_once_the_wait_is_over(world):
    await world.open(rows=3)
    one, two, three = (await world.claim()).rows
    await world.commit(world.sent(one, Throttled(BUSY, 2.0)), world.sent(two, Accepted("task-2")))
    assert (await world.claim()).troubles == 1
    world.clock.advance(2_000)
    await world.commit(world.sent(three, Accepted("task-3")))
    assert (await world.claim()).troubles == 0


async def test_answers_that_may_cost_a_generation_each_hold_the_account_back(world):
    await world.open(rows=9)
    await world.open(rows=1, run_id=OTHER)
    for _ in range(3):
        [row] = (await world.claim(limit=1)).rows
        await world.commit(world.sent(row, Ambiguous(BUSY)))
    [accepted] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(accepted, Accepted("task-0")))
    for row in (await world.claim(limit=4)).rows:  # one answer as it should be, and the count begins anew
        await world.commit(world.sent(row, Ambiguous(BUSY)))
    for run_id in (world.run, OTHER):
        held = await world.claim(run_id=run_id)
        assert (held.rows, held.bound, held.wait_ms, held.troubles) == ((), "back-off", 1_000, 1)


@pytest.mark.parametrize("answer", [Ambiguous(BUSY), Throttled(BUSY, 1.0), NothingSent(BUSY)])
async def test_after_a_back_off_a_few_rows_try_until_one_is_accepted(world, answer):
    await world.open(rows=40, first_rows=3, guard_first=50, most_doubts=1)
    first = (await world.claim()).rows
    await world.commit(world.sent(first[0], Accepted("task-0")))
    world.clock.advance(5_000)
    [due] = (await world.polls()).rows
    await world.commit(world.polled(due, Completed(Completion())))
    await world.commit(*(world.sent(row, answer) for row in first[1:]))
    assert (await world.claim(limit=20)).bound == "back-off"
    world.clock.advance(1_000)
    tries = await world.claim(limit=20)
    assert (len(tries.rows), tries.bound) == (3, "back-off")
    held = await world.claim(limit=20)
    assert (held.rows, held.bound, held.wait_ms) == ((), "back-off", 100)
    await world.commit(world.sent(tries.rows[0], Refused(BUSY)))
    assert len((await world.claim(limit=20)).rows) == 1
    await world.commit(world.sent(tries.rows[1], Accepted("task-1")))
    assert len((await world.claim(limit=20)).rows) == 20


async def test_no_channel_for_now_holds_back_that_row_alone(world):
    await world.open(rows=2)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, NotNow(BUSY)))
    claim = await world.claim()
    assert (indexes(claim), claim.troubles) == ([1], 0)


async def test_a_refused_key_stops_sending_and_polling_for_the_whole_account(world):
    await all_pending(world, 2)
    await world.open(rows=2, run_id=OTHER)
    [row] = (await world.claim(run_id=OTHER, limit=1)).rows
    problem = Problem("invalid_key", "who\nare you?", "authentication_error", 401)
    await world.commit(world.sent(row, AccountRefused(problem, polling_works=False)), run_id=OTHER)
    for claim in (await world.claim(), await world.polls(), await world.claim(run_id=OTHER)):
        assert (claim.rows, claim.bound) == ((), "account")
    run = await world.look()
    assert (run.account_blocked, run.account_polls) == ("invalid_key (HTTP 401): who are you?", False)
    assert (run.sends, run.collects) == (False, False)


async def test_an_empty_balance_stops_sending_while_polls_go_on(world):
    await all_pending(world, 2)
    await world.open(rows=2, run_id=OTHER)
    [row] = (await world.claim(run_id=OTHER, limit=1)).rows
    problem = Problem("insufficient_quota", "top up", None, 402)
    await world.commit(world.sent(row, AccountRefused(problem, polling_works=True)), run_id=OTHER)
    assert (await world.claim()).bound == "account"
    assert indexes(await world.polls()) == [0, 1]
    run = await world.look()
    assert (run.sends, run.collects, run.account_polls) == (False, True, True)


async def test_a_refused_row_of_a_blocked_account_used_no_attempt_and_waits_in_ready(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, AccountRefused(BUSY, polling_works=False)))
    await world.ledger.reopen(world.card())
    [again] = (await world.claim()).rows
    assert again.record.attempts == 0


async def test_a_key_refused_by_a_poll_blocks_the_account_as_well(world):
    await all_pending(world, 1)
    [row] = (await world.polls()).rows
    await world.commit(world.polled(row, AccountRefused(BUSY, polling_works=False)))
    run = await world.look()
    assert (run.account_polls, run.pending, run.collects) == (False, 1, False)


async def test_reopening_lifts_the_block_the_pause_and_the_trouble_and_leaves_the_back_off_to_all_runs(world):
    await world.open(rows=3)
    one, two, _ = (await world.claim()).rows
    await world.commit(world.sent(one, AccountRefused(BUSY, polling_works=False)))
    await world.commit(world.sent(two, Throttled(BUSY, 60.0)))
    await world.ledger.set_state(world.run, RunState.PAUSED, "a person said so")
    await world.ledger.reopen(world.card())
    run = await world.look()
    assert (run.state, run.reason, run.trouble, run.trouble_since_ms) == (RunState.RUNNING, "", "", 0)
    assert (run.account_blocked, run.account_polls) == ("", True)
    held = await world.claim()
    assert (held.rows, held.bound, held.wait_ms, held.troubles) == ((), "back-off", 60_000, 1)
    world.clock.advance(60_000)
    assert set(indexes(await world.claim())) == {0, 1}


async def test_reopening_may_change_the_account_and_the_policy(world):
    await world.open(rows=4, max_in_flight=1)
    await world.claim()
    await world.open(rows=4, run_id=OTHER, max_in_flight=1)
    assert (await world.claim(run_id=OTHER)).bound == "in flight"
    await world.ledger.reopen(world.card(account="api#new", max_in_flight=3))
    assert len((await world.claim()).rows) == 2
    assert len((await world.claim(run_id=OTHER)).rows) == 1
    assert (await world.ledger.card(world.run)).account == "api#new"


async def test_results_that_nobody_writes_stop_sending(world, monkeypatch):
    for module in (memory_ledger, redis_ledger):
        monkeypatch.setattr(module, "RESULTS_BYTES", 1_000)
    await world.open(rows=2)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Refused(Problem("refused", "x" * 1_000))))
    full = await world.claim()
    assert (full.rows, full.bound, full.wait_ms) == ((), "results", 200)
    await world.ledger.results_written(world.run, await world.ledger.results(world.run, 10))
    assert indexes(await world.claim()) == [1]


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPING, RunState.FINISHED])
async def test_only_a_running_run_sends(world, state):
    await world.open(rows=1)
    await world.ledger.set_state(world.run, state, "because")
    assert (await world.claim()).bound == "paused"
    run = await world.look()
    assert (run.state, run.reason) == (state, "because")


async def test_a_paused_run_still_collects_what_was_asked(world):
    await all_pending(world, 1)
    await world.ledger.set_state(world.run, RunState.PAUSED)
    assert indexes(await world.polls()) == [0]


async def test_like_ends_in_a_row_pause_the_run_before_anything_completed(world):
    await world.open(rows=5, guard_first=3, guard_later=50)
    rows = (await world.claim()).rows
    wrong = Problem("not_found", "no such path", None, 404)
    await world.commit(*(world.sent(row, Refused(wrong)) for row in rows[:2]))
    assert (await world.look()).state is RunState.RUNNING
    await world.commit(world.sent(rows[2], Refused(wrong)))
    run = await world.look()
    assert (run.state, run.reason) == (RunState.PAUSED, "3 rows in a row ended as refused not_found")


async def test_once_a_row_has_completed_the_guard_is_more_patient(world):
    await all_pending(world, 6, guard_first=1, guard_later=4)
    rows = (await world.polls()).rows
    await world.commit(world.polled(rows[0], Completed(Completion())))
    failed = Failed(Problem("generation_failed", "no"), retryable=False)
    await world.commit(*(world.polled(row, failed) for row in rows[1:4]))
    assert (await world.look()).state is RunState.RUNNING
    await world.commit(world.polled(rows[4], failed))
    assert (await world.look()).reason == "4 rows in a row ended as failed generation_failed"


async def test_ends_of_another_kind_break_the_streak(world):
    await world.open(rows=9, guard_first=3)
    rows = (await world.claim()).rows
    one, two = Refused(Problem("a", "")), Refused(Problem("b", ""))
    await world.commit(*(world.sent(row, end) for row, end in zip(rows, [one, one, two, one, one, two], strict=False)))
    assert (await world.look()).state is RunState.RUNNING


async def gone(world, rows):
    """All rows accepted and asked for until the 404s are believed."""
    await all_pending(world, rows, guard_first=3)
    for _ in range(3):
        due = (await world.polls()).rows
        await world.commit(*(world.polled(row, Missing(Problem("not_found", "no such task"))) for row in due))
        world.clock.advance(20_000)
    due = (await world.polls()).rows
    await world.commit(*(world.polled(row, Missing(Problem("not_found", "no such task"))) for row in due))


async def test_generations_that_are_gone_pause_the_run_though_no_row_has_ended(world):
    await gone(world, 3)
    run = await world.look()
    assert (run.state, run.ended, run.ready) == (RunState.PAUSED, 0, 3)
    assert run.reason == "3 rows in a row ended as gone not_found"
    assert run.guard == "gone not_found"


async def not_found(world, rows):
    due = (await world.polls(limit=rows)).rows
    await world.commit(*(world.polled(row, Missing(Problem("not_found", "no such task", None, 404))) for row in due))


async def test_a_burst_of_polls_that_find_nothing_pauses_sending_and_polling_at_once(world):
    await all_pending(world, 5, guard_missing=4)
    await not_found(world, 3)
    assert (await world.look()).state is RunState.RUNNING
    await not_found(world, 1)
    run = await world.look()
    assert (run.state, run.polls_held, run.collects, run.ended, run.pending) == (RunState.PAUSED, True, False, 0, 5)
    assert run.reason == "4 polls in a row found nothing under ids that were accepted"
    assert run.guard == "missing: not_found (HTTP 404): no such task"
    held = await world.polls()
    assert (held.rows, held.bound, held.wait_ms) == ((), "paused", 1_000)


async def test_one_generation_that_is_found_breaks_the_burst(world):
    await all_pending(world, 5, guard_missing=4)
    await not_found(world, 3)
    [found] = (await world.polls(limit=1)).rows
    await world.commit(world.polled(found, Running("processing")))
    await not_found(world, 1)
    assert (await world.look()).state is RunState.RUNNING


@pytest.mark.parametrize("reopened", [True, False])
async def test_polls_go_on_when_a_person_says_so(world, reopened):
    await all_pending(world, 2, guard_missing=1)
    await not_found(world, 1)
    if reopened:
        await world.ledger.reopen(world.card())
    else:
        await world.ledger.set_state(world.run, RunState.CANCELLING)
    assert indexes(await world.polls()) == [1]


async def test_two_that_are_gone_are_not_enough(world):
    await gone(world, 2)
    assert (await world.look()).state is RunState.RUNNING


async def test_rows_of_dead_workers_are_nothing_for_the_guard(world):
    await world.open(rows=5, guard_first=2)
    await world.claim()
    world.clock.advance(10_000)
    lost = Problem("worker_lost", "nobody answered")
    assert all(await world.commit(*(world.lost(row, lost) for row in (await world.lapsed()).rows)))
    run = await world.look()
    assert (run.state, run.ready, run.guard) == (RunState.RUNNING, 5, "")


async def test_a_run_that_nobody_leads_is_polled_and_not_sent(world):
    await all_pending(world, 1)
    await world.ledger.reopen(replace(world.card(), detached=False))
    await world.ledger.feed(world.run, 1, 2, [FedRow(1, b"{}")])
    claim, run = await world.claim(), await world.look()
    assert (claim.rows, claim.bound, claim.wait_ms) == ((), "no leader", 1_000)
    assert (run.led, run.sends, run.collects) == (False, False, True)
    assert indexes(await world.polls()) == [0]


async def test_a_run_is_sent_while_a_command_leads_it(world):
    await world.open(rows=2)
    await world.ledger.reopen(replace(world.card(), detached=False))
    await world.ledger.lock(lead_lock(OTHER), "another run's command", 60.0)
    assert (await world.claim()).bound == "no leader"
    await world.ledger.lock(lead_lock(world.run), "command", 60.0)
    assert (await world.look()).led
    assert indexes(await world.claim(limit=1)) == [0]
    await world.ledger.unlock(lead_lock(world.run), "command")
    assert not (await world.look()).led
    assert (await world.claim()).bound == "no leader"


async def test_a_detached_run_needs_no_leader(world):
    await world.open(rows=1)
    assert (await world.look()).led
    assert indexes(await world.claim()) == [0]


async def test_a_reopened_run_counts_its_streak_anew(world):
    await world.open(rows=5, guard_first=2)
    rows = (await world.claim()).rows
    wrong = Refused(Problem("not_found", ""))
    await world.commit(world.sent(rows[0], wrong))
    await world.ledger.reopen(world.card(guard_first=2))
    await world.commit(world.sent(rows[1], wrong))
    assert (await world.look()).state is RunState.RUNNING
    await world.commit(world.sent(rows[2], wrong))
    assert (await world.look()).state is RunState.PAUSED


async def test_the_guard_leaves_a_stopping_run_alone(world):
    await world.open(rows=3, guard_first=1)
    [row] = (await world.claim(limit=1)).rows
    await world.ledger.set_state(world.run, RunState.STOPPING, "ctrl-c")
    await world.commit(world.sent(row, Refused(BUSY)))
    run = await world.look()
    assert (run.state, run.reason) == (RunState.STOPPING, "ctrl-c")


async def test_trouble_is_noted_with_its_beginning_and_cleared_by_a_sane_answer(world):
    await all_pending(world, 2)
    began = world.clock()
    one, two = (await world.polls()).rows
    await world.commit(world.polled(one, Trouble(Problem("no_answer", "first"))))
    world.clock.advance(1_000)
    await world.commit(world.polled(two, Trouble(Problem("server_error", "second", None, 502))))
    run = await world.look()
    assert (run.trouble, run.trouble_since_ms) == ("server_error (HTTP 502): second", began)
    world.clock.advance(5_000)
    [row, _] = (await world.polls()).rows
    await world.commit(world.polled(row, Running("processing")))
    run = await world.look()
    assert (run.trouble, run.trouble_since_ms) == ("", 0)


async def test_an_answer_that_comes_under_a_stale_token_says_nothing_of_the_account(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    stale = replace(row, token="1:nobody:1")
    await world.commit(world.sent(stale, AccountRefused(BUSY, polling_works=False)))
    await world.commit(world.sent(stale, Throttled(BUSY, 60.0)))
    run = await world.look()
    assert (run.account_blocked, run.account_wait_until_ms, run.trouble) == ("", 0, "")


async def test_rows_of_a_run_that_waits_are_not_lost_by_feeding_more(world):
    await world.open(rows=1)
    await world.ledger.set_state(world.run, RunState.PAUSED)
    await world.ledger.feed(world.run, 1, 2, [FedRow(1, b"{}")])
    await world.ledger.set_state(world.run, RunState.RUNNING)
    assert indexes(await world.claim()) == [0, 1]
