"""Steps go to the ledger in groups, and none is lost while Redis is away."""

import asyncio

import pytest

from pipeline.core.answers import Problem, Refused
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.policy import Policy
from pipeline.core.polling import DEFAULT
from pipeline.core.records import RowRecord
from pipeline.core.submitting import after_submit
from pipeline.flows.committing import AWAY_S, AWAY_WAIT_S, GROUP_ROWS, HURRY_S, Committer
from pipeline.ports import Commit

pytestmark = pytest.mark.anyio

STALE = "stale"


def commit(row, token="1:w:1"):
    answer = Refused(Problem("no", ""))
    step = after_submit(answer, RowRecord(), Policy(), DEFAULT, now_ms=1, troubles=0, chance=0.0)
    return Commit(row, token, step)


class Books:
    """The ledger's side of committing: groups as they came, away as often as a test says."""

    def __init__(self, clock):
        self.clock, self.groups, self.released, self.told = clock, [], [], []
        self.away, self.away_after, self.stale_away = 0, 0, 0
        self.frozen_s, self.kept = 0.0, []
        self.release = lambda commit: self.released.append(commit.row_index)
        self.committer = Committer("run-1", self, clock, self.release, self.stale, self.keep)

    def keep(self, commits):
        self.kept += [one.row_index for one in commits]

    async def commit(self, run_id, group):
        assert run_id == "run-1"
        await asyncio.sleep(self.frozen_s)
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("away")
        self.groups.append([one.row_index for one in group])
        if self.away_after:
            self.away_after -= 1
            raise LedgerUnavailable("the answer was lost")
        return [one.token != STALE for one in group]

    async def stale(self, late):
        if self.stale_away:
            self.stale_away -= 1
            raise LedgerUnavailable("away")
        self.told.append(late.row_index)

    async def all(self, *commits):
        """Commit these, and return when all are recorded."""
        for one in commits:
            self.committer.add(one)
        self.committer.close()
        await self.committer.run()


@pytest.fixture
def anyio_backend(simulated_backend):
    return simulated_backend


@pytest.fixture
def books(loop_clock):
    return Books(loop_clock)


async def test_steps_that_come_together_are_one_group_in_their_order(books):
    running = asyncio.create_task(books.committer.run())
    for row in range(5):
        books.committer.add(commit(row))
        await asyncio.sleep(0.0005)
    await asyncio.sleep(0.1)
    assert books.groups == [[0, 1, 2, 3, 4]]
    books.committer.add(commit(5))
    books.committer.close()
    await running
    assert books.groups == [[0, 1, 2, 3, 4], [5]]
    assert books.released == [0, 1, 2, 3, 4, 5]


async def test_a_group_has_a_most(books):
    await books.all(*(commit(row) for row in range(2 * GROUP_ROWS + 1)))
    assert [len(group) for group in books.groups] == [GROUP_ROWS, GROUP_ROWS, 1]


async def test_closing_without_a_step_ends_at_once(books):
    await books.all()
    assert books.groups == []


async def test_a_group_is_offered_again_while_redis_is_away(books):
    books.away = 20
    await books.all(*(commit(row) for row in range(3)))
    assert (books.groups, books.released) == ([[0, 1, 2]], [0, 1, 2])
    assert books.clock.monotonic() == pytest.approx(20 * AWAY_WAIT_S)


async def test_a_group_whose_answer_was_lost_is_offered_again_as_it_was(books):
    books.away_after = 1
    await books.all(*(commit(row) for row in range(3)))
    assert books.groups == [[0, 1, 2]] * 2
    assert books.released == [0, 1, 2]


async def test_a_stale_step_is_told_once_and_its_row_is_released(books):
    await books.all(commit(0), commit(1, STALE), commit(2))
    assert (books.told, books.released) == ([1], [0, 1, 2])


async def test_a_stale_step_is_told_again_while_redis_is_away_and_costs_no_other_step(books):
    books.stale_away = 7
    rows = [commit(0, STALE), *(commit(row) for row in range(1, GROUP_ROWS + 10)), commit(99, STALE)]
    await books.all(*rows)
    assert books.told == [0, 99]
    assert books.released == [one.row_index for one in rows]
    assert [row for group in books.groups for row in group] == books.released


async def test_steps_that_come_while_redis_is_away_wait_for_their_turn(books):
    books.away = 8
    running = asyncio.create_task(books.committer.run())
    for row in range(10):
        books.committer.add(commit(row))
        await asyncio.sleep(AWAY_WAIT_S)
    books.committer.close()
    await running
    assert [row for group in books.groups for row in group] == list(range(10))
    assert books.released == list(range(10))


FOR_EVER = 10**9


async def test_steps_are_kept_elsewhere_when_redis_is_away_for_longer_than_a_shift_may_wait(books):
    books.away = FOR_EVER
    await books.all(*(commit(row) for row in range(GROUP_ROWS + 10)))
    assert books.kept == books.released == list(range(GROUP_ROWS + 10))
    assert books.clock.monotonic() == pytest.approx(AWAY_S, abs=2 * AWAY_WAIT_S)


async def test_redis_may_come_and_go_as_long_as_it_is_not_away_for_too_long_at_a_time(books):
    books.away = round(AWAY_S / AWAY_WAIT_S) - 1
    await books.all(commit(0))
    books.away = round(AWAY_S / AWAY_WAIT_S) - 1
    await books.all(commit(1))
    assert (books.kept, books.groups) == ([], [[0], [1]])


async def test_a_worker_that_was_told_to_stop_gives_redis_a_few_seconds(books):
    books.away = FOR_EVER
    books.committer.hurry()
    await books.all(*(commit(row) for row in range(3 * GROUP_ROWS)))
    assert books.kept == list(range(3 * GROUP_ROWS))
    assert books.clock.monotonic() == pytest.approx(HURRY_S, abs=2 * AWAY_WAIT_S)


async def test_redis_that_is_back_within_those_seconds_is_told(books):
    books.away = round(HURRY_S / AWAY_WAIT_S) - 2
    books.committer.hurry()
    await books.all(commit(0))
    assert (books.kept, books.groups) == ([], [[0]])


@pytest.mark.parametrize("told_after_s", [0.0, 1.0, 14.0])
async def test_a_frozen_server_does_not_hold_up_a_stop(books, told_after_s):
    books.frozen_s = FOR_EVER
    running = asyncio.create_task(books.all(commit(0), commit(1)))
    await asyncio.sleep(told_after_s)
    books.committer.hurry()
    await running
    assert books.kept == books.released == [0, 1]
    assert books.clock.monotonic() == pytest.approx(told_after_s + HURRY_S, abs=2 * AWAY_WAIT_S)


async def test_a_stale_step_that_nobody_can_be_told_of_is_kept_too(books):
    books.stale_away = FOR_EVER
    books.committer.hurry()
    await books.all(commit(0), commit(1, STALE), commit(2))
    assert (books.kept, books.released) == ([1], [0, 1, 2])
