"""The ledgers that pass one contract suite, each with a clock that tests move."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pipeline.core.policy import Policy
from pipeline.core.polling import DEFAULT
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.submitting import after_lost_post, after_submit
from pipeline.ports import Claim, Claimed, Commit, FedRow, Ledger, RunCard

RUN = "run-20260101-one"
DEADLINE_S = 10.0


@dataclass
class World:
    """A ledger and its clock, and short words for what workers do with them."""

    ledger: Ledger
    clock: Callable[[], int]
    kind: str
    again: Callable[[], Ledger] = field(repr=False)
    run: str = RUN

    @staticmethod
    def card(run_id=RUN, account="api#key", total=10, epoch="e1", **policy):
        policy = {"lease_s": 10.0, "first_rows": 100, "guard_first": 100, **policy}
        return RunCard(run_id, account, "https://api", "key", "out", "secret", epoch, total, Policy(**policy))

    async def open(self, rows=3, run_id=RUN, account="api#key", **policy):
        """A run with rows 0 .. rows-1 fed."""
        card = self.card(run_id, account, **policy)
        assert await self.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
        assert await self.ledger.feed(run_id, 0, rows, [FedRow(i, b'{"row":%d}' % i) for i in range(rows)])
        return card

    async def claim(self, limit=10, run_id=RUN, holder="worker-1") -> Claim:
        return await self.ledger.claim_submit(run_id, holder, limit)

    async def polls(self, limit=10, run_id=RUN, holder="poller-1") -> Claim:
        return await self.ledger.claim_polls(run_id, holder, limit)

    async def lapsed(self, limit=10, run_id=RUN, holder="reaper-1") -> Claim:
        return await self.ledger.claim_lapsed(run_id, holder, limit)

    def sent(self, row: Claimed, answer, troubles=0, **policy) -> Commit:
        """What a submit shift commits after this answer."""
        rules = self.card(**policy).policy
        step = after_submit(answer, row.record, rules, DEFAULT, now_ms=self.clock(), troubles=troubles, chance=0.0)
        return Commit(row.row_index, row.token, step)

    def polled(self, row: Claimed, answer, **policy) -> Commit:
        """What a poll shift commits after this answer."""
        rules = self.card(**policy).policy
        step = after_query(answer, row.record, rules, DEFAULT, now_ms=self.clock(), troubles=0, chance=0.0)
        return Commit(row.row_index, row.token, step)

    def lost(self, taken: Claimed, problem) -> Commit:
        """What the heartbeat commits for a row that it took over from a dead worker."""
        step = after_lost_post(
            taken.record,
            self.card().policy,
            problem,
            now_ms=self.clock(),
            sent_at_ms=taken.claimed_at_ms,
            token=taken.before or None,
        )
        return Commit(taken.row_index, taken.token, step)

    async def commit(self, *commits: Commit, run_id=RUN) -> list[bool]:
        return await self.ledger.commit(run_id, commits)

    async def look(self, run_id=RUN):
        found = await self.ledger.snapshot(run_id)
        assert found is not None
        return found

    async def eventually(self, holds):
        """Wait until `holds` does, while both clocks go on."""
        async with asyncio.timeout(DEADLINE_S):
            while not await holds():
                self.clock.advance(50)
                await asyncio.sleep(0.02)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(params=["memory", "redis"])
async def world(request, anyio_backend):
    if request.param == "memory":
        ledger, clock = request.getfixturevalue("clocked_memory")()
        yield World(ledger, clock, "memory", lambda: ledger)
        return
    url = request.getfixturevalue("redis_url")
    made = []

    def connect():
        ledger, clock = request.getfixturevalue("clocked_redis")(url)
        clock.close()
        made.append(ledger)
        return ledger

    ledger, clock = request.getfixturevalue("clocked_redis")(url)
    yield World(ledger, clock, "redis", connect)
    for opened in (ledger, *made):
        await opened.close()
    clock.close()
