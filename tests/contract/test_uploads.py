"""Who uploads a file, and where it lies from then on: in memory and in Redis alike."""

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from pipeline.core.answers import NothingSent, Problem
from pipeline.edges.memory_uploads import MemoryUploads
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_uploads import RedisUploads
from pipeline.edges.shared_uploads import SharedUploads

WITHIN_S = 30


class Clock:
    def monotonic(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


@pytest.fixture(params=["memory", "redis"])
def world(request):
    """Opens one store's uploads, as often as processes would; within one loop."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None

    @asynccontextmanager
    async def opened(count=1):
        memory = MemoryUploads(asyncio.get_running_loop().time)
        made = [memory if url is None else RedisUploads(RedisDoor(url)) for _ in range(count)]
        try:
            yield made
        finally:
            for one in made:
                if url is not None:
                    await one.close()

    return opened


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, WITHIN_S))


async def until(holds):
    tick = asyncio.Event()
    while not await holds():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(tick.wait(), 0.01)


def test_a_file_is_found_by_account_and_hash_for_as_long_as_it_is_kept(world):
    async def scenario():
        async with world() as (uploads,):
            assert await uploads.find("a", "d") is None
            await uploads.keep("a", "d", "https://one/ä.mp4", 60)
            assert await uploads.find("a", "d") == "https://one/ä.mp4"
            assert await uploads.find("b", "d") is None
            assert await uploads.find("a", "e") is None
            await uploads.keep("a", "d", "https://two", 0.05)

            async def gone():
                return await uploads.find("a", "d") is None

            await until(gone)

    run(scenario())


def test_one_uploads_at_a_time_until_it_is_through_or_silent(world):
    async def scenario():
        async with world(2) as (one, other):
            assert await one.take("a", "d", "one", 60)
            assert await one.take("a", "d", "one", 60)
            assert not await other.take("a", "d", "other", 60)
            assert await other.take("a", "e", "other", 60)
            await other.release("a", "d", "other")
            assert not await other.take("a", "d", "other", 60)
            await one.release("a", "d", "one")
            assert await other.take("a", "d", "other", 0.05)

            async def lapsed():
                return await one.take("a", "d", "one", 60)

            await until(lapsed)

    run(scenario())


def test_fifty_rows_in_two_processes_upload_once(world):
    uploaded = []

    async def upload():
        uploaded.append(1)
        await asyncio.sleep(0.2)
        return "https://store/a.mp4"

    async def scenario():
        async with world(2) as stores:
            shared = [SharedUploads(store, Clock(), look_s=0.02) for store in stores]
            urls = await asyncio.gather(*(shared[i % 2].url_of("a", "d", upload) for i in range(50)))
            assert set(urls) == {"https://store/a.mp4"}

    run(scenario())
    assert len(uploaded) == 1


@pytest.mark.parametrize(("ago_s", "uploads_in_all"), [(0, 2), (7200, 4)], ids=["valid", "expired"])
def test_a_url_that_may_be_signed_is_no_word_for_others_and_used_while_it_is_valid(world, ago_s, uploads_in_all):
    uploaded = []

    async def upload():
        uploaded.append(1)
        signed_at = datetime.fromtimestamp(time.time() - ago_s, UTC)
        return f"https://store/a.mp4?X-Amz-Date={signed_at:%Y%m%dT%H%M%SZ}&X-Amz-Expires=3600&X-Amz-Signature=5ec"

    async def scenario():
        async with world(2) as stores:
            shared = [SharedUploads(store, Clock(), look_s=0.02) for store in stores]
            urls = [await shared[i % 2].url_of("a", "d", upload) for i in range(4)]
            assert all("Signature=5ec" in url for url in urls)
            assert await stores[0].find("a", "d") is None

    run(scenario())
    assert len(uploaded) == uploads_in_all


def test_who_waits_for_an_uploader_that_died_uploads_itself(world):
    async def upload():
        return "https://store/a.mp4"

    async def scenario():
        async with world(2) as (dead, living):
            assert await dead.take("a", "d", "dead", 0.3)
            assert await SharedUploads(living, Clock(), look_s=0.02).url_of("a", "d", upload) == "https://store/a.mp4"

    run(scenario())


def test_an_upload_that_takes_longer_than_a_lease_stays_alone(world):
    uploaded = []

    async def upload():
        uploaded.append(1)
        await asyncio.sleep(0.8)
        return "https://store/a.mp4"

    async def scenario():
        async with world(2) as stores:
            shared = [SharedUploads(store, Clock(), look_s=0.02, lease_s=0.3) for store in stores]
            await asyncio.gather(*(one.url_of("a", "d", upload) for one in shared))

    run(scenario())
    assert len(uploaded) == 1


def test_an_upload_that_failed_is_tried_by_the_next_one(world):
    answers = [NothingSent(Problem("connect_failed", "no")), "https://store/a.mp4"]

    async def upload():
        return answers.pop(0)

    async def scenario():
        async with world() as (store,):
            shared = SharedUploads(store, Clock(), look_s=0.02)
            return await asyncio.gather(*(shared.url_of("a", "d", upload) for _ in range(3)))

    told = run(scenario())
    assert [type(one) for one in told] == [NothingSent, str, str]
