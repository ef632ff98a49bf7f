"""Looking at a ledger for whoever watches: one look at a time, bounded, and never an error."""

import asyncio

import pytest

from pipeline.core.errors import LedgerMismatch, LedgerUnavailable
from pipeline.core.measured_runs import bound_by, paused_by
from pipeline.core.measures import Measured, StoreMeasured, samples
from pipeline.core.notices import RETRY_MS
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Notice, Schedule
from pipeline.core.snapshot import PERSON_PAUSED, RunState
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.memory_schedules import MemorySchedules
from pipeline.flows.measuring import FRESH_S, READ_S, Watcher, measure
from pipeline.ports import FedRow, RunCard, WorkerCard

pytestmark = pytest.mark.anyio

SEEN = Measured(StoreMeasured(0, 0, 0.0), 0.0)


@pytest.fixture
def anyio_backend(simulated_backend):
    return simulated_backend


class Store:
    def __init__(self, clock):
        self._clock = clock

    async def measured(self):
        return StoreMeasured(self._clock.now_ms(), self._clock.now_ms() - 1500, 0.001)

    async def queued(self, role):
        return 3 if role == "poll" else 0


class Looks:
    """Looks that take a second each; they fail as they are told."""

    def __init__(self, clock):
        self.clock, self.count, self.fails, self.seconds = clock, 0, None, 1.0

    async def __call__(self):
        self.count += 1
        await self.clock.sleep(self.seconds)
        if self.fails is not None:
            raise self.fails
        return SEEN


@pytest.fixture
def looks(loop_clock):
    return Looks(loop_clock)


async def test_many_who_ask_at_once_are_told_by_one_look(looks, loop_clock):
    watcher = Watcher(looks, loop_clock, lambda _: None)
    assert await asyncio.gather(*(watcher() for _ in range(5))) == [SEEN] * 5
    assert looks.count == 1
    await loop_clock.sleep(FRESH_S)
    await watcher()
    assert looks.count == 2


@pytest.mark.parametrize("error", [LedgerUnavailable("away"), ZeroDivisionError("a bug")])
async def test_what_can_not_be_seen_is_nothing_and_is_told_until_it_can(looks, loop_clock, error):
    told = []
    watcher = Watcher(looks, loop_clock, told.append)
    looks.fails = error
    assert await watcher() is None
    looks.fails = None
    await loop_clock.sleep(FRESH_S)
    assert await watcher() is SEEN
    assert told == [error, None]


async def test_a_look_that_takes_too_long_is_given_up(looks, loop_clock):
    told = []
    looks.seconds = 600.0
    began = loop_clock.monotonic()
    assert await Watcher(looks, loop_clock, told.append)() is None
    assert loop_clock.monotonic() - began == pytest.approx(READ_S)
    assert isinstance(told[0], LedgerUnavailable)


class OneForeign(MemoryLedger):
    async def snapshot(self, run_id):
        if run_id == "run-foreign":
            raise LedgerMismatch("another version's")
        return await super().snapshot(run_id)


async def begun(ledger, run_id, **policy):
    card = RunCard(run_id, "api#key", "https://api", "key", "out", "secret", "e1", 3, Policy(**policy))
    await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    await ledger.feed(run_id, 0, 3, [FedRow(i, b"{}") for i in range(3)])


async def looked(loop_clock, ledger, schedules=None):
    measured = await measure(ledger, Store(loop_clock), schedules, loop_clock)
    return {(name, labels): value for name, labels, value in samples(measured, "1.2", 4)}


async def test_a_fleet_is_seen_with_its_runs_workers_and_heartbeat(loop_clock):
    ledger = OneForeign(loop_clock.now_ms)
    await begun(ledger, "run-1")
    await begun(ledger, "run-foreign")
    await ledger.register_worker(WorkerCard("w1", ("submit", "poll"), 2, (), 4))
    await ledger.register_worker(WorkerCard("w2", ("poll",), 3, (), 4))
    await ledger.register_worker(WorkerCard("w3", (), 1, (), 3))
    await ledger.note_beat("w1")
    seen = await looked(loop_clock, ledger)
    assert seen["vidbatch_workers", ("poll",)] == 2
    assert seen["vidbatch_worker_shifts", ("poll",)] == 5
    assert seen["vidbatch_workers_of_other_versions", ()] == 1
    assert seen["vidbatch_tickets_waiting", ("poll",)] == 3
    assert seen["vidbatch_heartbeat_age_seconds", ()] == 0
    assert seen["vidbatch_clock_skew_seconds", ()] == 1.5
    assert seen["vidbatch_run_rows", ("run-1", "api#key", "ready")] == 3
    assert {labels[0] for name, labels in seen if name == "vidbatch_run_requests"} == {"run-1"}


async def test_where_no_heartbeat_ever_looked_its_age_is_endless(loop_clock):
    seen = await looked(loop_clock, MemoryLedger(loop_clock.now_ms))
    assert seen["vidbatch_heartbeat_age_seconds", ()] == float("inf")


async def test_a_schedule_tells_its_last_exit_code_beside_firings_that_were_skipped(loop_clock):
    schedules = MemorySchedules(loop_clock.now_ms)
    now = loop_clock.now_ms()
    failed = Firing("f1", now, Cause.CRON, FiringState.ENDED, now, exit_code=1)
    skipped = Firing("f2", now, Cause.CRON, FiringState.SKIPPED, now + 5)
    waits = Firing("f3", now, Cause.CRON, FiringState.RUNNING, now, exit_code=4)
    book = Book(Schedule("nightly", "0 2 * * *", "UTC", (), ""), now + 60_000, (waits,))
    assert await schedules.put("nightly", None, book, (failed, skipped))
    seen = await looked(loop_clock, MemoryLedger(loop_clock.now_ms), schedules)
    told = {(name.removeprefix("vidbatch_schedule_"), *labels[1:]): value for (name, labels), value in seen.items()}
    assert told["last_exit_code",] == 1
    assert (told["last_state", "skipped"], told["last_state", "ended"]) == (1, 0)
    assert (told["open_firings", "running"], told["waits_for_person",]) == (1, 1)


async def test_a_run_that_a_full_disk_holds_waits_for_a_person_and_a_message_that_was_given_up_for_nobody(loop_clock):
    schedules, now = MemorySchedules(loop_clock.now_ms), loop_clock.now_ms()
    notices = Notice("paused", tries=len(RETRY_MS) + 1, trouble="gone"), Notice("paused", tries=1, due_ms=now)
    waits = Firing("f3", now, Cause.CRON, FiringState.RUNNING, now, exit_code=5, notices=notices)
    book = Book(Schedule("nightly", "0 2 * * *", "UTC", (), "", notify="https://hook"), now + 60_000, (waits,))
    assert await schedules.put("nightly", None, book)
    seen = await looked(loop_clock, MemoryLedger(loop_clock.now_ms), schedules)
    assert seen["vidbatch_schedule_waits_for_person", ("nightly",)] == 1
    assert seen["vidbatch_schedule_notices_waiting", ("nightly",)] == 1


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (PERSON_PAUSED, "person"),
        ("budget: 5 of 5 are spent", "budget"),
        ("storage: the disk is full", "storage"),
        ("nothing was accepted for 10 minutes", "other"),
    ],
)
async def test_why_a_run_is_paused_is_one_word(loop_clock, reason, why):
    ledger = MemoryLedger(loop_clock.now_ms)
    await begun(ledger, "run-1")
    await ledger.set_state("run-1", RunState.PAUSED, reason)
    assert paused_by(await ledger.snapshot("run-1")) == why


async def test_what_binds_a_run_is_one_word(loop_clock):
    ledger = MemoryLedger(loop_clock.now_ms)
    await begun(ledger, "run-1", first_rows=1)
    assert bound_by(await ledger.snapshot("run-1")) == "none"
    await ledger.claim_submit("run-1", "w", 3)
    assert bound_by(await ledger.snapshot("run-1")) == "first rows"
    await ledger.set_state("run-1", RunState.PAUSED, PERSON_PAUSED)
    assert bound_by(await ledger.snapshot("run-1")) == "none"
