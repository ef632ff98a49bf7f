"""Who is at work, in Redis: shifts, tickets on their way, workers and short locks.

Presence is told by leases only: whatever stops renewing is gone, so nothing here can leak.
"""

from typing import Any
from uuid import uuid4

import orjson

from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import BEAT, IDENTITY, LEDGER_VERSION, LOCKS, WORKERS, RunKeys
from pipeline.ports import Beat, WorkerCard

SHIFT_LEASE_MS = 5_000
"""A shift that says nothing for so long is dead, and another is issued."""

TICKET_LEASE_MS = 3_000
"""A ticket that no worker took up for so long is lost."""

WORKER_LEASE_MS = 5_000


class RedisPresence:
    """The part of `ports.Ledger` that tells who is at work."""

    def __init__(self, door: RedisDoor) -> None:
        self._door = door

    async def begin_shift(self, run_id: str, role: str, holder: str, most: int) -> bool:
        """Register a live shift; False when as many are live already."""
        return bool(await self._shift(run_id, role, "begin", holder, SHIFT_LEASE_MS, most))

    async def renew_shift(self, run_id: str, role: str, holder: str) -> None:
        """Say that a shift is still at work."""
        await self._shift(run_id, role, "renew", holder, SHIFT_LEASE_MS, 0)

    async def end_shift(self, run_id: str, role: str, holder: str) -> None:
        """Say that a shift is over."""
        await self._shift(run_id, role, "end", holder, 0, 0)

    async def note_ticket(self, run_id: str, role: str, ticket: str) -> None:
        """Remember for a few seconds that a ticket is on its way."""
        await self._shift(run_id, role, "ticket", ticket, TICKET_LEASE_MS, 0)

    async def _shift(self, run_id: str, role: str, verb: str, holder: str, lease_ms: int, most: int) -> Any:  # noqa: ANN401
        keys = RunKeys(run_id)
        named = [keys(f"shifts:{role}"), keys(f"tickets:{role}")]
        return await self._door.script("shift", named, [verb, holder, lease_ms, most])

    async def register_worker(self, worker: WorkerCard) -> None:
        """Say that a worker is alive; forgotten after a few seconds."""
        packed = orjson.dumps(worker)
        await self._door.call("SET", f"{WORKERS}{worker.name}", packed, "PX", WORKER_LEASE_MS)

    async def workers(self) -> list[WorkerCard]:
        """Workers that are alive; one of another version serves no role here."""
        found: list[WorkerCard] = []
        cursor: Any = 0
        while True:
            cursor, names = await self._door.call("SCAN", cursor, "MATCH", f"{WORKERS}*", "COUNT", 500)
            packed = await self._door.call("MGET", *names) if names else ()
            found += [_read_worker(orjson.loads(card)) for card in packed if card is not None]
            if int(cursor) == 0:
                return sorted(found, key=lambda worker: worker.name)

    async def note_beat(self, holder: str) -> None:
        """Say that the acting heartbeat looked after all runs just now."""
        await self._door.script("beat", [BEAT], [holder])

    async def last_beat(self) -> Beat | None:
        """Who looked after the runs last, and when."""
        holder, at_ms = await self._door.call("HMGET", BEAT, "holder", "at")
        return None if holder is None else Beat(holder.decode(), int(at_ms))

    async def queued(self, queue: str) -> int:
        """Celery messages that wait in a queue."""
        return int(await self._door.call("LLEN", queue))

    async def lock(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a short lock; False when another holds it."""
        return bool(await self._door.script("lock", [f"{LOCKS}{name}"], [holder, round(seconds * 1000)]))

    async def lock_holder(self, name: str) -> str:
        """Who holds a lock; empty when nobody does."""
        holder = await self._door.call("GET", f"{LOCKS}{name}")
        return holder.decode() if holder else ""

    async def identity(self) -> str:
        """The random name of this ledger's server; new after its data were lost."""
        await self._door.call("SET", IDENTITY, uuid4().hex, "NX")
        return str((await self._door.call("GET", IDENTITY)).decode())

    async def unlock(self, name: str, holder: str) -> None:
        """Give a lock back if it is still ours."""
        await self._door.script("lock", [f"{LOCKS}{name}"], [holder, 0])


def served_here(worker: WorkerCard) -> WorkerCard:
    """A worker as this version sees it: one of another serves no role of its runs."""
    if worker.ledger_version == LEDGER_VERSION:
        return worker
    return WorkerCard(worker.name, (), 0, (), worker.ledger_version)


def _read_worker(values: dict[str, Any]) -> WorkerCard:
    """A worker as it registered; of another version's card only its name and version are sure to be understood."""
    name, version = values["name"], values["ledger_version"]
    if version != LEDGER_VERSION:
        return served_here(WorkerCard(name, (), 0, (), version))
    keys, roots = tuple(values["key_fingerprints"]), tuple(values.get("media_roots", ()))
    by_role = values.get("by_role", {})
    return WorkerCard(name, tuple(values["roles"]), values["shifts"], keys, version, roots, by_role)
