"""What a row costs where no machine is faster than another: round trips to Redis, its commands and the bytes between.

Nothing is timed. A change that asks Redis once for each row, or tells it a row's answer twice, is found here.
"""

import asyncio
import random

import orjson
import pytest
import redis

from pipeline.core.answers import Accepted
from pipeline.core.policy import Policy
from pipeline.core.reading import read_query
from pipeline.core.rows import Rows
from pipeline.edges.clock import MachineClock
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.flows.poll import poll_shift
from pipeline.flows.shift import Bench
from pipeline.flows.submit import submit_shift
from pipeline.ports import FedRow, RunCard

ROWS = 2_000
POLICY = Policy(poll="fixed:50ms", first_rows=10_000)
BODY = orjson.dumps({"model": "m", "prompt": "Describe the video.", "video_urls": ["https://videos.example/0001.mp4"]})
CONTENT = "A person walks along the street, past a shop, and a dog follows. " * 6
USAGE = {"prompt_tokens": 9_000, "completion_tokens": 78, "total_tokens": 9_078}


class Api:
    """Accepts every row, and has its answer at the first poll."""

    async def submit(self, body):
        del body
        await asyncio.sleep(0)
        return Accepted(f"task-llmrouter-{random.getrandbits(40):010x}")

    async def query(self, generation_id):
        await asyncio.sleep(0)
        answer = {"id": generation_id, "object": "chat.completion", "model": "m", "usage": USAGE}
        answer["choices"] = [{"index": 0, "message": {"content": CONTENT}, "finish_reason": "stop"}]
        task = {"id": generation_id, "status": "completed", "results": [answer]}
        return read_query(200, {}, orjson.dumps(task), now=0, longest_retry_after=300)


def bench(role, window):
    return Bench("run", role, f"{role}-1", window, 60, POLICY.lease_s, lambda: False)


async def a_run(url):
    """Feed, send, poll and drain the rows, each by the very steps that a worker takes."""
    ledger, clock = RedisLedger(url), MachineClock()
    await ledger.open_run(
        RunCard("run", "account", "http://api", "key", "/out", "token", "1", ROWS, POLICY),
        recover_until=0,
        ended={},
        done=Rows(),
    )
    for start in range(0, ROWS, 1_000):
        await ledger.feed("run", start, start + 1_000, [FedRow(row, BODY) for row in range(start, start + 1_000)])
    await submit_shift(bench("submit", 96), ledger, Api(), clock, POLICY, random.random)
    await poll_shift(bench("poll", 128), ledger, Api(), clock, POLICY, random.random)
    ids, results = await ledger.accepted_ids("run", ROWS), await ledger.results("run", ROWS)
    await ledger.accepted_saved("run", ids)
    await ledger.results_written("run", results)
    await ledger.close()
    return len(ids.items), sum(map(len, results.items))


@pytest.fixture
def costs(redis_url):
    """What Redis counted for one row of a run, by `INFO`, and the bytes of a row's result."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        accepted, result_bytes = asyncio.run(a_run(redis_url))
        told, commands = client.info("stats"), client.info("commandstats")
    assert accepted == ROWS
    calls = {name.removeprefix("cmdstat_"): counted["calls"] for name, counted in commands.items()}
    return {
        "round trips": (calls["evalsha"] + calls.get("eval", 0)) / ROWS,
        "commands": sum(calls.values()) / ROWS,
        "bytes": (told["total_net_input_bytes"] + told["total_net_output_bytes"]) / ROWS,
        "result": result_bytes / ROWS,
    }


def test_a_row_costs_redis_few_round_trips_commands_and_bytes(costs):
    assert costs["round trips"] <= 0.25, "steps and claims go in groups: one round trip serves many rows"
    assert costs["commands"] <= 4, "a row's steps share their commands with those of its group"
    sent_twice = 2 * (len(BODY) + costs["result"])
    assert costs["bytes"] <= sent_twice + 1_000, (
        "the question and the answer go in once and out once, ids and records beside"
    )
