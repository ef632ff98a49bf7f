"""What a ledger counts of an account for whoever watches: each step once, whatever is offered twice."""

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
from pipeline.core.late import LateId
from pipeline.core.snapshot import RunState
from pipeline.core.steps import WORKER_LOST, abandoned, cancelled
from pipeline.ports import Beat

pytestmark = pytest.mark.anyio

ACCOUNT = "api#key"
BUSY = Problem("rate_limit", "slow down", "rate_limit_error", 429)
ANSWER = Completion(content="a dog", prompt_tokens=100, completion_tokens=20, reasoning_tokens=5, cost=0.5)


async def counts(world):
    return await world.ledger.account_counts(ACCOUNT)


async def some(world, prefix):
    return {name: number for name, number in (await counts(world)).items() if name.startswith(prefix)}


async def accepted(world, rows):
    await world.open(rows=rows)
    claimed = (await world.claim(limit=rows)).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in claimed))
    world.clock.advance(5_000)
    return (await world.polls()).rows


async def test_nothing_is_counted_of_an_account_that_nobody_used(world):
    await world.open()
    assert await counts(world) == {}


async def test_posts_are_counted_by_what_became_of_them(world):
    await world.open(rows=8)
    rows = (await world.claim(limit=8)).rows
    answers = [
        *(Accepted("task-0"), Throttled(BUSY, 1.0), NotNow(BUSY), NothingSent(BUSY), Refused(BUSY), Ambiguous(BUSY)),
        *(AccountRefused(BUSY, polling_works=True), Accepted("task-7")),
    ]
    await world.commit(*(world.sent(row, answer) for row, answer in zip(rows, answers, strict=True)))
    assert await some(world, "post:") == {
        "post:accepted": 2,
        "post:throttled": 1,
        "post:not_now": 1,
        "post:nothing_sent": 1,
        "post:refused": 1,
        "post:ambiguous": 1,
        "post:account_refused": 1,
    }
    assert await some(world, "again:") == {"again:unknown": 1}
    assert await some(world, "ended:") == {"ended:refused": 1}


async def test_polls_are_counted_by_what_they_found(world):
    rows = await accepted(world, 7)
    answers = [
        *(Running("running"), Completed(ANSWER), Failed(BUSY, retryable=True), Missing(BUSY), Throttled(BUSY, 1.0)),
        *(Trouble(BUSY), AccountRefused(BUSY, polling_works=False)),
    ]
    await world.commit(*(world.polled(row, answer) for row, answer in zip(rows, answers, strict=True)))
    assert await some(world, "poll:") == {
        f"poll:{found}": 1
        for found in ("running", "completed", "failed", "missing", "throttled", "trouble", "account_refused")
    }
    assert await some(world, "again:") == {"again:failed": 1}


async def test_an_answer_counts_with_its_tokens_its_cost_and_how_long_it_took(world):
    [row] = await accepted(world, 1)
    await world.commit(world.polled(row, Running("running")))
    world.clock.advance(60_000)
    [row] = (await world.polls()).rows
    await world.commit(world.polled(row, Completed(ANSWER)))
    found = await counts(world)
    assert {name: found[name] for name in ("tokens:prompt", "tokens:completion", "detail:reasoning", "cost_micro")} == {
        "tokens:prompt": 100,
        "tokens:completion": 20,
        "detail:reasoning": 5,
        "cost_micro": 500_000,
    }
    assert (found["latency:90"], found["latency:ms"]) == (1, 65_000)
    assert (found["lag:60"], found["lag:ms"]) == (1, 60_000)


async def test_a_step_that_is_offered_again_counts_nothing_but_itself(world):
    [row] = await accepted(world, 1)
    ended = world.polled(row, Completed(ANSWER))
    await world.commit(ended)
    once = await counts(world)
    assert await world.commit(ended) == [False]
    assert await counts(world) == {**once, "stale": 1}


async def test_of_a_group_with_a_stale_step_the_others_count(world):
    await world.open(rows=2)
    one, two = (await world.claim()).rows
    await world.commit(world.sent(one, Accepted("task-0")))
    assert await world.commit(world.sent(one, Accepted("task-0")), world.sent(two, Accepted("task-1"))) == [False, True]
    assert await counts(world) == {"post:accepted": 2, "stale": 1}


async def test_a_row_of_a_dead_worker_counts_as_a_lost_post(world):
    await world.open(rows=1)
    await world.claim()
    world.clock.advance(10_000)
    [taken] = (await world.lapsed()).rows
    await world.commit(world.lost(taken, WORKER_LOST))
    assert await counts(world) == {"post:lost": 1, "again:unknown": 1}


async def test_rows_that_a_person_ends_are_counted_as_well(world):
    await world.open(rows=3)
    [row] = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Accepted("task-0")))
    await world.ledger.set_state(world.run, RunState.ABANDONING)
    assert await world.ledger.cancel_ready(world.run, 10, cancelled(world.clock())) == 2
    assert await world.ledger.abandon_pending(world.run, 10, abandoned(world.clock())) == 1
    assert await some(world, "ended:") == {"ended:cancelled": 3}


async def test_polls_of_late_ids_are_counted_once_each(world):
    await world.open(rows=1)
    late = LateId(0, "task-late", 1, 1)
    await world.ledger.note_late(world.run, late)
    [claimed] = (await world.ledger.claim_late(world.run, 10)).ids
    await world.ledger.settle_late(world.run, claimed, LateId(0, "task-late", 1, 1, asked_since_ms=5), 1_000)
    await world.ledger.settle_late(world.run, claimed, LateId(0, "task-late", 1, 1, asked_since_ms=5), 1_000)
    assert await counts(world) == {"poll:late": 1}


async def test_counts_outlive_their_run(world):
    await accepted(world, 2)
    await world.ledger.forget(world.run)
    assert await counts(world) == {"post:accepted": 2}


async def test_what_the_writer_saved_is_told_in_rows_ids_and_parts(world):
    rows = await accepted(world, 3)
    await world.commit(*(world.polled(row, Completed(ANSWER)) for row in rows))
    for limit in (2, 10):
        assert await world.ledger.results_written(world.run, await world.ledger.results(world.run, limit))
    await world.ledger.accepted_saved(world.run, await world.ledger.accepted_ids(world.run, 10))
    seen = await world.look()
    assert (seen.written, seen.parts, seen.ids_saved) == (3, 2, 3)


async def test_who_looked_after_the_runs_last_is_remembered(world):
    assert await world.ledger.last_beat() is None
    await world.ledger.note_beat("worker-1")
    world.clock.advance(90_000)
    assert await world.ledger.last_beat() == Beat("worker-1", world.clock() - 90_000)
