"""Nights that pass in seconds: a schedule on three real workers, with a Redis server whose clock the test moves."""

import asyncio
import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import redis

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.firings import added, paused, resumed
from pipeline.core.schedules import Cause, FiringState, Schedule
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import LOCKS
from pipeline.edges.redis_schedules import RedisSchedules
from pipeline.flows.firing import put
from tests.conftest import RedisServer
from tests.seals import seal

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ROWS = 12
BERLIN = "Europe/Berlin"
NAME = "nightly"
KEY = "sk-nights"


def utc(text: str) -> int:
    """Ms since 1970 of a time such as `2026-03-29 01:00`."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Sky:
    """The Redis server's clock: real time and an offset, which jumps."""

    def __init__(self, file: Path) -> None:
        self._file = file
        library = Path(find_spec("libfaketime").origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
        self.environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }

    def jump(self, to: str) -> None:
        """Let it be this time now, and go on from there."""
        offset = utc(to) / 1000 - time.time()
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset:+.3f}")
        new.replace(self._file)  # half a file would be another time


class Fleet:
    """Workers, a simulated API and a schedule; `told` is what the schedule's history says, by planned time."""

    def __init__(self, state, tmp_path, api, faults) -> None:
        self.folder, self.state, self.api = tmp_path, state, api
        self.eventually = faults.eventually
        self.sky = Sky(state / "time")
        self.sky.jump("2026-03-27 12:00")
        self.redis = RedisServer(state, self.sky.environment)
        self.workers: list[subprocess.Popen] = []
        self.days: list[str] = []

    def start_workers(self, count: int) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
        told = {"VIDBATCH_REDIS": self.redis.url, "VIDBATCH_API_KEY": KEY, "VIDBATCH_STATE": str(self.state)}
        for _ in range(count):
            with (self.folder / "workers.log").open("ab") as log:
                self.workers.append(
                    subprocess.Popen([sys.executable, "-m", "workers"], env=clean | told, stdout=log, stderr=log)
                )

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            worker.wait(60)

    def manifest(self, *days: str) -> None:
        """A manifest for each of these days, all rows of which are its own."""
        for day in days:
            self.days.append(day)
            with (self.folder / f"day-{day}.csv").open("w", newline="") as file:
                rows = [(f"{day}-{i}", f"https://videos.example/{day}/{i}.mp4", prompt(day, i)) for i in range(ROWS)]
                csv.writer(file).writerows([("id", "video_url", "prompt"), *rows])

    def paid(self) -> dict[str, int]:
        """Rows of each day that were sent; none of them twice."""
        books = self.api.posts_by_prompt()
        asked = {
            day: [books.get(sha256(prompt(day, i).encode()).hexdigest(), []) for i in range(ROWS)] for day in self.days
        }
        twice = {day: [len(ids) for ids in rows if len(ids) > 1] for day, rows in asked.items()}
        assert not any(twice.values()), f"rows that were paid for twice: {twice}"
        assert sum(map(len, books.values())) == sum(len(ids) for rows in asked.values() for ids in rows)
        return {day: count for day, rows in asked.items() if (count := sum(map(len, rows)))}

    def with_schedules(self, act):
        """What `act`, given the schedules, returns."""

        async def scene():
            schedules = RedisSchedules(RedisDoor(self.redis.url))
            try:
                return await act(schedules)
            finally:
                await schedules.close()

        return asyncio.run(scene())

    def add(self, schedule: Schedule) -> None:
        seal(self.redis.url, KEY, self.api.base_url)

        async def act(schedules):
            assert await schedules.put(NAME, None, added(schedule, await schedules.now_ms()))

        self.with_schedules(act)

    def change(self, how) -> None:
        async def act(schedules):
            while True:
                book = await schedules.book(NAME)
                if await put(schedules, book, how(book, await schedules.now_ms())):
                    return

        self.with_schedules(act)

    def book(self):
        return self.with_schedules(lambda schedules: schedules.book(NAME))

    def told(self):
        return {one.at_ms: one for one in self.with_schedules(lambda schedules: schedules.history(NAME, 500))}

    def until_over(self, at: str):
        """Wait until the firing of this time is over, and return it."""

        def over():
            with suppress(LedgerUnavailable):
                return self.told().get(utc(at))
            return None

        return self.eventually(over, f"the firing of {at} is over; the book is {self.book()}", every_s=0.3)

    def until_running(self, at: str):
        def running():
            return next(
                (one for one in self.book().firings if one.at_ms == utc(at) and one.state is FiringState.RUNNING), None
            )

        return self.eventually(running, f"the run of {at} is with the fleet", every_s=0.3)

    def until_launching(self, at: str) -> int:
        """Wait until somebody gives the command, and return the worker's process id."""

        def launching():
            return next((one.holder for one in self.book().firings if one.state is FiringState.LAUNCHING), None)

        holder = self.eventually(launching, f"the command of {at} is being given", every_s=0.02)
        return int(holder.rpartition("-")[2])

    def heart(self) -> int:
        """The process that holds the heartbeat."""
        with redis.Redis.from_url(self.redis.url) as client:
            holder = self.eventually(lambda: client.get(f"{LOCKS}heartbeat"), "somebody holds the heartbeat")
        return int(holder.decode().rpartition("-")[2])

    def until_next(self, at: str) -> None:
        """Wait until the heartbeat has counted on to this time."""
        self.eventually(lambda: self.book().next_ms == utc(at), f"the next time is {at}", every_s=0.2)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.redis.kill()


def prompt(day: str, row: int) -> str:
    return f"What happens in clip {row} of {day}?"


@pytest.fixture
def fleet(state, tmp_path, simulator, faults):
    made = Fleet(state, tmp_path, simulator(latency="0.3s"), faults)
    yield made
    made.close()


def nightly(fleet: Fleet, **changes) -> Schedule:
    command = ("day-{date}.csv", "--out", "out", "--base-url", fleet.api.base_url, "--poll", "fixed:200ms")
    return replace(Schedule(NAME, "30 2 * * *", BERLIN, command, str(fleet.folder)), **changes)


class Story:
    """What the nights of one test came to, as their planned times in UTC."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def plain(self, at: str):
        """A night of which nothing is to be told."""
        self._fleet.until_next(at)
        self._fleet.sky.jump(_just_before(at))
        over = self._fleet.until_over(at)
        assert (over.state, over.exit_code) == (FiringState.ENDED, 0), over
        return over

    def overlapped(self, at: str, next_at: str) -> None:
        """The run takes longer than a day, so the next night is skipped."""
        fleet = self._fleet
        fleet.until_next(at)
        fleet.api.set(latency="45s")
        fleet.sky.jump(_just_before(at))
        slow = fleet.until_running(at)
        fleet.sky.jump(_just_before(next_at))
        skipped = fleet.until_over(next_at)
        assert (skipped.state, skipped.exit_code) == (FiringState.SKIPPED, None)
        assert slow.run_id in skipped.said
        fleet.api.set(latency="0.3s")
        assert fleet.until_over(at).exit_code == 0

    def acting_worker_killed(self, at: str) -> None:
        """The worker that holds the heartbeat dies just before the time comes."""
        heart = self._fleet.heart()
        psutil.Process(heart).kill()
        self.plain(at)
        assert self._fleet.heart() != heart

    def redis_killed(self, at: str) -> None:
        """Redis dies while the run is with the fleet, and comes back."""
        fleet = self._fleet
        fleet.until_next(at)
        fleet.api.set(latency="6s")
        fleet.sky.jump(_just_before(at))
        fleet.until_running(at)
        fleet.redis.kill()
        fleet.redis.restart()
        assert fleet.until_over(at).exit_code == 0
        fleet.api.set(latency="0.3s")

    def nobody_at_work(self, missed: str, caught_up: str, back: str) -> None:
        """No worker lives for two nights: the later one is caught up."""
        fleet = self._fleet
        fleet.until_next(missed)
        fleet.stop_workers()
        fleet.sky.jump(back)
        fleet.start_workers(3)
        late = fleet.until_over(caught_up)
        assert (late.cause, late.exit_code) == (Cause.CAUGHT_UP, 0)
        assert fleet.told()[utc(missed)].state is FiringState.MISSED


def _just_before(at: str) -> str:
    return datetime.fromtimestamp(utc(at) / 1000 - 2, UTC).strftime("%Y-%m-%d %H:%M:%S")


def test_nights_with_summer_time_a_dead_heartbeat_a_restarted_redis_an_overlap_and_nobody_at_work(fleet):
    began = time.monotonic()
    fleet.manifest(*(f"2026-03-{day}" for day in (28, 29, 30, 31)), *(f"2026-04-0{day}" for day in range(1, 6)))
    fleet.manifest(*(f"2026-10-{day}" for day in (24, 25, 26)))
    fleet.add(nightly(fleet))
    fleet.start_workers(3)
    fleet.heart()
    story = Story(fleet)

    first = story.plain("2026-03-28 01:30")
    assert first.cause is Cause.CRON
    assert first.summary["outcomes"]["completed"] == ROWS
    # Half past two does not come: it fires as soon as clocks have jumped to three. From then on it is an hour earlier.
    story.plain("2026-03-29 01:00")
    story.overlapped("2026-03-30 00:30", "2026-03-31 00:30")
    story.acting_worker_killed("2026-04-01 00:30")
    story.redis_killed("2026-04-02 00:30")
    story.nobody_at_work("2026-04-03 00:30", "2026-04-04 00:30", back="2026-04-04 05:00")

    # A summer in which the schedule is paused leaves no trace.
    fleet.change(paused)
    fleet.sky.jump("2026-10-24 12:00")
    fleet.change(resumed)

    # Half past two comes twice: it fires the first time.
    story.plain("2026-10-25 00:30")
    fleet.sky.jump("2026-10-25 01:31")
    story.plain("2026-10-26 01:30")

    told = fleet.told()
    assert {_words(at): one.state.value for at, one in told.items()} == {
        "03-28 01:30": "ended",
        "03-29 01:00": "ended",
        "03-30 00:30": "ended",
        "03-31 00:30": "skipped",
        "04-01 00:30": "ended",
        "04-02 00:30": "ended",
        "04-03 00:30": "missed",
        "04-04 00:30": "ended",
        "10-25 00:30": "ended",
        "10-26 01:30": "ended",
    }
    ran = {
        "2026-03-28",
        "2026-03-29",
        "2026-03-30",
        "2026-04-01",
        "2026-04-02",
        "2026-04-04",
        "2026-10-25",
        "2026-10-26",
    }
    assert fleet.paid() == dict.fromkeys(ran, ROWS), "each night that ran, whole and once"
    runs = Counter(one.run_id for one in told.values() if one.run_id)
    assert len(runs) == len(ran)
    assert set(runs.values()) == {1}
    paid = sum(fleet.paid().values())
    took = time.monotonic() - began
    sys.stdout.write(f"{len(told)} nights, {len(runs)} runs, {paid} rows paid once, in {took:.0f} s\n")


def _words(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%m-%d %H:%M")


def test_a_worker_that_dies_or_leaves_while_it_gives_the_command_costs_nothing(fleet):
    fleet.manifest("2026-03-28", "2026-03-30")
    fleet.add(nightly(fleet))
    fleet.start_workers(2)
    fleet.heart()

    fleet.sky.jump("2026-03-28 01:29:58")
    psutil.Process(fleet.until_launching("2026-03-28 01:30")).kill()
    fleet.sky.jump("2026-03-28 01:31:00")  # the lease is over
    died = fleet.until_over("2026-03-28 01:30")
    assert (died.exit_code, died.tries) == (0, 2)

    fleet.start_workers(1)
    fleet.change(paused)  # the night in between is another test's
    fleet.sky.jump("2026-03-29 12:00:00")
    fleet.change(resumed)
    fleet.until_next("2026-03-30 00:30")
    fleet.sky.jump("2026-03-30 00:29:58")
    leaving = psutil.Process(fleet.until_launching("2026-03-30 00:30"))
    leaving.send_signal(signal.SIGTERM)
    left = fleet.until_over("2026-03-30 00:30")
    assert (left.exit_code, left.tries) == (0, 1)
    fleet.eventually(
        lambda: not leaving.is_running() or leaving.status() == psutil.STATUS_ZOMBIE, "the worker has left"
    )
    assert fleet.paid() == {"2026-03-28": ROWS, "2026-03-30": ROWS}
