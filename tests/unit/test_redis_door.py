"""The door to Redis never loses the wish to stop, whatever the client makes of it."""

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from pipeline.core.errors import LedgerUnavailable
from pipeline.edges.redis_door import RedisDoor

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Client:
    """A client that makes an answer, or an error, of being cancelled."""

    def __init__(self, ends):
        self.ends = ends
        self.asked = asyncio.Event()

    async def execute_command(self, *_):
        self.asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        if self.ends is None:
            return b"OK"
        raise self.ends


@pytest.mark.parametrize("ends", [None, RedisConnectionError("closed"), OSError("gone")])
async def test_a_cancellation_that_the_client_swallows_still_ends_the_task(ends):
    door = RedisDoor("redis://localhost:1/0")
    door._client = Client(ends)

    async def renew_for_ever():
        while True:
            with suppress(LedgerUnavailable):
                await door.call("PING")

    renewing = asyncio.create_task(renew_for_ever())
    await door._client.asked.wait()
    renewing.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([renewing])
    assert renewing.cancelled()


async def test_a_timeout_around_a_call_stays_a_timeout():
    door = RedisDoor("redis://localhost:1/0")
    door._client = Client(RedisConnectionError("closed"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await door.call("PING")
