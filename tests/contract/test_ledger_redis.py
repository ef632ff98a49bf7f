"""What is true of Redis alone: its own clock, what stays in it, restarts, and being away."""

import asyncio
from dataclasses import replace

import orjson
import pytest
import redis

from pipeline.core.answers import Accepted, Problem, Refused
from pipeline.core.budget import Budget, Reservation
from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.late import LateId
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.submitting import after_submit
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import Commit, FedRow, RunCard, WorkerCard

pytestmark = pytest.mark.anyio

RUN = "run-20260101-one"
SHORT = Policy(lease_s=0.15, first_rows=100, poll="fixed:50ms")
DEADLINE_S = 10.0


@pytest.fixture
async def ledger(redis_url, anyio_backend):
    opened = RedisLedger(redis_url)
    card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", 10, SHORT)
    await opened.open_run(card, recover_until=0, ended={}, done=Rows())
    await opened.feed(RUN, 0, 4, [FedRow(row, b"{}") for row in range(4)])
    yield opened
    await opened.close()


@pytest.fixture
def store(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


async def until(found):
    """What `found` returns once it returns something."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if result := await found():
                return result
            await asyncio.sleep(0.01)


def sent(row, answer, now_ms):
    step = after_submit(answer, row.record, SHORT, parse_schedule(SHORT.poll), now_ms=now_ms, troubles=0, chance=0.0)
    return Commit(row.row_index, row.token, step)


async def test_the_clock_is_the_servers_own(ledger, store):
    seconds, micros = store.time()
    claim = await ledger.claim_submit(RUN, "worker-1", 4)
    assert 0 <= claim.now_ms - (seconds * 1000 + micros // 1000) < 5_000
    assert [row.claimed_at_ms for row in claim.rows] == [claim.now_ms] * 4


async def test_a_cap_and_what_rows_in_flight_hold_of_it_are_one_step(ledger, store):
    await ledger.set_reservation(RUN, Reservation(100, 0))
    await ledger.claim_submit(RUN, "worker-1", 4)
    card, key = await ledger.card(RUN), f"vidbatch:run:{RUN}:meta"
    writes = []

    async def call(*command):
        reply = await asked(*command)
        writes.append(store.hmget(key, "max_tokens", "held_tokens"))
        return reply

    asked, ledger._door.call = ledger._door.call, call
    await ledger.set_budget(RUN, Budget(tokens=200))
    await ledger.reopen(replace(card, budget=Budget(tokens=80)))
    assert set(map(tuple, writes)) == {(None, None), (b"200", b"50"), (b"80", b"20")}


async def test_a_lease_runs_out_by_that_clock(ledger):
    claim = await ledger.claim_submit(RUN, "worker-1", 1)

    async def lapsed():
        return (await ledger.claim_lapsed(RUN, "reaper-1", 9)).rows

    [taken] = await until(lapsed)
    assert (taken.before, taken.claimed_at_ms) == (claim.rows[0].token, claim.now_ms)


async def test_a_poll_comes_due_by_that_clock(ledger):
    claim = await ledger.claim_submit(RUN, "worker-1", 1)
    await ledger.commit(RUN, [sent(claim.rows[0], Accepted("task-0"), claim.now_ms)])

    async def due():
        return (await ledger.claim_polls(RUN, "poller-1", 9)).rows

    [row] = await until(due)
    assert row.record.generation_id == "task-0"


async def used_up(ledger):
    claim = await ledger.claim_submit(RUN, "worker-1", 9)
    answers = [Accepted("task-0"), Refused(Problem("no", "")), Accepted("task-2"), Refused(Problem("no", ""))]
    await ledger.commit(RUN, [sent(row, answer, claim.now_ms) for row, answer in zip(claim.rows, answers, strict=True)])
    for role in ("submit", "poll", "write", "control"):
        await ledger.begin_shift(RUN, role, "a", 9)
        await ledger.note_ticket(RUN, role, "t")


async def test_forgetting_leaves_no_key_with_the_runs_id(ledger, store):
    await used_up(ledger)
    assert len(store.keys(f"*{RUN}*")) > 10
    await ledger.forget(RUN)
    assert store.keys(f"*{RUN}*") == []
    for key in store.keys("vidbatch:*"):
        assert store.type(key) != b"set" or RUN.encode() not in store.smembers(key)


async def test_late_workers_leave_nothing_of_a_forgotten_run_for_long(ledger, store):
    await used_up(ledger)
    claim = await ledger.claim_polls(RUN, "poller-1", 9)
    results, ids = await ledger.results(RUN, 9), await ledger.accepted_ids(RUN, 9)
    await ledger.forget(RUN)
    late = RedisLedger(f"unix://{store.connection_pool.connection_kwargs['path']}")
    late._cards[RUN] = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", 10, SHORT)
    await late.commit(RUN, [sent(row, Accepted("x"), 1) for row in claim.rows])
    await late.results_written(RUN, results)
    await late.accepted_saved(RUN, ids)
    await late.results(RUN, 9)
    await late.set_state(RUN, RunState.PAUSED)
    await late.claim_submit(RUN, "worker-1", 9)
    await late.claim_polls(RUN, "worker-1", 9)
    await late.take_ready(RUN, "worker-1", 0)
    await late.note_late(RUN, LateId(0, "task-late", 1, 1))
    assert store.keys(f"*{RUN}*") == []
    await late.renew_shift(RUN, "poll", "a")
    await late.note_ticket(RUN, "poll", "t")
    assert all(store.pttl(key) > 0 for key in store.keys(f"*{RUN}*"))
    await late.close()


async def test_shifts_and_workers_are_forgotten_by_the_server_itself(ledger, store):
    await ledger.begin_shift(RUN, "poll", "a", 9)
    await ledger.register_worker(WorkerCard("w", ("poll",), 1, ("key",), 1))
    assert 0 < store.pttl(f"vidbatch:run:{RUN}:shifts:poll") <= 5_000
    assert 0 < store.pttl("vidbatch:worker:w") <= 5_000


async def test_the_key_and_the_bodies_of_ended_rows_are_not_in_redis(ledger, store):
    await used_up(ledger)
    assert store.hlen(f"vidbatch:run:{RUN}:bodies") == 2
    assert store.hlen(f"vidbatch:run:{RUN}:records") == 2
    assert store.hlen(f"vidbatch:run:{RUN}:tokens") == 0


async def test_scripts_are_loaded_again_after_the_server_forgot_them(ledger, store):
    await ledger.claim_submit(RUN, "worker-1", 1)
    store.script_flush()
    assert [row.row_index for row in (await ledger.claim_submit(RUN, "worker-1", 1)).rows] == [1]


async def test_what_was_committed_survives_a_killed_server(ledger, redis_server):
    await used_up(ledger)
    before = await ledger.snapshot(RUN)
    redis_server.kill()
    with pytest.raises(LedgerUnavailable):
        await ledger.snapshot(RUN)
    redis_server.restart()
    after = await ledger.snapshot(RUN)
    assert (after.pending, after.results, after.outcomes) == (before.pending, before.results, before.outcomes)
    assert (await ledger.accepted_ids(RUN, 9)).items[0].startswith(b'[0,"task-0"')


async def test_every_method_says_that_redis_is_away_in_one_way(redis_server, redis_url):
    ledger = RedisLedger("unix:///tmp/no-such-socket")
    for call in (ledger.active_runs(), ledger.workers(), ledger.card(RUN), ledger.lock("a", "b", 1.0)):
        with pytest.raises(LedgerUnavailable):
            await call
    await ledger.close()


async def test_another_versions_ledger_is_left_alone_whatever_its_card_looks_like(ledger, store):
    again = RedisLedger(f"unix://{store.connection_pool.connection_kwargs['path']}")
    store.hset(f"vidbatch:run:{RUN}:meta", mapping={"version": LEDGER_VERSION + 1, "card": b'{"new": "shape"}'})
    for call in (again.card(RUN), again.snapshot(RUN), again.claim_submit(RUN, "worker-1", 4)):
        with pytest.raises(
            LedgerMismatch, match=f"version {LEDGER_VERSION + 1}, and this vidbatch works with version {LEDGER_VERSION}"
        ):
            await call
    await again.close()


async def test_a_living_worker_whose_card_has_another_shape_is_read_all_the_same(ledger, store):
    store.set("vidbatch:worker:new", b'{"name": "new", "ledger_version": 99, "lanes": [1]}')
    assert await ledger.workers() == [WorkerCard("new", (), 0, (), 99)]


async def test_a_worker_of_this_version_that_tells_one_number_for_all_roles_is_read(ledger, store):
    card = {"name": "w", "roles": ["submit", "poll"], "shifts": 3, "key_fingerprints": []}
    store.set("vidbatch:worker:w", orjson.dumps({**card, "ledger_version": LEDGER_VERSION}))
    [worker] = await ledger.workers()
    assert [worker.shifts_of(role) for role in ("submit", "poll", "write")] == [3, 3, 0]


async def test_what_scripts_leave_that_come_to_a_lost_ledger_is_no_run_and_keeps_none_from_being_made(ledger, store):
    card = await ledger.card(RUN)
    store.flushall()
    for late in (ledger.claim_submit(RUN, "w", 4), ledger.claim_polls(RUN, "w", 4), ledger.results(RUN, 4)):
        await late
    await ledger.set_state(RUN, RunState.PAUSED, "late")
    store.hset(f"vidbatch:run:{RUN}:meta", "fed", 7)
    assert (await ledger.card(RUN), await ledger.snapshot(RUN)) == (None, None)
    assert await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    made = await ledger.snapshot(RUN)
    assert (made.state, made.fed, made.reason) == (RunState.RUNNING, 0, "")
