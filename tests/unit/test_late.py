"""Ids that came when their row had gone on: how long they are asked for, and what is kept of them."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.core.answers import (
    AccountRefused,
    Completed,
    Completion,
    Failed,
    Missing,
    Problem,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.late import LateId, asked_again, is_late, late_line, late_of, read_late
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.policy import Policy
from pipeline.core.records import Ending, RowRecord, saved_line
from pipeline.core.rows import Rows
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.flows.late import MOST, late_shift
from pipeline.flows.shift import Bench
from pipeline.ports import RunCard

NOW = 1_800_000_000_000
POLICY = Policy(generation_deadline_s=100.0, missing_for_s=60.0)
WRONG = Problem("some_code", "some words", None, 400)


def aged(seconds):
    return LateId(3, "task-late", NOW * 1000 - int(seconds * 1_000_000), 1)


def asked(answer, age_s=1.0, missed=0):
    """Polled now, having been asked for since `age_s`; it was accepted long before, and waited in a file."""
    waiting = replace(aged(90_000), asked_since_ms=NOW - round(age_s * 1000), missed=missed)
    late, wait_ms = asked_again(waiting, answer, POLICY, NOW)
    return late.ending, wait_ms


def test_patience_begins_with_the_first_poll_however_old_the_id_is():
    late, wait_ms = asked_again(aged(90_000), Missing(WRONG), POLICY, NOW)
    assert (late.ending, late.asked_since_ms, late.missed, wait_ms) == (None, NOW, 1, 2_000)
    late, _ = asked_again(late, Running("processing"), POLICY, NOW + 1_000)
    assert (late.asked_since_ms, late.missed) == (NOW, 0)


def test_a_generation_that_ended_is_kept_with_what_it_cost():
    completion = Completion(content="a dog", prompt_tokens=3, cost=0.5)
    assert asked(Completed(completion)) == (Ending(Outcome.COMPLETED, NOW * 1000, completion=completion), 0)
    assert asked(Failed(WRONG, retryable=True)) == (Ending(Outcome.FAILED, NOW * 1000, problem=WRONG), 0)


@pytest.mark.parametrize(
    "answer", [Running("processing"), Missing(WRONG), Trouble(WRONG), AccountRefused(WRONG, polling_works=False)]
)
def test_what_tells_nothing_yet_is_asked_again_and_less_often_as_it_grows_old(answer):
    assert asked(answer, 1.0) == (None, 2_000)
    assert asked(answer, 40.0) == (None, 10_000)


def test_a_throttled_poll_comes_back_when_it_was_told_to():
    assert asked(Throttled(WRONG, 9.0)) == (None, 9_000)
    assert asked(Throttled(WRONG)) == (None, 2_000)


def test_a_late_id_may_not_keep_a_run_from_its_end():
    assert asked(Missing(WRONG), 61, missed=1)[0] is None
    assert asked(Missing(WRONG), 61, missed=2)[0].outcome is Outcome.UNKNOWN
    assert asked(Running("processing"), 101)[0].outcome is Outcome.EXPIRED
    assert asked(Trouble(WRONG), 150)[0] is None
    assert asked(Trouble(WRONG), 201)[0].outcome is Outcome.EXPIRED


@pytest.mark.parametrize("ending", [None, Ending(Outcome.COMPLETED, 9, Completion(content="é", cost=0.25))])
def test_its_line_on_disk_tells_it_from_the_id_that_a_row_went_on_with(ending):
    record = RowRecord(attempts=2, generation_id="task-7", submitted_at=5, resubmits=1)
    late = LateId(4, "task-7", 5, 2, 1, ending)
    assert late_of(4, record) == LateId(4, "task-7", 5, 2, 1)
    assert read_late(late_line(late)) == late
    waiting = replace(late, ending=None, asked_since_ms=7, missed=2)
    assert read_late(late_line(waiting)) == waiting
    assert is_late(late_line(late))
    assert not is_late(saved_line(4, record))


class _Api:
    """Answers by generation id; one that it does not know raises."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    async def query(self, generation_id):
        self.asked.append(generation_id)
        return self.answers[generation_id]


@pytest.mark.anyio
async def test_a_poll_shift_asks_for_all_that_are_due_and_one_that_fails_harms_no_other(loop_clock):
    now = NOW
    ledger = MemoryLedger(lambda: now)
    await ledger.open_run(
        RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 1, POLICY),
        recover_until=0,
        ended={},
        done=Rows(),
    )
    for name in ("done", "runs", "breaks"):
        await ledger.note_late("run-1", LateId(0, name, NOW * 1000, 1))
    api = _Api({"done": Completed(Completion()), "runs": Running("processing")})
    assert await late_shift(bench(), ledger, api, loop_clock, POLICY) == 3
    assert sorted(api.asked) == ["breaks", "done", "runs"]
    assert await late_shift(bench(), ledger, api, loop_clock, POLICY) == 0
    run = await ledger.snapshot("run-1")
    assert (run.late, run.late_due, MOST >= 3) == (2, 0, True)
    now += 2_000
    assert (await ledger.snapshot("run-1")).late_due == 2


class _Slow(_Api):
    """Answers after some seconds, all alike."""

    def __init__(self, answer, seconds):
        super().__init__({})
        self.answer, self.seconds, self.open, self.most_open = answer, seconds, 0, 0

    async def query(self, generation_id):
        self.asked.append(generation_id)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(self.seconds)
        self.open -= 1
        return self.answer


class _Away(MemoryLedger):
    """In memory, and gone when a late id's end is told."""

    async def settle_late(self, *args, **kwargs):
        raise LedgerUnavailable("away")


async def late_ids(loop_clock, count, rate, ledger=MemoryLedger):
    made = ledger(loop_clock.now_ms)
    card = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 1, POLICY)
    await made.open_run(card, recover_until=0, ended={}, done=Rows())
    await made.set_pace("api#key", b"", Pace(poll_rate=rate))
    for number in range(count):
        await made.note_late("run-1", LateId(number, f"task-{number}", NOW * 1000, 1))
    return made


def bench(stop=lambda: False, seconds=10.0):
    return Bench("run-1", "poll", "poller-1", 128, seconds, 8.0, stop)


@pytest.fixture
def anyio_backend(simulated_backend):
    return simulated_backend


@pytest.mark.anyio
@pytest.mark.parametrize(("count", "rate", "within_s"), [(60, 100.0, 1.5), (200, 100.0, 3.0), (60, None, 1.0)])
async def test_one_shift_asks_for_all_that_are_due_as_fast_as_polls_are_allowed(loop_clock, count, rate, within_s):
    ledger = await late_ids(loop_clock, count, rate)
    began, api = loop_clock.monotonic(), _Slow(Completed(Completion()), 0.3)
    assert await late_shift(bench(), ledger, api, loop_clock, POLICY) == count
    assert loop_clock.monotonic() - began <= within_s
    assert (await ledger.snapshot("run-1")).late == 0
    assert api.most_open <= MOST


@pytest.mark.anyio
async def test_a_shift_goes_on_no_longer_than_shifts_do(loop_clock):
    ledger = await late_ids(loop_clock, 60, 2.0)
    began = loop_clock.monotonic()
    assert 18 <= await late_shift(bench(), ledger, _Slow(Completed(Completion()), 0.3), loop_clock, POLICY) <= 22
    assert loop_clock.monotonic() - began <= 10.5


@pytest.mark.anyio
async def test_a_shift_does_not_wait_for_a_back_off_that_outlasts_it(loop_clock):
    ledger = await late_ids(loop_clock, 60, 2.0)
    began = loop_clock.monotonic()
    assert await late_shift(bench(), ledger, _Slow(Throttled(WRONG, 60.0), 0.1), loop_clock, POLICY) == 1
    assert loop_clock.monotonic() - began <= 1.0


@pytest.mark.anyio
async def test_a_shift_that_is_told_to_stop_asks_for_no_more(loop_clock):
    ledger = await late_ids(loop_clock, 60, 1.0)
    began, api = loop_clock.monotonic(), _Slow(Completed(Completion()), 0.1)
    stopped = bench(lambda: loop_clock.monotonic() - began >= 2.5)
    assert await late_shift(stopped, ledger, api, loop_clock, POLICY) == 3
    assert loop_clock.monotonic() - began <= 2.7


@pytest.mark.anyio
async def test_that_the_ledger_is_away_ends_the_shift_at_once(loop_clock):
    ledger = await late_ids(loop_clock, 60, 1.0, _Away)
    with pytest.raises(LedgerUnavailable):
        await late_shift(bench(), ledger, _Slow(Completed(Completion()), 0.1), loop_clock, POLICY)
    assert (await ledger.snapshot("run-1")).late_due >= 58
