"""What counting for `vidbatch metrics` costs the ledger: the same steps with and without, in turns, on one server.

    python -m benchmarks.metrics_cost [--rows 2000] [--rounds 12]

Each round takes rows from the feed to the writer in groups as workers do: accepted, polled twice, completed. It tells
the CPU of Redis and of the client for each row, and the ratios of with to without.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.answers import Accepted, Completed, Completion, Running
from pipeline.core.policy import Policy
from pipeline.core.polling import DEFAULT
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.submitting import after_submit
from pipeline.edges import redis_ledger
from pipeline.edges.embedded import EmbeddedServer, server_binary
from pipeline.edges.environment import process_environment
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.flows.committing import GROUP_ROWS
from pipeline.ports import Commit, FedRow, RunCard

COUNTING = redis_ledger.count_arguments
POLICY = Policy(first_rows=100_000, max_in_flight=100_000, lease_s=3600.0)
BODY = b'{"model":"m","messages":"' + 600 * b"x" + b'"}'
ANSWER = Completion(content=1200 * "a", prompt_tokens=18_000, completion_tokens=400, reasoning_tokens=80, cost=0.01)


@dataclass(frozen=True)
class Cost:
    """µs a row."""

    redis: float
    client: float
    wall: float


def _not_counting(_steps):
    return [0]


async def _commit(ledger, run_id, commits):
    for start in range(0, len(commits), GROUP_ROWS):
        assert all(await ledger.commit(run_id, commits[start : start + GROUP_ROWS]))


async def _round(ledger, door, run_id, rows):
    card = RunCard(run_id, "api#bench", "https://api", "key", "out", "secret", "e1", rows, POLICY)
    await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    await ledger.feed(run_id, 0, rows, [FedRow(i, BODY) for i in range(rows)])
    before, client, wall = await _redis_cpu(door), time.process_time(), time.perf_counter()
    claimed = []
    while len(claimed) < rows:
        claim = await ledger.claim_submit(run_id, "bench", 96)
        now_ms = claim.now_ms
        steps = [
            after_submit(
                Accepted(f"task-{row.row_index}"), row.record, POLICY, DEFAULT, now_ms=now_ms, troubles=0, chance=0.0
            )
            for row in claim.rows
        ]
        commits = [Commit(row.row_index, row.token, _soon(step)) for row, step in zip(claim.rows, steps, strict=True)]
        await _commit(ledger, run_id, commits)
        claimed += claim.rows
    for answer in (Running("running"), Running("running"), Completed(ANSWER)):
        left = rows
        while left > 0:
            claim = await ledger.claim_polls(run_id, "bench", 256)
            if not claim.rows:
                await asyncio.sleep(0.005)
                continue
            steps = [
                after_query(answer, row.record, POLICY, DEFAULT, now_ms=claim.now_ms + 700, troubles=0, chance=0.0)
                for row in claim.rows
            ]
            commits = [
                Commit(row.row_index, row.token, _soon(step)) for row, step in zip(claim.rows, steps, strict=True)
            ]
            await _commit(ledger, run_id, commits)
            left -= len(claim.rows)
    wall, client, after = time.perf_counter() - wall, time.process_time() - client, await _redis_cpu(door)
    await ledger.forget(run_id)
    return Cost(1e6 * (after - before) / rows, 1e6 * client / rows, 1e6 * wall / rows)


def _soon(step):
    """The step with its next poll at once, so that nothing waits here."""
    return (
        step if step.ending is not None else type(step)(step.source, step.event, step.record, 1, observed=step.observed)
    )


async def _redis_cpu(door):
    told = await door.call("INFO", "cpu")
    if not isinstance(told, dict):
        told = dict(line.split(":") for line in told.decode().splitlines() if ":" in line)
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


async def _measure(url, rows, rounds):
    ledger, door = RedisLedger(url), RedisDoor(url)
    costs = {True: [], False: []}
    for number in range(rounds + 1):
        # who goes first changes, since a machine that is warm or busy favours one of them
        for counts in (True, False) if number % 2 else (False, True):
            redis_ledger.count_arguments = COUNTING if counts else _not_counting
            cost = await _round(ledger, door, f"run-bench-{number}-{counts}", rows)
            if number:
                costs[counts].append(cost)
    await ledger.close()
    await door.close()
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="vb-cost-"))
    server = EmbeddedServer(state, server_binary(process_environment().get("PATH")))
    server.enter()
    try:
        costs = asyncio.run(_measure(server.url, options.rows, options.rounds))
    finally:
        server.leave()
        shutil.rmtree(state, ignore_errors=True)
    for part in ("redis", "client", "wall"):
        without, counting = ([getattr(cost, part) for cost in costs[counts]] for counts in (False, True))
        ratios = sorted(b / a for a, b in zip(without, counting, strict=True))
        quarter = len(ratios) // 4
        print(
            f"{part:7} {statistics.median(without):7.1f} µs a row without, {statistics.median(counting):7.1f} with: "
            f"ratio {statistics.median(ratios):.3f} (quartiles {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})"
        )


if __name__ == "__main__":
    main()
