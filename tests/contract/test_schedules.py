"""What is kept of schedules, in memory and in Redis alike: books replaced by compare-and-set, and their history."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest
import redis

from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Missed, Notice, Overlap, Schedule
from pipeline.edges.memory_schedules import MemorySchedules
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import SCHEDULES
from pipeline.edges.redis_schedules import RedisSchedules
from pipeline.edges.schedule_books import FORMAT, HISTORY_KEPT

WITHIN_S = 30
NIGHTLY = Schedule("nightly", "0 2 * * *", "Europe/Berlin", ("tag-{date}.csv", "--out", "aus/ä"), "/jobs")
WHOLE = replace(NIGHTLY, overlap=Overlap.QUEUE, missed=Missed.SKIP, notify="https://hook.example/é", paused=True)
OPEN = Firing("20260102T010000Z", 1_767_315_600_000, Cause.CRON, FiringState.RUNNING, 5, "run-1", "/out", tries=2)
OVER = Firing(
    "20260101T010000Z.007",
    1_767_229_200_007,
    Cause.BY_HAND,
    FiringState.ENDED,
    1_767_229_300_000,
    "run-0",
    "s3://bucket/out",
    exit_code=1,
    said="11 of 12 rows completed, 1 failed",
    summary={"outcomes": {"completed": 11}, "cost": 0.25},
    notices=(Notice("ended", 2, 1_767_229_400_000, trouble="500"), Notice("paused", 1, 0, 7)),
)


@pytest.fixture(params=["memory", "redis"])
def world(request):
    """Opens the schedules of one store, as often as processes would."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None

    @asynccontextmanager
    async def opened(count=1):
        memory = MemorySchedules(lambda: time.time_ns() // 1_000_000)
        made = [memory if url is None else RedisSchedules(RedisDoor(url)) for _ in range(count)]
        try:
            yield made
        finally:
            for one in made:
                await one.close()

    return opened


def run(scene):
    return asyncio.run(asyncio.wait_for(scene, WITHIN_S))


def test_a_book_is_read_as_it_was_put(world):
    async def scene():
        async with world(2) as (one, other):
            assert await one.books() == []
            assert await one.book("nightly") is None
            book = Book(WHOLE, 1_767_402_000_000, (OVER, OPEN), 1_767_229_300_000)
            assert await one.put("nightly", None, book)
            assert await other.book("nightly") == book
            plain = Book(replace(NIGHTLY, name="a"), 9)
            assert await other.put("a", None, plain)
            assert await one.books() == [plain, book]
            assert await one.foreign() == []

    run(scene())


def test_a_book_is_replaced_only_by_who_saw_it_as_it_stands(world):
    async def scene():
        async with world() as (schedules,):
            first = Book(NIGHTLY, 1, revision=7)
            assert not await schedules.put("nightly", 7, first), "there is none yet"
            assert await schedules.put("nightly", None, first)
            assert not await schedules.put("nightly", None, first), "there is one already"
            second = first.revised(next_ms=2)
            assert await schedules.put("nightly", 7, second, [OVER])
            assert not await schedules.put("nightly", 7, second.revised(next_ms=3), [OPEN])
            assert await schedules.book("nightly") == second
            assert await schedules.history("nightly", 9) == [OVER], "who came late has left nothing"
            assert not await schedules.put("nightly", 7, None)
            assert await schedules.put("nightly", 8, None)
            assert await schedules.book("nightly") is None
            assert await schedules.history("nightly", 9) == []
            assert not await schedules.put("nightly", 8, second), "a removed one does not come back"

    run(scene())


def test_of_many_at_once_each_sees_what_the_others_did(world):
    async def add_one(schedules, number):
        while True:
            book = await schedules.book("nightly")
            firing = replace(OPEN, firing_id=f"{number:04}")
            if await schedules.put("nightly", book.revision, book.revised(firings=(*book.firings, firing))):
                return

    async def scene():
        async with world(4) as made:
            await made[0].put("nightly", None, Book(NIGHTLY, 1))
            await asyncio.gather(*(add_one(made[number % 4], number) for number in range(40)))
            book = await made[0].book("nightly")
            assert sorted(one.firing_id for one in book.firings) == [f"{number:04}" for number in range(40)]
            assert book.revision == 40

    run(scene())


def test_history_has_the_newest_of_each_and_has_an_end(world):
    async def scene():
        async with world() as (schedules,):
            book = Book(NIGHTLY, 1)
            await schedules.put("nightly", None, book)
            firings = [replace(OVER, firing_id=f"{number:04}") for number in range(HISTORY_KEPT + 30)]
            for begin in range(0, len(firings), 100):
                later = book.revised()
                assert await schedules.put("nightly", book.revision, later, firings[begin : begin + 100])
                book = later
            found = await schedules.history("nightly", 10_000)
            assert [one.firing_id for one in found] == [
                f"{HISTORY_KEPT + 29 - place:04}" for place in range(HISTORY_KEPT)
            ]
            told = replace(firings[-1], said="delivered")
            assert await schedules.put("nightly", book.revision, book.revised(), [told])
            assert await schedules.history("nightly", 2) == [told, firings[-2]]
            assert await schedules.history("other", 2) == []

    run(scene())


def test_time_is_told_in_ms(world):
    async def scene():
        async with world() as (schedules,):
            before = time.time_ns() // 1_000_000
            assert before - 2000 <= await schedules.now_ms() <= time.time_ns() // 1_000_000 + 2000

    run(scene())


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (
            {"format": FORMAT + 1, "revision": 3, "other": 1},
            f"schedule late: format: found {FORMAT + 1}; allowed is up",
        ),
        ({"format": FORMAT, "revision": 3, "book": {}}, "schedule late: its book can't be read"),
        ([], "schedule late: its book can't be read"),
    ],
)
def test_a_book_that_this_version_does_not_know_is_left_alone_and_keeps_no_other_waiting(redis_url, packed, words):
    async def scene():
        schedules = RedisSchedules(RedisDoor(redis_url))
        with redis.Redis.from_url(redis_url) as client:
            client.hset(SCHEDULES, "late", orjson.dumps(packed))
        book = Book(NIGHTLY, 1)
        try:
            assert await schedules.put("nightly", None, book)
            assert await schedules.books() == [book]
            assert await schedules.foreign() == ["late"]
            with pytest.raises(LedgerMismatch, match=words):
                await schedules.book("late")
            assert not await schedules.put("late", None, book)
        finally:
            await schedules.close()

    run(scene())


def test_redis_that_is_away_is_told_as_such():
    async def scene():
        schedules = RedisSchedules(RedisDoor("unix:///nowhere/s.sock"))
        for call in (schedules.now_ms(), schedules.books(), schedules.put("n", None, Book(NIGHTLY, 1))):
            with pytest.raises(LedgerUnavailable):
                await call
        await schedules.close()

    run(scene())
