"""Schedules in memory, whose clock the test moves."""

from collections.abc import Sequence

from pipeline.core.schedules import Book, Firing


class BookShelf:
    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.at_ms = now_ms
        self.kept: dict[str, Book] = {}
        self.past: dict[str, list[Firing]] = {}

    async def now_ms(self) -> int:
        return self.at_ms

    async def books(self) -> list[Book]:
        return [self.kept[name] for name in sorted(self.kept)]

    async def book(self, name: str) -> Book | None:
        return self.kept.get(name)

    async def put(self, name: str, before: int | None, after: Book | None, over: Sequence[Firing] = ()) -> bool:
        there = self.kept.get(name)
        if (None if there is None else there.revision) != before:
            return False
        if after is None:
            self.kept.pop(name, None)
            self.past.pop(name, None)
            return True
        self.kept[name] = after
        ids = {firing.firing_id for firing in over}
        rest = [firing for firing in self.past.get(name, []) if firing.firing_id not in ids]
        self.past[name] = sorted([*rest, *over], key=lambda firing: firing.firing_id)
        return True

    async def history(self, name: str, limit: int) -> list[Firing]:
        return self.past.get(name, [])[::-1][:limit]
