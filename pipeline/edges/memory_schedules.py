"""Schedules in memory: the same promises as in Redis. `clock` tells ms since 1970."""

from collections.abc import Callable, Sequence

from pipeline.core.errors import LedgerMismatch
from pipeline.core.schedules import Book, Firing
from pipeline.edges.schedule_books import HISTORY_KEPT, pack_book, pack_firing, unpack_book, unpack_firing


class MemorySchedules:
    """Implements `ports.Schedules`."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._books: dict[str, tuple[int, bytes]] = {}
        self._history: dict[str, dict[str, bytes]] = {}

    async def now_ms(self) -> int:
        """The clock's time, ms since 1970."""
        return self._clock()

    async def books(self) -> list[Book]:
        """Every schedule's book, by name; those that a newer version keeps are left to it."""
        foreign = await self.foreign()
        return [unpack_book(name, packed) for name, (_, packed) in sorted(self._books.items()) if name not in foreign]

    async def foreign(self) -> list[str]:
        """Names of schedules that a newer version keeps."""
        return [name for name, (_, packed) in sorted(self._books.items()) if not _is_read(name, packed)]

    async def book(self, name: str) -> Book | None:
        """One schedule's book. LedgerMismatch where a newer version keeps it."""
        kept = self._books.get(name)
        return None if kept is None else unpack_book(name, kept[1])

    async def put(self, name: str, before: int | None, after: Book | None, over: Sequence[Firing] = ()) -> bool:
        """Replace a book whose revision is still `before`; False, and nothing changed, where it is not."""
        revision, _ = self._books.get(name, (None, b""))
        if revision != before:
            return False
        if after is None:
            self._books.pop(name, None)
            self._history.pop(name, None)
            return True
        self._books[name] = after.revision, pack_book(after)
        history = self._history.setdefault(name, {})
        history.update({firing.firing_id: pack_firing(firing) for firing in over})
        for firing_id in sorted(history)[: max(0, len(history) - HISTORY_KEPT)]:
            del history[firing_id]
        return True

    async def history(self, name: str, limit: int) -> list[Firing]:
        """Firings that are over, newest first."""
        kept = self._history.get(name, {})
        return [unpack_firing(kept[firing_id]) for firing_id in sorted(kept, reverse=True)[:limit]]

    async def close(self) -> None:
        """Nothing is to be closed."""


def _is_read(name: str, packed: bytes) -> bool:
    try:
        unpack_book(name, packed)
    except LedgerMismatch:
        return False
    return True
