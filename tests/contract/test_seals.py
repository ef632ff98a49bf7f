"""What is kept of seals, in memory and in Redis alike."""

import pytest

from pipeline.edges.memory_seals import MemorySeals
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_seals import RedisSeals

API, SECOND = "https://api.example/ä", "http://127.0.0.1:8080"


@pytest.fixture(params=["memory", "redis"])
async def seals(request, anyio_backend):
    if request.param == "memory":
        yield MemorySeals()
        return
    kept = RedisSeals(RedisDoor(request.getfixturevalue("redis_url")))
    yield kept
    await kept.close()


@pytest.mark.anyio
async def test_what_was_not_kept_is_not_found(seals):
    assert await seals.find("a", API) is None
    assert await seals.every("a") == {}


@pytest.mark.anyio
async def test_seals_are_found_by_key_and_address(seals):
    await seals.keep("a", API, "one")
    await seals.keep("a", SECOND, "two")
    await seals.keep("b", API, "three")
    assert await seals.find("a", API) == "one"
    assert await seals.find("b", API) == "three"
    assert await seals.find("b", SECOND) is None
    assert await seals.every("a") == {API: "one", SECOND: "two"}


@pytest.mark.anyio
async def test_the_last_one_of_an_address_is_kept(seals):
    await seals.keep("a", API, "one")
    await seals.keep("a", API, "two")
    assert await seals.every("a") == {API: "two"}
