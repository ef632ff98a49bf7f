"""All runs at a glance, by a real ledger: two accounts, a run of another version, and who is at work."""

import asyncio
from dataclasses import replace

import orjson
import redis

from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import FedRow, RunCard, WorkerCard

CARD = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 40, Policy(first_rows=1_000))


def begin(redis_url):
    async def with_ledger():
        ledger = RedisLedger(redis_url)
        cards = [CARD, replace(CARD, run_id="run-2", priority=30), replace(CARD, run_id="run-3", account="b#key")]
        for card in cards:
            await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
            await ledger.feed(card.run_id, 0, 40, [FedRow(i, b"{}") for i in range(40)])
        assert (await ledger.claim_submit("run-1", "worker-1", 6)).rows
        await ledger.set_state("run-3", RunState.PAUSED, "paused by a person")
        await ledger.open_run(replace(CARD, run_id="run-0"), recover_until=0, ended={}, done=Rows())
        await ledger.register_worker(WorkerCard("w", ("submit", "poll", "write", "control"), 1, ("key",), 4))
        await ledger.close()

    asyncio.run(with_ledger())
    with redis.Redis.from_url(redis_url) as client:
        client.hset("vidbatch:run:run-0:meta", "version", 1)


def test_all_runs_are_shown_by_account_with_what_they_wait_for(here, redis_url):
    begin(redis_url)
    said = here("status", "--redis", redis_url)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    accounts = [place for place, line in enumerate(lines) if line.startswith("account ")]
    assert [lines[place].partition(":")[0] for place in accounts] == ["account api#key", "account b#key"]
    first = "\n".join(lines[: accounts[1]])
    assert "run-1" in first
    assert "run-2" in first
    assert "100%" in first
    assert "run-3  paused" in said.out
    assert "waits for a person, who paused it" in said.out
    assert "workers: 1, of which 1 for submit, 1 for poll, 1 for write, 1 for control" in said.out
    assert "run-0  belongs to another version of vidbatch: look at it with that one" in lines
    told = orjson.loads(here("status", "--redis", redis_url, "--json").out)
    assert {run["run_id"]: (run["priority"], run["in_flight"]) for run in told} == {
        "run-1": (10, 6),
        "run-2": (30, 0),
        "run-3": (10, 0),
    }
    assert all({"ended", "average_rows_per_s", "left_s", "waits_for", "requests"} <= run.keys() for run in told)
