"""The window is filled from the planned requests, with the mark on disk first and nothing pushed twice."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.policy import Policy
from pipeline.core.records import RowRecord, saved_line
from pipeline.core.requests import Request
from pipeline.core.rows import Rows
from pipeline.core.snapshot import FEED_WINDOW_BYTES, FEED_WINDOW_ROWS
from pipeline.edges import annotations_file
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.run_folder import LocalRunFolder, range_name
from pipeline.flows.feed import STEP_BYTES, STEP_ROWS, feed
from pipeline.ports import RunCard

pytestmark = pytest.mark.anyio

RUN = "run-1"
POLICY = Policy(first_rows=1_000, max_in_flight=10**6)
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Planned:
    """As many requests as a test wants, of this length."""

    def __init__(self, total, length=1):
        self.total, self._prompt = total, "x" * length
        self.read_at_once, self.looked_up = [], []

    def read(self, position, count):
        self.read_at_once.append(count)
        return [
            Request(row, str(row), row, "m", self._prompt, ())
            for row in range(position, min(position + count, self.total))
        ]

    def rows(self, row_indexes):
        self.looked_up += row_indexes
        return {row: self.read(row, 1)[0] for row in row_indexes}

    def besides(self, rows, position, until, count):
        return [(row, row) for row in range(position, until) if row not in rows][:count]


class Folder(LocalRunFolder):
    """A run's folder whose requests are not on disk."""

    planned: Planned

    def requests(self):
        return self.planned


class Away(MemoryLedger):
    async def feed(self, run_id, cursor, until, rows):
        raise LedgerUnavailable("away")


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path, RUN)
    made.describe({"carried": {}})
    return made


async def opened(folder, total, *, length=1, recover_until=0, done=(), ledger=None):
    folder.planned = Planned(total, length)
    ledger = ledger or MemoryLedger()
    card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e2", total, POLICY)
    await ledger.open_run(card, recover_until=recover_until, ended={"completed": len(done)}, done=Rows(done))
    return ledger


async def fed(ledger, folder, policy=POLICY, **seen):
    run = replace(await ledger.snapshot(RUN), **seen)
    return await feed(run, ledger, folder, policy)


def save(folder, row, generation_id, attempt=1, resubmits=0):
    record = RowRecord(attempts=attempt, generation_id=generation_id, submitted_at=attempt, resubmits=resubmits)
    folder.save_ids("e1", row * 10 + attempt, row * 10 + attempt + 1, [saved_line(row, record)])


def write_rows(folder, epoch, start, rows):
    """One part of these annotations, as a writer makes it."""
    schema = folder._schema()
    path = folder.path / "parts" / range_name(epoch, start, start + len(rows), "parquet")
    annotations_file.write_part(path, schema, [annotations_file.table_of(rows, schema)])


def write(folder, epoch, ended):
    rows = [{"row_index": row, "outcome": "completed", "model": "m", "finished_at": AT} for row in ended]
    write_rows(folder, epoch, 0, rows)


async def test_a_small_run_is_fed_whole_and_in_order(folder):
    ledger = await opened(folder, 3)
    assert await fed(ledger, folder) == 3
    assert [row.row_index for row in (await ledger.claim_submit(RUN, "w", 9)).rows] == [0, 1, 2]
    assert folder.fed() == 3
    assert await fed(ledger, folder) == 0


async def test_no_more_is_fed_than_the_window_holds(folder):
    ledger = await opened(folder, 10**6)
    assert await fed(ledger, folder, ready=FEED_WINDOW_ROWS - 2 * STEP_ROWS + 1) == 2 * STEP_ROWS
    assert await fed(ledger, folder, ready=FEED_WINDOW_ROWS) == 0
    assert await fed(ledger, folder, ready=0, bodies_bytes=FEED_WINDOW_BYTES) == 0
    assert folder.fed() == 2 * STEP_ROWS


async def test_long_requests_are_pushed_a_few_at_a_time_and_one_at_least(folder):
    ledger = await opened(folder, 4, length=STEP_BYTES // 2 + 1)
    pushes = []
    push = ledger.feed

    async def counted(run_id, cursor, until, rows):
        pushes.append(len(rows))
        return await push(run_id, cursor, until, rows)

    ledger.feed = counted
    assert await fed(ledger, folder) == 4
    assert pushes == [1, 1, 1, 1]


async def test_the_mark_is_on_disk_before_a_row_is_pushed(folder):
    ledger = await opened(folder, 5, ledger=Away())
    with pytest.raises(LedgerUnavailable):
        await fed(ledger, folder)
    assert folder.fed() == 5


async def test_a_feeder_that_looked_too_long_ago_pushes_nothing_twice(folder):
    ledger = await opened(folder, 5)
    old = await ledger.snapshot(RUN)
    assert await feed(old, ledger, folder, POLICY) == 5
    assert await feed(old, ledger, folder, POLICY) == 0
    run = await ledger.snapshot(RUN)
    assert (run.ready, run.fed) == (5, 5)


async def test_a_ledger_made_anew_is_fed_with_what_the_disk_knows(folder):
    now = [1_000_000_000_000]
    ledger = await opened(folder, 6, recover_until=4, done=Rows([0]), ledger=MemoryLedger(lambda: now[0]))
    write(folder, "e1", [0])
    save(folder, 0, "task-0")
    save(folder, 1, "task-1")
    save(folder, 2, "task-2b", attempt=2)
    assert await fed(ledger, folder) == 5
    polls = {row.row_index: row.record for row in (await ledger.claim_polls(RUN, "p", 9)).rows}
    sends = {row.row_index: row.record for row in (await ledger.claim_submit(RUN, "w", 9)).rows}
    assert set(sends) == {4, 5}, "a row that may have been sent waits for the answer of a living worker"
    now[0] += round(POLICY.lease_s * 1000)
    sends |= {row.row_index: row.record for row in (await ledger.claim_submit(RUN, "w", 9)).rows}
    assert {row: (one.generation_id, one.attempts, one.possible_duplicate) for row, one in polls.items()} == {
        1: ("task-1", 1, False),
        2: ("task-2b", 2, True),
    }
    assert set(sends) == {3, 4, 5}
    assert (sends[3].attempts, sends[3].possible_duplicate, sends[3].recovered) == (1, True, True)
    assert sends[4] == sends[5] == RowRecord()


async def test_a_policy_that_holds_what_is_unknown_sends_no_such_row_again(folder):
    ledger = await opened(folder, 3, recover_until=2)
    save(folder, 0, "task-0")
    await fed(ledger, folder, policy=replace(POLICY, on_unknown="hold"))
    run = await ledger.snapshot(RUN)
    assert (run.pending, run.lapsed, run.ready) == (1, 1, 1)
    assert [row.row_index for row in (await ledger.claim_lapsed(RUN, "reaper", 9)).rows] == [1]


async def test_an_id_that_was_resent_in_doubt_keeps_its_flag_over_the_loss_of_the_ledger(folder):
    ledger = await opened(folder, 1, recover_until=1)
    save(folder, 0, "task-0", resubmits=1)
    await fed(ledger, folder)
    [row] = (await ledger.claim_polls(RUN, "p", 9)).rows
    assert (row.record.possible_duplicate, row.record.resubmits) == (True, 1)


async def test_rows_that_all_ended_before_are_passed_over(folder):
    ledger = await opened(folder, 3, recover_until=3, done=Rows([0, 1, 2]))
    write(folder, "e1", range(3))
    assert await fed(ledger, folder) == 0
    run = await ledger.snapshot(RUN)
    assert (run.fed, run.ready, run.all_ended) == (3, 0, True)


async def test_the_disk_is_read_only_while_recovering(folder):
    ledger = await opened(folder, 3, recover_until=0)
    (folder.path / "sent").mkdir()
    (folder.path / "sent" / "part-broken.jsonl").write_bytes(b"not JSON")
    assert await fed(ledger, folder) == 3


def counted(ledger):
    """The cursors and rows of all pushes from now on."""
    pushes, push = [], ledger.feed

    async def noted(run_id, cursor, until, rows):
        pushes.append((cursor, until, [row.row_index for row in rows]))
        return await push(run_id, cursor, until, rows)

    ledger.feed = noted
    return pushes


async def test_a_long_stretch_of_ended_rows_is_one_push_with_the_open_row_behind_it(folder):
    done = [row for row in range(50_000) if row not in {20_000, 40_000}]
    ledger = await opened(folder, 50_000, recover_until=50_000, done=done)
    write(folder, "e1", done)
    pushes = counted(ledger)
    assert await fed(ledger, folder) == 2
    assert pushes == [(0, 50_000, [20_000, 40_000])]


async def test_open_rows_are_fed_a_window_at_a_time_and_the_ended_between_them_are_passed(folder):
    done = list(range(1, 2 * FEED_WINDOW_ROWS + 1, 2))
    total = 2 * FEED_WINDOW_ROWS + 8
    ledger = await opened(folder, total, recover_until=total - 4, done=done)
    write(folder, "e1", done)
    pushes = counted(ledger)
    assert await fed(ledger, folder) == FEED_WINDOW_ROWS
    assert pushes[0] == (0, 2 * STEP_ROWS, list(range(0, 2 * STEP_ROWS, 2)))
    assert pushes[-1][1] == (await ledger.snapshot(RUN)).fed == 2 * FEED_WINDOW_ROWS - 1
    assert await fed(ledger, folder, ready=0) == 8
    assert [row for _, _, rows in pushes for row in rows] == [row for row in range(total) if row not in set(done)]
    assert (await ledger.snapshot(RUN)).fed == total


async def test_of_the_saved_ids_only_those_of_open_rows_are_looked_at(folder):
    ledger = await opened(folder, 3, recover_until=3, done=[0])
    write(folder, "e1", [0])
    (folder.path / "sent").mkdir()
    (folder.path / "sent" / "part-x.jsonl").write_bytes(b'[0,broken\n[2,"task-2",5,1,0]\n')
    await fed(ledger, folder)
    assert [row.record.generation_id for row in (await ledger.claim_polls(RUN, "p", 9)).rows] == ["task-2"]


async def test_where_answers_are_repaired_earlier_generations_of_a_lost_ledger_are_asked_for_too(folder):
    ledger = await opened(folder, 3, recover_until=3)
    save(folder, 1, "task-a", attempt=1)
    save(folder, 1, "task-b", attempt=2)
    await fed(ledger, folder, replace(POLICY, repairs=1))
    assert (await ledger.snapshot(RUN)).late == 1
    [late] = (await ledger.claim_late(RUN, 10)).ids
    assert (late.row_index, late.generation_id, late.attempt, late.model) == (1, "task-a", 1, "m")
