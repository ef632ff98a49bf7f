"""What waits in Redis for the writer: results and accepted ids, noted as a range before they are forgotten."""

from pipeline.edges.redis_cards import RedisCards
from pipeline.edges.redis_keys import RunKeys
from pipeline.ports import Batch


class RedisBatches(RedisCards):
    """The part of `ports.Ledger` that the writer drains."""

    async def results(self, run_id: str, limit: int) -> Batch:
        """Note and return the oldest results."""
        return await self._batch(run_id, "results", limit)

    async def results_written(self, run_id: str, batch: Batch) -> bool:
        """Forget results that are safely on disk."""
        return await self._forget_batch(run_id, "results", batch, "results_bytes", "parts")

    async def accepted_ids(self, run_id: str, limit: int) -> Batch:
        """Note and return the oldest accepted ids that are not on disk yet."""
        return await self._batch(run_id, "accepted", limit)

    async def accepted_saved(self, run_id: str, batch: Batch) -> bool:
        """Forget ids that are safely on disk."""
        return await self._forget_batch(run_id, "accepted", batch, "", "")

    async def _batch(self, run_id: str, name: str, limit: int) -> Batch:
        keys = RunKeys(run_id)
        reply = await self._door.script(
            "note_batch", [keys("meta"), keys(name)], [f"{name}_start", f"{name}_noted", limit]
        )
        return Batch(reply[0], tuple(reply[1:]))

    async def _forget_batch(self, run_id: str, name: str, batch: Batch, bytes_field: str, count: str) -> bool:
        keys = RunKeys(run_id)
        args = [f"{name}_start", f"{name}_noted", batch.start, batch.end, sum(map(len, batch.items)), bytes_field]
        args.append(count)
        return bool(await self._door.script("ack_batch", [keys("meta"), keys(name)], args))
