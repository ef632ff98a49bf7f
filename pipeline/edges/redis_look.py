"""A first look at Redis, before a worker begins: whoever is not let in hears it at once, and does not try for ever."""

import asyncio

from pipeline.core.errors import LedgerRefused, LedgerUnavailable
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import IDENTITY, QUEUES


async def _look(url: str) -> None:
    door = RedisDoor(url)
    try:
        await door.call("GET", IDENTITY)
        await door.call("PUBLISH", f"{QUEUES}look", "")  # Celery speaks to its workers through channels of this prefix
    finally:
        await door.close()


def see_that_it_lets_us_in(url: str) -> None:
    """LedgerRefused where a password, a rule or a certificate is in the way. One that is away may come yet."""
    try:
        asyncio.run(_look(url))
    except LedgerRefused:
        raise
    except LedgerUnavailable:
        return
