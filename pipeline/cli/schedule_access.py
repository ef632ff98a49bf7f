"""Reach the fleet's schedules from a command, and change one by its book."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import click

from pipeline.core.errors import LedgerUnavailable, UsageError
from pipeline.core.notices import over
from pipeline.core.schedules import Book
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_schedules import RedisSchedules
from pipeline.ports import Schedules, WorkerCard

TRIES = 50
"""A book that is changed by others each time that it is looked at, so often in a row, is not to be changed now."""

WITHOUT_REDIS = (
    "schedules are kept in the fleet's Redis, and fired by its workers: give --redis URL, or set VIDBATCH_REDIS; on a "
    "machine of its own, without one, its cron gives the command"
)


redis_url = click.option(
    "--redis",
    "redis_url",
    envvar="VIDBATCH_REDIS",
    help="Redis server of the fleet, such as redis://host:6379/0; schedules are kept there.",
)


@asynccontextmanager
async def opened(redis_url: str | None) -> AsyncIterator[Schedules]:
    """The schedules of this Redis. UsageError without one: nobody would fire those of a private server."""
    if not redis_url:
        raise UsageError(WITHOUT_REDIS)
    schedules = RedisSchedules(RedisDoor(redis_url))
    try:
        yield schedules
    finally:
        await schedules.close()


async def known(schedules: Schedules, name: str) -> Book:
    """A schedule's book. UsageError names those that there are."""
    book = await schedules.book(name)
    if book is None:
        names = ", ".join(one.schedule.name for one in await schedules.books())
        raise UsageError(f"NAME: there is no schedule {name}; there are {names or 'none'}")
    return book


async def changed(schedules: Schedules, name: str, change: Callable[[Book, int], Book]) -> tuple[Book, Book]:
    """Change a book as it stands, whoever else does meanwhile; it before and after. UsageError where there is none."""
    for _ in range(TRIES):
        book = await known(schedules, name)
        after = change(book, await schedules.now_ms())
        if after == book:
            return book, book
        kept, ended = over(after)
        if await schedules.put(name, book.revision, kept, ended):
            return book, after
    raise LedgerUnavailable(f"schedule {name} is changed by others all the time; try again")


async def control_workers(redis_url: str) -> list[WorkerCard]:
    """The living workers that would give a command."""
    from pipeline.edges.redis_ledger import RedisLedger  # noqa: PLC0415 - most of these commands need none

    ledger = RedisLedger(redis_url)
    try:
        return [card for card in await ledger.workers() if "control" in card.roles]
    finally:
        await ledger.close()
