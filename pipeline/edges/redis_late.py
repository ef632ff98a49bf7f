"""Late ids in Redis: accepted generations whose row went on without them, until somebody has asked how they ended."""

from dataclasses import replace
from typing import Any

import orjson

from pipeline.core.budget import Settled
from pipeline.core.late import LateId, late_line, read_late
from pipeline.core.permits import LATE_PERMITS, LATE_US, LEAST_LATE_US, PAUSE_US
from pipeline.edges.redis_batches import RedisBatches
from pipeline.edges.redis_keys import RunKeys, account_counts_key, account_key
from pipeline.ports import LateClaim

LATE_LEASE_MS = 30_000
"""A worker that took late ids and says nothing for so long is gone; asking twice costs nothing."""


class RedisLate(RedisBatches):
    """The part of `ports.Ledger` that keeps late ids."""

    async def note_late(self, run_id: str, late: LateId) -> bool:
        """Keep, count and queue an accepted id whose row went on without it."""
        keys = RunKeys(run_id)
        named = [keys(name) for name in ("meta", "accepted", "late", "records")]
        args = [late_line(replace(late, ending=None)), late.row_index, orjson.dumps(late.generation_id)]
        return bool(await self._door.script("late", named, args))

    async def claim_late(self, run_id: str, limit: int) -> LateClaim:
        """Late ids that are due to be asked for, as far as the account's polls are allowed."""
        named = [RunKeys(run_id)("late"), account_key((await self._known(run_id)).account)]
        args = [limit, LATE_LEASE_MS, LATE_US, PAUSE_US, LEAST_LATE_US, LATE_PERMITS]
        reply = await self._door.script("claim_late", named, args)
        return LateClaim(tuple(read_late(line) for line in reply[2:]), reply[0], reply[1])

    async def settle_late(
        self,
        run_id: str,
        before: LateId,
        after: LateId,
        wait_ms: int,
        used: Settled = Settled(),
        *,
        throttled: bool = False,
    ) -> None:
        """Ask for a late id again after `wait_ms`, or save its ending and forget it; `used` is spent, once."""
        keys = RunKeys(run_id)
        account = (await self._known(run_id)).account
        args: list[Any] = [late_line(before), late_line(after), "" if after.ending is None else "1", wait_ms]
        args += [used.prompt_tokens, used.completion_tokens, used.cost_micro, used.kept, "1" if throttled else ""]
        args.append(before.row_index)
        named = [keys("accepted"), keys("late"), keys("meta"), account_key(account), keys("kept")]
        named.append(account_counts_key(account))
        await self._door.script("settle_late", named, args)
