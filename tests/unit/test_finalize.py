"""A run is done when its dataset is whole, and says so last."""

from datetime import UTC, datetime

import pytest

from pipeline.core.errors import LedgerUnavailable, StorageError
from pipeline.core.policy import Policy
from pipeline.core.snapshot import RunState
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.finalize import finalize
from pipeline.ports import RunCard

pytestmark = pytest.mark.anyio

RUN = "run-1"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def folder(tmp_path):
    made = LocalRunFolder(tmp_path, RUN)
    made.describe({"carried": {}})
    return made


async def ended(rows):
    """A ledger of a run whose rows all have their end, as far as it knows."""
    ledger = MemoryLedger()
    card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", rows, Policy())
    await ledger.open_run(card, recover_until=0, ended={"completed": rows}, done=range(rows))
    await ledger.feed(RUN, 0, rows, [])
    run = await ledger.snapshot(RUN)
    assert run.all_ended
    return ledger, run


def write(folder, *indexes):
    rows = [{"row_index": index, "model": "m", "finished_at": AT, "outcome": "completed"} for index in indexes]
    folder.write_part("e1", 0, len(rows), rows)


async def test_a_run_is_published_marked_and_finished(folder):
    ledger, run = await ended(2)
    write(folder, 0, 1)
    await finalize(run, ledger, folder)
    assert (folder.summary()["requests"], folder.summary()["outcomes"]["completed"]) == (2, 2)
    assert (await ledger.snapshot(RUN)).state is RunState.FINISHED


async def test_a_run_without_a_row_is_finished_too(folder):
    ledger, run = await ended(0)
    await finalize(run, ledger, folder)
    assert folder.summary()["requests"] == 0


@pytest.mark.parametrize("indexes", [(), (0,), (0, 2), (0, 1, 2, 3)])
async def test_a_run_with_a_row_too_few_or_too_many_is_not_done(folder, indexes):
    ledger, run = await ended(3)
    write(folder, *indexes)
    with pytest.raises(StorageError, match=f"{len(indexes)} rows are on disk where 3 were asked"):
        await finalize(run, ledger, folder)
    assert folder.summary() is None
    assert (await ledger.snapshot(RUN)).state is RunState.RUNNING


async def test_the_row_that_was_missing_makes_the_run_done(folder):
    ledger, run = await ended(3)
    write(folder, 0, 1)
    with pytest.raises(StorageError):
        await finalize(run, ledger, folder)
    folder.write_part("e1", 2, 3, [{"row_index": 2, "model": "m", "finished_at": AT, "outcome": "completed"}])
    await finalize(run, ledger, folder)
    assert folder.summary()["outcomes"]["completed"] == 3


async def test_a_run_whose_ledger_was_away_at_the_end_is_finalized_again(folder):
    ledger, run = await ended(1)
    write(folder, 0)

    class Away(MemoryLedger):
        async def set_state(self, run_id, state, reason=""):
            raise LedgerUnavailable("away")

    with pytest.raises(LedgerUnavailable):
        await finalize(run, Away(), folder)
    before = folder.summary()
    await finalize(run, ledger, folder)
    assert folder.summary() == before
    assert (await ledger.snapshot(RUN)).state is RunState.FINISHED
