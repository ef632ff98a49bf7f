"""Heartbeats and control workers at schedules, with simulated time: a year of nights, and all that may go wrong."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.firings import added, by_hand
from pipeline.core.launches import LEASE_MS, claimed
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.schedule_times import times_between
from pipeline.core.schedules import Cause, FiringState, Overlap, Schedule
from pipeline.core.snapshot import PERSON_PAUSED, RunState
from pipeline.core.tickets import Role
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.memory_schedules import MemorySchedules
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.flows import scheduling
from pipeline.flows.firing import FiringSchedules, put
from pipeline.flows.heartbeat import Heartbeat
from pipeline.flows.scheduling import DOUBT_S, MOST_AT_ONCE, UNKNOWN_S, CommandingSchedules
from pipeline.ports import Launched, RunCard, RunEnd, WorkerCard

pytestmark = pytest.mark.anyio

BERLIN = "Europe/Berlin"
NIGHTLY = Schedule("nightly", "30 2 * * *", BERLIN, ("day-{date}.csv", "--out", "out"), "/jobs")
HANDED = "handed over"


@pytest.fixture
def anyio_backend():
    return "asyncio"


def ms(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Cut:
    """Schedules as one worker reaches them, until it is dead or Redis is away from it."""

    def __init__(self, schedules):
        self._schedules = schedules
        self.gone = False

    def __getattr__(self, name):
        if self.gone:
            raise LedgerUnavailable("away")
        return getattr(self._schedules, name)


class Careful(MemorySchedules):
    """In memory, and as the door to Redis is: a task that was cancelled gets nothing from it any more."""

    async def book(self, name):
        self._keep_cancelled()
        return await super().book(name)

    async def put(self, name, before, after, over=()):
        self._keep_cancelled()
        return await super().put(name, before, after, over)

    def _keep_cancelled(self):
        if asyncio.current_task().cancelling():
            raise asyncio.CancelledError


class World:
    """One Redis, its clock, and what commands come to: `launcher` is every worker's."""

    def __init__(self, begin="2026-01-01 12:00"):
        self.now = ms(begin)
        self.ledger = MemoryLedger(lambda: self.now)
        self.schedules = Careful(lambda: self.now)
        self.failures = []
        self.given = []
        self.answers = []
        self.began = asyncio.Semaphore(0)
        self.hang = asyncio.Event()
        self.hangs = False
        self.ended_commands = self.asked = 0
        self.done = {}
        self.unknown = set()
        self.slow = None

    # The clock.

    def monotonic(self):
        return self.now / 1000

    async def sleep(self, seconds):
        self.now += round(seconds * 1000)
        await asyncio.sleep(0)

    # The launcher.

    async def launch(self, schedule, firing_id, arguments):
        assert firing_id in {firing.firing_id for firing in (await self.schedules.book(schedule.name)).firings}
        self.given.append((schedule.name, *arguments))
        self.began.release()
        if self.hangs:
            try:
                await self.hang.wait()
            finally:
                self.ended_commands += 1
        answer = self.answers.pop(0) if self.answers else HANDED
        if answer != HANDED:
            return answer
        run_id = f"run-{len(self.given)}"
        await self.begin(run_id)
        return Launched(None, run_id, "/jobs/out")

    async def begin(self, run_id):
        card = RunCard(run_id, "api#key", "https://api", "key", "out", "secret", "e1", 1, Policy())
        await self.ledger.open_run(card, recover_until=0, ended={}, done=Rows())

    async def ended(self, folder, run_id, out):
        assert folder == "/jobs"
        self.asked += 1
        if self.slow is not None:
            await self.slow.wait()
        if run_id in self.unknown:
            return RunEnd(known=False, said="not here")
        code = self.done.get(run_id)
        return RunEnd(known=True) if code is None else RunEnd(True, code, f"{code} of 9", {"cost": 1.0})

    async def finish(self, run_id, code=0):
        self.done[run_id] = code
        await self.ledger.set_state(run_id, RunState.FINISHED)

    async def begun(self, count):
        """Wait until so many more commands are being given."""
        async with asyncio.timeout(5):
            for _ in range(count):
                await self.began.acquire()

    # Workers.

    def heart(self, name):
        async def issue(ticket):
            """No worker takes any."""

        async def queued():
            return {}

        return Heartbeat(self.ledger, self, name, issue, queued, FiringSchedules(self.schedules, self.ledger, self))

    def control(self, name="w1", schedules=None):
        def fail(schedule, error):
            self.failures.append((schedule, error))

        return CommandingSchedules(schedules or self.schedules, self.ledger, self, self, name, fail)

    async def add(self, schedule=NIGHTLY):
        assert await self.schedules.put(schedule.name, None, added(schedule, self.now))

    async def fire(self, name="nightly"):
        book = await self.schedules.book(name)
        assert await put(self.schedules, book, by_hand(book, self.now))

    async def firing(self, name="nightly"):
        """The newest of what is open, else of what is over."""
        book = await self.schedules.book(name)
        return (*book.firings, *await self.schedules.history(name, 1))[0]

    async def given_by(self, control):
        """What is due is given, and told of."""
        await control.look()
        await control.idle()

    async def looked(self):
        """The heartbeat looks, a second later."""
        self.now += 1000
        await FiringSchedules(self.schedules, self.ledger, self)()


class Year(World):
    """Three workers, each with a heartbeat and a share of the commands."""

    def __init__(self):
        super().__init__()
        self.hearts = {name: self.heart(name) for name in ("a", "b", "c")}
        self.controls = {name: self.control(name) for name in self.hearts}

    async def look(self, seconds=1):
        for _ in range(seconds):
            self.now += 1000
            for name in self.hearts:
                await self.hearts[name].tick()
                await self.given_by(self.controls[name])

    async def night(self):
        """Let the next time come, and the commands be given that are due then."""
        self.now = (await self.schedules.book("nightly")).next_ms - 1500
        await self.look(3)

    async def finish_all(self):
        """Let the run that is with the fleet come to its end."""
        for firing in (await self.schedules.book("nightly")).firings:
            await self.finish(firing.run_id)
        await self.look()

    async def nights(self, count):
        for _ in range(count):
            await self.night()
            await self.finish_all()

    async def kill_acting(self):
        """The worker that holds the heartbeat is gone, and lets go of nothing."""
        _, acting = self.ledger._locks["heartbeat"]
        del self.hearts[acting], self.controls[acting]


async def test_a_year_of_nights_with_three_workers_of_which_the_acting_one_dies():
    world = Year()
    await world.add()
    await world.nights(20)
    await world.kill_acting()
    await world.nights(20)
    await world.night()
    await world.night()  # the run of the night before is still at work
    await world.finish_all()
    await world.nights(20)
    world.now += 3 * 86_400_000 + 3_600_000  # nobody is at work
    await world.look(2)
    assert (await world.firing()).cause is Cause.CAUGHT_UP
    await world.finish_all()
    while world.now < ms("2026-12-31 12:00"):
        await world.nights(1)

    told = {one.at_ms: one for one in await world.schedules.history("nightly", 500)}
    assert sorted(told) == list(times_between(NIGHTLY.cron, BERLIN, ms("2026-01-01 12:00"), world.now))
    states = Counter(one.state for one in told.values())
    assert (states[FiringState.SKIPPED], states[FiringState.MISSED]) == (1, 2)
    assert states[FiringState.ENDED] == len(told) - 3 == len(world.given)
    assert len(set(world.given)) == len(world.given), "no night's command was given twice"
    assert ("nightly", "day-2026-03-29.csv", "--out", "out") in world.given
    assert {ms("2026-03-29 01:00"), ms("2026-10-25 00:30")} <= told.keys()
    assert ms("2026-10-25 01:30") not in told
    assert len(world.hearts) == 2
    assert world.failures == []


async def test_a_command_that_was_handed_over_ends_with_its_run_and_its_sums():
    world = World()
    await world.add()
    await world.fire()
    control = world.control()
    await world.given_by(control)
    assert (await world.firing()).state is FiringState.RUNNING
    await world.given_by(control)
    assert (await world.firing()).state is FiringState.RUNNING
    await world.finish("run-1", 1)
    await world.given_by(control)
    over = await world.firing()
    assert (over.state, over.exit_code, over.said, over.summary) == (FiringState.ENDED, 1, "1 of 9", {"cost": 1.0})


async def test_a_run_that_the_ledger_has_forgotten_ends_by_what_is_on_disk():
    world = World()
    await world.add()
    await world.fire()
    control = world.control()
    await world.given_by(control)
    await world.finish("run-1")
    await world.ledger.forget("run-1")
    await world.given_by(control)
    assert (await world.firing()).exit_code == 0


async def test_a_ledger_that_is_lost_has_the_same_command_given_again():
    world = World()
    await world.add()
    await world.fire()
    control = world.control()
    await world.given_by(control)
    world.ledger = MemoryLedger(lambda: world.now)
    control = world.control()
    await world.given_by(control)
    assert (await world.firing()).state is FiringState.DUE
    await world.given_by(control)
    assert world.given[0] == world.given[1]
    assert (await world.firing()).run_id == "run-2"


async def test_a_run_that_nobody_knows_is_given_up_after_a_while_and_not_sent_anew():
    world = World()
    await world.add()
    await world.fire()
    control = world.control()
    await world.given_by(control)
    await world.ledger.forget("run-1")
    world.unknown.add("run-1")
    await world.given_by(control)
    asked = world.asked
    await world.given_by(control)
    assert world.asked == asked, "it is not asked all the time"
    world.now += round((UNKNOWN_S - DOUBT_S) * 1000)
    await world.given_by(control)
    assert (await world.firing()).state is FiringState.RUNNING
    assert world.asked == asked + 1
    world.now += round(DOUBT_S * 1000)
    await world.given_by(control)
    over = await world.firing()
    assert (over.exit_code, over.said) == (5, "nobody knows run run-1 any more: not here")
    assert len(world.given) == 1


@pytest.mark.parametrize(
    ("launched", "state", "code"),
    [
        (Launched(2, said="no such file"), FiringState.ENDED, 2),
        (Launched(4, said="no API key"), FiringState.ENDED, 4),
        (Launched(0, said="nothing to ask"), FiringState.ENDED, 0),
        (Launched(0, "run-9", "/jobs/out"), FiringState.ENDED, 0),
        (Launched(3, "run-9", "/jobs/out"), FiringState.RUNNING, None),
        (Launched(5, said="no Redis"), FiringState.DUE, None),
    ],
)
async def test_what_a_command_comes_to(launched, state, code):
    world = World()
    world.done["run-9"] = 0
    world.answers = [launched]
    await world.add()
    await world.fire()
    await world.given_by(world.control())
    firing = await world.firing()
    assert (firing.state, firing.exit_code, firing.run_id) == (state, code, launched.run_id)
    assert firing.said == (launched.said or ("0 of 9" if code == 0 else ""))
    assert (firing.summary is not None) == (launched.run_id != "" and state is FiringState.ENDED)


async def test_a_pause_of_the_run_shows_and_one_by_a_person_does_not():
    world = World()
    await world.add(replace(NIGHTLY, notify="https://hook.example"))
    await world.fire()
    await world.given_by(world.control())
    await world.ledger.set_state("run-1", RunState.PAUSED, PERSON_PAUSED)
    await world.looked()
    assert (await world.firing()).exit_code is None
    await world.ledger.set_state("run-1", RunState.RUNNING)
    await world.ledger.set_state("run-1", RunState.PAUSED, "4 rows in a row failed")
    await world.looked()
    await world.looked()
    held = await world.firing()
    assert (held.state, held.exit_code, held.said) == (FiringState.RUNNING, 4, "4 rows in a row failed")
    assert [notice.event for notice in held.notices] == ["paused"]
    await world.ledger.set_state("run-1", RunState.RUNNING)
    await world.looked()
    assert (await world.firing()).exit_code is None


async def test_a_run_whose_key_nobody_holds_any_more_is_told_of_after_a_while_until_somebody_does():
    world = World()
    await world.add(replace(NIGHTLY, notify="https://hook"))
    await world.fire()
    await world.given_by(world.control())
    heart = world.heart("h")

    async def looked_with(key, seconds, roles=tuple(Role)):
        for _ in range(seconds):
            await world.ledger.register_worker(WorkerCard("w", roles, 1, (key,), LEDGER_VERSION))
            world.now += 1000
            await heart.tick()
        firing = await world.firing()
        return firing.exit_code, [notice.event for notice in firing.notices]

    assert await looked_with("key", 300) == (None, [])
    assert await looked_with("another", 110) == (None, [])
    assert await looked_with("another", 20) == (4, ["paused"])
    assert "holds the run's API key" in (await world.firing()).said
    assert await looked_with("key", 3) == (None, ["paused"])
    assert await looked_with("key", 130, (Role.CONTROL, Role.POLL)) == (4, ["paused"] * 2)


async def test_a_worker_gives_only_so_many_commands_at_a_time():
    world = World()
    for number in range(MOST_AT_ONCE + 2):
        await world.add(replace(NIGHTLY, name=f"s{number}"))
        await world.fire(f"s{number}")
    world.hangs = True
    first, second = world.control("w1"), world.control("w2")
    await first.look()
    await first.look()
    await world.begun(MOST_AT_ONCE)
    assert (await world.firing("s2")).state is FiringState.DUE
    await second.look()
    await world.begun(2)
    assert sorted(name for name, *_ in world.given) == [f"s{number}" for number in range(MOST_AT_ONCE + 2)]
    world.hang.set()
    await first.idle()
    await second.idle()


async def test_a_worker_that_leaves_ends_its_command_and_the_next_one_gives_it_at_once():
    world = World()
    await world.add()
    await world.fire()
    world.hangs = True
    first = world.control("w1")
    await first.look()
    await world.begun(1)
    await first.leave()
    assert world.ended_commands == 1
    assert ((await world.firing()).state, (await world.firing()).tries) == (FiringState.DUE, 0)
    world.hangs = False
    await world.given_by(world.control("w2"))
    assert (await world.firing()).state is FiringState.RUNNING


async def test_a_worker_without_the_folder_leaves_the_next_try_to_one_that_may_have_it():
    world = World()
    await world.add()
    await world.fire()
    without, other = world.control("w1"), world.control("w2")
    world.answers = [Launched(5, said="/jobs: No such file or directory")]
    await world.given_by(without)
    world.now += 60_000
    await world.given_by(without)
    assert (await world.firing()).state is FiringState.DUE
    await world.given_by(other)
    assert (await world.firing()).state is FiringState.RUNNING


async def test_a_worker_that_is_alone_gives_the_command_again_where_the_system_failed_it():
    world = World()
    await world.add()
    await world.fire()
    world.answers = [Launched(5, said="the disk is full")]
    alone = world.control()
    await world.given_by(alone)
    world.now += 65_000
    await world.given_by(alone)
    assert (await world.firing()).state is FiringState.RUNNING


async def test_after_a_worker_died_the_next_one_gives_the_command_when_its_lease_is_over():
    world = World()
    await world.add()
    await world.fire()
    world.hangs = True
    cut = Cut(world.schedules)
    first, second = world.control("w1", cut), world.control("w2")
    await first.look()
    await world.begun(1)
    cut.gone = True
    await first.leave()
    world.hangs = False
    await world.given_by(second)
    assert len(world.given) == 1
    world.now += LEASE_MS
    await world.given_by(second)
    assert len(world.given) == 2
    assert ((await world.firing()).state, (await world.firing()).tries) == (FiringState.RUNNING, 2)


async def test_a_worker_whose_firing_was_taken_over_ends_its_command(monkeypatch):
    monkeypatch.setattr(scheduling, "RENEW_S", 0.01)
    world = World()
    await world.add()
    await world.fire()
    world.hangs = True
    first = world.control("w1")
    await first.look()
    await world.begun(1)
    world.now += LEASE_MS
    book = await world.schedules.book("nightly")
    assert await put(world.schedules, book, claimed(book, book.firings[0].firing_id, "w2", world.now))
    await asyncio.wait_for(first.idle(), 5)
    assert world.ended_commands == 1
    assert (await world.firing()).holder == "w2"


async def test_a_command_is_not_given_again_while_its_out_is_read_however_long_that_takes(monkeypatch):
    monkeypatch.setattr(scheduling, "RENEW_S", 0.01)
    world = World()
    world.answers, world.done["run-9"], world.slow = [Launched(0, "run-9", "/jobs/out")], 0, asyncio.Event()
    await world.add()
    await world.fire()
    first, second = world.control("w1"), world.control("w2")
    await first.look()
    async with asyncio.timeout(5):
        while not world.asked:  # noqa: ASYNC110 - the task says so
            await asyncio.sleep(0.001)
        for _ in range(4):
            world.now += LEASE_MS - 1000
            while (await world.firing()).lease_ms < world.now + LEASE_MS:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.001)
            await world.given_by(second)
    world.slow.set()
    await first.idle()
    assert len(world.given) == 1
    assert (await world.firing()).exit_code == 0


async def test_what_came_of_a_command_is_kept_once_redis_is_back():
    world = World()
    await world.add()
    await world.fire()
    cut = Cut(world.schedules)
    world.hangs = True
    first = world.control("w1", cut)
    await first.look()
    await world.begun(1)
    cut.gone = True
    world.hang.set()
    sleep = world.sleep

    async def back(seconds):
        cut.gone = False
        await sleep(seconds)

    world.sleep = back
    await first.idle()
    assert (await world.firing()).state is FiringState.RUNNING


async def test_a_schedule_that_is_broken_keeps_no_other_waiting():
    world = World()
    await world.add(replace(NIGHTLY, name="fine", overlap=Overlap.QUEUE))
    broken = added(replace(NIGHTLY, name="broken"), world.now)
    await world.schedules.put(
        "broken", None, replace(broken, schedule=replace(broken.schedule, cron="x", tz="Nowhere"))
    )
    world.now = broken.next_ms
    heart = world.heart("a")
    with pytest.raises(Exception, match="Nowhere"):
        await heart.tick()
    assert (await world.firing("fine")).state is FiringState.DUE
    await world.given_by(world.control())
    assert (await world.firing("fine")).state is FiringState.RUNNING
