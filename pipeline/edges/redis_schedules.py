"""Schedules in Redis: one book each, replaced whole by whoever saw it as it stands, and a history of firings."""

from collections.abc import Sequence

from pipeline.core.errors import LedgerMismatch
from pipeline.core.schedules import Book, Firing
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import SCHEDULES, schedule_history_key
from pipeline.edges.schedule_books import HISTORY_KEPT, pack_book, pack_firing, unpack_book, unpack_firing


class RedisSchedules:
    """Implements `ports.Schedules`."""

    def __init__(self, door: RedisDoor) -> None:
        self._door = door

    async def now_ms(self) -> int:
        """The server's time, ms since 1970."""
        seconds, micros = await self._door.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def books(self) -> list[Book]:
        """Every schedule's book, by name; those that a newer version keeps are left to it."""
        found, _ = await self._all()
        return found

    async def foreign(self) -> list[str]:
        """Names of schedules that a newer version keeps."""
        _, foreign = await self._all()
        return foreign

    async def book(self, name: str) -> Book | None:
        """One schedule's book. LedgerMismatch where a newer version keeps it."""
        packed = await self._door.call("HGET", SCHEDULES, name)
        return None if packed is None else unpack_book(name, packed)

    async def put(self, name: str, before: int | None, after: Book | None, over: Sequence[Firing] = ()) -> bool:
        """Replace a book whose revision is still `before`; False, and nothing changed, where it is not."""
        args: list[str | int | bytes] = [name, "" if before is None else before]
        args += ["" if after is None else pack_book(after), HISTORY_KEPT]
        for firing in over:
            args += [firing.firing_id, pack_firing(firing)]
        return bool(await self._door.script("put_schedule", [SCHEDULES, schedule_history_key(name)], args))

    async def history(self, name: str, limit: int) -> list[Firing]:
        """Firings that are over, newest first."""
        ids = sorted(await self._door.call("HKEYS", schedule_history_key(name)), reverse=True)[:limit]
        packed = await self._door.call("HMGET", schedule_history_key(name), *ids) if ids else ()
        return [unpack_firing(one) for one in packed if one is not None]

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()

    async def _all(self) -> tuple[list[Book], list[str]]:
        flat = await self._door.call("HGETALL", SCHEDULES)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        found: list[Book] = []
        foreign: list[str] = []
        for name, packed in sorted(pairs):
            try:
                found.append(unpack_book(name.decode(), packed))
            except LedgerMismatch:
                foreign.append(name.decode())
        return found, foreign
